"""`plan.toml`: the decision, complete. `compile --check` compares with it, `verify` reads it, and the next compile knows by its
hashes which files it wrote. Figures carry the names of `plan --format json`."""

from __future__ import annotations

from typing import Any

from kcluster.physics.results import Communication, Memory, Performance
from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import comment_header, spec_name, spec_sha256, text_sha256
from kcluster.targets.layout import processes_of, served_names
from kcluster.targets.ports import open_ports
from kcluster.targets.types import Artifact
from kcluster.units import GIB, Figure
from kcluster.version import VERSION

SCHEMA = "kcluster.plan.toml/1"


def plan_toml(plan: Plan, artifacts: tuple[Artifact, ...]) -> str:
    """The text of `plan.toml`, with the hashes of the files that are written beside it. It holds no secret: only the names of
    the variables that will."""
    import tomli_w

    serves = [_serve(plan, serve_plan) for serve_plan in plan.serves]
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "kcluster_version": VERSION,
        "spec": {"path": spec_name(plan), "sha256": spec_sha256(plan)},
        "serves": serves,
        "ports": [
            {"host": p.host, "port": p.text, "what": p.what, "serve": p.serve, "reached_from": p.reached_from}
            for p in open_ports(plan)
        ],
        "files": [
            {"path": artifact.path, "sha256": text_sha256(artifact.text), "executable": artifact.executable}
            for artifact in sorted(artifacts, key=lambda artifact: artifact.path)
        ],
    }
    imports = [
        {"path": source.path.rpartition("/")[2], "sha256": text_sha256(source.text)}
        for source in plan.spec.sources
        if source.path != plan.spec.source.path
    ]
    if imports:
        content["spec"]["imports"] = imports
    return comment_header(plan, "What was decided, and the hashes of the files") + "\n" + tomli_w.dumps(content)


def _serve(plan: Plan, serve_plan: ServePlan) -> dict[str, Any]:
    serve, chosen = serve_plan.serve, serve_plan.chosen
    cut = chosen.cut
    found: dict[str, Any] = {
        "name": serve_plan.name,
        "fits": chosen.fits,
        "meets_sla": chosen.meets_sla,
        "distribution": serve_plan.distribution,
        "runtime": serve.runtime.value,
        "engine": {
            "name": serve.engine.name.value,
            "version": ".".join(str(part) for part in serve.engine.version.value),
            "args": _arguments(plan, serve_plan),
        },
        "model": _present(
            id=serve.model.id.value,
            checkpoint=serve.model.checkpoint.value,
            revision=serve.model.revision.value if serve.model.revision else None,
            weights=serve.model.weights.value.name,
            served_names=list(served_names(serve_plan)),
        ),
        "parallel": _present(
            replicas=cut.replicas,
            tp=cut.tp,
            pp=cut.pp,
            dp=cut.dp,
            ep=cut.ep_size,
            dcp=cut.dcp,
            layers=list(cut.layers) if cut.layers else None,
            redundant_experts=cut.redundant_experts or None,
        ),
        "limits": {
            "max_model_len": chosen.limits.max_model_len,
            "max_num_seqs": chosen.limits.max_num_seqs,
            "max_num_batched_tokens": chosen.limits.max_num_batched_tokens,
            "kv_dtype": chosen.limits.kv_format,
            "gpu_memory_utilization": chosen.limits.utilization,
        },
        "load": {
            "concurrency": serve_plan.load.concurrency,
            "context": serve_plan.load.context,
            "prompt": serve_plan.load.prompt,
            "completion": serve_plan.load.completion,
            "prefix_share": serve_plan.load.prefix_share,
        },
        "placement": _placement(serve_plan),
        "processes": _processes(plan, serve_plan) if serve.runtime.value != "kubernetes" else [],
    }
    if serve.engine.api_key:
        found["secrets"] = [serve.engine.api_key.value.variable]
    return found | _figures(serve_plan)


def _processes(plan: Plan, serve_plan: ServePlan) -> list[dict[str, object]]:
    return [
        _present(
            file=f"{process.path}.sh",
            host=process.host,
            replica=process.replica,
            node_rank=process.node_rank,
            ranks=list(process.ranks),
            gpus=list(process.gpus),
            port=process.port or None,
        )
        for process in processes_of(plan, serve_plan)
    ]


def _figures(serve_plan: ServePlan) -> dict[str, Any]:
    """What is predicted of the chosen cut, and how that stands to the bounds."""
    serve, chosen = serve_plan.serve, serve_plan.chosen
    found: dict[str, Any] = {}
    if chosen.memory:
        found["memory"] = _memory(chosen.memory)
    if chosen.communication:
        found["communication"] = _communication(chosen.communication)
    if chosen.performance:
        found["performance"] = _performance(chosen.performance)
    if chosen.verdicts:
        found["sla"] = [
            {
                "bound": verdict.bound.name,
                "percentile": serve.sla.percentile.value if serve.sla else "",
                "operator": verdict.bound.operator,
                "target": verdict.bound.value.value,
                "predicted": _round(verdict.predicted.value),
                "met": verdict.met,
            }
            for verdict in chosen.verdicts
        ]
    return found


def _arguments(plan: Plan, serve_plan: ServePlan) -> dict[str, Any]:
    """The flags of the first process of the first replica, in the order of their names: what a log is held against."""
    from kcluster.targets import engine_arguments

    return dict(sorted(_present(**engine_arguments(plan, serve_plan)[0]).items()))


def _present(**values: object) -> dict[str, object]:
    """The values that are there: TOML has no null."""
    return {key: value for key, value in values.items() if value is not None}


def _placement(serve_plan: ServePlan) -> list[dict[str, Any]]:
    found = []
    for replica, engine in enumerate(serve_plan.chosen.placement):
        for rank, stages in enumerate(engine.ranks):
            for stage, group in enumerate(stages):
                for node in dict.fromkeys(place.node for place in group):
                    gpus = [serve_plan.serve.gpu_ids[node][place.gpu] for place in group if place.node == node]
                    found.append(
                        {"replica": replica, "rank": rank, "stage": stage, "host": serve_plan.hosts[node], "gpus": gpus}
                    )
    return found


def _round(value: float) -> float:
    """Six significant digits: what two machines' arithmetic agrees on."""
    return float(f"{value:.6g}")


def _gib(figure: Figure) -> float:
    return _round(figure.value / GIB)


def _memory(memory: Memory) -> dict[str, Any]:
    sizes = {
        "gpu_memory_gib": memory.total,
        "usable_gib": memory.usable,
        "weights_gib": memory.weights,
        "activation_gib": memory.activation,
        "cuda_graph_gib": memory.cuda_graph,
        "non_torch_gib": memory.non_torch,
        "kv_cache_gib": memory.kv_cache,
    }
    counts = {
        "kv_bytes_per_token": memory.kv_bytes_per_token,
        "kv_fixed_bytes_per_sequence": memory.kv_fixed_bytes_per_sequence,
        "kv_cache_tokens": memory.kv_tokens,
        "max_concurrency": memory.max_concurrency,
    }
    ranged = {
        **{key: [_round(end / GIB) for end in sizes[key].range()] for key in ("weights_gib", "kv_cache_gib")},
        **{key: [_round(end) for end in counts[key].range()] for key in ("kv_cache_tokens", "max_concurrency")},
    }
    return {
        **{key: _gib(figure) for key, figure in sizes.items()},
        **{key: _round(figure.value) for key, figure in counts.items()},
        "range": ranged,
        "stages": [
            {"stage": s.stage, "layers": s.layers, "weights_gib": _gib(s.weights), "kv_cache_gib": _gib(s.kv_cache)}
            for s in memory.stages
        ],
    }


def _communication(communication: Communication) -> dict[str, float]:
    return {
        "allreduce_bytes_per_step": _round(communication.allreduce_bytes_per_step.value),
        "allreduce_seconds_per_step": _round(communication.allreduce_seconds_per_step.value),
        "pipeline_bytes_per_step": _round(communication.pipeline_bytes_per_step.value),
        "alltoall_bytes_per_step": _round(communication.alltoall_bytes_per_step.value),
        "prefill_allreduce_bytes": _round(communication.prefill_allreduce_bytes.value),
        "prefill_pipeline_bytes": _round(communication.prefill_pipeline_bytes.value),
    }


def _performance(performance: Performance) -> dict[str, Any]:
    figures = {
        "ttft_s": performance.ttft,
        "itl_s": performance.itl,
        "tokens_per_second_per_request": performance.tokens_per_second,
        "output_tokens_per_second": performance.throughput,
        "answer_s": performance.answer,
    }
    found: dict[str, Any] = {"bound_by": performance.bound_by}
    for key, figure in figures.items():
        low, high = figure.range()
        found[key] = {"value": _round(figure.value), "low": _round(low), "high": _round(high)}
    return found
