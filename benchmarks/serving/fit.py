# ruff: noqa: E402 (the path is set before the package is imported)
"""Fit the time model's constants to measured points, and measure what the fit is worth on points that it has not seen.

    python benchmarks/serving/fit.py FILE [--models FILE] [--write]

Each fold leaves one source thread out (then one source), fits the rest and predicts what was left out; those errors are printed
first, and the ranges of the product come from them. With `--write` the sections [fitted] and [[residual]] of the catalog's
`time_constants.toml` are replaced by the fit on all points.

The loss is robust (the logarithm of predicted over measured, with the influence of far points bounded), each thread counts as one
however many points it has, and every constant is drawn to a prior from kernel measurements and held in bounds from physics: points are
few, and several constants trade off against each other.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "compiler")]

import tomllib

from attrs import frozen
from benchmarks.serving.judge import Judged, classes, judge, quantile
from benchmarks.serving.points import Point, read

from kcluster.catalog.time_constants import make_time_constants
from kcluster.physics.time_constants import TimeConstants

TOML: Final = Path(__file__).parents[2] / "compiler/kcluster/catalog/data/time_constants.toml"
MARK: Final = "# Fitted by benchmarks/serving/fit.py"

# Constant → (prior, width of the prior in log units, lowest, highest, why).
PRIORS: Final[dict[str, tuple[float, float, float, float, str]]] = {
    "bandwidth_16bit": (0.80, 0.12, 0.55, 0.95, "GEMM kernels reach 0.66 to 0.91 (perf.md, section 4)"),
    "bandwidth_8bit": (0.78, 0.15, 0.50, 0.95, "GEMM kernels reach 0.37 to 0.80"),
    "bandwidth_4bit": (0.75, 0.15, 0.45, 0.95, "weight-only kernels; not in the kernel data"),
    "bandwidth_fp4": (0.60, 0.25, 0.30, 0.92, "GEMM kernels reach 0.3 to 0.62"),
    "bandwidth_experts": (0.70, 0.25, 0.35, 0.92, "grouped kernels; not in the kernel data"),
    "bandwidth_kv": (0.70, 0.15, 0.45, 0.92, "decode attention reaches 0.55 to 0.90"),
    "bandwidth_amd": (0.85, 0.15, 0.45, 1.1, "MI300X against NVIDIA parts at the same share"),
    "bandwidth_amd_old": (
        0.65,
        0.20,
        0.35,
        1.0,
        "MI300X reached 0.48 of its bandwidth with a vLLM of 2024 (perf.md, section 4)",
    ),
    "compute_16bit": (0.65, 0.15, 0.35, 0.92, "GEMM kernels reach 0.48 to 0.95"),
    "compute_8bit": (0.50, 0.20, 0.25, 0.85, "GEMM kernels reach 0.28 to 0.87"),
    "compute_fp4": (0.35, 0.25, 0.15, 0.75, "GEMM kernels reach 0.22 to 0.73"),
    "compute_weight_only": (0.45, 0.25, 0.20, 0.80, "unpacking beside 16-bit arithmetic"),
    "compute_experts": (0.50, 0.35, 0.12, 1.0, "few tokens an expert"),
    "layer": (50e-6, 0.30, 15e-6, 120e-6, "10 to 12 small kernels and attention's floor of 13 to 15 us"),
    "layer_moe": (65e-6, 0.30, 20e-6, 160e-6, "routing and sorting besides"),
    "layer_block": (80e-6, 0.60, 0.5e-6, 300e-6, "block-scaled kernels look launch-bound, 60 to 300 us"),
    "step_v0": (7.0e-3, 0.30, 3e-3, 13e-3, "5 to 13 ms of bubble a step (vLLM RFC 6854)"),
    "step_v1": (2.5e-3, 0.40, 0.5e-3, 5e-3, "about 1.5 ms, judged"),
    "step_async": (1.2e-3, 0.40, 0.2e-3, 3e-3, "about 0.5 ms, judged"),
    "step_ranks": (1.0e-3, 0.60, 0.05e-3, 4e-3, "workers wait for each other once a step"),
    "sequence": (15e-6, 0.60, 1e-6, 60e-6, "3.4 ms of output processing at batch 32 in V0, much less since"),
    "allreduce_factor": (1.3, 0.15, 1.0, 2.0, "skew and launch over a micro-benchmark"),
}
# Not in the points: kept as they stand, with why.
FIXED: Final[dict[str, tuple[float, str]]] = {
    "layer_eager": (150e-6, "10 launches a layer of 15 us more without graphs; extrapolated (perf.md, section 4)"),
    "allreduce_eager": (25e-6, "20 to 45 us instead of 4 to 8 for a small all-reduce (perf.md 3.1)"),
    "request": (15e-3, "first tokens of single requests lie 5 to 35 ms above the prefill (hikari, cloudrift rows)"),
    "send": (15e-6, "NCCL send and receive between two cards of a node"),
    "send_staged": (30e-6, "14 us more without peer-to-peer (perf.md 3.2)"),
    "exchange": (40e-6, "dispatch and combine kernels in a node; assumed"),
}
STEP: Final = 0.05
HUBER: Final = 0.20
ROUNDS: Final = 8


@frozen(eq=False)
class Problem:
    """Points with the tables that do not change."""

    points: Sequence[Point]
    tables: dict[str, Any]

    def constants(self, theta: Sequence[float], rows: list[dict[str, object]] | None = None) -> TimeConstants:
        values = {name: math.exp(value) for name, value in zip(PRIORS, theta, strict=True)}
        data = {**self.tables, "fitted": {**values, **{name: value for name, (value, _) in FIXED.items()}}}
        return make_time_constants(data if rows is None else {**data, "residual": rows})


Residuals = list[list[float]]


def residuals(problem: Problem, theta: Sequence[float]) -> Residuals:
    """For each point, the logarithms of predicted over measured (time, throughput)."""
    constants = problem.constants(theta)
    found = []
    for point in problem.points:
        item = judge(point, constants)
        found.append([math.log(1 + error) for error in (item.time_error, item.throughput_error) if error is not None])
    return found


def jacobian(problem: Problem, theta: list[float], base: Residuals) -> list[list[list[float]]]:
    """d residual / d log constant, by point, residual and constant."""
    columns = []
    for index in range(len(theta)):
        moved = list(theta)
        moved[index] += STEP
        columns.append(residuals(problem, moved))
    return [
        [
            [(columns[constant][point][item] - base[point][item]) / STEP for constant in range(len(theta))]
            for item in range(len(base[point]))
        ]
        for point in range(len(base))
    ]


def solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """Gaussian elimination with pivots."""
    size = len(right)
    rows = [[*matrix[i], right[i]] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda row: abs(rows[row][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for row in range(column + 1, size):
            factor = rows[row][column] / rows[column][column]
            for at in range(column, size + 1):
                rows[row][at] -= factor * rows[column][at]
    answer = [0.0] * size
    for row in reversed(range(size)):
        known = sum(rows[row][at] * answer[at] for at in range(row + 1, size))
        answer[row] = (rows[row][size] - known) / rows[row][row]
    return answer


def weights(points: Sequence[Point]) -> list[float]:
    """Each thread counts for the square root of its points, so that no thread decides alone."""
    sizes: dict[str, int] = {}
    for point in points:
        sizes[point.thread] = sizes.get(point.thread, 0) + 1
    return [1 / math.sqrt(sizes[point.thread]) for point in points]


def move(
    theta: list[float], base: Residuals, slopes: list[list[list[float]]], keep: Sequence[int], weight: list[float]
) -> list[float]:
    """One step of iteratively reweighted least squares with priors, held in bounds."""
    size = len(theta)
    normal = [[0.0] * size for _ in range(size)]
    right = [0.0] * size
    scale = HUBER**2
    for point in keep:
        for value, slope in zip(base[point], slopes[point], strict=True):
            influence = weight[point] / max(abs(value), HUBER) * HUBER / scale
            for i in range(size):
                right[i] -= influence * slope[i] * value
                for j in range(size):
                    normal[i][j] += influence * slope[i] * slope[j]
    for i, (prior, width, *_) in enumerate(PRIORS.values()):
        normal[i][i] += 1 / width**2
        right[i] += (math.log(prior) - theta[i]) / width**2
    step = solve(normal, right)
    moved = []
    for value, change, (_, _, low, high, _) in zip(theta, step, PRIORS.values(), strict=True):
        moved.append(min(math.log(high), max(math.log(low), value + max(-0.4, min(0.4, change)))))
    return moved


def fit(problem: Problem, progress: Callable[[str], None]) -> list[float]:
    """The fit on all points."""
    theta = [math.log(prior) for prior, *_ in PRIORS.values()]
    weight = weights(problem.points)
    for number in range(ROUNDS):
        base = residuals(problem, theta)
        everything = [abs(value) for values in base for value in values]
        progress(f"round {number}: median {quantile(everything, 0.5):.3f}, 90th {quantile(everything, 0.9):.3f}")
        after = move(theta, base, jacobian(problem, theta, base), range(len(base)), weight)
        if max(abs(new - old) for new, old in zip(after, theta, strict=True)) < 0.01:
            return after
        theta = after
    return theta


def folds(problem: Problem, theta: list[float], key: Callable[[Point], str]) -> dict[str, list[float]]:
    """For each group, the fit that saw nothing of it. The slopes are those at the common fit."""
    base = residuals(problem, theta)
    slopes = jacobian(problem, theta, base)
    weight = weights(problem.points)
    found = {}
    for group in sorted({key(point) for point in problem.points}):
        keep = [index for index, point in enumerate(problem.points) if key(point) != group]
        own = theta
        for _ in range(3):
            own = move(own, residuals(problem, own), slopes, keep, weight)
        found[group] = own
    return found


def left_out(problem: Problem, fits: dict[str, list[float]], key: Callable[[Point], str]) -> list[Judged]:
    """Every point predicted by the fit that saw nothing of its group."""
    constants = {group: problem.constants(theta) for group, theta in fits.items()}
    return [judge(point, constants[key(point)]) for point in problem.points]


def source_of(point: Point) -> str:
    """A source with all its threads: a repository's folders, a site."""
    thread = point.thread
    return thread.split(":", 1)[0] if not thread.startswith("http") else "/".join(thread.split("/")[:5])


def errors(items: Sequence[Judged], what: str) -> list[float]:
    found = [item.time_error if what == "time" else item.throughput_error for item in items]
    return [value for value in found if value is not None]


TAIL: Final = 0.035
"""Of left-out points on each side that a range leaves outside."""
LEAST: Final = 12
"""Points that a class needs for a range of its own."""
FEW: Final = 6
"""Threads below which a class says how far points lie, and not on which side."""


def weighted_quantile(pairs: Sequence[tuple[float, float]], share: float) -> float:
    """The value below which `share` of the weight of (value, weight) lies, interpolated between the middles of weights."""
    ordered = sorted(pairs)
    whole = sum(weight for _, weight in ordered)
    below, before = 0.0, None
    for value, weight in ordered:
        middle = (below + weight / 2) / whole
        if middle >= share:
            if before is None:
                return value
            return before[0] + (value - before[0]) * (share - before[1]) / (middle - before[1])
        before, below = (value, middle), below + weight
    return ordered[-1][0]


def bounds(found: Sequence[tuple[float, str]]) -> tuple[float, float]:
    """(low, high) in logarithms that hold nine in ten of left-out points, from (logarithm of measured over predicted, thread).

    A thread counts for the square root of its points, as in the fit. Points of one thread err together, so that what counts as
    evidence is threads: bounds are widened by one part in their number, and a class of few threads, which may well all err to
    the side that the next does not, gets the same bound on both.
    """
    sizes: dict[str, int] = {}
    for _, thread in found:
        sizes[thread] = sizes.get(thread, 0) + 1
    wider = 1 + 1 / len(sizes)
    if len(sizes) < FEW:
        most = weighted_quantile([(abs(value), sizes[thread] ** -0.5) for value, thread in found], 1 - 2 * TAIL)
        return -most * wider, most * wider
    pairs = [(value, sizes[thread] ** -0.5) for value, thread in found]
    return weighted_quantile(pairs, TAIL) * wider, weighted_quantile(pairs, 1 - TAIL) * wider


def ranges(items: Sequence[Judged]) -> list[dict[str, object]]:
    """Ranges that hold nine of ten left-out points of a class, as factors of the prediction, for the product's classes."""
    found: list[dict[str, object]] = []
    for what in ("time", "throughput"):
        by_class: dict[str, list[tuple[float, str]]] = {}
        for item in items:
            error = item.time_error if what == "time" else item.throughput_error
            if error is not None:
                for name in (product_class(item), ""):
                    by_class.setdefault(name, []).append((-math.log(1 + error), item.point.thread))
        for name in sorted(by_class, key=lambda key: (key == "", key)):
            if name and len(by_class[name]) < LEAST:
                continue
            low, high = bounds(by_class[name])
            found.append(
                {
                    "name": f"{what}: {name}" if name else what,
                    "low": round(min(math.exp(low), 0.9), 3),
                    "high": round(max(math.exp(high), 1.1), 3),
                    "points": len(by_class[name]),
                }
            )
    found.append({"name": "all", "low": 0.6, "high": 1.6, "points": 0})
    return found


def coverage(
    problem: Problem, fits: dict[str, list[float]], items: Sequence[Judged], key: Callable[[Point], str]
) -> str:
    """How often ranges hold that have seen nothing of a point's group (thread, source), and how wide they are."""
    held: dict[str, list[bool]] = {"time": [], "throughput": []}
    widths: dict[str, list[float]] = {"time": [], "throughput": []}
    for group, theta in fits.items():
        rows = ranges([item for item in items if key(item.point) != group])
        constants = problem.constants(theta, rows)
        for point in problem.points:
            if key(point) != group:
                continue
            item = judge(point, constants)
            for what, stated in (("time", item.time), ("throughput", item.throughput)):
                if stated is not None:
                    held[what].append(item.holds(what))
                    widths[what].append(stated[2] / stated[0])
    return "; ".join(
        f"{what} {sum(held[what]) / len(held[what]):.0%} of {len(held[what])}, median high/low {quantile(widths[what], 0.5):.2f}"
        for what in held
    )


def product_class(item: Judged) -> str:
    """The class by which the product keeps residuals (`physics.engine.point_class`)."""
    from kcluster.physics.communication import links_of
    from kcluster.physics.engine import point_class

    return point_class(links_of(item.point.placement, item.point.cluster))


def summary(name: str, items: Sequence[Judged]) -> str:
    parts = []
    for what in ("time", "throughput"):
        values = [abs(value) for value in errors(items, what)]
        parts.append(
            f"{what} {len(values)} points, median {quantile(values, 0.5):.1%}, 90th {quantile(values, 0.9):.1%}"
        )
    return f"{name}: " + "; ".join(parts)


def write(theta: list[float], found: list[dict[str, object]], sources: str, text: str) -> str:
    """The catalog's file with its fitted part replaced."""
    lines = [text[: text.index(MARK)].rstrip("\n"), "", MARK + sources, "[fitted]"]
    values = {name: math.exp(value) for name, value in zip(PRIORS, theta, strict=True)}
    values |= {name: value for name, (value, _) in FIXED.items()}
    lines += [f"{name} = {float(f'{value:.3g}')!r}" for name, value in values.items()]
    lines += ["", "[fitted.source]", f'note = "fitted on measured serving{sources.replace(chr(34), "")}"']
    lines += [f'{name} = "not in the measured points: {why}"' for name, (_, why) in FIXED.items()]
    for row in found:
        lines += ["", "[[residual]]"]
        lines += [
            f'name = "{row["name"]}"',
            f"low = {row['low']}",
            f"high = {row['high']}",
            f"points = {row['points']}",
        ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--models", type=Path, help="rows with id and config of models that the catalog lacks")
    parser.add_argument("--write", action="store_true", help="replace the fitted part of the catalog's file")
    options = parser.parse_args(arguments)
    points, left = read(options.file, options.models)
    text = TOML.read_text(encoding="utf-8")
    problem = Problem(points, tomllib.loads(text))
    theta = fit(problem, lambda line: print(line, file=sys.stderr))
    threads = folds(problem, theta, lambda point: point.thread)
    sources = folds(problem, theta, source_of)
    by_thread = left_out(problem, threads, lambda point: point.thread)
    by_source = left_out(problem, sources, source_of)
    constants = problem.constants(theta)
    print(f"{len(points)} points of {len({point.thread for point in points})} threads; {len(left)} rows ask nothing")
    print(summary("left out, thread by thread", by_thread))
    print(summary("left out, source by source", by_source))
    print(f"ranges from the other threads hold: {coverage(problem, threads, by_thread, lambda point: point.thread)}")
    print(f"ranges from the other sources hold: {coverage(problem, sources, by_source, source_of)}")
    print(summary("fitted on all", [judge(point, constants) for point in points]))
    for name, value in zip(PRIORS, theta, strict=True):
        prior, _, low, high, why = PRIORS[name]
        edge = " (at its bound)" if min(abs(value - math.log(low)), abs(value - math.log(high))) < 1e-6 else ""
        print(f"  {name:20} {math.exp(value):10.3g}   prior {prior:.3g}, {low:.3g} to {high:.3g}: {why}{edge}")
    names = sorted({name for item in by_source for name in classes(item)})
    for name in names:
        print("  " + summary(f"{name:20}", [item for item in by_source if name in classes(item)]))
    if options.write:
        found = ranges(by_source)
        counted = f": {len(points)} points of {len({point.thread for point in points})} threads"
        TOML.write_text(write(theta, found, counted, text), encoding="utf-8")
        for row in found:
            print(f"  {row['name']}: {row['low']} to {row['high']} ({row['points']} points)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
