"""Parameters of every collected model against what its publisher, or the reference class, counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kcluster.catalog.models import find_model
from kcluster.physics.parameters import parameters

FACTS = Path(__file__).parents[3] / "shared" / "data" / "models.jsonl"

# Published totals that count something else than their note says: what they count, in parameters, beside the named sum.
DIFFERING = {
    "LGAI-EXAONE/K-EXAONE-236B-A23B": "the dense MTP layer",
    "XiaomiMiMo/MiMo-7B-Base": "the MTP layer",
    "baidu/ERNIE-4.5-300B-A47B-Paddle": "the dense MTP layer",
    "moonshotai/Kimi-K2-Instruct": "3,416 scales of kv_a projections (56 in each of 61 layers) above the block arithmetic",
    "moonshotai/Kimi-K2.5": "scales of INT4 groups of 32, and 16 elements of shape for each of 69,120 expert matrices",
    "moonshotai/Kimi-K2.6": "as Kimi-K2.5",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16": "not the 23 × 128 router corrections",
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16": "the MTP layers, but not the 41 × 512 router corrections",
    "XiaomiMiMo/MiMo-V2-Flash": "three MTP layers and the scales of FP8 blocks",
}


def facts() -> list[dict[str, Any]]:
    if not FACTS.exists():
        return []
    return [json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines() if line.strip()]


def components(model: str) -> dict[str, int]:
    match = find_model(model)
    assert match is not None and match.id == model
    found = {name: int(figure.value) for name, figure in parameters(match.architecture).components}
    found["head"] = match.architecture.vocab * match.architecture.hidden
    return found


def named_sum(covers: str, has: dict[str, int]) -> int:
    """The sum that a note names."""
    main = has["language_model"]
    vision, mtp = has.get("vision", 0), has.get("mtp", 0)
    sums = {
        "language model only": main,
        "language model + vision tower/projector": main + vision,
        "main (+vision) + MTP layer(s)": main + vision + mtp,
        "language model + a stored copy of the tied output head": main + has["head"],
        "everything transformers instantiates + a stored copy of the tied output head": main + vision + has["head"],
        "everything transformers instantiates (incl. vision/audio)": main + vision,
        "language model + the fp32 block scales of the FP8 checkpoint": main + has["block_scales"],
        "main (+vision) + MTP layer(s) + the copy of embeddings and head stored with the MTP layer": main
        + vision
        + mtp
        + has.get("stored_mtp_embedding", 0),
        "main + MTP layer + the copy of embeddings and head stored with it + the fp32 block scales of the FP8 checkpoint": main
        + mtp
        + has.get("stored_mtp_embedding", 0)
        + has["block_scales"],
    }
    return sums[covers]


def expected_difference(model: str, has: dict[str, int]) -> int | None:
    """Published minus named sum where the published total counts something else, by the tensors that it counts."""
    match model:
        case "LGAI-EXAONE/K-EXAONE-236B-A23B" | "XiaomiMiMo/MiMo-7B-Base" | "baidu/ERNIE-4.5-300B-A47B-Paddle":
            return has["mtp"]
        case "moonshotai/Kimi-K2-Instruct":
            return 61 * 56
        case "moonshotai/Kimi-K2.5" | "moonshotai/Kimi-K2.6":
            matrices = 60 * 384 * 3
            return matrices * 7168 * 2048 // 32 + 16 * matrices
        case "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16":
            return -23 * 128
        case "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16":
            return has["mtp"] - 41 * 512
    return None


@pytest.mark.skipif(not FACTS.exists(), reason="the collected facts are not here")
@pytest.mark.parametrize("row", facts(), ids=lambda row: row["id"])
def test_against_the_published_total_and_the_reference(row: dict[str, Any]) -> None:
    if row["id"] == "moonshotai/Kimi-K3":
        assert find_model(row["id"]) is None, "the collected config lacks what decides its size: refused, not guessed"
        return
    has = components(row["id"])
    published = row["published_total_params"]
    if published is not None and row["id"] != "XiaomiMiMo/MiMo-V2-Flash":
        difference = published - named_sum(row["published_total_covers"], has)
        assert difference == (expected_difference(row["id"], has) or 0), DIFFERING.get(row["id"], "")
    reference = row["reference_params_transformers"]
    if reference is not None:
        whole = has["language_model"] + has.get("vision", 0)
        # the reference of Step 3.7 was built with the class's own vocabulary of 128,815 rows
        rows = 2 * 4096 * (128_896 - 128_815) if row["id"] == "stepfun-ai/Step-3.7-Flash" else 0
        assert whole - reference == rows


@pytest.mark.skipif(not FACTS.exists(), reason="the collected facts are not here")
def test_mimo_v2_flash_counts_mtp_layers_and_scales_too() -> None:
    has = components("XiaomiMiMo/MiMo-V2-Flash")
    published = next(row for row in facts() if row["id"] == "XiaomiMiMo/MiMo-V2-Flash")["published_total_params"]
    # a dense MTP layer: sliding attention 4096 × (64 × 192 + 8 × 192 + 8 × 128 + 64 × 128) and 64 sinks,
    # mlp 3 × 4096 × 16384, projection 2 × 4096², five norms; three of them
    mtp = 3 * (4096 * (12_288 + 1_536 + 1_024 + 8_192) + 64 + 3 * 4096 * 16_384 + 2 * 4096**2 + 5 * 4096)
    rest = published - has["language_model"] - mtp
    # what is left are scales; the output projections have none (32 × 64 blocks in each of 48 layers)
    assert rest == pytest.approx(has["block_scales"] - 48 * 32 * 64, rel=0.005)


@pytest.mark.skipif(not FACTS.exists(), reason="the collected facts are not here")
def test_active_parameters_are_near_the_stated_ones() -> None:
    off = {}
    for row in facts():
        match = find_model(row["id"])
        if match is not None and row["published_active_params"]:
            active = parameters(match.architecture).active.value
            off[row["id"]] = active / row["published_active_params"] - 1
    # nominal figures are rounded to a billion and count embeddings or not: half of them within 3 %, none beyond a fifth
    sizes = sorted(abs(value) for value in off.values())
    assert len(sizes) >= 30
    assert sizes[len(sizes) // 2] < 0.05
    assert all(abs(value) < 0.25 for value in off.values()), {
        key: value for key, value in off.items() if abs(value) >= 0.25
    }


@pytest.mark.skipif(not FACTS.exists(), reason="the collected facts are not here")
def test_block_scales_of_fp8_checkpoints() -> None:
    """Element counts of block FP8 checkpoints are those of the model, a stored head where they hold one, and our scales."""
    checked = 0
    for row in facts():
        match = find_model(row["id"])
        for item in row["checkpoints"]:
            if match is None or not item.get("published_total_elements") or item.get("quant") != "FP8":
                continue
            if not item["id"].startswith(("Qwen/", "zai-org/")):
                continue
            has = components(row["id"])
            whole = has["language_model"] + has.get("vision", 0) + has.get("mtp", 0)
            left = item["published_total_elements"] - whole - has["block_scales"]
            assert left in (0, has["head"]), item["id"]
            checked += 1
    assert checked >= 18
