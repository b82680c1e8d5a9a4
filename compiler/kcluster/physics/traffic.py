"""What each axis of a cut puts on its links at the predicted speed: the table that people size networks by.

Traffic is the sum of what all ranks of one engine send in one direction, over the time it is sent for: in decode the bytes of one step
over the step's time at the planned batch, in prefill the bytes of one typical prompt over the time that it takes alone. A ring
all-reduce of a tensor makes each of n ranks send 2 (n − 1) / n of it. Replicas send each other nothing.
"""

from __future__ import annotations

from typing import Literal

from kcluster.physics.architecture import Architecture
from kcluster.physics.communication import allreduce_bytes, alltoall_bytes, links_of, pipeline_bytes
from kcluster.physics.cut import Cut, Limits, Load
from kcluster.physics.hardware import Cluster, EnginePlacement
from kcluster.physics.results import Performance
from kcluster.physics.topology import Group, bus_words, network_words
from kcluster.units import Figure, derive, given
from kcluster.values import frozen

Axis = Literal["tp", "pp", "ep", "replicas"]


@frozen
class Traffic:
    """bytes/s of one axis: `decode` and `prefill` of one engine, `between_nodes` the part of each that leaves a node."""

    axis: Axis
    decode: Figure
    prefill: Figure
    between_nodes: float
    path: str


def cut_traffic(
    arch: Architecture,
    cut: Cut,
    placement: EnginePlacement,
    cluster: Cluster,
    load: Load,
    limits: Limits,
    predicted: Performance,
) -> tuple[Traffic, ...]:
    """The traffic of every axis that a cut uses, of one engine, at a predicted performance."""
    links = links_of(placement, cluster)
    tokens = predicted.batch.value * (1 + limits.speculative_tokens)
    prompt = max(1.0, load.prompt * (1 - load.prefix_share if limits.prefix_caching else 1.0))
    step, alone = predicted.step.total, predicted.prefill
    found: list[Traffic] = []
    if cut.tp > 1:
        group = max(links.tp, key=lambda item: item.nodes)
        found.append(
            Traffic(
                "tp",
                _reduced(allreduce_bytes(arch, cut, tokens), cut, step),
                _reduced(allreduce_bytes(arch, cut, prompt), cut, alone),
                _remote(group),
                _path(group),
            )
        )
    if links.boundary is not None:
        found.append(
            Traffic(
                "pp",
                _rate("traffic.pp", pipeline_bytes(arch, cut, tokens), step),
                _rate("traffic.pp", pipeline_bytes(arch, cut, prompt), alone),
                1.0 if links.boundary.network is not None else 0.0,
                _path(links.boundary),
            )
        )
    if links.experts is not None and arch.moe is not None:
        found.append(
            Traffic(
                "ep",
                _rate("traffic.ep", alltoall_bytes(arch, cut, tokens), step),
                _rate("traffic.ep", alltoall_bytes(arch, cut, prompt), alone),
                _remote(links.experts),
                _path(links.experts),
            )
        )
    if cut.replicas > 1:
        nothing = given("traffic.replicas", 0.0, "bytes/s", "replicas share nothing but the router")
        found.append(Traffic("replicas", nothing, nothing, 0.0, ""))
    return tuple(found)


def _reduced(tensors: Figure, cut: Cut, seconds: Figure) -> Figure:
    figure = derive(
        "traffic.tp",
        "bytes/s",
        "2 * (ranks - 1) * tensors / seconds",
        source="a ring: each of n ranks sends 2 (n - 1) / n of every tensor",
        ranks=cut.tp,
        tensors=tensors,
        seconds=seconds,
    )
    return _ranged(figure, seconds)


def _rate(name: str, size: Figure, seconds: Figure) -> Figure:
    return _ranged(derive(name, "bytes/s", "size / seconds", size=size, seconds=seconds), seconds)


def _ranged(figure: Figure, seconds: Figure) -> Figure:
    low, high = seconds.range()
    return figure.between(figure.value * seconds.value / high, figure.value * seconds.value / low)


def _remote(group: Group) -> float:
    """The part of what a group's ranks send that leaves their node."""
    return 0.0 if group.network is None else 1 - (group.local - 1) / max(1, group.ranks - 1)


def _path(group: Group) -> str:
    if group.network is not None:
        return network_words(group.network)
    return "" if group.bus is None else bus_words(group.bus, group.shared)
