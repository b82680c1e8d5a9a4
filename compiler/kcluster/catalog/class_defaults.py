"""What configuration classes take for fields that a config.json does not have."""

from __future__ import annotations

from functools import lru_cache

from kcluster.catalog.rows import read


@lru_cache(maxsize=1)
def _text() -> str:
    return read("class_defaults.txt")


@lru_cache(maxsize=256)
def class_defaults(kind: str) -> dict[str, object]:
    """The defaults of the class of a `model_type`; empty for one that has no class. The caller does not change it."""
    start = _text().find(f"\n{kind} ") + 1 if kind.isidentifier() else 0
    if not start:
        return {}
    found: dict[str, object] = {}
    for cell in _text()[start:].partition("\n")[0].split()[1:]:
        name, _, value = cell.partition("=")
        found[name] = int(value) if value.isdigit() else value == "true"
    return found
