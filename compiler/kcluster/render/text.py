"""Text on a terminal: how wide it stands, what must not reach it, colours, wrapping."""

from __future__ import annotations

import textwrap
import unicodedata
from typing import Final

TAB: Final = 4
"""Columns between tab stops in excerpts."""

_CODES: Final = {
    "error": "\x1b[1;31m",
    "warning": "\x1b[1;33m",
    "note": "\x1b[1;36m",
    "bold": "\x1b[1m",
    "frame": "\x1b[1;34m",
    "dim": "\x1b[2m",
    "added": "\x1b[32m",
    "removed": "\x1b[31m",
}
_RESET: Final = "\x1b[0m"


def paint(text: str, style: str, color: bool) -> str:
    """The text in a style, or as it is without colour."""
    return f"{_CODES[style]}{text}{_RESET}" if color and style and text else text


def is_hidden(character: str) -> bool:
    """Whether a character would act on a terminal, or not be seen on it."""
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def shown(character: str) -> str:
    """A character as it may be shown: hidden ones by their number."""
    return f"<U+{ord(character):04X}>" if is_hidden(character) else character


def visible(text: str, newline: str = " ") -> str:
    """Text in one line of which nothing acts on a terminal. Line ends become `newline`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(newline if character == "\n" else shown(character) for character in text.replace("\t", " "))


def width_of(character: str) -> int:
    """Columns of one character on a terminal: 2 for East Asian wide and full-width ones, 0 for combining ones."""
    if character.isascii():
        return 1
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def columns(text: str) -> int:
    """Columns of a text without hidden characters."""
    return len(text) if text.isascii() else sum(width_of(character) for character in text)


def expand(line: str) -> tuple[str, list[int]]:
    """A source line as shown, and the column at which each of its characters begins (with one more for its end)."""
    if line.isascii() and line.isprintable():
        return line, list(range(len(line) + 1))
    pieces: list[str] = []
    starts: list[int] = []
    column = 0
    for character in line:
        starts.append(column)
        piece = " " * (TAB - column % TAB) if character == "\t" else shown(character)
        pieces.append(piece)
        column += columns(piece)
    starts.append(column)
    return "".join(pieces), starts


def cut(text: str, start: int, end: int) -> str:
    """The part of a shown line between two columns; half a wide character becomes a blank."""
    if text.isascii():
        return text[start:end]
    out: list[str] = []
    column = 0
    for character in text:
        width = width_of(character)
        if column >= start and column + width <= end and (width or out):
            out.append(character)
        elif width == 2 and (column == start - 1 or column == end - 1):
            out.append(" ")
        column += width
    return "".join(out)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, never broken inside a word."""
    lines: list[str] = []
    for part in text.split("\n"):
        wrapped = textwrap.wrap(visible(part), max(20, width), break_long_words=False, break_on_hyphens=False)
        lines += wrapped or [""]
    return lines
