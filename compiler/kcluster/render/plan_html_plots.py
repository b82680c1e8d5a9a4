"""The plots of a plan: candidates by latency and throughput, and the KV cache by length and concurrency.

Every value drawn is a figure of the plan, or what the planner answers to the same question for another length.
"""

from __future__ import annotations

import math
from typing import Final

from kcluster.planner.types import Candidate, ServePlan
from kcluster.render.plan_html_axes import BOTTOM, LEFT, RIGHT, TOP, Scale, drawing, frame, scale
from kcluster.render.plan_html_markup import Markup, element, joined, table
from kcluster.render.plan_words import counted, cut_words, ranged, tokens
from kcluster.units import Figure, human
from kcluster.values import frozen

WIDTH: Final = 640.0
HEIGHT: Final = 380.0
LABELLED: Final = 2
"""Of the candidates beside the chosen one, so many carry their name in the plot."""


@frozen
class Mark:
    """One candidate in the field: how it is drawn and what is said of it."""

    candidate: Candidate
    kind: str
    why: str


def marks(serve: ServePlan) -> list[Mark]:
    """Every candidate with its kind: chosen, close (nothing speaks against it but rank) or rejected."""
    found = [Mark(serve.chosen, "chosen", "chosen")]
    for one in serve.alternatives:
        rejected = bool(one.code) or one.candidate.fits == "no"
        why = f"{one.because} ({one.code})" if one.code else one.because
        found.append(Mark(one.candidate, "rejected" if rejected else "close", why))
    return found


def field_plot(serve: ServePlan, key: str) -> Markup | None:
    """Throughput against the time of a token, a mark a candidate; None where none has a predicted time."""
    shown = [mark for mark in marks(serve) if mark.candidate.performance is not None]
    timed = [(mark, mark.candidate.performance) for mark in shown if mark.candidate.performance is not None]
    if not timed:
        return None
    bounds: dict[str, float] = {verdict.bound.name: verdict.bound.value.value for verdict in serve.chosen.verdicts}
    low_high = [value for _, one in timed[:1] for value in one.itl.range()]
    times = [*(one.itl.value for _, one in timed), *low_high, *([bounds["itl"]] if "itl" in bounds else [])]
    rates = [one.throughput.value for _, one in timed]
    rates += [value for _, one in timed[:1] for value in one.throughput.range()]
    rates += [bounds["throughput"]] if "throughput" in bounds else []
    x = scale(times, LEFT, WIDTH - RIGHT)
    y = scale(rates, HEIGHT - BOTTOM, TOP)
    parts: list[str] = [
        frame(
            x, y,
            [(value, human(value, "s") if value else "0") for value in x.ticks()],
            [(value, f"{value:,.6g}") for value in y.ticks()],
            "time of a token (further left is faster for a user)", "output tokens a second, all users",
        )
    ]  # fmt: skip
    parts += _bounds(bounds, x, y)
    parts += [_mark(mark, x, y) for mark in reversed(shown)]
    parts += _names(shown, x, y)
    text = (
        f"{counted(len(timed), 'candidate', 'candidates')} with a predicted time. Chosen: {cut_words(serve.chosen)}, "
        f"{ranged(timed[0][1].throughput)} at {ranged(timed[0][1].itl)} a token."
    )
    return drawing(key, WIDTH, HEIGHT, "Throughput against the time of a token", text, *parts)


def _bounds(bounds: dict[str, float], x: Scale, y: Scale) -> list[Markup]:
    parts = []
    if "itl" in bounds:
        at = x.at(bounds["itl"])
        parts.append(element("line", x1=at, x2=at, y1=y.end, y2=y.start, class_="bound"))
        text = f"itl ≤ {human(bounds['itl'], 's')}"
        parts.append(element("text", text, x=at - 5, y=y.end + 12, class_="bound", text_anchor="end"))
    if "throughput" in bounds:
        at = y.at(bounds["throughput"])
        parts.append(element("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="bound"))
        text = f"throughput ≥ {human(bounds['throughput'], 'tokens/s')}"
        parts.append(element("text", text, x=x.start + 6, y=at - 6, class_="bound"))
    return parts


def _mark(mark: Mark, x: Scale, y: Scale) -> Markup:
    timed = mark.candidate.performance
    assert timed is not None
    left, top = x.at(timed.itl.value), y.at(timed.throughput.value)
    said = (
        f"{cut_words(mark.candidate)}: {ranged(timed.throughput)}, {ranged(timed.itl)} a token, "
        f"first token after {ranged(timed.ttft)}. {mark.why}"
    )
    parts: list[str] = [element("title", said)]
    if mark.kind == "chosen":
        low, high = (x.at(value) for value in timed.itl.range())
        bottom, up = (y.at(value) for value in timed.throughput.range())
        parts.append(
            element("path", d=f"M{low:.1f} {top:.1f}H{high:.1f}M{left:.1f} {bottom:.1f}V{up:.1f}", class_="range")
        )
        parts.append(element("circle", cx=left, cy=top, r=8, class_="halo"))
    if mark.kind == "rejected":
        d = f"M{left - 4:.1f} {top - 4:.1f}l8 8M{left - 4:.1f} {top + 4:.1f}l8 -8"
        parts.append(element("path", d=d, class_="cross"))
        parts.append(element("circle", cx=left, cy=top, r=8, class_="target"))
    else:
        parts.append(element("circle", cx=left, cy=top, r=6, class_="dot"))
    return element("g", *parts, class_=f"mark {mark.kind}", tabindex="0", data_tip=said)


def _names(shown: list[Mark], x: Scale, y: Scale) -> list[Markup]:
    """Names of the chosen candidate and of a few others, where no other name stands."""
    parts: list[Markup] = []
    taken: list[tuple[float, float, float]] = []
    for mark in shown:
        timed = mark.candidate.performance
        if timed is None or len(parts) > LABELLED:
            continue
        name = cut_words(mark.candidate)
        left, top = x.at(timed.itl.value), y.at(timed.throughput.value)
        size = 6.4 * len(name)
        after = left + 14 + size < x.end
        start = left + 14 if after else left - 14 - size
        at = top - 9
        if any(abs(at - row) < 15 and start < last and first < start + size for first, last, row in taken):
            continue
        taken.append((start, start + size, at))
        anchor = "start" if after else "end"
        parts.append(
            element(
                "text", name, x=left + 12 if after else left - 12, y=at, class_=f"label {mark.kind}", text_anchor=anchor
            )
        )
    return parts


@frozen
class KvCurve:
    """Requests that the KV holds, by their length in tokens, in one KV format."""

    kind: str
    candidate: Candidate
    points: tuple[tuple[int, Figure], ...]


def kv_curves(serve: ServePlan) -> tuple[KvCurve, ...]:
    """The chosen KV format and, where the cards and the model take it, fp8 beside it."""
    from kcluster.planner.case import case_of
    from kcluster.planner.judge import Judge
    from kcluster.planner.remedies import sequences_of, with_fp8_kv

    chosen = serve.chosen
    if chosen.memory is None or chosen.memory.kv_cache.value <= 0:
        return ()
    lengths = _lengths(chosen.limits.max_model_len)
    found = []
    judge = Judge(case_of(serve.serve))
    other = with_fp8_kv(serve)
    for kind, candidate in (("first", chosen), ("second", other)):
        if candidate is None:
            continue
        asked = ((length, sequences_of(judge, candidate, length)) for length in lengths)
        points = tuple((length, held) for length, held in asked if held is not None and math.isfinite(held.value))
        if points:
            found.append(KvCurve(kind, candidate, points))
    return tuple(found)


def _lengths(most: int) -> tuple[int, ...]:
    """Lengths from 512 tokens (or less, for a short limit) up to the limit, four a doubling."""
    first = min(512, max(1, most // 4))
    steps = max(1, math.ceil(4 * math.log2(max(2.0, most / first))))
    found = {min(most, round(first * (most / first) ** (step / steps))) for step in range(steps + 1)}
    return tuple(sorted(found))


def kv_plot(serve: ServePlan, key: str, curves: tuple[KvCurve, ...]) -> Markup:
    """Requests held at once against their length, with the range of the prediction and the points that the SLA asks."""
    load = serve.load
    typical = load.prompt + load.completion
    lengths = [length for curve in curves for length, _ in curve.points]
    lengths += [load.context, typical]
    held = [value for curve in curves for _, figure in curve.points for value in (figure.value, *figure.range())]
    held = [*(value for value in held if value > 0), float(load.concurrency)]
    x = scale([float(length) for length in lengths], LEFT, WIDTH - RIGHT, log=True, base=2)
    y = scale(held, HEIGHT - BOTTOM, TOP, log=True)
    parts: list[str] = [
        frame(
            x, y,
            [(value, tokens(round(value))) for value in x.ticks()],
            [(value, f"{value:,.6g}") for value in y.ticks()],
            "tokens of a request (prompt and completion)", "requests held at once",
        )
    ]  # fmt: skip
    parts += [_curve(curve, x, y) for curve in curves]
    asked = ((load.context, "longest"), (typical, "typical"))
    for length, name in asked:
        left, top = x.at(length), y.at(load.concurrency)
        said = f"asked: {load.concurrency:,} requests of {tokens(length)} tokens ({name})"
        parts.append(
            element(
                "g", element("title", said), element("path", d=_diamond(left, top), class_="asked"),
                element("text", name, x=left, y=top - 12, class_="label asked", text_anchor="middle"),
                class_="mark", tabindex="0", data_tip=said,
            )
        )  # fmt: skip
    text = (
        f"Requests of a length that the KV cache of all replicas holds at once. Asked: {load.concurrency:,} of "
        f"{tokens(load.context)} tokens at most, {tokens(typical)} typically. Above a curve they wait."
    )
    return drawing(key, WIDTH, HEIGHT, "KV cache against concurrency and context", text, *parts)


def _diamond(left: float, top: float) -> str:
    return f"M{left:.1f} {top - 7:.1f}l7 7l-7 7l-7 -7z"


def _curve(curve: KvCurve, x: Scale, y: Scale) -> Markup:
    def at(length: int, value: float) -> str:
        return f"{x.at(length):.1f},{y.at(value):.1f}"

    middle = " ".join(at(length, figure.value) for length, figure in curve.points)
    low = [at(length, figure.range()[0]) for length, figure in curve.points]
    high = [at(length, figure.range()[1]) for length, figure in curve.points]
    length, figure = curve.points[len(curve.points) // (3 if curve.kind == "first" else 2)]
    said = "; ".join(
        f"{tokens(length)}: {human(figure.value, 'requests')}"
        for length, figure in curve.points[:: max(1, len(curve.points) // 6)]
    )
    name = f"{curve.candidate.limits.kv_format} KV"
    return element(
        "g",
        element("title", f"{name}, requests by length: {said}"),
        element("polygon", points=" ".join([*low, *reversed(high)]), class_="band"),
        element("polyline", points=middle, class_="curve"),
        element("text", name, x=x.at(length) + 8, y=y.at(figure.value) - 8, class_="label"),
        class_=f"kv {curve.kind}",
    )


def kv_table(curves: tuple[KvCurve, ...]) -> Markup:
    """The curves as a table: doublings alone, and the last length."""
    lengths = [length for length, _ in curves[0].points]
    kept = [length for index, length in enumerate(lengths) if index % 4 == 0 or index == len(lengths) - 1]
    values = [dict(curve.points) for curve in curves]
    rows = [
        (f"{length:,}", *(_held(one[length]) if length in one else "–" for one in values))
        for length in kept
    ]  # fmt: skip
    head = ("tokens of a request", *(f"requests held, {curve.candidate.limits.kv_format} KV" for curve in curves))
    return table(head, rows, "Requests held at once by length", numeric=frozenset(range(1, len(head))))


def _held(figure: Figure) -> str:
    low, high = figure.range()
    value = human(figure.value, "requests")
    return value if low == high else f"{value} ({human(low, 'requests')}–{human(high, 'requests')})"


def legend(*entries: tuple[str, str]) -> Markup:
    """What the marks mean: (class, text) each."""
    items = [
        element("li", element("span", class_=f"key {kind}", aria_hidden="true"), joined(text)) for kind, text in entries
    ]
    return element("ul", *items, class_="legend")
