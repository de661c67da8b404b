"""Files of events, one on each line, as the hourly export stores them: what a mapping makes of each; the rejects."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from prefect_atomic.errors import RequestError
from prefect_atomic.webhooks import template

ENDINGS = (".ndjson", ".jsonl", ".ndjson.gz", ".jsonl.gz")
"""What the keys of such objects end with."""

NAME = re.compile(r"[^{}%#\"\\\x00-\x1f]+")
"""A name of a field that a mapping may have."""

_LONGEST_LINE = 4 * 1024 * 1024
_EXPRESSION = re.compile(r"\s*\{\{-?((?:(?!\{\{|\}\}).)*?)-?\}\}\s*", re.DOTALL)


def object_template(mapping: Mapping[str, str], argument: str = "mapping") -> str:
    """One template that makes a JSON object, of an expression or a template for each of its names.

    Raises:
        RequestError: One does not parse, or its name cannot be one; says which.
    """
    members = []
    for name, text in mapping.items():
        if not NAME.fullmatch(name):
            raise RequestError(f"{argument}: {name[:100]!r} is no name of a field.")
        try:
            members.append(f'"{name}": {value_template(text)}')
        except ValueError as error:
            raise RequestError(f"{argument}: {name}: {error}.") from None
    return "{" + ",\n".join(members) + "}"


def value_template(text: str) -> str:
    """What makes a value, as JSON. An expression keeps its type, so that nothing does not become the word None.

    Raises:
        ValueError: It does not parse; says where.
    """
    alone_in_braces = _EXPRESSION.fullmatch(text)
    if alone_in_braces or not re.search(r"\{[{%#]", text):
        expression = (alone_in_braces[1] if alone_in_braces else text).strip()
        template.check(f"{{{{ ({expression}) }}}}")
        return f"{{{{ ({expression}) | tojson }}}}"
    template.check(text)
    return f"{{% set text %}}{text}{{% endset %}}{{{{ text | tojson }}}}"


class Mapped(NamedTuple):
    """What became of an event.

    Attributes:
        line: Where it stands in the file, from 1.
        made: What the template makes of it; None where it makes nothing.
        fault: Why it makes nothing.
    """

    line: int
    made: dict[str, Any] | None
    fault: str = ""


class EventFile:
    """The events of a file, perhaps gzipped, which is read anew each time.

    Attributes:
        fault: Once it was read: why there are no more events.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.fault: str | None = None

    def mapped(self, object_template: str, *, after: int = 0) -> Iterator[Mapped]:
        """What a template makes of each event behind a line."""
        for number, line in self._numbered():
            if number > after:
                yield _mapped(object_template, number, line)

    def rejects(self, reasons: Mapping[int, str]) -> Iterator[bytes]:
        """The events that were rejected, by their lines, with the reasons: as JSON Lines."""
        for number, line in self._numbered():
            if number in reasons:
                event: object = "longer than any event" if line is None else _read(line)
                if isinstance(event, ValueError) and line is not None:
                    event = line.decode("utf-8", "replace")
                reject = {"line": number, "reason": reasons[number], "event": event}
                yield json.dumps(reject, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    def _numbered(self) -> Iterator[tuple[int, bytes | None]]:
        with self._path.open("rb") as file:
            packed = file.peek(2)[:2] == b"\x1f\x8b"
            content = cast("BinaryIO", gzip.GzipFile(fileobj=file) if packed else file)
            try:
                for number, line in enumerate(_lines(content), 1):
                    if line is None or line.strip():
                        yield number, line.removeprefix(b"\xef\xbb\xbf") if line and number == 1 else line
            except (OSError, EOFError, zlib.error) as error:
                self.fault = f"cannot be unpacked ({type(error).__name__}); it was sent as far as it can be read"


def _mapped(object_template: str, number: int, line: bytes | None) -> Mapped:
    event = ValueError(f"has more than {_LONGEST_LINE:,} bytes") if line is None else _read(line)
    if isinstance(event, ValueError):
        return Mapped(number, None, str(event))
    try:
        made = json.loads(template.render(object_template, event))
    except RequestError as error:
        return Mapped(number, None, f"mapping: {str(error).removeprefix('body_template: ')}")
    return Mapped(number, made)


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """The lines; None for one that is too long to be read into memory."""
    while line := file.readline(_LONGEST_LINE + 1):
        if len(line) <= _LONGEST_LINE:
            yield line
            continue
        while line and not line.endswith(b"\n"):
            line = file.readline(_LONGEST_LINE)
        yield None


def _read(line: bytes) -> dict[str, Any] | ValueError:
    """The event on a line, or what is wrong with it."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return ValueError("is no JSON in UTF-8")
    return event if isinstance(event, dict) else ValueError("is no JSON object")
