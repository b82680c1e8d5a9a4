# ruff: noqa: E402 (the path is set before the package is imported)
"""Predictions against a file of measured serving points.

    python benchmarks/serving/run.py FILE [--models FILE] [--points] [--left]

FILE has one JSON object a line: model, quantization, kv_dtype, gpu, gpu_count, nodes, tp, pp, dp, ep, instances, interconnect,
engine_version, input_len, output_len, concurrency and what was measured (tpot_ms_*, itl_ms_median, per_request_tok_s, output_tok_s).
Prints errors of the time of a token and of output throughput by class of point, how often the stated ranges hold and how wide
they are, and the same errors of four simple models.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "compiler")]

from benchmarks.serving.judge import Judged, classes, judge, quantile, simple_errors, spread
from benchmarks.serving.points import read

from kcluster.catalog.constants import time_constants

ORDER: Final = (
    "all",
    "batch 1",
    "batch > 1",
    "tp 1",
    "tp over PCIe",
    "tp over NVLink/xGMI",
    "between nodes",
    "pp",
    "dense",
    "MoE",
    "engine from 0.8",
    "engine before 0.8",
)


def line(name: str, items: Sequence[Judged]) -> str:
    """One class: points, median and 90th percentile of the absolute error, median signed error, coverage, width."""
    cells = [f"{name:22}"]
    for what in ("time", "throughput"):
        own = [item for item in items if (item.time if what == "time" else item.throughput) is not None]
        found = [item.time_error if what == "time" else item.throughput_error for item in own]
        values = [value for value in found if value is not None]
        if not values:
            cells.append(f"{'—':>46}")
            continue
        sizes = [abs(value) for value in values]
        held = sum(item.holds(what) for item in own) / len(own)
        cells.append(
            f"{len(values):5}  {quantile(sizes, 0.5):6.1%} {quantile(sizes, 0.9):6.1%} {quantile(values, 0.5):+7.1%}"
            f"  {held:5.0%}  {spread(own, what):5.2f}x"
        )
    return "  | ".join(cells)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--models", type=Path, help="rows with id and config of models that the catalog lacks")
    parser.add_argument("--points", action="store_true", help="print every point")
    parser.add_argument("--left", action="store_true", help="print the rows that ask nothing, and why")
    options = parser.parse_args(arguments)
    points, left = read(options.file, options.models)
    constants = time_constants()
    judged = [judge(point, constants) for point in points]
    print(f"{len(points)} points of {len({point.thread for point in points})} threads; {len(left)} rows ask nothing")
    if options.left:
        for identifier, why in left:
            print(f"  {identifier}: {why}")
    if options.points:
        show(judged)
    head = "    n     median   90th  signed  holds  width"
    print(f"\n{'':22}  | {'time of a token':^46}  | {'output throughput':^46}")
    print(f"{'class':22}  | {head:46}  | {head}")
    for name in ORDER:
        items = [item for item in judged if name in classes(item)]
        if items:
            print(line(name, items))
    print(f"\n{'model':30}  time: median  90th   throughput: median  90th")
    own = [
        [
            abs(value)
            for value in (item.time_error if what == "time" else item.throughput_error for item in judged)
            if value is not None
        ]
        for what in ("time", "throughput")
    ]
    print(
        f"{'kcluster':30}  {quantile(own[0], 0.5):12.0%} {quantile(own[0], 0.9):5.0%}   {quantile(own[1], 0.5):18.0%} {quantile(own[1], 0.9):5.0%}"
    )
    for name, (time, throughput) in simple_errors(judged, constants).items():
        one, two = [abs(value) for value in time], [abs(value) for value in throughput]
        print(
            f"{name:30}  {quantile(one, 0.5):12.0%} {quantile(one, 0.9):5.0%}   {quantile(two, 0.5):18.0%} {quantile(two, 0.9):5.0%}"
        )
    return 0


def show(judged: Sequence[Judged]) -> None:
    """Every point: measured and predicted, and the parts of its step."""
    for item in judged:
        point = item.point
        parts = " ".join(
            f"{name} {part.value * 1e3:.1f}" for name, part in item.performance.step.parts if part.value > 5e-5
        )
        time = (
            ""
            if item.time is None
            else f"{point.time * 1e3:.1f} ms, predicted {item.time[1] * 1e3:.1f} ({item.time_error:+.0%})"
        )
        rate = (
            ""
            if item.throughput is None
            else f"{point.throughput:.0f} tok/s, predicted {item.throughput[1]:.0f} ({item.throughput_error:+.0%})"
        )
        cut = f"tp {point.cut.tp} pp {point.cut.pp} dp {point.cut.dp} x {point.cut.replicas}"
        print(
            f"{point.id} {point.row['model']} {point.fmt.name} on {point.row['gpu_count']} {point.row['gpu']}, {cut},"
            f" {point.load.concurrency} requests of {point.load.prompt} + {point.load.completion}, vLLM {point.engine.text}:"
            f" {'; '.join(text for text in (time, rate) if text)}; batch {item.performance.batch.value:.1f},"
            f" {item.performance.bound_by}; ms: {parts}"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
