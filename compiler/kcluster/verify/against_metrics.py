"""An engine's `/metrics` against the plan: its KV cache, what load does to it, and the latencies against SLA and prediction."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from kcluster.targets.monitoring.metrics import Histogram, Metrics, metrics_for
from kcluster.verify.checks import Check, Report, Verdict, explained, figure
from kcluster.verify.exposition import Measured, Sample, histogram, values
from kcluster.verify.planned import Planned

FEW: Final = 20
"""Answers below which a share of them says little."""

KV_FULL: Final = 0.9
"""Share of the KV cache in use at which new requests soon wait or push others out."""


def against_metrics(plan: Planned, samples: tuple[Sample, ...], source: str) -> Report:
    """Everything that the metrics say, beside the plan."""
    metrics = metrics_for(plan.engine, plan.version)
    checks = explained((*_named(plan, samples), *_cache(plan, samples), *_pressure(plan, metrics, samples)))
    return Report(plan.name, "metrics", source, (*checks, *_latencies(plan, metrics, samples)))


def known(plan: Planned, samples: tuple[Sample, ...]) -> bool:
    """Whether these are metrics of the plan's engine."""
    metrics = metrics_for(plan.engine, plan.version)
    own = (metrics.waiting, metrics.running, f"{metrics.ttft.name}_count", "vllm:cache_config_info")
    return any(sample.name in own for sample in samples)


def _named(plan: Planned, samples: tuple[Sample, ...]) -> Iterator[Check]:
    said = {sample.labels["model_name"] for sample in samples if sample.labels.get("model_name")}
    names = sorted(said - {"undefined"})  # TensorRT-LLM before 1.3
    if names:
        # A trained adapter's name may stand beside the model's own.
        same = bool({*names} & {*plan.served_names})
        verdict: Verdict = "as planned" if same else "differs"
        yield Check("model", " ".join(plan.served_names), " ".join(names), verdict, attribute="model")


def _cache(plan: Planned, samples: tuple[Sample, ...]) -> Iterator[Check]:
    """The KV cache as vLLM's `cache_config_info` has it, one series an engine core."""
    infos = [sample.labels for sample in samples if sample.name == "vllm:cache_config_info"]
    if not infos:
        return
    yield from _settings(plan, infos[0])
    memory = plan.memory
    if not memory:
        return
    ranges = memory["range"]
    block = _number(infos[0].get("block_size")) or 16.0
    tokens, concurrency = _numbers(infos, "kv_cache_size_tokens"), _numbers(infos, "kv_cache_max_concurrency")
    if not memory["kv_fixed_bytes_per_sequence"]:
        # Engines before 0.2x do not say tokens; blocks of plain attention are tokens.
        tokens = tokens or [blocks * block for blocks in _numbers(infos, "num_gpu_blocks")]
        yield figure(
            "memory.kv_cache_tokens",
            memory["kv_cache_tokens"],
            ranges["kv_cache_tokens"],
            tokens,
            "tokens",
            slack=block,
        )
    yield figure(
        "memory.max_concurrency", memory["max_concurrency"], ranges["max_concurrency"], concurrency, "requests",
        slack=0.005 + block / max(1, plan.limits["max_model_len"]),
    )  # fmt: skip


def _settings(plan: Planned, info: dict[str, str]) -> Iterator[Check]:
    """Labels that repeat a flag of the plan."""
    for label, flag, attribute in (
        ("gpu_memory_utilization", "--gpu-memory-utilization", "gpu_memory_utilization"),
        ("kv_cache_memory_bytes", "--kv-cache-memory-bytes", "args"),
        ("cache_dtype", "--kv-cache-dtype", "kv_cache"),
        ("block_size", "--block-size", "args"),
        ("enable_prefix_caching", "--enable-prefix-caching", "prefix_caching"),
        ("kv_offloading_size", "--kv-offloading-size", "kv_offload"),
        ("num_gpu_blocks_override", "--num-gpu-blocks-override", "args"),
    ):
        real = info.get(label)
        planned = False if f"--no-{flag[2:]}" in plan.args else plan.args.get(flag)
        if flag == "--gpu-memory-utilization" and planned is None:
            planned = plan.limits["gpu_memory_utilization"]
        # What is not planned is the engine's to choose: a block's size, and whether a hybrid model caches prefixes.
        chosen = ("block_size", "enable_prefix_caching")
        if real is None or (planned is None and (real in ("None", "auto") or label in chosen)):
            continue
        number = isinstance(planned, (int, float)) and not isinstance(planned, bool)
        same = _number(real) == planned if number else real == str(planned)
        yield Check(flag, planned, real, "as planned" if same else "differs", attribute=attribute)


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _numbers(infos: list[dict[str, str]], label: str) -> list[float]:
    return [number for info in infos if (number := _number(info.get(label))) is not None]


def _pressure(plan: Planned, metrics: Metrics, samples: tuple[Sample, ...]) -> Iterator[Check]:
    """What load does: none of it is a setting, all of it says that the load is other than planned."""
    if metrics.preemptions and (found := values(samples, metrics.preemptions)):
        number = sum(found)
        why = ("the KV cache does not hold what runs: preempted requests compute their prompt again",) if number else ()
        yield Check(
            "preemptions",
            0,
            number,
            "differs" if number else "as planned",
            "requests",
            why=why,
            attribute="max_num_seqs",
        )
    if metrics.kv_usage and (found := values(samples, metrics.kv_usage)):
        usage = max(found)
        full = usage > KV_FULL
        why = ("new requests wait, and running ones may be preempted",) if full else ()
        yield Check("kv_usage", None, usage, "differs" if full else "as planned", "ratio", 0.0, KV_FULL, why)
    if metrics.waiting and metrics.running and values(samples, metrics.waiting):
        waiting, running = sum(values(samples, metrics.waiting)), sum(values(samples, metrics.running))
        many = waiting > max(1.0, running)
        seqs, planned = plan.limits["max_num_seqs"], plan.load["concurrency"]
        why = (
            (f"{running:g} run, of at most {seqs} a replica; the plan is for {planned} in flight over all replicas",)
            if many
            else ()
        )
        yield Check(
            "waiting", None, waiting, "differs" if many else "as planned", "requests", why=why, attribute="max_num_seqs"
        )


def _latencies(plan: Planned, metrics: Metrics, samples: tuple[Sample, ...]) -> Iterator[Check]:
    """Each measured wait: the SLA's bound at its percentile, and the median beside the prediction."""
    queue = histogram(samples, metrics.queue.name) if metrics.queue else None
    bounds = {row["bound"]: row for row in plan.sla}
    for name, key, of in (
        ("ttft", "ttft_s", metrics.ttft),
        ("itl", "itl_s", metrics.itl),
        ("answer", "answer_s", metrics.answer),
    ):
        measured = histogram(samples, of.name)
        if measured is None:
            continue
        if name in bounds:
            yield _asked(bounds[name], measured, _because(name, measured, queue, plan))
        if plan.performance:
            yield _predicted(plan, key, plan.performance[key], of, measured, _because(name, measured, queue, plan))


def _because(name: str, measured: Measured, queue: Measured | None, plan: Planned) -> tuple[str, ...]:
    """What of a wait was not work: a place in the queue."""
    if name == "itl" or queue is None or not measured.count or queue.mean < measured.mean / 4:
        return ()
    return (
        f"{queue.mean:.3g} s of {measured.mean:.3g} on average was waiting for a place among "
        f"max_num_seqs = {plan.limits['max_num_seqs']}",
    )


def _few(measured: Measured) -> tuple[str, ...]:
    return (f"only {measured.count:g} were measured",) if measured.count < FEW else ()


def _share(percentile: str) -> float:
    digits = percentile.removeprefix("p")
    return float(digits) / 100 if digits.replace(".", "", 1).isdigit() else 0.5


def _asked(row: dict[str, Any], measured: Measured, because: tuple[str, ...]) -> Check:
    share = _share(row["percentile"])
    low, high = measured.within(share)
    target = row["target"]
    real = _interval(low, high)
    name = f"sla.{row['bound']}"
    if not measured.count:
        return Check(name, target, None, "not judged", "s", 0.0, target, ("nothing was measured",), row["bound"])
    if high <= target * (1 + 1e-9):
        verdict: Verdict = "as planned"
    else:
        # In the bucket that the bound lies in, more cannot be told.
        verdict = "differs" if low >= target * (1 - 1e-9) else "not judged"
    why = (f"asked for {share:.4g} of requests, of which {measured.count:g} were measured",)
    return Check(
        name,
        target,
        real,
        verdict,
        "s",
        0.0,
        target,
        (*why, *because) if verdict != "as planned" else _few(measured),
        row["bound"],
    )


def _predicted(
    plan: Planned, key: str, row: dict[str, float], of: Histogram, measured: Measured, because: tuple[str, ...]
) -> Check:
    low, high = measured.within(0.5)
    name = f"performance.{key}"
    real = _interval(low, high)
    if not measured.count:
        return Check(name, row["value"], None, "not judged", "s", row["low"], row["high"], ("nothing was measured",))
    if low > row["high"]:
        return Check(name, row["value"], real, "differs", "s", row["low"], row["high"], (*_few(measured), *because))
    # Faster than predicted is what fewer requests in flight give.
    faster = high < row["low"]
    why = (
        (f"faster than predicted for {plan.load['concurrency']} in flight: less is in flight, or shorter",)
        if faster
        else ()
    )
    return Check(name, row["value"], real, "as planned", "s", row["low"], row["high"], (*_few(measured), *why))


def _interval(low: float, high: float) -> str:
    """The bucket that a share of the answers lies in."""
    return f"over {low:g}" if math.isinf(high) else f"{low:g} to {high:g}"
