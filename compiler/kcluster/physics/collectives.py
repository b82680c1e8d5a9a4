"""The time of one message: all-reduce, all-to-all, point to point.

An all-reduce within a node is read from a measured table of its path, scaled from the system that was measured to the bus at hand;
between nodes the slowest NIC is added. Every time is a figure with a range: what like systems show, wider where the table had to be
extrapolated.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

from kcluster.physics.hardware import Cluster, Place
from kcluster.physics.time_constants import CollectivePath, CollectiveTable, TimeConstants
from kcluster.physics.topology import Group, group_of
from kcluster.units import Figure, derive, evaluator, given

# The engine's own all-reduce (vLLM, custom_all_reduce): these world sizes, one node, messages up to 8 MiB, and more than two
# ranks only where every pair has a direct link.
CUSTOM_RANKS: Final = (2, 4, 6, 8, 16)

# Ranks behind different sockets or switches reach about this share of the bus bandwidth of ranks behind one
# (8 × RTX PRO 6000: 39–41 GB/s on switches, 22–25 across sockets untuned; rtx6kpro, 2026).
_CROSS_SHARE: Final = 0.6
# Tables of more ranks than this were measured across sockets already.
_ONE_SOCKET: Final = 4
# A path through host memory moves every byte twice, by copies that do not overlap fully.
_STAGED_SHARE: Final = 0.5
# The link that joins two halves of a node without a table of its own is scaled from another generation: likely off by this much.
_EXTRAPOLATED: Final = (0.8, 1.35)

WITHIN: Final = "(latency + (measured - latency) * slower) * factor + eager"
BETWEEN: Final = "hops * latency + 2 * (ranks - 1) / ranks * size / (links * rate)"

_NOTHING: Final = given("communication.none", 0.0, "s", "one rank: nothing to send")


def collective_path(group: Group) -> CollectivePath:
    """Which implementation an all-reduce of this group takes within a node."""
    if group.bus is None or group.bus.kind != "pcie":
        own = group.ranks in CUSTOM_RANKS and group.nodes == 1 and group.connected
        return "custom" if own else "nccl"
    if not group.bus.peer_to_peer:
        return "staged"
    return "custom" if group.ranks == 2 and group.nodes == 1 else "nccl"


def _table(group: Group, constants: TimeConstants) -> tuple[CollectiveTable, bool]:
    """The measured table nearest to a group's path, and whether it had to be taken from another generation or kind of bus."""
    bus = group.bus
    if bus is None:
        raise LookupError("no bus joins these ranks")
    path = collective_path(group)
    kind = {"nvlink-bridge": "nvlink", "roce-mesh": "xgmi"}.get(bus.kind, bus.kind)
    if kind == "xgmi" and path == "nccl":
        path = "custom"
    table = _nearest(constants, path, kind, bus.generation)
    return table, table.generation != bus.generation or kind != bus.kind


@lru_cache(maxsize=256)
def _nearest(constants: TimeConstants, path: CollectivePath, kind: str, generation: int) -> CollectiveTable:
    return constants.table(path, kind, generation)


def _slower(group: Group, table: CollectiveTable) -> float:
    """How many times longer a byte takes than on the measured system."""
    rate = group.rate
    if rate is None:
        return 1.0
    crossing = 1.0
    if group.crosses is True and group.ranks <= _ONE_SOCKET:
        crossing = 1 / _CROSS_SHARE
    elif group.crosses is False and group.ranks > _ONE_SOCKET:
        crossing = _CROSS_SHARE
    return table.bandwidth / rate.value * (crossing if group.bus is not None and group.bus.kind == "pcie" else 1.0)


def group_allreduce(size: float, group: Group, constants: TimeConstants, *, eager: bool = False) -> Figure:
    """Seconds of one all-reduce of `size` bytes (the tensor, not what travels) over a group."""
    if group.ranks < 2 or size <= 0:
        return _NOTHING
    if group.network is None:
        return _within(size, group, group.local, constants, eager)
    between = _between_nodes(size, group, constants)
    if group.local < 2:
        return between
    within = _within(size, group, group.local, constants, eager)
    total = derive("communication.allreduce", "s", "within + between", within=within, between=between)
    lows, highs = zip(within.range(), between.range(), strict=True)
    return total.between(sum(lows), sum(highs))


def _within(size: float, group: Group, ranks: int, constants: TimeConstants, eager: bool) -> Figure:
    table, extrapolated = _table(group, constants)
    whole, latency = table.at(ranks, size)
    slower = _slower(group, table)
    note = f"{table.name}: {table.source}" + ("; extrapolated to this bus" if extrapolated else "")
    figure = derive(
        "communication.allreduce",
        "s",
        WITHIN,
        source=note,
        latency=given("latency of the measured system", latency, "s", table.source),
        measured=given("time of the measured system", whole, "s", table.source),
        slower=given("measured system's bandwidth over this bus's", slower, "ratio"),
        factor=constants.allreduce_factor,
        eager=constants.allreduce_eager if eager else given("eager", 0, "s", "CUDA graphs"),
    )
    wide = _EXTRAPOLATED if extrapolated or not 0.7 < slower < 1.5 else (1.0, 1.0)
    return figure.spread(table.low * wide[0], table.high * wide[1])


def allreduce_value(size: float, group: Group, constants: TimeConstants, *, eager: bool = False) -> float:
    """The seconds of `group_allreduce`, by the same formulas, without the figures: for searches."""
    if group.ranks < 2 or size <= 0:
        return 0.0
    seconds = 0.0
    network = group.network
    if network is not None:
        seconds = evaluator(BETWEEN)(
            hops=2 * math.ceil(math.log2(group.nodes)),
            latency=network.latency.value,
            ranks=group.ranks,
            size=size,
            links=network.count,
            rate=network.bandwidth.value,
        )
    if group.local < 2:
        return seconds
    table, _ = _table(group, constants)
    whole, latency = table.at(group.local, size)
    return seconds + evaluator(WITHIN)(
        latency=latency,
        measured=whole,
        slower=_slower(group, table),
        factor=constants.allreduce_factor.value,
        eager=constants.allreduce_eager.value if eager else 0.0,
    )


def _between_nodes(size: float, group: Group, constants: TimeConstants) -> Figure:
    """A ring through the nodes' NICs: each link carries 2 (n − 1) / n of the tensor; latency of a tree of nodes, up and down."""
    network = group.network
    if network is None:
        return _NOTHING
    hops = 2 * math.ceil(math.log2(group.nodes))
    figure = derive(
        "communication.allreduce_between_nodes",
        "s",
        BETWEEN,
        source="ring all-reduce: bus bandwidth of the node's links",
        hops=hops,
        latency=network.latency,
        ranks=group.ranks,
        size=given("message", size, "bytes"),
        links=network.count,
        rate=network.bandwidth,
    )
    moved = 2 * (group.ranks - 1) / group.ranks * size / network.count
    fast, slow = network.latency.range(), network.bandwidth.range()
    return figure.between(hops * fast[0] + moved / slow[1], hops * fast[1] + moved / slow[0])


def group_alltoall(size: float, group: Group, constants: TimeConstants) -> Figure:
    """Seconds of one all-to-all in which every rank sends `size` bytes, in equal parts to all others."""
    if group.ranks < 2 or size <= 0:
        return _NOTHING
    rate = group.rate
    parts: list[Figure] = []
    remote = 1 - group.local / group.ranks
    if rate is not None and group.bus is not None:
        share = 1.0 if group.bus.peer_to_peer else _STAGED_SHARE
        figure = derive(
            "communication.alltoall",
            "s",
            "latency + size * local / (rate * share)",
            source="every rank sends to every other at once, over its own link",
            latency=constants.exchange if group.bus.peer_to_peer else constants.exchange.value * 2,
            size=given("sent by one rank", size, "bytes"),
            local=given("part that stays in the node", 1 - remote, "ratio"),
            rate=rate,
            share=given("share that the path reaches", share, "ratio"),
        )
        parts.append(figure.spread(0.7, 1.8))
    if group.network is not None:
        network = group.network
        figure = derive(
            "communication.alltoall_between_nodes",
            "s",
            "latency * peers + size * remote * local / (links * rate)",
            source="the ranks of a node share its links",
            latency=network.latency,
            peers=max(1, math.ceil(math.log2(group.nodes))),
            size=given("sent by one rank", size, "bytes"),
            remote=given("part that leaves the node", remote, "ratio"),
            local=group.local,
            links=network.count,
            rate=network.bandwidth,
        )
        parts.append(figure.spread(0.7, 1.8))
    if len(parts) == 1:
        return parts[0]
    total = derive("communication.alltoall", "s", "within + between", within=parts[0], between=parts[1])
    return total.spread(0.7, 1.8)


def group_send(size: float, group: Group, constants: TimeConstants) -> Figure:
    """Seconds of one message of `size` bytes from one rank to another (a group of two places)."""
    if group.ranks < 2 or size <= 0:
        return _NOTHING
    if group.network is not None:
        network = group.network
        figure = derive(
            "communication.send",
            "s",
            "latency + size / (links * rate)",
            source="a stage boundary over the node's links",
            latency=network.latency,
            size=given("message", size, "bytes"),
            links=1,
            rate=network.bandwidth,
        )
        fast, slow = network.latency.range(), network.bandwidth.range()
        return figure.between(fast[0] + size / slow[1], fast[1] + size / slow[0])
    rate = group.rate
    if rate is None or group.bus is None:
        return _NOTHING
    figure = derive(
        "communication.send",
        "s",
        "latency + size / (rate * share)",
        source="a stage boundary within a node",
        latency=constants.send if group.bus.peer_to_peer else constants.send_staged,
        size=given("message", size, "bytes"),
        rate=rate,
        share=given("share that the path reaches", 1.0 if group.bus.peer_to_peer else _STAGED_SHARE, "ratio"),
    )
    return figure.spread(0.6, 2.0)


def staged_rate(rate: Figure) -> Figure:
    """Bytes/s of one direction of a card's link where every byte passes host memory on its way to another card."""
    figure = derive(
        "link.staged_rate",
        "bytes/s",
        "rate * share",
        source="a path through host memory moves every byte twice",
        rate=rate,
        share=given("share that the path reaches", _STAGED_SHARE, "ratio"),
    )
    low, high = rate.range()
    return figure.between(low * _STAGED_SHARE, high * _STAGED_SHARE)


def allreduce_seconds(size: float, places: tuple[Place, ...], cluster: Cluster, constants: TimeConstants) -> Figure:
    """Seconds of one all-reduce of a tensor of `size` bytes over ranks at these places, with CUDA graphs."""
    return group_allreduce(size, group_of(places, cluster), constants)


def alltoall_seconds(size: float, places: tuple[Place, ...], cluster: Cluster, constants: TimeConstants) -> Figure:
    """Seconds of one all-to-all in which each rank at these places sends `size` bytes in all."""
    return group_alltoall(size, group_of(places, cluster), constants)


def point_to_point_seconds(
    size: float, source: Place, target: Place, cluster: Cluster, constants: TimeConstants
) -> Figure:
    """Seconds of one message of `size` bytes from one place to another."""
    return group_send(size, group_of((source, target), cluster), constants)
