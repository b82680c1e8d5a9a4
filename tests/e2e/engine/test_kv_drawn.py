"""Drawn models and flags through the engine's own planning of the cache: the same tokens, requests and refusals."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kcluster
from kcluster.physics.cut import EngineVersion
from kcluster.physics.kv_engine import default_block_size
from kcluster.planner.types import ServePlan
from tests.e2e.engine.asking import Oracle, oracle
from tests.e2e.engine.drawing import FAMILIES, Drawn, drawn

pytestmark = pytest.mark.e2e

ROUNDS = 5
"""Drawn cases of every family."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with oracle(tmp_path_factory.mktemp("oracle")) as found:
        yield found


def outcome(engine: Oracle, case: Drawn, folder: Path) -> tuple[str, Any]:
    """What kcluster and the engine make of one case, in a word, and what tells them apart where they differ."""
    (folder / "config.json").write_text(json.dumps(case.model))
    text = case.spec(str(folder))
    errors = {
        one.code: one.message
        for one in kcluster.check(text, path="d.kcluster", folder=folder)
        if one.severity == "error"
    }
    (serve,) = kcluster.plan(text, folder=folder).serves
    memory, cluster = serve.chosen.memory, serve.serve.cluster
    if serve.serve.model.architecture.value.recurrent and _stage_without_attention(serve):
        # Such a stage's worker lays out its states alone: blocks of another size than the other stages have.
        return "a stage without attention", None
    architecture, card = serve.serve.model.architecture.value, cluster.nodes[0].cards[0]
    block = case.args.get("--block-size") or default_block_size(
        architecture, serve.chosen.limits, EngineVersion("vllm", (0, 32)), card
    )
    answer = engine.ask(case.model, *case.flags(), kv_bytes=case.kv_bytes, like_gpu=True, block_size=block)
    if not answer["accepted"] or not answer["starts"]:
        return ("refused by both", None) if errors else ("accepted by kcluster alone", answer)
    # A cache of a given size is not held against the card by this oracle.
    if set(errors) - {"KC205"} or memory is None:
        return "refused by kcluster alone", errors
    found = (int(memory.kv_tokens.value), round(memory.max_concurrency.value, 6))
    wanted = (answer["tokens"], round(answer["concurrency"], 6))
    return ("the same", None) if found == wanted else ("different", (found, wanted, memory.layout, answer))


def _stage_without_attention(serve: ServePlan) -> bool:
    memory = serve.chosen.memory
    groups = memory.layout.groups if memory is not None and memory.layout is not None else ()
    return any(
        not any(group.layers[stage] for group in groups if group.kind != "state")
        for stage in range(serve.chosen.cut.pp)
    )


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_drawn_cases_are_planned_as_the_engine_plans_them(engine: Oracle, family: Any, tmp_path: Path) -> None:
    draw = random.Random(f"{family.__name__} 20261124")
    found: Counter[str] = Counter()
    for number in range(ROUNDS):
        case = drawn(draw, family)
        folder = tmp_path / str(number)
        folder.mkdir()
        word, why = outcome(engine, case, folder)
        assert why is None, (word, why, case)
        found[word] += 1
    assert found["the same"], found
