"""Bytes of KV and of recurrent state that one layer holds on one rank, by kind of layer, format and card."""

from __future__ import annotations

import math
from functools import lru_cache

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
from kcluster.units import Figure, derive

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


@lru_cache(maxsize=4096)
def layer_token(mixer: GroupedAttention | LatentAttention, kv_format: KvFormat, tp: int, card: Card | None) -> Figure:
    """Bytes of one token in one attention layer on one of `tp` ranks, the sparse index included."""
    if isinstance(mixer, GroupedAttention):
        heads = "max(1, floor(kv_heads / tp)) * (key_dim + value_dim) * element_bytes"
        # A sparse indexer over tokens (MiniMax M3) keeps a key of 16 bits, whole on every rank (`models/minimax_m3/common/indexer.py`).
        return derive(
            "kv.layer_token",
            "bytes/token",
            f"{heads} + 2 * index_dim" if mixer.index_heads else heads,
            source="vLLM, kv_cache_interface: a rank holds at least one KV head",
            kv_heads=mixer.kv_heads,
            tp=tp,
            key_dim=mixer.head_dim,
            value_dim=mixer.v_head_dim,
            element_bytes=ELEMENT_BYTES[kv_format],
            **({"index_dim": mixer.index_dim} if mixer.index_heads else {}),
        )
    if packed_latent(mixer, kv_format, card):
        return derive(
            "kv.layer_token",
            "bytes/token",
            "packed_latent + index",
            source="vLLM, flashmla_sparse: 656 bytes a token, whole on every tensor-parallel rank",
            packed_latent=PACKED_LATENT_BYTES,
            index=index_token_bytes(mixer),
        )
    return derive(
        "kv.layer_token",
        "bytes/token",
        "(kv_lora_rank + rope_dim) * element_bytes + index",
        source="vLLM, kv_cache_interface: the latent is whole on every tensor-parallel rank",
        kv_lora_rank=mixer.kv_lora_rank,
        rope_dim=mixer.rope_dim,
        element_bytes=ELEMENT_BYTES[kv_format],
        index=index_token_bytes(mixer),
    )


def latent_token_bytes(mixer: LatentAttention, kv_format: KvFormat, card: Card | None) -> float:
    """Bytes of one token in one latent layer on every rank, the sparse index included."""
    return layer_token(mixer, kv_format, 1, card).value


def index_token_bytes(mixer: LatentAttention) -> float:
    if not mixer.index_heads:
        return 0.0
    return mixer.index_dim + 4.0 * math.ceil(mixer.index_dim / INDEX_SCALE_GROUP)


def grouped_token_bytes(mixer: GroupedAttention, kv_format: KvFormat, tp: int) -> float:
    """Bytes of one token in one grouped-attention layer on one of `tp` ranks (a rank holds at least one KV head), the key of a sparse
    index included."""
    return layer_token(mixer, kv_format, tp, None).value


def state_bytes(
    mixer: Mixer, hidden: int, tp: int, speculative: int = 0, conv_bytes: int = 2, ssm_bytes: int | None = None
) -> float:
    """Bytes of `layer_state`; 0 for attention."""
    if isinstance(mixer, GroupedAttention | LatentAttention):
        return 0.0
    return layer_state(mixer, hidden, tp, speculative, conv_bytes, ssm_bytes).value


@lru_cache(maxsize=4096)
def layer_state(
    mixer: DeltaNet | Mamba | ShortConvolution,
    hidden: int,
    tp: int,
    speculative: int = 0,
    conv_bytes: int = 2,
    ssm_bytes: int | None = None,
) -> Figure:
    """Bytes of the recurrent state of one sequence in one layer on one of `tp` ranks. `conv_bytes` and `ssm_bytes` are of one value of
    the convolution's and of the other state, None for what the model's own is: no smaller than the convolution's.

    Speculative tokens lengthen the convolution's state. Source: vLLM, `layers/mamba/mamba_utils.py`.
    """
    source = "vLLM, layers/mamba/mamba_utils.py: the last inputs of the convolution, and the state"
    if isinstance(mixer, ShortConvolution):
        taps = mixer.kernel - 1 + speculative
        formula = "channels / tp * taps * conv_bytes"
        return derive(
            "kv.layer_state", "bytes", formula, source=source, channels=hidden, tp=tp, taps=taps, conv_bytes=conv_bytes
        )
    held = ssm_bytes or max(conv_bytes, mixer.state_bytes)
    if isinstance(mixer, DeltaNet):
        return derive(
            "kv.layer_state",
            "bytes",
            "channels / tp * taps * conv_bytes + value_heads / tp * value_dim * key_dim * state_bytes",
            source=source,
            channels=recurrent_channels(mixer, hidden),
            tp=tp,
            taps=mixer.conv_kernel - 1 + speculative,
            conv_bytes=conv_bytes,
            value_heads=mixer.value_heads,
            value_dim=mixer.value_dim,
            key_dim=mixer.key_dim,
            state_bytes=held,
        )
    # Groups that tp does not divide are repeated until it does.
    groups = mixer.groups if mixer.groups % tp == 0 else tp
    second = mixer.version == 2
    return derive(
        "kv.layer_state",
        "bytes",
        "channels / tp * taps * conv_bytes + inner / tp * state * state_bytes",
        source=source,
        channels=mixer.inner + (2 * groups * mixer.state if second else 0),
        tp=tp,
        taps=mixer.conv_kernel - 1 + (speculative if second else 0),
        conv_bytes=conv_bytes,
        inner=mixer.inner,
        state=mixer.state,
        state_bytes=held,
    )


def recurrent_channels(mixer: Mixer, hidden: int) -> int:
    """Channels that the convolution of a recurrent layer runs over, all ranks together; 0 for attention."""
    if isinstance(mixer, DeltaNet):
        return 2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim
    if isinstance(mixer, Mamba):
        return mixer.inner + (2 * mixer.groups * mixer.state if mixer.version == 2 else 0)
    return hidden if isinstance(mixer, ShortConvolution) else 0
