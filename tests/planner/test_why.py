"""Every figure of a memory plan adds up: each formula, over the inputs that are shown with it, gives the value that is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from kcluster.physics.results import Memory
from kcluster.units import Figure, evaluator
from tests.planner.planner_cases import planned

SPEC = """
model m {{ id = "{id}", {weights} }}
hardware h {{ gpus = {cards} }}
sla s {{ concurrency = 8, context = 16K, prompt = 2K, completion = 512 }}
serve chat {{
  model = m, hardware = h, sla = s
  parallel {{ {cut} }}
  engine vllm {{ version = "{version}", {engine} }}
}}
"""
FUNCTIONS = {"max", "min", "ceil", "floor", "round", "log2", "sqrt"}


def figures(figure: Figure) -> Iterator[Figure]:
    yield figure
    for _, value in figure.inputs:
        if isinstance(value, Figure):
            yield from figures(value)


def shown(memory: Memory) -> Iterator[Figure]:
    for name in ("usable", "weights", "activation", "non_torch", "cuda_graph", "kv_cache", "kv_bytes_per_token"):
        yield from figures(getattr(memory, name))
    for name in ("kv_fixed_bytes_per_sequence", "kv_tokens", "max_concurrency", "kv_for_one"):
        yield from figures(getattr(memory, name))


@pytest.mark.parametrize(
    ("id", "weights", "cards", "cut", "version", "engine"),
    [
        ("meta-llama/Llama-3.3-70B-Instruct", "weights = fp8", "4 * l40s", "tp = 2, pp = 2", "0.33", ""),
        ("openai/gpt-oss-120b", "", "2 * h100", "tp = 2", "0.32", ""),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", "weights = bf16", "4 * h100", "tp = 4", "0.33", "prefix_caching = on"),
        ("deepseek-ai/DeepSeek-V3.2-Exp", "weights = fp8", "8 * h200", "tp = 8", "0.33", "kv_cache = fp8"),
        ("google/gemma-3-27b-it", "weights = bf16", "1 * h100", "tp = 1", "0.19", ""),
        ("deepseek-ai/DeepSeek-V4-Flash", "", "8 * h200", "tp = 8", "0.33", ""),
        ("nvidia/Nemotron-H-8B-Base-8K", "weights = bf16", "1 * h100", "tp = 1", "0.27", "prefix_caching = on"),
    ],
)
def test_a_derivation_adds_up(id: str, weights: str, cards: str, cut: str, version: str, engine: str) -> None:
    spec = SPEC.format(id=id, weights=weights, cards=cards, cut=cut, version=version, engine=engine)
    memory = planned(spec).serves[0].chosen.memory
    assert memory is not None
    checked = 0
    for figure in shown(memory):
        if not figure.formula:
            assert not figure.inputs, figure
            continue
        inputs = {name: value.value if isinstance(value, Figure) else value for name, value in figure.inputs}
        named = set(re.findall(r"[A-Za-z_]\w*", figure.formula)) - FUNCTIONS
        assert named == set(inputs), figure
        if figure.name != "kv.blocks":  # the least of all stages
            assert evaluator(figure.formula)(**inputs) == pytest.approx(figure.value, rel=1e-12), figure
        checked += 1
    assert checked > 20
