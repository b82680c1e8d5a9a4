"""What the compiler decided for the serves of a spec, at the places where an editor shows it: hints in the line, and the
figures behind an attribute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.physics.cut import Cut
from kcluster.planner.types import Candidate, Plan, ServePlan
from kcluster.render.plan_words import counted, shape, tokens
from kcluster.syntax.ast import Attribute, Block, File, WordNode
from kcluster.units import GIB
from kcluster.values import evolve, frozen

FIGURES: Final = {
    ("model", "weights"): ("memory.weights_gib",),
    ("model", "checkpoint"): ("memory.weights_gib",),
    ("hardware", "gpus"): ("memory.gpu_memory_gib", "memory.usable_gib"),
    ("hardware", "reserved"): ("memory.usable_gib",),
    ("hardware", "bus"): ("communication.allreduce_seconds_per_step",),
    ("hardware", "network"): ("communication.pipeline_seconds_per_step", "communication.allreduce_seconds_per_step"),
    ("sla", "concurrency"): ("memory.max_concurrency", "performance.batch"),
    ("sla", "context"): ("memory.kv_for_one", "memory.kv_cache_tokens"),
    ("sla", "prompt"): ("performance.prefill_s",),
    ("sla", "tokens_per_second"): ("performance.tokens_per_second_per_request",),
    ("sla", "ttft"): ("performance.ttft_s",),
    ("sla", "itl"): ("performance.itl_s",),
    ("sla", "answer"): ("performance.answer_s",),
    ("sla", "throughput"): ("performance.output_tokens_per_second",),
    ("parallel", "tp"): ("memory.weights_gib", "communication.allreduce_seconds_per_step"),
    ("parallel", "pp"): ("communication.pipeline_seconds_per_step",),
    ("parallel", "ep"): ("communication.alltoall_seconds_per_step",),
    ("engine", "gpu_memory_utilization"): ("memory.usable_gib", "memory.kv_cache_gib"),
    ("engine", "max_model_len"): ("memory.kv_for_one", "memory.max_concurrency"),
    ("engine", "max_num_seqs"): ("memory.cuda_graph_gib", "memory.activation_gib"),
    ("engine", "max_num_batched_tokens"): ("memory.activation_gib",),
    ("engine", "kv_cache"): ("memory.kv_bytes_per_token", "memory.kv_cache_gib"),
}
"""Block and attribute → the figures (names of `plan --why`) that it moves most."""


@frozen
class Hint:
    """A short text after an offset of the file; `detail` is shown when one points at it."""

    offset: int
    text: str
    detail: str = ""


def serves_of(plan: Plan | None, file: File, blocks: tuple[Block, ...]) -> tuple[ServePlan, ...]:
    """The serves that a place in a block concerns: that of a serve's block, all that use a model, hardware or SLA."""
    if plan is None or not blocks:
        return ()
    outer = blocks[0].span

    def concerned(serve: ServePlan) -> bool:
        spec = serve.serve
        parts = (spec, spec.model, spec.hardware, spec.sla)
        return any(one is not None and one.source.path == file.source.path and one.block == outer for one in parts)

    return tuple(serve for serve in plan.serves if concerned(serve))


def chosen_value(serve: ServePlan, block: str, attribute: str) -> str:
    """What an attribute of `parallel` or `engine` is in the plan, as it would be written; empty for others."""
    cut, limits = serve.chosen.cut, serve.chosen.limits
    found: dict[tuple[str, str], object] = {
        ("parallel", "replicas"): cut.replicas,
        ("parallel", "tp"): cut.tp,
        ("parallel", "pp"): cut.pp,
        ("parallel", "dp"): cut.dp,
        ("parallel", "dcp"): cut.dcp,
        ("parallel", "ep"): "on" if cut.ep else "off",
        ("engine", "max_model_len"): limits.max_model_len,
        ("engine", "max_num_seqs"): limits.max_num_seqs,
        ("engine", "max_num_batched_tokens"): limits.max_num_batched_tokens,
        ("engine", "kv_cache"): limits.kv_format,
        ("engine", "gpu_memory_utilization"): f"{limits.utilization:g}",
    }
    return str(found.get((block, attribute), ""))


def hints(file: File, plan: Plan | None) -> tuple[Hint, ...]:
    """For each serve what was chosen and what KV is left, at its head; behind each `auto` what it became."""
    if plan is None:
        return ()
    found: list[Hint] = []
    for serve in plan.serves:
        spec = serve.serve
        if spec.source.path != file.source.path:
            continue
        found.append(Hint(spec.head.end, " " + _summary(serve), plan_page(plan, serve)))
        block = next((one for one in file.items if isinstance(one, Block) and one.span == spec.block), None)
        if block is not None and not spec.implied:
            found += _autos(serve, block)
    return tuple(sorted(found, key=lambda one: one.offset))


def _autos(serve: ServePlan, block: Block) -> Iterator[Hint]:
    for inner in block.items:
        if not isinstance(inner, Block):
            continue
        for item in inner.items:
            if isinstance(item, Attribute) and isinstance(item.value, WordNode) and item.value.text == "auto":
                value = chosen_value(serve, inner.keyword.text, item.key.text)
                if value and value != "auto":
                    yield Hint(item.value.span.end, f" → {value}")


def _summary(serve: ServePlan) -> str:
    chosen = serve.chosen
    if chosen.fits == "no" or chosen.memory is None:
        return f"{_cut(chosen.cut)}: does not start"
    return f"{_cut(chosen.cut)}: {_kv(chosen)}"


def _cut(cut: Cut) -> str:
    return f"{counted(cut.replicas, 'replica', 'replicas')} of {shape(cut)}" if cut.replicas > 1 else shape(cut)


def _kv(chosen: Candidate) -> str:
    budget = chosen.memory
    assert budget is not None
    held = f"{budget.max_concurrency.value:.1f} × {tokens(chosen.limits.max_model_len)}"
    return f"KV {budget.kv_cache.value / GIB:.1f} GiB a GPU, holds {held}"


def plan_page(plan: Plan, serve: ServePlan) -> str:
    """The plan of one serve, as `kcluster plan` shows it."""
    from kcluster.render.plan_text import plan_text

    return plan_text(evolve(plan, serves=(serve,)))


def derivation(plan: Plan, serve: ServePlan, figure: str) -> str:
    """The arithmetic behind one figure of a serve; empty where the plan has no such figure."""
    from kcluster.render.why import UnknownFigure, why

    try:
        return why(evolve(plan, serves=(serve,)), figure)
    except UnknownFigure:
        return ""
