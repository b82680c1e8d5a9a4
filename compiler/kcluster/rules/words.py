"""How values read in messages: thousands separators, back-quotes, lists that end in a word."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kcluster.units import KIB, MIB, Figure, human


def count(value: float) -> str:
    """A count or a number of tokens with separators: `131,072`."""
    return f"{value:,.0f}"


def counted(value: float, one: str, many: str = "") -> str:
    """A count with its noun: `1 replica`, `4 replicas`."""
    return f"{count(value)} {one if value == 1 else (many or one + 's')}"


def shown(figure: Figure) -> str:
    """A figure as people read it."""
    if figure.unit == "bytes/token" and KIB <= figure.value < MIB:
        return f"{figure.value / KIB:g} KiB"  # never a rounded 0.1 MiB: it is what people multiply with
    return human(figure.value, figure.unit)


def ranged(figure: Figure) -> str:
    """A figure with its range where it has one: `29 tok/s (22–38)`."""
    low, high = figure.range()
    text = shown(figure)
    if low == high:
        return text
    unit = text.rpartition(" ")[2]
    first, last = human(low, figure.unit), human(high, figure.unit)
    if first.rpartition(" ")[2] == last.rpartition(" ")[2] == unit:
        first = first.rpartition(" ")[0]
        last = last.rpartition(" ")[0]
    return f"{text} ({first}–{last})"


def share(value: float) -> str:
    """A ratio as per cent."""
    return f"{value * 100:.0f} %"


def listed(items: Iterable[object], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    texts: Sequence[str] = [str(item) for item in items]
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def quoted(items: Iterable[object], last: str = "or") -> str:
    return listed((f"`{item}`" for item in items), last)


def version_text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
