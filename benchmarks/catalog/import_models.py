"""Write the catalog's model rows from the collected facts: `python benchmarks/catalog/import_models.py FACTS.jsonl FOLDER`.

One TOML file a family. A row keeps the fields of its config that matter: those without which another architecture would be
read. Run by hand when facts change; the product never does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from kcluster.catalog.config_json import read_config
from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.physics.architecture import Architecture
from kcluster.physics.parameters import parameters
from kcluster.physics.tensors import layer_tensors
from kcluster.physics.weights import packed

DATE = "2026-11-23"

BY_CLASS = "what the collected copy lacks by the defaults of transformers 5.23.0, settled by the published total"

SUPPLEMENTS: dict[str, tuple[dict[str, Any], str]] = {
    # fields that the collected copy of a config lacks, and where they were read instead
    "google/gemma-3-27b-it": (
        {"vocab_size": 262208, "max_position_embeddings": 131072, "vision_config": {"vision_use_head": False}},
        "vocabulary and length as gemma-3-12b-it; settled by the published total",
    ),
    "google/gemma-3-12b-it": (
        {
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "vision_config": {"vision_use_head": False},
        },
        BY_CLASS,
    ),
    "google/gemma-3-4b-it": (
        {
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
            "vocab_size": 262208,
            "max_position_embeddings": 131072,
            "vision_config": {"vision_use_head": False},
        },
        BY_CLASS,
    ),
    "google/gemma-3-1b-it": ({"head_dim": 256}, BY_CLASS),
    # where the class would take something
    **{
        model: ({"hidden_size_per_layer_input": 0, "vision_config": {"num_key_value_heads": 16, "head_dim": 72}}, "")
        for model in ("google/gemma-4-26B-A4B", "google/gemma-4-31B-it")
    },
    "ibm-granite/granite-4.0-h-micro": ({"num_local_experts": 0}, ""),
    "tiiuae/Falcon-H1-0.5B-Base": ({"mamba_d_ssm": 1536}, ""),
    # the length that was trained first, from which the collected copies scale
    **{
        model: ({"original_max_position_embeddings": 4096}, "original length by the default of transformers 5.23.0")
        for model in ("microsoft/Phi-3.5-mini-instruct", "microsoft/Phi-4-mini-instruct")
    },
    "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct": ({"num_hidden_layers": 32}, "layers by the size in the model's name"),
    **{
        f"Qwen/Qwen3.5-{size}": (
            {
                "vision_config": {
                    "hidden_size": width,
                    "intermediate_size": 4 * width,
                    "depth": depth,
                    "out_hidden_size": out,
                    "patch_size": 16,
                    "num_position_embeddings": 2304,
                }
            },
            "vision tower settled by the published total",
        )
        for size, width, depth, out in (("0.8B", 768, 12, 1024), ("2B", 1024, 24, 2048), ("4B", 1024, 24, 2560))
    },
    "stepfun-ai/Step-3.7-Flash": (
        {"vision_config": {"hidden_size": 1536, "num_hidden_layers": 47, "patch_size": 14, "image_size": 728}},
        "vision tower by the defaults of transformers 5.23.0",
    ),
    "MiniMaxAI/MiniMax-M3": (
        {"vision_config": {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}},
        "vision tower by the defaults of transformers 5.23.0",
    ),
    # a null of the published config, written as the 0 that engines read alike, where the class would take something
    **{
        model: ({"sliding_window": 0}, "no window: recalled of the published config.json, which was not read")
        for model in (
            "mistralai/Mistral-7B-Instruct-v0.3",
            "mistralai/Mistral-Large-Instruct-2407",
            "mistralai/Mistral-Small-24B-Instruct-2501",
            "LGAI-EXAONE/EXAONE-4.0-1.2B",
        )
    },
    "CohereLabs/c4ai-command-a-03-2025": ({"sliding_window": 4096}, "the window by the default of transformers 5.23.0"),
    "deepseek-ai/DeepSeek-V2-Lite": (
        {"q_lora_rank": 0},
        "no query rank: recalled of the published config.json, which was not read",
    ),
    "LGAI-EXAONE/K-EXAONE-236B-A23B": (
        {"sliding_window": 128},
        "the window by the model's description (transformers, model_doc/exaone_moe)",
    ),
    "baidu/ERNIE-4.5-300B-A47B-Paddle": (
        {"num_nextn_predict_layers": 1, "moe_num_shared_experts": 0},
        "MTP layer settled by the published total",
    ),
}
STORED_MTP = frozenset({"zai-org/GLM-4.5", "zai-org/GLM-4.7"})
STORED_HEAD = frozenset({"Qwen/Qwen3-0.6B", "Qwen/Qwen3-1.7B"})
NATIVE_INT4 = frozenset({"moonshotai/Kimi-K2.5", "moonshotai/Kimi-K2.6"})
NOT_NATIVE = frozenset(
    # the collected quantization_config is that of a re-upload; the model itself is published in 16 bits
    {
        "Qwen/Qwen3.6-27B",
        "Qwen/Qwen3.6-35B-A3B",
        "google/gemma-4-31B-it",
        "meta-llama/Llama-4-Maverick-17B-128E-Instruct",
    }
)
HAVE_ROWS = frozenset(
    # checkpoints with a longer context than the model beside which they are listed: rows of their own in further.toml
    {
        "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
        "Qwen/Qwen3-235B-A22B-Thinking-2507-FP8",
        "Qwen/Qwen3-30B-A3B-Instruct-2507-FP8",
        "Qwen/Qwen3-4B-Instruct-2507-FP8",
        "Qwen/Qwen2.5-32B-Instruct-AWQ",
        "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int4",
        "Qwen/Qwen2.5-32B-Instruct-GPTQ-Int8",
        "Qwen/Qwen2.5-72B-Instruct-AWQ",
        "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4",
        "Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8",
    }
)
OTHER_ARCHITECTURE = frozenset(
    # listed beside a model whose architecture they do not share
    {
        "deepseek-ai/DeepSeek-R1-Distill-Llama-8B",
        "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B",
        "microsoft/Phi-4-reasoning",
        "microsoft/Phi-4-multimodal-instruct",
        "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-FP8",
        "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-BF16",
    }
)
ALIASES: dict[str, tuple[str, ...]] = {
    "meta-llama/Llama-3.1-8B-Instruct": ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B",),
    "meta-llama/Llama-3.3-70B-Instruct": ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B",),
    "deepseek-ai/DeepSeek-V3": (
        "deepseek-ai/DeepSeek-V3-0324",
        "deepseek-ai/DeepSeek-V3-Base",
        "deepseek-ai/DeepSeek-V3.1",
        "deepseek-ai/DeepSeek-V3.1-Terminus",
    ),
    "mistralai/Mixtral-8x7B-v0.1": ("mistralai/Mixtral-8x7B-Instruct-v0.1",),
    "mistralai/Mixtral-8x22B-v0.1": ("mistralai/Mixtral-8x22B-Instruct-v0.1",),
    "meta-llama/Llama-3.1-70B-Instruct": ("nvidia/Llama-3.1-Nemotron-70B-Instruct-HF",),
    "deepseek-ai/DeepSeek-R1": ("deepseek-ai/DeepSeek-R1-0528",),
}


def toml(value: Any) -> str:
    """A value as TOML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items() if item is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return repr(value)


def runs(values: list[Any]) -> dict[str, Any] | list[Any]:
    """A list in run-length form where that is shorter."""
    pairs: list[list[Any]] = []
    for value in values:
        if pairs and pairs[-1][0] == value:
            pairs[-1][1] += 1
        else:
            pairs.append([value, 1])
    return {"rle": pairs} if 2 * len(pairs) < len(values) else values


def with_types(row: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "model_type": row["model_type"], "architectures": row["architectures"]}


def supplemented(config: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """A config with what it lacks of some further fields, also in its tables."""
    found = dict(config)
    for key, value in more.items():
        stated = found.get(key)
        if isinstance(stated, dict) and isinstance(value, dict):
            found[key] = supplemented(stated, value)
        elif stated is None:
            found[key] = value
    return found


def needed(row: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """The fields of a config without which another architecture, or none, would be read."""
    whole, problems = read_config(with_types(row, config), untold=False)
    if whole is None:
        raise SystemExit(f"{row['id']}: {problems}")
    kept = {
        key: runs(value) if isinstance(value, list) else value for key, value in config.items() if value is not None
    }
    for key in list(kept):
        rest = {name: value for name, value in kept.items() if name != key}
        # what a class takes by itself is written too, so that a row says what it means
        if all(read_config(with_types(row, rest), untold=untold)[0] == whole for untold in (True, False)):
            kept = rest
    return kept


def quantization(row: dict[str, Any], config: dict[str, Any]) -> dict[str, Any] | None:
    """The `quantization_config` of the model as its own publisher ships it."""
    found: dict[str, Any] | None = config.pop("quantization_config", None)
    if row["id"] in NATIVE_INT4:
        weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True}
        return {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "ignore": ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        }
    if row["id"] in NOT_NATIVE:
        return None
    if found is not None and row["model_type"] == "deepseek_v4":
        found = {**found, "expert_dtype": config["expert_dtype"]}
    return found


def packed_format(row: dict[str, Any], item: dict[str, Any]) -> str | None:
    """What format a checkpoint is in where its element count, or its publisher's habit, says more than its name."""
    name, quant = item["id"], (item.get("quant") or "").lower()
    elements = item.get("published_total_elements")
    config = supplemented(row["config"], SUPPLEMENTS.get(row["id"], ({}, ""))[0])
    arch = read_config(with_types(row, config))[0]
    if arch is None or (name == row["id"] and not elements):
        return None
    if elements and "fp8" in quant:
        return fp8_by_scales(arch, elements, row["published_total_params"])
    if elements and "nvfp4" in quant:
        return nvfp4_by_elements(arch, elements)
    if "fp8" in quant and name.startswith("Qwen/"):
        return "fp8-block"  # as every FP8 checkpoint of Qwen whose elements are known
    return None


def fp8_by_scales(arch: Architecture, elements: int, published: int | None) -> str | None:
    """Block scales, scales of the rows of experts or of all feed-forward parts, or none to speak of."""
    parts = parameters(arch)
    main = sum(int(parts.component(key).value) for key in ("language_model", "vision", "mtp") if parts.component(key))
    head = arch.vocab * arch.hidden
    known = {published or main, main, main + head, main - int(getattr(parts.component("mtp"), "value", 0))}
    blocks = int(parts.component("block_scales").value)
    tensors = [tensor for layer in arch.layers for tensor in layer_tensors(layer, arch.hidden) if tensor.linear]
    experts = sum(tensor.rows * tensor.copies for tensor in tensors if tensor.role == "experts")
    feed = sum(tensor.rows * tensor.copies for tensor in tensors if tensor.role != "attention")
    for base in known:
        scales = elements - base
        if scales == blocks:
            return "fp8-block"
        if experts and scales == experts:
            return "fp8-experts"
        if not experts and 0 <= feed - scales <= 2 * feed // len(arch.layers):
            return "fp8-ffn"  # first and last layer may be left out
    return "fp8" if any(0 <= elements - base < blocks for base in known) else None


def nvfp4_by_elements(arch: Architecture, elements: int) -> str | None:
    """Two packed weights count as one element; scales are counted by some uploaders."""
    parts = parameters(arch)
    main = sum(parts.component(key).value for key in ("language_model", "vision") if parts.component(key))
    mtp = getattr(parts.component("mtp"), "value", 0)
    for name in ("nvfp4", "nvfp4-ffn", "nvfp4-experts"):
        halves = sum(
            tensor.elements
            for layer in arch.layers
            for tensor in layer_tensors(layer, arch.hidden)
            if packed(tensor, WEIGHT_FORMATS[name], dense=arch.moe is None)
        )
        for extra in (0, mtp):
            for scales in (0, halves / 16):
                if abs((main - halves / 2 + scales + extra) / elements - 1) < 0.0003:
                    return name
    return None


def lines(row: dict[str, Any]) -> list[str]:
    """One row of the catalog."""
    config = dict(row["config"])
    sources = list(row["sources"])
    if row["id"] in SUPPLEMENTS:
        more, why = SUPPLEMENTS[row["id"]]
        config = supplemented(config, more)
        sources += [why] if why else []
    if row["id"] in STORED_MTP:
        config["stores_mtp_embedding"] = True
    if row["id"] in STORED_HEAD:
        config["stores_tied_head"] = True
    rope = config.get("rope_scaling")
    if isinstance(rope, dict) and "long_factor" in rope:
        config["rope_scaling"] = {"type": "longrope"}  # the factors of single frequencies decide nothing here
    packed = quantization(row, config)
    out = ["[[model]]", f"id = {toml(row['id'])}"]
    out.append(f"model_type = {toml(row['model_type'])}")
    if row["architectures"]:
        out.append(f"class = {toml(row['architectures'][0])}")
    out.append(f"source = {toml('; '.join(sources))}")
    out.append(f"date = {toml(DATE)}")
    if row["published_total_params"]:
        out.append(f"published_parameters = {row['published_total_params']}")
        out.append(f"published_covers = {toml(row['published_total_covers'])}")
    if row["published_active_params"]:
        out.append(f"published_active = {row['published_active_params']}")
    aliases = ALIASES.get(row["id"], ())
    if aliases:
        out += ["aliases = [", *(f"  {toml(alias)}," for alias in aliases), "]"]
    checkpoints = checkpoint_rows(row)
    if checkpoints:
        out += ["checkpoints = [", *(f"  {toml(item)}," for item in checkpoints), "]"]
    out += ["", "[model.config]", *(f"{key} = {toml(value)}" for key, value in needed(row, config).items())]
    if packed:
        out += [
            "",
            "[model.quantization]",
            *(f"{key} = {toml(value)}" for key, value in packed.items() if value is not None),
        ]
    return [*out, ""]


def checkpoint_rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Published checkpoints of this model, each once, with what is known of their size."""
    found: dict[str, dict[str, Any]] = {}
    for item in row["checkpoints"]:
        if item["id"] in OTHER_ARCHITECTURE | HAVE_ROWS:
            continue
        entry = found.setdefault(item["id"], {"id": item["id"]})
        form = packed_format(row, item)
        if form is not None:
            entry["weights"] = form
        if item.get("quant"):
            entry.setdefault("quant", item["quant"].lower())
        if item.get("published_size_gib") and row["model_type"] != "gpt_oss":  # its repositories hold a second copy
            entry["size_gib"] = item["published_size_gib"]
        if item.get("published_total_elements"):
            entry["elements"] = item["published_total_elements"]
        entry.setdefault("source", item["source"])
    return list(found.values())


FAMILY_FILES = (
    # (start of the model_type, file)
    ("llama", "llama"),
    ("mllama", "llama"),
    ("qwen3_5", "qwen3_5"),
    ("qwen3", "qwen3"),
    ("qwen2", "qwen2"),
    ("deepseek", "deepseek"),
    ("kimi", "kimi"),
    ("glm", "glm"),
    ("gemma", "gemma"),
    ("mistral", "mistral"),
    ("ministral", "mistral"),
    ("mixtral", "mistral"),
    ("gpt_oss", "gpt_oss"),
    ("minimax", "minimax"),
    ("nemotron", "nemotron"),
)


def family_file(model_type: str) -> str:
    return next((name for start, name in FAMILY_FILES if model_type.startswith(start)), "others")


def main(facts: Path, folder: Path) -> None:
    rows = [json.loads(line) for line in facts.read_text(encoding="utf-8").splitlines() if line.strip()]
    written: dict[str, list[str]] = {}
    skipped = []
    for row in sorted(rows, key=lambda row: row["id"].lower()):
        try:
            content = lines(row)
            written.setdefault(family_file(row["model_type"]), []).extend(content)
        except SystemExit as error:
            skipped.append(str(error))
    folder.mkdir(parents=True, exist_ok=True)
    for name, parts in written.items():
        (folder / f"{name}.toml").write_text("\n".join(parts), encoding="utf-8")
    print(f"{sum(part.count('[[model]]') for part in map(chr(10).join, written.values()))} rows")
    for line in skipped:
        print("skipped:", line[:300])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
