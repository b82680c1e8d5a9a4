"""Names that blocks give and attributes refer to: where one is defined, where it is used, and renaming it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from kcluster.diagnostics.types import Edit
from kcluster.editor.tree import Spot, schema_of, spot_at, walk, words_of
from kcluster.source import Source, Span
from kcluster.spec.schema import AttributeSchema
from kcluster.spec.text import refusal
from kcluster.syntax.ast import Attribute, Block, File, StringNode, WordNode
from kcluster.syntax.parser import parse
from kcluster.values import frozen

NAMED: Final = ("model", "hardware", "gpu", "sla", "serve", "router")
"""Blocks at the top of a file whose label is a name."""
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_RESERVED: Final = frozenset({"auto", "on", "off", "true", "false", "none", "import"})


@frozen
class Name:
    """A name of a kind of block."""

    kind: str
    text: str


@frozen(eq=False)
class Occurrence:
    """A place where a name is written; `defines`: as the label of its block (`block` spans all of it)."""

    source: Source
    span: Span
    name: Name
    defines: bool = False
    block: Span | None = None


def files_around(file: File, sources: Iterable[Source]) -> tuple[File, ...]:
    """The file and those that its spec brought in, parsed."""
    others = {one.path: one for one in sources if one.path != file.source.path}
    return (file, *(parse(source)[0] for source in others.values()))


def occurrences(files: Iterable[File]) -> Iterator[Occurrence]:
    """Every definition and every use of a name in files."""
    for file in files:
        for around, item in walk(file.items):
            if isinstance(item, Block):
                yield from _of_block(file.source, around, item)
            elif isinstance(item, Attribute):
                yield from _of_attribute(file.source, around, item)


def _of_block(source: Source, around: tuple[Block, ...], block: Block) -> Iterator[Occurrence]:
    word = block.keyword.text
    if not around and word in NAMED and block.labels:
        label = block.labels[-1]
        if word != "router" or len(block.labels) > 1:
            yield Occurrence(source, label.span, Name(word, label.text), defines=True, block=block.span)
    elif around and word == "route" and block.labels:
        yield Occurrence(source, block.labels[0].span, Name("router", block.labels[0].text))


def _of_attribute(source: Source, around: tuple[Block, ...], attribute: Attribute) -> Iterator[Occurrence]:
    schema = schema_of(around)
    row: AttributeSchema | None = schema.attribute(attribute.key.text) if schema is not None else None
    if row is None:
        return
    if row.kind == "reference" and isinstance(attribute.value, WordNode | StringNode):
        yield Occurrence(source, attribute.value.span, Name(row.target, attribute.value.text))
    elif row.kind == "cards":
        for node in words_of(attribute.value):
            yield Occurrence(source, node.span, Name("gpu", node.text))


def name_at(file: File, offset: int) -> Occurrence | None:
    """The name at a place, as a definition or a use of it."""
    spot: Spot = spot_at(file, offset)
    if not spot.blocks and spot.attribute is None:
        return None
    found = (one for one in occurrences((file,)) if one.span.start <= offset <= one.span.end)
    return next(found, None)


def definition(name: Name, files: Iterable[File]) -> Occurrence | None:
    """Where a name is defined; None for one that no file defines (a card of the catalog)."""
    return next((one for one in occurrences(files) if one.defines and one.name == name), None)


def uses(name: Name, files: Iterable[File]) -> tuple[Occurrence, ...]:
    """Every place of a name, its definition among them."""
    return tuple(one for one in occurrences(files) if one.name == name)


def known_names(kind: str, files: Iterable[File]) -> tuple[str, ...]:
    """The names that blocks of a kind give, in file order."""
    return tuple(dict.fromkeys(one.name.text for one in occurrences(files) if one.defines and one.name.kind == kind))


def written(text: str) -> str:
    """A name as it is written: bare where it can be, else as a string."""
    return text if _WORD.fullmatch(text) and text not in _RESERVED else json.dumps(text, ensure_ascii=False)


def rename(name: Name, new: str, files: tuple[File, ...]) -> dict[Source, tuple[Edit, ...]] | str:
    """The edits that give a name a new text, by file; or a sentence that says why it cannot have it."""
    new = new.strip().strip('"')
    reason = refusal(new, "name") if new else "has at least one character"
    if reason is not None:
        return f"a name {reason}"
    if definition(name, files) is None:
        return f"`{name.text}` is defined in none of these files"
    if new != name.text and new in known_names(name.kind, files):
        return f"there is a {name.kind} named `{new}` already"
    edits: dict[Source, list[Edit]] = {}
    for one in uses(name, files):
        edits.setdefault(one.source, []).append(Edit(one.span, written(new)))
    return {source: tuple(found) for source, found in edits.items()}
