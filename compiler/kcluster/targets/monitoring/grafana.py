"""A dashboard: KV usage first, then what follows from it, with the plan's own predictions as lines to compare with."""

from __future__ import annotations

from typing import Any, Final

from kcluster.physics.results import Performance
from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import header_lines
from kcluster.targets.monitoring.metrics import (
    CACHE_HITS,
    CACHE_QUERIES,
    ITL,
    KV_USAGE,
    OUTPUT_TOKENS,
    PREEMPTIONS,
    RUNNING,
    TTFT,
    WAITING,
    number,
    selector,
)
from kcluster.units import Figure

SCHEMA_VERSION: Final = 36
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
HEIGHT: Final = 8
WIDTH: Final = 12


def dashboard(plan: Plan, watched: tuple[ServePlan, ...]) -> dict[str, Any]:
    """The dashboard as Grafana imports it: a row of panels a serve."""
    panels: list[dict[str, Any]] = []
    for serve in watched:
        top = len(panels) // 2 * HEIGHT
        for number_, panel in enumerate(_panels(serve)):
            panel["id"] = len(panels) + 1
            panel["gridPos"] = {"h": HEIGHT, "w": WIDTH, "x": number_ % 2 * WIDTH, "y": top + number_ // 2 * HEIGHT}
            panels.append(panel)
    return {
        "uid": "kcluster",
        "title": "kcluster",
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
    performance = serve.chosen.performance
    rate = "[$__rate_interval]"

    def quantile(metric: str, share: str) -> str:
        return f"histogram_quantile({share}, sum by (le) (rate({selector(metric + '_bucket', **of)}{rate})))"

    kv = (
        f"KV cache in use; the plan has {serve.chosen.memory.kv_tokens.value:,.0f} tokens a replica"
        if serve.chosen.memory
        else ""
    )
    return [
        _panel(serve, "KV usage", "percentunit", kv, [(selector(KV_USAGE, **of), "replica {{replica}}")], highest=1.0),
        _panel(
            serve, "preemptions a minute", "short", "Requests pushed out for want of KV: should be none.",
            [(f"60 * rate({selector(PREEMPTIONS, **of)}{rate})", "replica {{replica}}")],
        ),
        _panel(
            serve, "requests running and waiting", "short",
            f"A replica runs at most {serve.chosen.limits.max_num_seqs} at a time.",
            [
                (f"sum({selector(RUNNING, **of)})", "running"),
                (f"sum({selector(WAITING, **of)})", "waiting"),
                (number(serve.load.concurrency), "planned in flight"),
            ],
        ),
        _panel(
            serve, "output tokens a second", "short", "All replicas together, and what the plan expects at full load.",
            [(f"sum(rate({selector(OUTPUT_TOKENS, **of)}{rate}))", "measured"), *_expected(performance, "throughput")],
        ),
        _panel(
            serve, "time to first token", "s", "",
            [(quantile(TTFT, "0.5"), "median"), (quantile(TTFT, "0.95"), "p95"), *_expected(performance, "ttft")],
        ),
        _panel(
            serve, "time between tokens", "s", "",
            [(quantile(ITL, "0.5"), "median"), (quantile(ITL, "0.95"), "p95"), *_expected(performance, "itl")],
        ),
        _panel(
            serve, "prefix cache hits", "percentunit", "Share of prompt tokens that were in the cache.",
            [(f"sum(rate({selector(CACHE_HITS, **of)}{rate})) / sum(rate({selector(CACHE_QUERIES, **of)}{rate}))", "hits")],
            highest=1.0,
        ),
        _panel(serve, "replicas up", "short", "", [(f"sum({selector('up', **of)})", "up"), (number(serve.chosen.cut.replicas), "planned")]),
    ]  # fmt: skip


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
            "matcher": {"id": "byRegexp", "options": "/^plan/"},
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
