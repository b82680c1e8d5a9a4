"""Who talks over what: a group of ranks, the bus and network between them, and the words for it."""

from __future__ import annotations

from collections import Counter
from typing import Final

from kcluster.physics.hardware import Bus, Card, Cluster, Network, Place
from kcluster.units import GB, Figure, given
from kcluster.values import frozen

# Where a cut spans nodes and no network is named, time is that of the least that joins servers.
ASSUMED_NETWORK: Final = Network(
    kind="ethernet",
    line_rate=1.25 * GB,
    bandwidth=given("network.bandwidth", 1.1 * GB, "bytes/s", "no network given: 10 GbE assumed").between(
        0.5 * GB, 3 * GB
    ),
    latency=given("network.latency", 60e-6, "s", "no network given: 10 GbE assumed").between(40e-6, 100e-6),
)

_NAMES: Final = {"nvlink": "NVLink", "nvlink-bridge": "NVLink", "xgmi": "xGMI", "roce-mesh": "RoCE mesh"}
_NETWORKS: Final = {"ethernet": "Ethernet", "roce": "RoCE", "infiniband": "InfiniBand"}


@frozen(eq=False)
class Group:
    """Ranks that talk to each other.

    Attributes:
        ranks: how many; `nodes`: over how many machines; `local`: the most on one of them.
        bus: the slowest bus that joins those of one node; None where no node holds two of them.
        connected: every pair of them in a node reaches each other over the cards' own links.
        shared: the most of them that share one link's lanes.
        crosses: they sit behind different sockets or switches; None where the spec does not say.
        network: the slowest between their nodes; None within one node.
        vendor: of their cards.
    """

    ranks: int
    nodes: int
    local: int
    bus: Bus | None
    connected: bool
    shared: int
    crosses: bool | None
    network: Network | None
    vendor: str
    rate: Figure | None = None
    """bytes/s that one card puts on the bus in one direction, its share where lanes are shared; None where no bus joins them."""

    @property
    def words(self) -> str:
        """`PCIe 5 x16, host-staged`, `NVLink 4`, `100 Gb/s RoCE between nodes`; empty for one rank."""
        parts = []
        if self.bus is not None:
            parts.append(bus_words(self.bus, self.shared))
        if self.network is not None:
            parts.append(f"{network_words(self.network)} between nodes")
        return "; ".join(parts)


def bus_words(bus: Bus, shared: int = 1) -> str:
    """A bus as people call it."""
    if bus.kind == "pcie":
        way = "peer to peer" if bus.peer_to_peer else "host-staged"
        lanes = f"PCIe {bus.generation} x{bus.lanes}"
        return f"{lanes}, {way}" if shared < 2 else f"{lanes} shared by {shared}, {way}"
    if bus.kind == "roce-mesh":
        return _NAMES[bus.kind]
    return f"{_NAMES[bus.kind]} {bus.generation}" + (" bridge" if bus.kind == "nvlink-bridge" else "")


def network_words(network: Network) -> str:
    """A network as people call it, with the number of links where a node has several."""
    rate = f"{network.line_rate * 8 / 1e9:g} Gb/s {_NETWORKS[network.kind]}"
    return rate if network.count == 1 else f"{network.count} × {rate}"


def _between(bus: Bus, cards: tuple[Card, ...], gpus: tuple[int, ...]) -> tuple[Bus, bool]:
    """The bus that really joins cards of one node, and whether every pair of them has the cards' own links."""
    if bus.kind == "nvlink-bridge":
        if any(set(gpus) <= set(pair) for pair in bus.pairs):
            return bus, True
        return bus.host or bus, False
    if bus.kind in ("nvlink", "xgmi", "roce-mesh"):
        switched = all(cards[gpu].gpu_link_switched or cards[gpu].gpu_link is None for gpu in gpus)
        return bus, switched or len(gpus) <= 4
    return bus, False


def _slowness(bus: Bus, shared: int) -> float:
    """What orders buses from fast to slow: seconds a byte, twice for a path through host memory."""
    return shared / bus.bandwidth.value * (1 if bus.peer_to_peer else 2)


def group_of(places: tuple[Place, ...], cluster: Cluster) -> Group:
    """The group that ranks at these places form. The slowest node decides for all: a collective ends with its last rank."""
    by_node: dict[int, list[int]] = {}
    for place in places:
        by_node.setdefault(place.node, []).append(place.gpu)
    bus: Bus | None = None
    connected, shared, crosses = True, 1, None
    for index, gpus in sorted(by_node.items()):
        if len(gpus) < 2:
            continue
        node = cluster.nodes[index]
        joined, full = _between(node.bus, node.cards, tuple(gpus))
        lanes = max(Counter(gpu // max(1, joined.shared_lanes) for gpu in gpus).values())
        lanes = lanes if joined.kind == "pcie" else 1
        if bus is None or _slowness(joined, lanes) > _slowness(bus, shared):
            bus, shared = joined, lanes
        connected = connected and full
        if joined.groups:
            crosses = bool(crosses) or not any(set(gpus) <= set(group) for group in joined.groups)
    network = None
    if len(by_node) > 1:
        networks = [cluster.nodes[index].network or ASSUMED_NETWORK for index in sorted(by_node)]
        network = min(networks, key=lambda item: item.bandwidth.value * item.count)
    first = places[0]
    return Group(
        ranks=len(places),
        nodes=len(by_node),
        local=max(len(gpus) for gpus in by_node.values()),
        bus=bus,
        connected=connected,
        shared=shared,
        crosses=crosses,
        network=network,
        vendor=cluster.nodes[first.node].cards[first.gpu].vendor,
        rate=_rate(bus, shared),
    )


def _rate(bus: Bus | None, shared: int) -> Figure | None:
    if bus is None:
        return None
    if shared < 2:
        return bus.bandwidth
    low, high = bus.bandwidth.range()
    source = f"{bus.bandwidth.source}; shared by {shared}"
    return given("bus.rate", bus.bandwidth.value / shared, "bytes/s", source).between(low / shared, high / shared)
