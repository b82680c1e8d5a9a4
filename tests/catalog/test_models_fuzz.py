"""Configs that nobody would write: whatever they hold, an answer comes back and never an exception.

`KCLUSTER_FUZZ=10000` runs more of them.
"""

from __future__ import annotations

import copy
import json
import math
import os
import random
from typing import Any

import pytest

from kcluster.catalog.config_json import model_types, read_config
from kcluster.catalog.formats import WEIGHT_FORMATS, format_of_checkpoint
from kcluster.catalog.models import find_model, model_ids, read_row
from kcluster.physics.cut import Cut
from kcluster.physics.parameters import parameters
from kcluster.physics.weights import stage_weights, weight_bytes
from tests.catalog.test_models_families import CONFIGS, PUBLISHED

MODEL_TYPES = model_types()
CASES = int(os.environ.get("KCLUSTER_FUZZ", "1500"))

HOSTILE: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 3, 7, 13, 64, 128, 4096, 2**31, 2**63, 10**400, -(10**400), 0.0, 0.5, 1e308, math.inf, -math.inf,
    math.nan, "", "auto", "x", "4096", "\x00\x1b[0m", "ä" * 50, "M-M*E", [], [1], [0, 1, 0, 1], ["full_attention"] * 4,
    ["sliding_attention", 5], [[]], [None], [[1, 2], [3, 4]], {}, {"rle": []}, {"rle": [["x", 3]]}, {"rle": [[0, 2], [1, 10**9]]},
    {"rle": [[1]]}, {"rle": {}}, {"a": {"b": {"c": 1}}}, {"rope_type": "linear", "factor": 1e300}, {"hidden_size": 64},
)  # fmt: skip


def rows() -> list[dict[str, Any]]:
    """Real configs to start from: those of the catalog's rows, and of families that have none."""
    found = []
    for model in model_ids():
        match = find_model(model)
        assert match is not None
        found.append(json.loads(json.dumps(read_row(match.row))))
    found += [{"model_type": kind, **config} for kind, config, _ in (*CONFIGS, *PUBLISHED)]
    return found


ROWS = rows()


def tables(config: dict[str, Any]) -> list[dict[str, Any]]:
    """A config and every table inside it."""
    found = [config]
    for value in config.values():
        found += tables(value) if isinstance(value, dict) else []
    return found


def mutated(base: dict[str, Any], chance: random.Random) -> dict[str, Any]:
    """A config with a few fields, at any depth, dropped, replaced by anything, or taken from another family."""
    config: dict[str, Any] = copy.deepcopy(base)
    for _ in range(chance.choice((1, 1, 2, 4))):
        table = chance.choice(tables(config))
        if not table:
            continue
        name = chance.choice(sorted(table))
        if chance.random() < 0.25:
            table.pop(name)
        elif chance.random() < 0.1 and isinstance(table[name], list):
            table[name] = [*table[name], copy.deepcopy(chance.choice(HOSTILE))]
        else:
            table[name] = copy.deepcopy(chance.choice(HOSTILE))
    if chance.random() < 0.2:
        config["model_type"] = chance.choice(MODEL_TYPES)
    if chance.random() < 0.15:
        kind = config.get("model_type")
        config = {"model_type": kind, "text_config": config, "vision_config": chance.choice(HOSTILE)}
    return config


def test_mutated_configs_never_raise() -> None:
    chance = random.Random(20261124)
    accepted = 0
    for _ in range(CASES):
        config = mutated(chance.choice(ROWS), chance)
        architecture, problems = read_config(config)
        if architecture is None:
            assert problems
            for problem in problems:
                assert problem.field and problem.message and len(problem.message) < 200
                assert problem.message.isprintable()
            continue
        assert not problems
        accepted += 1
        total = parameters(architecture).total.value
        assert math.isfinite(total) and total > 0
        form = WEIGHT_FORMATS[chance.choice(sorted(WEIGHT_FORMATS))]
        assert weight_bytes(architecture, form).value > 0
        cut = Cut(
            tp=chance.choice((1, 2, 3, 8)),
            pp=chance.choice((1, 2, 5)),
            dp=chance.choice((1, 2)),
            ep=chance.random() < 0.5,
        )
        for stage in range(cut.pp):
            assert stage_weights(architecture, form, cut, stage).value >= 0
    assert accepted > CASES / 20, "mutations that break every config test little"


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_family_refuses_an_empty_config_by_name(model_type: str) -> None:
    architecture, problems = read_config({"model_type": model_type})
    assert architecture is None
    assert all(problem.field for problem in problems)
    assert any("is missing" in problem.message for problem in problems)


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_every_family_bears_the_same_nonsense_in_all_fields(model_type: str) -> None:
    names = sorted({name for row in ROWS for name in row} - {"model_type"})
    for value in HOSTILE:
        architecture, problems = read_config({**dict.fromkeys(names, value), "model_type": model_type})
        assert (architecture is None) == bool(problems)


def test_quantization_configs_never_raise() -> None:
    chance = random.Random(7)
    words = (
        "quant_method",
        "config_groups",
        "weights",
        "num_bits",
        "type",
        "group_size",
        "ignore",
        "quant_algo",
        "bits",
        "group_0",
    )
    methods = ("fp8", "awq", "gptq", "compressed-tensors", "modelopt", "quark", "bitsandbytes", "mxfp4", "x")

    def anything(depth: int) -> Any:
        if depth and chance.random() < 0.5:
            return {chance.choice(words): anything(depth - 1) for _ in range(3)}
        return chance.choice((*HOSTILE, *methods))

    for _ in range(CASES):
        config = {chance.choice(words): anything(3) for _ in range(4)}
        config["quant_method"] = chance.choice((*methods, *HOSTILE))
        name = format_of_checkpoint(config, "a/b")
        assert name is None or name in WEIGHT_FORMATS


def test_ids_never_raise() -> None:
    chance = random.Random(11)
    for _ in range(CASES // 10):
        text = "".join(chance.choice("aB3-_./ \x00é") for _ in range(chance.randint(0, 60)))
        assert find_model(text) is None or "/" in text
