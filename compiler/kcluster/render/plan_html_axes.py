"""Scales, ticks and frames of plots."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from kcluster.render.plan_html_markup import Markup, element, joined
from kcluster.values import frozen

LEFT: Final = 74.0
RIGHT: Final = 22.0
TOP: Final = 18.0
BOTTOM: Final = 50.0
WIDE_RATIO: Final = 15.0
"""Values further apart than this are drawn on a logarithmic axis."""


@frozen
class Scale:
    """Values from `low` to `high` onto coordinates from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool
    base: int = 10

    def at(self, value: float) -> float:
        """The coordinate of a value, held inside the frame."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> tuple[float, ...]:
        if self.log:
            return _log_ticks(self.low, self.high, self.base)
        step = nice_step(self.high - self.low)
        first = math.ceil(self.low / step - 1e-9)
        return tuple(step * number for number in range(first, int(self.high / step + 1e-9) + 1))


def nice_step(span: float, pieces: int = 5) -> float:
    """A step of 1, 2, 2.5 or 5 times a power of ten that cuts a span in about so many pieces."""
    raw = span / pieces
    power: float = 10.0 ** math.floor(math.log10(raw))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * 0.95)


def _log_ticks(low: float, high: float, base: int) -> tuple[float, ...]:
    powers = range(math.floor(math.log(low, base) + 1e-9), math.ceil(math.log(high, base) - 1e-9) + 1)
    steps = (1, 2, 5) if base == 10 and len(powers) <= 4 else (1,)
    found = [float(base) ** power * step for power in powers for step in steps]
    kept = [value for value in found if low * 0.999 <= value <= high * 1.001]
    return tuple(kept[:: max(1, math.ceil(len(kept) / 9))])


def scale(values: Sequence[float], start: float, end: float, *, log: bool | None = None, base: int = 10) -> Scale:
    """A scale that holds all values: from zero, or logarithmic where they lie far apart (or as told)."""
    good = [value for value in values if value > 0 and math.isfinite(value)] or [1.0]
    low, high = min(good), max(good)
    if log if log is not None else high / low > WIDE_RATIO:
        if base == 2:
            return Scale(low, max(high, low * 2), start, end, True, 2)
        return Scale(low / 1.25, high * 1.25, start, end, True, base)
    step = nice_step(high * 1.08)
    return Scale(0.0, step * math.ceil(high * 1.08 / step), start, end, False)


def frame(
    x: Scale,
    y: Scale,
    x_texts: Sequence[tuple[float, str]],
    y_texts: Sequence[tuple[float, str]],
    x_name: str,
    y_name: str,
) -> Markup:
    """Grid lines, ticks with their texts, and names of both axes."""
    parts: list[str] = []
    for value, text in y_texts:
        at = y.at(value)
        parts.append(element("line", x1=x.start, x2=x.end, y1=at, y2=at, class_="grid"))
        parts.append(element("text", text, x=x.start - 8, y=at + 4, class_="tick", text_anchor="end"))
    for value, text in x_texts:
        at = x.at(value)
        parts.append(element("line", x1=at, x2=at, y1=y.end, y2=y.start, class_="grid"))
        parts.append(element("text", text, x=at, y=y.start + 18, class_="tick", text_anchor="middle"))
    parts.append(element("path", d=f"M{x.start} {y.end}V{y.start}H{x.end}", class_="axis"))
    middle = (x.start + x.end) / 2
    parts.append(element("text", x_name, x=middle, y=y.start + 40, class_="name", text_anchor="middle"))
    turned = f"rotate(-90 14 {(y.start + y.end) / 2})"
    parts.append(
        element("text", y_name, x=14, y=(y.start + y.end) / 2, class_="name", text_anchor="middle", transform=turned)
    )
    return joined(*parts)


def drawing(key: str, width: float, height: float, title: str, text: str, *parts: str) -> Markup:
    """An SVG with its title and description, which screen readers read instead of the marks."""
    return element(
        "svg",
        element("title", title, id=f"{key}-title"),
        element("desc", text, id=f"{key}-text"),
        *parts,
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        role="img",
        aria_labelledby=f"{key}-title {key}-text",
    )
