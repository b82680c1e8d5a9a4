"""Weight formats: bytes of a parameter as shipped, and in what arithmetic they run."""

from __future__ import annotations

from typing import Literal

from kcluster.values import frozen


@frozen(cache_hash=True)
class WeightFormat:
    """How linear layers are stored.

    Attributes:
        name: as the language spells it (`fp8-block`, `awq-int4`, …).
        bytes_per_parameter: of a quantized linear weight, without scales.
        scale_bytes: bytes of scale and zero point for one group or block.
        group: weights along the input dimension that share a scale; 0 for per-tensor or per-channel.
        block: (rows, columns) of a two-dimensional block, None without.
        arithmetic: the tensor-core format in which it multiplies where the card has it ("bf16", "fp8", "int8", "fp4").
        weight_only: whether activations stay in 16 bits whatever the card.
        quantized: False for bf16, fp16 and fp32.
        covers: which parts are quantized: "linear" (attention, MLP and experts), "ffn" (all but attention), or "experts" (routed
            experts only, as MXFP4 of gpt-oss; every linear layer of a model without experts).
        embeddings_quantized: True for formats that also pack embeddings and head (GGUF).
        latent_attention: False where checkpoints of this format leave latent attention in 16 bits.
        apart, apart_bytes: the roles of linear weights that are packed otherwise, and bytes of such a weight, scales included; none
            where all are packed alike.
        expert_padding: multiples to which the engine's kernels round a rank's expert width and the hidden size up.
    """

    name: str
    bytes_per_parameter: float
    scale_bytes: float = 0.0
    group: int = 0
    block: tuple[int, int] | None = None
    arithmetic: Literal["bf16", "fp8", "int8", "fp4"] = "bf16"
    weight_only: bool = False
    quantized: bool = True
    covers: Literal["linear", "ffn", "experts"] = "linear"
    embeddings_quantized: bool = False
    expert_padding: tuple[int, int] | None = None
    latent_attention: bool = True
    apart: tuple[Literal["ffn", "experts"], ...] = ()
    apart_bytes: float = 0.0
