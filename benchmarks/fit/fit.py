"""Fit the constants of the memory model to logged starts: `python -m benchmarks.fit.fit FILE [--write]`.

The model's structure is that of the engine's own profiling run (physics/memory_terms.py). A constant starts from its mechanism
(priors.toml) and moves only where logs outweigh that; every source thread weighs the same, whatever the number of its rows, and a
residual counts linearly beyond four standard deviations. Builds before 0.11.2 used one of two samplers; which one a log
does not say, so the fit takes the nearer. First printed is what matters: the error on threads that a fit did not see.
"""

from __future__ import annotations

import argparse
import math
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_ROOT), str(_ROOT / "compiler")]

from attrs import evolve
from benchmarks.fit.judge import Judged, predict, quantile
from benchmarks.fit.points import Start, read_starts
from benchmarks.fit.run import tables

from kcluster.catalog.memory_constants import figure
from kcluster.physics.graphs import graphs, in_budget
from kcluster.physics.libraries import non_torch
from kcluster.physics.memory import unified
from kcluster.physics.memory_terms import (
    MIXED_SAMPLER_UNTIL,
    MemoryConstants,
    activation,
)
from kcluster.units import GIB, Figure

PRIORS = Path(__file__).with_name("priors.toml")
TARGET = Path(__file__).resolve().parents[2] / "compiler/kcluster/catalog/data/memory_constants.toml"
RESIDUAL = 0.005
"""The spread of what no constant explains, as a share of the card, against which priors are weighed."""
KNEE = 4.0
"""Standard deviations from where on a residual counts linearly."""
SWEEPS = 4
Values = dict[str, float]
_LOGGED: dict[str, tuple[float, float, float] | None] = {}


def priors() -> dict[str, dict[str, Any]]:
    return tomllib.loads(PRIORS.read_text(encoding="utf-8"))


def constants(
    values: Mapping[str, float], rows: Mapping[str, Mapping[str, Any]], width: float = 1.0
) -> MemoryConstants:
    """Constants with ranges as wide around their values as the priors' are, times `width`."""
    figures: dict[str, Figure] = {}
    for name, row in rows.items():
        value = values[name]
        low = value - (row["value"] - row["low"]) * width
        high = value + (row["high"] - row["value"]) * width
        if row["low"] >= 0:
            low = max(0.0, low)
        figures[name] = figure(name, {**row, "value": value, "low": low, "high": high, "source": row["mechanism"]})
    return MemoryConstants(**figures)


def logged(start: Start, found: MemoryConstants) -> tuple[float, float, float] | None:
    """Bytes of KV that a log gives, or that its capacity stands for; bytes of the share asked for; bytes of weights. None of the
    three depends on the constants that are fitted."""
    judged = predict(start, found)
    stages = judged.memory.stages
    weights = judged.memory.weights.value
    usable = judged.memory.usable.value
    if len(stages) > 1:
        return None
    if start.row.get("available_kv_gib") is not None:
        return start.row["available_kv_gib"] * GIB, usable, weights
    if judged.capacity_error is None:
        return None
    return judged.memory.kv_cache.value / (1 + judged.capacity_error), usable, weights


def residual(start: Start, found: MemoryConstants) -> float | None:
    """(computed − logged KV) as a share of the card; from the pool's capacity where the log has no bytes."""
    arch, fmt, cut, limits, card, engine = start.arch, start.fmt, start.cut, start.limits, start.card, start.engine
    assert arch is not None and fmt is not None and cut is not None
    assert limits is not None and card is not None and engine is not None
    if start.id not in _LOGGED:
        _LOGGED[start.id] = logged(start, priors_alone())
    fixed = _LOGGED[start.id]
    if fixed is None:
        return None
    measured, usable, weights = fixed
    taken = activation(arch, fmt, cut, limits, engine, found, 0).value + non_torch(cut, card, engine, found).value
    if in_budget(arch, engine):
        taken += graphs(arch, len(arch.layers), cut.tp, limits, engine, found).value
    return (usable - weights - taken - measured) / card.memory.value


def priors_alone() -> MemoryConstants:
    rows = priors()
    return constants({name: float(row["value"]) for name, row in rows.items()}, rows)


def nearest(start: Start, found: MemoryConstants) -> float | None:
    """The residual, by the nearer of the two samplers where builds differed."""
    first = residual(start, found)
    assert start.engine is not None and start.limits is not None
    if first is None or start.limits.sampler or start.engine.version >= MIXED_SAMPLER_UNTIL:
        return first
    second = residual(start, evolve(found, sampler_sorted=found.sampler_flashinfer))
    return first if second is None or abs(first) <= abs(second) else second


def doubt(start: Start, found: MemoryConstants) -> float:
    """How far off a point may be for reasons that no constant has, as a share of the card: the residual, shared memory, and
    weights that the log does not give where checkpoints of one format differ."""
    assert start.card is not None
    judged = predict(start, found)
    parts = [RESIDUAL]
    if unified(start.card):
        parts.append(found.pool_unified.range()[1] / 1.645)
    if start.row.get("model_loading_gib") is None:
        low, high = judged.memory.weights.range()
        parts.append((high - low) / 2 / 1.645 / start.card.memory.value)
    return math.hypot(*parts)


def cost(
    values: Values, starts: Sequence[Start], rows: Mapping[str, Mapping[str, Any]], doubts: Mapping[str, float]
) -> float:
    """Squared residuals by thread, growing linearly beyond the knee, and squared distance from the priors."""
    found = constants(values, rows)
    threads: dict[str, list[float]] = {}
    for start in starts:
        error = nearest(start, found)
        if error is not None:
            scaled = abs(error) / doubts[start.id]
            threads.setdefault(start.thread, []).append(scaled**2 if scaled <= KNEE else 2 * KNEE * scaled - KNEE**2)
    data = sum(sum(errors) / len(errors) for errors in threads.values())
    return data + sum(_distance(values[name], row) ** 2 for name, row in rows.items())


def _distance(value: float, row: Mapping[str, Any]) -> float:
    """How many standard deviations a value is from its prior (a range of 9 in 10 is 1.645 each way)."""
    side = row["value"] - row["low"] if value < row["value"] else row["high"] - row["value"]
    return 1.645 * (value - row["value"]) / side if side else 0.0


def _minimum(function: Callable[[float], float], low: float, high: float, steps: int = 10) -> float:
    """Golden-section search."""
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(steps):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2


def fit(starts: Sequence[Start], rows: Mapping[str, Mapping[str, Any]]) -> Values:
    """Values of all constants: coordinate by coordinate, until a sweep gains nothing."""
    values = {name: float(row["value"]) for name, row in rows.items()}
    doubts = {start.id: doubt(start, constants(values, rows)) for start in starts}
    best = cost(values, starts, rows, doubts)
    for _ in range(SWEEPS):
        before = best
        for name, row in rows.items():
            if row.get("fixed"):
                continue
            spread = row["high"] - row["low"]
            low = max(0.0, row["low"] - spread / 2)

            def at(value: float, name: str = name) -> float:
                return cost({**values, name: value}, starts, rows, doubts)

            candidate = _minimum(at, low, row["high"] + spread / 2)
            found = at(candidate)
            if found < best:
                best, values[name] = found, candidate
        if before - best < 1e-3:
            break
    return values


def width_that_holds(
    held_out: Sequence[tuple[Start, Values]], rows: Mapping[str, Mapping[str, Any]], share: float = 0.95
) -> float:
    """How wide the ranges must be, as a factor of the priors', to hold a `share` of the points of threads that were left out; not
    below 1. The share is above the 90 % that a range promises, because there are few threads."""
    width = 1.0
    while width < 3:
        inside = []
        for start, values in held_out:
            judged = predict(start, constants(values, rows, width))
            verdict = judged.kv_inside if judged.kv_inside is not None else judged.capacity_inside
            if verdict is not None:
                inside.append(verdict)
        if inside and sum(inside) / len(inside) >= share:
            return width
        width += 0.05
    return width


def usable(starts: Sequence[Start]) -> list[Start]:
    """Starts whose log gives the utilization and the version, or a build with its date."""
    return [
        start
        for start in starts
        if not start.excluded and "utilization" not in start.unstated and start.row.get("vllm_version")
    ]


def leave_one_thread_out(starts: Sequence[Start], rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[Start, Values]]:
    """Every start with constants fitted to the other threads."""
    found: list[tuple[Start, Values]] = []
    for thread in sorted({start.thread for start in starts}):
        values = fit([start for start in starts if start.thread != thread], rows)
        found += [(start, values) for start in starts if start.thread == thread]
    return found


def _write(values: Values, rows: Mapping[str, Mapping[str, Any]], width: float, used: Sequence[Start]) -> str:
    threads = sorted({start.thread for start in used})
    final = constants(values, rows, width)
    lines = [
        "# Constants of the memory model. Written by `python -m benchmarks.fit.fit FILE --write`; do not edit by hand.",
        f"# {len(used)} logged starts of {len(threads)} source threads. low and high hold the true value 9 times in 10; their",
        f"# widths are the priors' times {width:.2f}, which held 95 % of the starts of threads that the fit did not see.",
    ]
    for name, row in rows.items():
        item = getattr(final, name)
        moved = "by its mechanism" if row.get("fixed") or abs(item.value - row["value"]) < 1e-9 else "fitted"
        lines += [
            "",
            f"[{name}]",
            f"value = {_number(item.value)}",
            f"low = {_number(item.range()[0])}",
            f"high = {_number(item.range()[1])}",
            f'unit = "{row["unit"]}"',
            f'source = "{moved}: {row["mechanism"]}"',
        ]
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return f"{value:.0f}.0" if abs(value) >= 1e5 else repr(float(f"{value:.5g}"))


def _shown(name: str, value: float, row: Mapping[str, Any]) -> str:
    big = abs(row["value"]) >= 1e6
    scale, unit = (GIB, "GiB") if big else (1, "")
    return (
        f"  {name:24} {value / scale:8.3f} {unit:4} from {row['value'] / scale:8.3f}  ({_distance(value, row):+.2f} sd)"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit.fit", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON Lines of logged starts")
    parser.add_argument("--write", action="store_true", help="write the catalog's constants")
    options = parser.parse_args(arguments)
    rows = priors()
    starts = usable(read_starts(options.file))
    held_out = leave_one_thread_out(starts, rows)
    width = width_that_holds(held_out, rows)
    unseen: list[Judged] = [predict(start, constants(values, rows, width)) for start, values in held_out]
    print(f"threads that the fit did not see ({len({start.thread for start in starts})} fits), ranges × {width:.2f}:")
    print(tables(unseen))
    values = fit(starts, rows)
    errors = [abs(error) for start in starts if (error := nearest(start, constants(values, rows))) is not None]
    print(f"\nfitted to all {len(errors)}: residual of a card median {100 * quantile(errors, 0.5):.2f} %, ", end="")
    print(f"90th {100 * quantile(errors, 0.9):.2f} %")
    print("\n".join(_shown(name, values[name], row) for name, row in rows.items() if not row.get("fixed")))
    if options.write:
        TARGET.write_text(_write(values, rows, width, starts), encoding="utf-8")
        print(f"written: {TARGET.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
