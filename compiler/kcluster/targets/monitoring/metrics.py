"""The engines' metrics that are watched, and the bounds of their histograms.

A threshold between two bounds could only be interpolated; alerts therefore count against the next bound above the SLA's
figure. Where the names come from:

- vLLM: seen live on 0.32, and v1/metrics/loggers.py of 0.33. `gpu_cache_usage_perc` was renamed in 0.9.2 (0.11.0 still has
  both, later ones do not), `time_per_output_token_seconds` in 0.10.2.
- SGLang: srt/observability/metrics_collector.py and http_request_metrics.py of the wheel 0.5.23.
- TensorRT-LLM: tensorrt_llm/metrics/collector.py of the line 1.3; its `/metrics` is JSON, Prometheus has a path of its own. Before
  1.3 there are only waits of whole requests, without a prefix (pull requests 5785 and 12545, vllm-project/aibrix issue 2004).
- Triton with its vLLM backend: src/utils/metrics.py of triton-inference-server/vllm_backend on vLLM's V1 engine, which counts
  tokens and waits alone.

The last two were read and not seen live.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import ServePlan
from kcluster.values import frozen

_TTFT: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
_ITL: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
_ANSWER: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip
_SGLANG_TTFT: Final = (
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0,
)  # fmt: skip
_SGLANG_ITL: Final = (
    0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0,
    6.0, 8.0,
)  # fmt: skip
_SGLANG_ANSWER: Final = (*_SGLANG_TTFT, 600.0, 1200.0, 1800.0, 2400.0)
_SGLANG_QUEUE: Final = (
    0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0,
    90.0, 100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0, 1200.0, 1400.0, 1600.0, 1800.0, 2000.0, 2500.0,
    3000.0,
)  # fmt: skip

_KV_RENAMED: Final = (0, 9, 2)
_ITL_RENAMED: Final = (0, 10, 2)


@frozen
class Histogram:
    """A histogram without `_bucket`, and its bounds in seconds, ascending."""

    name: str
    bounds: tuple[float, ...]


@frozen
class Outcomes:
    """Counters of answers. `failed` counts those that failed: all of it, or where `status` names a label, its 5xx. `total` are
    the counters whose sum is all answers; `bad` and `good` are values of the label as the engine writes them."""

    failed: str
    total: tuple[str, ...]
    status: str = ""
    bad: str = ""
    good: str = ""


@frozen
class Metrics:
    """The names of one engine's metrics; None where it has no such metric."""

    kv_usage: str | None
    preemptions: str | None
    waiting: str | None
    running: str | None
    ttft: Histogram
    itl: Histogram
    answer: Histogram
    queue: Histogram | None
    output_tokens: str | None
    cache_hits: str | None
    """Hits and queries are counters of tokens, or of blocks; `hit_rate` is a gauge where an engine has that instead."""
    cache_queries: str | None
    hit_rate: str | None
    outcomes: Outcomes | None
    path: str = "/metrics"
    whole_bounds: bool = False
    """Whether a bound that is a whole number may be written without a point (`le="1"`), as C++ does."""


_VLLM: Final = Metrics(
    kv_usage="vllm:kv_cache_usage_perc",
    preemptions="vllm:num_preemptions_total",
    waiting="vllm:num_requests_waiting",
    running="vllm:num_requests_running",
    ttft=Histogram("vllm:time_to_first_token_seconds", _TTFT),
    itl=Histogram("vllm:inter_token_latency_seconds", _ITL),
    answer=Histogram("vllm:e2e_request_latency_seconds", _ANSWER),
    queue=Histogram("vllm:request_queue_time_seconds", _ANSWER),
    output_tokens="vllm:generation_tokens_total",
    cache_hits="vllm:prefix_cache_hits_total",
    cache_queries="vllm:prefix_cache_queries_total",
    hit_rate=None,
    outcomes=Outcomes("http_requests_total", ("http_requests_total",), "status", "5xx", "2xx"),
)
_SGLANG: Final = Metrics(
    kv_usage="sglang:token_usage",
    preemptions="sglang:num_retracted_requests_total",
    waiting="sglang:num_queue_reqs",
    running="sglang:num_running_reqs",
    ttft=Histogram("sglang:time_to_first_token_seconds", _SGLANG_TTFT),
    itl=Histogram("sglang:inter_token_latency_seconds", _SGLANG_ITL),
    answer=Histogram("sglang:e2e_request_latency_seconds", _SGLANG_ANSWER),
    queue=Histogram("sglang:queue_time_seconds", _SGLANG_QUEUE),
    output_tokens="sglang:generation_tokens_total",
    cache_hits=None,
    cache_queries=None,
    hit_rate="sglang:cache_hit_rate",
    outcomes=Outcomes(
        "sglang:http_responses_total", ("sglang:http_responses_total",), "status_code", bad="500", good="200"
    ),
)
_TRTLLM: Final = Metrics(
    kv_usage="trtllm_kv_cache_utilization",
    preemptions=None,
    waiting="trtllm_num_requests_waiting",
    running="trtllm_num_requests_running",
    ttft=Histogram("trtllm_time_to_first_token_seconds", _TTFT),
    itl=Histogram("trtllm_time_per_output_token_seconds", _ITL),
    answer=Histogram("trtllm_e2e_request_latency_seconds", _ANSWER),
    queue=Histogram("trtllm_request_queue_time_seconds", _ANSWER),
    output_tokens="trtllm_generation_tokens_total",
    cache_hits=None,
    cache_queries=None,
    hit_rate="trtllm_kv_cache_hit_rate",
    outcomes=Outcomes("trtllm_request_error_total", ("trtllm_request_success_total", "trtllm_request_error_total")),
    path="/prometheus/metrics",
)
_TRTLLM_FIRST: Final = Metrics(
    kv_usage=None,
    preemptions=None,
    waiting=None,
    running=None,
    ttft=Histogram("time_to_first_token_seconds", _TTFT),
    itl=Histogram("time_per_output_token_seconds", _ITL),
    answer=Histogram("e2e_request_latency_seconds", _ANSWER),
    queue=Histogram("request_queue_time_seconds", _ANSWER),
    output_tokens=None,
    cache_hits=None,
    cache_queries=None,
    hit_rate=None,
    outcomes=None,
    path="/prometheus/metrics",
)
_TRITON: Final = Metrics(
    kv_usage=None,
    preemptions=None,
    waiting=None,
    running=None,
    ttft=Histogram("vllm:time_to_first_token_seconds", tuple(bound for bound in _TTFT if bound <= 10)),
    itl=Histogram("vllm:time_per_output_token_seconds", tuple(bound for bound in _ITL if bound <= 2.5)),
    answer=Histogram("vllm:e2e_request_latency_seconds", (1.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)),
    queue=None,
    output_tokens="vllm:generation_tokens_total",
    cache_hits=None,
    cache_queries=None,
    hit_rate=None,
    outcomes=Outcomes("nv_inference_request_failure", ("nv_inference_request_success", "nv_inference_request_failure")),
    whole_bounds=True,
)
_ENGINES: Final = {"sglang": _SGLANG, "trtllm": _TRTLLM, "triton": _TRITON}
_TRTLLM_RENAMED: Final = (1, 3)


def metrics_of(serve_plan: ServePlan) -> Metrics:
    """The metrics of a serve's engine, in the version that the spec asks for, with the bounds that its raw flags give."""
    engine = serve_plan.serve.engine
    found = metrics_for(engine.name.value, engine.version.value)
    given = {name: bounds for flag, value in engine.args for name, bounds in _bounds(flag.value, value.value)}
    if not given:
        return found
    from kcluster.values import evolve

    own = {name: getattr(found, name) for name in given}
    return evolve(found, **{name: evolve(one, bounds=given[name]) for name, one in own.items() if one is not None})


_SET_BY: Final = {
    "--bucket-time-to-first-token": ("ttft",),
    "--bucket-inter-token-latency": ("itl",),
    "--bucket-e2e-request-latency": ("answer",),
    "time_to_first_token": ("ttft",),
    "inter_token_latency": ("itl",),
    "request_latency": ("answer", "queue"),
}
"""Flags of SGLang, and families of vLLM's `--custom-histogram-buckets`, that set the bounds of histograms."""


def _bounds(flag: str, value: object) -> Iterator[tuple[str, tuple[float, ...]]]:
    """The histograms whose bounds a raw flag sets; nothing where the engine would not take it."""
    flag = flag.replace("_", "-")
    families: object = {flag: value}
    if flag == "--custom-histogram-buckets" and isinstance(value, str):
        try:
            families = json.loads(value)
        except ValueError:
            return
    for family, listed in families.items() if isinstance(families, dict) else ():
        bounds = listed if isinstance(listed, list | tuple) else ()
        numbers = [float(one) for one in bounds if isinstance(one, int | float) and not isinstance(one, bool)]
        if numbers and len(numbers) == len(bounds):
            yield from ((name, tuple(sorted(numbers))) for name in _SET_BY.get(family, ()))


def metrics_for(engine: str, version: tuple[int, ...]) -> Metrics:
    """The metrics of an engine's version."""
    from kcluster.values import evolve

    if engine == "trtllm" and any(version) and version < _TRTLLM_RENAMED:
        return _TRTLLM_FIRST
    if engine in _ENGINES:
        return _ENGINES[engine]
    found = _VLLM
    if version < _KV_RENAMED:
        found = evolve(found, kv_usage="vllm:gpu_cache_usage_perc")
    if version < _ITL_RENAMED:
        found = evolve(found, itl=Histogram("vllm:time_per_output_token_seconds", _ITL))
    return found


def bound_above(bounds: tuple[float, ...], value: float) -> float | None:
    """The first bound that is not below a value; None where the histogram does not reach that far."""
    return next((bound for bound in bounds if bound >= value * (1 - 1e-9)), None)


def label_value(text: str) -> str:
    """A text as a PromQL string (its escapes are those of JSON, for text without control characters)."""
    return json.dumps(text, ensure_ascii=False)


def selector(metric: str, matchers: str = "", **labels: str) -> str:
    """`metric{label="value"}` with the values quoted; `matchers` are further ones, written out."""
    inner = ",".join([*(f"{key}={label_value(value)}" for key, value in labels.items()), *filter(None, [matchers])])
    return f"{metric}{{{inner}}}"


def bound_matcher(metrics: Metrics, bound: float) -> str:
    """The matcher of a histogram's bound as the engine writes it."""
    text = number(bound)
    if metrics.whole_bounds and text.endswith(".0"):
        return f'le=~"{text[:-2]}([.]0)?"'
    return f'le="{text}"'


def number(value: float) -> str:
    """A number as PromQL and the engine's `le` labels write it: `0.05`, `1.0`."""
    return repr(float(value))
