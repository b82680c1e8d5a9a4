"""Buses and networks by kind."""

from __future__ import annotations

import pytest

from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.links import default_bus, infiniband_rate, link_ids, link_row, make_bus, make_network
from kcluster.physics.hardware import Card
from kcluster.units import GB


def card(name: str) -> Card:
    match = find_gpu(name)
    assert match is not None
    return match.card


def test_every_row_is_there() -> None:
    assert len(link_ids()) >= 49
    for identifier in link_ids():
        row = link_row(identifier)
        assert row is not None and row["kind"] and row["sources"]
    assert link_row("carrier-pigeon") is None


def test_form_decides_the_bus() -> None:
    assert (default_bus(card("h100-sxm")).kind, default_bus(card("h100-sxm")).generation) == ("nvlink", 4)
    assert default_bus(card("mi300x")).kind == "xgmi"
    bus = default_bus(card("rtx-5090"))
    assert (bus.kind, bus.generation, bus.lanes, bus.peer_to_peer) == ("pcie", 5, 16, False)
    # nvbandwidth on Gen5 x16: 55.43 GB/s
    assert bus.bandwidth.value == pytest.approx(55.4 * GB)
    # a bridge must be said to be there
    assert default_bus(card("rtx-a6000")).kind == "pcie"


def test_pcie_for_an_sxm_card_is_honoured() -> None:
    bus = make_bus("pcie", 5, 16, cards=(card("h100-sxm"),) * 4)
    assert bus is not None and bus.kind == "pcie" and bus.peer_to_peer


def test_a_cards_own_links_beat_the_row() -> None:
    # MI355X: 535.5 GB/s of links at the share measured on MI300X (312.9 / 448)
    bus = default_bus(card("mi355x"))
    assert bus.bandwidth.value == pytest.approx(535.5 * 312.9 / 448 * GB)


def test_lanes_and_generations_scale() -> None:
    whole, half, older = (make_bus("pcie", *shape) for shape in ((5, 16), (5, 8), (4, 16)))
    assert whole and half and older
    assert whole.bandwidth.value / half.bandwidth.value == pytest.approx(2, rel=0.01)
    assert whole.bandwidth.value / older.bandwidth.value == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(
    ("kind", "generation", "lanes"),
    [
        ("pcie", 0, 16),
        ("pcie", 9, 16),
        ("pcie", 5, 3),
        ("pcie", 5, -1),
        ("nvlink", 9, 0),
        ("nvlink-bridge", 1, 0),
        ("xgmi", 1, 0),
        ("isa", 1, 1),
    ],
)
def test_what_does_not_exist_is_none(kind: str, generation: int, lanes: int) -> None:
    assert make_bus(kind, generation, lanes) is None


def test_a_bridge_keeps_the_slot_beneath() -> None:
    bus = make_bus("nvlink-bridge", 3, 0, pairs=((0, 1), (2, 3)), cards=(card("rtx-3090"),) * 4, peer_to_peer=False)
    assert bus is not None and bus.host is not None
    assert (bus.bandwidth.value, bus.host.kind, bus.host.generation, bus.host.peer_to_peer) == (
        48 * GB,
        "pcie",
        4,
        False,
    )


def test_networks() -> None:
    ten, quarter, hundred = (make_network("ethernet", rate * GB / 8, 1) for rate in (10, 25, 100))
    assert ten and quarter and hundred
    # 88 % of 1.25 and 3.125 GB/s; sockets stop at 4-5 GB/s
    assert ten.bandwidth.value == pytest.approx(1.1 * GB)
    assert quarter.bandwidth.value == pytest.approx(2.75 * GB)
    assert 4 * GB <= hundred.bandwidth.value <= 5 * GB
    roce = make_network("roce", 12.5 * GB, 2)
    assert roce and roce.bandwidth.value == pytest.approx(12.0 * GB) and roce.count == 2 and roce.rdma
    assert 40e-6 <= ten.latency.value <= 100e-6
    assert roce.latency.value < ten.latency.value
    rate = infiniband_rate("ndr")
    assert rate == 50 * GB and infiniband_rate("sdr") is None


@pytest.mark.parametrize(
    ("kind", "rate", "count"), [("ethernet", 0.0, 1), ("roce", -1.0, 1), ("ethernet", 1e9, 0), ("token-ring", 1e9, 1)]
)
def test_no_network_of_nothing(kind: str, rate: float, count: int) -> None:
    assert make_network(kind, rate, count) is None


def test_a_faster_wire_never_carries_less() -> None:
    rates = [1, 10, 25, 40, 50, 100, 200, 400, 800]
    for kind in ("ethernet", "roce", "infiniband"):
        networks = [make_network(kind, rate * GB / 8, 1) for rate in rates]
        values = [network.bandwidth.value for network in networks if network]
        lows = [network.bandwidth.range()[0] for network in networks if network]
        assert values == sorted(values) and lows == sorted(lows) and len(values) == len(rates)
