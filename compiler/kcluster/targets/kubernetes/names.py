"""Names and texts of Kubernetes objects."""

from __future__ import annotations

from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.yaml import Yaml

PICKER_PORT: Final = 9002
PICKER_HEALTH_PORT: Final = 9003
PICKER_METRICS_PORT: Final = 9090

LONGEST_NAME: Final = 40
"""What LeaderWorkerSets, their pods and the picker's objects add to it stays within the 63 characters of a DNS label."""


def pods_of(plan: Plan) -> tuple[ServePlan, ...]:
    """The serves that run as pods of vLLM."""
    return tuple(
        serve
        for serve in plan.serves
        if serve.serve.runtime.value == "kubernetes" and serve.serve.engine.name.value == "vllm"
    )


def object_names(plan: Plan) -> dict[str, str]:
    """The DNS label of every serve in Kubernetes by its name, distinct for distinct serves."""
    found: dict[str, str] = {}
    for serve in pods_of(plan):
        name = label(serve.name)
        tried = (f"{name[: LONGEST_NAME - 3]}-{number}" for number in range(2, len(found) + 3))
        found[serve.name] = name if name not in found.values() else next(n for n in tried if n not in found.values())
    return found


def label(text: str) -> str:
    """A text as a DNS label: small letters, digits and `-`, beginning with a letter."""
    plain = "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower()).strip("-")
    if not plain[:1].isalpha():
        plain = f"s-{plain}".rstrip("-")
    return plain[:LONGEST_NAME].rstrip("-")


def namespace_of(serve_plan: ServePlan) -> str:
    """The namespace that a serve's objects are in."""
    block = serve_plan.serve.kubernetes
    return block.namespace.value if block and block.namespace else "default"


def expanded(text: str) -> str:
    """A text of a command, argument or variable: the kubelet replaces `$(NAME)` in these, and `$$` by `$`."""
    return text.replace("$", "$$")


def labels(name: str, component: str) -> dict[str, Yaml]:
    """The labels of an object of a serve; those of its pods select them, too."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "kcluster",
    }


def metadata(serve_plan: ServePlan, name: str, owner: str, component: str) -> dict[str, Yaml]:
    """The metadata of an object `name` of the serve whose objects are called `owner`."""
    return {"name": name, "namespace": namespace_of(serve_plan), "labels": labels(owner, component)}
