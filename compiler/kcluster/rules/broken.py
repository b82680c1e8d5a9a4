"""From what the planner found against its chosen candidate to findings in the spec.

The inequality of such a rule is written once, where the planner rejects with it (`kcluster.physics.constraints`,
`kcluster.planner`); the rule says where it stands in the spec, which other lines set the numbers, and what would help.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from kcluster.diagnostics import Diagnostic, Fix, Severity
from kcluster.physics.results import Memory
from kcluster.planner.types import Plan, ServePlan, Violation
from kcluster.rules.finding import Mark, Place, blame, finding, gpus_of, place_of, written
from kcluster.rules.words import count, shown
from kcluster.units import GIB, human

Marks = Callable[[ServePlan, Violation], Iterable[Mark | None]]
Texts = Callable[[ServePlan, Violation], Iterable[str]]

CUT: Final = ("replicas", "dp", "tp", "pp", "ep", "dcp")


def broken(plan: Plan, code: str) -> Iterator[tuple[ServePlan, Violation]]:
    """Every violation of a code on the chosen candidates, in file order. Where nothing that the author pinned starts, what the
    planner chose for itself is not worth a warning, and neither is how fast a number would be that cannot be: the fatal finding
    is the one to read."""
    for serve in plan.serves:
        fatal = {violation.subject for violation in serve.chosen.violations if violation.fatal}
        for violation in serve.chosen.violations:
            if violation.code != code:
                continue
            unpinned = violation.subject in CUT and written(serve.serve, violation.subject) is None
            mild = not (violation.fatal or violation.error)
            if not (fatal and mild and (unpinned or violation.subject in fatal)):
                yield serve, violation


def severity_of(violation: Violation, soft: Severity) -> Severity:
    """Error for what does not start or is called one, else what the rule says of the other cases."""
    return "error" if violation.fatal or violation.error else soft


def reported(
    plan: Plan,
    code: str,
    soft: Severity,
    *,
    unless: Sequence[str] = (),
    skip: Callable[[ServePlan], bool] | None = None,
    at: Callable[[ServePlan, Violation], Place] | None = None,
    message: Callable[[ServePlan, Violation], str] | None = None,
    label: Callable[[ServePlan, Violation], str] | None = None,
    marks: Marks | None = None,
    notes: Texts | None = None,
    help: Texts | None = None,
    fixes: Callable[[ServePlan, Violation], tuple[Fix, ...]] | None = None,
    unsure: Callable[[ServePlan], str] | None = None,
    figure: str = "",
) -> Iterator[Diagnostic]:
    """The findings of one code, one a violation. `unless`: codes whose fatal violation of the same plan is the cause of this
    one, so that one mistake is reported once; `skip`: serves of which the rule says something stronger; `unsure`: why a refusal
    is not certain, which makes it a warning."""
    for serve, violation in broken(plan, code):
        if skip is not None and skip(serve):
            continue
        if any(other.fatal and other.code in unless for other in serve.chosen.violations):
            continue
        doubt = unsure(serve) if unsure is not None else ""
        yield finding(
            code,
            message(serve, violation) if message is not None else violation.because,
            at(serve, violation) if at is not None else blame(serve.serve, violation.subject),
            severity="warning" if doubt else severity_of(violation, soft),
            label=label(serve, violation) if label is not None else "",
            marks=marks(serve, violation) if marks is not None else (),
            notes=(*(notes(serve, violation) if notes is not None else ()), doubt),
            help=help(serve, violation) if help is not None else (),
            fixes=fixes(serve, violation) if fixes is not None else (),
            figure=figure,
        )


def offloaded(serve: ServePlan) -> str:
    """Why a sum of memory is not certain: a flag that keeps weights in the host's memory, which the sum does not know."""
    for name, value in serve.serve.engine.args:
        if name.value.replace("_", "-") in _OFFLOADING and value.value not in (False, 0, "0"):
            return f"`{name.value}` keeps weights in the host's memory, which is not counted here"
    return ""


_OFFLOADING: Final = ("--cpu-offload-gb", "--offload-group-size")


def budget_mark(serve: ServePlan) -> Mark | None:
    """On the line that names the cards: what a card has and what takes it."""
    memory = serve.chosen.memory
    return Mark(gpus_of(serve.serve.hardware), budget(memory, serve.chosen.limits.utilization)) if memory else None


def budget(memory: Memory, utilization: float) -> str:
    """The sum behind the KV cache of the tightest card, as people write it."""
    taken = " − ".join(
        f"{part.value / GIB:.1f} {name}"
        for name, part in (
            ("weights", memory.weights),
            ("activations", memory.activation),
            ("buffers", memory.non_torch),
            ("graphs", memory.cuda_graph),
        )
        if part.value >= GIB / 20
    )
    left = memory.kv_cache
    result = f"{shown(left)} for KV" if left.value >= 0 else f"{human(-left.value, left.unit)} too little"
    return f"{shown(memory.total)} × {utilization:g} − {taken} = {result}"


def utilization_mark(serve: ServePlan) -> Mark | None:
    """On a written utilization: what it makes usable."""
    place = written(serve.serve, "gpu_memory_utilization")
    memory = serve.chosen.memory
    return Mark(place, f"{shown(memory.usable)} usable of {shown(memory.total)}") if place and memory else None


def weights_mark(serve: ServePlan) -> Mark | None:
    """On the model's format: what the weights take of the fullest card."""
    memory = serve.chosen.memory
    place = written(serve.serve, "weights", "checkpoint", "id")
    return Mark(place, f"{shown(memory.weights)} of weights on a card") if place and memory else None


def needed_text(serve: ServePlan) -> str:
    """What one request of `max_model_len` needs of the tightest card, as a sum."""
    memory = serve.chosen.memory
    if memory is None:
        return ""
    length = count(serve.chosen.limits.max_model_len)
    fixed = memory.kv_fixed_bytes_per_sequence
    besides = f" and {shown(fixed)}" if fixed.value > 0 else ""
    return f"needs {shown(memory.kv_for_one)} a card: {length} tokens × {shown(memory.kv_bytes_per_token)}{besides}"


def context_mark(serve: ServePlan) -> Mark | None:
    """On the line that set the length: what one request of it needs."""
    memory = serve.chosen.memory
    place = written(serve.serve, "max_model_len", "context")
    if place is None or memory is None:
        return None
    return Mark(place, needed_text(serve))


def cut_marks(serve: ServePlan, *besides: str) -> tuple[Mark, ...]:
    """On every pinned number of the cut: itself, but not on those that the finding is about."""
    found = []
    for name in ("replicas", "dp", "tp", "pp"):
        value = getattr(serve.serve.parallel, name)
        if value is not None and value.written and name not in besides:
            found.append(Mark(place_of(value), f"{name} {count(value.value)}"))
    return tuple(found)
