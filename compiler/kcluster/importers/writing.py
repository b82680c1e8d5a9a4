"""Writing a spec line by line, knowing where each line comes from; and finding those lines again in the formatted text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Final

from kcluster.importers.words import Setting
from kcluster.source import Span
from kcluster.syntax.ast import Attribute, Block, File
from kcluster.values import frozen

_UNREADABLE: Final = "\ufffd"
"""What stands for bytes that were not UTF-8; a spec may hold it only as an escape."""

Path = tuple[str, ...]
"""The words that lead to a block or attribute: keywords, labels, key."""


@frozen
class Line:
    key: str
    value: str
    origin: Span | None = None
    setting: Setting | None = None
    comment: str = ""
    sign: str = "="


class Writer:
    """Text of blocks, and which path came from where."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.origin: dict[Path, Span] = {}
        self.given: dict[Path, Setting | None] = {}

    def block(self, path: Path, head: str, lines: Sequence[Line], origin: Span | None = None) -> None:
        self.open(path, head, origin)
        for line in lines:
            self.line(path, line)
        self.text.append("}")

    def open(self, path: Path, head: str, origin: Span | None = None) -> None:
        self.text.append(f"{head} {{")
        if origin is not None:
            self.origin[path] = origin

    def line(self, path: Path, line: Line) -> None:
        comment = f"  # {one_line(line.comment)}" if line.comment else ""
        self.text.append(f"{line.key} {line.sign} {line.value}{comment}")
        here = (*path, line.key.strip('"'))
        if line.origin is not None:
            self.origin[here] = line.origin
        self.given[here] = line.setting

    def comments(self, notes: Sequence[str]) -> None:
        self.text += [f"# {one_line(note)}" for note in dict.fromkeys(notes)]


def walk(file: File) -> Iterator[tuple[Path, Span, Span | None]]:
    """Every block and attribute: the words that lead to it, its place, and for an attribute its value's place."""
    pending: list[tuple[Path, Attribute | Block]] = [
        ((), item) for item in file.items if isinstance(item, Block | Attribute)
    ]
    while pending:
        path, item = pending.pop(0)
        if isinstance(item, Attribute):
            yield (*path, item.key.text), item.span, item.value.span
            continue
        here = (*path, item.keyword.text, *(label.text for label in item.labels))
        yield here, item.span, None
        pending += [(here, inner) for inner in item.items if isinstance(inner, Block | Attribute)]


def one_line(text: str) -> str:
    """Text for a comment: whatever a spec may not hold as it is becomes a blank."""
    return "".join(c if c.isprintable() and c != _UNREADABLE else " " for c in text)[:300]


def quote(text: str) -> str:
    """Text as a string of the language, without what no argument can hold: null characters (which shells drop too) and halves of
    surrogate pairs."""
    text = "".join(c for c in text if c != "\0" and not "\ud800" <= c <= "\udfff")
    return json.dumps(text, ensure_ascii=not text.isprintable() or _UNREADABLE in text)
