"""The constants of the memory model, read from `data/memory_constants.toml` the first time that they are asked for."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from kcluster.catalog.rows import parse, read
from kcluster.physics.memory_terms import MemoryConstants
from kcluster.units import Figure
from kcluster.values import fields


def figure(name: str, row: dict[str, Any]) -> Figure:
    """One row of the file as a figure with its range and provenance."""
    return Figure(
        f"constant.{name}",
        float(row["value"]),
        row["unit"],
        source=row["source"],
        low=float(row["low"]),
        high=float(row["high"]),
    )


@lru_cache(maxsize=1)
def memory_constants() -> MemoryConstants:
    """The constants that ship with this version, each with its range (9 times in 10) and where it is from."""
    rows = parse(read("memory_constants.toml"))
    return MemoryConstants(**{field.name: figure(field.name, rows[field.name]) for field in fields(MemoryConstants)})
