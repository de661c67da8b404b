"""The SQL that the sandbox understands, read into a statement.

`SELECT * | count(*) | columns FROM object | numbers(n) [WHERE column op value [AND ...]] [ORDER BY ...] [LIMIT n]
[OFFSET n]`, with literals, or placeholders in one of the three styles. As in PostgreSQL, names without quotes are in
lower case whatever their letters. All else is refused, for a subset that guesses would answer what was not asked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, TypeVar

TOKEN = re.compile(
    r"""\s+|--[^\n]*
    |(?P<quoted>"(?:[^"]|"")+")|(?P<text>'(?:[^']|'')*')|(?P<number>-?\d+(?:\.\d+)?)
    |(?P<named>:[A-Za-z_]\w*)|(?P<dollared>\$\d+)|(?P<mark>\?)
    |(?P<name>[A-Za-z_]\w*)|(?P<sign><=|>=|<>|!=|[=<>(),*;])""",
    re.VERBOSE,
)
COMPARISONS = ("=", "<>", "!=", "<", "<=", ">", ">=")
CONSTANTS = {"true": True, "false": False}
Item = TypeVar("Item")
Value = str | bool | Decimal | None
Bind = Callable[[str, str], Value]  # the style of a placeholder, and the placeholder as it is written


class SQLError(Exception):
    """The statement cannot be executed; the text says why."""


@dataclass(frozen=True)
class Statement:
    """A statement that was read; `columns` is empty for all of them."""

    source: str
    argument: int | None
    columns: tuple[str, ...]
    counts: bool
    conditions: tuple[tuple[str, str, Value], ...]
    order: tuple[tuple[str, bool], ...]
    limit: int | None
    offset: int


def read(sql: str, bind: Bind) -> Statement:
    """Reads a statement; raises `SQLError` for one that is not understood."""
    return _Reader(sql, bind).statement()


class _Reader:
    def __init__(self, sql: str, bind: Bind) -> None:
        self._tokens = _tokens(sql)
        self._at = 0
        self._bind = bind

    def statement(self) -> Statement:
        self._expect("select")
        columns, counts = self._columns()
        self._expect("from")
        source, argument = self._source()
        conditions, order = [], []
        if self._skip("where"):
            conditions = self._list(self._condition, "and")
        if self._skip("order"):
            self._expect("by")
            order = self._list(self._ordering, ",")
        limit = self._whole() if self._skip("limit") else None
        offset = self._whole() if self._skip("offset") else 0
        self._skip(";")
        if self._at < len(self._tokens):
            self._fail()
        return Statement(source, argument, columns, counts, tuple(conditions), tuple(order), limit, offset)

    def _columns(self) -> tuple[tuple[str, ...], bool]:
        if self._skip("*"):
            return (), False
        ahead = [token for _, token in self._tokens[self._at : self._at + 4]]
        if ahead == ["count", "(", "*", ")"]:
            self._at += 4
            return (), True
        return tuple(self._list(self._name, ",")), False

    def _source(self) -> tuple[str, int | None]:
        name = self._name()
        if not self._skip("("):
            return name, None
        number = self._whole()
        self._expect(")")
        return name, number

    def _condition(self) -> tuple[str, str, Value]:
        column = self._name()
        if self._skip("is"):
            comparison = "is not" if self._skip("not") else "is"
            self._expect("null")
            return column, comparison, None
        _, comparison = self._take()
        if comparison not in COMPARISONS:
            self._fail(-1)
        return column, comparison, self._value()

    def _ordering(self) -> tuple[str, bool]:
        column = self._name()
        descending = self._skip("desc")
        if not descending:
            self._skip("asc")
        return column, descending

    def _value(self) -> Value:
        kind, token = self._take()
        if kind == "text":
            return token[1:-1].replace("''", "'")
        if kind == "number":
            return Decimal(token)
        if kind in ("named", "dollared", "mark"):
            return self._bind(kind, token)
        if kind == "name" and token in CONSTANTS:
            return CONSTANTS[token]
        if kind != "name" or token not in ("date", "timestamp") or not self._peek("text"):
            self._fail(-1)
        return self._value()

    def _whole(self) -> int:
        value = self._value()
        if not isinstance(value, Decimal) or value < 0 or value != int(value):
            raise SQLError("a whole number was expected")
        return int(value)

    def _name(self) -> str:
        kind, token = self._take()
        if kind == "quoted":
            return token[1:-1].replace('""', '"')
        if kind != "name":
            self._fail(-1)
        return token

    def _list(self, item: Callable[[], Item], separator: str) -> list[Item]:
        found = [item()]
        while self._skip(separator):
            found.append(item())
        return found

    def _take(self) -> tuple[str, str]:
        if self._at == len(self._tokens):
            raise SQLError("syntax error at the end of the statement")
        self._at += 1
        return self._tokens[self._at - 1]

    def _peek(self, kind: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at][0] == kind

    def _skip(self, word: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] in (("name", word), ("sign", word))
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        if not self._skip(word):
            self._take()
            self._fail(-1)

    def _fail(self, back: int = 0) -> NoReturn:
        raise SQLError(f"syntax error near {self._tokens[self._at + back][1]}")


def _tokens(sql: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(sql):
        match = TOKEN.match(sql, at)
        if not match:
            raise SQLError(f"syntax error near {sql[at]}")
        at = match.end()
        if match.lastgroup:
            token = match[0].lower() if match.lastgroup == "name" else match[0]
            found.append((match.lastgroup, token))
    return found
