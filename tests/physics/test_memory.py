"""The budget by hand: round constants, one term at a time."""

from __future__ import annotations

import pytest
from attrs import evolve

from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.physics.architecture import Architecture
from kcluster.physics.cut import Cut, EngineVersion
from kcluster.physics.memory import (
    default_limits,
    held_requests,
    longest_length,
    memory,
    most_sequences,
    most_states,
)
from kcluster.physics.results import Memory
from kcluster.units import GIB, MIB
from tests.physics.shapes import (
    BF16,
    LLAMA_70B,
    QWEN_235B,
    TINY,
    VLLM_19,
    VLLM_33,
    card,
    constant,
    constants,
    deepseek,
    dense,
    gpt_oss,
    limits,
    qwen35_27b,
)

H100 = card()
L40S = card("l40s", 44.39, (8, 9), link=None, form="pcie")
VLLM_16 = EngineVersion("vllm", (0, 16))


def budget(
    arch: Architecture = LLAMA_70B, cut: Cut | None = None, engine: EngineVersion = VLLM_33, **others: object
) -> Memory:
    asked = others.pop("limits", limits())
    cards = others.pop("cards", (H100,))
    values = others.pop("constants", constants())
    return memory(arch, BF16, cut or Cut(tp=4), asked, cards, engine, values, **others)  # type: ignore[arg-type]


def test_terms_add_up() -> None:
    found = budget()
    assert found.usable.value == pytest.approx(79.11 * GIB * 0.9, abs=1)
    # the second runner's sampler takes 2 × 256 × 128,256 + 2 × (8,192 + 256) × 8,192 = 0.19 GiB; the forward pass at 8,192 tokens
    # holds 2 × (4 × 8,192 + 3 × 28,672 / 4) × 8,192 = 0.83 GiB, and both the inputs: the larger counts
    assert found.activation.value == 2 * (4 * 8192 + 3 * 28672 / 4) * 8192 + MIB
    # base since 0.18, the buffers of tp 2 on NVSwitch since 0.17, one more doubling
    assert found.non_torch.value == (0.25 + 2 + 1 / 16) * GIB
    # 51 sizes up to 512 tokens, 35 of them up to 256 requests: 512 × 0.25 + 80 × 50 × 0.25 + 34 × 4 MiB
    assert found.cuda_graph.value == (128 + 1000 + 136) * MIB
    left = found.usable.value - found.weights.value - found.activation.value - found.non_torch.value
    assert found.kv_cache.value == left - found.cuda_graph.value
    # whole blocks of 16 tokens of 81,920 B
    blocks = found.kv_cache.value // (16 * 81_920)
    assert found.max_concurrency.value == blocks / 512
    assert found.kv_tokens.value == int(blocks / 512 * 8192)
    assert (found.starts, found.weights_fit) == ("yes", "yes")


def test_the_sampler_counts_where_it_is_larger() -> None:
    asked = limits(sequences=1024, batched=2048)
    states = 2 * (2048 + 1024) * 8192 + MIB
    fused = budget(limits=asked, engine=VLLM_19)
    # 128 rows of the vocabulary in 32 bits beside
    assert fused.activation.value == 16 * 1024 * 128_256 + 4 * 128 * 128_256 + states
    few = budget(evolve(LLAMA_70B, vocab=10**7), limits=limits(sequences=64, batched=64), engine=VLLM_19)
    assert few.activation.value == (16 + 4) * 64 * 10**7 + 2 * (64 + 64) * 8192 + MIB
    # the sorting sampler of 0.16 takes 40 bytes instead; FlashInfer's, where a build before 0.11.2 is known to have it, 10
    assert budget(limits=asked, engine=VLLM_16).activation.value == 40 * 1024 * 128_256 + states
    old = EngineVersion("vllm", (0, 11))
    known = evolve(asked, sampler="flashinfer")
    assert budget(limits=known, engine=old).activation.value == 10 * 1024 * 128_256 + states
    # not known: the sorting one's, with a range that reaches down to the other
    unknown = budget(limits=asked, engine=old).activation
    assert unknown.value == 40 * 1024 * 128_256 + states
    assert unknown.range()[0] == 10 * 1024 * 128_256 + states
    assert budget(limits=evolve(asked, sampler="sorted"), engine=old).activation.range()[0] == unknown.value


def test_graphs_lie_outside_the_budget_of_old_engines() -> None:
    taken = (128 + 1000 + 136) * MIB
    assert budget(engine=VLLM_19).cuda_graph.value == 0
    assert budget(engine=EngineVersion("vllm", (0, 21))).cuda_graph.value == taken
    assert budget(limits=limits(eager=True)).cuda_graph.value == 0
    # the second runner, from 0.25 that of dense models, estimated none until 0.29
    assert budget(engine=EngineVersion("vllm", (0, 26))).cuda_graph.value == 0
    assert budget(QWEN_235B, engine=EngineVersion("vllm", (0, 26))).cuda_graph.value == (128 + 94 * 50 / 2 + 136) * MIB
    assert budget(engine=EngineVersion("vllm", (0, 29))).cuda_graph.value == taken
    # 0.985 of the card and 1.23 GiB of graphs on top are more than there is
    assert budget(engine=VLLM_19, limits=limits(utilization=0.985)).starts == "uncertain"
    assert budget(engine=VLLM_19, limits=limits(utilization=0.985, eager=True)).starts == "yes"


def test_graphs_by_the_batches_that_are_captured() -> None:
    # 4 requests: sizes 1, 2, 4, 8 in pieces and 1, 2, 4 whole
    few = limits(sequences=4)
    assert budget(limits=few).cuda_graph.value == (8 / 4 + 80 * 3 / 4 + 2 * 4) * MIB
    # three drafted tokens make 16 of them: 1, 2, 4, 8, 16, 24, 32 and 1, 2, 4, 8, 16
    assert (
        budget(limits=evolve(few, speculative_tokens=3, mtp=False)).cuda_graph.value
        == (32 / 4 + 80 * 6 / 4 + 4 * 4) * MIB
    )


def test_what_a_warm_up_leaves_counts_as_graphs() -> None:
    """From 0.26 to 0.28 with recurrent layers: 2 × 8 × 4,096 tokens × 10,240 channels / 4."""
    asked = limits(sequences=16, batched=4096)

    def taken(version: tuple[int, ...], speculative: int = 0) -> float:
        known = evolve(asked, speculative_tokens=speculative)
        return budget(qwen35_27b(), limits=known, engine=EngineVersion("vllm", version)).cuda_graph.value

    assert taken((0, 26)) == taken((0, 25)) + 2 * 8 * 4096 * 10_240 / 4
    assert taken((0, 29)) == taken((0, 25))
    assert taken((0, 26), 1) == taken((0, 25), 1)


@pytest.mark.parametrize(
    ("used", "tp", "engine", "expected"),
    [
        (H100, 1, VLLM_33, 0.25),
        (H100, 1, VLLM_16, 0.125),
        (H100, 2, VLLM_16, 0.125 + 1),
        (H100, 8, VLLM_16, 0.125 + 1 + 2 / 16),
        (H100, 8, VLLM_33, 0.25 + 2 + 2 / 16),
        (card("a100-80gb-sxm", 79.25, (8, 0)), 2, VLLM_33, 0.25 + 0.125),  # its switch adds nothing up
        (L40S, 4, VLLM_16, 0.125 + 2 * 0.125),
        (L40S, 4, VLLM_33, 0.25 + 2 * 0.125),
        (card("mi300x", 191.98, None, link="xgmi", vendor="amd"), 8, VLLM_33, 1 + 3 * 0.5),
    ],
)
def test_communicators(used: object, tp: int, engine: EngineVersion, expected: float) -> None:
    found = budget(TINY, Cut(tp=tp), engine, cards=(used,), limits=limits(512, 128, 2048))
    assert found.non_torch.value == expected * GIB


def test_experts_and_recurrent_layers_have_buffers_of_their_own() -> None:
    asked = limits(sequences=16, batched=4096)
    # 2 × 4 × 4,096 × 4,096 hidden; 8 experts × (4,096 + 4,096) × 2 × 4,096: the hidden size is wider than 2 × 1,536 / 4
    expected = 2 * 4 * 4096 * 4096 + 2 * 4096 * 8 * (4096 + 4096) + MIB
    assert budget(QWEN_235B, limits=asked).activation.value == expected
    # 10,240 convolution channels / 4: 6 of them live beside 4 × 5,120 hidden and 3 × 17,408 / 4
    hybrid = 2 * 4096 * (4 * 5120 + 3 * 17408 / 4 + 6 * 10_240 / 4) + MIB
    assert budget(qwen35_27b(), limits=asked).activation.value == hybrid


def test_work_buffers_of_experts_stay_beside_the_sampler() -> None:
    """Mixtral 8x7B at tp 2 and its defaults on H100: 2 experts × (7,168 + 14,336) × 2 × 8,192 B lie beside the sampler since 0.13."""
    asked = limits(sequences=1024, batched=8192)
    whole = evolve(QWEN_235B, vocab=10**6)
    logits = (16 * 1024 + 4 * 128) * 10**6 + 2 * (8192 + 1024) * 4096 + MIB
    buffers = 2 * 8192 * 8 * (4096 + 4096)
    assert budget(whole, limits=asked, engine=VLLM_19).activation.value == logits + buffers
    sorting = 40 * 1024 * 10**6 + 2 * (8192 + 1024) * 4096 + MIB
    assert budget(whole, limits=asked, engine=EngineVersion("vllm", (0, 12))).activation.value == sorting
    # kernels for 4-bit floating-point experts have none
    packed = memory(whole, WEIGHT_FORMATS["mxfp4"], Cut(tp=4), asked, (H100,), VLLM_19, constants())
    assert packed.activation.value == logits


def test_stages_hold_what_passes_between_them() -> None:
    asked = limits(sequences=16, batched=4096)
    staged = budget(cut=Cut(tp=4, pp=2), limits=asked, cards=(H100, H100))
    assert staged.activation.value == budget(limits=asked).activation.value + 2 * 2 * 4096 * 8192


def test_vision_encoders_are_profiled_unless_left_out() -> None:
    seeing = evolve(TINY, vision_parameters=10**8)
    asked = limits(512, 8, 4096)
    assert budget(seeing, Cut(), limits=asked).activation.value == 65536 * 4096
    assert budget(seeing, Cut(), limits=evolve(asked, language_model_only=True)).activation.value < 65536 * 4096


def test_ranges_combine_as_independent_errors() -> None:
    loose = constants(
        base_cuda_grown=constant(GIB / 4, 0, GIB / 4 + 3 * GIB / 10),
        communicator_multicast_grown=constant(2 * GIB, 2 * GIB, 2.4 * GIB),
    )
    found = budget(constants=loose)
    # 0.3 and 0.4 GiB upwards make 0.5 GiB down for KV; 0.25 and 0 downwards make 0.25 up
    low, high = found.kv_cache.range()
    assert found.kv_cache.value - low == pytest.approx(0.5 * GIB)
    assert high - found.kv_cache.value == pytest.approx(0.25 * GIB)
    tokens_low, tokens_high = found.kv_tokens.range()
    assert tokens_low < found.kv_tokens.value < tokens_high


def test_the_smallest_card_decides() -> None:
    cut = Cut(tp=4, pp=2)
    alike = budget(cut=cut, cards=(H100, H100))
    mixed = budget(cut=cut, cards=(H100, L40S))
    assert mixed.total.value == 44.39 * GIB
    assert mixed.max_concurrency.value < alike.max_concurrency.value / 2
    assert [stage.layers for stage in mixed.stages] == [40, 40]
    assert mixed.stages[0].kv_cache.value == alike.stages[0].kv_cache.value
    # only the last stage samples
    many = limits(sequences=1024, batched=1024)
    staged = budget(cut=cut, limits=many, cards=(H100, H100))
    assert staged.stages[0].kv_cache.value > staged.stages[1].kv_cache.value


def test_starts_by_the_range() -> None:
    wide = constants(pool=constant(0, -0.1, 0.1))
    # one request of n tokens takes n × 81,920 B of a pool of about 31 GiB with a doubt of 7.9 GiB either way
    pool = budget(constants=wide).kv_cache.value
    for share, expected in ((0.5, "yes"), (1.0, "uncertain"), (1.5, "no")):
        length = int(share * pool / 81_920)
        found = budget(dense(80, 8192, 64, 8, 128, 28672, 128256, 10**7), constants=wide, limits=limits(length))
        assert found.starts == expected, share
    assert budget(constants=wide, limits=limits(utilization=0.05)).weights_fit == "no"
    assert budget(constants=wide, limits=limits(utilization=0.05)).starts == "no"


def test_what_others_hold_is_not_free() -> None:
    # the engine asks for 0.9 of the total; 10 GiB of 79.11 taken leave 0.87
    assert budget(reserved=10 * GIB).starts == "no"
    assert budget(reserved=5 * GIB).starts == "yes"
    # what it asks for does not change
    assert budget(reserved=5 * GIB).kv_cache == budget().kv_cache


def test_the_context_of_a_process_is_not_free_either() -> None:
    # 0.995 of 79.11 GiB leave 0.4 GiB, less than a context may take
    assert budget(limits=limits(utilization=0.995)).starts == "uncertain"
    assert budget(limits=limits(utilization=0.99)).starts == "yes"


def test_hybrids_need_a_state_for_every_sequence() -> None:
    many = limits(sequences=1024)
    found = budget(qwen35_27b(), Cut(), limits=many)
    # pages of 832 tokens × 4 KiB, 16 layers a group
    blocks = found.kv_cache.value // (832 * 4096 * 16)
    assert blocks < 1024
    assert found.starts == "no"
    most = most_states(found, many, VLLM_33)
    assert most is not None and most.value == blocks
    assert budget(qwen35_27b(), Cut(), limits=limits(sequences=int(blocks) - 10)).starts == "yes"
    # neither without graphs, nor before 0.20, nor for a model without states
    assert budget(qwen35_27b(), Cut(), limits=limits(sequences=1024, eager=True)).starts == "yes"
    assert budget(qwen35_27b(), Cut(), VLLM_19, limits=many).starts == "yes"
    assert most_states(budget(), limits(), VLLM_33) is None


def test_other_engines_count_as_the_newest() -> None:
    other = EngineVersion("sglang", (0, 5))
    assert budget(engine=other).kv_cache.value == budget().kv_cache.value


@pytest.mark.parametrize("name", ["sglang", "trtllm"])
def test_what_was_not_measured_has_a_wider_range_and_says_so(name: str) -> None:
    """The overhead of an engine whose starts nobody fitted may be half or twice vLLM's. Constants without a range leave nothing
    else in doubt: KV may be smaller by the overhead, or larger by half of it. Triton's backend is vLLM."""
    found = budget(engine=EngineVersion(name, (1, 2)))
    overhead = found.activation.value + found.non_torch.value + found.cuda_graph.value
    low, high = found.kv_cache.range()
    assert found.kv_cache.value - low == pytest.approx(overhead)
    assert high - found.kv_cache.value == pytest.approx(overhead / 2)
    assert "none was: its overhead is taken as half to twice vLLM's" in found.kv_cache.source
    assert budget(engine=EngineVersion("triton", (25, 10))).kv_cache == budget().kv_cache
    assert "none was" not in budget().kv_cache.source


def test_a_pool_of_given_bytes_ignores_the_utilization() -> None:
    fixed = budget(limits=limits(utilization=0.1, kv_cache_memory_bytes=4 * GIB))
    assert fixed.kv_cache.value == 4 * GIB
    assert fixed.max_concurrency.value == (4 * GIB // (16 * 81_920)) / 512
    assert fixed.starts == "yes"
    assert budget(limits=limits(kv_cache_memory_bytes=60 * GIB)).starts == "no"


def test_drafters_are_weights_of_the_last_stage() -> None:
    plain, drafting = budget(), budget(draft_bytes=float(GIB))
    assert drafting.weights.value == plain.weights.value + GIB
    assert drafting.kv_cache.value == plain.kv_cache.value - GIB


def test_requests_of_other_lengths() -> None:
    found = budget()
    held = held_requests(found, LLAMA_70B, Cut(tp=4), limits(), VLLM_33, 1000)
    # 1,000 tokens are 63 blocks of 16; one of 8,192 takes 512
    assert held.value == pytest.approx(found.max_concurrency.value * 512 / 63)
    assert most_sequences(found, LLAMA_70B, Cut(tp=4), limits(), VLLM_33, 1000) == int(held.range()[0])


def test_the_longest_length_starts_and_one_more_does_not() -> None:
    far = dense(80, 8192, 64, 8, 128, 28672, 128256, 10**7)
    found = budget(far)
    longest = longest_length(found, far, Cut(tp=4), limits(), VLLM_33)
    blocks = found.kv_cache.value // (16 * 81_920)
    assert longest == (blocks - 1) * 16  # one null block
    assert budget(far, limits=limits(longest)).starts == "yes"
    assert budget(far, limits=limits(longest + 1)).starts == "no"
    assert longest_length(budget(), LLAMA_70B, Cut(tp=4), limits(), VLLM_33) == 131_072
    assert longest_length(found, far, Cut(tp=4), limits(), VLLM_33, safe=True) <= longest


@pytest.mark.parametrize(
    ("used", "engine", "expected"),
    [
        (H100, VLLM_33, (1024, 8192)),
        (card("a100-80gb-sxm", 79.25, (8, 0)), VLLM_33, (256, 2048)),
        (card("a100-80gb-sxm", 79.25, (8, 0)), EngineVersion("vllm", (0, 8, 5)), (1024, 8192)),
        (card("b200-sxm", 178.35, (10, 0)), VLLM_33, (1024, 16384)),
        (card("b200-sxm", 178.35, (10, 0)), VLLM_19, (1024, 8192)),
        (card("gb10", 121.65, (12, 1), link=None, form="soc"), VLLM_33, (256, 2048)),
        (card("gb10", 121.65, (12, 1), link=None, form="soc"), VLLM_19, (1024, 8192)),
        (L40S, VLLM_33, (256, 2048)),
    ],
)
def test_defaults_by_card(used: object, engine: EngineVersion, expected: tuple[int, int]) -> None:
    assert default_limits(LLAMA_70B, used, engine) == expected  # type: ignore[arg-type]


def test_defaults_beside_given_limits() -> None:
    # the batch is at most every sequence at its longest
    assert default_limits(TINY, H100, VLLM_33, max_model_len=512, max_num_seqs=4) == (4, 2048)
    assert default_limits(TINY, H100, VLLM_33, max_num_batched_tokens=128) == (128, 128)
    assert default_limits(LLAMA_70B, L40S, VLLM_33, max_model_len=65536, chunked_prefill=False) == (256, 65536)


def test_latent_attention_expands_its_context() -> None:
    asked = limits(163_840, 64, 2048)
    found = budget(deepseek(), Cut(tp=8), limits=asked)
    # 64 Ki tokens × 16 heads × (128 + 128) × 2 B = 0.5 GiB; hidden 2 × 4 × 2,048 × 7,168; dense 3 × 18,432 / 8;
    # eight experts × (7,168 + 7,168)
    expected = 0.5 * GIB + 2 * 2048 * (4 * 7168 + 3 * 18432 / 8 + 8 * 2 * 7168) + MIB
    assert found.activation.value == expected


def test_why_explains_the_pool() -> None:
    found = budget(gpt_oss(36))
    assert found.kv_cache.formula == "usable - weights - activation - non_torch - cuda_graph"
    assert [name for name, _ in found.kv_cache.inputs] == ["usable", "weights", "activation", "non_torch", "cuda_graph"]
