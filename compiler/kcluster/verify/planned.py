"""One serve of a compiled `plan.toml`, as what a real engine is compared with."""

from __future__ import annotations

import tomllib
from typing import Any, Final

from kcluster.values import frozen

SCHEMA: Final = "kcluster.plan.toml/1"


class Unreadable(Exception):
    """The file is no `plan.toml`, or of another kcluster; the text says which."""


@frozen
class Planned:
    """A serve's row of `plan.toml`. `args` are its engine's flags; `memory` and `performance` are empty where nothing fits."""

    name: str
    engine: str
    version: tuple[int, ...]
    checkpoint: str
    served_names: tuple[str, ...]
    limits: dict[str, Any]
    load: dict[str, Any]
    args: dict[str, Any]
    memory: dict[str, Any]
    performance: dict[str, Any]
    sla: tuple[dict[str, Any], ...]

    @property
    def version_text(self) -> str:
        return ".".join(map(str, self.version))


def read_plan(text: str) -> tuple[Planned, ...]:
    """The serves of a `plan.toml` in its order.

    Raises:
        Unreadable: it is not one, or not of this form.
    """
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(f"not TOML: {error}") from None
    if content.get("schema") != SCHEMA:
        raise Unreadable(f"its schema is {content.get('schema')!r}, and not {SCHEMA}")
    try:
        return tuple(_serve(row) for row in content["serves"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"it lacks {error}: compile the spec again") from None


_RANGED: Final = ("weights_gib", "kv_cache_gib", "kv_cache_tokens", "max_concurrency")
_LIMITS: Final = ("max_model_len", "max_num_seqs", "gpu_memory_utilization")


def _complete(row: dict[str, Any]) -> None:
    """What is compared is there and is numbers.

    Raises:
        KeyError, TypeError, ValueError: something is not.
    """
    memory = row.get("memory")
    if memory is not None:
        for key in (
            *_RANGED,
            "gpu_memory_gib",
            "cuda_graph_gib",
            "activation_gib",
            "non_torch_gib",
            "kv_fixed_bytes_per_sequence",
        ):
            float(memory[key])
        for key in _RANGED:
            low, high = memory["range"][key]
            float(low), float(high)
    for name in ("ttft_s", "itl_s", "answer_s") if "performance" in row else ():
        for key in ("value", "low", "high"):
            float(row["performance"][name][key])
    for bound in row.get("sla", ()):
        float(bound["target"]), str(bound["percentile"]), str(bound["bound"])
    for key in _LIMITS:
        float(row["limits"][key])
    float(row["load"]["concurrency"])


def _flags(keys: dict[str, Any]) -> dict[str, Any]:
    """The keys of Triton's `model.json` as the flags of the vLLM inside of it."""
    found = {}
    for key, value in keys.items():
        name = key.replace("_", "-")
        if value is False and not key.startswith("disable"):
            found[f"--no-{name}"] = True
        elif value is not False:
            found[f"--{name}"] = value
    return found


def _serve(row: dict[str, Any]) -> Planned:
    _complete(row)
    engine = row["engine"]
    return Planned(
        name=row["name"],
        engine=engine["name"],
        version=tuple(int(part) for part in engine["version"].split(".")),
        checkpoint=row["model"]["checkpoint"],
        served_names=tuple(row["model"]["served_names"]),
        limits=row["limits"],
        load=row["load"],
        args=_flags(engine["args"]) if engine["name"] == "triton" else engine["args"],
        memory=row.get("memory", {}),
        performance=row.get("performance", {}),
        sla=tuple(row.get("sla", ())),
    )
