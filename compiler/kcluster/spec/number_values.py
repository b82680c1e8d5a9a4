"""Numbers with their units, in base units."""

from __future__ import annotations

import re
from typing import Any, Final

from kcluster.diagnostics import Safety
from kcluster.diagnostics.wording import shown
from kcluster.spec.findings import described, replace
from kcluster.spec.quantities import BARE, EXPECTED, LARGEST, UNITS, USUAL_SPELLINGS, Measure, UnitRow, nearest_unit
from kcluster.spec.reading import BAD, Place
from kcluster.spec.schema_types import AttributeSchema
from kcluster.syntax.ast import NumberNode, StringNode, ValueNode

_PLAIN_NUMBER: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?", re.ASCII)


def read_number(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """A number in the base unit of the schema's measure: an int for counts and tokens, else a float."""
    measure: Measure = schema.kind  # type: ignore[assignment]
    noun, example = EXPECTED[measure]
    if isinstance(node, StringNode) and _PLAIN_NUMBER.fullmatch(node.text):
        fix = replace("write the number without quotes", node.span, node.text)
        place.wrong(f"takes {noun}, not a string", node.span, fixes=(fix,))
        number = float(node.text) if "." in node.text else int(node.text)
        node = NumberNode(number, "", node.span)
    if not isinstance(node, NumberNode):
        return place.wrong(f"takes {noun} such as {example}, not {described(node)}", node.span)
    if not is_reasonable(node):
        return place.wrong("is beyond any figure of a cluster", node.span, code="KC007")
    factor = _factor(node, measure, place)
    if factor is None:
        return BAD
    return _in_range(node, node.value * factor, schema, place)


def is_reasonable(node: NumberNode) -> bool:
    return node.value == node.value and -LARGEST <= node.value <= LARGEST


def _factor(node: NumberNode, measure: Measure, place: Place) -> int | float | None:
    """What the number is multiplied by; None after a finding that leaves no meaning."""
    noun, example = EXPECTED[measure]
    if not node.unit:
        if measure in BARE:
            return 1 if BARE[measure] == 1 else BARE[measure]
        place.wrong(f"takes {noun} with its unit, such as {example}", node.span, label="no unit")
        return None
    row = UNITS.get(node.unit) or _unknown_unit(node, measure, place)
    if row is None:
        return None
    if row.measure == measure:
        return row.factor
    if row is not UNITS.get(node.unit):  # a misspelt unit of another measure: one finding is enough
        return None
    return _other_measure(node, row, measure, place)


def _unknown_unit(node: NumberNode, measure: Measure, place: Place) -> UnitRow | None:
    unit = shown(node.unit)
    near = nearest_unit(node.unit, measure)
    span = node.unit_span or node.span
    if near is None:
        noun, example = EXPECTED[measure]
        place.wrong(f"has the unknown unit `{unit}`; it takes {noun} such as {example}", span, code="KC006")
        return None
    fixes = (
        ()
        if node.unit_span is None
        else (replace(f"write `{near}`", node.unit_span, near, _certainty(node.unit, near)),)
    )
    place.wrong(f"has the unknown unit `{unit}`", span, code="KC006", help=(f"did you mean `{near}`?",), fixes=fixes)
    return UNITS[near]


def _certainty(written: str, near: str) -> Safety:
    """A unit in other letters' case, or by another usual name, can mean only that; anything else is a guess."""
    usual = USUAL_SPELLINGS.get(written) or USUAL_SPELLINGS.get(written.lower())
    return "safe" if usual == near or written.lower() == near.lower() else "unsafe"


def _other_measure(node: NumberNode, row: UnitRow, measure: Measure, place: Place) -> int | float | None:
    noun, example = EXPECTED[measure]
    written = place.written(node.span) or node.unit
    if measure == "count" and row.measure == "tokens":
        whole = node.value * row.factor
        if row.text in ("k", "K", "m", "M") and whole == int(whole):
            fix = replace(f"write {int(whole)}", node.span, str(int(whole)))
            place.wrong("takes a plain count: `k`, `K`, `m` and `M` belong to tokens", node.span, fixes=(fix,))
            return row.factor
    if measure == "tokens/s" and row.measure == "tokens" and row.factor == 1 and node.unit_span is not None:
        fix = replace("write `tok/s`", node.unit_span, "tok/s")
        place.wrong(f"takes {noun} such as {example}, not a number of tokens", node.span, fixes=(fix,))
        return 1
    other = EXPECTED[row.measure][0]
    place.wrong(f"takes {noun} such as {example}, and `{written}` is {other}", node.span, label=f"{other}, not {noun}")
    return None


def _in_range(node: NumberNode, value: int | float, schema: AttributeSchema, place: Place) -> Any:
    whole = schema.kind in ("count", "tokens")
    if whole:
        rounded = round(value)
        if abs(value - rounded) > 1e-9 * max(1.0, abs(value)):
            return place.wrong(f"must be a whole number, not {place.written(node.span)}", node.span)
        value = rounded
    else:
        value = float(value)
    if value < schema.low or (schema.above and value <= schema.low):
        least = f"above {_shown(schema.low, schema)}" if schema.above else f"at least {_shown(schema.low, schema)}"
        return place.wrong(f"must be {least}, not {place.written(node.span)}", node.span)
    if schema.high is not None and value > schema.high:
        return _too_high(node, value, schema, place)
    return value


_PER_CENT: Final = 5
"""A share without a unit that is at least so much was meant in per cent; 1.2 was not."""


def _too_high(node: NumberNode, value: int | float, schema: AttributeSchema, place: Place) -> Any:
    assert schema.high is not None
    written = place.written(node.span)
    if schema.kind == "ratio" and not node.unit:
        message = f"is a share between 0 and 1, not {written}"
        if not _PER_CENT <= value <= 100:
            return place.wrong(message, node.span)
        fix = replace(f"write `{written} %`", node.span, f"{written} %", "unsafe")
        place.wrong(
            message,
            node.span,
            fixes=(fix,),
            help=(f"{written} per cent is `{written} %`",),
        )
        return value / 100
    code = "KC007" if schema.limit else "KC103"
    return place.wrong(f"must be at most {_shown(schema.high, schema)}, not {written}", node.span, code=code)


_UNIT_SHOWN: Final = {"bytes": " bytes", "bytes/s": " bytes/s", "seconds": " s", "tokens/s": " tok/s"}


def _shown(value: float, schema: AttributeSchema) -> str:
    if schema.kind == "flop/s":
        return f"{value / 1e12:,.0f} TFLOPS"
    if schema.kind in ("bytes", "bytes/s") and value:
        return f"{value / 1e9:,.0f} {'GB' if schema.kind == 'bytes' else 'GB/s'}"
    return f"{value:,.0f}{_UNIT_SHOWN.get(schema.kind, '')}"
