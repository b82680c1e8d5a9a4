"""What Prometheus scrapes: every replica with its serve's name, and routers that have metrics of their own."""

from __future__ import annotations

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.monitoring.metrics import metrics_of
from kcluster.targets.routing import LOOPBACK, Backend, fronts, servers
from kcluster.targets.yaml import Yaml


def scrape(plan: Plan, watched: tuple[ServePlan, ...]) -> dict[str, Yaml]:
    """`prometheus.yml` as a mapping."""
    replicas: list[Yaml] = [_replica(serve, server) for serve in watched for server in servers(plan, serve)]
    jobs: list[Yaml] = [{"job_name": "kcluster", "static_configs": replicas}] if replicas else []
    with_metrics = [front for front in fronts(plan) if front.metrics_port]
    for kind in sorted({front.kind for front in with_metrics}):
        addresses: list[Yaml] = [f"{LOOPBACK}:{front.metrics_port}" for front in with_metrics if front.kind == kind]
        jobs.append({"job_name": f"kcluster-{kind}", "static_configs": [{"targets": addresses}]})
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": jobs,
    }


def _replica(serve: ServePlan, server: Backend) -> Yaml:
    labels: dict[str, Yaml] = {"serve": serve.name, "replica": str(server.replica), "host": server.host}
    path = metrics_of(serve).path
    if path != "/metrics":
        labels["__metrics_path__"] = path
    return {"targets": [server.endpoint], "labels": labels}
