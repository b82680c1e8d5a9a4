"""`sla` blocks: the load, with defaults for what is silent, and the bounds."""

from __future__ import annotations

from typing import Final

from kcluster.spec.reader import Fields
from kcluster.spec.types import Bound, BoundName, SlaSpec, Value

DEFAULT_CONCURRENCY: Final = 8
DEFAULT_CONTEXT: Final = 8192
DEFAULT_PROMPT: Final = 2048
DEFAULT_COMPLETION: Final = 512

_BOUNDS: Final[tuple[BoundName, ...]] = ("tokens_per_second", "ttft", "itl", "answer", "throughput")


def build_sla(fields: Fields) -> SlaSpec:
    """The SLA of a block. What is silent is taken so that prompt and completion stay inside the context; each such value's
    origin says by which rule."""
    context = fields.get("context") or _context(fields)
    prompt = fields.get("prompt") or _prompt(fields, context.value)
    completion = fields.get("completion") or _completion(fields, context.value, prompt.value)
    return SlaSpec(
        name=fields.name,
        concurrency=fields.or_default(
            "concurrency", DEFAULT_CONCURRENCY, "a handful of users, because the SLA does not say"
        ),
        context=context,
        prompt=prompt,
        completion=completion,
        prefix_share=fields.or_default("prefix_share", 0.0, "prompts that share nothing, because the SLA does not say"),
        percentile=fields.or_default("percentile", "p50", "bounds mean the median unless the SLA says otherwise"),
        survive_loss=fields.get("survive_loss"),
        bounds=_bounds(fields),
        unread=_unread(fields),
        block=fields.span,
        head=fields.head,
        source=fields.source,
    )


def _unread(fields: Fields) -> tuple[str, ...]:
    load = ("concurrency", "context", "prompt", "completion")
    return load if fields.torn else tuple(name for name in load if name in fields.tried and fields.get(name) is None)


def _context(fields: Fields) -> Value[int]:
    prompt, completion = fields.value("prompt"), fields.value("completion")
    if prompt is not None and completion is not None:
        return fields.default(prompt + completion, "the typical prompt and completion, because the SLA does not say")
    longest = max(DEFAULT_CONTEXT, 2 * (prompt or completion or 0))
    return fields.default(longest, "a usual length, because the SLA does not say")


def _prompt(fields: Fields, context: int) -> Value[int]:
    left = context - (fields.value("completion") or 0)
    length = max(1, min(DEFAULT_PROMPT, context // 4, left))
    return fields.default(length, "a quarter of the context and at most 2,048, because the SLA does not say")


def _completion(fields: Fields, context: int, prompt: int) -> Value[int]:
    length = max(1, min(DEFAULT_COMPLETION, context // 16, context - prompt))
    return fields.default(length, "a sixteenth of the context and at most 512, because the SLA does not say")


def _bounds(fields: Fields) -> tuple[Bound, ...]:
    """The bounds in the order in which they were written."""
    found = []
    for name in _BOUNDS:
        value = fields.get(name)
        row = fields.schema.attribute(name)
        if value is not None and row is not None and row.bound:
            found.append(Bound(name, row.bound, value))
    return tuple(sorted(found, key=lambda bound: bound.value.origin.span.start))
