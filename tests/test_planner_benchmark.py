"""The planner's benchmark: its cases plan as it prints them, and a fleet costs little more than one box."""

from __future__ import annotations

import pytest
from benchmarks.planner.__main__ import MODELS, answer, main, scale, scale_spec
from benchmarks.planner.cases import CASES
from benchmarks.planner.measure import least

CUTS = {
    "70B FP8, 4 × RTX 5090": "1 replica of tp 4",
    "405B bf16, 8 × RTX PRO 6000": None,
    "405B FP8, 2 × 4 RTX PRO 6000, 10 GbE": "1 replica of tp 4 × pp 2",
    "405B bf16, 2 × 8 H100": "1 replica of tp 8 × pp 2",
}


@pytest.mark.parametrize("name", sorted(CUTS))
def test_a_case_says_cut_reason_and_the_others_answer(name: str) -> None:
    case = next(case for case in CASES if case.name == name)
    text = "\n".join(answer(case))
    expected = CUTS[name]
    assert (f"{expected}: starts" in text) if expected else ("does not start" in text and "KC201" in text)
    assert f"aiconfigurator   {case.other}" in text
    if case.against:
        assert f"not {case.against}: the all-reduces of one token take" in text and "KC401" in text


@pytest.mark.parametrize(("name", "model", "weights"), MODELS)
def test_sixty_four_nodes_cost_little_more_than_one(name: str, model: str, weights: str) -> None:
    """Sixty-four times the cards: less than six times the cuts are judged, and memory stays below 200 MB."""
    one, many = least(scale_spec(model, weights, 1), 2), least(scale_spec(model, weights, 64), 2)
    assert (one.gpus, many.gpus) == (8, 512)
    assert many.considered < 6 * one.considered
    assert many.peak < 200e6
    assert many.fits == "yes" and many.considered > 10


def test_the_table_has_a_row_a_size() -> None:
    assert len(scale((1,), 1)) == 1 + len(MODELS)


def test_other_words_are_wrong_usage() -> None:
    assert main(["speed"]) == 2
