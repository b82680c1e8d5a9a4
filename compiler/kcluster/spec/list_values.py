"""Lists, groups and the free arguments of an engine."""

from __future__ import annotations

from typing import Any, Final

from kcluster.diagnostics.wording import shown
from kcluster.source import Span
from kcluster.spec.findings import described, replace
from kcluster.spec.number_values import is_reasonable, read_number
from kcluster.spec.quantities import UNITS
from kcluster.spec.reading import BAD, Place
from kcluster.spec.schema_types import MAX_LIST, AttributeSchema
from kcluster.spec.text import refusal
from kcluster.spec.word_values import FALSE, TRUE, read_string
from kcluster.syntax.ast import CallNode, ListNode, NumberNode, RangeNode, StringNode, ValueNode, WordNode

_EVERY: Final = tuple(range(MAX_LIST))  # one object for one index, however many serves name it


def read_strings(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    items = node.items if isinstance(node, ListNode) else (node,)
    if not isinstance(node, ListNode | StringNode | WordNode):
        return place.wrong(f"is a list of strings, not {described(node)}", node.span)
    if schema.high is not None and len(items) > schema.high:
        return place.wrong(f"has more than {schema.high:,.0f} entries", node.span, code="KC007")
    if len(items) < schema.low:
        return place.wrong("is an empty list", node.span)
    read = [read_string(item, schema, place) for item in items]
    if BAD in read:
        return BAD
    first: dict[str, Span] = {}
    for text, item in zip(read, items, strict=True):
        if text in first:
            place.wrong(f"names `{shown(text)}` twice", item.span, code="KC104")
        first.setdefault(text, item.span)
    return tuple(read)


def read_header(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    if not isinstance(node, ListNode) or len(node.items) != 2:
        return place.wrong('is a header and its value: `["X-Model", "small"]`', node.span)
    read = []
    for item, kind in zip(node.items, ("header name", "header value"), strict=True):
        if not isinstance(item, StringNode | WordNode):
            return place.wrong(f"is two strings, not {described(item)}", item.span)
        reason = refusal(item.text, kind)
        if reason is not None:
            return place.wrong(f"has a {kind} that {reason}", item.span)
        read.append(item.text)
    return tuple(read)


def _whole(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    row = AttributeSchema(schema.name, "count", schema.doc, low=schema.low, high=schema.high, limit=schema.limit)
    return read_number(node, row, place)


def read_integers(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    if not isinstance(node, ListNode):
        return place.wrong(f"is a list of counts such as `[41, 39]`, not {described(node)}", node.span)
    if not 1 <= len(node.items) <= MAX_LIST:
        code = "KC103" if not node.items else "KC007"
        return place.wrong(
            "is an empty list" if not node.items else f"has more than {MAX_LIST:,} entries", node.span, code=code
        )
    read = [_whole(item, schema, place) for item in node.items]
    return BAD if BAD in read else tuple(read)


def read_indices(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """A list of indices and ranges, each index once; a single one needs no list."""
    if not isinstance(node, ListNode | NumberNode):
        return place.wrong(f"is a list of indices such as `[0..3]`, not {described(node)}", node.span)
    read: list[int] = []
    for item in node.items if isinstance(node, ListNode) else (node,):
        first = _whole(item.first if isinstance(item, RangeNode) else item, schema, place)
        last = _whole(item.last, schema, place) if isinstance(item, RangeNode) else first
        if first is BAD or last is BAD:
            return BAD
        if first > last:
            return place.wrong(f"has a range that runs backwards: {place.written(item.span)}", item.span)
        named = _EVERY[first : last + 1]
        twice = sorted(set(named) & set(read))
        if twice:
            return place.wrong(f"names {twice[0]} twice", item.span, code="KC104")
        read += named
    return tuple(read) if read else place.wrong("is an empty list", node.span)


def read_groups(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    if not isinstance(node, ListNode) or not node.items or not all(isinstance(item, ListNode) for item in node.items):
        return place.wrong("is a list of lists of cards such as `[[0, 1], [2, 3]]`", node.span)
    read = [read_indices(item, schema, place) for item in node.items]
    if BAD in read:
        return BAD
    seen: set[int] = set()
    for group, item in zip(read, node.items, strict=True):
        if seen & set(group):
            return place.wrong(f"names card {min(seen & set(group))} in two groups", item.span, code="KC104")
        seen.update(group)
    return tuple(read)


def read_lanes(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    if isinstance(node, NumberNode) and not node.unit and node.value in (1, 2, 4, 8, 16):
        width = int(node.value)
        place.wrong(f"are written `x{width}`", node.span, fixes=(replace(f"write `x{width}`", node.span, f"x{width}"),))
        return width
    if isinstance(node, WordNode) and node.text.lower() in ("x1", "x2", "x4", "x8", "x16"):
        return int(node.text[1:])
    return place.wrong("are `x1`, `x2`, `x4`, `x8` or `x16`", node.span)


def read_argument(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """A raw flag's value: text, number, `on`, `off`, or a list of them."""
    if isinstance(node, ListNode):
        if not 1 <= len(node.items) <= MAX_LIST:
            return place.wrong("is an empty list" if not node.items else "has too many entries", node.span)
        read = [_scalar(item, place) for item in node.items]
        return BAD if BAD in read else tuple(read)
    return _scalar(node, place)


def _scalar(node: ValueNode, place: Place) -> Any:
    if isinstance(node, WordNode) and node.text in (*TRUE, *FALSE):
        return node.text in TRUE
    if isinstance(node, WordNode | StringNode):
        reason = refusal(node.text, "argument")
        return node.text if reason is None else place.wrong(reason, node.span)
    if isinstance(node, NumberNode):
        if not is_reasonable(node):
            return place.wrong("is beyond any figure of a cluster", node.span, code="KC007")
        row = UNITS.get(node.unit) if node.unit else None
        if node.unit and row is None:
            return place.wrong(f"has the unknown unit `{shown(node.unit)}`", node.unit_span or node.span, code="KC006")
        value = node.value * (row.factor if row is not None else 1)
        return int(value) if isinstance(value, float) and value.is_integer() and row is not None else value
    if isinstance(node, CallNode) and node.name.text == "env":
        return place.wrong("cannot take a secret: a command line is readable by everyone on the machine", node.span)
    return place.wrong(f"takes a string, a number, `on`, `off` or a list of them, not {described(node)}", node.span)
