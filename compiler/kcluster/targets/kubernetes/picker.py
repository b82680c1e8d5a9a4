"""llm-d's endpoint picker in front of a pool: which replica a request goes to.

The plugins and flags are those of llm-d-router's chart (v0.10.0, `config/charts/routerlib`). The picker reads the metrics of
every replica, and keeps in memory which beginnings of prompts it sent where; so there is one of it, replaced and not rolled.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import ServePlan
from kcluster.targets.kubernetes.names import (
    PICKER_HEALTH_PORT,
    PICKER_METRICS_PORT,
    PICKER_PORT,
    expanded,
    labels,
    metadata,
    namespace_of,
)
from kcluster.targets.kubernetes.network import picker_name
from kcluster.targets.routing import Front
from kcluster.targets.yaml import Noted, Yaml, document

IMAGE: Final = "ghcr.io/llm-d/llm-d-router-endpoint-picker"
VERSION: Final = "0.10.0"
USER: Final = 65532
CONFIG: Final = "picker-config.yaml"

_LOAD: Final = (
    ("queue-scorer", 2, "fewest requests waiting"),
    ("kv-cache-utilization-scorer", 2, "most KV cache free"),
)
_PREFIX: Final = ("prefix-cache-scorer", 3, "the longest beginning of this prompt already in its prefix cache")

PICKED_BY: Final[dict[str, tuple[tuple[str, int, str], ...]]] = {
    "cache_aware": (*_LOAD, _PREFIX),
    "least_conn": (("active-request-scorer", 1, "fewest requests open"),),
    "session": (("session-affinity-scorer", 3, "a session keeps its replica"), _LOAD[0]),
    "random": (("random-picker", 0, "any"),),
}
"""The language's policies that it has: plugins, their weights, and what each prefers."""


def plugins(serve_plan: ServePlan, front: Front) -> tuple[tuple[str, int, str], ...]:
    """The scorers of a policy with their weights; where the spec leaves the policy open, llm-d's own baseline, less the prefix
    cache where the engine has none."""
    if front.policy in PICKED_BY:
        return PICKED_BY[front.policy]
    return (*_LOAD, _PREFIX) if serve_plan.chosen.limits.prefix_caching else _LOAD


def config(serve_plan: ServePlan, front: Front) -> str:
    """The picker's own configuration (`EndpointPickerConfig`)."""
    chosen = plugins(serve_plan, front)
    declared: list[Yaml] = [{"type": kind} for kind, _, _ in chosen]
    source: Yaml = {"scheme": "http", "path": "/metrics", "insecureSkipVerify": True}
    declared += [{"type": "metrics-data-source", "parameters": source}, {"type": "core-metrics-extractor"}]
    return document(
        {
            "apiVersion": "llm-d.ai/v1alpha1",
            "kind": "EndpointPickerConfig",
            "plugins": declared,
            "schedulingProfiles": [{"name": "default", "plugins": [_reference(*row) for row in chosen]}],
        }
    )


def _reference(kind: str, weight: int, why: str) -> Yaml:
    return Noted({"pluginRef": kind, "weight": weight} if weight else {"pluginRef": kind}, why)


def picker(serve_plan: ServePlan, front: Front, name: str) -> Iterator[dict[str, Yaml]]:
    """Its account and rights, pod and address."""
    own = picker_name(name)
    meta = metadata(serve_plan, own, name, "picker")
    yield {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}
    yield _role(meta)
    yield {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": meta,
        "subjects": [{"kind": "ServiceAccount", "name": own, "namespace": namespace_of(serve_plan)}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": own},
    }
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "selector": labels(name, "picker"),
            "ports": [
                {
                    "name": "grpc-ext-proc",
                    "port": PICKER_PORT,
                    "targetPort": "grpc",
                    "appProtocol": "kubernetes.io/h2c",
                },
                {"name": "http-metrics", "port": PICKER_METRICS_PORT, "targetPort": "metrics"},
            ],
        },
    }
    yield _deployment(serve_plan, front, name, meta)


def _role(meta: dict[str, Yaml]) -> dict[str, Yaml]:
    read: Yaml = ["get", "watch", "list"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": meta,
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": read},
            {"apiGroups": ["inference.networking.k8s.io"], "resources": ["inferencepools"], "verbs": read},
            {
                "apiGroups": ["llm-d.ai"],
                "resources": ["inferenceobjectives", "inferencemodelrewrites"],
                "verbs": read,
            },
        ],
    }


def _deployment(serve_plan: ServePlan, front: Front, name: str, meta: dict[str, Yaml]) -> dict[str, Yaml]:
    version = ".".join(str(part) for part in front.version) if front.version else VERSION
    probe: Yaml = {"grpc": {"port": PICKER_HEALTH_PORT, "service": "inference-extension"}}
    container: dict[str, Yaml] = {
        "name": "picker",
        "image": f"{IMAGE}:v{version}",
        "args": list(_arguments(name)),
        "env": [{"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}],
        "ports": [
            {"name": "grpc", "containerPort": PICKER_PORT},
            {"name": "grpc-health", "containerPort": PICKER_HEALTH_PORT},
            {"name": "metrics", "containerPort": PICKER_METRICS_PORT},
        ],
        "livenessProbe": {**_mapping(probe), "initialDelaySeconds": 5, "periodSeconds": 10},
        "readinessProbe": {**_mapping(probe), "periodSeconds": 2},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/config", "readOnly": True}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": Noted(1, "what was sent where is in its memory: a second one would know half of it"),
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels(name, "picker")},
            "template": {
                "metadata": {"labels": labels(name, "picker")},
                "spec": {
                    "serviceAccountName": picker_name(name),
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": USER,
                        "runAsGroup": USER,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": picker_name(name)}}],
                },
            },
        },
    }


def _mapping(value: Yaml) -> dict[str, Yaml]:
    assert isinstance(value, dict)
    return value


def _arguments(name: str) -> Iterator[Yaml]:
    yield f"--pool-name={expanded(name)}"
    yield "--pool-namespace=$(NAMESPACE)"
    yield "--pool-group=inference.networking.k8s.io"
    yield f"--config-file=/config/{CONFIG}"
    yield f"--grpc-health-port={PICKER_HEALTH_PORT}"
    yield "--zap-encoder=json"
    yield "--tracing=false"
    yield Noted("--metrics-endpoint-auth=false", "the network policy lets Prometheus alone in")
    yield Noted(
        "--secure-serving=false", "Istio and agentgateway speak plain HTTP/2 to it; where the gateway speaks TLS: true"
    )
