"""What runs a serve's pods: a Deployment where a replica is one pod, a LeaderWorkerSet where it spans several."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.hosts.folders import start_seconds
from kcluster.targets.kubernetes.names import labels, metadata
from kcluster.targets.kubernetes.pods import PRE_STOP_SECONDS, STOP_MARGIN_SECONDS, Shape, pod
from kcluster.targets.layout import shutdown_seconds
from kcluster.targets.yaml import Noted, Yaml


def workload(plan: Plan, serve_plan: ServePlan, name: str, shape: Shape) -> Iterator[dict[str, Yaml]]:
    """The objects that run the pods, and the budget of disruptions where a replica may be missing."""
    yield _group(plan, serve_plan, name, shape) if shape.nodes > 1 else _deployment(plan, serve_plan, name, shape)
    if serve_plan.chosen.cut.replicas > 1:
        yield {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(serve_plan, name, name, "engine"),
            "spec": {
                "maxUnavailable": Noted(1, "a node that is emptied takes one replica at a time with it"),
                "selector": {"matchLabels": labels(name, "engine")},
            },
        }


def _replicas(serve_plan: ServePlan) -> Yaml:
    cut = serve_plan.chosen.cut
    return Noted(cut.replicas, "independent engines: each takes its share of the requests" if cut.replicas > 1 else "")


def _deployment(plan: Plan, serve_plan: ServePlan, name: str, shape: Shape) -> dict[str, Yaml]:
    seconds, _ = start_seconds(serve_plan)
    whole = seconds + PRE_STOP_SECONDS + shutdown_seconds(serve_plan) + STOP_MARGIN_SECONDS
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(serve_plan, name, name, "engine"),
        "spec": {
            "replicas": _replicas(serve_plan),
            "progressDeadlineSeconds": Noted(whole, "the end of the old pod and the slowest start of the new one"),
            "strategy": Noted(
                {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
                "the cards are all in use: a pod ends before the next one starts",
            ),
            "selector": {"matchLabels": labels(name, "engine")},
            "template": pod(plan, serve_plan, name, shape.processes[0], shape),
        },
    }


def _group(plan: Plan, serve_plan: ServePlan, name: str, shape: Shape) -> dict[str, Yaml]:
    leader, worker = shape.processes[0], shape.processes[1]
    return {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "metadata": metadata(serve_plan, name, name, "engine"),
        "spec": {
            "replicas": _replicas(serve_plan),
            "startupPolicy": Noted("LeaderCreated", "the pods of one engine wait for each other"),
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": Noted(
                    {"maxSurge": 0, "maxUnavailable": 1},
                    "the cards are all in use: a group ends before the next one starts",
                ),
            },
            "leaderWorkerTemplate": {
                "size": Noted(shape.nodes, "pods of one engine"),
                "restartPolicy": Noted(
                    "RecreateGroupOnPodRestart", "an engine that lost one of its ranks does not come back by itself"
                ),
                "leaderTemplate": pod(plan, serve_plan, name, leader, shape),
                "workerTemplate": pod(plan, serve_plan, name, worker, shape),
            },
        },
    }
