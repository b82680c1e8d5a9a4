"""Models: by catalog, config.json and inner block; formats, drafters, exact bytes."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from kcluster.physics.architecture import DenseFfn, GroupedAttention, LatentAttention, MoeFfn
from kcluster.physics.parameters import parameters
from tests.spec.resolving import Resolved, resolved

REST = """
hardware box { gpus = 2 * l40s }
sla team { concurrency = 8, context = 4K, prompt = 2K, completion = 500 }
"""
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}


def model(body: str, folder: Path | None = None) -> Resolved:
    return resolved(f"model m {{\n{body}\n}}\n{REST}", folder=folder)


def config(folder: Path, content: Any = CONFIG, name: str = "config.json") -> None:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))


# The catalog


def test_an_alias_says_what_it_was_taken_as() -> None:
    found = model('id = "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"')
    assert found.found == (), found.report()
    architecture = found.serve.model.architecture
    assert "taken as meta-llama/Llama-3.3-70B-Instruct" in architecture.origin.note
    assert found.serve.model.weights.value.name == "fp8"
    assert found.serve.model.weights.origin.kind == "implied"
    assert "name" in found.serve.model.weights.origin.note


@pytest.mark.parametrize(
    ("body", "weights", "kind"),
    [
        ('id = "meta-llama/Llama-3.1-8B-Instruct"', "bf16", "default"),
        ('id = "meta-llama/Llama-3.1-8B-Instruct"\nweights = fp8', "fp8", "spec"),
        ('id = "meta-llama/Llama-3.1-8B-Instruct"\nweights = FP8', "fp8", "spec"),
        ('id = "meta-llama/Llama-3.1-8B-Instruct"\nweights = awq', "awq-int4", "spec"),
        (
            'id = "meta-llama/Llama-3.1-8B-Instruct"\ncheckpoint = "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"',
            "awq-int4",
            "implied",
        ),
        ('id = "deepseek-ai/DeepSeek-V3"', "fp8-block", "catalog"),
        ('id = "openai/gpt-oss-20b"', "mxfp4", "catalog"),
        ('id = "meta-llama/Llama-3.1-8B-Instruct"\nweights = auto', "bf16", "default"),
    ],
)
def test_format_of_weights(body: str, weights: str, kind: str) -> None:
    found = model(body)
    assert found.found == (), found.report()
    assert found.spec is not None
    read = found.spec.models[0].weights
    assert (read.value.name, read.origin.kind) == (weights, kind)
    assert read.written == (kind == "spec")


def test_checkpoint_alone_names_the_model() -> None:
    found = model('checkpoint = "Qwen/Qwen3-8B"')
    assert found.found == ()
    assert found.serve.model.id.value == "Qwen/Qwen3-8B" and not found.serve.model.id.written


def test_nothing_named() -> None:
    only = model("weights = fp8").only()
    assert only.code == "KC105" and "`id`" in only.message


# config.json


def test_config_beats_the_catalog(tmp_path: Path) -> None:
    config(tmp_path, CONFIG | {"num_hidden_layers": 16})
    found = model('id = "meta-llama/Llama-3.1-8B-Instruct"\nconfig = "config.json"', tmp_path)
    assert found.found == (), found.report()
    architecture = found.serve.model.architecture
    assert len(architecture.value.layers) == 16
    assert architecture.origin.kind == "spec" and "config.json" in architecture.origin.note
    assert found.source.slice(architecture.origin.span) == '"config.json"'


def test_config_of_an_unknown_model(tmp_path: Path) -> None:
    config(tmp_path, CONFIG | {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}})
    found = model(f'id = "my/own"\nconfig = "{tmp_path}/config.json"', tmp_path)
    assert found.found == (), found.report()
    assert found.serve.model.quantization is not None
    assert found.serve.model.weights.value.name == "fp8-block"
    assert str(tmp_path) not in found.serve.model.architecture.origin.note
    alone = model('config = "config.json"', tmp_path)
    assert alone.serve.model.id.value == "m" and not alone.serve.model.id.written


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        ("{", "KC103", "not JSON"),
        ("[]", "KC103", "table"),
        ("null", "KC103", "table"),
        ("[" * 100_000, "KC103", "not JSON"),
        ("1" * 10_000, "KC103", ""),
        (CONFIG | {"model_type": "newest"}, "KC107", "`model_type`"),
        ({}, "KC107", "`model_type`"),
        (CONFIG | {"hidden_size": "wide"}, "KC103", "`hidden_size`"),
        (CONFIG | {"hidden_size": -4}, "KC103", "`hidden_size`"),
        (CONFIG | {"num_hidden_layers": 10**30}, "KC103", "`num_hidden_layers`"),
        (CONFIG | {"num_key_value_heads": 7}, "KC103", "`num_key_value_heads`"),
    ],
)
def test_configs_that_cannot_be_used(tmp_path: Path, content: Any, code: str, words: str) -> None:
    config(tmp_path, content)
    found = model('id = "my/own"\nconfig = "config.json"', tmp_path)
    only = found.only()
    assert only.code == code and words in only.message, found.report()
    assert found.text(only) == '"config.json"'
    assert found.spec is not None and found.spec.serves == ()


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for attribute in ("config", "index"):
        only = model(f'id = "Qwen/Qwen3-8B"\n{attribute} = "nothing.json"', tmp_path).only()
        assert only.code == "KC106" and "does not exist" in only.message
        for path in (".", "/dev/zero", "/dev/stdin"):
            only = model(f'id = "Qwen/Qwen3-8B"\n{attribute} = "{path}"', tmp_path).only()
            assert only.code in ("KC103", "KC107"), only
        assert model(f'id = "Qwen/Qwen3-8B"\n{attribute} = "x.json"').only().message.count("no folder")


def test_huge_files_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(2**40)  # sparse: a terabyte that is not there
    only = model('id = "my/own"\nconfig = "config.json"', tmp_path).only()
    assert only.code == "KC107" and "larger" in only.message


def test_paths_start_from_the_file_that_names_them(tmp_path: Path) -> None:
    (tmp_path / "lib").mkdir()
    config(tmp_path / "lib")
    (tmp_path / "lib" / "m.kcluster").write_text('model m { id = "my/own", config = "./config.json" }\n')
    found = resolved(f'import "lib/m.kcluster"\n{REST}', folder=tmp_path)
    assert found.found == (), found.report()


# Inner architecture

DENSE = (
    "layers = 32, hidden = 4096, heads = 32, kv_heads = 8, intermediate = 14336, vocab = 128256, max_positions = 128K"
)


def described(body: str) -> Resolved:
    return model(f'id = "my/own"\narchitecture {{ {body} }}')


def test_dense_architecture() -> None:
    found = described(DENSE)
    assert found.found == (), found.report()
    architecture = found.serve.model.architecture.value
    assert architecture.attention == GroupedAttention(32, 8, 128, 128)
    assert architecture.layers[0].ffn == DenseFfn(14336)
    assert architecture.max_positions == 131072
    # Llama 3.1 8B's published total: 8,030,261,248
    assert parameters(architecture).total.value == 8_030_261_248


def test_architecture_with_experts() -> None:
    found = described(
        "layers = 48, hidden = 2048, heads = 32, kv_heads = 4, head_dim = 128, vocab = 151936, experts = 128, experts_per_token = 8,"
        " moe_intermediate = 768, intermediate = 6144, dense_layers = 1, shared_experts = 1, tied = on, sliding_window = 4K"
    )
    assert found.found == (), found.report()
    architecture = found.serve.model.architecture.value
    assert architecture.layers[0].ffn == DenseFfn(6144)
    assert architecture.layers[1].ffn == architecture.moe == MoeFfn(128, 8, 768, shared_intermediate=768)
    assert architecture.tied and len(architecture.layers) == 48
    assert isinstance(architecture.attention, GroupedAttention) and architecture.attention.window == 4096


def test_latent_architecture() -> None:
    found = described(
        "layers = 27, hidden = 2048, heads = 16, vocab = 102400, intermediate = 10944, kv_lora_rank = 512, rope_head_dim = 64,"
        " nope_head_dim = 128, v_head_dim = 128"
    )
    assert found.found == (), found.report()
    assert found.serve.model.architecture.value.attention == LatentAttention(16, None, 512, 64, 128, 128)


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (DENSE.replace("layers = 32, ", ""), "KC105", "`layers`"),
        (DENSE.replace(", intermediate = 14336", ""), "KC105", "`intermediate`"),
        (DENSE.replace("kv_heads = 8", "kv_heads = 7"), "KC103", "`kv_heads`"),
        (DENSE.replace("heads = 32, kv_heads = 8", "heads = 30, kv_heads = 10"), "KC105", "`head_dim`"),
        (DENSE + ", experts = 8, moe_intermediate = 100", "KC105", "`experts_per_token`"),
        (DENSE + ", experts = 8, experts_per_token = 9, moe_intermediate = 100", "KC103", "`experts_per_token`"),
        (DENSE + ", experts_per_token = 2", "KC105", "`experts`"),
        (DENSE + ", kv_lora_rank = 512, nope_head_dim = 128, v_head_dim = 128", "KC105", "`rope_head_dim`"),
        (DENSE + ", rope_head_dim = 64", "KC105", "`kv_lora_rank`"),
        (
            DENSE + ", experts = 8, experts_per_token = 2, moe_intermediate = 9, dense_layers = 33",
            "KC103",
            "`dense_layers`",
        ),
        (DENSE.replace("32, hidden", "5000, hidden"), "KC007", "`layers`"),
        (DENSE.replace("4096", "4K"), "KC103", "`hidden`"),
    ],
)
def test_architectures_that_make_no_sense(body: str, code: str, words: str) -> None:
    found = described(body)
    only = found.only()
    assert (only.code, words in only.message) == (code, True), found.report()


def test_config_and_architecture_are_one_too_many(tmp_path: Path) -> None:
    config(tmp_path)
    found = model(f'id = "my/own"\nconfig = "config.json"\narchitecture {{ {DENSE} }}', tmp_path)
    assert found.only().code == "KC104"
    assert len(found.serve.model.architecture.value.layers) == 32


# Drafters


def drafted(body: str, identifier: str = "meta-llama/Llama-3.3-70B-Instruct") -> Resolved:
    return model(f'id = "{identifier}"\ndraft {{ {body} }}')


def test_drafters() -> None:
    small = drafted('id = "meta-llama/Llama-3.2-1B-Instruct", tokens = 5, acceptance = 60 %')
    assert small.found == (), small.report()
    draft = small.serve.model.draft
    assert draft is not None and draft.method.value == "draft" and not draft.method.written
    assert draft.architecture is not None and draft.weights is not None and draft.weights.value.name == "bf16"
    assert (draft.tokens.value, draft.acceptance.value) == (5, 0.6)
    ngram = drafted("method = ngram").serve.model.draft
    assert ngram is not None and ngram.architecture is None and ngram.tokens.value == 3
    eagle = drafted('id = "yuhuili/EAGLE3-LLaMA3.3-Instruct-70B"').serve.model.draft
    assert eagle is not None and eagle.method.value == "eagle"
    mtp = drafted("", "deepseek-ai/DeepSeek-V3")
    assert mtp.found == () and mtp.serve.model.draft is not None
    assert (mtp.serve.model.draft.method.value, mtp.serve.model.draft.tokens.value) == ("mtp", 1)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "KC105"),
        ("method = draft", "KC105"),
        ("method = mtp", "KC106"),
        ('method = draft, id = "nobody/nothing"', "KC107"),
        ("method = ngram, acceptance = 2", "KC103"),
        ("method = ngram, tokens = 100", "KC007"),
        ("method = beam", "KC103"),
    ],
)
def test_drafters_that_cannot_be(body: str, code: str) -> None:
    found = drafted(body)
    assert found.codes == [code], found.report()
    assert found.spec is not None and len(found.spec.serves) == 1, "the model serves without its drafter"


# Exact bytes


def shard(place: Path, *sizes: int) -> None:
    """A safetensors file with tensors of these sizes, without their data."""
    offsets = [0]
    for size in sizes:
        offsets.append(offsets[-1] + size)
    header = {
        f"t{number}": {"dtype": "U8", "shape": [size], "data_offsets": offsets[number : number + 2]}
        for number, size in enumerate(sizes)
    }
    data = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    place.write_bytes(struct.pack("<Q", len(data)) + data)


def bytes_of(folder: Path, path: str) -> int | None:
    found = model(f'id = "Qwen/Qwen3-8B"\nindex = "{path}"', folder)
    assert found.found == (), found.report()
    read = found.serve.model.exact_weight_bytes
    return None if read is None else read.value


def test_exact_bytes(tmp_path: Path) -> None:
    shard(tmp_path / "a.safetensors", 100, 28)
    assert bytes_of(tmp_path, "a.safetensors") == 128
    shard(tmp_path / "b.safetensors", 1000)
    assert bytes_of(tmp_path, ".") == 1128
    index = {"metadata": {"total_size": 16_381_470_720}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert bytes_of(tmp_path, "model.safetensors.index.json") == 16_381_470_720
    assert bytes_of(tmp_path, "./") == 16_381_470_720, "the index of a folder is believed"
    assert bytes_of(tmp_path, str(tmp_path)) == 16_381_470_720


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("x.safetensors", b""),
        ("x.safetensors", b"\xff" * 8),
        ("x.safetensors", struct.pack("<Q", 2) + b"[]"),
        ("x.safetensors", struct.pack("<Q", 9) + b'{"a": 1}'),
        ("x.safetensors", struct.pack("<Q", 34) + b'{"a": {"data_offsets": [10, -10]}}'),
        ("x.json", b"{}"),
        ("x.json", b'{"metadata": {"total_size": "big"}}'),
        ("x.json", b'{"metadata": {"total_size": -1}}'),
        ("x.json", b'{"metadata": {"total_size": 1e400}}'),
        ("x.json", b'{"metadata": {"total_size": true}}'),
        ("x.json", b"\xff\xfe"),
    ],
)
def test_what_is_no_index(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    only = model(f'id = "Qwen/Qwen3-8B"\nindex = "{name}"', tmp_path).only()
    assert only.code == "KC103" and name in only.message
