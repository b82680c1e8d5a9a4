"""What a router cannot do, or this compiler cannot write for it: the part of KC605 that speaks of routers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules.finding import Mark, Place, finding, head_of, place_of, written
from kcluster.rules.words import counted
from kcluster.spec.types import RouterSpec

CALLED: Final = {"nginx": "NGINX", "haproxy": "HAProxy", "vllm-router": "the vLLM Router", "llm-d": "llm-d"}

_UNABLE: Final[dict[tuple[str, str], tuple[str, str]]] = {
    ("nginx", "cache_aware"): (
        "NGINX does not look into prompts",
        "`router vllm-router` or `router llm-d`; here `policy = session` keeps a session on its replica",
    ),
    ("haproxy", "cache_aware"): (
        "HAProxy does not look into prompts",
        "`router vllm-router` or `router llm-d`; here `policy = session` keeps a session on its replica",
    ),
    ("vllm-router", "least_conn"): (
        "the vLLM Router has no such policy",
        "`policy = power_of_two`: of two replicas drawn, the one with less open",
    ),
    ("vllm-router", "request_id"): ("the vLLM Router has no such policy", "`policy = session` or `random`"),
    ("llm-d", "round_robin"): ("llm-d's endpoint picker scores replicas", "`policy = least_conn`"),
    ("llm-d", "power_of_two"): ("llm-d's endpoint picker scores all replicas", "`policy = least_conn`"),
    ("llm-d", "request_id"): ("llm-d's endpoint picker scores replicas", "`policy = session` or `random`"),
}
"""What a kind of router has no counterpart of: why, and what to write instead."""


def router_needs(plan: Plan, serve: ServePlan, router: RouterSpec, *, first: bool) -> Iterator[Diagnostic]:
    """Findings about the router of a serve; those about the router alone where it is met for the `first` time."""
    kind = router.kind.value
    runtime = serve.serve.runtime
    if kind == "llm-d" and runtime.value != "kubernetes":
        yield finding(
            "KC605",
            f"`llm-d` routes between pods, and `{serve.name}` runs under `{runtime.value}`",
            head_of(router),
            marks=(Mark(place_of(runtime), "not Kubernetes") if runtime.written else None,),
            help=("`runtime = kubernetes` with a `kubernetes` block, or another router",),
        )
    if kind != "llm-d" and runtime.value == "kubernetes":
        yield finding(
            "KC605",
            f"{CALLED[kind]} is written with the addresses of its replicas, and pods get theirs when they start",
            head_of(router),
            marks=(Mark(place_of(runtime), "pods"),),
            help=("`router llm-d`, which is the default between pods",),
        )
        return
    yield from _model_name(plan, serve, router)
    if first:
        yield from _policy(router)
        yield from _version(router)
        yield from _several(plan, router)
        if kind == "llm-d":
            yield from _of_the_gateway(router)


def _policy(router: RouterSpec) -> Iterator[Diagnostic]:
    policy = router.policy
    found = _UNABLE.get((router.kind.value, policy.value)) if policy is not None else None
    if policy is not None and found is not None:
        why, instead = found
        yield finding("KC605", f"{why}: no `{policy.value}`", place_of(policy), help=(instead,))


def _version(router: RouterSpec) -> Iterator[Diagnostic]:
    from kcluster.targets.routing import FLOORS

    version, floor = router.version, FLOORS[router.kind.value]
    if version is not None and version.value < floor:
        number, least = (".".join(str(part) for part in parts) for parts in (version.value, floor))
        yield finding(
            "KC605",
            f"what is written for {CALLED[router.kind.value]} needs version {least}, and this is {number}",
            place_of(version),
            help=(f'`version = "{least}"` or later',),
        )


def _model_name(plan: Plan, serve: ServePlan, router: RouterSpec) -> Iterator[Diagnostic]:
    """A route that only the model's name tells from others, before a router that does not read bodies."""
    route = serve.serve.route
    if route is None or route.model_name is None or router.kind.value not in ("nginx", "llm-d"):
        return
    shared = sum(
        other.serve.route is not None and other.serve.route.router.value == router.name for other in plan.serves
    )
    if shared < 2 or route.header is not None or route.path is not None:
        return
    yield finding(
        "KC605",
        f"the model's name stands in the body of a request, which {CALLED[router.kind.value]} does not read",
        place_of(route.model_name) if route.model_name.written else Place(serve.serve.source, route.block),
        marks=(Mark(head_of(router), f"before {counted(shared, 'serve')}"),),
        help=('`router haproxy`, or `path = "/small"` or `header = ["X-Model", "small"]` in the route',),
    )


def _several(plan: Plan, router: RouterSpec) -> Iterator[Diagnostic]:
    behind = [s for s in plan.serves if s.serve.route is not None and s.serve.route.router.value == router.name]
    if router.kind.value == "vllm-router" and router.name and len(behind) > 1:
        yield finding(
            "KC605",
            f"the vLLM Router takes all that it stands before for replicas of one model, and here are {counted(len(behind), 'serve')}",
            head_of(router),
            marks=(Mark(written(s.serve, "id") or head_of(s.serve), f"behind `{s.name}`") for s in behind),
            help=("a `router vllm-router` inside each serve, or `router haproxy` before all of them",),
        )


def _of_the_gateway(router: RouterSpec) -> Iterator[Diagnostic]:
    """What the cluster's Gateway decides, not the route and the picker that are written."""
    if router.tls is not None:
        yield finding(
            "KC605",
            "TLS ends at the cluster's Gateway, whose listener names a secret and no files",
            Place(router.source, router.tls.block, True),
            help=("leave `tls` out, and give the Gateway's listener a certificate",),
        )
    if router.api_key is not None:
        yield finding(
            "KC605",
            "neither the Gateway nor llm-d's endpoint picker checks a key",
            place_of(router.api_key),
            help=("`api_key` in the engine, which checks it",),
        )
    for name, value in (("host", router.host), ("listen", router.listen), ("max_body", router.max_body)):
        if value is not None and value.written:
            yield finding(
                "KC605",
                f"`{name}` is the Gateway's, which the cluster has and these files do not",
                place_of(value),
                severity="note",
                help=(f"leave `{name}` out, and set it at the Gateway",),
            )
