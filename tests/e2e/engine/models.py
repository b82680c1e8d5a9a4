"""Models for the real engine: those of the catalog as their publishers' config.json says, and tiny ones of every shape."""

from __future__ import annotations

from typing import Any, Final

from kcluster.catalog.models import find_model, read_row

WRAPPED: Final = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "mistral3": "mistral",
    "llama4": "llama4_text",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}
"""Families whose config.json has the language model in `text_config`, and its model type there."""


def expanded(value: Any) -> Any:
    """Lists in the run-length form of the catalog's rows, written out."""
    if isinstance(value, dict) and set(value) == {"rle"}:
        return [item for item, count in value["rle"] for _ in range(count)]
    return {key: expanded(inner) for key, inner in value.items()} if isinstance(value, dict) else value


def published(id: str) -> dict[str, Any]:
    """The config.json of a model of the catalog, in the form that the hub has it in."""
    match = find_model(id)
    assert match is not None, id
    config = expanded(read_row(match.row))
    config["dtype"] = "bfloat16"
    kind = config["model_type"]
    if kind in ("mistral", "mixtral", "starcoder2") or WRAPPED.get(kind) == "mistral":
        # These rows say nothing where the hub says null, which the reader in transformers does not take for the same.
        config.setdefault("sliding_window", None)
    if config.get("rope_scaling", {}).get("type") == "longrope":
        del config["rope_scaling"]  # the rows leave out its factors, without which no engine takes it
    # Named by the models' classes, and without meaning for sizes: left out by the rows' sources.
    if kind == "qwen3_vl_moe":
        config.setdefault("norm_topk_prob", True)
    if kind == "minimax_m2":
        config |= {"rotary_dim": 64, "scoring_func": "sigmoid"}
    if kind in ("qwen3_5", "qwen3_5_moe"):
        config["mamba_ssm_dtype"] = (
            "float32"  # as published, and as the catalog's reader takes it where a row is silent
        )
    if kind not in WRAPPED:
        return config
    inner = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    return {
        "model_type": kind,
        "architectures": config["architectures"],
        "tie_word_embeddings": config.get("tie_word_embeddings", False),
        "text_config": {**inner, "model_type": WRAPPED[kind]},
    }
