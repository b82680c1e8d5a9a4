"""The arithmetic behind figures."""

from __future__ import annotations

import json
import re
from importlib.resources import files

import pytest

from kcluster.planner.types import Plan
from kcluster.render.why import UnknownFigure, figures_of, why
from kcluster.units import Figure
from tests.planner.planner_cases import LLAMA_70B, planned

SPEC = f"""
model m {{ id = "{LLAMA_70B}", weights = fp8 }}
hardware h {{ gpus = 4 * rtx-5090 }}
sla s {{ concurrency = 12, context = 8K, prompt = 2K, completion = 500 }}
serve x {{ parallel {{ tp = 4 }} }}
"""


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(SPEC)


def test_the_formula_with_names_and_with_values(plan: Plan) -> None:
    lines = why(plan, "memory.kv_cache_gib").splitlines()
    assert plan.serves[0].chosen.memory
    assert lines[0].startswith("memory.kv_cache_gib = ")
    assert "expected between" in lines[0]
    assert lines[1] == "  = usable − weights − activation − non_torch − cuda_graph"
    assert lines[2].startswith("  = 28.9 GiB − ")
    assert any(line.strip().startswith("total = 31.4 GiB") and "[" in line for line in lines)  # with its source


def test_each_printed_formula_gives_the_printed_value(plan: Plan) -> None:
    """The text is what was computed: evaluating it over its own inputs gives the value again."""
    from kcluster.units import _FUNCTIONS

    checked: set[str] = set()

    def check(figure: Figure) -> None:
        values = {key: part.value for key, part in figure.inputs}
        names = set(re.findall(r"[A-Za-z_]\w*", figure.formula)) - set(_FUNCTIONS)
        if figure.formula and names <= set(values):
            assert eval(figure.formula, dict(_FUNCTIONS), values) == pytest.approx(figure.value)
            checked.add(figure.name)
        for _, part in figure.inputs:
            check(part)

    for figure in figures_of(plan.serves[0].chosen).values():
        check(figure)
    assert checked >= {"memory.usable", "memory.kv_cache", "performance.itl", "performance.throughput"}
    assert len(checked) > 30


def test_a_name_without_its_unit_and_a_group(plan: Plan) -> None:
    assert why(plan, "memory.weights") == why(plan, "memory.weights_gib")
    group = why(plan, "communication")
    assert "communication.allreduce_bytes_per_step = " in group
    assert "communication.pipeline_bytes_per_step = " in group
    assert "memory." not in group


def test_every_figure_of_the_json_has_an_explanation(plan: Plan) -> None:
    schema = json.loads((files("kcluster") / "schemas" / "plan.schema.json").read_text("utf-8"))["$defs"]
    figures = figures_of(plan.serves[0].chosen)
    for group in ("memory", "communication", "performance"):
        for key in schema[group]["properties"]:
            if key not in ("range", "stages", "bound_by"):
                assert f"{group}.{key}" in figures


def test_what_is_above_is_not_repeated(plan: Plan) -> None:
    text = why(plan, "performance")
    assert "above)" in text
    assert text.count("max(reading, arithmetic)") <= 4


def test_an_unknown_name_lists_what_there_is(plan: Plan) -> None:
    with pytest.raises(UnknownFigure, match=r"did you mean memory\.weights_gib"):
        why(plan, "memory.wieghts_gib")
    with pytest.raises(UnknownFigure, match="no figure"):
        why(plan, "")


def test_several_serves_are_told_apart() -> None:
    two = planned(
        SPEC.replace("serve x { parallel { tp = 4 } }", "")
        + "serve a { model = m, hardware = h, sla = s, gpus = [0, 1] }\n"
        + "serve b { model = m, hardware = h, sla = s, gpus = [2, 3] }\n"
    )
    text = why(two, "memory.weights_gib")
    assert text.startswith("a\nmemory.weights_gib") and "\n\nb\nmemory.weights_gib" in text
