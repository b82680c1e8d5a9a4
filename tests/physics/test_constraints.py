"""Every constraint with a cut that keeps it and one that breaks it, and the arithmetic in the words."""

from __future__ import annotations

import pytest
from attrs import evolve

from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, Layer
from kcluster.physics.constraints import Broken, allowed_tps, violations
from kcluster.physics.cut import Cut, KvFormat, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card
from tests.physics.shapes import (
    AWQ,
    BF16,
    FP8_BLOCK,
    LLAMA_70B,
    MXFP4,
    NVFP4,
    QWEN_235B,
    VLLM_33,
    card,
    deepseek,
    dense,
    gpt_oss,
    limits,
)


def broken(
    arch: Architecture = LLAMA_70B,
    fmt: WeightFormat = BF16,
    cut: Cut | None = None,
    asked: Limits | None = None,
    cards: tuple[Card, ...] = (),
) -> tuple[Broken, ...]:
    return violations(arch, fmt, cut or Cut(), asked or limits(), VLLM_33, cards or (card(),))


def one(code: str, found: tuple[Broken, ...]) -> Broken:
    (match,) = [item for item in found if item.code == code]
    return match


def test_a_plain_cut_breaks_nothing() -> None:
    for tp in (1, 2, 4, 8):
        assert broken(cut=Cut(tp=tp)) == ()


def test_heads() -> None:
    found = one("KC301", broken(cut=Cut(tp=5)))
    assert found.because == "64 attention heads do not divide by tp 5 (they do by 1, 2, 4, 8, 16, 32, 64)"
    assert (found.subject, found.fatal, found.figures[0].value) == ("tp", True, 64)


def test_kv_heads() -> None:
    # 48 heads and 6 KV heads over tp 4: config check passes, every worker dies (research/vllm.md, 3.6)
    odd = dense(4, 768, 48, 6, 64, 3072, 1024)
    found = one("KC302", broken(odd, cut=Cut(tp=4)))
    assert found.fatal
    assert found.because == "neither of 6 KV heads and tp 4 divides the other (tp 1, 2, 3, 6, 12, 24, 48 would do)"
    assert broken(odd, cut=Cut(tp=6)) == ()
    copied = one("KC302", broken(cut=Cut(tp=32)))
    assert (copied.fatal, copied.because) == (False, "tp 32 exceeds 8 KV heads, so each is held 4 times")
    # dcp over all copies leaves none
    assert [item.code for item in broken(cut=Cut(tp=32, dcp=4))] == []


def test_latent_attention_is_whole_on_every_rank() -> None:
    found = one("KC302", broken(deepseek(), cut=Cut(tp=8)))
    assert not found.fatal
    assert found.because == "latent attention keeps its whole KV on each of the 8 tensor-parallel ranks"
    assert not broken(deepseek(), cut=Cut(tp=8, dcp=8))


@pytest.mark.parametrize(
    ("cut", "fatal", "subject", "because"),
    [
        (Cut(pp=3), False, "pp", "80 layers do not divide by pp 3: stages of 27, 27, 26 layers"),
        (Cut(pp=81), True, "pp", "pp 81 exceeds the model's 80 layers"),
        (Cut(pp=2, layers=(40, 41)), True, "layers", "layers [40, 41] are not 2 stages that sum to 80"),
        (Cut(pp=2, layers=(80, 0)), True, "layers", "layers [80, 0] are not 2 stages that sum to 80"),
    ],
)
def test_stages(cut: Cut, fatal: bool, subject: str, because: str) -> None:
    found = one("KC304", broken(cut=cut))
    assert (found.fatal, found.subject, found.because) == (fatal, subject, because)


def test_stages_that_are_fine() -> None:
    assert broken(cut=Cut(pp=4)) == ()
    assert broken(cut=Cut(pp=2, layers=(42, 38))) == ()


def test_no_pipeline_support() -> None:
    found = one("KC304", broken(evolve(LLAMA_70B, pipeline=False), cut=Cut(pp=2)))
    assert found.because == "LlamaForCausalLM does not support pipeline parallel"


@pytest.mark.parametrize(
    ("arch", "cut", "fatal", "because"),
    [
        (LLAMA_70B, Cut(tp=2, ep=True), True, "the model has no experts to spread"),
        (QWEN_235B, Cut(tp=4, eplb=True), True, "balancing experts needs expert parallel"),
        (QWEN_235B, Cut(tp=4, ep=True, redundant_experts=2), True, "2 redundant experts need the balancer"),
        (QWEN_235B, Cut(ep=True, eplb=True), True, "balancing needs more than one expert-parallel rank"),
        # 128 + 2 = 130 over 4 ranks leaves 2; 132 divides
        (
            QWEN_235B,
            Cut(tp=4, ep=True, eplb=True, redundant_experts=2),
            True,
            "128 + 2 redundant experts do not divide by 4 ranks (4 redundant ones would)",
        ),
        # 128 = 3 × 42 + 2
        (evolve(QWEN_235B), Cut(dp=3, ep=True), False, "128 experts over 3 ranks are uneven: 2 ranks hold one more"),
    ],
)
def test_experts(arch: Architecture, cut: Cut, fatal: bool, because: str) -> None:
    found = one("KC305", broken(arch, cut=cut))
    assert (found.fatal, found.because) == (fatal, because)


def test_experts_that_are_fine() -> None:
    assert "KC305" not in [item.code for item in broken(QWEN_235B, cut=Cut(tp=4, ep=True))]
    fine = Cut(tp=4, ep=True, eplb=True, redundant_experts=4)
    assert "KC305" not in [item.code for item in broken(QWEN_235B, cut=fine)]


def test_blocks_of_quantization() -> None:
    # Qwen3-235B in fp8 blocks, tp 8: 1536 / 8 = 192 = 128 + 64
    found = one("KC306", broken(QWEN_235B, FP8_BLOCK, Cut(tp=8)))
    assert found.because == "the experts' intermediate size 1536 / 8 = 192 is not a multiple of the block of 128"
    assert found.fatal
    assert "KC306" not in [item.code for item in broken(QWEN_235B, FP8_BLOCK, Cut(tp=8, ep=True))]
    assert "KC306" not in [item.code for item in broken(QWEN_235B, FP8_BLOCK, Cut(tp=4))]
    # without expert parallel the experts are cut over tp × dp
    assert "KC306" in [item.code for item in broken(QWEN_235B, FP8_BLOCK, Cut(tp=4, dp=2))]


def test_groups_of_quantization() -> None:
    # Qwen2-72B's 29,568 = 231 × 128: over tp 8 a shard of 3,696 = 28 × 128 + 112
    qwen2 = dense(80, 8192, 64, 8, 128, 29568, 152064)
    found = one("KC306", broken(qwen2, AWQ, Cut(tp=8)))
    assert found.because == "the intermediate size 29568 / 8 = 3696 is not a multiple of the group of 128"
    assert broken(dense(80, 8192, 64, 8, 128, 29696, 152064), AWQ, Cut(tp=8)) == ()
    # NVFP4 shares a scale over 16 values: 29,568 / 8 = 231 × 16
    assert "KC306" not in [item.code for item in broken(qwen2, NVFP4, Cut(tp=8), cards=(card(capability=(10, 0)),))]


def test_marlin_needs_whole_tiles() -> None:
    # groups of 32 would allow shards of 32 × n; the kernel wants 128 rows: 13,824 / 8 = 1,728 = 13 × 128 + 64
    fine_groups = evolve(AWQ, name="awq-int4-g32", group=32)
    found = one("KC306", broken(dense(48, 5120, 40, 8, 128, 13824, 152064), fine_groups, Cut(tp=8)))
    assert found.because.endswith("1728 is not a multiple of the 128 rows that the Marlin kernel takes")


def test_mxfp4_experts_are_padded_by_the_engine() -> None:
    # 2880 / 8 = 360 is not a multiple of 32, and yet gpt-oss runs so
    assert "KC306" not in [item.code for item in broken(gpt_oss(36), MXFP4, Cut(tp=8))]


@pytest.mark.parametrize(
    ("arch", "cut", "because"),
    [
        (LLAMA_70B, Cut(tp=16, dcp=3), "tp 16 does not divide by dcp 3"),
        (LLAMA_70B, Cut(tp=8, dcp=2), "tp 8 does not exceed 8 KV heads, so there is no copy for dcp to reclaim"),
        (LLAMA_70B, Cut(tp=16, dcp=4), "dcp 4 exceeds the 2 copies that tp 16 makes of 8 KV heads"),
        # three copies of 8 KV heads, three query heads each: nothing is broken
        (
            dense(4, 1536, 24, 8, 64, 4096, 1024),
            Cut(tp=24, dcp=3),
            "",
        ),
        (gpt_oss(36), Cut(tp=16, dcp=2), "sliding or chunked layers do not support dcp"),
    ],
)
def test_context_parallel(arch: Architecture, cut: Cut, because: str) -> None:
    found = [item for item in broken(arch, cut=cut) if item.code == "KC307"]
    assert [item.because for item in found] == ([because] if because else [])
    assert all(item.fatal for item in found)


@pytest.mark.parametrize(
    ("tp", "dcp", "kv_format", "capability", "because"),
    [
        (8, 4, "fp8", (9, 0), ""),  # 16 heads a rank, 64 of them gathered
        (8, 8, "fp8", (9, 0), "16 heads a rank × dcp 8 exceed the 64"),
        (4, 2, "fp8", (9, 0), "fewer than 32 heads a rank on these cards, not 32"),
        (8, 4, "bf16", (9, 0), "an fp8 KV cache alone"),
        (8, 8, "bf16", (10, 0), ""),  # another kernel
    ],
)
def test_context_parallel_of_a_sparse_index(
    tp: int, dcp: int, kv_format: KvFormat, capability: tuple[int, int], because: str
) -> None:
    cards = (card(capability=capability),)
    found = broken(deepseek(sparse=True), cut=Cut(tp=tp, dcp=dcp), asked=limits(kv_format=kv_format), cards=cards)
    said = [item.because for item in found if item.code == "KC307"]
    assert because in said[0] if because else not said


def test_context_parallel_divides_the_query_heads_of_a_kv_head() -> None:
    # 48 heads over 4 KV heads are 12 each: dcp 8 does not divide them, dcp 4 does
    arch = dense(4, 1536, 48, 4, 64, 4096, 1024)
    assert one("KC307", broken(arch, cut=Cut(tp=32, dcp=8))).because.startswith("12 query heads for a KV head")
    assert not [item for item in broken(arch, cut=Cut(tp=16, dcp=4)) if item.code == "KC307"]
    assert not [item for item in broken(deepseek(), cut=Cut(tp=8, dcp=8)) if item.code == "KC307"]


def test_widths() -> None:
    odd = dense(4, 1024, 16, 8, 64, 2730, 1024)
    assert one("KC309", broken(odd, cut=Cut(tp=4))).because == "intermediate size 2730 does not divide by tp 4"
    found = one("KC309", broken(QWEN_235B, cut=Cut(tp=1, dp=5)))
    assert found.because.startswith("the experts' intermediate size 1536 does not divide by tp 1 × dp 5")
    assert "KC309" not in [item.code for item in broken(QWEN_235B, cut=Cut(tp=1, dp=5, ep=True))]


def test_lengths_and_batches() -> None:
    too_long = one("KC206", broken(asked=limits(200_000)))
    assert too_long.because == "200000 tokens exceed the model's 131072 positions"
    assert broken(asked=limits(131_072)) == ()
    few = one("KC209", broken(asked=limits(sequences=512, batched=256)))
    assert few.because == "256 batched tokens are fewer than 512 sequences, which decode one token each"
    whole = one("KC209", broken(asked=limits(8192, batched=4096, chunked_prefill=False)))
    assert whole.because == "4096 batched tokens cannot hold a prompt of 8192 without chunked prefill"
    assert broken(asked=limits(8192, batched=8192, chunked_prefill=False)) == ()


@pytest.mark.parametrize(
    ("fmt", "capability", "fatal"),
    [
        (WeightFormat("fp8", 1.0, arithmetic="fp8"), (8, 0), False),  # weight-only on A100
        (WeightFormat("fp8", 1.0, arithmetic="fp8"), (8, 9), None),
        (WeightFormat("fp8", 1.0, arithmetic="fp8"), (7, 0), True),
        (NVFP4, (9, 0), False),
        (NVFP4, (12, 0), None),
        (AWQ, (8, 0), None),  # weight-only everywhere: nothing to say
        (AWQ, (7, 0), True),
    ],
)
def test_formats_by_card(fmt: WeightFormat, capability: tuple[int, int], fatal: bool | None) -> None:
    found = [item for item in broken(fmt=fmt, cards=(card(capability=capability),)) if item.code == "KC803"]
    assert [item.fatal for item in found] == ([] if fatal is None else [fatal])


def test_kv_formats() -> None:
    assert one("KC803", broken(asked=limits(kv_format="nvfp4"))).fatal
    assert broken(asked=limits(kv_format="nvfp4"), cards=(card(capability=(10, 0)),)) == ()
    wrong = one("KC805", broken(asked=limits(kv_format="fp16")))
    assert wrong.because == "an fp16 KV cache differs from the model's dtype bfloat16"
    assert broken(evolve(LLAMA_70B, dtype="float16"), asked=limits(kv_format="fp16")) == ()


def test_allowed_sizes() -> None:
    assert allowed_tps(LLAMA_70B, BF16, Cut()) == (1, 2, 4, 8, 16, 32, 64)
    assert allowed_tps(QWEN_235B, FP8_BLOCK, Cut()) == (1, 2, 4)
    assert allowed_tps(QWEN_235B, FP8_BLOCK, Cut(ep=True)) == (1, 2, 4, 8, 16, 32, 64)


def test_attention_shards_end_at_blocks_too() -> None:
    # 8 heads of 64 over tp 8: 64 columns of K and V, half a block
    layer = Layer((GroupedAttention(16, 8, 64, 64),), DenseFfn(4096), 2048)
    arch = Architecture("x", "X", 1024, 1024, (layer,) * 2, False, 4096)
    assert one("KC306", broken(arch, FP8_BLOCK, Cut(tp=8), limits(4096))).because == (
        "the KV width 512 / 8 = 64 is not a multiple of the block of 128"
    )
