"""Stacked bars of a plan: memory by part of a GPU, and the time of a token by cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from kcluster.physics.results import Memory
from kcluster.planner.types import Candidate, ServePlan
from kcluster.render.plan_html_axes import drawing, scale
from kcluster.render.plan_html_markup import Markup, element, table
from kcluster.render.plan_html_plots import legend
from kcluster.render.plan_words import cut_words, gib, ranged
from kcluster.units import GIB, Figure, Unit, human
from kcluster.values import frozen

WIDTH: Final = 640.0
LEFT: Final = 16.0
RIGHT: Final = 84.0
ROW: Final = 46.0
BAR: Final = 18.0
COMPARED: Final = 5
"""Bars at most: the chosen cut's and those of the best others."""

Part = tuple[str, str, float]
"""(class, name, value)."""


@frozen
class Bar:
    """One bar: its name, its parts from the left, what is said behind it, and where its limit lies (None without one)."""

    name: str
    parts: tuple[Part, ...]
    end: str
    limit: float | None = None


def memory_parts(budget: Memory) -> tuple[tuple[str, str, Figure], ...]:
    """(class, name, figure) of what takes a GPU's memory, as the engine logs it."""
    return (
        ("m-weights", "weights", budget.weights),
        ("m-kv", "KV cache", budget.kv_cache),
        ("m-activation", "activations", budget.activation),
        ("m-libraries", "libraries", budget.non_torch),
        ("m-graphs", "CUDA graphs", budget.cuda_graph),
    )


def compared(serve: ServePlan) -> tuple[Candidate, ...]:
    """The chosen cut and the best others that differ in shape and have figures."""
    found = [serve.chosen]
    for one in serve.alternatives:
        candidate = one.candidate
        same = any(
            (candidate.cut.tp, candidate.cut.pp, candidate.cut.dp, candidate.limits.kv_format)
            == (other.cut.tp, other.cut.pp, other.cut.dp, other.limits.kv_format)
            for other in found
        )
        if candidate.memory is not None and not same:
            found.append(candidate)
        if len(found) == COMPARED:
            break
    return tuple(found)


def memory_plot(serve: ServePlan, key: str) -> Markup | None:
    """Memory by part of the fullest GPU, for the chosen cut and the best others; None without figures."""
    bars = []
    for candidate in compared(serve):
        budget = candidate.memory
        if budget is None:
            continue
        parts = tuple((kind, name, max(0.0, figure.value)) for kind, name, figure in memory_parts(budget))
        end = f"{gib(budget.total)} GiB"
        bars.append(Bar(cut_words(candidate), parts, end, budget.usable.value))
    if not bars:
        return None
    totals = [candidate.memory.total.value for candidate in compared(serve) if candidate.memory is not None]
    text = "; ".join(_said(bar, "bytes") for bar in bars[:1])
    return stacked(key, "Memory of the fullest GPU by part", f"Chosen: {text}.", bars, "bytes", totals)


def stages_plot(serve: ServePlan, key: str) -> Markup | None:
    """Weights and KV of a GPU of each stage of the chosen cut; None without a pipeline."""
    budget = serve.chosen.memory
    if budget is None or len(budget.stages) < 2:
        return None
    bars = [
        Bar(
            f"stage {stage.stage}: {stage.layers} layers",
            (
                ("m-weights", "weights", stage.weights.value),
                ("m-kv", "KV cache", max(0.0, stage.kv_cache.value)),
            ),
            "",
        )
        for stage in budget.stages
    ]
    text = "; ".join(_said(bar, "bytes") for bar in bars)
    return stacked(key, "Weights and KV of a GPU of each stage", text, bars, "bytes", [], equal=True)


def memory_legend() -> Markup:
    return legend(
        ("m-weights", "weights"),
        ("m-kv", "KV cache"),
        ("m-activation", "activations"),
        ("m-libraries", "libraries"),
        ("m-graphs", "CUDA graphs"),
        ("limit", "what the engine may use"),
    )


def memory_table(serve: ServePlan) -> Markup:
    """The memory of the fullest GPU as a table, and of each stage."""
    budget = serve.chosen.memory
    assert budget is not None
    rows = [(name, ranged(figure)) for _, name, figure in memory_parts(budget)]
    rows += [("usable", ranged(budget.usable)), ("of the card", ranged(budget.total))]
    rows += [("KV cache holds", ranged(budget.kv_tokens)), ("KV of a token", ranged(budget.kv_bytes_per_token))]
    if len(budget.stages) > 1:
        rows += [
            (
                f"stage {stage.stage}, {stage.layers} layers",
                f"weights {ranged(stage.weights)}, KV {ranged(stage.kv_cache)}",
            )
            for stage in budget.stages
        ]
    return table(
        ("part", "expected (range)"), rows, "Memory of the fullest GPU of the chosen cut", numeric=frozenset({1})
    )


TIME_CLASSES: Final = (
    "t-weights",
    "t-kv",
    "t-prefill",
    "t-allreduce",
    "t-alltoall",
    "t-pipeline",
    "t-layers",
    "t-step",
)


def time_plot(serve: ServePlan, key: str) -> Markup | None:
    """A token's time by cause, for the chosen cut and the best others; None without a predicted time."""
    bars = []
    for candidate in compared(serve):
        timed = candidate.performance
        if timed is None:
            continue
        parts = tuple(
            (kind, name, figure.value) for kind, (name, figure) in zip(TIME_CLASSES, timed.step.parts, strict=True)
        )
        bars.append(Bar(cut_words(candidate), parts, human(timed.step.total.value, "s")))
    if not bars:
        return None
    timed = serve.chosen.performance
    bound = f" Bound by {timed.bound_by}." if timed is not None else ""
    text = f"{_said(bars[0], 's')}.{bound}"
    return stacked(key, "Time of a token by cause", text, bars, "s", [])


def time_legend(serve: ServePlan) -> Markup:
    """The causes that any compared cut has."""
    present: dict[str, str] = {}
    for candidate in compared(serve):
        if candidate.performance is not None:
            for kind, (name, figure) in zip(TIME_CLASSES, candidate.performance.step.parts, strict=True):
                if figure.value > 0:
                    present[kind] = name
    return legend(*((kind, present[kind]) for kind in TIME_CLASSES if kind in present))


def time_table(serve: ServePlan) -> Markup:
    timed = serve.chosen.performance
    assert timed is not None
    rows = [(name, human(figure.value, "s")) for name, figure in timed.step.parts]
    rows.append(("together", ranged(timed.step.total)))
    return table(("cause", "time"), rows, "Time of a token of the chosen cut", numeric=frozenset({1}))


def stacked(
    key: str,
    title: str,
    text: str,
    bars: Sequence[Bar],
    unit: Unit,
    totals: Sequence[float],
    *,
    equal: bool = False,
) -> Markup:
    """Bars below each other on one axis from zero. `totals` are frames of the bars (a card's memory), in their order. Unless
    they are `equal`, the first stands out."""
    height = ROW * len(bars) + 34
    sums = [sum(value for _, _, value in bar.parts) for bar in bars]
    divisor = GIB if unit == "bytes" else 1.0
    ends = [value / divisor for value in (*sums, *totals)]
    x = scale(ends, LEFT, WIDTH - RIGHT, log=False)
    bottom = ROW * len(bars) + 6
    parts: list[str] = []
    for value in x.ticks():
        at = x.at(value)
        name = f"{value:,.6g} GiB" if unit == "bytes" else human(value, "s") if value else "0"
        parts.append(element("line", x1=at, x2=at, y1=4, y2=bottom, class_="grid"))
        parts.append(element("text", name, x=at, y=bottom + 18, class_="tick", text_anchor="middle"))
    for row, bar in enumerate(bars):
        total = totals[row] / divisor if row < len(totals) else None
        parts.append(_bar(bar, row, unit, divisor, total, x.at, first=equal or row == 0))
    return drawing(key, WIDTH, height, title, text, *parts)


def _bar(
    bar: Bar, row: int, unit: Unit, divisor: float, total: float | None, at: Callable[[float], float], *, first: bool
) -> Markup:
    top = ROW * row + 21
    name = element("text", bar.name, x=LEFT, y=top - 6, class_="label chosen" if first else "label")
    parts: list[str] = [name]
    if total is not None:
        parts.append(element("rect", x=LEFT, y=top, width=at(total) - LEFT, height=BAR, class_="room"))
    reached = 0.0
    for kind, part, value in bar.parts:
        if value <= 0 or not math.isfinite(value):
            continue
        start, stop = at(reached / divisor), at((reached + value) / divisor)
        said = f"{bar.name}: {part} {human(value, unit)}"
        shape = element(
            "rect", element("title", said), x=start, y=top, width=max(0.5, stop - start), height=BAR, class_=kind
        )
        parts.append(element("g", shape, class_="mark", tabindex="0", data_tip=said))
        reached += value
    if bar.limit is not None:
        limit = at(bar.limit / divisor)
        parts.append(element("line", x1=limit, x2=limit, y1=top - 4, y2=top + BAR + 4, class_="limit"))
    end = max(at(reached / divisor), at(total) if total is not None else 0.0)
    if bar.end:
        parts.append(element("text", bar.end, x=end + 8, y=top + BAR - 5, class_="value"))
    return element("g", *parts, class_="bar first" if first else "bar")


def _said(bar: Bar, unit: Unit) -> str:
    return f"{bar.name}: " + ", ".join(f"{name} {human(value, unit)}" for _, name, value in bar.parts if value > 0)
