"""Reading config.json files: where fields stand, what lengths follow, and what is said of what is wrong."""

from __future__ import annotations

from typing import Any

import pytest

from kcluster.catalog.config_json import ConfigProblem, read_config
from kcluster.physics.architecture import (
    Architecture,
    DeltaNet,
    GroupedAttention,
    LatentAttention,
    Mamba,
    MoeFfn,
)

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}


def read(**config: Any) -> Architecture:
    architecture, problems = read_config({**LLAMA, **config})
    assert architecture is not None, problems
    return architecture


def problems(**config: Any) -> tuple[ConfigProblem, ...]:
    merged = {key: value for key, value in {**LLAMA, **config}.items() if value is not ...}
    architecture, found = read_config(merged)
    assert architecture is None and found
    return found


def test_a_plain_config() -> None:
    arch = read()
    assert (arch.model_type, arch.class_name) == ("llama", "LlamaForCausalLM")
    assert (arch.hidden, arch.vocab, len(arch.layers), arch.tied) == (4096, 128256, 32, False)
    assert arch.attention == GroupedAttention(32, 8, 128, 128)
    assert arch.max_positions == 131072 and arch.default_positions is None
    assert arch.dtype == "bfloat16"


def test_equal_layers_share_one_value() -> None:
    arch = read()
    assert all(layer is arch.layers[0] for layer in arch.layers)


def test_fields_of_a_nested_language_model_come_first() -> None:
    inner = {key: value for key, value in LLAMA.items() if key not in ("model_type", "architectures")}
    arch, found = read_config(
        {
            "model_type": "mistral3",
            "architectures": ["Mistral3ForConditionalGeneration"],
            "hidden_size": 7,
            "torch_dtype": "float16",
            "text_config": {**inner, "model_type": "mistral"},
            "vision_config": {
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "patch_size": 14,
            },
        }
    )
    assert arch is not None, found
    assert (arch.hidden, arch.dtype, arch.model_type) == (4096, "float16", "mistral3")
    assert arch.class_name == "Mistral3ForConditionalGeneration"
    assert arch.vision_parameters > 400_000_000


def test_the_outer_tie_decides() -> None:
    inner = {key: value for key, value in LLAMA.items() if key != "model_type"}
    config = {
        "model_type": "mistral3",
        "tie_word_embeddings": False,
        "text_config": {**inner, "tie_word_embeddings": True},
    }
    arch, found = read_config(config)
    assert arch is not None, found
    assert not arch.tied


@pytest.mark.parametrize(
    ("rope", "positions", "untold"),
    [
        ({"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}, 131072, None),
        ({"type": "yarn", "factor": 40, "original_max_position_embeddings": 4096}, 131072, None),
        ({"rope_type": "linear", "factor": 4.0}, 524288, None),
        ({"type": "dynamic", "factor": 2.0}, 262144, None),
        ({"rope_type": "default"}, 131072, None),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 131072, None),
        ({"type": "longrope", "original_max_position_embeddings": 4096, "factor": 9.0}, 131072, 4096),
        ({"type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}, 131072, None),
    ],
)
def test_lengths_as_the_engine_derives_them(rope: dict[str, Any], positions: int, untold: int | None) -> None:
    for field in ("rope_scaling", "rope_parameters"):
        arch = read(**{field: rope})
        assert (arch.max_positions, arch.default_positions) == (positions, untold)


def test_longrope_may_state_its_original_length_outside() -> None:
    arch = read(rope_scaling={"type": "longrope"}, original_max_position_embeddings=4096)
    assert arch.default_positions == 4096


def test_rope_parameters_by_kind_of_layer() -> None:
    rope = {"full_attention": {"rope_type": "linear", "factor": 2.0}, "sliding_attention": {"rope_type": "default"}}
    assert read(rope_parameters=rope).max_positions == 262144


def test_gemma_3_keeps_its_length_whatever_the_factor() -> None:
    arch = read(model_type="gemma3_text", head_dim=256, rope_scaling={"rope_type": "linear", "factor": 8.0})
    assert arch.max_positions == 131072


def test_the_least_of_several_lengths_counts() -> None:
    assert read(seq_length=8192).max_positions == 8192


def test_no_length_at_all() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "max_position_embeddings"}
    arch, _ = read_config(config)
    assert arch is not None and arch.max_positions == 2048  # what LlamaConfig takes, and so the engine
    arch, _ = read_config({**config, "model_type": "exaone"})
    assert arch is not None and arch.max_positions is None  # no class in transformers


def windows(arch: Architecture) -> list[int | None]:
    return [layer.mixers[0].window for layer in arch.layers if isinstance(layer.mixers[0], GroupedAttention)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        # the defaults of transformers 5.23.0, over its default pattern of layers
        ("mistral", [4096] * 32),
        ("ministral", [4096] * 32),
        ("ministral3", [None] * 32),
        ("cohere2", [4096, 4096, 4096, None] * 8),
        ("exaone4", [4096, 4096, 4096, None] * 8),
        ("olmo3", [4096, 4096, 4096, None] * 8),
        ("gemma2", [4096, None] * 16),
        ("cwm", [None, 8192, 8192, 8192] * 8),
        ("qwen2", [None] * 32),
        ("llama", [None] * 32),
    ],
)
def test_a_window_that_no_field_states(kind: str, expected: list[int | None]) -> None:
    assert windows(read(model_type=kind, head_dim=128)) == expected
    # a null says that there is none
    assert windows(read(model_type=kind, head_dim=128, sliding_window=None)) == [None] * 32


def test_windows_of_qwen_from_the_layer_that_the_class_names() -> None:
    assert windows(read(model_type="qwen2", use_sliding_window=True)) == [None] * 28 + [4096] * 4


def test_heads_and_head_sizes_that_no_field_states() -> None:
    plain = {key: value for key, value in LLAMA.items() if key != "num_key_value_heads"}
    found = {}
    for kind in ("llama", "mistral", "qwen3"):
        arch, _ = read_config({**plain, "model_type": kind, "hidden_size": 2048})
        assert arch is not None and isinstance(arch.attention, GroupedAttention)
        found[kind] = (arch.attention.kv_heads, arch.attention.head_dim)
    # LlamaConfig: as many as heads, hidden / heads; MistralConfig: 8; Qwen3Config: 32 and 128
    assert found == {"llama": (32, 64), "mistral": (8, 64), "qwen3": (32, 128)}
    arch, _ = read_config({**plain, "model_type": "mistral", "num_key_value_heads": None})
    assert arch is not None and isinstance(arch.attention, GroupedAttention) and arch.attention.kv_heads == 32


def test_a_query_rank_is_stated_null_or_the_class_s() -> None:
    latent = {
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "qk_nope_head_dim": 128,
        "v_head_dim": 128,
        "n_routed_experts": 64,
        "num_experts_per_tok": 6,
        "moe_intermediate_size": 1408,
    }
    ranks = []
    for stated in ({}, {"q_lora_rank": None}, {"q_lora_rank": 768}):
        attention = read(model_type="deepseek_v2", **latent, **stated).attention
        assert isinstance(attention, LatentAttention)
        ranks.append(attention.q_lora_rank)
    assert ranks == [1536, None, 768]


def test_a_nested_config_leaves_out_what_its_class_takes() -> None:
    # LLaVA 1.5 publishes no sizes of its language model, which are those of LlamaConfig
    text = {"model_type": "llama", "max_position_embeddings": 4096, "vocab_size": 32064}
    arch, found = read_config({"model_type": "llava", "text_config": text, "vision_config": {}})
    assert arch is not None, found
    assert (arch.hidden, len(arch.layers), arch.vocab) == (4096, 32, 32064)
    arch, found = read_config(text)
    assert arch is None and {problem.field for problem in found} >= {"hidden_size", "num_hidden_layers"}


def test_layers_by_kind() -> None:
    arch = read(model_type="gemma2", sliding_window=4096, head_dim=128)
    assert windows(arch) == [4096, None] * 16
    named = read(
        model_type="gemma2",
        sliding_window=4096,
        layer_types={"rle": [["full_attention", 30], ["sliding_attention", 2]]},
    )
    kinds = [getattr(layer.mixers[0], "window", 0) for layer in named.layers]
    assert kinds == [None] * 30 + [4096] * 2


def test_windows_of_qwen_need_their_switch() -> None:
    assert read(model_type="qwen2", sliding_window=4096).attention == read(model_type="qwen2").attention
    arch = read(model_type="qwen2", sliding_window=4096, use_sliding_window=True, max_window_layers=30)
    assert [getattr(layer.mixers[0], "window", 0) for layer in arch.layers] == [None] * 30 + [4096] * 2


def test_a_window_as_long_as_the_context_is_none() -> None:
    assert read(model_type="mistral", sliding_window=131072).attention == GroupedAttention(32, 8, 128, 128)


def test_llama_4_is_chunked_in_three_layers_of_four() -> None:
    arch = read(model_type="llama4_text", num_local_experts=16, num_experts_per_tok=1, attention_chunk_size=8192)
    chunks = [getattr(layer.mixers[0], "chunk", 0) for layer in arch.layers]
    assert chunks == [8192, 8192, 8192, None] * 8


def test_hybrid_layers() -> None:
    arch, found = read_config(
        {
            "model_type": "qwen3_5_moe",
            "text_config": {
                "hidden_size": 2048,
                "num_hidden_layers": 8,
                "num_attention_heads": 16,
                "num_key_value_heads": 2,
                "head_dim": 256,
                "num_experts": 256,
                "num_experts_per_tok": 8,
                "moe_intermediate_size": 512,
                "shared_expert_intermediate_size": 512,
                "linear_num_key_heads": 16,
                "linear_num_value_heads": 32,
                "linear_key_head_dim": 128,
                "linear_value_head_dim": 128,
                "mtp_num_hidden_layers": 1,
                "vocab_size": 248320,
                "max_position_embeddings": 262144,
            },
        }
    )
    assert arch is not None, found
    kinds = [type(layer.mixers[0]) for layer in arch.layers]
    assert kinds == [DeltaNet, DeltaNet, DeltaNet, GroupedAttention] * 2
    assert arch.recurrent and isinstance(arch.layers[0].ffn, MoeFfn) and len(arch.mtp_layers) == 1
    full = arch.attention
    assert isinstance(full, GroupedAttention) and full.output_gate


def test_patterns_of_nemotron() -> None:
    config = {
        "model_type": "nemotron_h",
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 128,
        "hybrid_override_pattern": "M-M*",
        "mamba_num_heads": 8,
        "mamba_head_dim": 16,
        "ssm_state_size": 32,
        "vocab_size": 100,
    }
    arch, found = read_config(config)
    assert arch is not None, found
    kinds = [(type(layer.mixers[0]).__name__ if layer.mixers else None, layer.ffn is not None) for layer in arch.layers]
    assert kinds == [("Mamba", False), (None, True), ("Mamba", False), ("GroupedAttention", False)]
    mamba = arch.layers[0].mixers[0]
    assert isinstance(mamba, Mamba) and (mamba.inner, mamba.state_bytes) == (128, 4)
    bad, found = read_config({**config, "hybrid_override_pattern": "M?M*"})
    assert bad is None and found[0].field == "hybrid_override_pattern"


def test_latent_attention() -> None:
    arch = read(
        model_type="deepseek_v3",
        n_routed_experts=256,
        num_experts_per_tok=8,
        moe_intermediate_size=2048,
        kv_lora_rank=512,
        q_lora_rank=None,
        qk_rope_head_dim=64,
        qk_nope_head_dim=128,
        v_head_dim=128,
        first_k_dense_replace=3,
    )
    assert arch.attention == LatentAttention(32, None, 512, 64, 128, 128)
    assert arch.latent
    assert [isinstance(layer.ffn, MoeFfn) for layer in arch.layers] == [False] * 3 + [True] * 29


# ---- what is wrong ----


def test_an_unknown_architecture_is_refused() -> None:
    assert problems(model_type="llama9") == (
        ConfigProblem("model_type", '"llama9" is not an architecture that is known here'),
    )
    assert problems(model_type=...)[0] == ConfigProblem("model_type", "is missing")
    assert problems(model_type=None)[0] == ConfigProblem("model_type", "is missing")
    assert problems(model_type=["llama"])[0].field == "model_type"


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("hidden_size", "4096", 'must be a whole number, not "4096"'),
        ("hidden_size", 4096.0, "must be a whole number, not 4096"),
        ("hidden_size", True, "must be a whole number, not true"),
        ("hidden_size", [4096], "must be a whole number, not a list"),
        ("hidden_size", {"a": 1}, "must be a whole number, not a table"),
        ("hidden_size", 0, "must be from 1 to 1000000, not 0"),
        ("hidden_size", -1, "must be from 1 to 1000000, not -1"),
        ("hidden_size", 10**400, "must be from 1 to 1000000, not a number beyond 10^18"),
        ("hidden_size", ..., "is missing"),
        ("hidden_size", None, "is missing"),
        ("num_hidden_layers", 2001, "must be from 1 to 2000, not 2001"),
        ("num_attention_heads", 10_001, "must be from 1 to 10000, not 10001"),
        ("num_key_value_heads", 5, "5 does not divide the 32 attention heads"),
        ("num_key_value_heads", 64, "64 does not divide the 32 attention heads"),
        ("intermediate_size", ..., "is missing"),
        ("vocab_size", 10_000_001, "must be from 1 to 10000000, not 10000001"),
        ("max_position_embeddings", 0, "must be from 1 to 1000000000, not 0"),
        ("max_position_embeddings", float("nan"), "must be a whole number, not nan"),
        ("tie_word_embeddings", "yes", 'must be true or false, not "yes"'),
        ("tie_word_embeddings", 1, "must be true or false, not 1"),
        ("rope_scaling", "yarn", 'must be a table, not "yarn"'),
        ("rope_scaling", {"rope_type": "linear", "factor": -1}, "must be from 0.001 to 1e+06, not -1"),
        ("torch_dtype", "int3", "is not a dtype that is known here"),
        ("architectures", "LlamaForCausalLM", 'must be a list, not "LlamaForCausalLM"'),
        ("text_config", 5, "must be a table, not 5"),
    ],
)
def test_each_problem_names_its_field(field: str, value: Any, says: str) -> None:
    found = problems(**{field: value})
    assert any(says in problem.message for problem in found), found
    names = {"torch_dtype": "dtype", "rope_scaling": "rope_scaling"}
    assert found[0].field.startswith(names.get(field, field))


def test_problems_of_nested_fields_name_their_place() -> None:
    inner = {key: value for key, value in LLAMA.items() if key != "model_type"}
    _, found = read_config({"model_type": "mistral3", "text_config": {**inner, "hidden_size": "big"}})
    assert found[0].field == "text_config.hidden_size"
    _, found = read_config({**LLAMA, "rope_scaling": {"rope_type": "linear", "factor": "x"}})
    assert found[0].field == "rope_scaling.factor"


def test_all_that_is_wrong_is_said_at_once_and_once() -> None:
    found = problems(hidden_size="x", num_hidden_layers=0, vocab_size=...)
    assert [problem.field for problem in found] == ["hidden_size", "num_hidden_layers", "vocab_size"]


def test_heads_that_do_not_divide_the_width_need_a_head_size() -> None:
    assert problems(hidden_size=4100)[0].field == "head_dim"
    assert read(hidden_size=4100, head_dim=128).attention == GroupedAttention(32, 8, 128, 128)


def test_experts() -> None:
    moe = {"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2}
    assert read(**moe).moe == MoeFfn(8, 2, 14336)
    assert problems(**{**moe, "num_experts_per_tok": 9})[0].message == "9 is more than the 8 experts"
    assert problems(**{**moe, "num_local_experts": 10_001})[0].field == "num_local_experts"


def test_lists_for_layers() -> None:
    config = {"model_type": "gemma2", "sliding_window": 4096}
    assert problems(**config, layer_types=["full_attention"] * 3)[0].message == "has 3 entries for 32 layers"
    assert problems(**config, layer_types=[1] * 32)[0].field == "layer_types"
    assert problems(**config, layer_types="full_attention")[0].field == "layer_types"
    assert problems(**config, layer_types={"rle": [["full_attention", 10**9]]})[0].field == "layer_types"
    assert problems(**config, layer_types={"rle": "x"})[0].field == "layer_types"
    assert problems(**config, layer_types=["full_attention"] * 5000)[0].field == "layer_types"


def test_what_is_quoted_is_short_and_printable() -> None:
    found = problems(model_type="x\x1b[31m" * 1000)
    assert len(found[0].message) < 120 and "\x1b" not in found[0].message


@pytest.mark.parametrize("config", [None, 5, "x", [], [LLAMA], True])
def test_a_config_that_is_no_table(config: object) -> None:
    architecture, found = read_config(config)
    assert architecture is None and found[0].field == "config.json"
