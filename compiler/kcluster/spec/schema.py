"""The vocabulary of the language as data: every block with its attributes, their kinds, bounds, choices and limits.

The generic reader (`kcluster.spec.reader`) is driven by these tables, and so are the language server's completion and the
reference pages. What attributes mean together is the builders' business, not these tables'.
"""

from __future__ import annotations

from typing import Final

from kcluster.spec.schema_hardware import CONSTRUCTORS, GPU, HARDWARE
from kcluster.spec.schema_model import MODEL, SLA
from kcluster.spec.schema_serve import MONITOR, SERVE, SHARED_ROUTER, SWITCH
from kcluster.spec.schema_types import AttributeSchema, BlockSchema, ConstructorSchema, EntrySchema

__all__ = [
    "CONSTRUCTORS",
    "SERVE",
    "SPEC",
    "AttributeSchema",
    "BlockSchema",
    "ConstructorSchema",
    "EntrySchema",
    "choices_of",
    "constructor",
    "constructors",
    "every_block",
    "homes_of",
]

SPEC: Final = BlockSchema(
    "",
    "a file",
    (AttributeSchema("monitor", "switch", "`off` for none", choices=SWITCH, default="on"),),
    (MODEL, HARDWARE, GPU, SLA, SERVE, SHARED_ROUTER, MONITOR),
)


def constructor(name: str, family: str) -> ConstructorSchema | None:
    return next((row for row in CONSTRUCTORS if row.name == name and row.family == family), None)


def constructors(family: str) -> tuple[str, ...]:
    return tuple(row.name for row in CONSTRUCTORS if row.family == family)


def choices_of(attribute: AttributeSchema) -> tuple[str, ...]:
    """Every word that an attribute takes, those of the catalog included."""
    if attribute.catalog == "weights":
        from kcluster.catalog.formats import WEIGHT_FORMATS

        return tuple(WEIGHT_FORMATS)
    return attribute.choices


def every_block(
    schema: BlockSchema = SPEC, path: tuple[str, ...] = ()
) -> tuple[tuple[tuple[str, ...], BlockSchema], ...]:
    """Every block of the language with the words that lead to it, outermost first (the file itself is the empty path)."""
    found = [(path, schema)]
    for inner in schema.blocks:
        found += every_block(inner, (*path, inner.word))
    return tuple(found)


def homes_of(name: str) -> tuple[tuple[str, ...], ...]:
    """The blocks that have an attribute of that name, as paths of words."""
    return tuple(path for path, block in every_block() if path and block.attribute(name) is not None)
