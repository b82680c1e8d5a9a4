"""The reference of the language as Markdown, from its tables: `python -m kcluster.editor.reference FILE`, by `make gen`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from kcluster.spec.quantities import Measure, units_of
from kcluster.spec.schema import CONSTRUCTORS, AttributeSchema, BlockSchema, choices_of, every_block

_MEASURES: Final[tuple[str, ...]] = get_args(Measure)
_INTRODUCTION: Final = """# The language, block by block

Written by `make gen` from the tables that the compiler itself reads by; do not edit. The language by example, with its lexical
rules, is in [grammar/README.md](../grammar/README.md).

An attribute is written `name = value`; those marked with an operator are bounds and take that operator. Whatever has a default may
also be written `auto`: the compiler chooses, and says why. Attributes in **bold** are required.
"""
_KINDS: Final = {
    "boolean": "`on` or `off`",
    "string": "string",
    "strings": "list of strings",
    "header": "`[name, value]`",
    "secret": '`env("NAME")`',
    "version": 'version, `"0.33"`',
    "capability": "such as `8.9`",
    "integers": "list of numbers",
    "indices": "list of indices, `[0..3]`",
    "groups": "lists of indices, `[[0, 1], [2, 3]]`",
    "lanes": "`x16`, `x8`, `x4`",
    "cards": "cards, `4 * rtx-5090`",
    "bus": "[bus](#buses-and-networks)",
    "network": "[network](#buses-and-networks)",
    "argument": "value of a flag",
    "count": "number",
}


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION]
    for path, block in every_block():
        parts.append("\n".join(_block(path, block)))
    parts.append("\n".join(_constructors()))
    parts.append("\n".join(_formats()))
    parts.append("\n".join(_units()))
    return "\n".join(parts)


def _block(path: tuple[str, ...], block: BlockSchema) -> Iterator[str]:
    if not path:
        yield "## At the top of a file\n"
        yield "`" + "`, `".join(inner.word for inner in block.blocks) + '`, and `import "path"`.\n'
    else:
        yield f"## {' › '.join(f'`{word}`' for word in path)}\n"
        yield f"{block.doc[0].upper()}{block.doc[1:]}.{_label(block)}\n"
    if block.entries is not None:
        yield f"Entries: {block.entries.doc}.\n"
    if block.attributes:
        yield "| attribute | value | meaning | default |\n|---|---|---|---|"
        for row in block.attributes:
            yield _row(row)
        yield ""
    if path and block.blocks:
        yield "Blocks inside: " + ", ".join(f"`{inner.word}`" for inner in block.blocks) + ".\n"


def _label(block: BlockSchema) -> str:
    kinds = " or ".join(f"`{kind}`" for kind in block.kinds)
    text = {
        "none": "",
        "name": f" Written `{block.word} NAME {{ … }}`.",
        "kind": f" Written `{block.word} KIND {{ … }}`, where KIND is {kinds}.",
        "kind and name": f" Written `{block.word} KIND NAME {{ … }}`, where KIND is {kinds}.",
    }[block.label]
    return text + (" May occur more than once." if block.repeat else "")


def _row(row: AttributeSchema) -> str:
    name = f"**`{row.name}`**" if row.required else f"`{row.name}`"
    if row.bound:
        name += f" `{row.bound}`"
    return f"| {name} | {_value(row)} | {_cell(row.doc)} | {_cell(row.default)} |"


def _value(row: AttributeSchema) -> str:
    if row.kind == "reference":
        return f"name of a `{row.target}`"
    if row.catalog == "weights":
        return "[weight format](#weight-formats)"
    choices = choices_of(row)
    if choices:
        return ", ".join(f"`{one}`" for one in choices)
    if row.kind in _MEASURES and row.kind != "count":
        return f"{row.kind} ({_bounds(row)})" if _bounds(row) else row.kind
    text = _KINDS.get(row.kind, row.kind)
    return f"{text} ({_bounds(row)})" if row.kind == "count" and _bounds(row) else text


def _bounds(row: AttributeSchema) -> str:
    """The smallest and greatest value, where they tell more than that a number is sensible."""
    if row.high is None or row.limit:
        return ""
    return f"above {row.low:g} to {row.high:g}" if row.above else f"{row.low:g} to {row.high:g}"


def _constructors() -> Iterator[str]:
    yield "## Buses and networks\n"
    yield "| written | what it is | arguments |\n|---|---|---|"
    for made in CONSTRUCTORS:
        arguments = "; ".join(
            f"`{row.name}` {_cell(row.doc)}" + (f" (default {_cell(row.default)})" if row.default else "")
            for row in made.arguments
        )
        yield f"| `{made.name}(…)` | {made.family}: {made.doc} | {arguments} |"
    yield "\nThe first arguments may be given by place: `pcie(5, x16)`. Several links a node are counted: `8 * infiniband(ndr)`.\n"


def _formats() -> Iterator[str]:
    from kcluster.catalog.formats import WEIGHT_FORMATS

    yield "## Weight formats\n"
    yield ", ".join(f"`{name}`" for name in WEIGHT_FORMATS) + ".\n"


def _units() -> Iterator[str]:
    yield "## Units\n"
    yield "| measure | units |\n|---|---|"
    for measure in _MEASURES:
        spelled = units_of(measure)  # type: ignore[arg-type]
        if spelled:
            yield f"| {measure} | " + " ".join(f"`{unit}`" for unit in spelled) + " |"
    yield "\nA token count takes the engine's suffixes: `8k` is 8,000 and `8K` is 8,192.\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), "utf-8")
