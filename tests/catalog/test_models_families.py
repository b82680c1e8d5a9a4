"""Families that no row of the catalog has: parameters against the counts of their reference classes (transformers 5.23.0, built on
the meta device from the same config; router corrections counted)."""

from __future__ import annotations

from typing import Any

import pytest

from kcluster.catalog.config_json import model_types, read_config
from kcluster.physics.parameters import parameters

TEXT: dict[str, Any] = {
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32064,
    "max_position_embeddings": 4096,
}

CONFIGS: tuple[tuple[str, dict[str, Any], int], ...] = (
    # E2B of Gemma 4: shared KV, double-wide MLPs, per-layer embeddings, audio and vision
    (
        "gemma4",
        {
            "audio_config": {"hidden_size": 1024, "num_attention_heads": 8, "num_hidden_layers": 12},
            "text_config": {
                "model_type": "gemma4_text",
                "head_dim": 256,
                "hidden_size": 1536,
                "hidden_size_per_layer_input": 256,
                "intermediate_size": 6144,
                "max_position_embeddings": 131072,
                "num_attention_heads": 8,
                "num_hidden_layers": 35,
                "num_key_value_heads": 1,
                "num_kv_shared_layers": 20,
                "sliding_window": 512,
                "use_double_wide_mlp": True,
                "vocab_size": 262144,
            },
            "vision_config": {
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_attention_heads": 12,
                "num_hidden_layers": 16,
                "patch_size": 16,
            },
        },
        5_097_219_104,
    ),
    # what the class takes by default where a published text_config is silent (Gemma 3 4B)
    (
        "gemma3",
        {
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "sliding_window": 1024,
            },
            "vision_config": {
                "hidden_size": 1152,
                "image_size": 896,
                "intermediate_size": 4304,
                "num_attention_heads": 16,
                "num_hidden_layers": 27,
                "patch_size": 14,
                "vision_use_head": False,
            },
        },
        4_300_079_472,
    ),
    (
        "llava",
        {
            "text_config": {**TEXT, "model_type": "llama", "vocab_size": 32000},
            "vision_config": {
                "model_type": "clip_vision_model",
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "image_size": 336,
                "patch_size": 14,
            },
        },
        7_062_902_784,
    ),
    (
        "kimi_linear",
        {
            "hidden_size": 2304,
            "intermediate_size": 9216,
            "moe_intermediate_size": 1024,
            "num_hidden_layers": 27,
            "num_attention_heads": 32,
            "num_shared_experts": 1,
            "num_experts": 256,
            "num_experts_per_token": 8,
            "first_k_dense_replace": 1,
            "kv_lora_rank": 512,
            "qk_rope_head_dim": 64,
            "qk_nope_head_dim": 128,
            "v_head_dim": 128,
            "vocab_size": 163840,
            "linear_attn_config": {
                "kda_layers": [index + 1 for index in range(27) if index % 4 != 3],
                "num_heads": 32,
                "head_dim": 128,
                "short_conv_kernel_size": 4,
            },
        },
        49_133_081_120,
    ),
    (
        "stablelm",
        {
            **TEXT,
            "hidden_size": 2560,
            "num_attention_heads": 32,
            "intermediate_size": 6912,
            "vocab_size": 50304,
            "use_qkv_bias": True,
            "qk_layernorm": True,
        },
        2_795_852_800,
    ),
    (
        "hunyuan_v1_moe",
        {
            **TEXT,
            "vocab_size": 290943,
            "head_dim": 128,
            "num_experts": 8,
            "moe_topk": [2] * 32,
        },
        43_488_907_264,
    ),
    (
        "qwen2_moe",
        {
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "moe_intermediate_size": 1408,
            "shared_expert_intermediate_size": 5632,
            "num_experts": 60,
            "num_experts_per_tok": 4,
            "mlp_only_layers": [0, 3],
            "decoder_sparse_step": 2,
            "vocab_size": 151936,
        },
        7_566_573_568,
    ),
    (
        "phimoe",
        {
            **TEXT,
            "num_key_value_heads": 8,
            "intermediate_size": 6400,
            "num_local_experts": 16,
            "num_experts_per_tok": 2,
            "attention_bias": True,
            "lm_head_bias": True,
        },
        41_873_153_344,
    ),
    ("gpt2", {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024, "vocab_size": 50257}, 124_439_808),
    (
        "opt",
        {
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "ffn_dim": 3072,
            "max_position_embeddings": 2048,
            "vocab_size": 50272,
        },
        125_239_296,
    ),
    (
        "gpt_neox",
        {**TEXT, "hidden_size": 6144, "num_hidden_layers": 44, "num_attention_heads": 64, "num_key_value_heads": 64}
        | {"intermediate_size": 24576, "vocab_size": 50432},
        20_554_567_680,
    ),
    (
        "mamba2",
        {"hidden_size": 4096, "num_hidden_layers": 64, "num_heads": 128, "vocab_size": 32768, "state_size": 128},
        7_285_403_648,
    ),
)


@pytest.mark.parametrize(("model_type", "config", "count"), CONFIGS, ids=[model_type for model_type, _, _ in CONFIGS])
def test_against_the_reference_class(model_type: str, config: dict[str, Any], count: int) -> None:
    architecture, problems = read_config({"model_type": model_type, **config})
    assert architecture is not None, problems
    assert parameters(architecture).total.value == count


def test_the_families_that_are_read() -> None:
    known = set(model_types())
    for name in [
        "llama",
        "mistral",
        "mixtral",
        "qwen2",
        "qwen3",
        "qwen3_moe",
        "qwen3_next",
        "qwen3_5",
        "deepseek_v2",
        "deepseek_v3",
        "deepseek_v32",
        "deepseek_v4",
        "kimi_k2",
        "kimi_k25",
        "gpt_oss",
        "glm4_moe",
        "glm_moe_dsa",
        "minimax_m2",
        "llama4",
        "gemma2",
        "gemma3",
        "gemma4",
        "phi3",
        "phimoe",
        "cohere2",
        "falcon",
        "nemotron_h",
        "jamba",
        "falcon_h1",
        "granitemoehybrid",
        "lfm2",
        "olmo2",
        "exaone4",
        "seed_oss",
        "apertus",
        "ernie4_5_moe",
        "mllama",
    ]:
        assert name in known
    assert list(model_types()) == sorted(known)


def test_a_wrapper_refuses_a_language_model_that_is_not_known() -> None:
    for kind in ("somebody_else", "llava", 5):
        architecture, problems = read_config({"model_type": "llava", "text_config": {**TEXT, "model_type": kind}})
        assert architecture is None and problems[0].field == "text_config.model_type"


def test_kimi_k3_needs_what_its_experts_act_on() -> None:
    config = {**dict(CONFIGS[3][1]), "model_type": "kimi_k3"}
    architecture, problems = read_config(config)
    assert architecture is None and problems[0].field == "routed_expert_hidden_size"
    architecture, problems = read_config({**config, "routed_expert_hidden_size": 1152})
    assert architecture is not None, problems


def test_pipeline_support_is_that_of_the_engine() -> None:
    mamba = read_config({"model_type": "mamba2", **CONFIGS[-1][1]})[0]
    llama = read_config({"model_type": "llama", **TEXT})[0]
    assert mamba is not None and not mamba.pipeline
    assert llama is not None and llama.pipeline
