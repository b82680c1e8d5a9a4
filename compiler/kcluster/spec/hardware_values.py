"""Values of hardware blocks: cards, buses and networks as the author wrote them, before the catalog is asked."""

from __future__ import annotations

from typing import Any, Final, Literal

from kcluster.diagnostics.wording import listed, shown
from kcluster.spec.findings import described, did_you_mean
from kcluster.spec.number_values import read_number
from kcluster.spec.reading import AUTO, BAD, Place, Reader
from kcluster.spec.schema import constructor, constructors
from kcluster.spec.schema_types import AttributeSchema, ConstructorSchema
from kcluster.spec.text import refusal
from kcluster.spec.values import read_value
from kcluster.syntax.ast import CallNode, ListNode, NumberNode, StringNode, TimesNode, ValueNode, WordNode
from kcluster.values import evolve, frozen


@frozen
class CardsWritten:
    """`4 * rtx-5090`: how many of which name, and where the name stands."""

    count: int
    name: str
    node: WordNode | StringNode


@frozen
class BusWritten:
    """`pcie(5, x16, p2p = off)`: kind, its arguments by name (those written), and the call."""

    kind: str
    arguments: dict[str, Any]
    node: CallNode


@frozen
class NetworkWritten:
    """`8 * infiniband(ndr)`: kind, line rate of one link in bytes/s (or the speed's name), links a node."""

    kind: str
    rate: float | str
    count: int
    node: CallNode
    whole: ValueNode


def _cards(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    items = node.items if isinstance(node, ListNode) else (node,)
    if not items:
        return place.wrong("is an empty list", node.span)
    read = [_some_cards(item, schema, place) for item in items]
    if BAD in read:
        return BAD
    assert schema.high is not None
    if sum(cards.count for cards in read) > schema.high:
        return place.wrong(f"are more than {schema.high:,.0f} cards in one node", node.span, code="KC007")
    return tuple(read)


def _some_cards(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    count = 1
    item = node
    if isinstance(node, TimesNode):
        counted = _counted(node, schema.high, place)
        if counted is BAD:
            return BAD
        count, item = counted, node.item
    if not isinstance(item, WordNode | StringNode):
        if isinstance(item, NumberNode):
            return place.wrong("takes cards such as `4 * rtx-5090`, not a number", item.span)
        return place.wrong(f"is a count of cards such as `4 * rtx-5090`, not {described(item)}", item.span)
    if isinstance(item, WordNode) and item.text == "auto":
        return place.wrong("are what a plan starts from, and not chosen by it: `4 * rtx-5090`", item.span)
    reason = refusal(item.text, "card")
    if reason is not None:
        return place.wrong(reason, item.span)
    return CardsWritten(count, item.text, item)


def _counted(node: TimesNode, high: float | None, place: Place) -> Any:
    return read_number(node.count, AttributeSchema(place.name, "count", "", low=1, high=high), place)


def _bus(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    read = _call(node, "bus", place)
    if read is BAD:
        return BAD
    assert isinstance(node, CallNode)
    row, arguments = read
    return BusWritten(row.name, arguments, node)


def _network(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    count = 1
    item = node
    if isinstance(node, TimesNode):
        counted = _counted(node, 64, place)
        if counted is BAD:
            return BAD
        count, item = counted, node.item
    read = _call(item, "network", place)
    if read is BAD:
        return BAD
    assert isinstance(item, CallNode)
    row, arguments = read
    return NetworkWritten(row.name, arguments["speed" if row.name == "infiniband" else "rate"], count, item, node)


_EXAMPLES: Final = {
    "bus": {
        "pcie": "pcie(5, x16)",
        "nvlink": "nvlink(4)",
        "nvlink-bridge": "nvlink-bridge(3, pairs = [[0, 1]])",
        "xgmi": "xgmi(3)",
    },
    "network": {"ethernet": "ethernet(100GbE)", "roce": "roce(100GbE)", "infiniband": "infiniband(ndr)"},
}


def _call(node: ValueNode, family: Literal["bus", "network"], place: Place) -> Any:
    """The constructor of a call with its arguments by name; `BAD` where one that is needed is missing or wrong."""
    examples = _EXAMPLES[family]
    if isinstance(node, WordNode | StringNode) and node.text in examples:
        return place.wrong(f"says more than `{node.text}`: `{examples[node.text]}`", node.span)
    if not isinstance(node, CallNode):
        example = next(iter(examples.values()))
        return place.wrong(f"is a {family} such as `{example}`, not {described(node)}", node.span)
    name = node.name.text.lower().replace("_", "-")
    row = constructor(name, family)
    if row is None:
        known = constructors(family)
        help_ = did_you_mean(name, known) or (f"it takes {listed(known)}",)
        message = f"the catalog has no {family} `{shown(node.name.text)}`"
        place.findings.add("KC107", message, place.source, node.name.span, help=help_)
        return BAD
    arguments = _arguments(node, row, place)
    return BAD if arguments is BAD else (row, arguments)


def _arguments(node: CallNode, row: ConstructorSchema, place: Place) -> Any:
    given: dict[str, ValueNode] = {}
    if len(node.arguments) > row.positional:
        extra = node.arguments[row.positional]
        names = listed(argument.name for argument in row.arguments[row.positional :])
        hint = f"; by name it takes {names}" if names else ""
        place.wrong(f"takes {row.positional} without a name in `{row.name}(…)`{hint}", extra.span)
    for argument, value in zip(row.arguments, node.arguments[: row.positional], strict=False):
        given[argument.name] = value
    for named in node.named:
        if row.argument(named.name.text) is None:
            known = [argument.name for argument in row.arguments]
            help_ = did_you_mean(named.name.text, known) or (f"`{row.name}` takes {listed(known)}",)
            message = f"`{row.name}(…)` has no argument `{shown(named.name.text)}`"
            place.findings.add("KC102", message, place.source, named.name.span, help=help_)
        elif named.name.text in given:
            place.wrong(f"gives `{named.name.text}` twice", named.span, code="KC104")
        else:
            given[named.name.text] = named.value
    return _read_arguments(node, row, given, place)


def _read_arguments(node: CallNode, row: ConstructorSchema, given: dict[str, ValueNode], place: Place) -> Any:
    read: dict[str, Any] = {}
    usable = True
    for argument in row.arguments:
        inner = evolve(place, name=f"{argument.name}` of `{row.name}")
        if argument.name not in given:
            if argument.required:
                example = _EXAMPLES[row.family][row.name]
                place.wrong(f"lacks the {argument.name} of `{row.name}`: `{example}`", node.span, code="KC105")
                usable = False
            continue
        value = read_value(given[argument.name], argument, inner)
        if value is BAD:
            usable = usable and not argument.required and argument.name != "lanes"
        elif value is not AUTO:
            read[argument.name] = value
    return read if usable else BAD


def _link_speed(node: ValueNode, schema: AttributeSchema, place: Place) -> Any:
    """A generation of InfiniBand by name, or a rate."""
    if isinstance(node, NumberNode):
        return read_number(node, AttributeSchema(schema.name, "bytes/s", schema.doc, above=True, high=10**14), place)
    if isinstance(node, WordNode | StringNode):
        if node.text.lower() in schema.choices:
            return node.text.lower()
        help_ = did_you_mean(node.text.lower(), schema.choices) or (f"it takes {listed(schema.choices)}",)
        place.findings.add(
            "KC107", f"the catalog has no InfiniBand `{shown(node.text)}`", place.source, node.span, help=help_
        )
        return BAD
    return place.wrong(f"is {listed(schema.choices)}, not {described(node)}", node.span)


READERS: Final[dict[str, Reader]] = {"cards": _cards, "bus": _bus, "network": _network, "link speed": _link_speed}
