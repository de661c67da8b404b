"""Looks for secrets in whatever it is given, through every encoding that it may have passed, and says where it was.

A secret is looked for by its unmistakable parts, the runs of letters and digits in it: percent-encoding, JSON, HTML
and `repr` leave those as they are. Each is looked for as it is, in base64 (both alphabets, all three alignments) and
in hex; and what looks like base64, or is compressed, is unpacked and searched again.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_SHORTEST_PART = 10
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/_-]{4}(?:\\n|[\r\n])*){6,}[A-Za-z0-9+/_-]{0,3}={0,2}")
_RUN = re.compile(rb"[A-Za-z0-9+/_-]{10,}")
_DEEPEST = 3


@dataclass(frozen=True)
class Finding:
    secret: str
    where: str
    how: str
    around: str

    def __str__(self) -> str:
        return f"{self.secret} in {self.where} ({self.how}): …{self.around}…"


class Hunter:
    """Knows the secrets, and collects the places to look at.

    Args:
        secrets: By a name to report them by; each needs a run of ten letters and digits that nothing else has.
    """

    def __init__(self, secrets: Mapping[str, str]) -> None:
        self._needles: dict[bytes, dict[bytes, tuple[str, str]]] = {}
        self.searched: dict[str, int] = {}
        for name, secret in secrets.items():
            self.add(name, secret)

    def add(self, name: str, secret: str) -> None:
        parts = re.findall(r"[0-9A-Za-z]{10,}", secret) or re.findall(r"[0-9A-Za-z_+/-]{10,}", secret)
        assert parts, f"{name} has no unmistakable part"
        for part in parts:
            for how, needle in _forms(part.encode()):
                self._needles.setdefault(needle[:_SHORTEST_PART], {}).setdefault(needle, (name, how))

    def search(self, where: str, content: str | bytes) -> list[Finding]:
        """What is found in a text, the content of a file, or a pickle."""
        raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        self.searched[where] = self.searched.get(where, 0) + len(raw)
        return list(self._search(where, raw, "as it is", _DEEPEST, set()))

    def search_files(self, where: str, folder: Path) -> list[Finding]:
        return [
            finding
            for path in sorted(folder.rglob("*"))
            if path.is_file()
            for finding in self.search(where, path.name.encode() + b"\n" + path.read_bytes())
        ]

    def _search(self, where: str, raw: bytes, layer: str, depth: int, seen: set[bytes]) -> Iterator[Finding]:
        found: set[bytes] = set()
        for run in _RUN.finditer(raw):
            # By their first characters: there are thousands of needles, and one pass over what is searched.
            text, begin = run[0], run.start()
            places = range(len(text) - _SHORTEST_PART + 1)
            for at in [at for at in places if text[at : at + _SHORTEST_PART] in self._needles]:
                for needle, (name, how) in self._needles[text[at : at + _SHORTEST_PART]].items():
                    if needle not in found and text.startswith(needle, at):
                        found.add(needle)
                        around = raw[max(0, begin + at - 120) : begin + at + len(needle) + 40]
                        way = how if layer == "as it is" else f"{how}, {layer}"
                        yield Finding(name, where, way, around.decode("utf-8", "replace"))
        if depth:
            for inner_layer, inner in _unpacked(raw):
                if inner not in seen:
                    seen.add(inner)
                    yield from self._search(where, inner, f"within {inner_layer}", depth - 1, seen)


def _forms(part: bytes) -> Iterator[tuple[str, bytes]]:
    yield "plain", part
    yield "hex", part.hex().encode()
    yield "HEX", part.hex().upper().encode()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for shift in range(3):
            encoded = encode(b"\0" * shift + part).rstrip(b"=")
            # The characters at both ends share bits with the neighbours.
            first, odd = (0, 2, 3)[shift], (shift + len(part)) % 3
            yield f"base64, alignment {shift}", encoded[first : len(encoded) - bool(odd)]


def _unpacked(raw: bytes) -> Iterable[tuple[str, bytes]]:
    for start in (b"\x1f\x8b", b"\x78\x9c", b"\x78\x01", b"\x78\xda"):
        if raw.startswith(start):
            with suppress(OSError, EOFError, zlib.error):
                yield "compression", gzip.decompress(raw) if start == b"\x1f\x8b" else zlib.decompress(raw)
    for match in _BASE64.finditer(raw):
        packed = re.sub(rb"\\n|\s|=", b"", match[0]).replace(b"-", b"+").replace(b"_", b"/")
        try:
            yield "base64", base64.b64decode(packed + b"=" * (-len(packed) % 4))
        except (binascii.Error, ValueError):
            continue
