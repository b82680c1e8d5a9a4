"""A launch command in a project: its own catalog, and the config.json beside a model's weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kcluster.cli.main import run

CONFIG = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
    "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip
CARD = """[rtx-9090]
memory_gib = 20
bandwidth_gbs = 1000
tflops = { bf16 = 100 }
compute_capability = "8.9"
source = "ours"
"""
MODEL = """[[model]]
id = "acme/Support-8B"
config = "configs/a.json"
source = "ours"
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "kcluster.toml").write_text("")
    for folder in ("catalog/configs", "models/own", "scripts"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "catalog/gpus.toml").write_text(CARD)
    (tmp_path / "catalog/models.toml").write_text(MODEL)
    for place in ("catalog/configs/a.json", "models/own/config.json"):
        (tmp_path / place).write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("model", ["acme/Support-8B", "/data/Support-8B", "./models/own"])
def test_the_projects_cards_and_models_are_known(here: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    # 15.0 GiB of weights of 20 x 0.92 GiB leave room for no 128K: 128 KiB a token, 16 GiB
    assert run(["lint", "--gpus", "1 * rtx-9090", "--", "vllm", "serve", model]) == 1
    said = capsys.readouterr().out
    assert "error[KC202]" in said and "131,072 tokens" in said
    assert "KC107" not in said and "catalog has no" not in said
    assert f"vllm serve {model} --max-model-len " in said


def test_a_script_is_read_from_its_own_folder(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("scripts/run.sh").write_text("vllm serve ../models/own -tp 3\n")
    assert run(["import", "--lint", "--gpus", "3 * rtx-9090", "scripts/run.sh"]) == 1
    assert "error[KC301]" in capsys.readouterr().out


def test_what_is_imported_names_the_config(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["--gpus", "1 * rtx-9090", "--", "vllm", "serve", "./models/own", "--max-model-len", "8192"]
    assert run(["import", "-o", "scripts/a.kcluster", *command]) == 0
    assert 'config = "../models/own/config.json"' in Path("scripts/a.kcluster").read_text()
    assert run(["lint", "scripts/a.kcluster"]) == 0
    capsys.readouterr()


def test_a_catalog_with_a_mistake_is_told_at_its_place(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("catalog/gpus.toml").write_text(CARD.replace("memory_gib = 20", 'memory_gib = "20 GB"'))
    Path("scripts/run.sh").write_text("vllm serve acme/Support-8B --max-model-len 8192\n")
    assert run(["import", "--lint", "--gpus", "1 * rtx-9090", "scripts/run.sh"]) == 1
    assert " --> catalog/gpus.toml:2:1\n" in capsys.readouterr().out


def test_a_config_that_cannot_be_used_is_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("models/own/config.json").write_text(json.dumps({"model_type": "never-heard-of"}))
    run(["lint", "--gpus", "8 * l40s", "--", "vllm", "serve", "./models/own", "-tp", "8"])
    said = capsys.readouterr().out
    assert "./models/own/config.json cannot be used" in said and "warning[KC107]" in said


def test_a_packed_checkpoint_that_nobody_knows_says_what_must_hold(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["vllm", "serve", "Qwen/Qwen3.8-Flash-Next-FP8", "-tp", "8"]
    assert run(["lint", "--gpus", "8 * l40s", "--", *command]) == 0
    said = capsys.readouterr().out
    assert "warning[KC107]" in said
    assert "note[KC306]: weights in blocks of 128 are cut by tp 8 only where every width is a multiple of 1,024" in said
