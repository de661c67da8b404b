"""SOQL, as far as the sandbox has it: reads a query, and refuses what it does not know."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from prefect_atomic.sandbox.salesforce_errors import refuse
from prefect_atomic.sandbox.salesforce_filters import Condition, Path, compare, condition_in
from prefect_atomic.sandbox.salesforce_schema import OBJECTS, SObject, find_object

TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^'\\]|\\.)*')|(?P<instant>\d{4}-\d\d-\d\d(?:T[0-9:.]+(?:Z|[+-]\d\d:?\d\d))?)"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?)|(?P<name>[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*)"
    r"|(?P<sign><=|>=|!=|<>|[=<>(),]))"
)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
SIGNS = {"=": "=", "!=": "!=", "<>": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">="}


@dataclass(frozen=True)
class Query:
    """A query that was understood; without fields it counts."""

    sobject: SObject
    fields: tuple[Path, ...]
    condition: Condition | None
    order: tuple[Path, bool, bool] | None  # the field, whether it descends, whether nulls come last
    limit: int | None


def parse(text: str) -> Query:
    """Reads a query, or refuses it as core does."""
    return _Parser(text).query()


class _Parser:
    """One query, token by token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        self._at = 0
        place = 0
        while text[place:].strip():
            found = TOKEN.match(text, place)
            if not found or not found.lastgroup:
                self._malformed(text[place:].strip()[:20])
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()

    def query(self) -> Query:
        self._expect("SELECT")
        names = self._names()
        self._expect("FROM")
        sobject = self._object()
        fields = tuple(self._path(sobject, name) for name in names)
        condition = self._any_of(sobject) if self._word("WHERE") else None
        order = self._order(sobject) if self._word("ORDER") else None
        limit = int(self._take("number")) if self._word("LIMIT") else None
        if self._at < len(self._tokens):
            self._malformed(self._tokens[self._at][1])
        return Query(sobject, fields, condition, order, limit)

    def _names(self) -> list[str]:
        first = self._take("name")
        if first.upper() == "COUNT" and self._sign("("):
            self._close()
            return []
        names = [first]
        while self._sign(","):
            names.append(self._take("name"))
        return names

    def _object(self) -> SObject:
        name = self._take("name")
        sobject = find_object(name)
        if sobject is None:
            refuse(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")
        return sobject

    def _path(self, sobject: SObject, name: str) -> Path:
        relation, dot, last = name.partition(".")
        reference = sobject.by_relationship.get(relation.lower()) if dot else None
        owner = OBJECTS[(reference.refers_to or "").lower()] if reference else sobject
        field = None if dot and not reference else owner.field(last if dot else name)
        if field is None:
            refuse(400, "INVALID_FIELD", f"No such column '{name}' on entity '{sobject.name}'.")
        return Path(field, reference)

    def _any_of(self, sobject: SObject) -> Condition:
        parts, joint = [self._one(sobject)], ""
        while word := "AND" if self._word("AND") else "OR" if self._word("OR") else "":
            if joint and word != joint:
                self._malformed(word)  # Salesforce wants parentheses where AND and OR meet
            joint = word
            parts.append(self._one(sobject))
        return _joined(parts, any if joint == "OR" else all)

    def _one(self, sobject: SObject) -> Condition:
        if self._word("NOT"):
            inner = self._one(sobject)
            return lambda row: not inner(row)
        if self._sign("("):
            condition = self._any_of(sobject)
            self._close()
            return condition
        path = self._path(sobject, self._take("name"))
        if self._word("LIKE"):
            return compare(path, "LIKE", self._literal())
        negated = self._word("NOT")
        if self._word("IN"):
            return condition_in(path, self._list(), negated=negated)
        sign = SIGNS.get(self._take("sign"))
        if negated or sign is None:
            self._malformed(self._tokens[self._at - 1][1])
        return compare(path, sign, self._literal())

    def _list(self) -> list[tuple[str, Any]]:
        if not self._sign("("):
            self._malformed(self._next()[1])
        values = [self._literal()]
        while self._sign(","):
            values.append(self._literal())
        self._close()
        return values

    def _literal(self) -> tuple[str, Any]:
        kind, text = self._next()
        self._at += 1
        if kind == "text":
            return kind, re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), text[1:-1])
        if kind == "number":
            return kind, float(text)
        if kind == "instant":
            return ("datetime" if "T" in text else "date"), text
        if kind == "name" and text.lower() in ("true", "false", "null"):
            return {"true": ("boolean", True), "false": ("boolean", False), "null": ("null", None)}[text.lower()]
        return self._malformed(text)

    def _order(self, sobject: SObject) -> tuple[Path, bool, bool]:
        self._expect("BY")
        path = self._path(sobject, self._take("name"))
        descends = self._word("DESC")
        if not descends:
            self._word("ASC")
        nulls_last = False
        if self._word("NULLS"):
            nulls_last = self._word("LAST")
            if not nulls_last:
                self._expect("FIRST")
        return path, descends, nulls_last

    def _next(self) -> tuple[str, str]:
        return self._tokens[self._at] if self._at < len(self._tokens) else ("end", "<EOF>")

    def _take(self, kind: str) -> str:
        found, text = self._next()
        if found != kind:
            self._malformed(text)
        self._at += 1
        return text

    def _sign(self, sign: str) -> bool:
        return self._skip("sign", sign)

    def _word(self, word: str) -> bool:
        return self._skip("name", word)

    def _skip(self, kind: str, text: str) -> bool:
        found = self._next()
        there = found[0] == kind and found[1].upper() == text
        self._at += there
        return there

    def _expect(self, word: str) -> None:
        if not self._word(word):
            self._malformed(self._next()[1])

    def _close(self) -> None:
        if not self._sign(")"):
            self._malformed(self._next()[1])

    def _malformed(self, token: str) -> NoReturn:
        refuse(400, "MALFORMED_QUERY", f"unexpected token: '{token}' in {self._text[:200]}")


def _joined(parts: list[Condition], how: Callable[[Any], bool]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return lambda row: how(part(row) for part in parts)
