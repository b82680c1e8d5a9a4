"""What Prometheus scrapes: every replica with its serve's name, and routers that have metrics of their own."""

from __future__ import annotations

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.routing import LOOPBACK, backends, fronts
from kcluster.targets.yaml import Yaml

HAPROXY_METRICS = f"{LOOPBACK}:8404"
VLLM_ROUTER_METRICS = f"{LOOPBACK}:29000"


def scrape(plan: Plan, watched: tuple[ServePlan, ...]) -> dict[str, Yaml]:
    """`prometheus.yml` as a mapping."""
    jobs: list[Yaml] = [
        {"job_name": "kcluster", "static_configs": [_replica(plan, s, n) for s, n in _replicas(watched)]}
    ]
    kinds = {front.kind for front in fronts(plan)}
    if "haproxy" in kinds:
        jobs.append({"job_name": "kcluster-haproxy", "static_configs": [{"targets": [HAPROXY_METRICS]}]})
    if "vllm-router" in kinds:
        jobs.append({"job_name": "kcluster-vllm-router", "static_configs": [{"targets": [VLLM_ROUTER_METRICS]}]})
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        "rule_files": ["alerts.yml"],
        "scrape_configs": jobs,
    }


def _replicas(watched: tuple[ServePlan, ...]) -> list[tuple[ServePlan, int]]:
    return [(serve, number) for serve in watched for number in range(serve.chosen.cut.replicas)]


def _replica(plan: Plan, serve: ServePlan, number: int) -> Yaml:
    backend = backends(plan, serve)[number]
    return {
        "targets": [backend.endpoint],
        "labels": {"serve": serve.name, "replica": str(backend.replica), "host": backend.host},
    }
