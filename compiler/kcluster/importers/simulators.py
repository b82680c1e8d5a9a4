"""AISimulate's and AIConfigurator's YAML as launches, as far as their fields correspond to a spec's.

AISimulate: one `engine` with a worker role and `traffic` beside it. AIConfigurator: experiments, each under its name, with the
GPUs, the lengths, the targets and lists to search; a list of one value is a choice, a longer one leaves the choice open. Sources:
ai-dynamo/aisimulate `docs/replay/engine`, ai-dynamo/aiconfigurator `cli/example.yaml`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from kcluster.importers.words import Launch, Setting, Word
from kcluster.source import Span

NODE: Final = 8
"""Cards of a node where only a total is said, as both tools have it."""
_PARALLEL: Final = {
    "tensor": "--tensor-parallel-size", "pipeline": "--pipeline-parallel-size", "attention_data": "--data-parallel-size",
    "tp_list": "--tensor-parallel-size", "pp_list": "--pipeline-parallel-size", "dp_list": "--data-parallel-size",
}  # fmt: skip
_SCHEDULER: Final = {"max_batched_tokens": "--max-num-batched-tokens", "max_sequences": "--max-num-seqs"}
_WEIGHTS: Final = {"fp8": "fp8", "fp8_block": "fp8-block", "fp8_static": "fp8", "nvfp4": "nvfp4", "float16": "bf16", "bfloat16": "bf16", "int4_wo": "awq-int4"}  # fmt: skip


def simulated(document: Any) -> tuple[Launch, ...] | None:
    """The deployments that a document of either tool describes; None for a document of neither."""
    if not isinstance(document, dict):
        return None
    engine = document.get("engine")
    if isinstance(engine, dict) and isinstance(engine.get("workers"), dict) and isinstance(engine.get("model"), Word):
        return tuple(_engine(engine, document))
    named = {key: one for key, one in document.items() if isinstance(one, dict) and "serving_mode" in one}
    wanted = (
        [word.text for word in document["exps"] if isinstance(word, Word)]
        if isinstance(document.get("exps"), list)
        else []
    )
    if not named:
        return None
    return tuple(_experiment(key, named[key]) for key in wanted or named if key in named)


def _engine(engine: dict[str, Any], document: dict[str, Any]) -> Iterator[Launch]:
    workers = engine["workers"]
    for role, worker in workers.items():
        if not isinstance(worker, dict | Word):
            continue
        table = worker if isinstance(worker, dict) else {}
        cut, scheduler, cache = (_table(table, key) for key in ("parallelism", "scheduler", "kv_cache"))
        settings = [*_settings(cut, _PARALLEL), *_settings(scheduler, _SCHEDULER)]
        settings += _settings(engine, {"context_length": "--max-model-len"})
        settings += _settings(_table(cache, "capacity"), {"memory_fraction": "--gpu-memory-utilization"})
        if _number(cut.get("moe_expert")) > 1:
            settings.append(Setting("--enable-expert-parallel", (), cut["moe_expert"].span))
        notes = _notes(engine.get("backend"))
        if len(workers) > 1:
            notes.append(f"the {role} workers stand for themselves: disaggregated serving has no counterpart in a spec")
        hardware = table.get("hardware", engine.get("hardware"))
        yield Launch(
            engine["model"],
            tuple(settings),
            (),
            engine["model"].span,
            name="" if len(workers) == 1 else role,
            gpus=hardware.text if isinstance(hardware, Word) else "",
            replicas=max(1, _number(cut.get("replicas"))),
            load=tuple(_traffic(document)),
            version=_version(engine),
            notes=tuple(notes),
        )


def _traffic(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    traffic = _table(document, "traffic")
    source, load = _table(traffic, "source"), _table(traffic, "load")
    prompt, completion = _number(source.get("input_tokens")), _number(source.get("output_tokens"))
    yield from _lengths(prompt, completion)
    if _number(load.get("concurrency")):
        yield "concurrency =", str(_number(load["concurrency"]))
    slo = _table(document, "evaluation")
    slo = _table(slo, "slo") or _table(slo, "slos") or slo
    for key, bound in (("ttft_ms", "ttft"), ("itl_ms", "itl"), ("tpot_ms", "itl")):
        if _milliseconds(slo.get(key)):
            yield f"{bound} <=", _milliseconds(slo.get(key))


def _experiment(name: str, one: dict[str, Any]) -> Launch:
    model = one.get("model_path", one.get("model_name"))
    config = _table(one, "config")
    mode = one["serving_mode"].text if isinstance(one["serving_mode"], Word) else ""
    worker = _table(config, "decode_worker_config" if mode == "disagg" else "agg_worker_config") or _table(
        config, "worker_config"
    )
    settings = _settings(worker, _PARALLEL)
    experts = worker.get("moe_ep_list")
    if isinstance(experts, list) and len(experts) == 1 and _number(experts[0]) > 1:
        settings.append(Setting("--enable-expert-parallel", (), experts[0].span))
    cache = worker.get("kvcache_quant_mode")
    if isinstance(cache, Word) and cache.text == "fp8":
        settings.append(Setting("--kv-cache-dtype", (cache,), cache.span))
    weights = worker.get("gemm_quant_mode")
    notes = _notes(one.get("backend_name"))
    if mode == "disagg":
        notes.append("the decode workers were read: disaggregated serving has no counterpart in a spec")
    load = [*_lengths(_number(one.get("isl")), _number(one.get("osl")))]
    load += [
        (f"{key} <=", _milliseconds(one.get(of)))
        for of, key in (("ttft", "ttft"), ("tpot", "itl"))
        if _milliseconds(one.get(of))
    ]
    system = one.get("system_name")
    return Launch(
        model if isinstance(model, Word) else None,
        tuple(settings),
        (),
        model.span if isinstance(model, Word) else Span(0, 0),
        name=name,
        cards=_number(one.get("total_gpus")),
        gpus=system.text if isinstance(system, Word) else "",
        load=tuple(load),
        open=True,
        weights=_WEIGHTS.get(weights.text, "") if isinstance(weights, Word) else "",
        version=_version(one),
        notes=tuple(notes),
    )


def _lengths(prompt: int, completion: int) -> Iterator[tuple[str, str]]:
    if prompt and completion:
        yield "context =", str(prompt + completion)
        yield "prompt =", str(prompt)
        yield "completion =", str(completion)


def _notes(backend: Any) -> list[str]:
    named = backend.text if isinstance(backend, Word) else ""
    return [f"the backend {named} was read as vllm"] if named not in ("", "vllm") else []


def _version(table: dict[str, Any]) -> str:
    """The version of the backend where that is vLLM."""
    backend, version = table.get("backend", table.get("backend_name")), table.get("backend_version")
    known = isinstance(backend, Word) and backend.text == "vllm" and isinstance(version, Word)
    return (
        version.text if known and isinstance(version, Word) and re.fullmatch(r"\d+(\.\d+){1,2}", version.text) else ""
    )


def _settings(table: dict[str, Any], flags: dict[str, str]) -> list[Setting]:
    """Fields as flags; a list of several values is a search and no choice."""
    found = []
    for key, flag in flags.items():
        value = table.get(key)
        if isinstance(value, list):
            value = value[0] if len(value) == 1 else None
        if isinstance(value, Word) and re.fullmatch(r"\d+(\.\d+)?", value.text):
            found.append(Setting(flag, (value,), value.span))
    return found


def _table(table: dict[str, Any], key: str) -> dict[str, Any]:
    found = table.get(key)
    return found if isinstance(found, dict) else {}


def _number(value: Any) -> int:
    """A whole number of at least one, 0 for anything else."""
    return int(value.text) if isinstance(value, Word) and re.fullmatch(r"\d{1,9}", value.text) else 0


def _milliseconds(value: Any) -> str:
    if not isinstance(value, Word) or not re.fullmatch(r"\d{1,9}(\.\d{1,6})?", value.text):
        return ""
    return f"{float(value.text):g}ms"
