"""`python -m benchmarks.traffic`: GB/s that tp, pp, replicas and ep put on their links, each computed from a spec of `specs/`,
beside the range that is usually quoted for it, with one line on any difference."""

from __future__ import annotations

import sys
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "compiler"))

import kcluster  # noqa: E402
from kcluster.physics.traffic import Traffic, cut_traffic  # noqa: E402
from kcluster.planner.types import ServePlan  # noqa: E402


@frozen
class Row:
    what: str
    spec: str
    axis: str
    phase: str
    usual: tuple[float, float]
    why: str


ROWS = (
    Row("tp 4 in one PCIe box", "recipe-a", "tp", "prefill", (50, 200),
        "quoted at the bus's peak; host-staged all-reduces keep the cards below it, and in decode they wait for latency"),
    Row("pp over two nodes, decode", "recipe-b", "pp", "decode", (0.05, 0.2),
        "a boundary carries batch × hidden × 2 bytes a step: the range is for hundreds of requests, this SLA has 8"),
    Row("pp over two nodes, prefill", "recipe-b", "pp", "prefill", (1, 4),
        "bytes a prompt token × prompt tokens a second: the range is for NVLink nodes that prefill tens of thousands a second"),
    Row("replicas over two nodes", "two-boxes", "replicas", "decode", (0, 0.001),
        "replicas share the router's requests and nothing else"),
    Row("ep in one box", "deepseek-8x-h200", "ep", "prefill", (20, 80),
        "experts_per_token × hidden a token to other ranks, dispatched and combined, at the prefill's speed"),
    Row("ep over two nodes", "deepseek-2x8-h200", "ep", "prefill", (10, 40),
        "quoted a NIC; all links of the group together are shown, and what leaves a node is over its eight NICs"),
)  # fmt: skip


def serve_of(name: str) -> ServePlan:
    """The plan of the only serve of a spec."""
    path = ROOT / "specs" / f"{name}.kcluster"
    return kcluster.plan(path.read_text(), path=path.name).serves[0]


def traffic_of(serve: ServePlan, axis: str) -> Traffic:
    """What one axis of the chosen cut sends.

    Raises:
        LookupError: the chosen cut does not have that axis.
    """
    chosen = serve.chosen
    if chosen.performance is None:
        raise LookupError(f"{serve.name} has no predicted speed")
    found = cut_traffic(
        serve.serve.model.architecture.value, chosen.cut, chosen.placement[0], serve.serve.cluster, serve.load, chosen.limits,
        chosen.performance,
    )  # fmt: skip
    for one in found:
        if one.axis == axis:
            return one
    raise LookupError(f"the plan of {serve.name} has no {axis}")


def line(row: Row) -> str:
    one = traffic_of(serve_of(row.spec), row.axis)
    figure = one.decode if row.phase == "decode" else one.prefill
    value, (low, high) = figure.value / 1e9, (bound / 1e9 for bound in figure.range())
    usual_low, usual_high = row.usual
    inside = low <= usual_high and high >= usual_low
    usual = "~0" if usual_high < 0.01 else f"{usual_low:g}–{usual_high:g}"
    away = f", {value * one.between_nodes:.3g} of it between nodes" if 0 < one.between_nodes < 1 else ""
    verdict = "as usual" if inside else "differs"
    return f"{row.what:<27} {row.spec:<18} {value:>8.3g} GB/s ({low:.3g}–{high:.3g}{away})  usual {usual:<8} {verdict}: {row.why}"


def main() -> None:
    for row in ROWS:
        print(line(row))


if __name__ == "__main__":
    main()
