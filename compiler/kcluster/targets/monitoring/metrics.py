"""The engine's metrics that are watched, and the bounds of its histograms.

Seen live on vLLM 0.32 and in the sources of 0.33 (v1/metrics/loggers.py). A threshold between two bounds could only be
interpolated; alerts therefore count against the next bound above the SLA's figure.
"""

from __future__ import annotations

import json
from typing import Final

TTFT_BOUNDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_BOUNDS: Final = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
ANSWER_BOUNDS: Final = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0,
)  # fmt: skip

TTFT: Final = "vllm:time_to_first_token_seconds"
ITL: Final = "vllm:inter_token_latency_seconds"
ANSWER: Final = "vllm:e2e_request_latency_seconds"
KV_USAGE: Final = "vllm:kv_cache_usage_perc"
PREEMPTIONS: Final = "vllm:num_preemptions_total"
WAITING: Final = "vllm:num_requests_waiting"
RUNNING: Final = "vllm:num_requests_running"
OUTPUT_TOKENS: Final = "vllm:generation_tokens_total"
PROMPT_TOKENS: Final = "vllm:prompt_tokens_total"
CACHE_QUERIES: Final = "vllm:prefix_cache_queries_total"
CACHE_HITS: Final = "vllm:prefix_cache_hits_total"
HTTP_REQUESTS: Final = "http_requests_total"


def bound_above(bounds: tuple[float, ...], value: float) -> float | None:
    """The first bound that is not below a value; None where the histogram does not reach that far."""
    return next((bound for bound in bounds if bound >= value * (1 - 1e-9)), None)


def label_value(text: str) -> str:
    """A text as a PromQL string (its escapes are those of JSON, for text without control characters)."""
    return json.dumps(text, ensure_ascii=False)


def selector(metric: str, **labels: str) -> str:
    """`metric{label="value"}` with the values quoted."""
    inner = ",".join(f"{key}={label_value(value)}" for key, value in labels.items())
    return f"{metric}{{{inner}}}"


def number(value: float) -> str:
    """A number as PromQL and the engine's `le` labels write it: `0.05`, `1.0`."""
    return repr(float(value))
