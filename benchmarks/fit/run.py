"""Judge the memory model against logged starts: `python -m benchmarks.fit FILE` (or `python benchmarks/fit/run.py FILE`).

Prints one line a start and the tables of weights, KV, capacity, layout, and starts or refusals.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

if __name__ == "__main__":
    _ROOT = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_ROOT), str(_ROOT / "compiler")]

from benchmarks.fit.judge import Judged, predict, quantile
from benchmarks.fit.points import Start, read_starts

from kcluster.catalog.memory_constants import memory_constants
from kcluster.units import GIB


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:+.1f}%"


def line(judged: Judged) -> str:
    """One start: its prediction beside what the log says."""
    row, found = judged.start.row, judged.memory
    low, high = found.kv_cache.range()
    kv = row.get("available_kv_gib")
    cells = [
        f"{judged.start.id[:38]:38}",
        f"{judged.start.engine.text if judged.start.engine else '':9}",
        f"{found.weights.value / GIB:7.2f} {_percent(judged.weights_error):>7}",
        f"{found.kv_cache.value / GIB:7.2f} [{low / GIB:6.2f} {high / GIB:6.2f}]",
        f"{'' if kv is None else f'{kv:.2f}':>7} {_percent(judged.kv_error):>7}",
        f"{_percent(judged.capacity_error):>7}",
        f"{_percent(judged.layout_error):>7}",
        f"{'refused' if judged.start.refused else 'started':8}{judged.predicted:9}",
        judged.start.unstated and f"unstated: {judged.start.unstated}",
        judged.because,
        *judged.start.notes,
    ]
    return "  ".join(cell for cell in cells if cell.strip())


def _table(name: str, judged: Sequence[Judged], error: Callable[[Judged], float | None]) -> str:
    errors = [abs(value) for item in judged if (value := error(item)) is not None]
    if not errors:
        return f"{name:48} no points"
    signed = [value for item in judged if (value := error(item)) is not None]
    middle = quantile(signed, 0.5)
    return (
        f"{name:48} n={len(errors):3}  median {100 * quantile(errors, 0.5):5.2f} %  90th {100 * quantile(errors, 0.9):6.2f} %"
        f"  worst {100 * max(errors):6.1f} %  middle {100 * middle:+.2f} %"
    )


def _threads(name: str, judged: Sequence[Judged], error: Callable[[Judged], float | None]) -> str:
    """The median thread's median: one source with many rows counts once."""
    by_thread: dict[str, list[float]] = {}
    for item in judged:
        value = error(item)
        if value is not None:
            by_thread.setdefault(item.start.thread, []).append(abs(value))
    medians = [quantile(values, 0.5) for values in by_thread.values()]
    if not medians:
        return f"{name:48} no points"
    return f"{name:48} n={len(medians):3}  median {100 * quantile(medians, 0.5):5.2f} %  90th {100 * quantile(medians, 0.9):6.2f} %"


def summary(judged: Sequence[Judged]) -> dict[str, object]:
    """The figures of the tables as data."""
    stated = [item for item in judged if item.start.stated]

    def errors(items: Sequence[Judged], error: Callable[[Judged], float | None]) -> dict[str, float | int]:
        values = [abs(value) for item in items if (value := error(item)) is not None]
        return {"n": len(values), "median": quantile(values, 0.5), "p90": quantile(values, 0.9)}

    asked = [item for item in judged if "utilization" not in item.start.unstated]
    refused = [item for item in asked if item.start.refused]
    started = [item for item in asked if not item.start.refused]
    inside = [item.kv_inside for item in stated if item.kv_inside is not None]
    held = [item.capacity_inside for item in stated if item.capacity_inside is not None]
    spreads = [item.kv_spread for item in stated if item.kv_spread is not None and item.kv_inside is not None]
    return {
        "weights": errors(judged, lambda item: item.weights_error),
        "kv": errors(stated, lambda item: item.kv_error),
        "kv_share_of_card": errors(stated, lambda item: item.kv_share_error),
        "capacity": errors(stated, lambda item: item.capacity_error),
        "layout": errors(judged, lambda item: item.layout_error),
        "kv_range_holds": sum(inside) / len(inside) if inside else None,
        "capacity_range_holds": sum(held) / len(held) if held else None,
        "kv_range_median": quantile(spreads, 0.5) if spreads else None,
        "refusals": len(refused),
        "refusals_missed": [item.start.id for item in refused if item.predicted == "yes"],
        "refusals_uncertain": [item.start.id for item in refused if item.predicted == "uncertain"],
        "starts": len(started),
        "false_refusals": [item.start.id for item in started if item.predicted == "no"],
        "starts_uncertain": [item.start.id for item in started if item.predicted == "uncertain"],
    }


def tables(judged: Sequence[Judged]) -> str:
    """The tables as text."""
    stated = [item for item in judged if item.start.stated]
    found = summary(judged)
    lines = [
        _table("weights per GPU", judged, lambda item: item.weights_error),
        _table("KV bytes, version and utilization stated", stated, lambda item: item.kv_error),
        _table("  the same as a share of the card", stated, lambda item: item.kv_share_error),
        _threads("  the same by source thread", stated, lambda item: item.kv_error),
        _table("concurrency or tokens, stated", stated, lambda item: item.capacity_error),
        _table("layout: tokens or concurrency from logged bytes", judged, lambda item: item.layout_error),
        f"stated range of KV bytes holds the log: {_share(found['kv_range_holds'])}, of capacity: "
        f"{_share(found['capacity_range_holds'])}; median high/low {_number(found['kv_range_median'])}",
        f"where the utilization is stated: refusals: {found['refusals']}, missed {found['refusals_missed']}, uncertain {found['refusals_uncertain']}",
        f"                                 starts: {found['starts']}, falsely refused {found['false_refusals']}, uncertain {found['starts_uncertain']}",
    ]
    return "\n".join(lines)


def _share(value: object) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, int | float) else "no points"


def _number(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, int | float) else "none"


def excluded(starts: Sequence[Start]) -> str:
    """What was left out, and why."""
    left = [start for start in starts if start.excluded]
    return "\n".join([f"left out: {len(left)} of {len(starts)}", *(f"  {s.id[:44]:44} {s.excluded}" for s in left)])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fit", description=__doc__)
    parser.add_argument("file", type=Path, help="JSON Lines of logged starts")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args(arguments)
    starts = read_starts(options.file)
    judged = [predict(start, memory_constants()) for start in starts if not start.excluded]
    if options.json:
        print(json.dumps(summary(judged), indent=2))
        return 0
    print(
        "start                                   version    weights    error   KV GiB [range]"
        "          logged   error  capacity  layout  log    predicted"
    )
    for item in judged:
        print(line(item))
    print()
    print(excluded(starts))
    print()
    print(tables(judged))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
