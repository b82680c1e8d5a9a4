"""The shipped constants, and the model against the project's shared logs of real starts (where they are)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from attrs import fields

from kcluster.catalog.constants import memory_constants
from kcluster.physics.memory import MemoryConstants

ROOT = Path(__file__).resolve().parents[2]
POINTS = ROOT.parent / "shared" / "data" / "vllm_startup_points.jsonl"


def test_constants_have_ranges_and_provenance() -> None:
    found = memory_constants()
    for field in fields(MemoryConstants):
        figure = getattr(found, field.name)
        low, high = figure.range()
        assert low <= figure.value <= high, field.name
        assert low < high, field.name
        assert figure.source.startswith(("fitted: ", "by its mechanism: ")), field.name
    # a sampler that sorts takes more than one that does not
    assert found.sampler_sorted.value > found.sampler_fused.value > found.sampler_flashinfer.value


@pytest.mark.skipif(not POINTS.exists(), reason="the shared logs are not part of this repository")
def test_shared_logs_stay_within_the_targets() -> None:
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.fit.judge import predict, quantile
        from benchmarks.fit.points import read_starts
        from benchmarks.fit.run import summary, tables
    finally:
        sys.path.remove(str(ROOT))
    starts = read_starts(POINTS)
    judged = [predict(start, memory_constants()) for start in starts if not start.excluded]
    assert len(judged) >= 30
    assert all(start.excluded or start.arch is not None for start in starts)
    found = summary(judged)
    weights, layout = found["weights"], found["layout"]
    assert isinstance(weights, dict) and isinstance(layout, dict)
    assert weights["median"] < 0.01 and weights["p90"] < 0.03
    # how the cache is laid out is exact: what is left is the log's own rounding, or drafts it does not count
    assert layout["median"] < 0.001
    share = found["kv_share_of_card"]
    assert isinstance(share, dict) and share["p90"] < 0.03
    assert found["refusals_missed"] == []
    assert found["false_refusals"] == []
    held = found["kv_range_holds"]
    assert isinstance(held, float) and held >= 0.9
    spread = found["kv_range_median"]
    assert isinstance(spread, float) and spread <= 1.25
    assert "weights per GPU" in tables(judged)
    # the 90th percentile is a value that at most one in ten exceeds
    assert quantile([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0], 0.9) == 9.0
