"""The time of a token by cause, and what an engine serves."""

from __future__ import annotations

import math

import pytest
from attrs import evolve
from hypothesis import given as each
from hypothesis import settings
from hypothesis import strategies as st

from kcluster.catalog.constants import memory_constants, time_constants
from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.catalog.gpus import find_gpu
from kcluster.catalog.links import default_bus, make_bus, make_network
from kcluster.physics.architecture import Architecture, GroupedAttention, Layer, MoeFfn
from kcluster.physics.cut import Cut, EngineVersion, Limits, Load
from kcluster.physics.hardware import Bus, Card, Cluster, EnginePlacement, Network, Node, Place
from kcluster.physics.kernels import native, rates
from kcluster.physics.memory import memory
from kcluster.physics.performance import performance
from kcluster.physics.results import Performance
from kcluster.physics.work import TOUCHED, kv_read_bytes, stage_work
from kcluster.units import GB, evaluator, given
from tests.physics import shapes

CONSTANTS = time_constants()
LLAMA_70B = shapes.dense(80, 8192, 64, 8, 128, 28672, 128256)
LLAMA_405B = shapes.dense(126, 16384, 128, 8, 128, 53248, 128256)
QWEN_MOE = Architecture(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    2048,
    151936,
    (Layer((GroupedAttention(32, 4, 128, 128, qk_norm="head"),), MoeFfn(128, 8, 768), 2 * 2048),) * 48,
    False,
    40960,
)


def card(name: str) -> Card:
    match = find_gpu(name)
    assert match is not None
    return match.card


def box(name: str | Card, gpus: int, nodes: int = 1, network: Network | None = None, bus: Bus | None = None) -> Cluster:
    own = card(name) if isinstance(name, str) else name
    used = bus or default_bus(own, (own,) * gpus)
    return Cluster(tuple(Node(f"node{index}", (own,) * gpus, used, network) for index in range(nodes)))


def place(cut: Cut, cluster: Cluster) -> EnginePlacement:
    flat = iter([Place(index, gpu) for index, node in enumerate(cluster.nodes) for gpu in range(len(node.cards))])
    return EnginePlacement(
        tuple(tuple(tuple(next(flat) for _ in range(cut.tp)) for _ in range(cut.pp)) for _ in range(cut.dp))
    )


def predict(
    arch: Architecture,
    fmt: str,
    cluster: Cluster,
    cut: Cut,
    load: Load,
    limits: Limits | None = None,
    version: tuple[int, ...] = (0, 33),
) -> Performance:
    engine = EngineVersion("vllm", version)
    used = limits or shapes.limits(length=max(8192, load.context))
    cards = tuple(cluster.nodes[0].cards[0] for _ in range(cut.pp))
    budget = memory(arch, WEIGHT_FORMATS[fmt], cut, used, cards, engine, memory_constants())
    return performance(
        arch, WEIGHT_FORMATS[fmt], cut, used, place(cut, cluster), cluster, load, budget, engine, CONSTANTS
    )


def load(concurrency: int, prompt: int = 1024, completion: int = 512, share: float = 0.0) -> Load:
    return Load(concurrency, prompt + completion, prompt, completion, share)


def test_a_step_of_one_card_by_hand() -> None:
    # linear weights a layer: q and o 2 × 8192², k and v 2 × 8192 × 1024, three matrices of 8192 × 28672
    linear = 80 * (2 * 8192**2 + 2 * 8192 * 1024 + 3 * 8192 * 28672)
    assert linear == 68_451_041_280
    own = card("h200-sxm")
    result = predict(LLAMA_70B, "fp8", box("h200-sxm", 1), Cut(), load(1, 1, 256))
    # fp8 at one byte and a 4-byte scale for each output row (below 0.05 %), the head and norms in 16 bits
    head = 128256 * 8192 * 2
    expected = linear / (own.bandwidth.value * CONSTANTS.bandwidth_8bit.value) + head / (
        own.bandwidth.value * CONSTANTS.bandwidth_16bit.value
    )
    assert result.step.weights.value == pytest.approx(expected, rel=2e-3)
    assert result.step.layers.value == pytest.approx(80 * CONSTANTS.layer.value)
    assert result.step.step.value == pytest.approx(CONSTANTS.step_async.value + CONSTANTS.sequence.value)
    assert result.step.allreduce.value == result.step.prefill_share.value == result.step.pipeline.value == 0
    # KV: 2 × 80 × 8 × 128 × 2 = 327,680 bytes a token, 129 tokens on the mean
    assert result.step.kv.value == pytest.approx(
        327680 * 129 / (own.bandwidth.value * CONSTANTS.bandwidth_kv.value), rel=1e-6
    )
    assert result.step.total.value == pytest.approx(sum(part.value for _, part in result.step.parts))


def test_the_field_s_claims_about_70b_on_four_5090() -> None:
    own = card("rtx-5090")
    cards = (own,) * 4
    good = box("rtx-5090", 4, bus=make_bus("pcie", 5, 16, peer_to_peer=True, cards=cards))
    staged = box("rtx-5090", 4)
    for cluster, one, many in ((good, (18, 25), (14, 22)), (staged, (20, 29), (10, 19))):
        alone = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(1))
        crowd = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(32), shapes.limits(length=2048, utilization=0.95))
        # 20 to 25 ms a token at one stream (perf.md, section 1); a request of 32 gets about 18 tok/s on a good path, less staged
        assert one[0] <= alone.itl.value * 1e3 <= one[1]
        assert many[0] <= crowd.tokens_per_second.value <= many[1]
        # 30 tok/s at 32 streams is not to be had
        assert crowd.tokens_per_second.range()[1] < 30


def test_405b_over_two_boxes() -> None:
    speeds = {}
    for kind, rate in (("ethernet", 10), ("ethernet", 25), ("ethernet", 100), ("roce", 100)):
        network = make_network(kind, rate * GB / 8, 1)
        cluster = box("rtx-pro-6000", 4, 2, network)
        staged = predict(LLAMA_405B, "fp8", cluster, Cut(tp=4, pp=2), load(8))
        flat = predict(LLAMA_405B, "fp8", cluster, Cut(tp=8), load(8))
        speeds[(kind, rate)] = (staged, flat)
        # 10 to 11.5 tok/s at low load, 12 the ceiling (perf.md, section 1)
        assert 8.5 <= staged.tokens_per_second.value <= 12.5
        if kind == "ethernet":
            assert flat.tokens_per_second.value < 0.75 * staged.tokens_per_second.value
            assert flat.throughput.range()[1] < staged.throughput.value
    for which in (0, 1):
        order = [pair[which].itl.value for pair in speeds.values()]
        assert order == sorted(order, reverse=True) and len(set(order)) == 4
        waits = [pair[which].prefill.value for pair in speeds.values()]
        assert waits == sorted(waits, reverse=True) and len(set(waits)) == 4


def test_scaling_on_nvlink_is_what_sweeps_show() -> None:
    # H100 70B FP8: speedup over one card 1.5 / 2.25 / 2.9 at 2 / 4 / 8 (2024 engine; newer ones scale a little better)
    cluster = box("h100-sxm", 8)
    times = {
        tp: predict(LLAMA_70B, "fp8", cluster, Cut(tp=tp), load(1, 128, 256), version=(0, 6)).itl.value
        for tp in (1, 2, 4, 8)
    }
    for tp, low, high in ((2, 1.35, 1.75), (4, 1.8, 2.7), (8, 2.0, 3.6)):
        assert low <= times[1] / times[tp] <= high


def test_experts_touched() -> None:
    # 128 experts of which 8: one token touches 8, two 8 + 8 × (1 − 1/16) = 15.5, very many all
    assert evaluator(TOUCHED)(experts=128, taken=8, tokens=1) == pytest.approx(8)
    assert evaluator(TOUCHED)(experts=128, taken=8, tokens=2) == pytest.approx(15.5)
    assert evaluator(TOUCHED)(experts=128, taken=8, tokens=4096) == pytest.approx(128)
    one = predict(QWEN_MOE, "fp8", box("h200-sxm", 1), Cut(), load(1))
    many = predict(QWEN_MOE, "fp8", box("h200-sxm", 1), Cut(), load(64))
    assert 5 < many.step.weights.value / one.step.weights.value < 16


def test_work_counts_each_weight_once() -> None:
    fmt = WEIGHT_FORMATS["bf16"]
    for cut in (Cut(), Cut(tp=4), Cut(pp=4), Cut(tp=2, pp=2)):
        layers = tuple(80 // cut.pp for _ in range(cut.pp))
        total = 0.0
        for stage in range(cut.pp):
            work = stage_work(LLAMA_70B, fmt, cut, stage, layers)
            total += (work.head_bytes + sum(item.count * item.plain_bytes for item in work.layers)) * cut.tp
        # 70.55e9 parameters less the embedding, in 16 bits; norms (1.3e6) stand on every rank
        assert total == pytest.approx(2 * (70_553_706_496 - 128256 * 8192), rel=1e-3)


def test_windows_and_states_bound_what_is_read() -> None:
    full = GroupedAttention(32, 8, 128, 128)
    window = evolve(full, window=1024)
    assert kv_read_bytes(full, 4096, 8192, 1, "bf16", None) == 8192 * 2 * 8 * 128 * 2
    assert kv_read_bytes(window, 4096, 8192, 1, "bf16", None) == 1024 * 2 * 8 * 128 * 2
    assert kv_read_bytes(full, 4096, 8192, 1, "fp8", None) == 8192 * 2 * 8 * 128
    # MiniMax M3 reads the keys of its index (256 B) of all tokens, and 2,048 tokens of 4 heads
    sparse = GroupedAttention(64, 4, 128, 128, index_heads=4, index_dim=128)
    assert kv_read_bytes(sparse, 6144, 8192, 1, "bf16", None) == 8192 * 256 + 2048 * 2 * 4 * 128 * 2
    # DeepSeek V4: 128 tokens of 584 B; of 2,048 entries the index (132 B) and 512, or all of 64
    few = GroupedAttention(64, 1, 512, 512, window=128, compress_ratio=4, index_heads=64, index_dim=128, o_groups=8)
    many = GroupedAttention(64, 1, 512, 512, window=128, compress_ratio=128, o_groups=8)
    assert kv_read_bytes(few, 4096, 8192, 8, "fp8", None) == 128 * 584 + 2048 * 132 + 512 * 584
    assert kv_read_bytes(many, 4096, 8192, 8, "fp8", None) == (128 + 64) * 584


def test_formats_run_where_the_card_has_them() -> None:
    fp8, nvfp4, mxfp4, awq = (WEIGHT_FORMATS[name] for name in ("fp8", "nvfp4", "mxfp4", "awq-int4"))
    ampere, hopper, blackwell, instinct = (card(name) for name in ("a100", "h100", "b200", "mi355x"))
    assert not native(fp8, ampere) and native(fp8, hopper)
    assert not native(nvfp4, hopper) and native(nvfp4, blackwell)
    assert native(mxfp4, instinct) and not native(nvfp4, instinct)
    assert not native(awq, blackwell)
    weak = rates(fp8, ampere, CONSTANTS)
    assert weak.emulated and not rates(awq, ampere, CONSTANTS).emulated
    # unpacked to 16 bits: no more arithmetic than the card's 312 TFLOPS
    assert weak.compute_packed.value <= 312e12


def test_a_card_without_stated_rates_is_guessed_widely() -> None:
    bare = evolve(card("rtx-5090"), flops=())
    figure = rates(WEIGHT_FORMATS["bf16"], bare, CONSTANTS).compute_plain
    assert figure.value > 0
    assert predict(LLAMA_70B, "awq-int4", box(bare, 2), Cut(tp=2), load(4)).itl.value > 0


def test_kv_capacity_makes_requests_wait() -> None:
    # 8,192-token requests of 70B FP8 on four 5090: the KV holds a few (recipe A)
    crowd = predict(
        LLAMA_70B, "fp8", box("rtx-5090", 4), Cut(tp=4), Load(32, 8192, 7680, 512), shapes.limits(utilization=0.92)
    )
    assert crowd.bound_by == "KV capacity"
    assert crowd.batch.value < 16
    free = predict(
        LLAMA_70B, "fp8", box("rtx-pro-6000", 4), Cut(tp=4), Load(32, 8192, 7680, 512), shapes.limits(utilization=0.92)
    )
    assert free.bound_by != "KV capacity"
    assert crowd.ttft.value > 5 * free.ttft.value
    limited = predict(LLAMA_70B, "fp8", box("rtx-pro-6000", 4), Cut(tp=4), load(64), shapes.limits(sequences=8))
    assert limited.bound_by == "max_num_seqs"
    assert limited.batch.value <= 8


def test_littles_law_holds() -> None:
    result = predict(LLAMA_70B, "fp8", box("h100-sxm", 4), Cut(tp=4), load(48))
    # 48 in flight: requests a second × seconds in the system
    rate = result.throughput.value / 512
    assert rate * (result.ttft.value + 512 * result.itl.value) == pytest.approx(48, rel=0.03)
    assert result.answer.value == pytest.approx(result.ttft.value + 511 * result.itl.value)
    assert result.tokens_per_second.value == pytest.approx(1 / result.itl.value)


def test_replicas_multiply_throughput_and_idle_ones_do_nothing() -> None:
    one = predict(QWEN_MOE, "fp8", box("h100-sxm", 1), Cut(), load(16))
    four = predict(QWEN_MOE, "fp8", box("h100-sxm", 4), Cut(replicas=4), load(64))
    assert four.throughput.value == pytest.approx(4 * one.throughput.value)
    lonely = predict(QWEN_MOE, "fp8", box("h100-sxm", 4), Cut(replicas=4), load(1))
    assert lonely.throughput.value == pytest.approx(
        predict(QWEN_MOE, "fp8", box("h100-sxm", 1), Cut(), load(1)).throughput.value
    )


def test_pipeline_adds_up_for_one_and_fills_for_many() -> None:
    cluster = box("rtx-pro-6000", 4)
    single = predict(LLAMA_70B, "fp8", cluster, Cut(), load(1))
    piped = predict(LLAMA_70B, "fp8", cluster, Cut(pp=4), load(1))
    assert piped.itl.value > single.itl.value
    busy_one = predict(LLAMA_70B, "fp8", cluster, Cut(), load(16))
    busy = predict(LLAMA_70B, "fp8", cluster, Cut(pp=4), load(64))
    assert busy.throughput.value > 2.5 * busy_one.throughput.value


def test_prefix_cache_saves_prefill() -> None:
    cluster = box("h100-sxm", 4)
    cold = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(16, 8000, 300))
    warm = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(16, 8000, 300, share=0.9))
    off = predict(
        LLAMA_70B,
        "fp8",
        cluster,
        Cut(tp=4),
        load(16, 8000, 300, share=0.9),
        shapes.limits(length=8300, prefix_caching=False),
    )
    assert warm.prefill.value < 0.25 * cold.prefill.value
    assert warm.throughput.value > 1.3 * cold.throughput.value
    assert off.prefill.value == pytest.approx(cold.prefill.value)


def test_eager_and_old_engines_are_slower() -> None:
    cluster = box("h100-sxm", 4)
    plain = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(1))
    eager = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(1), shapes.limits(eager=True))
    # 10 to 20 ms more on 80 layers (perf.md, section 4)
    assert 8e-3 < eager.itl.value - plain.itl.value < 25e-3
    ages = [
        predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(8), version=version).itl.value
        for version in ((0, 6), (0, 10), (0, 33))
    ]
    assert ages == sorted(ages, reverse=True)


def test_speculative_decoding() -> None:
    cluster = box("h100-sxm", 4)
    plain = predict(LLAMA_70B, "fp8", cluster, Cut(tp=4), load(1))
    good = predict(
        LLAMA_70B, "fp8", cluster, Cut(tp=4), load(1), shapes.limits(speculative_tokens=3, speculative_acceptance=0.8)
    )
    bad = predict(
        LLAMA_70B, "fp8", cluster, Cut(tp=4), load(1), shapes.limits(speculative_tokens=3, speculative_acceptance=0.0)
    )
    # (1 − 0.8⁴) / (1 − 0.8) = 2.95 tokens a step
    assert 1.8 < good.tokens_per_second.value / plain.tokens_per_second.value < 2.95
    assert bad.tokens_per_second.value < plain.tokens_per_second.value


def test_better_hardware_is_never_slower() -> None:
    own = card("rtx-pro-6000")
    faster = evolve(own, bandwidth=given("card.bandwidth", own.bandwidth.value * 1.5, "bytes/s"))
    stronger = evolve(own, flops=tuple((name, given(name, rate.value * 2, "flop/s")) for name, rate in own.flops))
    for concurrency in (1, 32, 128):
        base = predict(LLAMA_70B, "fp8", box(own, 4), Cut(tp=4), load(concurrency))
        for better in (box(faster, 4), box(stronger, 4), box(own, 4, bus=make_bus("pcie", 6, 16, cards=(own,) * 4))):
            result = predict(LLAMA_70B, "fp8", better, Cut(tp=4), load(concurrency))
            assert result.itl.value <= base.itl.value
            assert result.throughput.value >= base.throughput.value
            assert result.prefill.value <= base.prefill.value


def test_every_figure_has_a_range() -> None:
    result = predict(LLAMA_70B, "fp8", box("rtx-5090", 4), Cut(tp=4), load(12))
    for figure in (
        result.ttft,
        result.itl,
        result.tokens_per_second,
        result.throughput,
        result.answer,
        result.step.total,
        result.prefill,
    ):
        low, high = figure.range()
        assert low < figure.value < high, figure.name
    assert result.itl.range()[1] / result.itl.range()[0] < 3


def test_nothing_fits_still_gives_numbers() -> None:
    result = predict(LLAMA_405B, "bf16", box("rtx-5090", 2), Cut(tp=2), load(8))
    for figure in (result.ttft, result.itl, result.throughput, result.answer):
        assert math.isfinite(figure.value) and figure.value > 0


@settings(max_examples=60, deadline=None)
@each(
    concurrency=st.integers(1, 5000),
    prompt=st.integers(1, 100_000),
    completion=st.integers(1, 20_000),
    share=st.floats(0, 1),
    tp=st.sampled_from((1, 2, 4, 8)),
    pp=st.sampled_from((1, 2)),
)
def test_any_load_gives_finite_figures(
    concurrency: int, prompt: int, completion: int, share: float, tp: int, pp: int
) -> None:
    cluster = box("rtx-pro-6000", 8, 2, make_network("ethernet", 3.125 * GB, 1))
    result = predict(QWEN_MOE, "fp8", cluster, Cut(tp=tp, pp=pp), load(concurrency, prompt, completion, share))
    for figure in (result.ttft, result.itl, result.tokens_per_second, result.throughput, result.answer, result.prefill):
        low, high = figure.range()
        assert 0 < low <= figure.value <= high < math.inf
    assert result.throughput.value <= concurrency / result.itl.value * 1.001


def test_a_slow_wire_between_tensor_parallel_ranks_decides() -> None:
    """tp 8 of 70B FP8 over two nodes of four, at 0.3 GB/s, 10 GbE and 400 Gb/s, against one box of eight with NVLink."""
    slow = Network("ethernet", 0.3e9, given("wire", 0.3e9, "bytes/s"), given("latency", 60e-6, "s"))
    ten = make_network("ethernet", 1.25 * GB, 1)
    fast = make_network("infiniband", 50 * GB, 8)
    loads = load(32, 2048, 256)
    over = [
        predict(LLAMA_70B, "fp8", box("h100-sxm", 4, 2, network=net), Cut(tp=8), loads) for net in (slow, ten, fast)
    ]
    inside = predict(LLAMA_70B, "fp8", box("h100-sxm", 8), Cut(tp=8), loads)
    # 160 all-reduces of 32 × 8192 × 2 = 524,288 bytes: a ring of 8 sends 2 × 7/8 of it, 917,504 bytes = 3.06 ms at 0.3 GB/s; with
    # 2 hops of 60 µs 3.18 ms each and 0.51 s a step, before a prompt is mixed in; at 10 GbE (1.1 GB/s) 0.95 ms, 0.15 s
    alone = predict(LLAMA_70B, "fp8", box("h100-sxm", 4, 2, network=slow), Cut(tp=8), load(1, 2048, 256))
    # one token: 160 × (120 µs + 16,384 × 1.75 / 0.3 GB/s = 96 µs) = 34.5 ms; within the nodes 11 µs by NCCL × 1.34 each, 2.4 ms
    assert alone.step.allreduce.value == pytest.approx(160 * (120e-6 + 16384 * 1.75 / 0.3e9 + 15e-6), rel=0.02)
    assert over[0].step.allreduce.value == pytest.approx(160 * 3.178e-3 * over[0].batch.value / 32, rel=0.1)
    # a prompt of 2,048 tokens: 160 × 33.6 MB × 1.75 / 0.3 GB/s = 31.3 s of all-reduces; 8.5 s on 10 GbE; NVLink well below a second
    assert over[0].prefill.value == pytest.approx(31.3, rel=0.05)
    assert over[1].prefill.value == pytest.approx(8.5, rel=0.08)
    assert inside.prefill.value < 0.3
    assert over[0].itl.value > 2.5 * over[1].itl.value > 20 * over[2].itl.value
    assert over[2].itl.value > inside.itl.value


def test_context_parallel_talks() -> None:
    """dcp 2 halves the KV that a rank reads and pays for it in each layer."""
    narrow = shapes.dense(32, 4096, 32, 4, 128, 14336, 128256)
    results = {}
    for dcp in (1, 2):
        for name in ("h100-sxm", "rtx-pro-6000"):
            cut = Cut(tp=8, dcp=dcp)
            results[dcp, name] = predict(narrow, "bf16", box(name, 8), cut, load(16, 8192, 256)).step
    for name in ("h100-sxm", "rtx-pro-6000"):
        one, two = results[1, name], results[2, name]
        assert two.kv.value < 0.6 * one.kv.value
        assert two.allreduce.value > one.allreduce.value
    # 16 requests: 2 bytes × 4 heads × 2 ranks × (128 + 128) × 16 / 2 = 32 KiB, and the sums of the softmax at half of an all-reduce:
    # 32 layers × (1 + 0.5) × (4.4 to 4.5 µs measured × 1.3) = 0.28 ms between two H100
    extra = results[2, "h100-sxm"].allreduce.value - results[1, "h100-sxm"].allreduce.value
    assert extra == pytest.approx(0.28e-3, rel=0.15)
