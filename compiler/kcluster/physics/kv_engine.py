"""What an engine's version and flags decide of its KV cache: the size of a block, batches in flight, states of a sequence,
and whether layers of several kinds share the pool. Source: vLLM 0.11 to 0.33, the modules that each function names.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from kcluster.physics.architecture import Architecture, DeltaNet, GroupedAttention, LatentAttention, Layer, Mamba
from kcluster.physics.cut import Cut, EngineVersion, Limits, StateMode
from kcluster.physics.hardware import Card
from kcluster.physics.kv_compressed import COMPRESSED_BLOCK, compressed
from kcluster.physics.kv_layers import since
from kcluster.physics.runner import second_runner

BATCHES_IN_FLIGHT_SINCE = (0, 26)
HYBRID_PREFIX_CACHING_SINCE = (0, 26)
STATES_CACHED_SINCE = (0, 12)
ALIGNED_STATES_SINCE = (0, 15)
ALIGNED_BY_DEFAULT_SINCE = (0, 28)
ONLY_ALIGNED_SINCE = (0, 32)
STATE_CHECKPOINT_SINCE = (0, 33)
MAMBA2_CHECKPOINT_SINCE = (0, 32)
CHUNKS_SHARE_SINCE = (0, 14)
"""Before, a model with chunked layers kept every token of all of them."""

STATE_CHUNKS: Final = {"bamba": 256, "falcon_h1": 256, "granitemoehybrid": 256, "jamba": 2048, "nemotron_h": 128}
"""Families whose classes can cache the state of every block, and the tokens of their kernel's chunk (`mamba_chunk_size` or
`chunk_size` by the default of their configuration; 2,048 where it has none)."""

CHECKPOINT_TOKENS = 64
"""Tokens on which FlashInfer's delta-rule kernel can leave a checkpoint."""


def default_block_size(arch: Architecture, limits: Limits, engine: EngineVersion, card: Card | None) -> int:
    """Tokens of a block when nobody sets it: 16, but what the latent-attention kernel of the card wants."""
    if compressed(arch):
        return COMPRESSED_BLOCK
    attention = arch.attention
    if not isinstance(attention, LatentAttention) or card is None or card.compute_capability is None:
        return 16
    if attention.index_heads:
        return 64
    major = card.compute_capability[0]
    if major == 9:
        return 64 if not since(engine, (0, 19)) or limits.kv_format == "fp8" else 16
    if major == 10:
        return 32 if since(engine, (0, 19)) else 128
    return 16


def in_flight_tokens(arch: Architecture, limits: Limits, cut: Cut, engine: EngineVersion) -> int:
    """Tokens scheduled but not yet settled, which a sliding layer keeps beside its window: one batch, since 0.26 every batch
    that the scheduler keeps in flight (vLLM, `config/vllm.py`, max_concurrent_batches)."""
    if not since(engine, BATCHES_IN_FLIGHT_SINCE):
        batches = 1
    elif limits.async_scheduling and (cut.pp == 1 or second_runner(arch, engine)):
        batches = cut.pp + 1
    else:
        batches = cut.pp
    return batches * limits.max_num_batched_tokens


def keeps_windows(arch: Architecture, limits: Limits, engine: EngineVersion) -> bool:
    """Whether sliding and chunked layers keep no more than they see, in groups of their own: not where the hybrid manager is
    off, which it is for chunked layers before 0.14 and with drafting (vLLM, `config/vllm.py`)."""
    chunks = any(isinstance(mixer, GroupedAttention) and mixer.chunk for layer in arch.kinds for mixer in layer.mixers)
    if chunks and (limits.speculative_tokens or not since(engine, CHUNKS_SHARE_SINCE)):
        return False
    return limits.hybrid_manager


def default_prefix_caching(arch: Architecture, engine: EngineVersion) -> bool:
    """Whether the engine caches prefixes when it is not told: always for plain attention, for hybrids only since 0.26, never
    without any attention."""
    return not arch.recurrent or (arch.attention is not None and since(engine, HYBRID_PREFIX_CACHING_SINCE))


def state_mode(arch: Architecture, limits: Limits, engine: EngineVersion) -> StateMode:
    """Which recurrent states a sequence keeps (vLLM, `model_executor/models/config.py`, MambaModelConfig)."""
    if not limits.prefix_caching or not since(engine, STATES_CACHED_SINCE):
        return "none"
    every = arch.model_type in STATE_CHUNKS and not since(engine, ONLY_ALIGNED_SINCE)
    if not since(engine, ALIGNED_STATES_SINCE):
        return "all" if every else "none"
    if limits.state_mode == "all" or (limits.state_mode != "align" and not since(engine, ALIGNED_BY_DEFAULT_SINCE)):
        return "all" if every else "align"
    return "align"


def state_blocks(arch: Architecture, limits: Limits, engine: EngineVersion, card: Card | None) -> int:
    """Blocks of recurrent state that one sequence holds in every recurrent group whatever its length: one (none of its own where
    every block keeps one), a second with prefix caching, a third where the kernel keeps a checkpoint, and one a speculative token."""
    mode = state_mode(arch, limits, engine)
    if mode == "all":
        return limits.speculative_tokens
    return 1 + limits.speculative_tokens + (1 + state_checkpoint(arch, engine, card) if mode == "align" else 0)


@lru_cache(maxsize=256)
def delta_rule(arch: Architecture) -> bool:
    """Whether some layers are gated delta-rule layers."""
    return any(isinstance(mixer, DeltaNet) for layer in arch.kinds for mixer in layer.mixers)


def state_checkpoint(arch: Architecture, engine: EngineVersion, card: Card | None) -> bool:
    """Whether prefills leave a checkpoint of the state inside a batch: Mamba-2 (`mamba_mixer2.py` of 0.32 and 0.33; Mamba-1 has
    none), and since 0.33 gated delta-rule layers where FlashInfer's kernel runs (compute capability 9 and 10)."""
    if delta_rule(arch):
        capability = card.compute_capability if card is not None else None
        return capability is not None and capability[0] in (9, 10) and since(engine, STATE_CHECKPOINT_SINCE)
    second = any(isinstance(mixer, Mamba) and mixer.version == 2 for layer in arch.kinds for mixer in layer.mixers)
    return second and since(engine, MAMBA2_CHECKPOINT_SINCE)


def drafting_layers(arch: Architecture, limits: Limits) -> tuple[Layer, ...]:
    """The layers of a drafter that hold KV beside the model's: its own, or the model's multi-token-prediction layers."""
    if not limits.speculative_tokens:
        return ()
    return limits.draft_layers or (arch.mtp_layers if limits.mtp else ())
