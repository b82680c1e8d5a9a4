"""Rows of the catalog, and by which names they are found."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from kcluster.catalog.config_json import read_config
from kcluster.catalog.models import find_model, known_format, model_ids, nearest, read_row
from kcluster.physics.parameters import parameters
from tests.support.needed import SHARED, with_shared

FACTS = SHARED / "models.jsonl"


def test_every_row_reads_and_says_where_it_was_read() -> None:
    ids = model_ids()
    assert len(ids) >= 124 and len(set(ids)) == len(ids)
    for model in ids:
        match = find_model(model)
        assert match is not None and match.id == model and match.note == ""
        assert len(match.source) > 12 and match.row["date"] in match.source
        assert parameters(match.architecture).total.value > 1e8


def test_ids_are_sorted_without_regard_to_case() -> None:
    assert list(model_ids()) == sorted(model_ids(), key=str.lower)


@pytest.mark.parametrize(
    ("asked", "taken"),
    [
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", "meta-llama/Llama-3.3-70B-Instruct"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "meta-llama/Llama-3.3-70B-Instruct"),
        ("nvidia/Llama-3.3-70B-Instruct-NVFP4", "meta-llama/Llama-3.3-70B-Instruct"),
        ("amd/Llama-3.3-70B-Instruct-FP8-KV", "meta-llama/Llama-3.3-70B-Instruct"),
        ("unsloth/Llama-3.3-70B-Instruct-bnb-4bit", "meta-llama/Llama-3.3-70B-Instruct"),
        ("unsloth/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"),
        ("casperhansen/llama-3.3-70b-instruct-awq", "meta-llama/Llama-3.3-70B-Instruct"),
        ("meta-llama/Llama-3.1-405B-Instruct", "meta-llama/Llama-3.1-405B"),
        ("meta-llama/Meta-Llama-3.1-405B-Instruct", "meta-llama/Llama-3.1-405B"),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "meta-llama/Llama-3.1-405B"),
        ("meta-llama/Meta-Llama-3.1-405B-Instruct-FP8", "meta-llama/Llama-3.1-405B"),
        ("neuralmagic/Meta-Llama-3.1-405B-Instruct-FP8", "meta-llama/Llama-3.1-405B"),
        ("RedHatAI/Meta-Llama-3.1-405B-Instruct-FP8-dynamic", "meta-llama/Llama-3.1-405B"),
        ("amd/Llama-3.1-405B-Instruct-FP8-KV", "meta-llama/Llama-3.1-405B"),
        ("meta-llama/Meta-Llama-3-70B-Instruct", "meta-llama/Meta-Llama-3-70B"),
        ("TechxGenus/Meta-Llama-3-70B-Instruct-AWQ", "meta-llama/Meta-Llama-3-70B"),
        ("neuralmagic/Meta-Llama-3-70B-Instruct-FP8", "meta-llama/Meta-Llama-3-70B"),
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "meta-llama/Llama-3.1-70B-Instruct"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8", "meta-llama/Llama-3.1-8B-Instruct"),
        ("Qwen/Qwen2.5-72B-Instruct-GPTQ-Int4", "Qwen/Qwen2.5-72B-Instruct-AWQ"),
        ("Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-0.5B"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "Qwen/Qwen3-30B-A3B-Instruct-2507"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct-AWQ", "Qwen/Qwen2.5-32B-Instruct"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-v0.1"),
        ("Qwen/Qwen3-8B-AWQ", "Qwen/Qwen3-8B"),
        ("Qwen/Qwen3-32B-FP8", "Qwen/Qwen3-32B"),
        ("nvidia/Qwen3-30B-A3B-NVFP4", "Qwen/Qwen3-30B-A3B"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-ai/DeepSeek-R1"),
        ("deepseek-ai/DeepSeek-V3-0324", "deepseek-ai/DeepSeek-V3"),
        ("google/gemma-3-27b-pt", "google/gemma-3-27b-it"),
        ("openai/GPT-OSS-120B", "openai/gpt-oss-120b"),
        ("unsloth/gpt-oss-120b-GGUF", "openai/gpt-oss-120b"),
    ],
)
def test_other_names_are_taken_as_a_row_and_say_so(asked: str, taken: str) -> None:
    match = find_model(asked)
    assert match is not None
    assert match.id == taken
    assert match.note.startswith(f"taken as {taken}")


@pytest.mark.parametrize(
    "asked",
    [
        "",
        "llama",
        "Llama-3.3-70B-Instruct",
        "somebody/Llama-3.3-70B-Instruct-heretic",
        "unknown-org/Llama-3.3-70B-Instruct-AWQ",
        "RedHatAI/Llama-3.3-71B-Instruct-FP8",
        "meta-llama/Llama-3.3-70B-Instruct/FP8",
        "meta-llama/Llama-3.3-70B-Instruct-FP8-FP8-of-something",
        "nvidia/Llama-3_3-Nemotron-Super-49B-v1",
        "microsoft/Phi-4-multimodal-instruct",
        "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-FP8",
        "/models/Llama-3.3-70B-Instruct",
        "x/" * 400,
        "meta-llama/" + "a" * 500,
    ],
)
def test_what_does_not_follow_from_a_rule_is_not_guessed(asked: str) -> None:
    assert find_model(asked) is None


def test_a_distilled_model_has_the_architecture_of_its_student() -> None:
    match = find_model("deepseek-ai/DeepSeek-R1-Distill-Llama-70B")
    assert match is not None and match.id == "meta-llama/Llama-3.3-70B-Instruct"
    small = find_model("deepseek-ai/DeepSeek-R1-Distill-Llama-8B")
    assert small is not None and parameters(small.architecture).total.value == 8_030_261_248


def test_variants_with_a_longer_context_have_rows_of_their_own() -> None:
    short, long = find_model("Qwen/Qwen3-235B-A22B-FP8"), find_model("Qwen/Qwen3-235B-A22B-Instruct-2507-FP8")
    assert short is not None and short.architecture.max_positions == 40_960
    assert long is not None and long.architecture.max_positions == 262_144
    base, tuned = find_model("Qwen/Qwen2.5-72B"), find_model("Qwen/Qwen2.5-72B-Instruct")
    assert base is not None and base.architecture.max_positions == 131_072
    assert tuned is not None and tuned.architecture.max_positions == 32_768


def test_quantization_is_that_of_the_checkpoint_that_was_asked_for() -> None:
    own = find_model("deepseek-ai/DeepSeek-R1")
    again = find_model("deepseek-ai/DeepSeek-R1-0528")
    packed = find_model("nvidia/DeepSeek-R1-NVFP4")
    assert own is not None and own.quantization is not None and own.quantization["weight_block_size"] == [128, 128]
    assert again is not None and again.quantization == own.quantization
    assert packed is not None and packed.id == own.id and packed.quantization is None
    plain = find_model("meta-llama/Llama-3.3-70B-Instruct")
    assert plain is not None and plain.quantization is None


def test_formats_of_checkpoints_whose_elements_are_known() -> None:
    assert known_format("meta-llama/Llama-3.1-405B-Instruct-FP8") == "fp8-ffn"
    assert known_format("meta-llama/Llama-4-Maverick-17B-128E-Instruct-FP8") == "fp8-experts"
    assert known_format("Qwen/Qwen3-8B-FP8") == "fp8-block"
    assert known_format("nvidia/MiniMax-M2.5-NVFP4") == "nvfp4-ffn"
    assert known_format("meta-llama/Llama-3.3-70B-Instruct") is None
    assert known_format("nobody/nothing") is None


def test_nearest_names() -> None:
    assert nearest(model_ids(), "meta-llama/Llama-3.3-70B-Instuct")[0] == "meta-llama/Llama-3.3-70B-Instruct"
    assert nearest(model_ids(), "qwen3-8b")[0] == "Qwen/Qwen3-8B"
    assert nearest(model_ids(), "zzzzzzzzzzzzzzzzzz") == ()
    assert nearest((), "anything") == ()
    assert len(nearest(model_ids(), "Qwen/Qwen3", 5)) == 5


@with_shared("models.jsonl")
def test_every_collected_model_and_checkpoint_is_found_or_refused_for_a_reason() -> None:
    missing = set()
    for line in FACTS.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for asked in (row["id"], *(item["id"] for item in row["checkpoints"])):
            match = find_model(asked)
            if match is None:
                missing.add(asked)
    assert missing == {
        "moonshotai/Kimi-K3",  # the collected config lacks what decides its size
        "RedHatAI/Kimi-K3-NVFP4",
        "microsoft/Phi-4-multimodal-instruct",  # another architecture, with towers
        "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-FP8",  # with a tower that is not described
        "nvidia/NVIDIA-Nemotron-Nano-12B-v2-VL-BF16",
    }


@with_shared("models.jsonl")
def test_rows_are_what_the_importer_writes(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    main = runpy.run_path(str(root / "benchmarks" / "catalog" / "import_models.py"))["main"]
    main(FACTS, tmp_path)
    committed = root / "compiler" / "kcluster" / "catalog" / "data" / "models"
    written = sorted(path.name for path in tmp_path.iterdir())
    assert sorted(path.name for path in committed.glob("*.toml")) == sorted([*written, "further.toml"])
    for name in written:
        assert (tmp_path / name).read_text(encoding="utf-8") == (committed / name).read_text(encoding="utf-8"), name


def test_a_row_says_all_that_it_means() -> None:
    """What a class takes by itself changes no row: an engine that reads a row's config reads the same model."""
    for model in model_ids():
        match = find_model(model)
        assert match is not None
        assert read_config(read_row(match.row))[0] == match.architecture, model
