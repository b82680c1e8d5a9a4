"""`hardware` blocks: nodes with their cards, buses and addresses, and what joins them."""

from __future__ import annotations

from typing import Any

from kcluster.catalog.links import default_bus, infiniband_rate, make_bus, make_network
from kcluster.diagnostics import Label
from kcluster.physics.hardware import Bus, Card, Network
from kcluster.spec.cards import MAX_NODES_IN_ALL, CardShelf
from kcluster.spec.findings import Findings
from kcluster.spec.hardware_values import BusWritten, NetworkWritten
from kcluster.spec.links import joinable, trained
from kcluster.spec.reader import Fields, missing
from kcluster.spec.text import refusal
from kcluster.spec.types import HardwareSpec, NodeSpec, Origin, Value
from kcluster.values import evolve, frozen


@frozen(eq=False)
class _Machine:
    """One node before it has an address: its cards and bus, with the author's text."""

    cards: tuple[Value[Card], ...]
    gpus: Value[str]
    bus: Value[Bus]


def build_hardware(fields: Fields, shelf: CardShelf, findings: Findings) -> HardwareSpec | None:
    """The hardware of a block; None where its cards or buses cannot be known (which is reported)."""
    blocks = [inner for inner in fields.blocks if inner.schema.word == "node"]
    hosts = fields.get("hosts")
    if blocks:
        nodes = _different_nodes(fields, blocks, hosts, shelf, findings)
    else:
        nodes = _equal_nodes(fields, hosts, shelf, findings)
    if nodes is None:
        return None
    return HardwareSpec(
        name=fields.name,
        nodes=nodes,
        network=_network(fields, findings),
        hosts_given=hosts if hosts is not None else _hosts_of(blocks),
        interface=fields.get("interface"),
        user=fields.get("user"),
        model_path=fields.get("model_path"),
        storage=fields.get("storage"),
        reserved=fields.get("reserved"),
        block=fields.span,
        head=fields.head,
        source=fields.source,
    )


# Nodes


def _equal_nodes(
    fields: Fields, hosts: Value[tuple[str, ...]] | None, shelf: CardShelf, findings: Findings
) -> tuple[NodeSpec, ...] | None:
    machine = _machine(fields, None, shelf, findings)
    if machine is None:
        return None
    written = fields.value("nodes")
    count = written if written is not None else len(hosts.value) if hosts is not None else 1
    if not shelf.take_nodes(count):
        at = fields.get("nodes") or fields.get("hosts")
        span = at.origin.span if at is not None else fields.head
        findings.add("KC007", f"more than {MAX_NODES_IN_ALL:,} nodes in one spec", fields.source, span)
        return None
    return tuple(
        NodeSpec(_address(fields, hosts, index, None), machine.cards, machine.gpus, machine.bus)
        for index in range(count)
    )


def _different_nodes(
    fields: Fields, blocks: list[Fields], hosts: Value[tuple[str, ...]] | None, shelf: CardShelf, findings: Findings
) -> tuple[NodeSpec, ...] | None:
    written = fields.get("nodes")
    if written is not None and written.value != len(blocks):
        message = f"`nodes` says {written.value:,}, and there are {len(blocks)} `node` blocks"
        findings.add("KC103", message, fields.source, written.origin.span)
    _same_name_twice(blocks, findings)
    machines = [_machine(inner, fields, shelf, findings) for inner in blocks]
    nodes = []
    for index, (inner, machine) in enumerate(zip(blocks, machines, strict=True)):
        if machine is None:
            return None
        nodes.append(NodeSpec(_address(fields, hosts, index, inner), machine.cards, machine.gpus, machine.bus))
    return tuple(nodes)


def _same_name_twice(blocks: list[Fields], findings: Findings) -> None:
    first: dict[str, Fields] = {}
    for inner in blocks:
        earlier = first.setdefault(inner.name, inner)
        if inner.name and earlier is not inner:
            labels = (Label(earlier.head, "given here first"),)
            findings.add("KC104", f"the node `{inner.name}` is given twice", inner.source, inner.head, labels=labels)


def _address(fields: Fields, hosts: Value[tuple[str, ...]] | None, index: int, inner: Fields | None) -> Value[str]:
    """The node's own `host`, its entry of `hosts`, the name of its block, or `node0`, `node1`, …"""
    own = inner.get("host") if inner is not None else None
    if own is not None:
        return own
    if hosts is not None and index < len(hosts.value):
        return Value(hosts.value[index], hosts.origin, hosts.attribute)
    if inner is not None and inner.name and refusal(inner.name, "host") is None:
        return inner.default(inner.name, "the name of its block, because no address is given")
    return fields.default(f"node{index}", "a name for the node, because no address is given")


def _hosts_of(blocks: list[Fields]) -> Value[tuple[str, ...]] | None:
    """The addresses of `node` blocks together, where each has one."""
    own = [inner.get("host") for inner in blocks]
    given = [value for value in own if value is not None]
    if not given or len(given) != len(own):
        return None
    return Value(tuple(value.value for value in given), given[0].origin, given[0].attribute)


# Cards and buses


def _machine(fields: Fields, around: Fields | None, shelf: CardShelf, findings: Findings) -> _Machine | None:
    """The cards and bus of a block, or of the block around it where it has none of its own."""
    gpus = fields.get("gpus")
    if gpus is None and "gpus" not in fields.tried and around is not None:
        gpus = around.get("gpus")
        if gpus is None and "gpus" not in around.tried:
            message = f"the node `{fields.name}` has no `gpus`" if fields.name else "the node has no `gpus`"
            missing(fields, message, findings, label="`gpus` is missing")
    if gpus is None:
        return None
    source = gpus.origin.source
    found: list[Value[Card]] = []
    whole = True
    for written in gpus.value:
        card = shelf.find(written, source, findings)
        if card is None:
            whole = False
        else:
            found += [evolve(card, attribute=gpus.attribute)] * written.count
    if not whole:
        return None
    text = ", ".join(f"{written.count} * {written.name}" for written in gpus.value)
    cards = tuple(found)
    bus = _bus(fields, around, cards, gpus, shelf, findings)
    return None if bus is None else _Machine(cards, Value(text, gpus.origin, gpus.attribute), bus)


def _bus(
    fields: Fields,
    around: Fields | None,
    cards: tuple[Value[Card], ...],
    gpus: Value[Any],
    shelf: CardShelf,
    findings: Findings,
) -> Value[Bus] | None:
    written = fields.get("bus")
    if written is None and around is not None and "bus" not in fields.tried:
        written = around.get("bus")
    values = tuple(card.value for card in cards)
    # A link that cannot be is reported, and the cards' own taken, so that the rest is judged.
    if written is not None and joinable(written, cards, findings):
        bus = _written_bus(written, cards, findings)
        return None if bus is None else Value(shelf.catalog.measured(bus), written.origin, written.attribute)
    slowest = next((card for card in values if card.form == "pcie"), values[0])
    why = "`bus` is not given" if written is None else "the card has no such link"
    note = f"by the form of the card ({slowest.form}), because {why}"
    bus = shelf.catalog.measured(default_bus(slowest, values))
    return Value(bus, Origin("catalog", gpus.origin.source, gpus.origin.span, note))


def _written_bus(written: Value[BusWritten], cards: tuple[Value[Card], ...], findings: Findings) -> Bus | None:
    call, arguments = written.value, written.value.arguments
    source = written.origin.source
    groups, pairs = arguments.get("groups", ()), arguments.get("pairs", ())
    outside = next((card for group in (*groups, *pairs) for card in group if card >= len(cards)), None)
    if outside is not None:
        name = "groups" if any(outside in group for group in groups) else "pairs"
        message = f"`{name}` names card {outside}, and the node has cards 0 to {len(cards) - 1}"
        findings.add("KC106", message, source, call.node.span)
        groups = pairs = ()
    generation = arguments["generation"]
    lanes = arguments.get("lanes", 16 if call.kind == "pcie" else 0)

    def made(generation: int, lanes: int) -> Bus | None:
        return make_bus(
            call.kind,
            generation,
            lanes,
            peer_to_peer=arguments.get("p2p"),
            shared_lanes=arguments.get("shared_lanes", 1),
            groups=groups,
            pairs=pairs,
            cards=tuple(card.value for card in cards),
        )

    bus = made(generation, lanes)
    if bus is not None and call.kind == "pcie":
        bus = made(*trained(generation, lanes, cards))
    if bus is None:
        text = " ".join(source.slice(call.node.span).split())
        findings.add(
            "KC107", f"the catalog has no {call.kind} of generation {generation}: `{text[:60]}`", source, call.node.span
        )
    return bus


def _network(fields: Fields, findings: Findings) -> Value[Network] | None:
    written = fields.get("network")
    if written is None:
        return None
    call: NetworkWritten = written.value
    rate = infiniband_rate(call.rate) if isinstance(call.rate, str) else call.rate
    network = make_network(call.kind, rate, call.count) if rate is not None else None
    if network is None:
        text = " ".join(written.origin.source.slice(call.whole.span).split())
        findings.add("KC107", f"the catalog has no network `{text[:60]}`", written.origin.source, call.whole.span)
        return None
    return Value(network, written.origin, written.attribute)
