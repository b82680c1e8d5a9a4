"""Which weight and KV formats a card and an engine's version run, in which arithmetic.

Sources: vLLM 0.33, `layers/quantization/` (each method names its least compute capability and its activation types),
`config/model.py` and `config/vllm.py`.
"""

from __future__ import annotations

from kcluster.physics.architecture import Architecture
from kcluster.physics.broken import Broken
from kcluster.physics.cut import EngineVersion, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card

MINIMUM_CAPABILITY: dict[str, tuple[int, int]] = {
    "fp8": (7, 5),
    "int8": (7, 5),
    "int4": (7, 5),
    "nvfp4": (7, 5),
    "mxfp4": (8, 0),
    "mxfp8": (8, 0),
    "bf16": (8, 0),
}
"""The lowest compute capability on which vLLM 0.33 runs a family of weight formats at all."""

OLDER_KERNELS: dict[str, tuple[int, int]] = {"gptq": (6, 0), "bnb": (7, 0), "gguf": (6, 0)}
"""Formats, by how their names begin, that have kernels of their own for older cards than their family."""

NATIVE_CAPABILITY: dict[str, tuple[int, int]] = {"fp8": (8, 9), "nvfp4": (10, 0), "mxfp4": (10, 0), "mxfp8": (10, 0)}
"""From where on a family computes in its own arithmetic; below, weights are unpacked to 16 bits (Marlin)."""

BF16_CAPABILITY = (8, 0)
CASTS_SINCE = (0, 9)
"""From vLLM 0.9 a bfloat16 checkpoint runs in float16 on a card without bfloat16; before, the dtype had to be given."""

FP8_KV_CAPABILITY = (8, 9)
FP8_KV_EVERYWHERE_SINCE = (0, 23)
"""An fp8 KV cache on Ampere was refused by 0.11's Triton attention and runs in 0.23; between them it is not known."""


def format_violations(
    arch: Architecture, fmt: WeightFormat, limits: Limits, engine: EngineVersion, cards: tuple[Card, ...]
) -> list[Broken]:
    """What the cards or the version refuse of the formats, each once."""
    found: dict[str, Broken] = {}
    for card in cards:
        for broken in (_weight_support(arch, fmt, engine, card), _kv_support(limits, engine, card)):
            if broken is not None:
                found.setdefault(broken.because, broken)
    return [*found.values(), *_activations(arch, fmt), *_kv_format(arch, limits)]


def family(fmt: WeightFormat) -> str:
    """The family of formats whose support a card is asked for: bf16, fp16, fp32, fp8, int8, int4, nvfp4, mxfp4, mxfp8, other."""
    name = fmt.name
    for known in ("nvfp4", "mxfp4", "mxfp8", "fp8"):
        if name.startswith(known):
            return known
    if "int8" in name or name.startswith("w8"):
        return "int8"
    if "int4" in name or name.startswith("w4"):
        return "int4"
    return name if name in ("bf16", "fp16", "fp32") else "other"


def _least(fmt: WeightFormat) -> tuple[int, int] | None:
    older = next((least for name, least in OLDER_KERNELS.items() if fmt.name.startswith(name)), None)
    return older or MINIMUM_CAPABILITY.get(family(fmt))


def _weight_support(arch: Architecture, fmt: WeightFormat, engine: EngineVersion, card: Card) -> Broken | None:
    capability = card.compute_capability
    kind = family(fmt)
    if capability is None:
        if kind == "nvfp4":
            return Broken("KC803", "weights", f"{card.name} has no support for {fmt.name} weights", True)
        return None
    shown = f"{capability[0]}.{capability[1]}"
    if kind == "bf16":
        return _without_bf16(arch, engine, card, capability)
    least = _least(fmt)
    if least is not None and capability < least:
        because = f"{fmt.name} weights need compute capability {least[0]}.{least[1]}; {card.name} has {shown}"
        return Broken("KC803", "weights", because, True)
    native = NATIVE_CAPABILITY.get(kind)
    if native is not None and not fmt.weight_only and capability < native:
        because = (
            f"{card.name} (compute capability {shown}) keeps {fmt.name} weights but computes in 16 bits; "
            f"{kind} arithmetic starts at {native[0]}.{native[1]}"
        )
        return Broken("KC803", "weights", because, False)
    return None


def _without_bf16(arch: Architecture, engine: EngineVersion, card: Card, capability: tuple[int, int]) -> Broken | None:
    """A bfloat16 checkpoint on a card without bfloat16: cast to float16, where the version does so by itself."""
    if capability >= BF16_CAPABILITY or arch.dtype != "bfloat16":
        return None
    lacks = f"{card.name} (compute capability {capability[0]}.{capability[1]}) has no bfloat16, which starts at 8.0"
    if engine.at_least(*CASTS_SINCE):
        return Broken("KC803", "dtype", f"{lacks}: the model runs in float16", False)
    return Broken("KC803", "dtype", f"{lacks}: `dtype = float16` is needed before vLLM 0.9", True)


def _activations(arch: Architecture, fmt: WeightFormat) -> list[Broken]:
    """MXFP4 computes with bfloat16 activations alone."""
    if family(fmt) != "mxfp4" or arch.dtype != "float16":
        return []
    return [Broken("KC803", "dtype", f"{fmt.name} weights run in bfloat16 alone, not in float16", True)]


def _kv_support(limits: Limits, engine: EngineVersion, card: Card) -> Broken | None:
    capability = card.compute_capability
    if limits.kv_format == "nvfp4" and (capability is None or capability[0] < 10):
        shown = "none" if capability is None else f"{capability[0]}.{capability[1]}"
        because = f"an nvfp4 KV cache needs compute capability 10; {card.name} has {shown}"
        return Broken("KC803", "kv_cache", because, True)
    if limits.kv_format != "fp8" or capability is None:
        return None
    shown = f"{capability[0]}.{capability[1]}"
    if capability < (8, 0):
        because = f"an fp8 KV cache needs compute capability 8.0; {card.name} has {shown}"
        return Broken("KC803", "kv_cache", because, True)
    if capability < FP8_KV_CAPABILITY and not engine.at_least(*FP8_KV_EVERYWHERE_SINCE):
        since = ".".join(map(str, FP8_KV_EVERYWHERE_SINCE))
        because = f"an fp8 KV cache on {card.name} (compute capability {shown}) may be refused before vLLM {since}"
        return Broken("KC803", "kv_cache", because, False)
    return None


def _kv_format(arch: Architecture, limits: Limits) -> list[Broken]:
    """A 16-bit cache must be of the model's own kind (vLLM, config/vllm.py)."""
    own = {"bfloat16": "bf16", "float16": "fp16"}.get(arch.dtype)
    if limits.kv_format not in ("bf16", "fp16") or own is None or limits.kv_format == own:
        return []
    because = f"{'an' if limits.kv_format == 'fp16' else 'a'} {limits.kv_format} KV cache differs from the model's dtype {arch.dtype}"
    return [Broken("KC805", "kv_cache", because, True)]
