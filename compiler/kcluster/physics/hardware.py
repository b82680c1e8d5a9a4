"""Cards, buses, networks and where ranks sit: the numbers that physics needs of hardware.

Rows of the catalog and `gpu` blocks become a `Card`; `hardware` blocks become a `Cluster`.
"""

from __future__ import annotations

from typing import Literal

from kcluster.units import Figure
from kcluster.values import field, frozen

BusKind = Literal["pcie", "nvlink", "nvlink-bridge", "xgmi", "roce-mesh"]
NetworkKind = Literal["ethernet", "roce", "infiniband"]


@frozen(cache_hash=True)
class Card:
    """One kind of GPU.

    `memory` is what a driver reports as total (bytes), never the marketing figure; where no log gives it, an estimate with a
    range. `flops` are dense rates with fp32 accumulation by arithmetic format ("bf16", "fp8", "int8", "fp4"); a missing key is
    a format that the card does not compute in. `compute_capability` is (major, minor) for NVIDIA, None elsewhere.
    """

    id: str
    name: str
    vendor: str
    memory: Figure
    bandwidth: Figure
    flops: tuple[tuple[str, Figure], ...]
    compute_capability: tuple[int, int] | None
    form: Literal["pcie", "sxm", "oam", "superchip", "soc"]
    pcie_generation: int
    pcie_lanes: int
    gpu_link: BusKind | None
    gpu_link_generation: int
    gpu_link_bandwidth: Figure | None
    """One direction, all links of a card together (bytes/s); None without such links."""
    gpu_link_switched: bool
    """All cards of a node reach each other over it at that rate (NVSwitch, a fully connected mesh)."""
    peer_to_peer: bool
    """Whether cards read each other's memory over PCIe with the stock driver."""
    consumer: bool
    architecture: str = ""
    notes: str = ""
    native: tuple[str, ...] = ()
    """Low-precision formats that it computes in ("fp8", "nvfp4", "mxfp4"); where empty, `flops` decides."""

    def rate(self, kind: str) -> Figure | None:
        """FLOP/s in one arithmetic format, None where the card lacks it."""
        return next((figure for name, figure in self.flops if name == kind), None)


@frozen
class Bus:
    """How the cards of a node reach each other.

    `shared_lanes`: cards that share one link's lanes (2: each has half when both talk). `groups`: cards behind one socket or
    switch. `pairs`: cards joined by an NVLink bridge (the rest of the traffic goes over PCIe of `generation` × `lanes`).
    `figures` of the link itself come from the catalog.
    """

    kind: BusKind
    generation: int
    lanes: int
    peer_to_peer: bool
    bandwidth: Figure
    """One direction of one card (bytes/s), as transfers reach it, not the wire's peak."""
    shared_lanes: int = 1
    groups: tuple[tuple[int, ...], ...] = ()
    pairs: tuple[tuple[int, ...], ...] = ()
    host: Bus | None = None
    """The PCIe bus below the cards' own links: what cards talk over that no bridge joins. None where `kind` is pcie."""


@frozen
class Network:
    """What joins nodes: `count` links a node, shared by its cards. `bandwidth` is of one link, one direction, as reached."""

    kind: NetworkKind
    line_rate: float
    """Of one link, bytes/s on the wire."""
    bandwidth: Figure
    latency: Figure
    count: int = 1

    @property
    def rdma(self) -> bool:
        return self.kind in ("roce", "infiniband")


@frozen
class Node:
    """One machine: its cards by index, its bus, its network (None where the spec names none) and its address."""

    host: str
    cards: tuple[Card, ...]
    bus: Bus
    network: Network | None


@frozen
class Cluster:
    """The machines that a serve may use. `reserved` are bytes that others hold on every card."""

    nodes: tuple[Node, ...]
    reserved: float = 0.0
    gpus: int = field(init=False, repr=False, eq=False)
    """Cards of all nodes together."""

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "gpus", sum(len(node.cards) for node in self.nodes))


@frozen
class Place:
    """One GPU: the index of its node and its index there."""

    node: int
    gpu: int


@frozen
class EnginePlacement:
    """Where one engine (one replica) sits: `ranks[dp rank][stage]` are the places of a tensor-parallel group, in rank order."""

    ranks: tuple[tuple[tuple[Place, ...], ...], ...]

    @property
    def places(self) -> tuple[Place, ...]:
        return tuple(place for dp in self.ranks for stage in dp for place in stage)

    @property
    def nodes(self) -> tuple[int, ...]:
        """The nodes that it touches, in rank order, each once."""
        return tuple(dict.fromkeys(place.node for place in self.places))
