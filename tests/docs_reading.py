"""Reads the documentation: its snippets, tables, links and commands."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", PROJECT / "CHANGELOG.md", *sorted((PROJECT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Snippet:
    """A fenced block: where it stands, and what is in it."""

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: Path) -> list[Snippet]:
    text = page.read_text("utf-8")
    return [
        Snippet(
            str(page.relative_to(PROJECT)),
            text.count("\n", 0, fence.start()) + 1,
            fence["language"],
            textwrap.dedent(fence["text"]),
        )
        for fence in _FENCE.finditer(text)
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def commands(page: Path) -> list[str]:
    """The command lines of a page, in blocks and in running text, without those that belong to a curl script."""
    blocks = [each.text for each in snippets(page) if each.language == "sh" and "curl" not in each.text]
    lines = [line.strip() for block in blocks for line in block.splitlines() if line.strip()]
    inline = re.findall(r"`((?:prefect|prefect-atomic|make|python|pip) [^`]+)`", prose(page))
    return lines + inline


def links(page: Path) -> list[str]:
    return [link for link in _LINK.findall(prose(page)) if "://" not in link]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def table(page: Path, first_heading: str) -> list[list[str]]:
    """The rows of the tables on a page whose first heading is this one; code marks are left in the cells."""
    found: list[list[str]] = []
    in_table = False
    for line in prose(page).splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            in_table = False
        elif in_table:
            found.append(cells)
        elif cells[0].strip("`") == first_heading:
            in_table = True
    return [cells for cells in found if not set(cells[0]) <= {"-"}]


def code(cell: str) -> str:
    """What stands in a cell, without the marks."""
    return cell.replace("`", "")
