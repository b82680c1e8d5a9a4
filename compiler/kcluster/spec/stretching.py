"""The longest context of a model whose positions raw flags stretch: `--rope-scaling`, and what `--hf-overrides` sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_ROPE: Final = ("rope_scaling", "rope_parameters")
MOST: Final = 2**27
"""Tokens beyond which no stretched length is believed."""


def stretched_positions(positions: int | None, arguments: Mapping[str, object]) -> int | None:
    """Positions in tokens once flags have stretched them, as the engine derives them: the original length times the factor, unless
    `max_position_embeddings` is set outright. What cannot be read changes nothing.

    Args:
        arguments: raw flags with their values, dotted ones too.

    Source: vLLM, `config/model.py` (`_get_and_verify_max_len`).
    """
    overrides = _table(arguments, "--hf-overrides")
    nested = overrides.get("text_config")
    overrides = {**overrides, **(nested if isinstance(nested, dict) else {})}
    rope = _table(arguments, "--rope-scaling") or next(
        (found for name in _ROPE if isinstance(found := overrides.get(name), dict)), {}
    )
    own = overrides.get("max_position_embeddings")
    if isinstance(own, int) and 0 < own <= MOST:
        positions = own
    factor = _number(rope.get("factor"))
    if not factor or str(rope.get("rope_type", rope.get("type"))) in ("mrope", "su", "longrope", "llama3"):
        return positions
    original = _number(rope.get("original_max_position_embeddings")) or positions
    return min(int(original * factor), MOST) if original else positions


def _number(value: object) -> float:
    """A positive number, 0 for anything else."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return 0.0
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= MOST else 0.0


def _table(arguments: Mapping[str, object], flag: str) -> dict[str, Any]:
    """The JSON object of a flag, with what dotted flags add to it."""
    whole = arguments.get(flag)
    found: dict[str, Any] = {}
    if isinstance(whole, str):
        import json

        try:
            read = json.loads(whole)
        except (ValueError, RecursionError):
            read = None
        found = read if isinstance(read, dict) else {}
    for name, value in arguments.items():
        if name.startswith(f"{flag}."):
            at = found
            *path, last = name[len(flag) + 1 :].split(".")
            for key in path:
                inner = at.setdefault(key, {})
                at = inner if isinstance(inner, dict) else {}
            at[last] = value
    return found
