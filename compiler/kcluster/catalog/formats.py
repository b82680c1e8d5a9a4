"""Weight formats by the name that the language gives them, and which one a checkpoint has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from kcluster.physics.formats import WeightFormat


def _formats() -> dict[str, WeightFormat]:
    listed = [
        WeightFormat("bf16", 2.0, quantized=False),
        WeightFormat("fp16", 2.0, quantized=False),
        WeightFormat("fp32", 4.0, quantized=False),
        # one scale a tensor or an output channel: below 0.1 %, counted as 4 bytes a row
        WeightFormat("fp8", 1.0, scale_bytes=4.0, arithmetic="fp8"),
        WeightFormat("fp8-block", 1.0, scale_bytes=4.0, block=(128, 128), arithmetic="fp8"),
        WeightFormat("int8", 1.0, scale_bytes=4.0, arithmetic="int8"),
        # a 16-bit scale and a 4-bit zero point a group
        *(
            WeightFormat(f"awq-int4{end}", 0.5, scale_bytes=2.5, group=group, weight_only=True)
            for end, group in (("", 128), ("-g64", 64), ("-g32", 32))
        ),
        *(
            WeightFormat(f"gptq-int4{end}", 0.5, scale_bytes=2.5, group=group, weight_only=True)
            for end, group in (("", 128), ("-g64", 64), ("-g32", 32))
        ),
        WeightFormat("gptq-int8", 1.0, scale_bytes=3.0, group=128, weight_only=True),
        # compressed-tensors packs symmetric groups: a 16-bit scale, no zero point
        *(
            WeightFormat(f"w4a16{end}", 0.5, scale_bytes=2.0, group=group, weight_only=True)
            for end, group in (("", 128), ("-g64", 64), ("-g32", 32))
        ),
        WeightFormat("w8a16", 1.0, scale_bytes=4.0, weight_only=True),
        # Kimi K2 Thinking, K2.5 and K2.6: routed experts only
        WeightFormat("int4-experts", 0.5, scale_bytes=2.0, group=32, weight_only=True, covers="experts"),
        WeightFormat("nvfp4", 0.5, scale_bytes=1.0, group=16, arithmetic="fp4"),
        WeightFormat("nvfp4-ffn", 0.5, scale_bytes=1.0, group=16, arithmetic="fp4", covers="ffn"),
        WeightFormat("nvfp4-experts", 0.5, scale_bytes=1.0, group=16, arithmetic="fp4", covers="experts"),
        # the kernels of vLLM round expert widths up to 128 and the hidden size to 256
        WeightFormat(
            "mxfp4", 0.5, scale_bytes=1.0, group=32, arithmetic="fp4", covers="experts", expert_padding=(128, 256)
        ),
        WeightFormat("mxfp8", 1.0, scale_bytes=1.0, group=32, arithmetic="fp8"),
        # 4-bit normal floats with a 32-bit scale for 64 weights
        WeightFormat("bnb-int4", 0.5, scale_bytes=4.0, group=64, weight_only=True),
    ]
    listed += [
        WeightFormat(f"gguf-{name}", bits / 8, weight_only=True, embeddings_quantized=True) for name, bits in _GGUF_BITS
    ]
    return {item.name: item for item in listed}


# bits a weight of whole Llama-3.1-8B files, scales included
_GGUF_BITS: Final = (
    ("q2_k", 3.16),
    ("q3_k_m", 4.00),
    ("q4_0", 4.66),
    ("q4_k_s", 4.67),
    ("q4_k_m", 4.89),
    ("q5_0", 5.57),
    ("q5_k_s", 5.57),
    ("q5_k_m", 5.70),
    ("q6_k", 6.56),
    ("q8_0", 8.50),
)

WEIGHT_FORMATS: Final[dict[str, WeightFormat]] = _formats()
"""Every format that `weights = …` may name."""

_SUFFIXES: Final = (
    # (pattern at the end of a checkpoint's name, format)
    (r"fp8[-_.]?block", "fp8-block"),
    (r"(?:w8a8-)?fp8(?:[-_.](?:dynamic|kv|kv-cache|static|per-tensor|tensorwise))?", "fp8"),
    (r"nvfp4(?:a16)?(?:-v\d)?", "nvfp4"),
    (r"fp4", "nvfp4"),
    (r"(?:w-)?mxfp4(?:-a-fp8)?", "mxfp4"),
    (r"mxfp8", "mxfp8"),
    (r"(?:awq[-_]?(?:int4|4bit|marlin|w4a16|w4|g128)?|int4-awq)", "awq-int4"),
    (r"gptq-int8", "gptq-int8"),
    (r"(?:gptq(?:-int4|-4bit|-w4a16|-marlin)?|int4-autoround|autoround(?:-int4)?|int4-gptq)", "gptq-int4"),
    (r"(?:quantized\.)?w8a8(?:-int8)?", "int8"),
    (r"(?:quantized\.)?w8a16", "w8a16"),
    (r"(?:quantized\.|qat-)?w4a16(?:-ct|-g128)?", "w4a16"),
    (r"(?:unsloth-)?bnb-4bit", "bnb-int4"),
    (r"int8", "int8"),
    (r"gguf", "gguf-q4_k_m"),
)
_SUFFIX: Final = tuple((re.compile(rf"^(.+?)[-_.](?:{pattern})$", re.IGNORECASE), name) for pattern, name in _SUFFIXES)


def checkpoint_suffix(name: str) -> tuple[str, str | None]:
    """A checkpoint's name without what says its format, and that format ("…-FP8-dynamic" is fp8); None where it says nothing."""
    for pattern, packed in _SUFFIX:
        match = pattern.match(name)
        if match:
            return match.group(1), packed
    return name, None


def format_of_checkpoint(quantization_config: Mapping[str, Any] | None, checkpoint_id: str) -> str | None:
    """The name of a checkpoint's weight format: by its `quantization_config`, else by its name; None where neither says."""
    return checkpoint_suffix(checkpoint_id.rpartition("/")[2])[1]
