"""The constants of the memory model, read from `data/memory_constants.toml` the first time that they are asked for."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from kcluster.physics.memory_terms import MemoryConstants
from kcluster.units import Figure
from kcluster.values import fields

_PATH: Final = Path(__file__).with_name("data") / "memory_constants.toml"


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
    rows = tomllib.loads(_PATH.read_text(encoding="utf-8"))
    return MemoryConstants(**{field.name: figure(field.name, rows[field.name]) for field in fields(MemoryConstants)})
