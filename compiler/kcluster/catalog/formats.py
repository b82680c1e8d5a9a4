"""Weight formats by the name that the language gives them, and which one a checkpoint has.

A name says how linear layers are packed, and its end what of it is left in 16 bits: `-ffn` packs MLPs and experts but no
attention, `-experts` only routed experts, `-g32` and `-g64` state the group where it is not the usual 128.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from kcluster.physics.formats import WeightFormat
from kcluster.values import evolve

Covers = Literal["linear", "ffn", "experts"]

# bits a weight of whole files of Llama-3.1-8B, scales included, as llama.cpp's own table of quantizations lists them
_GGUF_BITS: Final = (
    ("q2_k", 3.16),
    ("q3_k_s", 3.64),
    ("q3_k_m", 4.00),
    ("q3_k_l", 4.30),
    ("iq4_xs", 4.46),
    ("q4_0", 4.66),
    ("q4_k_s", 4.67),
    ("q4_k_m", 4.89),
    ("q5_0", 5.57),
    ("q5_k_s", 5.57),
    ("q5_k_m", 5.70),
    ("q6_k", 6.56),
    ("q8_0", 8.50),
)


_MIXED: Final[tuple[tuple[str, tuple[Literal["ffn", "experts"], ...], int], ...]] = (
    ("fp4-experts", ("experts",), 32),
    ("nvfp4-experts", ("experts",), 16),
    ("nvfp4-ffn", ("ffn", "experts"), 16),
)


def _grouped(name: str, bytes_each: float, scale_bytes: float) -> list[WeightFormat]:
    """A weight-only format with a scale for 128 weights, and its variants for 64 and 32."""
    base = WeightFormat(name, bytes_each, scale_bytes=scale_bytes, group=128, weight_only=True)
    return [base, *(evolve(base, name=f"{name}-g{group}", group=group) for group in (64, 32))]


def _partial(base: WeightFormat) -> list[WeightFormat]:
    """A format, and the same with attention, or all but routed experts, left in 16 bits."""
    return [
        base,
        evolve(base, name=f"{base.name}-ffn", covers="ffn"),
        evolve(base, name=f"{base.name}-experts", covers="experts"),
    ]


def _formats() -> dict[str, WeightFormat]:
    listed = [
        WeightFormat("bf16", 2.0, quantized=False),
        WeightFormat("fp16", 2.0, quantized=False),
        WeightFormat("fp32", 4.0, quantized=False),
        # a 32-bit scale for an output channel; per-tensor scales are fewer still
        *_partial(WeightFormat("fp8", 1.0, scale_bytes=4.0, arithmetic="fp8")),
        WeightFormat("fp8-block", 1.0, scale_bytes=4.0, block=(128, 128), arithmetic="fp8"),
        WeightFormat("int8", 1.0, scale_bytes=4.0, arithmetic="int8"),
        WeightFormat("w8a16", 1.0, scale_bytes=4.0, weight_only=True),
        # AWQ and GPTQ: a 16-bit scale and a 4-bit zero point for a group
        *_grouped("awq-int4", 0.5, 2.5),
        *_grouped("gptq-int4", 0.5, 2.5),
        WeightFormat("gptq-int8", 1.0, scale_bytes=3.0, group=128, weight_only=True),
        # compressed-tensors: symmetric, a 16-bit scale for a group and no zero point
        *_grouped("w4a16", 0.5, 2.0),
        # Kimi K2 Thinking, K2.5 and K2.6
        WeightFormat("int4-experts", 0.5, scale_bytes=2.0, group=32, weight_only=True, covers="experts"),
        # modelopt and compressed-tensors leave latent attention in 16 bits
        *_partial(WeightFormat("nvfp4", 0.5, scale_bytes=1.0, group=16, arithmetic="fp4", latent_attention=False)),
        # gpt-oss and AMD's checkpoints; the kernels of vLLM round expert widths up to 128 and the hidden size to 256
        WeightFormat(
            "mxfp4", 0.5, scale_bytes=1.0, group=32, arithmetic="fp4", covers="experts", expert_padding=(128, 256)
        ),
        # DeepSeek V4: MXFP4 experts in a checkpoint of FP8 blocks; NVIDIA's of mixed precision: NVFP4 experts, or all MLPs, in FP8
        *(
            WeightFormat(
                f"fp8-{name}",
                1.0,
                scale_bytes=4.0,
                block=(128, 128),
                arithmetic="fp8",
                apart=roles,
                apart_bytes=0.5 + 1 / group,
            )
            for name, roles, group in _MIXED
        ),
        WeightFormat("mxfp8", 1.0, scale_bytes=1.0, group=32, arithmetic="fp8"),
        # 4-bit normal floats with a 32-bit scale for 64 weights
        WeightFormat("bnb-int4", 0.5, scale_bytes=4.0, group=64, weight_only=True),
        *(
            WeightFormat(f"gguf-{name}", bits / 8, weight_only=True, embeddings_quantized=True)
            for name, bits in _GGUF_BITS
        ),
    ]
    return {item.name: item for item in listed}


WEIGHT_FORMATS: Final[dict[str, WeightFormat]] = _formats()
"""Every format that `weights = …` may name."""

# ---- by the name of a checkpoint ----

# what a checkpoint's name ends in (with `-` for any of `-`, `_` and `.`), and the format that it says
_ENDINGS: Final = {
    ending: name
    for name, endings in (
        (
            "fp8",
            "fp8 fp8-static-pertensor fp8-dynamic fp8-kv fp8-kv-cache fp8-static fp8-per-tensor fp8-tensorwise w8a8-fp8 w8a8-fp8-dynamic",
        ),
        ("fp8-block", "fp8-block"),
        ("nvfp4", "nvfp4 nvfp4-v2 nvfp4-v3 nvfp4a16 fp4"),
        ("mxfp4", "mxfp4 w-mxfp4-a-fp8"),
        ("mxfp8", "mxfp8"),
        ("awq-int4", "awq awq-int4 awq-4bit awq-marlin awq-w4a16 awq-w4 awq-g128 int4-awq"),
        (
            "gptq-int4",
            "gptq gptq-int4 gptq-4bit gptq-w4a16 gptq-marlin int4-gptq autoround autoround-int4 int4-autoround",
        ),
        ("gptq-int8", "gptq-int8 gptq-8bit"),
        ("int8", "int8 w8a8 w8a8-int8 int8-w8a8 quantized-w8a8"),
        ("w8a16", "w8a16 quantized-w8a16"),
        ("w4a16", "w4a16 w4a16-ct w4a16-g128 quantized-w4a16 qat-w4a16 qat-w4a16-ct"),
        ("bnb-int4", "bnb-4bit unsloth-bnb-4bit"),
        ("gguf-q4_k_m", "gguf"),
    )
    for ending in endings.split()
}


def checkpoint_suffix(name: str) -> tuple[str, str | None]:
    """A checkpoint's name without what says its format, and that format ("…-FP8-dynamic" is fp8); None where it says nothing."""
    plain = name[:200].lower().replace("_", "-").replace(".", "-")
    for index, char in enumerate(plain):
        if char == "-" and index and plain[index + 1 :] in _ENDINGS:
            return name[:index], _ENDINGS[plain[index + 1 :]]
    return name, None


# ---- by a quantization_config ----


def _texts(value: object) -> Iterator[str]:
    """The short texts of a list, or the keys of a table: what an ignore list may be."""
    if isinstance(value, Mapping):
        value = list(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from (item for item in list(value)[:20_000] if isinstance(item, str) and len(item) < 500)


def _numbered(text: str) -> bool:
    """Whether a module's name has the number of a layer in it."""
    _, found, rest = text.partition("layers.")
    return bool(found) and rest[:1].isdigit()


_IGNORE_FIELDS: Final = ("ignore", "ignored_layers", "modules_to_not_convert", "exclude", "exclude_modules", "dynamic")


def _leaves(config: Mapping[str, Any]) -> Covers:
    """What a checkpoint's ignore list leaves packed: a module counts as left out where a pattern or many layers name it."""
    named = [text for field in _IGNORE_FIELDS for text in _texts(config.get(field))]

    def left(word: str) -> bool:
        hits = [text for text in named if word in text]
        # a name without a layer's number is a pattern for all of them
        return len(hits) >= 8 or any(not _numbered(text) for text in hits)

    if not (left("self_attn") or left("attention")):
        return "linear"
    return "experts" if left("shared_expert") else "ffn"


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _with_group(name: str, group: object) -> str:
    size = _whole(group)
    return f"{name}-g{size}" if size in (32, 64) else name


def _covering(name: str, covers: Covers) -> str:
    return name if covers == "linear" or f"{name}-{covers}" not in WEIGHT_FORMATS else f"{name}-{covers}"


def _compressed_tensors(config: Mapping[str, Any]) -> str | None:
    groups = config.get("config_groups")
    first = next(iter(groups.values()), None) if isinstance(groups, Mapping) else None
    weights = first.get("weights") if isinstance(first, Mapping) else None
    if not isinstance(weights, Mapping):
        return None
    bits, kind, group = _whole(weights.get("num_bits")), weights.get("type"), weights.get("group_size")
    covers = _leaves(config)
    if bits == 8 and kind == "float":
        return "fp8-block" if weights.get("strategy") == "block" else _covering("fp8", covers)
    if bits == 8:
        return "w8a16" if isinstance(first, Mapping) and first.get("input_activations") is None else "int8"
    if bits != 4:
        return None
    if kind == "float":
        return "mxfp4" if group == 32 else _covering("nvfp4", covers)
    if weights.get("symmetric") is False:
        return _with_group("awq-int4", group)  # with a zero point for each group
    return "int4-experts" if covers == "experts" and group == 32 else _with_group("w4a16", group)


def _mixed(layers: object) -> str | None:
    """The format of a checkpoint whose `quantized_layers` says the algorithm of each: FP4 experts or MLPs beside what is in 8 bits."""
    if not isinstance(layers, Mapping):
        return None
    named: dict[str, set[str]] = {}
    for name, value in list(layers.items())[:200_000]:
        algorithm = str(value.get("quant_algo", ""))[:40].upper() if isinstance(value, Mapping) else ""
        part = "attention"
        if "shared_expert" in str(name) or "mlp" in str(name):
            part = "ffn"
        if ".experts" in str(name):
            part = "experts"
        if "head" not in str(name):
            named.setdefault(part, set()).add("nvfp4" if "NVFP4" in algorithm else algorithm)
    if named.get("attention") == {"nvfp4"}:
        return "nvfp4"
    if "nvfp4" in named.get("ffn", ()):
        return "fp8-nvfp4-ffn"
    return "fp8-nvfp4-experts" if "nvfp4" in named.get("experts", ()) else None


def _modelopt(config: Mapping[str, Any]) -> str | None:
    inner = config.get("quantization")
    table = inner if isinstance(inner, Mapping) else config
    algorithm = str(table.get("quant_algo", "")).upper()[:40]
    covers = _leaves(table)
    if algorithm == "MIXED_PRECISION":
        return _mixed(table.get("quantized_layers"))
    if "NVFP4" in algorithm:
        return _covering("nvfp4", covers)
    if algorithm.startswith("FP8"):
        return "fp8-block" if "PB" in algorithm or "BLOCK" in algorithm else _covering("fp8", covers)
    return {"MXFP8": "mxfp8", "MXFP4": "mxfp4", "W4A16_AWQ": "awq-int4", "INT4_AWQ": "awq-int4"}.get(algorithm)


def _quark(config: Mapping[str, Any]) -> str | None:
    whole = config.get("global_quant_config")
    weight = whole.get("weight") if isinstance(whole, Mapping) else None
    kind = str(weight.get("dtype", ""))[:20] if isinstance(weight, Mapping) else ""
    return {"fp8_e4m3": "fp8", "fp4": "mxfp4", "int8": "int8", "int4": "w4a16", "uint4": "awq-int4"}.get(kind)


def _by_config(config: Mapping[str, Any]) -> str | None:
    method = str(config.get("quant_method", ""))[:40].lower()
    bits, group = _whole(config.get("bits", config.get("w_bit"))), config.get("group_size", config.get("q_group_size"))
    if method in ("fp8", "fbgemm_fp8", "deepseek_v4_fp8"):
        if config.get("quant_algo") == "MIXED_PRECISION":
            return _mixed(config.get("quantized_layers"))
        if config.get("expert_dtype") == "fp4":
            return "fp8-fp4-experts"
        return "fp8-block" if config.get("weight_block_size") else _covering("fp8", _leaves(config))
    if method == "compressed-tensors":
        return _compressed_tensors(config)
    if method in ("awq", "awq_marlin", "auto_awq"):
        return _with_group("awq-int4", group)
    if method in ("gptq", "gptq_marlin", "auto_gptq", "auto-round", "intel/auto-round", "inc"):
        return "gptq-int8" if bits == 8 else _with_group("gptq-int4", group)
    if method.startswith("modelopt"):
        return _modelopt(config)
    if method in ("bitsandbytes", "bnb"):
        return "int8" if config.get("load_in_8bit") is True else "bnb-int4"
    if method == "quark":
        return _quark(config)
    return {"mxfp4": "mxfp4", "gpt_oss_mxfp4": "mxfp4", "mxfp8": "mxfp8", "gguf": "gguf-q4_k_m"}.get(method)


def quantization_of(config: object) -> dict[str, Any] | None:
    """The `quantization_config` of a config.json, also where it stands in the language model's own, or under its older name; with the
    `expert_dtype` that DeepSeek V4 states beside it. None for a config that has none."""
    if not isinstance(config, Mapping):
        return None
    for table in (config, *(config.get(name) for name in ("text_config", "llm_config", "language_config"))):
        if not isinstance(table, Mapping):
            continue
        for key in ("quantization_config", "compression_config"):
            found = table.get(key)
            if isinstance(found, Mapping):
                experts = {key: table[key] for key in ("expert_dtype",) if key in table}
                return {**experts, **found}
    return None


def format_of_checkpoint(quantization_config: Mapping[str, Any] | None, checkpoint_id: str) -> str | None:
    """The name of a checkpoint's weight format.

    By its `quantization_config`; else by what the catalog says of this very checkpoint; else by its name. A config that
    describes something that no format here is falls through to the name.

    Returns:
        A key of `WEIGHT_FORMATS`, or None where nothing says that the checkpoint is quantized.
    """
    if isinstance(quantization_config, Mapping):
        found = _by_config(quantization_config)
        if found is not None:
            return found
    from kcluster.catalog.models import known_format

    known = known_format(checkpoint_id)
    return known if known is not None else checkpoint_suffix(checkpoint_id.rpartition("/")[2])[1]
