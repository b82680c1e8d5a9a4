"""Weight formats by name, and the format of a checkpoint by its config and by its name."""

from __future__ import annotations

from typing import Any

import pytest

from kcluster.catalog.formats import WEIGHT_FORMATS, checkpoint_suffix, format_of_checkpoint, quantization_of


def test_every_format_is_named_as_it_is_looked_up() -> None:
    assert all(name == item.name for name, item in WEIGHT_FORMATS.items())
    for name in [
        "bf16",
        "fp16",
        "fp32",
        "fp8",
        "fp8-block",
        "int8",
        "awq-int4",
        "gptq-int4",
        "nvfp4",
        "mxfp4",
        "bnb-int4",
        "gguf-q4_k_m",
        "gguf-q8_0",
        "gguf-q6_k",
        "gguf-q5_k_m",
        "gguf-q4_0",
    ]:
        assert name in WEIGHT_FORMATS


def test_bytes_of_a_weight() -> None:
    # AWQ and GPTQ 0.5 + 2.5/128; int4 in groups of 32 with scales only 0.5 + 2/32; NVFP4 0.5 + 1/16; MXFP4 17/32
    def each(name: str) -> float:
        item = WEIGHT_FORMATS[name]
        return item.bytes_per_parameter + (item.scale_bytes / item.group if item.group else 0)

    assert each("awq-int4") == each("gptq-int4") == 0.5 + 2.5 / 128
    assert each("gptq-int4-g32") == 0.5 + 2.5 / 32
    assert each("int4-experts") == each("w4a16-g32") == 0.5 + 2 / 32
    assert each("nvfp4") == 0.5 + 1 / 16
    assert each("mxfp4") == 17 / 32
    assert WEIGHT_FORMATS["fp8-block"].block == (128, 128)
    assert [name for name, item in WEIGHT_FORMATS.items() if not item.quantized] == ["bf16", "fp16", "fp32"]


MIXED = {
    "model.layers.3.self_attn.q_proj": {"quant_algo": "MXFP8"},
    "model.layers.3.block_sparse_moe.shared_experts.down_proj": {"quant_algo": "MXFP8"},
    "model.layers.3.block_sparse_moe.experts.0.w1": {"quant_algo": "NVFP4", "group_size": 16},
}
INT4 = {"num_bits": 4, "type": "int", "group_size": 128, "strategy": "group"}


def compressed(
    weights: dict[str, Any], *, activations: object = None, ignore: list[str] | None = None
) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ignore or ["lm_head"]}


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8-block"),
        ({"quant_method": "fp8", "weight_block_size": None, "activation_scheme": "static"}, "fp8"),
        ({"quant_method": "fp8", "weight_block_size": [128, 128], "expert_dtype": "fp4"}, "fp8-fp4-experts"),
        (
            {
                "quant_method": "fbgemm_fp8",
                "modules_to_not_convert": [f"model.layers.{n}.self_attn.q_proj" for n in range(80)],
            },
            "fp8-ffn",
        ),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq-int4"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, "awq-int4-g64"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 32}, "gptq-int4-g32"),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, "gptq-int8"),
        ({"quant_method": "auto-round", "bits": 4, "group_size": 128}, "gptq-int4"),
        ({"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn"]}, "mxfp4"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bnb-int4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"]}, "nvfp4"),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["model.layers*.self_attn*"]}, "nvfp4-ffn"),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "ignore": [f"layers.{n}.{part}*" for n in range(9) for part in ("self_attn", "mlp.shared_experts")],
            },
            "nvfp4-experts",
        ),
        ({"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}, "fp8"),
        ({"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp4"}}}, "mxfp4"),
        (compressed({"num_bits": 8, "type": "float", "strategy": "channel"}, activations={"num_bits": 8}), "fp8"),
        (compressed({"num_bits": 8, "type": "float", "strategy": "block"}), "fp8-block"),
        (compressed({"num_bits": 8, "type": "int"}, activations={"num_bits": 8}), "int8"),
        (compressed({"num_bits": 8, "type": "int"}), "w8a16"),
        (compressed(INT4), "w4a16"),
        (compressed({**INT4, "symmetric": False}), "awq-int4"),
        ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": MIXED}, "fp8-nvfp4-experts"),
        ({"quant_method": "fp8", "quant_algo": "MIXED_PRECISION", "quantized_layers": MIXED}, "fp8-nvfp4-experts"),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "MIXED_PRECISION",
                "quantized_layers": {
                    "lm_head": {"quant_algo": "W4A16_NVFP4"},
                    "model.layers.0.linear_attn.out_proj": {"quant_algo": "FP8"},
                    "model.layers.0.mlp.down_proj": {"quant_algo": "W4A16_NVFP4"},
                },
            },
            "fp8-nvfp4-ffn",
        ),
        (compressed({**INT4, "group_size": 32}), "w4a16-g32"),
        (compressed({"num_bits": 4, "type": "float", "group_size": 16}), "nvfp4"),
        (compressed({"num_bits": 4, "type": "float", "group_size": 32}), "mxfp4"),
        (
            compressed({**INT4, "group_size": 32}, ignore=["re:.*self_attn.*", "re:.*shared_experts.*", "lm_head"]),
            "int4-experts",
        ),
    ],
)
def test_by_the_quantization_config(config: dict[str, Any], name: str) -> None:
    assert format_of_checkpoint(config, "someone/something") == name
    assert name in WEIGHT_FORMATS


@pytest.mark.parametrize(
    ("checkpoint", "name"),
    [
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "fp8"),
        ("amd/Llama-3.3-70B-Instruct-FP8-KV", "fp8"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", "nvfp4"),
        ("nvidia/DeepSeek-V3-FP4", "nvfp4"),
        ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "nvfp4"),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "awq-int4"),
        ("cyankiwi/Qwen3.5-9B-AWQ-4bit", "awq-int4"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "gptq-int4"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int8", "gptq-int8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "int8"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "w4a16"),
        ("unsloth/Llama-3.3-70B-Instruct-bnb-4bit", "bnb-int4"),
        ("unsloth/gpt-oss-120b-GGUF", "gguf-q4_k_m"),
        ("amd/GLM-5.2-MXFP4", "mxfp4"),
        ("Qwen/Qwen3-8B-FP8", "fp8-block"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "fp8-ffn"),
        ("meta-llama/Llama-3.3-70B-Instruct", None),
        ("", None),
        ("x" * 10_000, None),
    ],
)
def test_by_name_where_there_is_no_config(checkpoint: str, name: str | None) -> None:
    assert format_of_checkpoint(None, checkpoint) == name


def test_where_a_config_says_its_quantization() -> None:
    fp8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    assert quantization_of({"quantization_config": fp8}) == fp8
    # nested, as Kimi K3; under the older name; with the experts' type beside it, as DeepSeek V4
    assert quantization_of({"text_config": {"quantization_config": fp8}}) == fp8
    assert quantization_of({"compression_config": fp8}) == fp8
    assert quantization_of({"quantization_config": fp8, "expert_dtype": "fp4"}) == {**fp8, "expert_dtype": "fp4"}
    for nothing in ({}, {"quantization_config": None}, {"quantization_config": "fp8"}, {"text_config": 5}, None, []):
        assert quantization_of(nothing) is None


def test_a_name_without_its_suffix() -> None:
    assert checkpoint_suffix("Llama-3.3-70B-Instruct-FP8-dynamic") == ("Llama-3.3-70B-Instruct", "fp8")
    assert checkpoint_suffix("Qwen3-8B") == ("Qwen3-8B", None)
    assert checkpoint_suffix("FP8") == ("FP8", None)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"quant_method": None},
        {"quant_method": ["fp8"]},
        {"quant_method": "exl3"},
        {"quant_method": "compressed-tensors"},
        {"quant_method": "compressed-tensors", "config_groups": []},
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": None}},
        {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": True}}}},
        {"quant_method": "modelopt", "quant_algo": 5, "ignore": {"a": 1}},
        {"quant_method": "quark", "global_quant_config": {"weight": "fp4"}},
    ],
)
def test_what_no_config_says_falls_to_the_name(config: dict[str, Any]) -> None:
    assert format_of_checkpoint(config, "someone/Something-AWQ") == "awq-int4"
    assert format_of_checkpoint(config, "someone/Something") is None
