"""The time model's constants from `data/time_constants.toml`, as figures that say where they come from."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from kcluster.catalog.rows import parse, read
from kcluster.physics.time_constants import CollectiveTable, Residual, TimeConstants
from kcluster.units import GB, Unit, given

_SECONDS: Final = frozenset(
    (
        "layer",
        "layer_moe",
        "layer_block",
        "step_ranks",
        "layer_eager",
        "step_v0",
        "step_v1",
        "step_async",
        "sequence",
        "request",
        "allreduce_eager",
        "send",
        "send_staged",
        "exchange",
    )
)


@lru_cache(maxsize=1)
def time_constants() -> TimeConstants:
    """The constants of this release."""
    return make_time_constants(parse(read("time_constants.toml")))


def make_time_constants(data: dict[str, Any]) -> TimeConstants:
    """Constants from the parsed file."""
    fitted = dict(data["fitted"])
    sources = fitted.pop("source", {})
    figures = {}
    for name, value in fitted.items():
        unit: Unit = "s" if name in _SECONDS else "ratio"
        source = sources.get(name) or sources.get("note", "")
        figures[name] = given(f"time.{name}", value, unit, f"catalog time_constants.toml: {source}")
    return TimeConstants(
        **figures,
        tables=tuple(_table(row) for row in data["table"]),
        residuals=tuple(Residual(row["name"], row["low"], row["high"], row["points"]) for row in data["residual"]),
    )


def _rising(times: list[float]) -> tuple[float, ...]:
    """Seconds from measured microseconds; a larger message never costs less than a smaller one, which could be padded to it."""
    return tuple(min(times[index:]) * 1e-6 for index in range(len(times)))


def _table(row: dict[str, Any]) -> CollectiveTable:
    return CollectiveTable(
        name=row["name"],
        path=row["path"],
        bus=row["bus"],
        generation=row["generation"],
        bandwidth=row["bandwidth_gbs"] * GB,
        sizes=tuple(float(size) for size in row["sizes"]),
        ranks=tuple(row["ranks"]),
        seconds=tuple(_rising(times) for times in row["us"]),
        low=row["low"],
        high=row["high"],
        source=row["source"],
    )
