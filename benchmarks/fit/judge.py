"""Predictions for logged starts, and their errors."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from attrs import frozen
from benchmarks.fit.points import Start

from kcluster.physics.constraints import violations
from kcluster.physics.kv import concurrency, in_flight_tokens, kv_layout, pool_blocks, printed_tokens
from kcluster.physics.memory import MemoryConstants, memory
from kcluster.physics.results import Memory, Verdict
from kcluster.units import GIB, Figure


@frozen
class Judged:
    """One start beside its prediction. Errors are relative (0.01 = 1 % too high), None where the log has no such figure.

    `layout_error`: tokens or concurrency from the logged KV bytes, which asks only how the cache is laid out.
    """

    start: Start
    memory: Memory
    predicted: Verdict
    because: str
    weights_error: float | None
    kv_error: float | None
    kv_share_error: float | None
    capacity_error: float | None
    layout_error: float | None
    kv_inside: bool | None
    capacity_inside: bool | None

    @property
    def kv_spread(self) -> float | None:
        """High over low of the stated range of KV bytes; None where the low end is not positive."""
        low, high = self.memory.kv_cache.range()
        return high / low if low > 0 else None


def predict(start: Start, constants: MemoryConstants) -> Judged:
    """The model's answer for one start that is not excluded."""
    arch, fmt, cut, limits, card, engine = start.arch, start.fmt, start.cut, start.limits, start.card, start.engine
    assert arch is not None and fmt is not None and cut is not None
    assert limits is not None and card is not None and engine is not None
    found = memory(arch, fmt, cut, limits, (card,), engine, constants)
    broken = [item for item in violations(arch, fmt, cut, limits, engine, (card,)) if item.fatal]
    row = start.row
    kv = row.get("available_kv_gib")
    positive = kv is not None and kv > 0
    capacity, measured = _capacity(found, row, engine.at_least(0, 21), layout_is_hybrid(found))
    low, high = found.kv_cache.range()
    return Judged(
        start,
        found,
        "no" if broken else found.starts,
        broken[0].because if broken else "",
        _relative(found.weights.value, _bytes(row.get("model_loading_gib"))),
        _relative(found.kv_cache.value, _bytes(kv)) if positive else None,
        (found.kv_cache.value - kv * GIB) / card.memory.value if kv is not None else None,
        _relative(capacity.value, measured) if capacity is not None and measured else None,
        _layout_error(start) if positive else None,
        low <= kv * GIB <= high if kv is not None else None,
        capacity.range()[0] <= measured <= capacity.range()[1] if capacity is not None and measured else None,
    )


def layout_is_hybrid(found: Memory) -> bool:
    """Whether layers of several kinds share the pool, so that tokens and bytes are not proportional."""
    return found.layout is not None and found.layout.hybrid


def _capacity(found: Memory, row: dict[str, Any], same_line: bool, hybrid: bool) -> tuple[Figure | None, float | None]:
    """Concurrency where the log has it, else tokens. For hybrids the token line says nothing before it became concurrency ×
    length, and nothing after where the length is not in the log."""
    if row.get("max_concurrency") is not None and row.get("max_model_len") is not None:
        return found.max_concurrency, float(row["max_concurrency"])
    if row.get("kv_cache_tokens") is None:
        return None, None
    if hybrid and (row.get("max_model_len") is None or not same_line):
        return (None, None) if same_line else (found.kv_tokens, float(row["kv_cache_tokens"]))
    return found.kv_tokens, float(row["kv_cache_tokens"])


def _layout_error(start: Start) -> float | None:
    arch, cut, limits, card, engine = start.arch, start.cut, start.limits, start.card, start.engine
    assert arch is not None and cut is not None and limits is not None and card is not None and engine is not None
    layout = kv_layout(arch, cut, limits, engine, card)
    in_flight = in_flight_tokens(arch, limits, cut, engine)
    blocks = pool_blocks(layout, (start.row["available_kv_gib"] * GIB,) * cut.pp)
    if start.row.get("max_concurrency") is not None and start.row.get("max_model_len") is not None:
        return _relative(
            concurrency(layout, blocks, limits.max_model_len, in_flight, cut.dcp), start.row["max_concurrency"]
        )
    if start.row.get("kv_cache_tokens") is not None:
        return _relative(printed_tokens(layout, blocks, limits, in_flight, cut, engine), start.row["kv_cache_tokens"])
    return None


def _bytes(gib: float | None) -> float | None:
    return None if gib is None else gib * GIB


def _relative(predicted: float, measured: float | None) -> float | None:
    return None if not measured else predicted / measured - 1


def quantile(values: Iterable[float], share: float) -> float:
    """The `share` quantile by the next larger observation (the 90th percentile is exceeded by at most one in ten)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(share * len(ordered)) - 1))] if ordered else math.nan
