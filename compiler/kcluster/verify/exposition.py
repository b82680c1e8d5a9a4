"""Prometheus' text exposition, and histograms in it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Final

from kcluster.values import frozen

_SAMPLE: Final = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*(?:#.*)?$")
_LABEL: Final = re.compile(r'([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"')
_ESCAPES: Final = {"\\n": "\n", '\\"': '"', "\\\\": "\\"}


@frozen
class Sample:
    name: str
    labels: dict[str, str]
    value: float


@frozen
class Measured:
    """A histogram over all its series: how many, their sum, and how many were at or below each bound, ascending."""

    count: float
    total: float
    buckets: tuple[tuple[float, float], ...]

    def within(self, share: float) -> tuple[float, float]:
        """The bounds of the bucket in which the answer at a share of all is; the last bound is infinite. No answers: an
        empty interval at zero."""
        below = 0.0
        for bound, number in self.buckets:
            if number >= share * self.count > 0:
                return below, bound
            below = bound
        return (below, math.inf) if self.count else (0.0, 0.0)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0


def read_exposition(text: str) -> tuple[Sample, ...]:
    """Every sample of a text; lines of another form are left out, and values that are no number."""
    found = []
    for line in text.splitlines():
        match = _SAMPLE.match(line)
        if line.startswith("#") or match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        if not math.isfinite(value):
            continue  # nothing was measured
        labels = {key: _unescaped(raw) for key, raw in _LABEL.findall(match[2] or "")}
        found.append(Sample(match[1], labels, value))
    return tuple(found)


def _unescaped(text: str) -> str:
    return re.sub(r"\\.", lambda found: _ESCAPES.get(found[0], found[0]), text)


def values(samples: Iterable[Sample], name: str) -> tuple[float, ...]:
    """The values of a metric, one a series (a rank, a replica)."""
    return tuple(sample.value for sample in samples if sample.name == name)


def histogram(samples: Iterable[Sample], name: str) -> Measured | None:
    """A histogram with all its series added up; None where it is not there."""
    counts = values(samples, f"{name}_count")
    if not counts:
        return None
    buckets: dict[float, float] = {}
    for sample in samples:
        if sample.name == f"{name}_bucket" and "le" in sample.labels:
            try:
                bound = float(sample.labels["le"])
            except ValueError:
                continue
            if math.isfinite(bound):
                buckets[bound] = buckets.get(bound, 0.0) + sample.value
    return Measured(sum(counts), sum(values(samples, f"{name}_sum")), tuple(sorted(buckets.items())))
