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
        "llava",  # Pixtral 12B
        {
            "text_config": {
                "model_type": "mistral",
                "head_dim": 128,
                "hidden_size": 5120,
                "max_position_embeddings": 1024000,
                "num_hidden_layers": 40,
                "vocab_size": 131072,
                "sliding_window": None,
            },
            "vision_config": {"model_type": "pixtral", "head_dim": 64, "image_size": 1024, "patch_size": 16},
        },
        12_682_739_712,
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


def nas_blocks() -> list[dict[str, Any]]:
    """The blocks of Llama-3.3-Nemotron-Super-49B-v1: (query heads to a KV head or none, multiple of the MLP) and how many such."""
    full = (8, 5.25)
    runs: list[tuple[tuple[int | None, float], int]] = [((8, 2.625), 1), (full, 5), ((None, 2.625), 2), (full, 3)]
    runs += [((None, 3.28125), 1), (full, 30)]
    without = (1.3125, 2.625, 2.625, 1.3125, 5.25, 1.3125, 2.625, 1.3125, 1.3125, 1.3125)
    runs += [((None, multiple), 1) for multiple in without]
    runs.append((full, 1))
    without = (1.3125, 1, 1, 1.3125, 1, 1, 1, 1.3125, 1.3125, 0.5, 0.5, 1, 1, 0.5, 0.5, 1, 0.5, 0.5)
    runs += [((None, multiple), 1) for multiple in without]
    runs.append((full, 9))
    return [
        {
            "attention": {"n_heads_in_group": heads, "no_op": heads is None, "replace_with_linear": False},
            "ffn": {"ffn_mult": multiple, "no_op": False, "replace_with_linear": False},
        }
        for (heads, multiple), count in runs
        for _ in range(count)
    ]


INTERN_VIT: dict[str, Any] = {
    "model_type": "intern_vit_6b",
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "image_size": 448,
    "patch_size": 14,
    "qkv_bias": True,
    "qk_normalization": False,
    "norm_type": "layer_norm",
}
PUBLISHED: tuple[tuple[str, dict[str, Any], int], ...] = (
    # totals of the checkpoints on the hub
    (
        "nemotron-nas",  # Llama-3.3-Nemotron-Super-49B-v1
        {
            "hidden_size": 8192,
            "intermediate_size": None,
            "num_attention_heads": 64,
            "num_hidden_layers": 80,
            "num_key_value_heads": None,
            "vocab_size": 128256,
            "max_position_embeddings": 131072,
            "block_configs": nas_blocks(),
        },
        49_867_145_216,
    ),
    (
        "bailing_moe_v2",  # Ling-mini-2.0
        {
            "hidden_size": 2048,
            "num_hidden_layers": 20,
            "num_attention_heads": 16,
            "num_key_value_heads": 4,
            "head_dim": 128,
            "intermediate_size": 5120,
            "moe_intermediate_size": 512,
            "num_experts": 256,
            "num_experts_per_tok": 8,
            "num_shared_experts": 1,
            "first_k_dense_replace": 1,
            "use_qk_norm": True,
            "moe_router_enable_expert_bias": True,
            "vocab_size": 157184,
        },
        16_255_643_392,
    ),
    (
        "deepseek",  # deepseek-moe-16b
        {
            "hidden_size": 2048,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "intermediate_size": 10944,
            "moe_intermediate_size": 1408,
            "n_routed_experts": 64,
            "num_experts_per_tok": 6,
            "n_shared_experts": 2,
            "first_k_dense_replace": 1,
            "vocab_size": 102400,
        },
        16_375_728_128,
    ),
    (
        "chatglm",  # glm-4-9b-chat, without the 32 rotary frequencies that its files hold
        {
            "hidden_size": 4096,
            "num_layers": 40,
            "num_attention_heads": 32,
            "multi_query_attention": True,
            "multi_query_group_num": 2,
            "kv_channels": 128,
            "ffn_hidden_size": 13696,
            "padded_vocab_size": 151552,
            "add_qkv_bias": True,
            "add_bias_linear": False,
            "seq_length": 131072,
        },
        9_399_951_392 - 32,
    ),
    (
        "internvl_chat",  # InternVL3-8B
        {
            "downsample_ratio": 0.5,
            "vision_config": INTERN_VIT,
            "llm_config": {
                "model_type": "qwen2",
                "hidden_size": 3584,
                "num_hidden_layers": 28,
                "num_attention_heads": 28,
                "num_key_value_heads": 4,
                "intermediate_size": 18944,
                "vocab_size": 151674,
                "tie_word_embeddings": False,
            },
        },
        7_944_373_760,
    ),
    (
        "internvl_chat",  # InternVL2.5-8B
        {
            "downsample_ratio": 0.5,
            "vision_config": INTERN_VIT,
            "llm_config": {
                "model_type": "internlm2",
                "hidden_size": 4096,
                "num_hidden_layers": 32,
                "num_attention_heads": 32,
                "num_key_value_heads": 8,
                "intermediate_size": 14336,
                "vocab_size": 92553,
                "bias": False,
            },
        },
        8_075_365_376,
    ),
)


@pytest.mark.parametrize(("model_type", "config", "count"), PUBLISHED, ids=lambda value: str(value)[:20])
def test_against_the_published_total(model_type: str, config: dict[str, Any], count: int) -> None:
    architecture, problems = read_config({"model_type": model_type, **config})
    assert architecture is not None, problems
    assert parameters(architecture).total.value == count


def test_what_blocks_of_a_search_may_not_be() -> None:
    model_type, config, _ = PUBLISHED[0]
    blocks = config["block_configs"]
    linear = {**blocks[0], "attention": {"no_op": False, "replace_with_linear": True, "n_heads_in_group": 8}}
    for changed, field in (
        (None, "block_configs"),
        (blocks[1:], "block_configs"),
        ([5, *blocks[1:]], "block_configs"),
        ([linear, *blocks[1:]], "block_configs[0].attention.replace_with_linear"),
        (
            [{**blocks[0], "attention": {"n_heads_in_group": 7}}, *blocks[1:]],
            "block_configs[0].attention.n_heads_in_group",
        ),
        ([{**blocks[0], "ffn": {"ffn_mult": None}}, *blocks[1:]], "block_configs[0].ffn.ffn_mult"),
        ([{**blocks[0], "ffn": []}, *blocks[1:]], "block_configs[0].ffn"),
    ):
        architecture, problems = read_config({**config, "model_type": model_type, "block_configs": changed})
        assert architecture is None and problems[0].field == field


def test_a_tower_that_a_config_does_not_speak_of_is_built_all_the_same() -> None:
    # transformers 5.19.0 built on the meta device: 455,178,240 parameters of tower and projector
    text = {"model_type": "llama4_text", "num_hidden_layers": 4}
    architecture, problems = read_config({"model_type": "llama4", "text_config": text})
    assert architecture is not None, problems
    assert architecture.vision_parameters == 455_178_240
    architecture, problems = read_config({"model_type": "llama4", "text_config": text, "vision_config": None})
    assert architecture is not None, problems
    assert architecture.vision_parameters == 0


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


def test_the_tower_of_kimi_k3_has_other_norms_and_no_biases() -> None:
    flags = {"norm_type": "rmsnorm", "attn_bias": False, "linear_bias": False, "patch_embed_proj_bias": False}
    sizes = {"vt_hidden_size": 1024, "vt_intermediate_size": 4096, "vt_num_hidden_layers": 27, "qkv_hidden_size": 1536}
    tower = {**sizes, **flags, "mm_projector_type": "patchmergerv2", "merge_kernel_size": [2, 2], "patch_size": 14}
    linear = next(config for kind, config, _ in CONFIGS if kind == "kimi_linear")
    text = {**linear, "hidden_size": 7168, "routed_expert_hidden_size": 3584}
    architecture, problems = read_config({"model_type": "kimi_k3", "text_config": text, "vision_config": tower})
    assert architecture is not None, problems
    # a block: 4 × 1024 × 1536, 2 × 1024 × 4096, two norms; patches of 3 × 14², 64 × 64 positions, a norm; 2 × 2 patches to 7168, a norm
    block = 4 * 1024 * 1536 + 2 * 1024 * 4096 + 2 * 1024
    around = 3 * 196 * 1024 + 64 * 64 * 1024 + 1024 + 4096 * 4096 + 4096 * 7168 + 7168
    assert architecture.vision_parameters == 27 * block + around == 447_358_976


def test_kimi_k3_needs_what_its_experts_act_on() -> None:
    linear = next(config for kind, config, _ in CONFIGS if kind == "kimi_linear")
    config = {**linear, "model_type": "kimi_k3"}
    architecture, problems = read_config(config)
    assert architecture is None and problems[0].field == "routed_expert_hidden_size"
    architecture, problems = read_config({**config, "routed_expert_hidden_size": 1152})
    assert architecture is not None, problems


def test_pipeline_support_is_that_of_the_engine() -> None:
    mamba = read_config({"model_type": "mamba2", **CONFIGS[-1][1]})[0]
    llama = read_config({"model_type": "llama", **TEXT})[0]
    assert mamba is not None and not mamba.pipeline
    assert llama is not None and llama.pipeline
