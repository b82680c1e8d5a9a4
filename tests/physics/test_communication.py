"""Bytes and times of what ranks send each other."""

from __future__ import annotations

import pytest

from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.links import default_bus, make_bus, make_network
from kcluster.catalog.time_constants import time_constants
from kcluster.physics.architecture import Architecture, LatentAttention, Layer, MoeFfn
from kcluster.physics.collectives import collective_path, group_allreduce, group_send
from kcluster.physics.communication import (
    allreduce_bytes,
    allreduce_seconds,
    allreduces,
    alltoall_bytes,
    communication,
    pipeline_bytes,
    point_to_point_seconds,
)
from kcluster.physics.cut import Cut, Load
from kcluster.physics.hardware import Bus, Card, Cluster, EnginePlacement, Network, Node, Place
from kcluster.physics.results import StepTime
from kcluster.physics.topology import group_of
from kcluster.units import GB, GIB, KIB, MIB, given
from kcluster.values import evolve
from tests.physics import shapes

CONSTANTS = time_constants()
LLAMA_70B = shapes.dense(80, 8192, 64, 8, 128, 28672, 128256)
MOE = Architecture(
    "deepseek_v3",
    "DeepseekV3ForCausalLM",
    7168,
    129280,
    (Layer((LatentAttention(128, 1536, 512, 64, 128, 128),), MoeFfn(256, 8, 2048, 2048), 2 * 7168),) * 58,
    False,
    163840,
)


def card(name: str) -> Card:
    match = find_gpu(name)
    assert match is not None
    return match.card


def cluster(name: str, gpus: int, nodes: int = 1, bus: Bus | None = None, network: Network | None = None) -> Cluster:
    own = card(name)
    used = bus or default_bus(own, (own,) * gpus)
    return Cluster(tuple(Node(f"node{index}", (own,) * gpus, used, network) for index in range(nodes)))


def places(count: int, nodes: int = 1) -> tuple[Place, ...]:
    return tuple(Place(node, gpu) for node in range(nodes) for gpu in range(count // nodes))


def engine(tp: int, pp: int = 1, dp: int = 1, gpus: int = 8) -> EnginePlacement:
    flat = [Place(index // gpus, index % gpus) for index in range(tp * pp * dp)]
    it = iter(flat)
    return EnginePlacement(tuple(tuple(tuple(next(it) for _ in range(tp)) for _ in range(pp)) for _ in range(dp)))


def test_the_fields_own_figures_of_llama_70b() -> None:
    # batch 32: one tensor is 32 × 8192 × 2 = 524,288 bytes = 512 KiB; two a layer, 160 in all; 80 MiB a step
    step = allreduce_bytes(LLAMA_70B, Cut(tp=4), 32)
    assert allreduces(LLAMA_70B, Cut(tp=4)) == 160
    assert step.value / 160 == 512 * KIB
    assert step.value == 80 * MIB
    # prefill of 32 × 4,096 tokens: 131,072 × 8192 × 2 = 2 GiB each, 160 × 2 GiB = 343.6 GB
    prefill = allreduce_bytes(LLAMA_70B, Cut(tp=4), 32 * 4096)
    assert prefill.value / 160 == 2 * GIB
    assert prefill.value / GB == pytest.approx(343.6, abs=0.05)
    # the same tensor at a pipeline boundary: 131,072 × 8192 × 2 = 2.147 GB, twice the often quoted 1 GB
    assert pipeline_bytes(LLAMA_70B, Cut(tp=4, pp=2), 32 * 4096).value / GB == pytest.approx(2.147, abs=0.001)
    assert pipeline_bytes(LLAMA_70B, Cut(pp=4), 1).value == 3 * 8192 * 2


def test_nothing_talks_without_ranks() -> None:
    assert allreduce_bytes(LLAMA_70B, Cut(), 32).value == 0
    assert pipeline_bytes(LLAMA_70B, Cut(tp=4), 32).value == 0
    assert alltoall_bytes(LLAMA_70B, Cut(tp=1, dp=4, ep=True), 32).value == 0
    assert allreduce_seconds(1e6, (Place(0, 0),), cluster("h100-sxm", 1), CONSTANTS).value == 0


def test_experts_exchange() -> None:
    # dispatch and combine: 2 × 58 layers × 64 tokens × 8 experts × 7168 × 2 bytes × (1 − 1/8)
    cut = Cut(tp=1, dp=8, ep=True)
    assert alltoall_bytes(MOE, cut, 64).value == pytest.approx(2 * 58 * 64 * 8 * 7168 * 2 * 7 / 8)
    # with data-parallel ranks the experts' sums come back by the exchange: one all-reduce a layer is left
    assert allreduces(MOE, cut) == 58
    assert allreduces(MOE, Cut(tp=8, ep=True)) == 116
    # inside one tensor-parallel group every rank has all tokens: nothing is exchanged
    assert alltoall_bytes(MOE, Cut(tp=8, ep=True), 64).value == 0


@pytest.mark.parametrize(
    ("ranks", "size", "microseconds"),
    # perf.md 3.1: vLLM's all-reduce on H100 SXM; 16 KB, 512 KB, 8 MB
    [(2, 16384, 4.4), (4, 524288, 11), (8, 8388608, 51), (8, 16384, 5.3)],
)
def test_tables_are_met_on_the_measured_system(ranks: int, size: int, microseconds: float) -> None:
    figure = allreduce_seconds(size, places(ranks), cluster("h100-sxm", 8), CONSTANTS)
    assert figure.value == pytest.approx(microseconds * 1e-6 * CONSTANTS.allreduce_factor.value, rel=1e-6)
    assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high


def test_paths() -> None:
    h100, l40s, gaming = cluster("h100-sxm", 8), cluster("l40s", 8), cluster("rtx-5090", 8)
    assert collective_path(group_of(places(8), h100)) == "custom"
    # a world of three or six of PCIe cards, or of three, has no kernel of the engine's own
    assert collective_path(group_of(places(3), h100)) == "nccl"
    assert collective_path(group_of(places(2), l40s)) == "custom"
    assert collective_path(group_of(places(4), l40s)) == "nccl"
    assert collective_path(group_of(places(2), gaming)) == "staged"
    assert group_of(places(4), gaming).words == "PCIe 5 x16, host-staged"
    assert group_of(places(4), h100).words == "NVLink 4"


def test_a_bridge_joins_its_pairs_only() -> None:
    own = card("rtx-a6000")
    bus = make_bus("nvlink-bridge", 3, 0, pairs=((0, 1), (2, 3)), cards=(own,) * 4)
    box = cluster("rtx-a6000", 4, bus=bus)
    pair = (Place(0, 2), Place(0, 3))
    other = (Place(0, 1), Place(0, 2))
    assert group_of(pair, box).words == "NVLink 3 bridge"
    assert group_of(other, box).words == "PCIe 4 x16, peer to peer"
    assert allreduce_seconds(1e6, pair, box, CONSTANTS).value < allreduce_seconds(1e6, other, box, CONSTANTS).value
    assert collective_path(group_of(places(4), box)) == "nccl"


def test_worse_paths_cost_more() -> None:
    own = card("rtx-5090")
    size = 4 * MIB

    def seconds(**options: object) -> float:
        made = make_bus("pcie", 5, 16, cards=(own,) * 4, **options)  # type: ignore[arg-type]
        return allreduce_seconds(size, places(4), cluster("rtx-5090", 4, bus=made), CONSTANTS).value

    direct = seconds(peer_to_peer=True)
    assert direct < seconds(peer_to_peer=False)
    assert direct < seconds(peer_to_peer=True, shared_lanes=2)
    assert direct < seconds(peer_to_peer=True, groups=((0, 1), (2, 3)))
    assert direct == seconds(peer_to_peer=True, groups=((0, 1, 2, 3),))
    for generation in (4, 3):
        made = make_bus("pcie", generation, 16, peer_to_peer=True, cards=(own,) * 4)
        slower = allreduce_seconds(size, places(4), cluster("rtx-5090", 4, bus=made), CONSTANTS)
        assert slower.value > direct
        direct = slower.value


def test_what_is_extrapolated_says_so_and_is_wider() -> None:
    measured = allreduce_seconds(MIB, places(8), cluster("h100-sxm", 8), CONSTANTS)
    volta = allreduce_seconds(MIB, places(2), cluster("v100-32gb-sxm2", 8), CONSTANTS)
    assert "extrapolated" not in measured.source
    assert "extrapolated" in volta.source
    assert volta.high is not None and measured.high is not None
    assert volta.high / volta.value > measured.high / measured.value


def test_between_nodes() -> None:
    times = []
    for kind, rate in (("ethernet", 10), ("ethernet", 25), ("ethernet", 100), ("roce", 100), ("infiniband", 400)):
        network = make_network(kind, rate * GB / 8, 1)
        box = cluster("rtx-pro-6000", 4, 2, network=network)
        times.append(allreduce_seconds(MIB, places(8, 2), box, CONSTANTS).value)
    assert times == sorted(times, reverse=True)
    # 10 GbE by hand: 2 hops × 60 µs + 2 × 7/8 × 1 MiB / 1.1 GB/s = 120 + 1668 µs, and the part within the nodes
    inside = allreduce_seconds(MIB, places(4), cluster("rtx-pro-6000", 4), CONSTANTS).value
    assert times[0] == pytest.approx(120e-6 + 1.75 * MIB / 1.1e9 + inside, rel=1e-6)


def test_several_nics_share_the_load() -> None:
    one, eight = (make_network("infiniband", 50 * GB, count) for count in (1, 8))
    size = 64 * MIB
    few = allreduce_seconds(size, places(16, 2), cluster("h100-sxm", 8, 2, network=one), CONSTANTS).value
    many = allreduce_seconds(size, places(16, 2), cluster("h100-sxm", 8, 2, network=eight), CONSTANTS).value
    assert many < few


def test_point_to_point() -> None:
    network = make_network("ethernet", 1.25 * GB, 1)
    box = cluster("rtx-pro-6000", 4, 2, network=network)
    # a 405B boundary of a 4,096-token prompt: 134 MB over 10 GbE, 0.12 s (perf.md 3.4: 0.13)
    figure = point_to_point_seconds(4096 * 16384 * 2, Place(0, 3), Place(1, 0), box, CONSTANTS)
    assert figure.value == pytest.approx(0.122, abs=0.002)
    near = point_to_point_seconds(4096 * 16384 * 2, Place(0, 2), Place(0, 3), box, CONSTANTS)
    assert near.value < 0.01
    assert group_send(0, group_of((Place(0, 0), Place(1, 0)), box), CONSTANTS).value == 0


def test_eager_costs_launches() -> None:
    group = group_of(places(8), cluster("h100-sxm", 8))
    assert (
        group_allreduce(16384, group, CONSTANTS, eager=True).value > 3 * group_allreduce(16384, group, CONSTANTS).value
    )


def test_monotone_in_size_and_never_negative() -> None:
    for name, count in (("h100-sxm", 8), ("b200", 8), ("rtx-pro-6000", 8), ("rtx-5090", 4), ("mi300x", 8), ("l40s", 4)):
        box = cluster(name, count)
        times = [allreduce_seconds(2.0**power, places(count), box, CONSTANTS).value for power in range(8, 33)]
        assert times == sorted(times) and times[0] > 0, name


def test_communication_of_a_cut() -> None:
    network = make_network("roce", 12.5 * GB, 1)
    box = cluster("rtx-pro-6000", 4, 2, network=network)
    result = communication(
        LLAMA_70B,
        Cut(tp=4, pp=2),
        engine(4, 2, gpus=4),
        box,
        32,
        Load(32, 5000, 4096, 512),
        shapes.limits(),
        shapes.VLLM_33,
        CONSTANTS,
    )
    assert result.allreduce_bytes_per_step.value == 80 * MIB
    assert result.prefill_allreduce_bytes.value / GB == pytest.approx(343.6, abs=0.05)
    assert result.prefill_pipeline_bytes.value / GB == pytest.approx(2.147, abs=0.001)
    # 2.147 GB at 12.0 GB/s of 100 Gb/s RoCE
    assert result.prefill_pipeline_seconds.value == pytest.approx(2.147 / 12.0, rel=0.01)
    assert result.tp_path == "PCIe 5 x16, peer to peer"
    assert result.pp_path == "100 Gb/s RoCE"
    assert result.ep_path == "" and result.alltoall_seconds_per_step.value == 0


def test_a_wire_that_nobody_named_is_assumed_and_said() -> None:
    box = cluster("rtx-pro-6000", 4, 2)
    group = group_of(places(8, 2), box)
    assert group.network is not None and "assumed" in group.network.bandwidth.source


def test_what_is_between_nodes_of_each_axis() -> None:
    from kcluster.catalog.constants import memory_constants
    from kcluster.physics.memory import memory
    from kcluster.physics.performance import performance
    from kcluster.physics.traffic import cut_traffic

    cut, load = Cut(tp=4, pp=2, replicas=2), Load(64, 5000, 4096, 512)
    box = cluster("rtx-pro-6000", 4, 2, network=make_network("roce", 12.5 * GB, 1))
    limits = shapes.limits()
    budget = memory(
        LLAMA_70B, shapes.BF16, cut, limits, (card("rtx-pro-6000"),) * 2, shapes.VLLM_33, memory_constants()
    )
    place = engine(4, 2, gpus=4)
    predicted = performance(LLAMA_70B, shapes.BF16, cut, limits, place, box, load, budget, shapes.VLLM_33, CONSTANTS)
    tp, pp, replicas = cut_traffic(LLAMA_70B, cut, place, box, load, limits, predicted)
    assert (tp.axis, pp.axis, replicas.axis) == ("tp", "pp", "replicas")
    # a ring of four: 2 × 3 times the tensor goes over the wires; 160 tensors of 4,096 × 8192 × 2 bytes in the prompt's prefill
    assert tp.prefill.value == pytest.approx(6 * 160 * 4096 * 8192 * 2 / predicted.prefill.value)
    assert pp.decode.value == pytest.approx(predicted.batch.value * 8192 * 2 / predicted.step.total.value)
    assert (tp.between_nodes, pp.between_nodes) == (0.0, 1.0)
    assert replicas.decode.value == replicas.prefill.value == 0
    assert tp.prefill.value > tp.decode.value > pp.decode.value


def test_a_host_staged_link_is_held_against_what_it_carries() -> None:
    zero = given("part", 0.0, "s")
    step = StepTime(zero, zero, zero, zero, zero, zero, zero, zero, given("total", 0.02, "s"))
    able = {}
    for direct in (True, False):
        bus = evolve(default_bus(card("rtx-pro-6000"), (card("rtx-pro-6000"),) * 4), peer_to_peer=direct)
        box = cluster("rtx-pro-6000", 4, bus=bus)
        found = communication(
            LLAMA_70B,
            Cut(tp=4),
            engine(4, gpus=4),
            box,
            8,
            Load(8, 1536, 1024, 512),
            shapes.limits(),
            shapes.VLLM_33,
            CONSTANTS,
            step=step,
        )
        ((words, carried, able[direct]),) = found.links
        assert ("host-staged" in words) is not direct
        # 160 all-reduces of 8 × 8192 × 2 bytes, 2 × 3/4 of each over a card's link, in 20 ms: 1.57 GB/s
        assert carried.value == pytest.approx(160 * 8 * 8192 * 2 * 1.5 / 0.02)
    assert able[False].value == pytest.approx(able[True].value / 2)
