"""Buses and networks by kind: rows of `data/links.toml` as the `Bus` and `Network` values that physics takes.

A realistic rate is a measured one where the catalog has it, else the share of theory that was measured on the nearest link,
with a wider range. Rates are one direction, in bytes a second.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, cast

from kcluster.catalog.rows import headed, parse, read
from kcluster.physics.hardware import Bus, BusKind, Card, Network, NetworkKind
from kcluster.units import GB, Figure, given

_LANES: Final = (1, 2, 4, 8, 16)
_PCIE_GENERATIONS: Final = range(1, 7)
# GB/s a lane and direction, after line coding: 8b/10b to generation 2, 128b/130b from 3, flits in 6.
_LANE_GBS: Final = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
_PCIE_SHARE: Final = 0.88
_NVLINK_ROWS: Final = {
    2: "nvlink2-v100",
    3: "nvlink3-a100-switch",
    4: "nvlink4-h100-switch",
    5: "nvlink5-b200-switch",
    6: "nvlink6-rubin-switch",
}
_BRIDGE_ROWS: Final = {3: "nvlink3-bridge-ga102", 4: "nvlink4-bridge-h100-pcie"}
_XGMI_ROWS: Final = {3: "xgmi-mi250x", 4: "xgmi-mi300x"}
_INFINIBAND: Final = {"edr": "ib-edr", "hdr": "ib-hdr", "ndr": "ib-ndr", "xdr": "ib-xdr"}

# NVLink rows without a measurement take the share of theory that the ring all-reduce reaches on the neighbours (links.toml: A100
# 0.78, H100 0.82, B200 0.76).
_NVLINK_SHARE: Final = 0.79
_XGMI_SHARE: Final = 0.70
_BRIDGE_SHARE: Final = 0.80


@lru_cache(maxsize=1)
def _slices() -> dict[str, str]:
    return headed(read("links.toml"))


@lru_cache(maxsize=1)
def link_ids() -> tuple[str, ...]:
    """Every id, in the catalog's order."""
    return tuple(_slices())


@lru_cache(maxsize=64)
def _row(identifier: str) -> dict[str, Any] | None:
    text = _slices().get(identifier)
    return None if text is None else parse(text)


def link_row(identifier: str) -> dict[str, Any] | None:
    """The raw row of an id, None for an unknown one."""
    row = _row(identifier)
    return None if row is None else dict(row)


def _source(identifier: str, row: dict[str, Any]) -> str:
    return (
        f"catalog links.toml [{identifier}], read {row['read']}: {row.get('basis') or 'theory; no measurement found'}"
    )


def pcie_bandwidth(generation: int, lanes: int) -> Figure | None:
    """One direction of a PCIe link as transfers reach it; None for a generation or width that PCIe lacks."""
    if generation not in _PCIE_GENERATIONS or lanes not in _LANES:
        return None
    identifier = f"pcie{generation}-x{lanes}"
    row = _row(identifier)
    if row is not None:
        value, source = row["realistic_gbs"], _source(identifier, row)
    else:
        value = _LANE_GBS[generation] * lanes * _PCIE_SHARE
        source = f"{_PCIE_SHARE:.0%} of line coding arithmetic, the share measured on PCIe 5 x16"
    return given("bus.bandwidth", value * GB, "bytes/s", source).spread(0.9, 1.03)


def _fabric(
    rows: dict[int, str], generation: int, share: float, cards: tuple[Card, ...], kind: BusKind
) -> Figure | None:
    """The rate of a card's own links: its own theory where the card has such links, else the row's, times the row's measured share."""
    identifier = rows.get(generation)
    row = None if identifier is None else _row(identifier)
    own = [
        card.gpu_link_bandwidth.value
        for card in cards
        if card.gpu_link == kind and card.gpu_link_bandwidth is not None and card.gpu_link_generation == generation
    ]
    if row is None or identifier is None:
        if not own:
            return None
        note = f"{share:.0%} of the cards' theory, as measured on like links"
        return given("bus.bandwidth", min(own) * share, "bytes/s", note).spread(0.8, 1.15)
    measured = row.get("realistic_gbs")
    reached = share if measured is None else measured / row["theory_gbs"]
    theory = min(own) if own else row["theory_gbs"] * GB
    source = _source(identifier, row) if measured is not None else f"{_source(identifier, row)}; {share:.0%} assumed"
    figure = given("bus.bandwidth", theory * reached, "bytes/s", source)
    return figure.spread(0.9, 1.1) if measured is not None else figure.spread(0.8, 1.15)


def make_bus(
    kind: str,
    generation: int,
    lanes: int,
    *,
    peer_to_peer: bool | None = None,
    shared_lanes: int = 1,
    groups: tuple[tuple[int, ...], ...] = (),
    pairs: tuple[tuple[int, ...], ...] = (),
    cards: tuple[Card, ...] = (),
) -> Bus | None:
    """The bus of a node.

    Args:
        kind: `pcie`, `nvlink`, `nvlink-bridge` or `xgmi`.
        generation: of the kind (PCIe 1–6, NVLink 2–6, xGMI 3–4).
        lanes: of PCIe; for other kinds those of the PCIe slot beneath, 0 for the cards' own.
        peer_to_peer: None takes what the cards do with the stock driver.
        cards: of the node; their own link rates beat the catalog's row of the generation.

    Returns:
        None where no such generation or width exists.
    """
    direct = all(card.peer_to_peer for card in cards) if peer_to_peer is None else peer_to_peer
    slot_generation = min((card.pcie_generation for card in cards), default=4)
    slot_lanes = lanes or min((card.pcie_lanes for card in cards), default=16)
    if kind == "pcie":
        bandwidth = pcie_bandwidth(generation, slot_lanes)
        if bandwidth is None:
            return None
        return Bus("pcie", generation, slot_lanes, direct, bandwidth, shared_lanes, groups, pairs)
    tables: dict[str, tuple[dict[int, str], float]] = {
        "nvlink": (_NVLINK_ROWS, _NVLINK_SHARE),
        "nvlink-bridge": (_BRIDGE_ROWS, _BRIDGE_SHARE),
        "xgmi": (_XGMI_ROWS, _XGMI_SHARE),
        "roce-mesh": ({}, 0.85),
    }
    if kind not in tables:
        return None
    rows, share = tables[kind]
    known = cast("BusKind", kind)
    bandwidth = _fabric(rows, generation, share, cards, known)
    slot = pcie_bandwidth(slot_generation, slot_lanes)
    if bandwidth is None or slot is None:
        return None
    host = Bus("pcie", slot_generation, slot_lanes, direct, slot, shared_lanes, groups)
    own = kind != "nvlink-bridge"
    return Bus(known, generation, slot_lanes, own or direct, bandwidth, shared_lanes, groups, pairs, host)


def default_bus(card: Card, cards: tuple[Card, ...] = ()) -> Bus:
    """The bus that a card's form decides: an SXM or superchip module's NVLink, an OAM's xGMI, a PCIe card's own slot."""
    everyone = cards or (card,)
    if card.form in ("sxm", "oam", "superchip") and card.gpu_link is not None and card.gpu_link != "nvlink-bridge":
        bus = make_bus(card.gpu_link, card.gpu_link_generation, card.pcie_lanes, cards=everyone)
        if bus is not None:
            return bus
    lanes = card.pcie_lanes if card.pcie_lanes in _LANES else 16
    generation = card.pcie_generation if card.pcie_generation in _PCIE_GENERATIONS else 4
    bus = make_bus("pcie", generation, lanes, cards=everyone)
    if bus is None:
        raise ValueError(f"no PCIe bus of generation {generation} and {lanes} lanes")
    return bus


# What one NIC carries of its line rate. Sockets: 88 % up to where one host thread binds, then 4–5 GB/s (NCCL issue 450; links.toml
# eth100-tcp); RDMA: 96 % (perf.md 3.4: 12–12.2 of 12.5, 24 of 25; EFA 96.9 %).
_TCP_SHARE: Final = 0.88
_TCP_CEILING: Final = 4.5 * GB
_RDMA_SHARE: Final = 0.96


def make_network(kind: str, rate: float, count: int = 1) -> Network | None:
    """What joins nodes.

    Args:
        kind: `ethernet` (sockets), `roce` or `infiniband` (both RDMA).
        rate: bytes/s of one link on the wire.
        count: links a node.

    Returns:
        None for an unknown kind, a rate that is not above zero or a count below one. `latency` is of one message between two
        nodes with the communication library's share: 40–100 µs by sockets, 5–20 µs by RDMA.
    """
    if kind not in ("ethernet", "roce", "infiniband") or not rate > 0 or count < 1:
        return None
    if kind == "ethernet":
        reached = min(rate * _TCP_SHARE, _TCP_CEILING)
        source = (
            "sockets: 88 % of line rate, at most 4–5 GB/s (NCCL issue 450, 100 GbE; none measured at 10 and 25 GbE)"
        )
        bandwidth = given("network.bandwidth", reached, "bytes/s", source)
        low = min(0.8 * rate, 2.5 * GB)
        high = min(0.94 * rate, max(6.0 * GB, 0.25 * rate))
        bandwidth = bandwidth.between(low, max(high, reached))
        latency = given("network.latency", 60e-6, "s", "sockets, a small message (40–100 µs)").between(40e-6, 100e-6)
    else:
        bandwidth = given(
            "network.bandwidth", rate * _RDMA_SHARE, "bytes/s", "RDMA: 96 % of line rate (NCCL tests 29, 119)"
        )
        bandwidth = bandwidth.spread(0.85, 1.01) if kind == "roce" else bandwidth.spread(0.93, 1.01)
        if kind == "roce":
            latency = given("network.latency", 14e-6, "s", "half of a two-node 8 KB all-reduce of 30–35 µs, less 2 µs")
            latency = latency.between(8e-6, 20e-6)
        else:
            latency = given("network.latency", 10e-6, "s", "NCCL's model: 14 µs a hop (Simple), 2.7 (LL) and its base")
            latency = latency.between(5e-6, 16e-6)
    return Network(cast("NetworkKind", kind), float(rate), bandwidth, latency, count)


def infiniband_rate(name: str) -> float | None:
    """bytes/s of one InfiniBand port by its generation's name (edr, hdr, ndr, xdr), None for another name."""
    identifier = _INFINIBAND.get(name.lower())
    row = None if identifier is None else _row(identifier)
    return None if row is None else row["line_rate_gbps"] * GB / 8
