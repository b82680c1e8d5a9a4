"""What could be written at a cursor: attributes and blocks, values by their kind, cards, models, units, flags."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final, Literal, get_args

from kcluster.diagnostics.codes import CODES
from kcluster.editor.cursor import Cursor
from kcluster.editor.names import known_names, written
from kcluster.source import Span
from kcluster.spec.quantities import Measure, units_of
from kcluster.spec.schema import (
    CONSTRUCTORS,
    AttributeSchema,
    BlockSchema,
    ConstructorSchema,
    choices_of,
    constructor,
)
from kcluster.syntax.ast import File
from kcluster.values import frozen

ProposalKind = Literal[
    "attribute", "block", "value", "name", "gpu", "model", "constructor", "argument", "unit", "flag", "code"
]

MOST: Final = 200
"""Proposals of one answer; an editor filters them further as one types."""
_MEASURES: Final = get_args(Measure)
_SWITCH: Final = ("on", "off")


@frozen
class Proposal:
    """One completion.

    Attributes:
        text: what replaces `span`; with `snippet`, in the notation of editors (`$0` is where the cursor goes).
        detail: a few words beside the label; `doc`: a line or two of Markdown.
        rank: proposals of a lower rank come first.
    """

    label: str
    kind: ProposalKind
    text: str
    span: Span
    detail: str = ""
    doc: str = ""
    snippet: str = ""
    rank: int = 0


def complete(
    cursor: Cursor, files: tuple[File, ...], versions: Mapping[str, tuple[int, ...]] = MappingProxyType({})
) -> tuple[Proposal, ...]:
    """Proposals at a cursor, best first.

    Args:
        files: the file and those that it imports, for their names.
        versions: the version that the spec resolved to of each engine in it, for the flags in `args`.
    """
    if cursor.comment:
        found = _codes(cursor)
    elif cursor.key:
        found = _values(cursor, files)
    elif cursor.before:
        found = _labels(cursor)
    else:
        found = _items(cursor, versions)
    number = cursor.typed is not None and cursor.typed.type == "NUMBER"
    wanted = "" if number else cursor.prefix.lower()
    fitting = [one for one in found if wanted in one.label.lower()]
    return tuple(sorted(fitting, key=lambda one: (one.rank, not one.label.lower().startswith(wanted)))[:MOST])


def _codes(cursor: Cursor) -> Iterator[Proposal]:
    """Codes inside `# kcluster: ignore[…`."""
    _, bracket, rest = cursor.comment.partition("kcluster: ignore[")
    if not bracket or "]" in rest:
        return
    typed = rest.rpartition(",")[2].lstrip()
    span = Span(cursor.offset - len(typed), cursor.offset)
    for code in CODES.values():
        if code.code.startswith(typed.upper()) or typed.lower() in code.name:
            yield Proposal(code.code, "code", code.code, span, code.name, code.summary)


def _items(cursor: Cursor, versions: Mapping[str, tuple[int, ...]]) -> Iterator[Proposal]:
    """What an item of the block may begin with."""
    schema = cursor.schema
    if schema is None:
        return
    if schema.entries is not None:
        if schema.word == "args":
            yield from _flags(cursor, versions)
        return
    for row in schema.attributes:
        if row.name not in cursor.frame.keys or row.name == cursor.prefix:
            yield _attribute(row, cursor.span, rank=0 if row.required else 1)
    for block in schema.blocks:
        if block.repeat or block.word not in cursor.frame.keys:
            yield _block(block, cursor.span, rank=2 if schema.word else 1)
    if not schema.word:
        yield Proposal(
            "import", "block", 'import "', cursor.span, "another file's blocks", snippet='import "$0"', rank=2
        )


def _attribute(row: AttributeSchema, span: Span, rank: int) -> Proposal:
    sign = row.bound or "="
    return Proposal(row.name, "attribute", f"{row.name} {sign} ", span, row.doc, described(row), rank=rank)


def _block(block: BlockSchema, span: Span, rank: int) -> Proposal:
    labels = {
        "none": "",
        "name": " ${1:name}",
        "kind": f" ${{1|{','.join(block.kinds)}|}}",
        "kind and name": f" ${{1|{','.join(block.kinds)}|}} ${{2:name}}",
    }[block.label]
    snippet = f"{block.word}{labels} {{\n  $0\n}}"
    return Proposal(block.word, "block", f"{block.word} ", span, block.doc, snippet=snippet, rank=rank)


def _labels(cursor: Cursor) -> Iterator[Proposal]:
    """Kinds behind a block's word."""
    schema = cursor.schema
    block = schema.block(cursor.before[0].text) if schema is not None else None
    if block is not None and block.kinds and len(cursor.before) == 1:
        for kind in block.kinds:
            yield Proposal(kind, "value", kind, cursor.span, block.doc)


def _values(cursor: Cursor, files: tuple[File, ...]) -> Iterator[Proposal]:
    schema = cursor.schema
    row = schema.attribute(cursor.key) if schema is not None and schema.entries is None else None
    if row is None:
        if schema is not None and schema.word == "args":
            yield from _words(("on", "off"), cursor.span)
        return
    call = next((name for name in reversed(cursor.calls) if name), "")
    made = constructor(call, row.kind) if call and row.kind in ("bus", "network") else None
    if made is not None:
        yield from _arguments(cursor, made)
        return
    yield from _of_kind(cursor, row, files)
    if row.auto and not cursor.calls and not cursor.quoted and len(cursor.before) == 2:
        yield Proposal("auto", "value", "auto", cursor.span, "the compiler chooses", rank=3)


def _of_kind(cursor: Cursor, row: AttributeSchema, files: tuple[File, ...]) -> Iterator[Proposal]:
    kind, span = row.kind, cursor.span
    if kind == "boolean":
        yield from _words(_SWITCH, span)
    elif kind in ("choice", "switch", "link speed"):
        yield from _words(choices_of(row), span)
    elif kind == "reference":
        for name in known_names(row.target, files):
            yield Proposal(name, "name", written(name), span, row.target)
    elif kind == "cards":
        yield from _cards(cursor, files)
    elif kind in ("bus", "network"):
        yield from _constructors(kind, span)
    elif kind == "secret":
        text = f'env("{row.variable}")'
        yield Proposal(text, "value", text, span, "read where it runs, written nowhere")
    elif kind == "version":
        yield from _versions(cursor)
    elif row.text == "model id":
        yield from _models(cursor)
    elif kind in _MEASURES:
        yield from _units(cursor, row)


def _words(words: Iterable[str], span: Span) -> Iterator[Proposal]:
    for word in words:
        yield Proposal(word, "value", word, span)


def _constructors(family: str, span: Span) -> Iterator[Proposal]:
    for made in CONSTRUCTORS:
        if made.family == family:
            first = made.arguments[0]
            hint = first.choices[0] if first.choices else first.name
            snippet = f"{made.name}(${{1:{hint}}})$0"
            yield Proposal(made.name, "constructor", f"{made.name}(", span, made.doc, snippet=snippet)


def _arguments(cursor: Cursor, made: ConstructorSchema) -> Iterator[Proposal]:
    last = cursor.before[-1] if cursor.before else None
    named = cursor.before[-2] if len(cursor.before) > 3 and last is not None and last.type == "EQUAL" else None
    if named is not None:
        row = made.argument(named.text)
        if row is not None and row.kind == "boolean":
            yield from _words(_SWITCH, cursor.span)
        return
    for row in made.arguments:
        if row.choices:
            yield from _words(row.choices, cursor.span)
        if row.kind == "lanes":
            yield from _words(("x16", "x8", "x4"), cursor.span)
    for row in made.arguments[made.positional :]:
        yield Proposal(row.name, "argument", f"{row.name} = ", cursor.span, row.doc, rank=1)


def _cards(cursor: Cursor, files: tuple[File, ...]) -> Iterator[Proposal]:
    from kcluster.catalog.gpus import gpu_families, gpu_ids

    for name in known_names("gpu", files):
        yield Proposal(name, "gpu", written(name), cursor.span, "of this spec")
    for name in gpu_ids():
        yield Proposal(name, "gpu", name, cursor.span, rank=1)
    for name, taken in gpu_families().items():
        yield Proposal(name, "gpu", name, cursor.span, f"taken as {taken}", rank=2)


def _versions(cursor: Cursor) -> Iterator[Proposal]:
    from kcluster.catalog.engines import engine_versions

    frame = cursor.frame
    if frame.word != "engine":
        return
    engine = frame.labels[0] if frame.labels else "vllm"
    for rank, version in enumerate(reversed(engine_versions(engine))):
        text = ".".join(map(str, version))
        yield Proposal(text, "value", json.dumps(text), cursor.span, "has a table of its flags", rank=rank)


def _models(cursor: Cursor) -> Iterator[Proposal]:
    from kcluster.catalog.models import model_ids

    for name in model_ids():
        yield Proposal(name, "model", json.dumps(name, ensure_ascii=False), cursor.span)


def _units(cursor: Cursor, row: AttributeSchema) -> Iterator[Proposal]:
    """Units right behind a number."""
    typed = cursor.typed
    number = cursor.before[-1] if cursor.before and cursor.before[-1].type == "NUMBER" else None
    if typed is not None and typed.type == "NUMBER":
        span = Span(cursor.offset, cursor.offset)
    elif number is not None:
        span = cursor.span
    else:
        return
    for unit in units_of(row.kind):  # type: ignore[arg-type]
        yield Proposal(unit, "unit", unit, span, row.doc)


def _flags(cursor: Cursor, versions: Mapping[str, tuple[int, ...]]) -> Iterator[Proposal]:
    """Flags of the engine around, of the version that the spec asks for; written ones left out."""
    from kcluster.catalog.engines import engine_versions, flag_table

    outer = cursor.frames[-2] if len(cursor.frames) > 1 else cursor.frame
    engine = outer.labels[0] if outer.labels else "vllm"
    known = engine_versions(engine)
    table = flag_table(engine, versions.get(engine, known[-1])) if known else None
    if table is None:
        return
    for name, flag in sorted(table.flags.items()):
        if name in cursor.frame.keys and name != cursor.prefix:
            continue
        value = "on" if not flag.takes_value else ""
        yield Proposal(
            name,
            "flag",
            f'"{name}" = {value}',
            cursor.span,
            flag_detail(flag.choices, flag.type, flag.default),
            "deprecated" if flag.deprecated else "",
            rank=1 if flag.deprecated else 0,
        )


def flag_detail(choices: tuple[str, ...] | None, kind: str, default: str) -> str:
    """A flag's values and default in a few words."""
    values = " | ".join(choices) if choices else kind
    return f"{values}, default {default}" if default else values


def described(row: AttributeSchema) -> str:
    """An attribute's row in Markdown: its kind, choices, bounds and default."""
    parts = [f"*{row.kind}*" if row.kind != "choice" else "one of " + ", ".join(f"`{one}`" for one in choices_of(row))]
    if row.required:
        parts.append("required")
    if row.default:
        parts.append(f"default: {row.default}")
    return "; ".join(parts)
