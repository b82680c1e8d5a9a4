"""The plan as the public JSON object, schema `kcluster.plan/1` (`schemas/plan.schema.json`).

Memory is in GiB as engines log it, times in seconds, rates in tokens a second, everything else in the unit of its key.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from kcluster.diagnostics import Diagnostic
from kcluster.physics.cut import Cut
from kcluster.physics.results import Communication, Memory, Performance
from kcluster.planner.types import Alternative, Candidate, Plan, ServePlan, SlaVerdict
from kcluster.units import GIB, Figure
from kcluster.version import VERSION

SCHEMA: Final = "kcluster.plan/1"

EngineArguments = Callable[[ServePlan], tuple[Mapping[str, Any], Mapping[str, str]]]
"""(flags, environment) of a serve's engine; a bare flag is True, a repeated one a list."""
RouterOf = Callable[[ServePlan], Mapping[str, Any] | None]


def plan_object(
    plan: Plan,
    diagnostics: Iterable[Diagnostic],
    artifacts: Iterable[Any] = (),
    engine_args: EngineArguments | None = None,
    *,
    router: RouterOf | None = None,
) -> dict[str, Any]:
    """One plan with its fixed keys.

    Args:
        diagnostics: every finding of the spec, suppressed ones included.
        artifacts: what `compile` would write (`path` and `text` each); each serve lists those that are its own (under its nodes'
            folders or its name) and those of the whole folder.
        engine_args: gives a serve's flags and environment; empty ones without it.
        router: gives what stands in front of a serve; None without it.
    """
    found = tuple(diagnostics)
    files = tuple(artifacts)
    cards = {
        (node.host, gpu): node
        for serve in plan.serves
        for node, gpus in zip(serve.serve.cluster.nodes, serve.serve.gpu_ids, strict=False)
        for gpu in gpus
    }
    used = {
        (serve.hosts[place.node], serve.serve.gpu_ids[place.node][place.gpu])
        for serve in plan.serves
        for engine in serve.chosen.placement
        for place in engine.places
    }
    return {
        "schema": SCHEMA,
        "kcluster_version": VERSION,
        "spec": {"path": plan.spec.source.path, "sha256": _hash(plan.spec.source.text)},
        "diagnostics": [_diagnostic(one) for one in found],
        "cluster": {"nodes": len({host for host, _ in cards}), "gpus": len(cards), "idle": len(cards) - len(used)},
        "serves": [_serve(plan, serve, found, files, engine_args, router) for serve in plan.serves],
    }


def _hash(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _diagnostic(one: Diagnostic) -> dict[str, Any]:
    from kcluster.render.json_ import diagnostic_object

    return diagnostic_object(one)


def _serve(
    plan: Plan,
    serve: ServePlan,
    diagnostics: Sequence[Diagnostic],
    artifacts: Sequence[Any],
    engine_args: EngineArguments | None,
    router: RouterOf | None,
) -> dict[str, Any]:
    chosen = serve.chosen
    arguments, environment = engine_args(serve) if engine_args is not None else ({}, {})
    front = router(serve) if router is not None else None
    return {
        "name": serve.name,
        "fits": chosen.fits,
        "meets_sla": chosen.meets_sla,
        "parallel": _parallel(chosen.cut),
        "placement": _placement(serve),
        "limits": _limits(chosen),
        "memory": _memory(chosen.memory) if chosen.memory is not None else None,
        "communication": _communication(chosen.communication) if chosen.communication is not None else None,
        "performance": _performance(chosen.performance) if chosen.performance is not None else None,
        "engine": {
            "name": serve.serve.engine.name.value,
            "version": ".".join(str(part) for part in serve.serve.engine.version.value),
            "args": dict(arguments),
            "env": dict(environment),
        },
        "router": dict(front) if front is not None else None,
        "ports": _ports(serve),
        "sla": [_verdict(verdict) for verdict in chosen.verdicts],
        "alternatives": [_alternative(rank, one) for rank, one in enumerate(serve.alternatives, 1)],
        "artifacts": [{"path": one.path, "sha256": _hash(one.text)} for one in _own(plan, serve, artifacts)],
        "diagnostics": [_diagnostic(one) for one in diagnostics if _about(serve, one)],
    }


def _parallel(cut: Cut) -> dict[str, int]:
    return {
        "replicas": cut.replicas,
        "tp": cut.tp,
        "pp": cut.pp,
        "dp": cut.dp,
        "ep": cut.ep_size,
        "dcp": cut.dcp,
    }


def _placement(serve: ServePlan) -> list[dict[str, Any]]:
    """One entry a replica, stage and host (stages of all data-parallel ranks together), with the machine's own card numbers."""
    entries = []
    for replica, engine in enumerate(serve.chosen.placement):
        for stage in range(len(engine.ranks[0])):
            by_node: dict[int, list[int]] = {}
            for rank in engine.ranks:
                for place in rank[stage]:
                    by_node.setdefault(place.node, []).append(serve.serve.gpu_ids[place.node][place.gpu])
            entries += [
                {"replica": replica, "stage": stage, "host": serve.hosts[node], "gpus": gpus}
                for node, gpus in by_node.items()
            ]
    return entries


def _limits(candidate: Candidate) -> dict[str, Any]:
    limits = candidate.limits
    return {
        "max_model_len": limits.max_model_len,
        "max_num_seqs": limits.max_num_seqs,
        "max_num_batched_tokens": limits.max_num_batched_tokens,
        "kv_dtype": limits.kv_format,
        "gpu_memory_utilization": limits.utilization,
    }


def _memory(budget: Memory) -> dict[str, Any]:
    return {
        "gpu_memory_gib": _gib(budget.total),
        "usable_gib": _gib(budget.usable),
        "weights_gib": _gib(budget.weights),
        "activation_gib": _gib(budget.activation),
        "cuda_graph_gib": _gib(budget.cuda_graph),
        "non_torch_gib": _gib(budget.non_torch),
        "kv_cache_gib": _gib(budget.kv_cache),
        "kv_bytes_per_token": _plain(budget.kv_bytes_per_token),
        "kv_fixed_bytes_per_sequence": _plain(budget.kv_fixed_bytes_per_sequence),
        "kv_cache_tokens": _plain(budget.kv_tokens),
        "max_concurrency": _plain(budget.max_concurrency),
        "range": {
            "weights_gib": _gib_range(budget.weights),
            "kv_cache_gib": _gib_range(budget.kv_cache),
            "kv_cache_tokens": _range(budget.kv_tokens),
            "max_concurrency": _range(budget.max_concurrency),
        },
        "stages": [
            {
                "stage": stage.stage,
                "layers": stage.layers,
                "weights_gib": _gib(stage.weights),
                "kv_cache_gib": _gib(stage.kv_cache),
            }
            for stage in budget.stages
        ],
    }


def _communication(talk: Communication) -> dict[str, Any]:
    return {
        "allreduce_bytes_per_step": _plain(talk.allreduce_bytes_per_step),
        "allreduce_seconds_per_step": _plain(talk.allreduce_seconds_per_step),
        "pipeline_bytes_per_step": _plain(talk.pipeline_bytes_per_step),
        "prefill_allreduce_bytes": _plain(talk.prefill_allreduce_bytes),
        "prefill_pipeline_bytes": _plain(talk.prefill_pipeline_bytes),
        "alltoall_bytes_per_step": _plain(talk.alltoall_bytes_per_step),
    }


def _performance(timed: Performance) -> dict[str, Any]:
    return {
        "ttft_s": _estimate(timed.ttft),
        "itl_s": _estimate(timed.itl),
        "tokens_per_second_per_request": _estimate(timed.tokens_per_second),
        "output_tokens_per_second": _estimate(timed.throughput),
        "answer_s": _estimate(timed.answer),
        "bound_by": timed.bound_by,
    }


def _ports(serve: ServePlan) -> list[dict[str, Any]]:
    return [
        {
            "replica": replica,
            "host": serve.hosts[engine.nodes[0]],
            "http": ports.http,
            **({"master": ports.master} if ports.master else {}),
            **({"dp_rpc": ports.dp_rpc} if ports.dp_rpc else {}),
        }
        for replica, (engine, ports) in enumerate(zip(serve.chosen.placement, serve.ports, strict=False))
    ]


def _verdict(verdict: SlaVerdict) -> dict[str, Any]:
    return {
        "bound": verdict.bound.name,
        "operator": verdict.bound.operator,
        "target": _number(verdict.bound.value.value),
        "predicted": _estimate(verdict.predicted),
        "met": verdict.met,
    }


def _alternative(rank: int, one: Alternative) -> dict[str, Any]:
    candidate = one.candidate
    budget, timed = candidate.memory, candidate.performance
    memory = None
    if budget is not None:
        memory = {
            "weights_gib": _gib(budget.weights),
            "kv_cache_gib": _gib(budget.kv_cache),
            "kv_cache_tokens": _plain(budget.kv_tokens),
            "max_concurrency": _plain(budget.max_concurrency),
            "kv_dtype": candidate.limits.kv_format,
        }
    return {
        "rank": rank,
        "parallel": _parallel(candidate.cut),
        "fits": candidate.fits,
        "meets_sla": candidate.meets_sla,
        "memory": memory,
        "performance": _performance(timed) if timed is not None else None,
        "code": one.code,
        "because": one.because,
    }


def _own(plan: Plan, serve: ServePlan, artifacts: Sequence[Any]) -> list[Any]:
    """Artifacts of a serve: all but those that carry the name of another one."""
    others = {other.name for other in plan.serves} - {serve.name}
    return [one for one in artifacts if not any(f"-{name}." in one.path or f"/{name}/" in one.path for name in others)]


def _about(serve: ServePlan, one: Diagnostic) -> bool:
    """Whether a finding lies in one of the blocks that make this serve."""
    spec = serve.serve
    blocks = [
        (spec.source, spec.block),
        (spec.model.source, spec.model.block),
        (spec.hardware.source, spec.hardware.block),
    ]
    if spec.sla is not None:
        blocks.append((spec.sla.source, spec.sla.block))
    return any(one.source.path == source.path and block.contains(one.span) for source, block in blocks)


def _number(value: float) -> float | int | None:
    """Rounded so that no machine prints another last digit; whole numbers as such; None for what is unbounded."""
    if not math.isfinite(value):
        return None
    rounded = float(f"{value:.10g}")
    return int(rounded) if rounded.is_integer() else rounded


def _plain(figure: Figure) -> float | int | None:
    return _number(figure.value)


def _gib(figure: Figure) -> float | int | None:
    return _number(round(figure.value / GIB, 4))


def _range(figure: Figure) -> list[float | int | None]:
    return [_number(value) for value in figure.range()]


def _gib_range(figure: Figure) -> list[float | int | None]:
    return [_number(round(value / GIB, 4)) for value in figure.range()]


def _estimate(figure: Figure) -> dict[str, float | int | None]:
    low, high = figure.range()
    return {"value": _plain(figure), "low": _number(low), "high": _number(high)}
