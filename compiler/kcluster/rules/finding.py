"""Where a finding points, and how it is put together.

A finding points at what the author wrote: the attribute of its subject, else the cards it is judged on, else the head of
the block. Further labels go to the lines that set the other numbers, in whichever file they stand.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from kcluster.diagnostics import CODES, Diagnostic, Edit, Fix, Label, Severity
from kcluster.source import Source, Span
from kcluster.spec.schema_model import SLA
from kcluster.spec.schema_serve import ENGINE, PARALLEL
from kcluster.spec.types import HardwareSpec, ModelSpec, NodeSpec, RouterSpec, ServeSpec, SlaSpec, Value
from kcluster.values import frozen

_PARALLEL: Final = frozenset(row.name for row in PARALLEL.attributes)
_ENGINE: Final = frozenset(row.name for row in ENGINE.attributes)
_SLA: Final = frozenset(row.name for row in SLA.attributes if not row.bound)
_BOUNDS: Final = frozenset(row.name for row in SLA.attributes if row.bound)
_MODEL: Final = ("weights", "id", "checkpoint", "revision")
_HARDWARE: Final = ("network", "hosts", "interface", "user", "model_path", "storage", "reserved")


@frozen
class Place:
    """A span with its file. `written`: the author wrote it there, rather than it being the nearest thing to look at."""

    source: Source
    span: Span
    written: bool = False


@frozen
class Mark:
    """A further place with a short text."""

    place: Place
    text: str


def place_of(value: Value[Any]) -> Place:
    """The attribute that gave a value where it was written, else what its origin names."""
    span = value.attribute if value.attribute is not None else value.origin.span
    return Place(value.origin.source, span, value.written)


def head_of(block: ServeSpec | ModelSpec | HardwareSpec | SlaSpec | RouterSpec) -> Place:
    return Place(block.source, block.head)


def gpus_of(hardware: HardwareSpec, node: int = 0) -> Place:
    """The `gpus` attribute of a node, else the head of the hardware block."""
    return place_of(hardware.nodes[node].gpus) if hardware.nodes else head_of(hardware)


def bus_of(hardware: HardwareSpec, node: int = 0) -> Place:
    """The `bus` attribute where it was written, else `gpus`, whose card decides the bus."""
    found: NodeSpec | None = hardware.nodes[node] if hardware.nodes else None
    return place_of(found.bus) if found is not None and found.bus.written else gpus_of(hardware, node)


def _attribute(serve: ServeSpec, subject: str) -> Value[Any] | None:
    if subject in _PARALLEL:
        return getattr(serve.parallel, subject)  # type: ignore[no-any-return]
    if subject in _ENGINE:
        return getattr(serve.engine, subject)  # type: ignore[no-any-return]
    if subject in _MODEL:
        return getattr(serve.model, subject)  # type: ignore[no-any-return]
    if subject == "hosts":
        return serve.hardware.hosts_given
    if subject in _HARDWARE:
        return getattr(serve.hardware, subject)  # type: ignore[no-any-return]
    if serve.sla is not None and subject in _SLA:
        return getattr(serve.sla, subject)  # type: ignore[no-any-return]
    if serve.sla is not None and subject in _BOUNDS:
        bound = next((bound for bound in serve.sla.bounds if bound.name == subject), None)
        return bound.value if bound is not None else None
    return None


def written(serve: ServeSpec, *subjects: str) -> Place | None:
    """The place of the first of these attributes that the author wrote, None where none was."""
    for subject in subjects:
        value = _attribute(serve, subject)
        if value is not None and value.written:
            return place_of(value)
    return None


_TAKEN_FROM_FLAGS: Final = (
    "gpu_memory_utilization",
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "prefix_caching",
    "chunked_prefill",
    "kv_cache",
    "dtype",
)


def flagged(serve: ServeSpec, subject: str) -> Place | None:
    """The raw flag that the plan takes for an attribute that was not written; None where there is none."""
    engine = serve.engine
    if subject not in _TAKEN_FROM_FLAGS or not engine.args:
        return None
    from kcluster.catalog.engines import flag_table
    from kcluster.spec.flags import ATTRIBUTE_OF_FLAG

    table = flag_table(engine.name.value, engine.version.value)
    for name, _ in engine.args:
        match = table.match(name.value) if table is not None else None
        if match is not None and ATTRIBUTE_OF_FLAG.get(match.flag.name) == subject:
            return place_of(name)
    return None


def rewrite(value: Value[Any] | None, text: str) -> tuple[Fix, ...]:
    """A fix that puts another value where the author wrote one; none where nobody did. Unsafe: it is another setting."""
    if value is None or not value.written:
        return ()
    edit = Edit(value.origin.span, text)
    return (Fix(f"write `{text}`", (edit,), "unsafe"),)


def blame(serve: ServeSpec, *subjects: str) -> Place:
    """Where a finding about these subjects points: the first that was written, also as a raw flag, else the serve's cards.

    Raises nothing: an unknown subject is one that nobody wrote.
    """
    for subject in subjects:
        found = written(serve, subject) or flagged(serve, subject)
        if found is not None:
            return found
    if "draft" in subjects and serve.model.draft is not None:
        return Place(serve.model.draft.source, serve.model.draft.block, True)
    if "bus" in subjects:
        return bus_of(serve.hardware)
    return gpus_of(serve.hardware)


def finding(
    code: str,
    message: str,
    at: Place,
    *,
    severity: Severity | None = None,
    label: str = "",
    marks: Iterable[Mark | None] = (),
    notes: Iterable[str] = (),
    help: Iterable[str] = (),
    fixes: Iterable[Fix] = (),
    figure: str = "",
) -> Diagnostic:
    """A diagnostic of this code; its severity is the registry's unless a case of the rule has another. A mark on the place of the
    finding itself becomes its label, where it has none; of two marks on one place the first stands."""
    seen = {(id(at.source), at.span)}
    labels = []
    for mark in marks:
        if mark is None or not mark.text:
            continue
        where = (id(mark.place.source), mark.place.span)
        if where == (id(at.source), at.span) and not label:
            label = mark.text
        if where in seen:
            continue
        seen.add(where)
        other = mark.place.source if mark.place.source is not at.source else None
        labels.append(Label(mark.place.span, mark.text, other))
    return Diagnostic(
        code=code,
        message=message,
        source=at.source,
        span=at.span,
        severity=severity if severity is not None else CODES[code].severity,
        label=label,
        labels=tuple(labels),
        notes=tuple(note for note in notes if note),
        help=tuple(line for line in help if line),
        fixes=tuple(fixes),
        figure=figure,
    )
