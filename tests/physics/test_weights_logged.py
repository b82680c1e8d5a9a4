"""Weights per GPU against what the engine itself logged when it had loaded them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from tests.support.needed import SHARED, with_shared

ROOT = Path(__file__).parents[2]
POINTS = SHARED / "vllm_startup_points.jsonl"
TABLE = ROOT / "benchmarks" / "catalog" / "weights_against_logs.py"


@pytest.fixture(scope="module")
def table() -> dict[str, Any]:
    return runpy.run_path(str(TABLE))


@with_shared("vllm_startup_points.jsonl")
def test_median_within_1_and_90th_percentile_within_3_per_cent(table: dict[str, Any]) -> None:
    found = table["rows"](POINTS)
    median, ninth = table["quantiles"](found)
    assert len([row for row in found if not row.outlier]) >= 15
    assert median < 0.01 and ninth < 0.03
    # outliers are few, and each has a reason
    assert len({row.outlier for row in found if row.outlier}) <= 5


@with_shared("vllm_startup_points.jsonl")
def test_plain_checkpoints_are_within_about_one_per_cent(table: dict[str, Any]) -> None:
    plain = [row for row in table["rows"](POINTS) if row.form in ("bf16", "fp8-block", "mxfp4") and not row.outlier]
    assert len(plain) >= 10
    assert all(abs(row.error) < 0.012 for row in plain), [(row.id, row.error) for row in plain]
