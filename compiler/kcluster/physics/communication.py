"""What the parts of a cut send to each other: bytes of a step, the time they take, and how much of each link they use.

Bytes are those of PHYSICS.md, section 4: an all-reduce moves a tensor of tokens × hidden × 2 bytes and each layer has one after
its token mixer and one after its feed-forward part; a pipeline boundary is one such tensor; experts over data-parallel ranks
exchange tokens × experts_per_token × hidden × 2 × (1 − 1/ep), dispatched and combined, in each mixture-of-experts layer. With expert
parallel inside one tensor-parallel group (dp 1) every rank holds all tokens already: the engine then all-reduces and exchanges
nothing.
"""

from __future__ import annotations

from typing import Final

from kcluster.physics.architecture import Architecture, MoeFfn
from kcluster.physics.collectives import (
    allreduce_seconds,
    alltoall_seconds,
    group_allreduce,
    group_alltoall,
    group_send,
    point_to_point_seconds,
    staged_rate,
)
from kcluster.physics.cut import Cut, EngineVersion, Limits, Load
from kcluster.physics.hardware import Cluster, EnginePlacement, Place
from kcluster.physics.results import Communication, StepTime
from kcluster.physics.time_constants import TimeConstants
from kcluster.physics.topology import Group, bus_words, group_of, network_words
from kcluster.units import Figure, derive, given
from kcluster.values import evolve, frozen

__all__ = [
    "Links",
    "allreduce_bytes",
    "allreduce_seconds",
    "allreduces",
    "alltoall_bytes",
    "alltoall_seconds",
    "communication",
    "links_of",
    "pipeline_bytes",
    "point_to_point_seconds",
]

ACTIVATION_BYTES: Final = 2
"""Bytes of one element of what ranks send to each other."""


@frozen(eq=False)
class Links:
    """The groups of one engine that talk: the slowest tensor-parallel group of each stage, the slowest boundary, the experts'."""

    tp: tuple[Group, ...]
    boundary: Group | None
    experts: Group | None
    boundaries: tuple[Group, ...] = ()


def _slowest(groups: list[Group]) -> Group:
    """The group whose links carry least: between nodes before within one, then by rate."""

    def order(group: Group) -> tuple[float, float]:
        network = group.network
        net = 0.0 if network is None else 1 / (network.bandwidth.value * network.count)
        rate = group.rate
        direct = 1 if group.bus is None or group.bus.peer_to_peer else 2
        return net, 0.0 if rate is None else direct / rate.value

    return max(groups, key=order)


def links_of(placement: EnginePlacement, cluster: Cluster) -> Links:
    """The groups of one engine, each the slowest of its kind: the others wait for it."""
    stages = len(placement.ranks[0])
    first = placement.ranks[0]
    known: dict[tuple[object, ...], Group] = {}

    def group(places: tuple[Place, ...]) -> Group:
        """Groups on like cards of like nodes are one value."""
        look = _look(places, cluster)
        if look not in known:
            known[look] = group_of(places, cluster)
        return known[look]

    tp = tuple(
        _slowest([group(dp[stage]) for dp in placement.ranks]) if len(first[stage]) > 1 else _alone(cluster)
        for stage in range(stages)
    )
    boundaries = []
    for stage in range(stages - 1):
        pairs = [group((dp[stage][0], dp[stage + 1][0])) for dp in placement.ranks]
        boundaries.append(_slowest(pairs))
    experts = None
    if len(placement.ranks) > 1:
        spans = [tuple(place for dp in placement.ranks for place in dp[stage]) for stage in range(stages)]
        experts = _slowest([group_of(span, cluster) for span in spans])
    return Links(tp, _slowest(boundaries) if boundaries else None, experts, tuple(boundaries))


def _look(places: tuple[Place, ...], cluster: Cluster) -> tuple[object, ...]:
    """All of a group's places that its links depend on."""
    order: dict[int, int] = {}
    looks: list[object] = []
    for place in places:
        node = cluster.nodes[place.node]
        looks += (
            order.setdefault(place.node, len(order)),
            id(node.bus),
            id(node.network),
            node.cards[place.gpu].id,
            place.gpu,
        )
    return tuple(looks)


def context_group(placement: EnginePlacement, cluster: Cluster, stage: int, dcp: int) -> Group:
    """The slowest group of decode context parallel in a stage: `dcp` neighbours of a tensor-parallel group."""
    groups = []
    for dp in placement.ranks:
        places = dp[stage]
        groups += [group_of(places[start : start + dcp], cluster) for start in range(0, len(places), dcp)]
    return _slowest(groups)


def _alone(cluster: Cluster) -> Group:
    return Group(1, 1, 1, None, True, 1, None, None, cluster.nodes[0].cards[0].vendor)


def allreduces(arch: Architecture, cut: Cut) -> int:
    """All-reduces of one forward pass: one after each token mixer and each feed-forward part; with data-parallel ranks experts
    combine by an exchange instead."""
    mixers, feeds, experts = _counts(arch)
    return mixers + feeds - (experts if cut.dp > 1 else 0)


def moe_layers(arch: Architecture) -> int:
    """Layers with experts."""
    return _counts(arch)[2]


_counted: dict[int, tuple[Architecture, tuple[int, int, int]]] = {}
_MOST_COUNTED: Final = 256


def _counts(arch: Architecture) -> tuple[int, int, int]:
    """Layers with a token mixer, with a feed-forward part, and with experts."""
    known = _counted.get(id(arch))
    if known is None:
        if len(_counted) >= _MOST_COUNTED:
            _counted.clear()
        counts = (
            sum(1 for layer in arch.layers if layer.mixers),
            sum(1 for layer in arch.layers if layer.ffn is not None),
            sum(1 for layer in arch.layers if isinstance(layer.ffn, MoeFfn)),
        )
        # the architecture is kept with the result, so that no other object can take its identity
        known = _counted[id(arch)] = (arch, counts)
    return known[1]


def allreduce_bytes(arch: Architecture, cut: Cut, tokens: float) -> Figure:
    """Bytes of all tensors that one forward pass of `tokens` tokens all-reduces; 0 for tp 1."""
    if cut.tp < 2:
        return given("communication.allreduce_bytes", 0.0, "bytes", "tp 1")
    return derive(
        "communication.allreduce_bytes",
        "bytes",
        "allreduces * tokens * hidden * width",
        source="PHYSICS.md, section 4",
        allreduces=allreduces(arch, cut),
        tokens=given("tokens", tokens, "tokens"),
        hidden=arch.hidden,
        width=ACTIVATION_BYTES,
    )


def pipeline_bytes(arch: Architecture, cut: Cut, tokens: float) -> Figure:
    """Bytes that cross all stage boundaries for `tokens` tokens; 0 for pp 1."""
    if cut.pp < 2:
        return given("communication.pipeline_bytes", 0.0, "bytes", "pp 1")
    return derive(
        "communication.pipeline_bytes",
        "bytes",
        "boundaries * tokens * hidden * width",
        source="PHYSICS.md, section 4",
        boundaries=cut.pp - 1,
        tokens=given("tokens", tokens, "tokens"),
        hidden=arch.hidden,
        width=ACTIVATION_BYTES,
    )


def alltoall_bytes(arch: Architecture, cut: Cut, tokens: float) -> Figure:
    """Bytes that experts' ranks exchange for `tokens` tokens in all mixture-of-experts layers, dispatched and combined; 0 for dp 1.

    Without expert parallel, every data-parallel rank gathers all tokens and scatters its share of the sums.
    """
    moe = arch.moe
    if moe is None or cut.dp < 2:
        return given("communication.alltoall_bytes", 0.0, "bytes", "no experts over data-parallel ranks")
    if cut.ep:
        return derive(
            "communication.alltoall_bytes",
            "bytes",
            "2 * layers * tokens * experts_per_token * hidden * width * (1 - 1 / ranks)",
            source="PHYSICS.md, section 4: dispatch and combine",
            layers=moe_layers(arch),
            tokens=given("tokens", tokens, "tokens"),
            experts_per_token=moe.experts_per_token,
            hidden=arch.hidden,
            width=ACTIVATION_BYTES,
            ranks=cut.ep_size,
        )
    return derive(
        "communication.alltoall_bytes",
        "bytes",
        "2 * layers * tokens * hidden * width * (ranks - 1)",
        source="all-gather and reduce-scatter over data-parallel ranks",
        layers=moe_layers(arch),
        tokens=given("tokens", tokens, "tokens"),
        hidden=arch.hidden,
        width=ACTIVATION_BYTES,
        ranks=cut.dp,
    )


def communication(
    arch: Architecture,
    cut: Cut,
    placement: EnginePlacement,
    cluster: Cluster,
    batch: float,
    load: Load,
    limits: Limits,
    engine: EngineVersion,
    constants: TimeConstants,
    *,
    step: StepTime | None = None,
    links: Links | None = None,
) -> Communication:
    """Bytes and seconds of one engine at a decode batch of `batch` requests.

    `prefill_…` are of `batch` prompts of `load.prompt` tokens less what repeats of them. A pipeline's requests travel as pp
    micro-batches: seconds are those that one token of a request waits. With `step` (of `performance`) `links` says what each
    kind of link carries at that step time. `links`: of this placement, where they are known.
    """
    links = links or links_of(placement, cluster)
    tokens = batch * (1 + limits.speculative_tokens)
    micro = tokens / (cut.dp * cut.pp)
    prefill = batch * load.prompt * (1 - load.prefix_share if limits.prefix_caching else 1.0)
    reduce_bytes = allreduce_bytes(arch, cut, tokens)
    boundary_bytes = pipeline_bytes(arch, cut, tokens)
    exchange_bytes = alltoall_bytes(arch, cut, tokens)
    reduce_seconds = _allreduce_step(arch, cut, links, max(1.0, micro), constants, limits.eager)
    boundary_seconds = pipeline_seconds(arch, cut, links, max(1.0, micro), constants)
    exchange_seconds = alltoall_step(arch, cut, links, max(1.0, tokens / cut.pp), constants)
    prefill_reduce = allreduce_bytes(arch, cut, prefill)
    prefill_boundary = pipeline_bytes(arch, cut, prefill)
    result = Communication(
        allreduce_bytes_per_step=reduce_bytes,
        allreduce_seconds_per_step=reduce_seconds,
        pipeline_bytes_per_step=boundary_bytes,
        pipeline_seconds_per_step=boundary_seconds,
        alltoall_bytes_per_step=exchange_bytes,
        alltoall_seconds_per_step=exchange_seconds,
        prefill_allreduce_bytes=prefill_reduce,
        prefill_pipeline_bytes=prefill_boundary,
        prefill_pipeline_seconds=pipeline_seconds(arch, cut, links, prefill, constants),
        tp_path=_slowest(list(links.tp)).words if cut.tp > 1 else "",
        pp_path=_boundary_words(links.boundary),
        ep_path=links.experts.words if links.experts is not None and arch.moe is not None else "",
    )
    if step is None:
        return result
    return _with_links(result, links, cut, placement, step)


def _boundary_words(group: Group | None) -> str:
    if group is None:
        return ""
    return network_words(group.network) if group.network is not None else group.words


def allreduce_one(arch: Architecture, group: Group, tokens: float, constants: TimeConstants, eager: bool) -> Figure:
    """One all-reduce of the hidden states of `tokens` tokens over a group."""
    return group_allreduce(tokens * arch.hidden * ACTIVATION_BYTES, group, constants, eager=eager)


def _allreduce_step(
    arch: Architecture, cut: Cut, links: Links, tokens: float, constants: TimeConstants, eager: bool
) -> Figure:
    """All of one token's all-reduces, through every stage."""
    if cut.tp < 2:
        return given("communication.allreduce_seconds", 0.0, "s", "tp 1")
    slowest = _slowest(list(links.tp))
    one = allreduce_one(arch, slowest, tokens, constants, eager)
    total = derive(
        "communication.allreduce_seconds", "s", "allreduces * one", allreduces=allreduces(arch, cut), one=one
    )
    low, high = one.range()
    return total.between(total.value * low / one.value, total.value * high / one.value)


def pipeline_seconds(arch: Architecture, cut: Cut, links: Links, tokens: float, constants: TimeConstants) -> Figure:
    """Seconds that `tokens` tokens take over all stage boundaries, one after the other."""
    if links.boundary is None or tokens <= 0:
        return given("communication.pipeline_seconds", 0.0, "s", "pp 1")
    size = tokens * arch.hidden * ACTIVATION_BYTES
    different = {id(group): group for group in links.boundaries}
    by_group = {key: group_send(size, group, constants) for key, group in different.items()}
    sends = [by_group[id(group)] for group in links.boundaries]
    slowest = max(sends, key=lambda figure: figure.value)
    total = sum(figure.value for figure in sends)
    figure = derive(
        "communication.pipeline_seconds",
        "s",
        "boundaries * mean",
        source=slowest.source,
        boundaries=cut.pp - 1,
        mean=given("one boundary", total / len(sends), "s", slowest.source),
    )
    ranges = [send.range() for send in sends]
    return figure.between(sum(low for low, _ in ranges), sum(high for _, high in ranges))


def alltoall_step(arch: Architecture, cut: Cut, links: Links, tokens: float, constants: TimeConstants) -> Figure:
    """Seconds of all exchanges between experts' ranks for `tokens` tokens of the whole engine."""
    if links.experts is None or arch.moe is None or cut.dp < 2:
        return given("communication.alltoall_seconds", 0.0, "s", "no experts over data-parallel ranks")
    layers = moe_layers(arch)
    each = alltoall_bytes(arch, cut, tokens).value / (2 * layers * cut.expert_shards)
    one = group_alltoall(each, links.experts, constants)
    total = derive("communication.alltoall_seconds", "s", "2 * layers * one", layers=layers, one=one)
    low, high = one.range()
    return total.between(2 * layers * low, 2 * layers * high)


def _with_links(
    result: Communication, links: Links, cut: Cut, placement: EnginePlacement, step: StepTime
) -> Communication:
    period = step.total
    loads: list[tuple[str, Figure, Figure]] = []
    if cut.tp > 1:
        loads += _loads("all-reduce", result.allreduce_bytes_per_step, _slowest(list(links.tp)), cut, period)
    if links.boundary is not None:
        loads += _loads("pipeline", result.pipeline_bytes_per_step, links.boundary, cut, period)
    if links.experts is not None and result.alltoall_bytes_per_step.value > 0:
        loads += _loads("all-to-all", result.alltoall_bytes_per_step, links.experts, cut, period)
    return evolve(result, links=tuple(loads))


def _loads(what: str, per_step: Figure, group: Group, cut: Cut, period: Figure) -> list[tuple[str, Figure, Figure]]:
    """What one card's bus, or one node's network, carries of a collective in one direction, and what it could."""
    together = group.local if group.network is not None and what == "all-to-all" else 1
    if what == "all-reduce":
        carried = derive(
            "link.load",
            "bytes/s",
            "2 * (ranks - 1) / ranks * size / groups / period",
            source="a ring's share of each link",
            ranks=group.ranks,
            groups=cut.dp,
            size=per_step,
            period=period,
        )
    else:
        carried = derive(
            "link.load",
            "bytes/s",
            "size * together / parts / period",
            source="bytes of a step over the step's time",
            together=together,
            parts=max(1, cut.pp - 1) if what == "pipeline" else group.ranks,
            size=per_step,
            period=period,
        )
    if group.network is not None:
        network = group.network
        able = derive("link.rate", "bytes/s", "links * rate", links=network.count, rate=network.bandwidth)
        return [(f"{what} over {network_words(network)}", carried, able)]
    rate = group.rate
    if rate is None or group.bus is None:
        return []
    if not group.bus.peer_to_peer:
        rate = staged_rate(rate)
    return [(f"{what} over {bus_words(group.bus, group.shared)}", carried, rate)]
