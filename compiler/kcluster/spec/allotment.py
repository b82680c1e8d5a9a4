"""Which cards each serve may use.

`nodes` and `gpus` pin. Serves that pin nothing get disjoint cards of their hardware in file order: each first what its pinned
axes need, then an equal share of what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from kcluster.diagnostics import Label
from kcluster.physics.hardware import Bus, Cluster, Node
from kcluster.source import Source, Span
from kcluster.spec.findings import Findings
from kcluster.spec.reader import Fields
from kcluster.spec.types import EngineSpec, HardwareSpec, ParallelSpec
from kcluster.values import evolve, frozen

Slot = tuple[int, int]
"""A card: the index of its node and its index there."""

MAX_CLAIMED: Final = 2**19
"""Cards that pinning serves may name together, each as often as it is named: twice the largest hardware."""

_ROUNDING: Final = 1e-9


@frozen(eq=False)
class Claim:
    """What one serve asks of its hardware. `pins`: it wrote `nodes` or `gpus`."""

    name: str
    fields: Fields
    parallel: ParallelSpec
    engine: EngineSpec
    hardware: HardwareSpec

    @property
    def pins(self) -> bool:
        return self.fields.get("nodes") is not None or self.fields.get("gpus") is not None

    @property
    def unit(self) -> int:
        """Cards of one engine by the axes that are pinned; 1 for what is open."""
        axes = (self.parallel.tp, self.parallel.pp, self.parallel.dp)
        size = 1
        for axis in axes:
            size *= axis.value if axis is not None else 1
        if self.parallel.pp is None and self.parallel.layers is not None:
            size *= len(self.parallel.layers.value)
        return size

    @property
    def most(self) -> int | None:
        """Cards beyond which the serve has no use: all its axes are pinned. None where one is open."""
        if self.parallel.replicas is None or self.parallel.tp is None:
            return None
        if self.parallel.pp is None and self.parallel.layers is None:
            return None
        return self.unit * self.parallel.replicas.value


def allot(claims: Sequence[Claim], findings: Findings) -> list[tuple[Slot, ...]]:
    """The cards of each serve on one hardware, in the order of `claims`; empty for a serve that gets none, which is a
    finding (KC106 or KC112)."""
    if not claims:
        return []
    hardware = claims[0].hardware
    every = [(index, gpu) for index, node in enumerate(hardware.nodes) for gpu in range(len(node.cards))]
    pinned = _all_pinned(claims, findings)
    taken = {slot for slots in pinned.values() for slot in slots}
    free = [slot for slot in every if slot not in taken]
    open_ = [index for index, claim in enumerate(claims) if not claim.pins]
    shares = _shares([claims[index] for index in open_], len(free))
    found: list[tuple[Slot, ...]] = [()] * len(claims)
    start = 0
    for index, share in zip(open_, shares, strict=True):
        found[index] = tuple(free[start : start + share])
        start += share
        if not share:
            _nothing_left(claims, index, found, pinned, findings)
    for index, slots in pinned.items():
        found[index] = slots
    _overlaps(claims, pinned, findings)
    return found


def _all_pinned(claims: Sequence[Claim], findings: Findings) -> dict[int, tuple[Slot, ...]]:
    """The cards that each pinning serve names. Serves may overlap, so that their number has a limit of its own."""
    pinned: dict[int, tuple[Slot, ...]] = {}
    left = MAX_CLAIMED
    for index, claim in enumerate(claims):
        if not claim.pins:
            continue
        pinned[index] = _pinned(claim, findings)
        left -= len(pinned[index])
        if left < 0:
            message = f"the serves of one spec claim more than {MAX_CLAIMED:,} cards together"
            findings.add("KC007", message, claim.fields.source, _pin_of(claim))
            pinned[index] = ()
            break
    return pinned


def _pinned(claim: Claim, findings: Findings) -> tuple[Slot, ...]:
    """The cards that `nodes` and `gpus` name; those that do not exist are a finding."""
    hardware, fields = claim.hardware, claim.fields
    count = len(hardware.nodes)
    nodes = fields.value("nodes")
    if nodes is not None:
        known = f"nodes 0 to {count - 1}" if count > 1 else "node 0 only"
        _outside(claim, "nodes", [n for n in nodes if n >= count], known, findings)
    chosen = [n for n in (nodes if nodes is not None else range(count)) if n < count]
    gpus = fields.value("gpus")
    most = max((len(hardware.nodes[n].cards) for n in chosen), default=0)
    if gpus is not None and chosen:
        known = f"cards 0 to {most - 1} a node" if most > 1 else "card 0 only"
        _outside(claim, "gpus", [g for g in gpus if g >= most], known, findings)
    slots = []
    for node in chosen:
        size = len(hardware.nodes[node].cards)
        slots += [(node, gpu) for gpu in (sorted(gpus) if gpus is not None else range(size)) if gpu < size]
    return tuple(sorted(slots))


def _outside(claim: Claim, name: str, indices: list[int], known: str, findings: Findings) -> None:
    if not indices:
        return
    value = claim.fields.values[name]
    message = f"`{name}` names {indices[0]}, and `{claim.hardware.name}` has {known}"
    labels = (Label(claim.hardware.head, "the hardware", _other(claim.hardware.source, claim)),)
    findings.add("KC106", message, claim.fields.source, value.origin.span, labels=labels)


def _other(source: Source, claim: Claim) -> Source | None:
    """The file of a label where it is not the finding's own."""
    return source if source is not claim.fields.source else None


def _shares(claims: Sequence[Claim], free: int) -> list[int]:
    """Cards of each serve that pins none: in turn the next engine to whoever has fewest, while there are cards. A lone
    serve sees all of them: what it leaves idle is for the rules to say."""
    if len(claims) == 1:
        return [free]
    units = [
        claim.unit if claim.unit <= free else 1 for claim in claims
    ]  # what cannot be at all is for the rules to say
    shares = [0] * len(claims)
    for index, unit in enumerate(units):  # the first ones in the file get their first engine first
        shares[index] = unit if unit <= free else 0
        free -= shares[index]
    waiting = [(share, index) for index, share in enumerate(shares) if share]
    from heapq import heapify, heappop, heappush

    heapify(waiting)
    while waiting and free > 0:
        share, index = heappop(waiting)
        most = claims[index].most
        if units[index] <= free and (most is None or share < most):
            shares[index] += units[index]
            free -= units[index]
            heappush(waiting, (shares[index], index))
    return shares


def _nothing_left(
    claims: Sequence[Claim],
    index: int,
    found: list[tuple[Slot, ...]],
    pinned: dict[int, tuple[Slot, ...]],
    findings: Findings,
) -> None:
    claim = claims[index]
    others = [other for at, other in enumerate(claims) if at != index and (found[at] or pinned.get(at))]
    needs, left = (f"{claim.unit} cards", "fewer") if claim.unit > 1 else ("a card", "none")
    message = f"`{claim.name}` needs {needs} of `{claim.hardware.name}`, and the other serves leave it {left}"
    labels = tuple(
        Label(other.fields.head, "takes cards of the same hardware", _other(other.fields.source, claim))
        for other in others[:3]
    )
    findings.add("KC112", message, claim.fields.source, claim.fields.head, labels=labels)


def _overlaps(claims: Sequence[Claim], pinned: dict[int, tuple[Slot, ...]], findings: Findings) -> None:
    """Serves that pin the same cards may do so where their utilizations are written and sum to at most 1."""
    holders: dict[Slot, list[int]] = {}
    for index, slots in pinned.items():
        for slot in slots:
            holders.setdefault(slot, []).append(index)
    shared: dict[tuple[int, ...], list[Slot]] = {}
    for slot, indices in sorted(holders.items()):
        if len(indices) > 1:
            shared.setdefault(tuple(indices), []).append(slot)
    blamed: set[int] = set()
    for sharers, together in shared.items():
        sharing = [claims[index] for index in sharers]
        if sharers[-1] in blamed or not _too_much(sharing):
            continue
        blamed.add(sharers[-1])
        _report_overlap(sharing, together, findings)


def _too_much(claims: Sequence[Claim]) -> bool:
    written = [claim.engine.gpu_memory_utilization for claim in claims]
    return any(value is None for value in written) or sum(value.value for value in written if value) > 1 + _ROUNDING


def _report_overlap(claims: Sequence[Claim], slots: list[Slot], findings: Findings) -> None:
    last = claims[-1]
    names = " and ".join(f"`{claim.name}`" for claim in claims)
    message = f"{names} claim the same {_slots_in_words(slots, last.hardware)} of `{last.hardware.name}`"
    written = [claim.engine.gpu_memory_utilization for claim in claims]
    values = [value.value for value in written if value is not None]
    if len(values) == len(claims):
        message += f", and their utilizations sum to {sum(values):.3g}"
    place = _pin_of(last)
    labels = tuple(Label(_pin_of(claim), "claimed here", _other(claim.fields.source, last)) for claim in claims[:-1])
    help_ = ("give each its own `nodes` or `gpus`, or each a `gpu_memory_utilization` so that they sum to at most 1",)
    findings.add("KC112", message, last.fields.source, place, labels=labels, help=help_)


def _pin_of(claim: Claim) -> Span:
    value = claim.fields.get("gpus") or claim.fields.get("nodes")
    assert value is not None
    return value.attribute or value.origin.span


def _slots_in_words(slots: list[Slot], hardware: HardwareSpec) -> str:
    by_node = {node: [gpu for _, gpu in group] for node, group in groupby(slots, key=lambda slot: slot[0])}
    node, gpus = next(iter(by_node.items()))
    text = f"card {gpus[0]}" if len(gpus) == 1 else f"cards {', '.join(str(gpu) for gpu in gpus)}"
    where = f" of node {node}" if len(hardware.nodes) > 1 else ""
    more = f" and others on {len(by_node) - 1} more nodes" if len(by_node) > 1 else ""
    return f"{text}{where}{more}"


def cluster_of(hardware: HardwareSpec, slots: Sequence[Slot]) -> tuple[Cluster, tuple[tuple[int, ...], ...]]:
    """The hardware narrowed to some cards, with the indices that they have on the real machines."""
    network = hardware.network.value if hardware.network is not None else None
    nodes = []
    indices = []
    for index, group in groupby(slots, key=lambda slot: slot[0]):
        node = hardware.nodes[index]
        chosen = tuple(gpu for _, gpu in group)
        cards = tuple(node.cards[gpu].value for gpu in chosen)
        nodes.append(Node(node.host.value, cards, narrowed(node.bus.value, chosen), network))
        indices.append(chosen)
    reserved = hardware.reserved.value if hardware.reserved is not None else 0.0
    return Cluster(tuple(nodes), reserved), tuple(indices)


def narrowed(bus: Bus, chosen: tuple[int, ...]) -> Bus:
    """A bus seen from some of its cards: groups and pairs by their new indices."""
    if not bus.groups and not bus.pairs and bus.host is None:
        return bus
    new = {old: index for index, old in enumerate(chosen)}
    host = narrowed(bus.host, chosen) if bus.host is not None else None
    return evolve(bus, groups=_renamed(bus.groups, new), pairs=_renamed(bus.pairs, new), host=host)


def _renamed(groups: tuple[tuple[int, ...], ...], new: dict[int, int]) -> tuple[tuple[int, ...], ...]:
    kept = (tuple(new[card] for card in group if card in new) for group in groups)
    return tuple(group for group in kept if group)
