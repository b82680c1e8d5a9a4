"""How requests reach the pods: a Service, the InferencePool with its route, and who may speak to whom."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import ServePlan
from kcluster.targets.kubernetes.names import (
    PICKER_HEALTH_PORT,
    PICKER_METRICS_PORT,
    PICKER_PORT,
    label,
    labels,
    metadata,
)
from kcluster.targets.kubernetes.pods import port_of
from kcluster.targets.routing import Front, Route
from kcluster.targets.yaml import Noted, Yaml

GATEWAY: Final = "llm-d-inference-gateway"
"""The Gateway of llm-d's guides; a router at the top level of the spec names another."""
LONGEST_ANSWER_SECONDS: Final = 1800


def servers(name: str) -> dict[str, Yaml]:
    """The labels of the pods that answer."""
    return {**labels(name, "engine"), "kcluster/role": "server"}


def service(serve_plan: ServePlan, name: str) -> dict[str, Yaml]:
    """The address of a serve inside the cluster."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(serve_plan, name, name, "engine"),
        "spec": {
            "selector": Noted(servers(name), "the pods that answer; others of an engine only compute"),
            "ports": [{"name": "http", "port": port_of(serve_plan), "targetPort": "http"}],
        },
    }


def picker_name(name: str) -> str:
    """The endpoint picker's objects of a serve."""
    return f"{name}-picker"


def pool(serve_plan: ServePlan, name: str) -> dict[str, Yaml]:
    """The pods among which the endpoint picker chooses."""
    return {
        "apiVersion": "inference.networking.k8s.io/v1",
        "kind": "InferencePool",
        "metadata": metadata(serve_plan, name, name, "pool"),
        "spec": {
            "selector": {"matchLabels": servers(name)},
            "targetPorts": [{"number": port_of(serve_plan)}],
            "endpointPickerRef": {
                "kind": "Service",
                "name": picker_name(name),
                "port": {"number": PICKER_PORT},
                "failureMode": Noted(
                    "FailOpen",
                    "without its picker the pool is served anyhow, and less well (the default would be an outage)",
                ),
            },
        },
    }


def gateway_name(front: Front) -> str:
    """The Gateway that a router's route hangs on."""
    return label(front.spec.name) if front.spec is not None and front.spec.name else GATEWAY


def route(front: Front, own: Route, name: str) -> dict[str, Yaml]:
    """The HTTPRoute from the Gateway to the pool: of the engine's paths only the API's."""
    serve_plan = own.serve
    match: dict[str, Yaml] = {"path": {"type": "PathPrefix", "value": f"{own.prefix}/v1"}}
    if own.header is not None:
        match["headers"] = [{"type": "Exact", "name": own.header[0], "value": own.header[1]}]
    rule: dict[str, Yaml] = {
        "matches": Noted([match], "only the API: the engine's key guards /v1, not /metrics, /pause and the like")
    }
    if own.prefix:
        rewrite: Yaml = {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}}
        rule["filters"] = [{"type": "URLRewrite", "urlRewrite": rewrite}]
    rule["backendRefs"] = [
        {"group": "inference.networking.k8s.io", "kind": "InferencePool", "name": name, "weight": 1},
    ]
    rule["timeouts"] = {
        "request": Noted(
            _duration(max(LONGEST_ANSWER_SECONDS, 2 * front.timeout)),
            "of a whole answer, its wait in the queue included",
        )
    }
    parent: Yaml = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": gateway_name(front)}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(serve_plan, name, name, "pool"),
        "spec": {"parentRefs": [parent], "rules": [rule]},
    }


def _duration(seconds: int) -> str:
    """A duration as the Gateway API writes it: at most five digits a unit."""
    return f"{seconds}s" if seconds < 100_000 else f"{-(-seconds // 3600)}h"


def policies(serve_plan: ServePlan, name: str, front: Front | None) -> Iterator[dict[str, Yaml]]:
    """Who may open a connection to the engines' pods, and to their picker's."""
    monitors: Yaml = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}
    callers: list[Yaml] = [monitors]
    if front is not None:
        gateway: Yaml = {
            "namespaceSelector": {},
            "podSelector": {"matchLabels": {"gateway.networking.k8s.io/gateway-name": gateway_name(front)}},
        }
        picker: Yaml = {"podSelector": {"matchLabels": labels(name, "picker")}}
        callers += [gateway, picker]
        yield _policy(
            serve_plan,
            name,
            "picker",
            [
                Noted({"from": [gateway], "ports": _ports(PICKER_PORT, PICKER_HEALTH_PORT)}, "asks for an endpoint"),
                {"from": [monitors], "ports": _ports(PICKER_METRICS_PORT)},
            ],
        )
    else:
        clients: Yaml = {"podSelector": {"matchLabels": {"kcluster/calls": name}}}
        callers.append(Noted(clients, f"clients in this namespace carry the label kcluster/calls: {name}"))
    yield _policy(
        serve_plan,
        name,
        "engine",
        [
            {"from": callers, "ports": _ports(port_of(serve_plan))},
            Noted(
                {"from": [{"podSelector": {"matchLabels": labels(name, "engine")}}]},
                "pods of one engine use ports that the system picks (NCCL, gloo), and these ask for no password",
            ),
        ],
    )


def _ports(*numbers: int) -> list[Yaml]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _policy(serve_plan: ServePlan, name: str, component: str, ingress: list[Yaml]) -> dict[str, Yaml]:
    own = name if component == "engine" else picker_name(name)
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(serve_plan, own, name, component),
        "spec": {
            "podSelector": {"matchLabels": labels(name, component)},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }
