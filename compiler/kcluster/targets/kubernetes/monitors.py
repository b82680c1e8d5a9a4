"""What a Prometheus operator scrapes: the engines' pods and the endpoint picker."""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.planner.types import ServePlan
from kcluster.targets.kubernetes.names import labels, metadata
from kcluster.targets.kubernetes.network import servers
from kcluster.targets.routing import Front
from kcluster.targets.yaml import Noted, Yaml


def monitors(serve_plan: ServePlan, name: str, front: Front | None) -> Iterator[dict[str, Yaml]]:
    """Objects of `monitoring.coreos.com/v1`, which a cluster without the operator does not know."""
    yield {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PodMonitor",
        "metadata": metadata(serve_plan, name, name, "engine"),
        "spec": {
            "selector": {"matchLabels": servers(name)},
            "podMetricsEndpoints": [
                {
                    "port": "http",
                    "path": "/metrics",
                    "interval": "15s",
                    "relabelings": [
                        Noted(
                            {"targetLabel": "serve", "replacement": serve_plan.name, "action": "replace"},
                            "the labels that the alerts and the dashboard go by",
                        ),
                        {"targetLabel": "job", "replacement": "kcluster", "action": "replace"},
                        {"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "replica", "action": "replace"},
                        {
                            "sourceLabels": ["__meta_kubernetes_pod_node_name"],
                            "targetLabel": "host",
                            "action": "replace",
                        },
                    ],
                }
            ],
        },
    }
    if front is not None:
        yield {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "ServiceMonitor",
            "metadata": metadata(serve_plan, f"{name}-picker", name, "picker"),
            "spec": {
                "selector": {"matchLabels": labels(name, "picker")},
                "endpoints": [{"port": "http-metrics", "path": "/metrics", "interval": "15s"}],
            },
        }
