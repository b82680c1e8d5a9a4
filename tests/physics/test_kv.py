"""KV bytes against hand arithmetic and against what real engines printed."""

from __future__ import annotations

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.catalog.models import find_model
from kcluster.physics.architecture import Architecture, GroupedAttention, Layer, Mamba, MoeFfn
from kcluster.physics.cut import Cut, EngineVersion
from kcluster.physics.kv import (
    concurrency,
    default_prefix_caching,
    in_flight_tokens,
    kv_bytes_per_token,
    kv_fixed_bytes,
    kv_for_request,
    kv_layout,
    longest_tokens,
    pool_blocks,
    printed_tokens,
    state_bytes,
    usable_blocks,
)
from kcluster.units import GIB
from tests.physics.shapes import (
    LLAMA_70B,
    LLAMA_405B,
    TINY,
    VLLM_11,
    VLLM_19,
    VLLM_33,
    card,
    deepseek,
    gemma_31b,
    gpt_oss,
    limits,
    qwen35_27b,
)

VLLM_10 = EngineVersion("vllm", (0, 10, 1, 1))
VLLM_20 = EngineVersion("vllm", (0, 20))
VLLM_21 = EngineVersion("vllm", (0, 21))


def test_the_real_engine_on_a_tiny_model() -> None:
    # 4 layers × 2 × 4 KV heads × 32 × 2 B = 2048 B a token; 1 GiB in blocks of 128 tokens is 4096 blocks, 524,288 tokens;
    # the refusal of a length of 2,000,000 printed an estimate of (4096 − 1) × 128 = 524,160
    asked = limits(512, 128, 2048, block_size=128)
    assert kv_bytes_per_token(TINY, Cut(), asked, VLLM_33).value == 2048
    layout = kv_layout(TINY, Cut(), asked, VLLM_33)
    blocks = pool_blocks(layout, (float(GIB),))
    assert blocks == 4096
    in_flight = in_flight_tokens(TINY, asked, Cut(), VLLM_33)
    assert printed_tokens(layout, blocks, asked, in_flight, Cut(), VLLM_33) == 524_288
    assert longest_tokens(layout, usable_blocks(blocks, VLLM_33), in_flight, 1, 2_000_000) == 524_160
    # tp 2: half the heads, twice the blocks
    halved = kv_layout(TINY, Cut(tp=2), asked, VLLM_33)
    assert pool_blocks(halved, (float(GIB),)) == 8192


@pytest.mark.parametrize(
    ("arch", "tp", "expected"),
    [
        (LLAMA_70B, 1, 327_680),  # 80 × 2 × 8 × 128 × 2
        (LLAMA_70B, 8, 40_960),
        (LLAMA_70B, 16, 40_960),  # eight KV heads are never divided below one
        (LLAMA_405B, 1, 516_096),  # 126 × 2 × 8 × 128 × 2
        (deepseek(), 1, 70_272),  # 61 × (512 + 64) × 2
        (deepseek(), 8, 70_272),  # the latent is whole on every rank
    ],
)
def test_bytes_of_a_token(arch: Architecture, tp: int, expected: float) -> None:
    assert kv_bytes_per_token(arch, Cut(tp=tp), limits(), VLLM_33).value == expected


def test_bytes_of_requests() -> None:
    # 8,192 × 327,680 B = 2.5 GiB; 32 of them 80 GiB
    assert kv_for_request(LLAMA_70B, Cut(), limits(), 8192, VLLM_33).value == 2.5 * GIB
    # 8,193 tokens need one more block of 16: 16 × 327,680 B more
    assert kv_for_request(LLAMA_70B, Cut(), limits(), 8193, VLLM_33).value == 2.5 * GIB + 16 * 327_680


def test_formats() -> None:
    assert kv_bytes_per_token(LLAMA_70B, Cut(), limits(kv_format="fp8"), VLLM_33).value == 163_840
    # half a byte and an fp8 scale for 16 values
    assert kv_bytes_per_token(LLAMA_70B, Cut(), limits(kv_format="nvfp4"), VLLM_33).value == 327_680 * 0.5625 / 2


def test_context_parallel_divides() -> None:
    cut = Cut(tp=8, dcp=8)
    assert kv_bytes_per_token(deepseek(), cut, limits(), VLLM_33).value == 70_272 / 8
    # a request of 8,192 tokens leaves 1,024 on each rank: 64 blocks of 16
    assert kv_for_request(deepseek(), cut, limits(), 8192, VLLM_33).value == 64 * 16 * 70_272


@pytest.mark.parametrize(
    ("capability", "kv_format", "expected"),
    [
        ((9, 0), "bf16", 61 * (1152 + 132)),
        ((9, 0), "fp8", 61 * (656 + 132)),  # packed: 512 fp8, four fp32 scales, 64 rope values of 16 bits
        ((10, 0), "fp8", 61 * (576 + 132)),
        ((12, 0), "bf16", 61 * (656 + 132)),  # its only sparse kernel reads the packed form
    ],
)
def test_sparse_index(capability: tuple[int, int], kv_format: str, expected: float) -> None:
    asked = limits(kv_format=kv_format)  # type: ignore[arg-type]
    figure = kv_bytes_per_token(deepseek(sparse=True), Cut(tp=8), asked, VLLM_33, 0, card(capability=capability))
    assert figure.value == expected


def test_drafting_with_own_layers_adds_their_cache() -> None:
    asked = limits(speculative_tokens=1)
    assert kv_bytes_per_token(deepseek(), Cut(), asked, VLLM_33).value == 62 * 1152


def test_sliding_layers_hold_their_window_and_what_is_in_flight() -> None:
    asked = limits(131_072, batched=2048)
    layout = kv_layout(gpt_oss(36), Cut(tp=4), asked, VLLM_10)
    assert [(group.kind, group.block, group.layers) for group in layout.groups] == [
        ("window", 16, (18,)),
        ("full", 16, (18,)),
    ]
    # 18 layers × 2 × 2 KV heads × 64 × 2 B × 16 tokens
    assert layout.block_bytes == (18 * 512 * 16,)
    # the window: (128 − 1 + 2048) / 16 rounded up is 136, and one for a window that starts inside a block
    assert layout.blocks(131_072, 2048, 1) == 8192 + 137
    # since 0.26 two batches may be in flight: (127 + 4096) / 16 rounded up is 264, and one
    assert in_flight_tokens(gpt_oss(36), asked, Cut(), VLLM_33) == 4096
    assert layout.blocks(131_072, 4096, 1) == 8192 + 265
    fixed = kv_fixed_bytes(gpt_oss(36), Cut(tp=4), asked, VLLM_10)
    assert fixed.value == 137 * layout.block_bytes[0]


@pytest.mark.parametrize(
    ("arch", "cut", "length", "batched", "engine", "gib", "tokens", "requests"),
    [
        # gpt-oss-120b on 4 × A100, vLLM 0.10.1.1
        (gpt_oss(36), Cut(tp=4), 16_384, 2048, VLLM_10, 45.32, 2_640_144, 284.25),
        # Llama-3-70B AWQ on 2 × L40S, 0.16.0
        (LLAMA_70B, Cut(tp=2), 8192, 2048, EngineVersion("vllm", (0, 16)), 20.16, 132_128, 16.13),
        # Llama-3.1-70B AWQ on one RTX PRO 6000, 0.14
        (LLAMA_70B, Cut(), 8192, 8192, VLLM_19, 38.71, 126_832, 15.48),
    ],
)
def test_real_logs(
    arch: Architecture,
    cut: Cut,
    length: int,
    batched: int,
    engine: EngineVersion,
    gib: float,
    tokens: int,
    requests: float,
) -> None:
    # the log rounds GiB to two decimals: 0.005 / 20 is 0.03 %
    asked = limits(length, batched=batched)
    layout = kv_layout(arch, cut, asked, engine)
    in_flight = in_flight_tokens(arch, asked, cut, engine)
    blocks = pool_blocks(layout, (gib * GIB,))
    assert printed_tokens(layout, blocks, asked, in_flight, cut, engine) == pytest.approx(tokens, rel=4e-4)
    assert concurrency(layout, blocks, length, in_flight, cut.dcp) == pytest.approx(requests, rel=4e-4)


@pytest.mark.parametrize(("kv_format", "block"), [("fp8", 1600), ("nvfp4", 2848)])
def test_hybrid_blocks_grow_until_a_page_holds_a_state(kv_format: str, block: int) -> None:
    # one state: 48 × 128 × 128 × 4 B + (2 × 16 × 128 + 48 × 128) × (3 + 3 drafted) × 2 B = 3,268,608 B;
    # one token of a full layer: 2 × 4 × 256 × 1 B = 2048 B (nvfp4: 1152 B), so 1596 (2838) tokens, in blocks of 16.
    # The engine's log of this model says 1600 and 2848 (vllm issue 46329).
    assert state_bytes(qwen35_27b().layers[0].mixers[0], 5120, 1, 3) == 3_268_608
    engine = EngineVersion("vllm", (0, 28))
    asked = limits(262_144, 8, kv_format=kv_format, speculative_tokens=3)  # type: ignore[arg-type]
    layout = kv_layout(qwen35_27b(), Cut(), asked, engine)
    assert [(group.kind, group.block) for group in layout.groups if group.kind == "full"] == [("full", block)]
    # 16 full and 48 recurrent layers: four groups of 16; prefix caching keeps two states, drafting three more
    assert [group.kind for group in layout.groups].count("state") == 3
    assert {group.span for group in layout.groups if group.kind == "state"} == {5}


def test_hybrids_without_prefix_caching_hold_one_state() -> None:
    for engine, caching, held in ((VLLM_19, False, 1), (VLLM_19, True, 2), (VLLM_33, True, 2), (VLLM_33, False, 1)):
        layout = kv_layout(qwen35_27b(), Cut(), limits(prefix_caching=caching), engine)
        assert {group.span for group in layout.groups if group.kind == "state"} == {held}
    assert [default_prefix_caching(qwen35_27b(), engine) for engine in (VLLM_19, VLLM_33)] == [False, True]
    assert default_prefix_caching(TINY, VLLM_19)


def test_a_checkpoint_of_the_state_takes_a_block_where_the_kernel_keeps_one() -> None:
    layout = kv_layout(qwen35_27b(), Cut(), limits(), VLLM_33, card())
    assert {group.span for group in layout.groups if group.kind == "state"} == {3}
    # blocks are then multiples of 64 tokens: a state of 3,207,168 B in pages of 4096 B a token is 783, so 832
    assert {group.block for group in layout.groups if group.kind == "full"} == {832}


def test_chunked_layers_hold_a_chunk_and_what_is_in_flight() -> None:
    mixer = TINY.layers[0].mixers[0]
    assert isinstance(mixer, GroupedAttention)
    chunked = Layer((evolve(mixer, chunk=8192),), None, 1)
    full = Layer((mixer,), None, 1)
    arch = Architecture("llama4", "Llama4ForCausalLM", 256, 512, (chunked, chunked, chunked, full) * 2, False, 10**6)
    layout = kv_layout(arch, Cut(), limits(10**6, batched=2048), VLLM_19)
    assert [group.kind for group in layout.groups].count("chunk") == 3
    # three groups of ceil((8192 + 2048) / 16) blocks beside one of ceil(100,000 / 16)
    assert layout.blocks(100_000, 2048, 1) == 3 * 640 + 6250
    assert layout.blocks(1000, 2048, 1) == 4 * 63


def test_models_without_attention_hold_states_only() -> None:
    state = Layer((Mamba(1, 8192, 16, 4, dt_rank=256),), None, 1)
    arch = Architecture("mamba", "MambaForCausalLM", 4096, 1024, (state,) * 4, False, None)
    layout = kv_layout(arch, Cut(tp=2), limits(), VLLM_33)
    # 8192 / 2 channels: 3 taps of 2 B and 16 states of 4 B
    assert layout.block_bytes == (4 * 4096 * (3 * 2 + 16 * 4),)
    assert kv_bytes_per_token(arch, Cut(), limits(), VLLM_33).value == 0
    # its own state and, with prefix caching, one more; Mamba-1 leaves no checkpoint
    assert layout.blocks(10, 0, 1) == layout.blocks(10**6, 0, 1) == 2


def test_pages_of_two_sizes_are_made_equal() -> None:
    # a sliding layer has 16 × 512 × 2 B = 16 KiB a token, a full one 4 × 1024 × 2 B = 8 KiB: its blocks hold twice the tokens
    layout = kv_layout(gemma_31b(), Cut(), limits(8192, batched=4096), VLLM_20)
    assert {(group.kind, group.block) for group in layout.groups} == {("window", 16), ("full", 32)}
    assert [group.kind for group in layout.groups].count("window") == 5
    assert layout.block_bytes == (10 * 16 * 16_384,)
    # 50 GiB: 20,480 blocks; the old line divides by six groups and counts 16 tokens a block (vllm issue 43308: about 55,000)
    blocks = pool_blocks(layout, (50.0 * GIB,))
    assert printed_tokens(layout, blocks, limits(), 4096, Cut(), VLLM_20) == 20_480 // 6 * 16


def test_groups_of_nearly_equal_kinds_take_the_larger_size() -> None:
    state = Layer((Mamba(2, 1024, 16, 4, heads=16),), None, 1)
    full = Layer((TINY.layers[0].mixers[0],), None, 1)
    for counts, engine, groups in (
        ((10, 12), VLLM_33, 2),  # 12 < 1.5 × 10: two groups of 12, two of them padding
        ((10, 12), VLLM_11, 3),  # 0.11 had no such rule: groups of 10, one of them with two layers
        ((10, 15), VLLM_33, 3),
        ((10, 13), EngineVersion("vllm", (0, 16)), 3),  # 1.25 then
    ):
        layers = (full,) * counts[0] + (state,) * counts[1]
        arch = Architecture("x", "X", 256, 512, layers, False, 1024)
        assert len(kv_layout(arch, Cut(), limits(), engine).groups) == groups


def test_stages_take_their_own_layers() -> None:
    cut = Cut(pp=3)
    layout = kv_layout(LLAMA_70B, cut, limits(), VLLM_33)
    # 80 layers over 3 stages: 27, 27, 26; a block of 16 tokens takes 4096 B a layer and token
    assert layout.block_bytes == (27 * 65_536, 27 * 65_536, 26 * 65_536)
    assert pool_blocks(layout, (27 * 65_536 * 10.0, 27 * 65_536 * 10.0, 26 * 65_536 * 7.0)) == 7
    assert kv_bytes_per_token(LLAMA_70B, cut, limits(), VLLM_33, 2).value == 26 * 4096


def test_printed_tokens_are_multiplied_by_context_parallel() -> None:
    # Kimi K2 on 8 × H200 printed 715,072 tokens, with dcp 8 5,721,088 (46.8 GiB both times)
    asked = limits(262_144)
    for dcp, expected in ((1, 715_072), (8, 5_721_088)):
        cut = Cut(tp=8, dcp=dcp)
        layout = kv_layout(deepseek(), cut, asked, VLLM_11, card())
        blocks = pool_blocks(layout, (46.8 * GIB,))
        assert printed_tokens(layout, blocks, asked, 0, cut, VLLM_11) == pytest.approx(expected, rel=2e-4)


def v4(*ratios: int) -> Architecture:
    """DeepSeek V4 Flash's attention in layers of these ratios."""
    mixers = {
        ratio: GroupedAttention(
            64, 1, 512, 512, window=128, shared_kv=True, compress_ratio=ratio, o_groups=8, o_lora_rank=1024,
            index_heads=64 if ratio == 4 else 0, index_dim=128 if ratio == 4 else 0,
        )
        for ratio in (0, 4, 128)
    }  # fmt: skip
    layers = tuple(Layer((mixers[ratio],), MoeFfn(256, 6, 2048), 8192) for ratio in ratios)
    return Architecture("deepseek_v4", "DeepseekV4ForCausalLM", 4096, 129280, layers, False, 1_048_576)


def test_compressed_entries_are_packed_as_the_engine_packs_them() -> None:
    # pages are rounded up to 576 B. 256 tokens: at ratio 4, 64 entries of 584 B (37,376 → 37,440) and 64 of the index of 132 B
    # (8,448 → 8,640); at ratio 128, 2 entries (1,168 → 1,728). The window: 64 tokens of 584 B (37,440). States in 32 bits: 4 tokens ×
    # 2 × 2 × 512 values (32,768 → 32,832) and 4 × 2 × 2 × 128 (8,192 → 8,640) for a window of 8; 8 × 2 × 512 (32,832) for one of 128
    flash = v4(0, 0, *(4, 128) * 20, 4)
    asked = limits(500_000, kv_format="fp8")
    layout = kv_layout(flash, Cut(tp=2), asked, VLLM_33)
    assert {(group.kind, group.span, group.block, group.layers) for group in layout.groups} == {
        ("full", 0, 256, (21 + 20 + 21,)),
        # 43 windows in two groups, so that each holds about as many layers as the 21 pairs of states and the 20 single ones
        ("window", 128, 64, (22,)),
        ("window", 128, 64, (21,)),
        ("window", 8, 4, (21 + 21,)),
        ("window", 128, 8, (20,)),
    }
    assert layout.block_bytes == (21 * (37_440 + 8_640) + 20 * 1_728,) == (1_002_240,)
    # a request of 500,000 tokens with 16,384 in flight: 1,954 blocks of entries, 2 × (ceil(16,511 / 64) + 1) of windows,
    # ceil(16,391 / 4) + 1 and ceil(16,511 / 8) + 1 of states: 8,655,344,640 B, as `_max_memory_usage_bytes_from_groups` of 0.32 says
    assert layout.blocks(500_000, 16_384, 1) == 1_954 + 2 * 259 + 4_099 + 2_065
    assert layout.blocks(500_000, 16_384, 1) * 1_002_240 == 8_655_344_640
    # tensor parallel divides none of it; a pipeline does
    assert kv_layout(flash, Cut(tp=8), asked, VLLM_33) == layout
    halves = kv_layout(flash, Cut(tp=2, pp=2), asked, VLLM_33).block_bytes
    assert halves == (10 * 46_080 + 10 * 1_728, 11 * 46_080 + 10 * 1_728)


def test_an_indexer_over_tokens_keeps_a_key_beside_the_heads() -> None:
    # MiniMax M3: 4 KV heads of 128 in 60 layers, in 57 of them a key of 128 values in 16 bits, whole on every rank
    match = find_model("MiniMaxAI/MiniMax-M3")
    assert match is not None
    for tp, heads in ((1, 4), (4, 1), (8, 1)):
        expected = 60 * heads * 2 * 128 * 2 + 57 * 128 * 2
        layout = kv_layout(match.architecture, Cut(tp=tp), limits(), VLLM_33)
        assert [group.kind for group in layout.groups] == ["full"] and layout.block_bytes == (16 * expected,)
        assert kv_bytes_per_token(match.architecture, Cut(tp=tp), limits(), VLLM_33).value == expected


@settings(max_examples=60, deadline=None)
@given(
    which=st.sampled_from(["dense", "sliding", "hybrid"]),
    blocks=st.integers(0, 400),
    batched=st.sampled_from([16, 512, 2048]),
    dcp=st.sampled_from([1, 2]),
)
def test_longest_length_against_counting(which: str, blocks: int, batched: int, dcp: int) -> None:
    arch = {"dense": TINY, "sliding": gpt_oss(4), "hybrid": qwen35_27b()}[which]
    layout = kv_layout(arch, Cut(), limits(), VLLM_33)
    limit = 3000
    found = longest_tokens(layout, blocks, batched, dcp, limit)
    fitting = [tokens for tokens in range(1, limit + 1, 7) if layout.blocks(tokens, batched, dcp) <= blocks]
    assert (found == 0) == (layout.blocks(1, batched, dcp) > blocks)
    if found:
        assert layout.blocks(found, batched, dcp) <= blocks
        assert found == limit or layout.blocks(found + 1, batched, dcp) > blocks
    assert max(fitting, default=0) <= found
