"""A dashboard: KV usage first, then what follows from it, with the plan's own predictions as lines to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal

from kcluster.physics.results import Performance
from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import header_lines, spec_name, text_sha256
from kcluster.targets.monitoring.metrics import Histogram, Metrics, metrics_of, number, selector
from kcluster.units import Figure

SCHEMA_VERSION: Final = 36
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
RATE: Final = "[$__rate_interval]"
HEIGHT: Final = 8
WIDTH: Final = 12


def dashboard(plan: Plan, watched: tuple[ServePlan, ...]) -> dict[str, Any]:
    """The dashboard as Grafana imports it: a row of panels a serve."""
    panels: list[dict[str, Any]] = []
    for serve in watched:
        top = panels[-1]["gridPos"]["y"] + HEIGHT if panels else 0
        for number_, panel in enumerate(_panels(serve)):
            panel["id"] = len(panels) + 1
            panel["gridPos"] = {"h": HEIGHT, "w": WIDTH, "x": number_ % 2 * WIDTH, "y": top + number_ // 2 * HEIGHT}
            panels.append(panel)
    return {
        # One a spec: what is imported with the uid of another one takes its place.
        "uid": f"kcluster-{text_sha256(spec_name(plan))[:12]}",
        "title": f"kcluster {spec_name(plan)}",
        "description": " ".join(header_lines(plan, "Dashboard of the engines that the spec runs")),
        "schemaVersion": SCHEMA_VERSION,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "editable": True,
        "tags": ["kcluster"],
        "templating": {
            "list": [{"name": "datasource", "type": "datasource", "query": "prometheus", "current": {}, "hide": 0}]
        },
        "panels": panels,
    }


def _panels(serve: ServePlan) -> list[dict[str, Any]]:
    of = {"job": "kcluster", "serve": serve.name}
    metrics, performance = metrics_of(serve), serve.chosen.performance
    return [
        *_pressure(serve, metrics, of),
        _panel(
            serve, "time to first token", "s", "",
            [*_quantiles(metrics.ttft, of), *_expected(performance, "ttft"), *_asked(serve, "ttft")],
        ),
        _panel(
            serve, "time between tokens", "s", "",
            [*_quantiles(metrics.itl, of), *_expected(performance, "itl"), *_asked(serve, "itl")],
        ),
        *_output(serve, metrics, of),
        *_cache(serve, metrics, of),
        _panel(serve, "replicas up", "short", "", [(f"sum({selector('up', **of)})", "up"), (number(serve.chosen.cut.replicas), "planned")]),
    ]  # fmt: skip


def _output(serve: ServePlan, metrics: Metrics, of: dict[str, str]) -> Iterator[dict[str, Any]]:
    if metrics.output_tokens is None:
        return
    why = "All replicas together, and what the plan expects at full load."
    measured = (f"sum(rate({selector(metrics.output_tokens, **of)}{RATE}))", "measured")
    lines = [*_expected(serve.chosen.performance, "throughput"), *_asked(serve, "throughput")]
    yield _panel(serve, "output tokens a second", "short", why, [measured, *lines])


def _pressure(serve: ServePlan, metrics: Metrics, of: dict[str, str]) -> Iterator[dict[str, Any]]:
    """What says first that the load is more than was planned: KV, preemptions, waiting requests."""
    memory = serve.chosen.memory
    kv = f"KV cache in use; the plan has {memory.kv_tokens.value:,.0f} tokens a replica" if memory else ""
    if metrics.kv_usage:
        shown = [(selector(metrics.kv_usage, **of), "replica {{replica}}")]
        yield _panel(serve, "KV usage", "percentunit", kv, shown, highest=1.0)
    if metrics.preemptions:
        yield _panel(
            serve, "preemptions a minute", "short", "Requests pushed out for want of KV: should be none.",
            [(f"60 * rate({selector(metrics.preemptions, **of)}{RATE})", "replica {{replica}}")],
        )  # fmt: skip
    if not (metrics.running and metrics.waiting):
        return
    yield _panel(
        serve, "requests running and waiting", "short",
        f"A replica runs at most {serve.chosen.limits.max_num_seqs} at a time.",
        [
            (f"sum({selector(metrics.running, **of)})", "running"),
            (f"sum({selector(metrics.waiting, **of)})", "waiting"),
            (number(serve.load.concurrency), "planned in flight"),
        ],
    )  # fmt: skip


def _cache(serve: ServePlan, metrics: Metrics, of: dict[str, str]) -> Iterator[dict[str, Any]]:
    if metrics.cache_hits and metrics.cache_queries:
        hits, queries = (selector(one, **of) for one in (metrics.cache_hits, metrics.cache_queries))
        expression = f"sum(rate({hits}{RATE})) / sum(rate({queries}{RATE}))"
    elif metrics.hit_rate:
        expression = f"avg({selector(metrics.hit_rate, **of)})"
    else:
        return
    title, why = "prefix cache hits", "Share of prompts that was in the cache."
    yield _panel(serve, title, "percentunit", why, [(expression, "hits")], highest=1.0)


def _quantiles(histogram: Histogram, of: dict[str, str]) -> list[tuple[str, str]]:
    rate = f"rate({selector(histogram.name + '_bucket', **of)}{RATE})"
    return [
        (f"histogram_quantile({share}, sum by (le) ({rate}))", name)
        for share, name in (("0.5", "median"), ("0.95", "p95"))
    ]


def _asked(serve: ServePlan, name: Literal["ttft", "itl", "throughput"]) -> list[tuple[str, str]]:
    """The SLA's bound of a figure, as a constant line."""
    bound = serve.serve.sla.bound(name) if serve.serve.sla else None
    return [] if bound is None else [(f"{bound.value.value:.6g}", f"asked {bound.operator}")]


def _expected(performance: Performance | None, name: str) -> list[tuple[str, str]]:
    """The plan's prediction of a figure with its range, as constant lines."""
    if performance is None:
        return []
    figure: Figure = getattr(performance, name)
    low, high = figure.range()
    return [(f"{figure.value:.6g}", "plan"), (f"{low:.6g}", "plan, low"), (f"{high:.6g}", "plan, high")]


def _panel(
    serve: ServePlan,
    title: str,
    unit: str,
    description: str,
    queries: list[tuple[str, str]],
    highest: float | None = None,
) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "unit": unit,
        "min": 0,
        "custom": {"lineWidth": 1, "fillOpacity": 0, "showPoints": "never"},
    }
    if highest is not None:
        defaults["max"] = highest
    dashed = [
        {
            "matcher": {"id": "byRegexp", "options": "/^(plan|asked)/"},
            "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [6, 6]}}],
        }
    ]
    return {
        "type": "timeseries",
        "title": f"{serve.name}: {title}",
        "description": description,
        "datasource": dict(DATASOURCE),
        "fieldConfig": {"defaults": defaults, "overrides": dashed},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + place), "datasource": dict(DATASOURCE), "expr": expression, "legendFormat": legend}
            for place, (expression, legend) in enumerate(queries)
        ],
    }
