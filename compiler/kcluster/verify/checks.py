"""What was planned and what a real engine says, beside each other, and which setting of the spec explains a difference."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from kcluster.values import frozen

Verdict = Literal["as planned", "differs", "not judged"]


@frozen
class Check:
    """One thing that was compared.

    Attributes:
        name: `engine.version`, a flag (`--max-model-len`), or a figure by its name in `plan --format json`.
        planned, real: the two values; None where one has none.
        low, high: the range that a figure was planned to be in; None for a setting.
        unit: of a figure (`GiB`, `tokens`, `requests`, `s`, `ratio`), else empty.
        verdict: `not judged` where the log or the metrics do not have it, or no range was planned.
        why: what explains a difference, one sentence each, and what else a reader should know.
        attribute: what in the spec it comes from, empty where nothing there does.
    """

    name: str
    planned: Any
    real: Any
    verdict: Verdict
    unit: str = ""
    low: float | None = None
    high: float | None = None
    why: tuple[str, ...] = ()
    attribute: str = ""


@frozen
class Report:
    """Every comparison of one log or one answer of `/metrics`, in the order of cause. `refusal`: why the engine did not start."""

    serve: str
    kind: Literal["log", "metrics"]
    source: str
    checks: tuple[Check, ...]
    refusal: str = ""

    @property
    def first(self) -> Check | None:
        """The first thing that differs."""
        return next((check for check in self.checks if check.verdict == "differs"), None)

    @property
    def verdict(self) -> Literal["as planned", "differs", "refused"]:
        if self.refusal:
            return "refused"
        return "as planned" if self.first is None else "differs"


GIB_SLACK: Final = 0.005
"""What rounding to two digits takes from a size in a log."""


def figure(
    name: str,
    planned: float | None,
    limits: Iterable[float],
    real: Iterable[float],
    unit: str,
    slack: float = 0.0,
    attribute: str = "",
) -> Check:
    """A figure against its range. Of several reals (workers, ranks) the one furthest outside counts, else the last."""
    seen = tuple(real)
    low, high = (*limits, None, None)[:2]
    if planned is None or not seen or low is None or high is None:
        return Check(name, planned, seen[-1] if seen else None, "not judged", unit, low, high, attribute=attribute)
    worst = max(seen, key=lambda one: max(low - one, one - high))
    inside = low - slack <= worst <= high + slack
    return Check(name, planned, worst, "as planned" if inside else "differs", unit, low, high, attribute=attribute)


_CARD: Final = "memory.gpu_memory_gib"
# What moves a figure, by the flags that set it, strongest first.
_WEIGHTS: Final = (
    "model", "--quantization", "--dtype", "--tensor-parallel-size", "--pipeline-parallel-size", "--enable-expert-parallel",
    "--data-parallel-size", "--speculative-config", "--hf-overrides", "--load-format", "engine.version",
)  # fmt: skip
_POOL: Final = (
    "--kv-cache-memory-bytes", "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens", "--enforce-eager",
    "--cpu-offload-gb", "--enable-eplb", "--limit-mm-per-prompt", "--language-model-only", "--compilation-config",
    "--max-cudagraph-capture-size",
)  # fmt: skip
_TOKENS: Final = ("--kv-cache-dtype", "--block-size", "--decode-context-parallel-size", "--num-gpu-blocks-override")
MOVED_BY: Final = {
    "memory.weights_gib": _WEIGHTS,
    "memory.kv_cache_gib": (_CARD, *_POOL, *_WEIGHTS),
    "memory.kv_cache_tokens": (*_TOKENS, _CARD, *_POOL, *_WEIGHTS),
    "memory.max_concurrency": ("--max-model-len", *_TOKENS, _CARD, *_POOL, *_WEIGHTS),
}
BEFORE: Final = {
    "memory.kv_cache_gib": "memory.weights_gib",
    "memory.kv_cache_tokens": "memory.kv_cache_gib",
    "memory.max_concurrency": "memory.kv_cache_tokens",
}
"""The figure that another one is made of."""


def explained(checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks with what explains each figure that differs: settings that differ and move it, else the figure before it."""
    from kcluster.values import evolve

    different: dict[str, Check] = {}
    found = []
    for check in checks:
        if check.verdict == "differs":
            if check.name in MOVED_BY:
                check = evolve(check, why=(*check.why, *_reasons(check, different)))
            different[check.name] = check
        found.append(check)
    return tuple(found)


def _reasons(check: Check, different: dict[str, Check]) -> tuple[str, ...]:
    causes = [different[name] for name in MOVED_BY[check.name] if name in different]
    if causes:
        return tuple(_cause(cause) for cause in causes)
    before = different.get(BEFORE.get(check.name, ""))
    if before is not None:
        return (f"it follows from `{before.name}`",)
    if check.name == "memory.weights_gib":
        return ("no setting explains it: another checkpoint or format than the spec's `checkpoint` and `weights`",)
    if check.name == "memory.kv_cache_gib" and check.real < check.low:
        return (
            "no setting explains it: other processes on the card take memory, or the engine's own overhead is larger than planned",
        )
    return ("no setting explains it: the engine's own overhead is other than planned",)


def _cause(cause: Check) -> str:
    where = f" (`{cause.attribute}` in the spec)" if cause.attribute else ""
    return f"`{cause.name}` is {said(cause.real)} and was planned as {said(cause.planned)}{where}"


def said(value: Any) -> str:
    """A setting as a person reads it."""
    if value is None:
        return "not given"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return " ".join(map(said, value))
    return str(value)
