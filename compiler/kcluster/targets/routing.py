"""Who stands in front of whom: the addresses of every replica and the routers before them, for every target that needs
to know (routers, engines, units, monitoring, the runbook). One place, so that the files agree."""

from __future__ import annotations

import math
from typing import Final, Literal

from kcluster.physics.routing import largest_body, longest_answer
from kcluster.planner.types import Plan, ServePlan
from kcluster.spec.types import RouterSpec, RouteSpec, Secret, TlsSpec
from kcluster.units import MIB, Figure
from kcluster.values import evolve, frozen

LOOPBACK: Final = "127.0.0.1"
EVERY_INTERFACE: Final = ("0.0.0.0", "::")  # noqa: S104 - recognised, never chosen
DEFAULT_LISTEN: Final = 8080
DEFAULT_LISTEN_TLS: Final = 8443
SHORTEST_TIMEOUT: Final = 300
"""Seconds: no read time-out below it, since a cold prefix or a long queue is no failure."""

METRICS_PORTS: Final = {"haproxy": 8404, "vllm-router": 29000}
"""The first port on loopback at which a kind of router answers Prometheus."""

INNER_PORTS: Final = {"vllm-router": 30000}
"""The first port on loopback of a kind of router that must not be reached by clients: it passes every path of the engine and
lets whoever reaches it add replicas."""

RETURN_SECONDS: Final = {"nginx": 5, "haproxy": 2, "vllm-router": 9}
"""Whole seconds after which at the latest a replica that answers again is given requests: NGINX's `fail_timeout`; HAProxy's check
within 1 s and the second one 0.5 s later; the vLLM Router's two checks, 2 s apart, and the 5 s of its breaker."""

FLOORS: Final = {"nginx": (1, 22), "haproxy": (2, 6), "vllm-router": (0, 1, 17), "llm-d": (0, 10)}
"""The version of each kind of router from which on what is written for it is accepted."""

RouterKind = Literal["nginx", "haproxy", "vllm-router", "llm-d"]


@frozen
class Backend:
    """One HTTP server as its router reaches it: `name` is its own in the files, `bind` what the engine listens on."""

    name: str
    replica: int
    host: str
    bind: str
    address: str
    port: int

    @property
    def endpoint(self) -> str:
        """`address:port`, with brackets around an IPv6 address."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@frozen
class Route:
    """One serve behind a router, with what selects it: a request is its own where all hold that are not None."""

    serve: ServePlan
    backends: tuple[Backend, ...]
    model_name: str | None = None
    header: tuple[str, str] | None = None
    path: str | None = None

    @property
    def prefix(self) -> str:
        """The beginning of its paths, without a slash at the end; empty where the path does not select."""
        return self.path.rstrip("/") if self.path else ""

    @property
    def selectors(self) -> int:
        return sum(part is not None for part in (self.model_name, self.header, self.path))


@frozen
class Front:
    """One router with everything that its file needs.

    `name` is empty where it is the only one of its kind. `timeout`: whole seconds that it waits for an answer; `body`: bytes
    that it lets through; both with the figure that they come from (None where the spec says the number itself).
    """

    kind: RouterKind
    name: str
    host: str
    listen: int
    policy: str
    tls: TlsSpec | None
    api_key: Secret | None
    version: tuple[int, ...] | None
    timeout: int
    timeout_figure: Figure | None
    body: int
    body_figure: Figure | None
    routes: tuple[Route, ...]
    spec: RouterSpec | None

    metrics_port: int = 0
    """Where it answers Prometheus on loopback; 0 where it has no metrics."""
    inner_port: int = 0
    """Where it listens on loopback behind the NGINX that clients reach; 0 where clients reach it themselves."""

    @property
    def file_stem(self) -> str:
        return f"{self.kind}-{self.name}" if self.name else self.kind

    @property
    def by_precedence(self) -> tuple[Route, ...]:
        """Its routes, those with more selectors first: they speak of some of the requests of the others."""
        return tuple(sorted(self.routes, key=lambda route: -route.selectors))

    @property
    def keys(self) -> tuple[Secret, ...]:
        """The keys that it is started with: the one that clients send, and those of engines that it puts in its place."""
        own = (self.api_key, *(self.engine_key(route) for route in self.routes))
        return tuple(dict.fromkeys(key for key in own if key is not None))

    def engine_key(self, route: Route) -> Secret | None:
        """The engine's key where the router asks clients for another one, and so must put it in its place."""
        key = route.serve.serve.engine.api_key
        return key.value if key and self.api_key and key.value != self.api_key else None


def backends(plan: Plan, serve_plan: ServePlan) -> tuple[Backend, ...]:
    """Every replica of a serve with where it listens and how its router reaches it, in replica order."""
    return _backends(serve_plan, _router_host(plan, serve_plan))


def servers(plan: Plan, serve_plan: ServePlan) -> tuple[Backend, ...]:
    """Every HTTP server of a serve: its replicas, and where `balance` gives each rank or node of one engine a server of
    its own, those too."""
    router_host = _router_host(plan, serve_plan)
    heads = _backends(serve_plan, router_host)
    if not _several_servers(serve_plan):
        return heads
    from kcluster.targets.layout import processes_of

    found: list[Backend] = []
    for process in processes_of(plan, serve_plan):
        head = heads[process.replica]
        if not process.answers:
            continue
        if process.host == head.host:
            here = head
        else:
            bind, address = _listening(serve_plan, process.host, router_host)
            here = Backend(head.name, head.replica, process.host, bind, address, process.port)
        of_replica = sum(one.replica == process.replica for one in found)
        found.append(evolve(here, name=f"{head.name}-{of_replica}", port=process.port))
    return tuple(found)


def _several_servers(serve_plan: ServePlan) -> bool:
    """Whether one engine answers at more than one address."""
    written = serve_plan.serve.parallel.balance
    if serve_plan.chosen.cut.dp == 1 or written is None:
        return False
    spans_nodes = any(len(engine.nodes) > 1 for engine in serve_plan.chosen.placement)
    return written.value == "external" or (written.value == "hybrid" and spans_nodes)


def listening(plan: Plan, serve_plan: ServePlan, host: str) -> str:
    """The address that an engine of the serve binds on one of its hosts."""
    return _listening(serve_plan, host, _router_host(plan, serve_plan))[0]


def fronts(plan: Plan) -> tuple[Front, ...]:
    """Every router of the plan: those of serves in file order, then those at the top level."""
    own = [(plan_, _kind(plan_)) for plan_ in plan.serves if plan_.serve.route is None]
    kinds = [kind for _, kind in own if kind is not None] + [r.kind.value for r in plan.spec.routers]
    found = []
    for serve_plan, kind in own:
        if kind is None:
            continue
        spec = serve_plan.serve.router
        route = Route(serve_plan, servers(plan, serve_plan))
        found.append(_front(kind, serve_plan.name if kinds.count(kind) > 1 else "", spec, (route,)))
    for router in plan.spec.routers:
        routes = tuple(
            _route(plan, serve_plan, serve_plan.serve.route)
            for serve_plan in plan.serves
            if serve_plan.serve.route is not None and serve_plan.serve.route.router.value == router.name
        )
        if routes:
            name = router.name if kinds.count(router.kind.value) > 1 else ""
            found.append(_front(router.kind.value, name, router, routes))
    return _with_metrics(found)


def _with_metrics(found: list[Front]) -> tuple[Front, ...]:
    """The fronts with their metrics' ports: several of one kind on one host take one after the other."""
    numbered = []
    for place, front in enumerate(found):
        before = sum(other.kind == front.kind and other.host == front.host for other in found[:place])
        metrics, inner = METRICS_PORTS.get(front.kind, 0), INNER_PORTS.get(front.kind, 0)
        numbered.append(evolve(front, metrics_port=metrics and metrics + before, inner_port=inner and inner + before))
    return tuple(numbered)


def front_of(plan: Plan, serve_plan: ServePlan) -> Front | None:
    """The router in front of a serve, None where clients reach its engine themselves."""
    return next((f for f in fronts(plan) if any(route.serve is serve_plan for route in f.routes)), None)


def _kind(serve_plan: ServePlan) -> RouterKind | None:
    """The kind of router inside a serve: as written; else NGINX from two servers on (llm-d between pods), none for one."""
    serve = serve_plan.serve
    if serve.router is not None:
        return serve.router.kind.value
    if serve.router_off or (serve_plan.chosen.cut.replicas < 2 and not _several_servers(serve_plan)):
        return None
    return "llm-d" if serve.runtime.value == "kubernetes" else "nginx"


def _router_host(plan: Plan, serve_plan: ServePlan) -> str | None:
    serve = serve_plan.serve
    if serve.route is not None:
        router = next((r for r in plan.spec.routers if serve.route and r.name == serve.route.router.value), None)
        return router.host.value if router and router.host else serve_plan.hosts[0]
    if _kind(serve_plan) is None:
        return None
    return serve.router.host.value if serve.router and serve.router.host else serve_plan.hosts[0]


def _backends(serve_plan: ServePlan, router_host: str | None) -> tuple[Backend, ...]:
    found = []
    for replica, placement in enumerate(serve_plan.chosen.placement):
        host = serve_plan.hosts[placement.nodes[0]]
        bind, address = _listening(serve_plan, host, router_host)
        found.append(
            Backend(f"{serve_plan.name}-{replica}", replica, host, bind, address, serve_plan.ports[replica].http)
        )
    return tuple(found)


def _listening(serve_plan: ServePlan, host: str, router_host: str | None) -> tuple[str, str]:
    """What an engine on `host` binds, and how its router reaches it. Engines listen on loopback where their router is on the
    same node, else on the node's own address; on all interfaces only where the spec says so."""
    if serve_plan.serve.runtime.value == "kubernetes":
        # Every pod has addresses of its own, and listens on all of them.
        return EVERY_INTERFACE[0], host
    written = serve_plan.serve.engine.host
    addressed = serve_plan.serve.hardware.hosts_given is not None or any(
        node.host.written for node in serve_plan.serve.hardware.nodes
    )
    beside_router = router_host == host
    bind = written.value if written else LOOPBACK if beside_router or not addressed else host
    if bind == LOOPBACK or (beside_router and bind in EVERY_INTERFACE):
        return bind, LOOPBACK
    return bind, host if written is None or bind in EVERY_INTERFACE else bind


def _route(plan: Plan, serve_plan: ServePlan, route: RouteSpec) -> Route:
    return Route(
        serve_plan,
        servers(plan, serve_plan),
        route.model_name.value if route.model_name else None,
        route.header.value if route.header else None,
        route.path.value if route.path else None,
    )


def _front(kind: RouterKind, name: str, spec: RouterSpec | None, routes: tuple[Route, ...]) -> Front:
    tls = spec.tls if spec else None
    timeout, timeout_figure = _timeout(spec, routes)
    body, body_figure = _body(spec, routes)
    return Front(
        kind=kind,
        name=name,
        host=spec.host.value if spec and spec.host else routes[0].serve.hosts[0],
        listen=spec.listen.value if spec and spec.listen else DEFAULT_LISTEN_TLS if tls else DEFAULT_LISTEN,
        policy=spec.policy.value if spec and spec.policy else "auto",
        tls=tls,
        api_key=spec.api_key.value if spec and spec.api_key else None,
        version=spec.version.value if spec and spec.version else None,
        timeout=timeout,
        timeout_figure=timeout_figure,
        body=body,
        body_figure=body_figure,
        routes=routes,
        spec=spec,
    )


def _timeout(spec: RouterSpec | None, routes: tuple[Route, ...]) -> tuple[int, Figure | None]:
    if spec is not None and spec.timeout is not None:
        return max(1, math.ceil(spec.timeout.value)), None
    figures = [
        longest_answer(route.serve.load, route.serve.chosen.performance)
        for route in routes
        if route.serve.chosen.performance is not None
    ]
    if not figures:
        return SHORTEST_TIMEOUT, None
    longest = max(figures, key=lambda figure: figure.value)
    return max(SHORTEST_TIMEOUT, math.ceil(longest.value / 60) * 60), longest


def _body(spec: RouterSpec | None, routes: tuple[Route, ...]) -> tuple[int, Figure | None]:
    if spec is not None and spec.max_body is not None:
        return max(1, math.ceil(spec.max_body.value)), None
    largest = max((largest_body(r.serve.chosen.limits.max_model_len) for r in routes), key=lambda figure: figure.value)
    return math.ceil(largest.value / MIB) * MIB, largest
