"""The blocks of a file as an outline."""

from __future__ import annotations

from kcluster.source import Span
from kcluster.syntax.ast import Block, File, Item
from kcluster.values import frozen


@frozen
class Entry:
    """A block: its word, its labels as written, all of it, and the part to jump to."""

    word: str
    name: str
    span: Span
    head: Span
    inner: tuple[Entry, ...]


def outline(file: File) -> tuple[Entry, ...]:
    """The file's blocks, in order, each with those inside it."""
    return _entries(file.items)


def _entries(items: tuple[Item, ...]) -> tuple[Entry, ...]:
    return tuple(
        Entry(
            item.keyword.text,
            " ".join(label.text for label in item.labels),
            item.span,
            item.head,
            _entries(item.items),
        )
        for item in items
        if isinstance(item, Block)
    )
