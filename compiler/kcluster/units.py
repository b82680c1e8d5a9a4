"""Units and figures.

A `Figure` is a number that a person may see: it knows its unit, the formula it came from, the figures that went in,
and where a given one was read. `derive` computes a figure *from the text of its formula*, so that the formula that
`plan --why` prints is the formula that was computed: there is no second one to drift.

Formula texts are constants of this package. Nothing that a spec holds ever becomes part of one.

Inside, everything is in SI base units: bytes, seconds, FLOP, tokens. GB is 10^9 bytes and GiB 2^30.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import CodeType
from typing import Final, Literal, TypeAlias

from kcluster.values import frozen

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30
MB: Final = 10**6
GB: Final = 10**9

Unit = Literal[
    "bytes",
    "bytes/s",
    "flop/s",
    "flop",
    "s",
    "tokens",
    "tokens/s",
    "bytes/token",
    "parameters",
    "requests",
    "count",
    "ratio",
]


Number: TypeAlias = "int | float | Figure"


@frozen
class Figure:
    """A value with its unit, formula, inputs, source and range.

    `low` and `high` bound the value where it is an estimate (the measured value is expected inside 9 times in 10);
    both are None where the value is exact by definition.
    """

    name: str
    value: float
    unit: Unit
    formula: str = ""
    _inputs: tuple[tuple[str, Number], ...] = ()
    source: str = ""
    low: float | None = None
    high: float | None = None

    @property
    def inputs(self) -> tuple[tuple[str, Figure], ...]:
        """What the formula was computed from, by its names; plain numbers as figures of the unit "count"."""
        return tuple(
            (key, item if isinstance(item, Figure) else Figure(key, item, "count")) for key, item in self._inputs
        )

    def __float__(self) -> float:
        return float(self.value)

    def range(self) -> tuple[float, float]:
        """The lowest and highest expected value; both the value itself where it is exact."""
        return (self.value if self.low is None else self.low, self.value if self.high is None else self.high)

    def spread(self, low_factor: float, high_factor: float) -> Figure:
        """The same figure with a range stated as factors of its value."""
        return self.between(self.value * low_factor, self.value * high_factor)

    def between(self, low: float, high: float) -> Figure:
        """The same figure with its range stated."""
        return Figure(self.name, self.value, self.unit, self.formula, self._inputs, self.source, low, high)


def given(name: str, value: float, unit: Unit, source: str = "") -> Figure:
    """A figure that is read somewhere rather than computed; `source` says where."""
    return Figure(name, value, unit, source=source)


_FUNCTIONS: Final[dict[str, object]] = {
    "__builtins__": {},
    "max": max,
    "min": min,
    "ceil": math.ceil,
    "floor": math.floor,
    "round": round,
    "log2": math.log2,
    "sqrt": math.sqrt,
}
_compiled: dict[str, CodeType] = {}
_evaluators: dict[str, Callable[..., float]] = {}


def derive(name: str, unit: Unit, formula: str, /, *, source: str = "", **inputs: Number) -> Figure:
    """Compute a figure from its formula.

    Args:
        name: what the figure is called in `--why` (dotted, e.g. `memory.weights`).
        unit: the unit of the result.
        formula: a Python expression over the names of `inputs` (and max, min, ceil, floor, round, log2, sqrt); a constant
            of this package, never text of a user.
        source: where the formula comes from.
        inputs: numbers or figures; plain numbers are figures of the unit "count" to whoever asks for them.

    Raises:
        ZeroDivisionError, OverflowError: callers check what may be zero first; a formula is not where a user's
            mistake is found.
    """
    code = _compiled.get(formula)
    if code is None:
        code = _compiled[formula] = compile(formula, "<formula>", "eval")
    values = {key: item.value if item.__class__ is Figure else item for key, item in inputs.items()}
    return Figure(name, eval(code, _FUNCTIONS, values), unit, formula, tuple(inputs.items()), source)


def evaluator(formula: str, /) -> Callable[..., float]:
    """A function of a formula's names, all given by keyword, that gives its value without a figure around it: for searches that ask
    for it many times and then `derive` it once."""
    found = _evaluators.get(formula)
    if found is None:
        names = [name for name in compile(formula, "<formula>", "eval").co_names if name not in _FUNCTIONS]
        text = f"lambda {', '.join(('*', *names)) if names else ''}: {formula}"
        found = _evaluators[formula] = eval(compile(text, "<formula>", "eval"), _FUNCTIONS)
    return found


def show_formula(formula: str) -> str:
    """A formula as people write it: `×`, `÷` and `−` instead of the programming signs."""
    return formula.replace("**", "^").replace(" * ", " × ").replace(" / ", " ÷ ").replace(" - ", " − ")


def _trim(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def human(value: float, unit: Unit) -> str:
    """A value as it is shown to people: memory in GiB, rates in GB/s, times in s, ms or µs, counts with separators."""
    if math.isinf(value) or math.isnan(value):
        return "unbounded"
    if unit in ("bytes", "bytes/token"):
        suffix = "" if unit == "bytes" else " per token"
        size = abs(value)
        if size >= 0.1 * GIB:
            return f"{value / GIB:,.1f} GiB{suffix}"
        if size >= MIB:
            return f"{_trim(f'{value / MIB:.1f}')} MiB{suffix}"
        if size >= KIB:
            return f"{_trim(f'{value / KIB:.1f}')} KiB{suffix}"
        return f"{value:.0f} bytes{suffix}"
    if unit == "bytes/s":
        return f"{_trim(f'{value / GB:.2f}')} GB/s" if value >= 0.01 * GB else f"{_trim(f'{value / MB:.2f}')} MB/s"
    if unit == "flop/s":
        return f"{_trim(f'{value / 1e12:.1f}')} TFLOPS"
    if unit == "flop":
        return f"{value / 1e12:,.2f} TFLOP"
    if unit == "s":
        size = abs(value)
        if size >= 1:
            return f"{value:,.1f} s"
        if size >= 1e-3:
            return f"{value * 1e3:.1f} ms" if size < 1e-2 else f"{value * 1e3:.0f} ms"
        return f"{value * 1e6:.0f} µs"
    if unit == "tokens":
        return f"{value:,.0f} tokens"
    if unit == "tokens/s":
        return f"{value:,.0f} tok/s" if value >= 10 else f"{value:.1f} tok/s"
    if unit == "requests":
        return f"{value:,.1f}" if value < 10 else f"{value:,.0f}"
    if unit == "ratio":
        return f"{value:.3g}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"
