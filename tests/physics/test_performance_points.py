"""The `must` column of PHYSICS.md, section 7, for time, throughput and ranges, on measured points."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.serving.judge import Judged, judge, quantile, simple_errors, spread  # noqa: E402
from benchmarks.serving.points import read  # noqa: E402

from kcluster.catalog.constants import time_constants  # noqa: E402
from tests.support.needed import SHARED, with_shared  # noqa: E402

KEPT_BACK = ROOT / "benchmarks/serving/kept_back.jsonl"


def judged(path: Path, models: Path | None = None) -> list[Judged]:
    points, _ = read(path, models)
    return [judge(point, time_constants()) for point in points]


def errors(items: list[Judged], what: str) -> list[float]:
    found = [item.time_error if what == "time" else item.throughput_error for item in items]
    return [abs(value) for value in found if value is not None]


def must(items: list[Judged]) -> None:
    time, throughput = errors(items, "time"), errors(items, "throughput")
    assert quantile(time, 0.5) <= 0.20 and quantile(time, 0.9) <= 0.50
    assert quantile(throughput, 0.5) <= 0.25 and quantile(throughput, 0.9) <= 0.55
    for simple_time, simple_throughput in simple_errors(items, time_constants()).values():
        assert quantile(time, 0.5) < quantile([abs(value) for value in simple_time], 0.5)
        assert quantile(throughput, 0.5) < quantile([abs(value) for value in simple_throughput], 0.5)
    own = [item for item in items if item.time is not None]
    assert sum(item.holds("time") for item in own) >= 0.9 * len(own)
    assert spread(items, "time") <= 2.0


def test_points_that_no_fit_has_seen() -> None:
    items = judged(KEPT_BACK)
    assert len(items) >= 10
    must(items)


@with_shared("serving_benchmarks.jsonl")
def test_points_of_the_fit() -> None:
    items = judged(SHARED / "serving_benchmarks.jsonl", SHARED / "models.jsonl")
    assert len(items) >= 100
    must(items)
