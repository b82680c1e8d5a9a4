"""From a node of the tree to a typed value, by the kind that the schema names.

Each reader gives the value, `AUTO`, or `BAD` after it has reported why. Where what was meant is plain (a unit in the wrong
case, a word one letter off) the mistake is reported and the meaning taken, so that the rest of the spec is judged by it.
"""

from __future__ import annotations

from typing import Any

from kcluster.spec import list_values, word_values
from kcluster.spec.number_values import read_number
from kcluster.spec.quantities import EXPECTED
from kcluster.spec.reading import AUTO, BAD, Place, Reader
from kcluster.spec.schema_types import AttributeSchema
from kcluster.syntax.ast import ValueNode, WordNode

__all__ = ["AUTO", "BAD", "Place", "read_value"]


def read_value(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """The typed value of an attribute in base units, `AUTO`, or `BAD` after the reason was reported."""
    if isinstance(node, WordNode) and node.text == "auto" and schema.auto and "auto" not in schema.choices:
        return AUTO
    if schema.kind in EXPECTED:
        return read_number(node, schema, place)
    return _readers()[schema.kind](node, schema, place)


_KINDS: dict[str, Reader] = {
    "boolean": word_values.read_boolean,
    "switch": word_values.read_switch,
    "choice": word_values.read_choice,
    "string": word_values.read_string,
    "reference": word_values.read_reference,
    "secret": word_values.read_secret,
    "version": word_values.read_version,
    "capability": word_values.read_capability,
    "strings": list_values.read_strings,
    "header": list_values.read_header,
    "integers": list_values.read_integers,
    "indices": list_values.read_indices,
    "groups": list_values.read_groups,
    "lanes": list_values.read_lanes,
    "argument": list_values.read_argument,
}


def _readers() -> dict[str, Reader]:
    """Readers by kind, those of hardware included (which are built from these)."""
    if "cards" not in _KINDS:
        from kcluster.spec.hardware_values import READERS

        _KINDS.update(READERS)
    return _KINDS
