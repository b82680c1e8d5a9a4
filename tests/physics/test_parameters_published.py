"""Parameters of every collected model against what its publisher, or the reference class, counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from benchmarks.catalog.parameters import DIFFERENCES, counts, difference

from kcluster.catalog.models import find_model, model_ids
from kcluster.physics.parameters import parameters
from tests.support.needed import SHARED, with_shared

FACTS = SHARED / "models.jsonl"


def facts() -> list[dict[str, Any]]:
    if not FACTS.exists():
        return []
    return [json.loads(line) for line in FACTS.read_text(encoding="utf-8").splitlines() if line.strip()]


def components(model: str) -> dict[str, int]:
    match = find_model(model)
    assert match is not None and match.id == model
    return counts(match)


def test_every_stated_total_is_reached_or_its_difference_has_a_name() -> None:
    compared = {}
    for model in model_ids():
        match = find_model(model)
        assert match is not None
        if "published_parameters" in match.row:
            off, name, named = difference(match.row, counts(match))
            assert off == named, (model, name)
            compared[model] = off
    assert len(compared) >= 122
    assert sorted(model for model, off in compared.items() if off) == sorted(DIFFERENCES)


@with_shared("models.jsonl")
@pytest.mark.parametrize("row", facts(), ids=lambda row: row["id"])
def test_rows_have_the_collected_totals_and_the_counts_of_reference_classes(row: dict[str, Any]) -> None:
    if row["id"] == "moonshotai/Kimi-K3":
        assert find_model(row["id"]) is None, "the collected config lacks what decides its size: refused, not guessed"
        return
    has = components(row["id"])
    match = find_model(row["id"])
    assert match is not None
    assert match.row.get("published_parameters") == row["published_total_params"]
    reference = row["reference_params_transformers"]
    if reference is not None:
        whole = has["language_model"] + has.get("vision", 0)
        # the reference of Step 3.7 was built with the class's own vocabulary of 128,815 rows
        rows = 2 * 4096 * (128_896 - 128_815) if row["id"] == "stepfun-ai/Step-3.7-Flash" else 0
        assert whole - reference == rows


@with_shared("models.jsonl")
def test_active_parameters_are_near_the_stated_ones() -> None:
    off = {}
    for row in facts():
        match = find_model(row["id"])
        if match is not None and row["published_active_params"]:
            active = parameters(match.architecture).active.value
            off[row["id"]] = active / row["published_active_params"] - 1
    # nominal figures are rounded to a billion and count embeddings or not: half of them within 5 %, none beyond a fifth
    sizes = sorted(abs(value) for value in off.values())
    assert len(sizes) >= 30
    assert sizes[len(sizes) // 2] < 0.05
    assert all(abs(value) < 0.2 for value in off.values()), {
        key: value for key, value in off.items() if abs(value) >= 0.2
    }


@with_shared("models.jsonl")
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
