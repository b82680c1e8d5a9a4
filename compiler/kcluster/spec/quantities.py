"""Units of the language: what each spelling measures, and how much of the base unit it is.

Base units are bytes, bytes/s, seconds, tokens, tokens/s, ratios and FLOP/s. `GB` is 10^9 bytes and `GiB` 2^30; a link's
`Gb/s` is bits. Token counts take the engine's suffixes: `8k` is 8,000 and `8K` is 8,192.
"""

from __future__ import annotations

from typing import Final, Literal

from kcluster.diagnostics.wording import nearest
from kcluster.values import frozen

Measure = Literal["count", "tokens", "bytes", "bytes/s", "seconds", "tokens/s", "ratio", "flop/s"]


@frozen
class UnitRow:
    """One spelling: what it measures and its factor to the base unit."""

    text: str
    measure: Measure
    factor: int | float


def _sizes() -> list[UnitRow]:
    rows = [UnitRow("B", "bytes", 1)]
    for power, letter in enumerate("KMGTP", start=1):
        rows.append(UnitRow(f"{letter}B", "bytes", 1000**power))
        rows.append(UnitRow(f"{letter}iB", "bytes", 1024**power))
    rows.append(UnitRow("kB", "bytes", 1000))
    return rows


def _rates() -> list[UnitRow]:
    rows = [UnitRow(f"{row.text}/s", "bytes/s", row.factor) for row in _sizes()]
    for power, letter in ((2, "M"), (3, "G"), (4, "T")):
        bits = 1000**power / 8
        rows += [UnitRow(f"{letter}{spelling}", "bytes/s", bits) for spelling in ("b/s", "bit/s", "bps", "bE")]
    return rows


# `8k` and `8K` as vLLM's own length options read them (decimal small, binary capital).
_TOKENS: Final = (
    UnitRow("k", "tokens", 1000),
    UnitRow("K", "tokens", 1024),
    UnitRow("m", "tokens", 1000**2),
    UnitRow("M", "tokens", 1024**2),
    UnitRow("tokens", "tokens", 1),
    UnitRow("token", "tokens", 1),
    UnitRow("tok", "tokens", 1),
)
_OTHERS: Final = (
    UnitRow("us", "seconds", 1e-6),
    UnitRow("µs", "seconds", 1e-6),
    UnitRow("μs", "seconds", 1e-6),
    UnitRow("ms", "seconds", 1e-3),
    UnitRow("s", "seconds", 1),
    UnitRow("min", "seconds", 60),
    UnitRow("h", "seconds", 3600),
    UnitRow("tok/s", "tokens/s", 1),
    UnitRow("token/s", "tokens/s", 1),
    UnitRow("tokens/s", "tokens/s", 1),
    UnitRow("%", "ratio", 0.01),
    UnitRow("GFLOPS", "flop/s", 1e9),
    UnitRow("TFLOPS", "flop/s", 1e12),
    UnitRow("PFLOPS", "flop/s", 1e15),
)

UNITS: Final[dict[str, UnitRow]] = {row.text: row for row in (*_sizes(), *_rates(), *_TOKENS, *_OTHERS)}

# What people write by habit and what it is called here; the reader reports it and goes on with the known unit.
USUAL_SPELLINGS: Final[dict[str, str]] = {
    "sec": "s",
    "secs": "s",
    "second": "s",
    "seconds": "s",
    "millis": "ms",
    "msec": "ms",
    "minute": "min",
    "minutes": "min",
    "mins": "min",
    "hour": "h",
    "hours": "h",
    "hr": "h",
    "percent": "%",
    "pct": "%",
    "tps": "tok/s",
    "t/s": "tok/s",
    "toks": "tok/s",
    "toks/s": "tok/s",
    "tok/sec": "tok/s",
    "tokens/sec": "tok/s",
    "gig": "GB",
    "gigs": "GB",
    "gigabyte": "GB",
    "gigabytes": "GB",
    "gbit": "Gb/s",
    "gb/s": "GB/s",
    "gb": "GB",
    "gib": "GiB",
    "mb": "MB",
    "mib": "MiB",
    "tb": "TB",
    "tib": "TiB",
    "gbe": "GbE",
    "tflops": "TFLOPS",
    "tflop/s": "TFLOPS",
}

# The unit that a bare number is taken in; a measure that is not here needs its unit written.
BARE: Final[dict[Measure, float]] = {"count": 1, "tokens": 1, "tokens/s": 1, "ratio": 1, "flop/s": 1e12}

# How a measure is called in messages, with an example of how it is written.
EXPECTED: Final[dict[Measure, tuple[str, str]]] = {
    "count": ("a count", "`4`"),
    "tokens": ("a number of tokens", "`8192` or `8K`"),
    "bytes": ("a size", "`96 GB` or `31.4 GiB`"),
    "bytes/s": ("a rate", "`3 GB/s` or `100 Gb/s`"),
    "seconds": ("a time", "`2s` or `150ms`"),
    "tokens/s": ("a rate in tokens a second", "`30` or `30 tok/s`"),
    "ratio": ("a share", "`0.9` or `90 %`"),
    "flop/s": ("a rate in TFLOPS", "`209` or `209 TFLOPS`"),
}

# Numbers above this are beyond any figure of a cluster; arithmetic on them is not even tried.
LARGEST: Final = 10**18


def units_of(measure: Measure) -> tuple[str, ...]:
    """The spellings that a measure takes, for completion and for the nearest one."""
    return tuple(row.text for row in UNITS.values() if row.measure == measure)


def nearest_unit(text: str, measure: Measure) -> str | None:
    """The known unit that was probably meant, of the measure wanted where there is one; None where nothing is near."""
    usual = USUAL_SPELLINGS.get(text) or USUAL_SPELLINGS.get(text.lower())
    if usual is not None and UNITS[usual].measure == measure:
        return usual
    wanted = units_of(measure)
    folded = text.lower()
    for unit in wanted:
        if unit.lower() == folded:
            return unit
    if usual is not None:
        return usual
    return nearest(text, wanted) or nearest(text, tuple(UNITS))
