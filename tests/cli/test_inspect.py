"""What `inspect` says of a model: every figure by hand, in words that say what it counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kcluster.catalog.models import find_model, model_ids
from kcluster.cli.main import run
from kcluster.cli.model_layers import layers_in_words


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["inspect", *arguments]) == 0
    return capsys.readouterr().out


def test_a_model_with_windows_and_a_tower(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "model", "google/gemma-3-27b-it")
    assert "  52 × 32 heads, 16 KV heads of 128, window of 1,024 tokens; MLP of 21,504\n" in text
    assert "  10 × 32 heads, 16 KV heads of 128; MLP of 21,504\n" in text
    assert "(of it the vision tower: 423,060,336)" in text
    assert "stated by its publisher: 27,432,406,640 (language model + vision tower/projector)" in text
    # 10 full layers × 16 heads × 2 × 128 values of 2 bytes
    assert f"  bf16       {10 * 16 * 2 * 128 * 2:>19,} bytes" in text
    # 52 layers in 6 groups of 10 (8 of them padding) hold 1,023 + 2 × 2,048 tokens each: ceil(5,119 / 16) + 1 blocks
    assert f"  bf16       {6 * 321 * 16 * 81_920:>19,} bytes   2.4 GiB" in text


def test_a_checkpoint_s_own_format_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    known = json.loads(shown(capsys, "model", "deepseek-ai/DeepSeek-V4-Flash", "--format", "json"))
    assert known["weights"] == "fp8-fp4-experts"
    assert [kind["count"] for kind in known["layer_kinds"]] == [2, 21, 20]
    assert known["kv_bytes_per_token"] == {
        "bf16": 3915,
        "fp8": 3915,
    }  # 1,002,240 B for 256 tokens, packed whatever is asked for
    text = shown(capsys, "model", "deepseek-ai/DeepSeek-V4-Flash")
    assert (
        text.index("fp8-fp4-experts")
        < text.index("GiB   as published")
        < text.index("  bf16   ", text.index("weights by"))
    )


def test_a_config_file_says_its_own_format(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
        "vocab_size": 100, "torch_dtype": "float16",
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    assert json.loads(shown(capsys, "model", str(path), "--format", "json"))["weights"] == "fp16"
    path.write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq", "bits": 4}}), encoding="utf-8")
    known = json.loads(shown(capsys, "model", str(path), "--format", "json"))
    assert known["weights"] == "awq-int4" and known["published"] == {}


def test_every_model_s_layers_have_words() -> None:
    for model in model_ids():
        match = find_model(model)
        assert match is not None
        words = layers_in_words(match.architecture)
        assert sum(count for count, _ in words) == len(match.architecture.layers)
        assert all(text and len(text) < 160 for _, text in words), model


def test_a_card_s_rows(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "gpu", "h800")
    assert "id                        h800-sxm\n" in text and "memory visible range gib  78.9 to 79.3\n" in text
    assert "tflops                    fp16 989.5, bf16 989.5, fp8 1979, int8 1979\n" in text
    assert "peer to peer              yes\n" in text
