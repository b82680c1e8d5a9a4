"""The shipped constants, and the model against the project's shared logs of real starts (where they are)."""

from __future__ import annotations

import sys
from pathlib import Path

from attrs import fields

from kcluster.catalog.constants import memory_constants
from kcluster.physics.memory import MemoryConstants
from tests.support.needed import SHARED, with_shared

ROOT = Path(__file__).resolve().parents[2]
POINTS = SHARED / "vllm_startup_points.jsonl"


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


@with_shared("vllm_startup_points.jsonl")
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
    kv = found["kv"]
    assert isinstance(kv, dict) and kv["median"] < 0.03 and kv["p90"] < 0.10
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


def test_terms_that_logs_give_apart() -> None:
    """Activations of 25 starts to 0.03 GiB, but for models with a vision tower whose input images lie there too; libraries to 0.1."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.fit.terms import rows, terms
    finally:
        sys.path.remove(str(ROOT))
    found = [term for row in rows() for term in terms(row)]
    assert len(found) > 50
    errors = sorted(abs(term.error) for term in found if term.name == "activation")
    assert errors[len(errors) // 2] < 0.015 and errors[int(0.8 * len(errors))] < 0.05 and errors[-1] < 0.2
    for term in found:
        low, high = term.computed.range()
        assert low <= term.measured <= high, (term.row["model"], term.name)
        # the first of several stages holds less than the formula says
        assert abs(term.error) < (0.2 if "pp" in term.row or term.name == "activation" else 0.1)


def test_starts_that_no_sum_was_fitted_to() -> None:
    """Six starts from elsewhere (their sources are in the file), on PCIe and NVLink, by releases from 0.10 to 0.31."""
    sys.path.insert(0, str(ROOT))
    try:
        from benchmarks.fit.judge import predict
        from benchmarks.fit.points import read_starts
    finally:
        sys.path.remove(str(ROOT))
    starts = read_starts(ROOT / "benchmarks/fit/further.jsonl")
    judged = [predict(start, memory_constants()) for start in starts]
    assert len(judged) == 6
    for one in judged:
        assert one.kv_error is not None and abs(one.kv_error) < 0.05, one.start.id
        assert one.kv_inside and one.predicted == "yes", one.start.id
