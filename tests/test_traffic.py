"""The traffic table: a row by hand, and that every row can be computed from its spec."""

from __future__ import annotations

import pytest
from benchmarks.traffic.__main__ import ROWS, Row, line, serve_of, traffic_of


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.axis}-{row.phase}-{row.spec}")
def test_every_row_is_computed_and_explained(row: Row) -> None:
    text = line(row)
    assert "GB/s" in text and row.why in text


def test_a_pipeline_boundary_by_hand() -> None:
    """Llama 405B: 16,384 wide, two bytes: 32 KiB a token over the boundary of two stages, once a step for each of the batch."""
    serve = serve_of("recipe-b")
    timed = serve.chosen.performance
    assert timed is not None and serve.chosen.cut.pp == 2
    expected = timed.batch.value * 16384 * 2 / timed.step.total.value
    assert traffic_of(serve, "pp").decode.value == pytest.approx(expected)


def test_replicas_send_each_other_nothing() -> None:
    assert traffic_of(serve_of("two-boxes"), "replicas").decode.value == 0


def test_a_tensor_parallel_group_by_hand() -> None:
    """Llama 70B, 80 layers, 8,192 wide: two all-reduces a layer of two bytes an element; each of 4 ranks sends 2 × 3 ÷ 4 of it."""
    serve = serve_of("recipe-a")
    timed = serve.chosen.performance
    assert timed is not None and serve.chosen.cut.tp == 4
    tensors = 2 * 80 * serve.load.prompt * 8192 * 2
    assert traffic_of(serve, "tp").prefill.value == pytest.approx(2 * 3 * tensors / timed.prefill.value)
