"""What versions and flags of the engine change about its KV cache, held against the sources of vLLM 0.11 to 0.33."""

from __future__ import annotations

import pytest
from attrs import evolve

from kcluster.physics.architecture import Architecture, GroupedAttention, Layer, Mamba
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.kv import default_prefix_caching, in_flight_tokens, kv_layout, state_blocks
from kcluster.physics.kv_engine import keeps_windows, state_mode
from tests.physics.shapes import TINY, card, gpt_oss, limits, qwen35_27b


def vllm(minor: int) -> EngineVersion:
    return EngineVersion("vllm", (0, minor))


STATE = Layer((Mamba(2, 1024, 128, 4, heads=16),), None, 1)
FULL = Layer((TINY.layers[0].mixers[0],), None, 1)
NEMOTRON = Architecture("nemotron_h", "NemotronHForCausalLM", 256, 512, (STATE, FULL), False, 65_536)


@pytest.mark.parametrize(
    ("arch", "minor", "pp", "ahead", "batches"),
    [
        (TINY, 25, 1, True, 1),  # one batch's tokens, whatever is scheduled
        (TINY, 26, 1, True, 2),
        (TINY, 26, 1, False, 1),
        (TINY, 26, 2, True, 3),  # dense models have the newer runner, which overlaps one more than there are stages
        (gpt_oss(36), 26, 2, True, 2),  # experts had it only in some classes
        (gpt_oss(36), 29, 2, True, 3),
        (TINY, 33, 4, False, 4),
    ],
)
def test_batches_in_flight(arch: Architecture, minor: int, pp: int, ahead: bool, batches: int) -> None:
    asked = limits(batched=2048, async_scheduling=ahead)
    assert in_flight_tokens(arch, asked, Cut(pp=pp), vllm(minor)) == batches * 2048


@pytest.mark.parametrize(
    ("arch", "minor", "asked", "mode"),
    [
        (NEMOTRON, 11, None, "none"),  # prefix caching is switched off for states
        (NEMOTRON, 14, None, "all"),
        (NEMOTRON, 27, None, "all"),
        (NEMOTRON, 27, "align", "align"),
        (NEMOTRON, 28, None, "align"),
        (NEMOTRON, 31, "all", "all"),
        (NEMOTRON, 32, "all", "align"),  # which no longer parses
        (qwen35_27b(), 14, None, "none"),  # its class could not cache states then
        (qwen35_27b(), 15, None, "align"),
        (qwen35_27b(), 31, "all", "align"),
    ],
)
def test_states_that_prefix_caching_keeps(arch: Architecture, minor: int, asked: str | None, mode: str) -> None:
    found = limits(prefix_caching=True, state_mode=asked)
    assert state_mode(arch, found, vllm(minor)) == mode
    assert state_mode(arch, evolve(found, prefix_caching=False), vllm(minor)) == "none"


def test_a_state_for_every_block_grows_with_the_request() -> None:
    # One state: 1024 × 128 × 4 B and (1024 + 2 × 128) × 3 taps × 2 B = 531,968 B; a token of the full layer takes
    # 2 × 4 × 32 × 2 B = 512 B, so that 1,039 of them are a state: in chunks of lcm(128, 16) tokens 1,152.
    asked = limits(prefix_caching=True)
    layout = kv_layout(NEMOTRON, Cut(), asked, vllm(27))
    assert [(group.kind, group.block) for group in layout.groups] == [("state", 1152), ("full", 1152)]
    assert layout.blocks(1153, 0, 1) == 2 + 2
    # 0.28 keeps two states whatever the length, in blocks of 16 tokens: 1,040
    newer = kv_layout(NEMOTRON, Cut(), asked, vllm(28))
    assert [(group.kind, group.block) for group in newer.groups] == [("state", 0), ("full", 1040)]
    assert newer.blocks(1153, 0, 1) == 2 + 2 and newer.blocks(10_400, 0, 1) == 2 + 10
    assert state_blocks(NEMOTRON, asked, vllm(32), card()) == 3  # and a checkpoint


def test_types_of_states_that_flags_ask_for() -> None:
    # 16 bits instead of 32: 1024 × 128 × 2 B and 7,680 B = 269,824 B, of 512 B a token 527, in blocks of 16 tokens 528
    layout = kv_layout(NEMOTRON, Cut(), limits(ssm_bytes=2), vllm(33))
    assert [group.block for group in layout.groups if group.kind == "full"] == [528]
    # a convolution in 32 bits: 7,680 B more, 1,054 tokens: 1,056
    layout = kv_layout(NEMOTRON, Cut(), limits(conv_bytes=4), vllm(33))
    assert [group.block for group in layout.groups if group.kind == "full"] == [1056]


def test_without_the_hybrid_manager_every_layer_keeps_every_token() -> None:
    arch, asked = gpt_oss(36), limits(131_072, hybrid_manager=False)
    layout = kv_layout(arch, Cut(), asked, vllm(33))
    assert [(group.kind, group.layers) for group in layout.groups] == [("full", (36,))]
    assert layout.blocks(131_072, 0, 1) == 8192
    # where every layer slides there is nothing to be made equal to
    sliding = evolve(arch, layers=tuple(layer for layer in arch.layers if _window(layer)))
    assert {group.kind for group in kv_layout(sliding, Cut(), asked, vllm(33)).groups} == {"window"}


def _window(layer: Layer) -> int:
    mixer = layer.mixers[0]
    assert isinstance(mixer, GroupedAttention)
    return mixer.window or 0


def test_chunked_layers_share_the_pool_since_0_14_and_not_while_drafting() -> None:
    mixer = TINY.layers[0].mixers[0]
    assert isinstance(mixer, GroupedAttention)
    arch = evolve(TINY, layers=(*TINY.layers, Layer((evolve(mixer, chunk=8192),), None, 1)))
    for minor, drafted, kept in ((13, 0, False), (14, 0, True), (33, 0, True), (33, 1, False)):
        asked: Limits = limits(speculative_tokens=drafted)
        assert keeps_windows(arch, asked, vllm(minor)) is kept
        assert keeps_windows(TINY, asked, vllm(minor))


def test_models_without_attention_cache_no_prefix() -> None:
    assert not default_prefix_caching(evolve(NEMOTRON, layers=(STATE,)), vllm(33))
    assert default_prefix_caching(NEMOTRON, vllm(33)) and not default_prefix_caching(NEMOTRON, vllm(25))
