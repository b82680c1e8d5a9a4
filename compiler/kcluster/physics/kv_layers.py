"""Bytes of KV and of recurrent state that one layer holds on one rank, by kind of layer, format and card."""

from __future__ import annotations

import math

from kcluster.physics.architecture import (
    DeltaNet,
    GroupedAttention,
    LatentAttention,
    Mamba,
    Mixer,
    ShortConvolution,
)
from kcluster.physics.cut import EngineVersion, KvFormat
from kcluster.physics.hardware import Card

ELEMENT_BYTES: dict[KvFormat, float] = {"bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "nvfp4": 0.5625}
"""Bytes of one element of K or V. fp8 has one scale a tensor (nothing per token); nvfp4 has one fp8 scale for 16 values."""

INDEX_SCALE_GROUP = 128
"""Values of the sparse index that share one fp32 scale: 128 + 4 = 132 bytes a token and layer for DeepSeek V3.2."""

PACKED_LATENT_BYTES = 656
"""One token of DeepSeek's packed fp8 latent: 512 fp8 values, 4 fp32 scales, 64 rope values of 16 bits."""


def since(engine: EngineVersion, version: tuple[int, ...]) -> bool:
    """Whether an engine behaves as vLLM has since `version`. Engines of other makers count as the newest vLLM."""
    return engine.name != "vllm" or engine.version >= version


def element_bytes(kv_format: KvFormat) -> float:
    """Bytes of one KV element, scales included."""
    return ELEMENT_BYTES[kv_format]


def packed_latent(mixer: Mixer, kv_format: KvFormat, card: Card | None) -> bool:
    """Whether a sparse latent layer is stored in DeepSeek's packed fp8 form: for fp8 on Hopper, always on compute
    capability 12 (its only sparse kernel reads nothing else), never on Blackwell data-centre cards."""
    if not isinstance(mixer, LatentAttention) or not mixer.index_heads or card is None:
        return False
    if card.compute_capability is None or mixer.kv_lora_rank != 512:
        return False
    major = card.compute_capability[0]
    return major == 12 or (major == 9 and kv_format == "fp8")


def latent_token_bytes(mixer: LatentAttention, kv_format: KvFormat, card: Card | None) -> float:
    """Bytes of one token in one latent layer on every rank, the sparse index included."""
    packed = packed_latent(mixer, kv_format, card)
    latent = float(PACKED_LATENT_BYTES) if packed else (mixer.kv_lora_rank + mixer.rope_dim) * ELEMENT_BYTES[kv_format]
    return latent + index_token_bytes(mixer)


def index_token_bytes(mixer: LatentAttention) -> float:
    if not mixer.index_heads:
        return 0.0
    return mixer.index_dim + 4.0 * math.ceil(mixer.index_dim / INDEX_SCALE_GROUP)


def grouped_token_bytes(mixer: GroupedAttention, kv_format: KvFormat, tp: int) -> float:
    """Bytes of one token in one grouped-attention layer on one of `tp` ranks (a rank holds at least one KV head). A sparse indexer over
    tokens (MiniMax M3) keeps a key of 16 bits beside it, whole on every rank (vLLM, `models/minimax_m3/common/indexer.py`)."""
    heads = max(1, mixer.kv_heads // tp) * (mixer.head_dim + mixer.v_head_dim) * ELEMENT_BYTES[kv_format]
    return heads + (2.0 * mixer.index_dim if mixer.index_heads else 0.0)


def state_bytes(
    mixer: Mixer, hidden: int, tp: int, speculative: int = 0, conv_bytes: int = 2, ssm_bytes: int | None = None
) -> float:
    """Bytes of the recurrent state of one sequence in one layer on one of `tp` ranks; 0 for attention. `conv_bytes` and `ssm_bytes` are
    of one value of the convolution's and of the other state, None for what the model's own is: no smaller than the convolution's.

    Speculative tokens lengthen the convolution's state. Source: vLLM, `layers/mamba/mamba_utils.py`.
    """
    if isinstance(mixer, DeltaNet):
        conv = recurrent_channels(mixer, hidden) / tp * (mixer.conv_kernel - 1 + speculative) * conv_bytes
        return conv + mixer.value_heads / tp * mixer.value_dim * mixer.key_dim * (
            ssm_bytes or max(conv_bytes, mixer.state_bytes)
        )
    if isinstance(mixer, Mamba):
        groups = mixer.groups if mixer.groups % tp == 0 else tp
        channels = mixer.inner + (2 * groups * mixer.state if mixer.version == 2 else 0)
        taps = mixer.conv_kernel - 1 + (speculative if mixer.version == 2 else 0)
        return channels / tp * taps * conv_bytes + mixer.inner / tp * mixer.state * (
            ssm_bytes or max(conv_bytes, mixer.state_bytes)
        )
    if isinstance(mixer, ShortConvolution):
        return hidden / tp * (mixer.kernel - 1 + speculative) * conv_bytes
    return 0.0


def recurrent_channels(mixer: Mixer, hidden: int) -> int:
    """Channels that the convolution of a recurrent layer runs over, all ranks together; 0 for attention."""
    if isinstance(mixer, DeltaNet):
        return 2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim
    if isinstance(mixer, Mamba):
        return mixer.inner + (2 * mixer.groups * mixer.state if mixer.version == 2 else 0)
    return hidden if isinstance(mixer, ShortConvolution) else 0
