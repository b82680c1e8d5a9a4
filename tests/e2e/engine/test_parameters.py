"""Parameters of configs against the classes of transformers: of every family, one field at a time dropped or switched. Where the
reader answers, its answer is the class's; it may refuse, by the name of a field."""

from __future__ import annotations

import copy
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kcluster.catalog.config_json import model_types, read_config
from kcluster.physics.parameters import parameters
from tests.e2e.engine.asking import engine_program

pytestmark = pytest.mark.e2e

FIELDS = (
    "size", "dim", "rank", "heads", "layers", "experts", "bias", "width", "first_k_dense", "k_eq_v", "qk_norm", "period", "offset",
    "interval", "step", "kernel", "state", "groups", "gate", "sinks", "expand",
)  # fmt: skip
"""Words in the names of fields that may decide a size."""

TABLES = ("text_config", "vision_config", "audio_config", "linear_attn_config")

BEYOND = {
    ("longcat_flash", ""): "the class of 5.19 makes room for the weights of experts that compute nothing",
    ("deepseek_v4", "mlp_bias"): "no published model has it",
    ("hy_v3", "mlp_bias"): "no published model has it",
    ("step3p7", "mlp_bias"): "no published model has it",
}
"""(model type, field, "" for all) of differences that are known, and why they stay."""


@contextmanager
def counter() -> Iterator[Any]:
    """A function that asks `counting.py`."""
    process = subprocess.Popen(
        [str(engine_program("python")), str(Path(__file__).with_name("counting.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert process.stdin is not None and process.stdout is not None

    def ask(question: Any) -> Any:
        process.stdin.write(json.dumps(question) + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return json.loads(process.stdout.readline())  # type: ignore[union-attr]

    try:
        yield ask
    finally:
        process.stdin.close()
        process.wait(timeout=60)


@pytest.fixture(scope="module")
def ask() -> Iterator[Any]:
    with counter() as asking:
        yield asking


def read(config: dict[str, Any]) -> int | None:
    """Parameters without those of multi-token prediction, which the classes leave out; None where the reader refuses."""
    architecture, problems = read_config(config)
    if architecture is None:
        assert all(problem.field for problem in problems)
        return None
    counted = parameters(architecture)
    mtp = counted.component("mtp")
    return round(counted.total.value - (mtp.value if mtp else 0))


def places(config: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, value in config.items():
        if name in TABLES and isinstance(value, dict):
            yield from places(value, (*before, name))
        elif isinstance(value, bool | int | None) and any(word in name for word in FIELDS):
            yield (*before, name), value


def changed(config: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    found = copy.deepcopy(config)
    table = found
    for name in place[:-1]:
        table = table[name]
    if value is ...:
        del table[place[-1]]
    else:
        table[place[-1]] = value
    return found


@pytest.mark.parametrize("kind", model_types())
def test_every_family_counts_what_its_class_has(ask: Any, kind: str) -> None:
    base = ask(kind)
    if base is None or (kind, "") in BEYOND:
        return
    asked = [((), base)]
    for place, value in places(base):
        if place[-1] == "num_hidden_layers" and len(place) > 1:
            continue  # dropped inside, the reader looks around it
        asked.append((place, changed(base, place, ...)))
        if isinstance(value, bool):
            asked.append((place, changed(base, place, not value)))
    compared = 0
    for place, config in asked:
        ours = read(config)
        if ours is None or (place and (kind, place[-1]) in BEYOND):
            continue
        theirs = ask(config)
        if "parameters" in theirs:
            assert ours == theirs["parameters"], (".".join(place), ours - theirs["parameters"])
            compared += 1
    assert compared or read(base) is None
