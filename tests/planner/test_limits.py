"""The closed rule for what an engine is started with."""

from __future__ import annotations

import pytest

from kcluster.physics.cut import Cut, EngineVersion, Load
from kcluster.physics.memory import CONTEXT_BYTES
from kcluster.planner.case import default_utilization
from kcluster.planner.judge import Judge
from kcluster.planner.limits import context_of, first_limits, sequences_wanted, utilization_of
from kcluster.planner.types import Candidate
from kcluster.units import GIB
from tests.planner.planner_cases import LLAMA_8B, LLAMA_70B, QWEN_30B, card, case, cluster, planned

LOAD = Load(concurrency=50, context=16384, prompt=2048, completion=512)


def test_the_context_is_the_slas_and_at_most_the_models() -> None:
    assert context_of(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD)) == 16384
    longer = Load(4, 10_000_000, 2048, 512)
    assert context_of(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), longer)) == 131_072
    assert context_of(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD, max_model_len=4096)) == 4096


def test_sequences_are_shared_by_replicas_and_ranks_and_rounded_up_to_graphs() -> None:
    known = case(LLAMA_8B, "bf16", cluster(1, 8, "h100"), LOAD)
    # 50 over 4 engines are 12.5, so 13 at a time, and graphs are captured for 8 and 16
    assert sequences_wanted(known, Cut(replicas=4)) == 13
    assert first_limits(known, Cut(replicas=4), "bf16", card("h100")).max_num_seqs == 16
    # 50 over 2 replicas × 8 ranks are 3.1, so 4
    moe = case(QWEN_30B, "bf16", cluster(2, 8, "h100"), LOAD)
    assert first_limits(moe, Cut(dp=8, ep=True, replicas=2), "bf16", card("h100")).max_num_seqs == 4


def test_sequences_stop_at_the_engines_own_default() -> None:
    """vLLM: 1,024 sequences from 70 GiB on, 256 below; 8,192 and 2,048 batched tokens."""
    many = Load(1_000_000, 16384, 2048, 512)
    large = first_limits(case(LLAMA_8B, "bf16", cluster(1, 1, "h100"), many), Cut(), "bf16", card("h100"))
    small = first_limits(case(LLAMA_8B, "bf16", cluster(1, 1, "l4"), many), Cut(), "bf16", card("l4"))
    assert (large.max_num_seqs, large.max_num_batched_tokens) == (1024, 8192)
    assert (small.max_num_seqs, small.max_num_batched_tokens) == (256, 2048)


def test_written_limits_stand() -> None:
    known = case(
        LLAMA_8B, "bf16", cluster(1, 1, "h100"), LOAD, max_num_seqs=7, max_num_batched_tokens=3, utilization=0.5
    )
    limits = first_limits(known, Cut(), "bf16", card("h100"))
    assert (limits.max_num_seqs, limits.max_num_batched_tokens, limits.utilization) == (7, 3, 0.5)


def test_without_chunked_prefill_a_prompt_fits_one_batch() -> None:
    known = case(LLAMA_8B, "bf16", cluster(1, 1, "l4"), LOAD, chunked_prefill=False)
    assert first_limits(known, Cut(), "bf16", card("l4")).max_num_batched_tokens == 16384


def test_the_default_utilization_leaves_what_others_hold() -> None:
    """3 GiB of an L4's 22, and what the driver holds itself, are more than the 8 % that the default leaves."""
    from attrs import evolve

    machines = evolve(cluster(1, 1, "l4"), reserved=3.0 * GIB)
    known = case(LLAMA_8B, "fp8", machines, LOAD)
    share = utilization_of(known, card("l4"))
    total = card("l4").memory.value
    free = total - 3 * GIB - CONTEXT_BYTES
    assert share * total <= free < (share + 0.01) * total
    assert utilization_of(case(LLAMA_8B, "fp8", cluster(1, 1, "l4"), LOAD), card("l4")) == 0.92


def test_no_more_sequences_than_the_kv_holds_of_typical_requests() -> None:
    """What does not fit waits in the queue instead of being preempted."""
    known = case(LLAMA_70B, "fp8", cluster(1, 4, "rtx-5090"), Load(200, 8192, 4096, 1024))
    candidate = Judge(known).candidate(Cut(tp=4), "bf16")
    fit = Judge(known).fit(Cut(tp=4), "bf16")
    assert fit.held_typical is not None
    assert 200 > fit.held_typical.value >= candidate.limits.max_num_seqs > fit.held_typical.value / 2


RAW = """
model m {{ id = "{id}" }}
hardware h {{ gpus = 1 * h200-sxm }}
sla s {{ concurrency = 4, context = 8K, prompt = 2K, completion = 512 }}
serve chat {{
  model = m, hardware = h, sla = s
  engine vllm {{
    version = "{version}"
    {args}
  }}
}}
"""
HYBRID = "nvidia/Nemotron-H-8B-Base-8K"


def chosen(args: str = "", id: str = "openai/gpt-oss-20b", version: str = "0.32") -> Candidate:
    return planned(RAW.format(id=id, version=version, args=args)).serves[0].chosen


def test_raw_flags_count_under_any_of_their_spellings() -> None:
    limits = chosen(
        'args { "--no-async-scheduling" = on, "--disable_hybrid_kv_cache_manager" = on, "--num-gpu-blocks-over" = 5000 }'
    ).limits
    assert (limits.async_scheduling, limits.hybrid_manager, limits.gpu_blocks) == (False, False, 5000)
    limits = chosen('args { "--mamba-cache-dtype" = "float32", "--mamba-ssm-cache-dtype" = "float16" }', HYBRID).limits
    assert (limits.conv_bytes, limits.ssm_bytes) == (4, 2)


def test_prefix_caching_is_the_engines_own_where_nobody_says() -> None:
    for version, on in (("0.11", False), ("0.32", True)):
        assert chosen(id=HYBRID, version=version).limits.prefix_caching is on
        assert chosen(version=version).limits.prefix_caching
    assert not chosen("prefix_caching = off").limits.prefix_caching
    assert not chosen('args { "--no-enable-prefix-caching" = on }').limits.prefix_caching
    assert not chosen('args { "--enable-prefix-caching" = off }').limits.prefix_caching


def test_given_blocks_are_the_pool() -> None:
    """5,000 blocks of 16 tokens; gpt-oss-20b has 12 sliding and 12 full layers of 8 × 64 × 2 × 2 B a token: 32 KiB a page."""
    memory = chosen('args { "--num-gpu-blocks-override" = 5000 }').memory
    assert memory is not None
    assert memory.kv_cache.value == 5000 * 12 * 32 * 1024
    assert dict(memory.max_concurrency.inputs)["blocks"].value == 5000


def test_a_length_that_the_engine_finds_is_the_longest_that_fits() -> None:
    """1,000 blocks, one of them kept back; two batches of 8,192 tokens and a window of 128 hold (127 + 16,384) / 16 + 1 = 1,033, so
    that sliding layers hold as many blocks and one more as full ones: 499 and 500 of 16 tokens."""
    for value in ('"-1"', '"auto"'):
        found = chosen(f'args {{ "--num-gpu-blocks-override" = 1000, "--max-model-len" = {value} }}')
        assert found.limits.max_model_len == 499 * 16
    assert chosen('args { "--max-model-len" = "auto" }').limits.max_model_len == 131_072


def test_the_sampler_that_a_variable_names() -> None:
    """Of two samplers a build of 0.11 may have, the variable says which: 28 bytes a logit less, so more KV."""
    text = """
    model m { id = "Qwen/Qwen2.5-7B-Instruct", weights = bf16 }
    hardware h { gpus = 1 * h100-sxm }
    sla s { concurrency = 256, context = 4K, prompt = 2K, completion = 500 }
    serve x { engine vllm { version = "0.11", max_num_seqs = 256, env { NAME = "VALUE" } } }
    """

    def kv(value: str) -> float:
        written = text.replace("NAME", "VLLM_USE_FLASHINFER_SAMPLER").replace("VALUE", value)
        memory = planned(written).serves[0].chosen.memory
        assert memory is not None
        return memory.kv_cache.value

    # with FlashInfer the forward pass is the larger of the two, so that not all of 28 × 256 × 152,064 bytes is gained
    assert kv("1") > kv("0") + GIB / 4
    memory = planned(text.replace("NAME", "OTHER")).serves[0].chosen.memory
    assert memory is not None and memory.kv_cache.value == kv("0")


@pytest.mark.parametrize(("version", "share"), [((0, 16), 0.9), ((0, 19), 0.9), ((0, 20), 0.92), ((0, 33), 0.92)])
def test_the_default_utilization_of_a_version(version: tuple[int, ...], share: float) -> None:
    assert default_utilization(EngineVersion("vllm", version)) == share
