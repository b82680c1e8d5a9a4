"""Prometheus, alerts with their tests, and a Grafana dashboard for what a plan runs.

Prometheus is meant to run on the router's host: it reaches the engines as the router does, loopback ones included.
"""

from __future__ import annotations

import json

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.monitoring.alerts import alert_tests, alerts
from kcluster.targets.monitoring.grafana import dashboard
from kcluster.targets.monitoring.scrape import scrape
from kcluster.targets.types import Artifact, target
from kcluster.targets.yaml import document


@target("monitoring")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`monitoring/` for the serves that do not say `monitor = off`; nothing where all do."""
    watched = tuple(serve for serve in plan.serves if serve.serve.monitor.enabled)
    if not watched:
        return ()
    head = "Test: promtool test rules alerts_test.yml"
    # Pods are found by the monitors in kubernetes/.
    outside = tuple(serve for serve in watched if serve.serve.runtime.value != "kubernetes")
    where = next(
        (one.serve.monitor.prometheus.value for one in outside if one.serve.monitor.prometheus), "127.0.0.1:9090"
    )
    what = f"On the router's host: prometheus --web.listen-address={where} --config.file=prometheus.yml"
    scraped = comment_header(plan, what) + document(scrape(plan, outside))
    return (
        *((Artifact("monitoring/prometheus.yml", scraped),) if outside else ()),
        Artifact("monitoring/alerts.yml", comment_header(plan, head) + document(alerts(plan, watched))),
        Artifact("monitoring/alerts_test.yml", comment_header(plan, head) + document(alert_tests(plan, watched))),
        Artifact("monitoring/grafana.json", json.dumps(dashboard(plan, watched), indent=2, ensure_ascii=False) + "\n"),
    )
