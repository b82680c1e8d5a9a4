"""Hardware: cards, nodes, buses and networks, from the catalog and from the spec's own blocks."""

from __future__ import annotations

import pytest

from tests.spec.resolving import Resolved, resolved

REST = """
model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
sla team { concurrency = 8, context = 4K, prompt = 2K, completion = 500 }
"""


def hardware(body: str, before: str = "") -> Resolved:
    return resolved(f"{before}hardware box {{\n{body}\n}}\n{REST}")


@pytest.mark.parametrize(
    ("gpus", "ids"),
    [
        ("4 * rtx-5090", ["rtx-5090"] * 4),
        ("rtx-5090", ["rtx-5090"]),
        ('2 * "RTX 5090"', ["rtx-5090"] * 2),
        ("2 * rtx5090", ["rtx-5090"] * 2),
        ("1 * h100", ["h100-sxm"]),
        ("1 * rtx-pro-6000", ["rtx-pro-6000-blackwell-ws"]),
        ("[2 * rtx-4090, 1 * rtx-5090]", ["rtx-4090"] * 2 + ["rtx-5090"]),
        ("64 * l4", ["l4"] * 64),
    ],
)
def test_cards(gpus: str, ids: list[str]) -> None:
    found = hardware(f"gpus = {gpus}")
    assert found.found == (), found.report()
    cards = found.serve.hardware.nodes[0].cards
    assert [card.value.id for card in cards] == ids
    assert all(card.origin.kind == "catalog" for card in cards)
    if gpus in ("1 * h100", "1 * rtx-pro-6000"):
        assert f"taken as {ids[0]}" in cards[0].origin.note


@pytest.mark.parametrize(
    ("gpus", "code"),
    [
        ("0 * l4", "KC103"),
        ("65 * l4", "KC007"),
        ("[40 * l4, 40 * l4]", "KC007"),
        ("1.5 * l4", "KC103"),
        ("[]", "KC103"),
        ("4", "KC103"),
        ("pcie(5)", "KC103"),
        ("4 * geforce-9999", "KC107"),
        ("[1 * geforce-9999, 1 * geforce-8888]", "KC107 KC107"),
        ("999999999999999999 * l4", "KC007"),
    ],
)
def test_cards_that_are_none(gpus: str, code: str) -> None:
    found = hardware(f"gpus = {gpus}")
    assert " ".join(found.codes) == code, found.report()
    assert found.spec is not None and found.spec.serves == ()


def test_a_card_of_the_spec() -> None:
    block = "gpu big { memory = 96 GB, bandwidth = 1.8 TB/s, bf16 = 250, fp8 = 500 TFLOPS, compute_capability = 12.0, bus = pcie(5, x8) }\n"
    found = hardware("gpus = 2 * big", block)
    assert found.found == (), found.report()
    node = found.serve.hardware.nodes[0]
    card = node.cards[0].value
    assert (card.memory.value, card.bandwidth.value) == (96e9, 1.8e12)
    bf16, fp8 = card.rate("bf16"), card.rate("fp8")
    assert bf16 is not None and bf16.value == 250e12
    assert fp8 is not None and fp8.value == 500e12
    assert card.rate("fp4") is None
    assert card.compute_capability == (12, 0) and card.vendor == "nvidia"
    assert "gpu big" in card.memory.source
    assert (node.bus.value.kind, node.bus.value.generation, node.bus.value.lanes) == ("pcie", 5, 8)
    assert node.cards[0].origin.kind == "spec"


def test_a_card_of_the_spec_beats_the_catalog() -> None:
    block = "gpu l4 { memory = 20 GB, bandwidth = 300 GB/s, bf16 = 100 }\n"
    assert hardware("gpus = 1 * l4", block).serve.hardware.nodes[0].cards[0].value.memory.value == 20e9


def test_links_of_a_card_of_the_spec() -> None:
    block = "gpu big { memory = 96 GB, bandwidth = 3 TB/s, bf16 = 900, bus = nvlink(4) }\n"
    bus = hardware("gpus = 8 * big", block).serve.hardware.nodes[0].bus.value
    assert bus.kind == "nvlink" and bus.peer_to_peer


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("bandwidth = 1 TB/s, bf16 = 100", "KC105"),
        ("memory = 96, bandwidth = 1 TB/s, bf16 = 100", "KC103"),
        ("memory = 0 GB, bandwidth = 1 TB/s, bf16 = 100", "KC103"),
        ("memory = 96 GB, bandwidth = 1 TB, bf16 = 100", "KC103"),
        ("memory = 96 GB, bandwidth = 1 TB/s, bf16 = 100, compute_capability = 8", "KC103"),
        ("memory = 999999 TB, bandwidth = 1 TB/s, bf16 = 100", "KC007"),
    ],
)
def test_cards_that_are_half_described(body: str, code: str) -> None:
    found = hardware("gpus = 1 * big", f"gpu big {{ {body} }}\n")
    assert found.codes == [code], found.report()


def test_default_bus_follows_the_form() -> None:
    kinds = {
        name: hardware(f"gpus = 2 * {name}").serve.hardware.nodes[0].bus
        for name in ("h100-sxm", "mi300x", "rtx-5090", "h100-pcie")
    }
    assert {name: bus.value.kind for name, bus in kinds.items()} == {
        "h100-sxm": "nvlink",
        "mi300x": "xgmi",
        "rtx-5090": "pcie",
        "h100-pcie": "pcie",
    }
    assert all("not given" in bus.origin.note for bus in kinds.values())
    assert kinds["rtx-5090"].value.generation == 5


@pytest.mark.parametrize(
    ("bus", "kind", "lanes"),
    [
        ("pcie(4, x8)", "pcie", 8),
        ("pcie(4)", "pcie", 16),
        ("pcie(generation = 4, lanes = x4, shared_lanes = 2)", "pcie", 4),
        ("nvlink-bridge(3, pairs = [[0, 1], [2, 3]])", "nvlink-bridge", 16),
        ("pcie(4, x16, groups = [[0..1], [2..3]], p2p = on)", "pcie", 16),
    ],
)
def test_buses(bus: str, kind: str, lanes: int) -> None:
    found = hardware(f"gpus = 4 * rtx-3090\nbus = {bus}")
    assert found.found == (), found.report()
    value = found.serve.hardware.nodes[0].bus.value
    assert (value.kind, value.lanes) == (kind, lanes)


def test_a_link_is_no_faster_than_its_cards() -> None:
    """An RTX 4090 is a PCIe 4 card, and a slot of PCIe 5 does not make it one of 5."""
    bus = hardware("gpus = 2 * rtx-4090\nbus = pcie(5, x8)").serve.hardware.nodes[0].bus.value
    assert (bus.generation, bus.lanes) == (4, 8)
    slower = hardware("gpus = 2 * rtx-4090\nbus = pcie(3, x16)").serve.hardware.nodes[0].bus.value
    assert (slower.generation, slower.lanes) == (3, 16)
    block = "gpu big { memory = 96 GB, bandwidth = 3 TB/s, bf16 = 900 }\n"
    own = hardware("gpus = 2 * big\nbus = pcie(6, x16)", block).serve.hardware.nodes[0].bus.value
    assert own.generation == 6


def test_links_that_a_card_does_not_have() -> None:
    """The rest of the spec is judged by the card's own link."""
    found = hardware("gpus = 8 * h100-sxm\nbus = nvlink(5)")
    assert [fix.edits[0].text for fix in found.only().fixes] == ["4"], found.report()
    assert found.serve.hardware.nodes[0].bus.value.generation == 4
    bridged = hardware("gpus = 2 * h100-pcie\nbus = nvlink(4)").only()
    assert bridged.help == ("`nvlink-bridge(4, pairs = [[0, 1]])`",)
    for joined in ("2 * mi210\nbus = xgmi(3)", "2 * v100\nbus = nvlink(2)", "2 * rtx-a6000\nbus = nvlink-bridge(3)"):
        assert hardware(f"gpus = {joined}").found == (), joined


@pytest.mark.parametrize(
    ("bus", "code"),
    [
        ("pcie(7, x16)", "KC107"),
        ("nvlink(1)", "KC107"),
        ("nvlink(4)", "KC107"),
        ("xgmi(3)", "KC107"),
        ("nvlink-bridge(4, pairs = [[0, 1]])", "KC107"),
        ("pcie(4, x16, x16)", "KC103"),
        ("pcie(x16)", "KC103"),
        ("pcie(4, x16, groups = [0, 1])", "KC103"),
        ("pcie(4, x16, groups = [[0, 1], [1, 2]])", "KC104"),
        ("pcie(4, x16, groups = [[0, 9]])", "KC106"),
        ("pcie(4, x16, groups = [[0, 900]])", "KC007"),
        ("pcie(4, x16, shared_lanes = 0)", "KC103"),
        ("pcie(4, generation = 5)", "KC104"),
        ("4", "KC103"),
        ('"pcie(4)"', "KC103"),
        ("ethernet(10GbE)", "KC107"),
    ],
)
def test_buses_that_are_none(bus: str, code: str) -> None:
    assert hardware(f"gpus = 4 * rtx-3090\nbus = {bus}").codes == [code]


@pytest.mark.parametrize(
    ("network", "kind", "rate", "count"),
    [
        ("ethernet(100GbE)", "ethernet", 12.5e9, 1),
        ("ethernet(10 Gb/s)", "ethernet", 1.25e9, 1),
        ("roce(25GbE)", "roce", 3.125e9, 1),
        ("infiniband(ndr)", "infiniband", 50e9, 1),
        ("8 * infiniband(NDR)", "infiniband", 50e9, 8),
        ("infiniband(400 Gb/s)", "infiniband", 50e9, 1),
    ],
)
def test_networks(network: str, kind: str, rate: float, count: int) -> None:
    found = hardware(f"nodes = 2, gpus = 1 * l4, network = {network}")
    assert found.found == (), found.report()
    value = found.serve.hardware.network
    assert value is not None
    assert (value.value.kind, value.value.line_rate, value.value.count) == (kind, rate, count)
    assert all(node.network == value.value for node in found.serve.cluster.nodes)


@pytest.mark.parametrize(
    ("network", "code"),
    [
        ("ethernet(100)", "KC103"),
        ("ethernet(100 GB)", "KC103"),
        ("ethernet(0 Gb/s)", "KC103"),
        ("ethernet()", "KC105"),
        ("ethernet", "KC103"),
        ("infiniband(qdr)", "KC107"),
        ("infiniband", "KC103"),
        ("0 * infiniband(ndr)", "KC103"),
        ("100 * infiniband(ndr)", "KC007"),
        ("pcie(5)", "KC107"),
    ],
)
def test_networks_that_are_none(network: str, code: str) -> None:
    found = hardware(f"nodes = 2, gpus = 1 * l4, network = {network}")
    assert found.codes == [code], found.report()
    assert found.spec is not None and len(found.spec.serves) == 1


def test_hosts() -> None:
    two = hardware('gpus = 1 * l4, hosts = ["10.0.0.1", node-b]').serve.hardware
    assert [node.host.value for node in two.nodes] == ["10.0.0.1", "node-b"], "as many nodes as hosts"
    more = hardware('nodes = 3, gpus = 1 * l4, hosts = ["10.0.0.1"]').serve.hardware
    assert [(node.host.value, node.host.written) for node in more.nodes] == [
        ("10.0.0.1", True),
        ("node1", False),
        ("node2", False),
    ]
    fewer = hardware('nodes = 1, gpus = 1 * l4, hosts = ["10.0.0.1", "10.0.0.2"]')
    assert fewer.found == () and len(fewer.serve.hardware.nodes) == 1, "how many there are is for KC705"
    assert fewer.serve.hardware.hosts_given is not None and len(fewer.serve.hardware.hosts_given.value) == 2


def test_nodes_that_differ() -> None:
    found = hardware(
        'bus = pcie(4)\ngpus = 1 * l4\nnode big { gpus = 4 * rtx-5090, host = "10.0.0.1", bus = pcie(5) }\nnode small { host = "10.0.0.2" }'
    )
    assert found.found == (), found.report()
    big, small = found.serve.hardware.nodes
    assert [len(node.cards) for node in (big, small)] == [4, 1]
    assert (big.bus.value.generation, small.bus.value.generation) == (5, 4)
    assert found.serve.hardware.hosts_given is not None
    assert found.serve.hardware.hosts_given.value == ("10.0.0.1", "10.0.0.2")
    assert [node.host for node in found.serve.cluster.nodes] == ["10.0.0.1", "10.0.0.2"]
    named = hardware("node big { gpus = 1 * l4 }\nnode small { gpus = 1 * l4 }").serve.hardware
    assert [node.host.value for node in named.nodes] == ["big", "small"] and named.hosts_given is None


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("node a { gpus = 1 * l4 }\nnode a { gpus = 1 * l4 }", "KC104"),
        ("node a { }", "KC105"),
        ("nodes = 3\nnode a { gpus = 1 * l4 }", "KC103"),
        ("node { gpus = 1 * l4 }", "KC105"),
        ("node a { gpus = 1 * l5 }", "KC107"),
        ("node a { gpu = 1 * l4 }", "KC102"),
    ],
)
def test_nodes_that_are_wrong(body: str, code: str) -> None:
    assert hardware(body).codes == [code], hardware(body).report()
