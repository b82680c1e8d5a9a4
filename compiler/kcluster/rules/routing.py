"""What stands in front of the engines (KC601–KC604)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan, ServePlan
from kcluster.rules.finding import Mark, Place, blame, finding, head_of, place_of, rewrite, written
from kcluster.rules.registry import rule
from kcluster.rules.words import count, counted, share, shown
from kcluster.spec.types import RouterSpec, RouteSpec, ServeSpec, Spec

HIGH_PREFIX_SHARE: Final = 0.3
"""From here on a replica's prefix cache is worth steering requests to; the vLLM router's own cache threshold."""


MANY_REPLICAS: Final = 4


def router_of(spec: Spec, serve: ServeSpec) -> RouterSpec | None:
    """The router that a serve's requests come through: its own, or the one at top level that its route names."""
    if serve.router is not None:
        return serve.router
    if serve.route is not None:
        return next((router for router in spec.routers if router.name == serve.route.router.value), None)
    return None


@rule("KC601", stage="plan")
def no_router(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    A serve with several replicas has a router in front of them.

    Why
    Replicas are independent servers with an address each. Without a router every client has to know them all, spread its own load and
    notice by itself that one is gone.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { replicas = 2 }   #! KC601
      router = off
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { replicas = 2 }
      engine vllm { api_key = env("VLLM_API_KEY") }
      router nginx { listen = 8080 }
    }
    ```

    Fix
    Leave the router to its default (NGINX from two replicas on), or name one: `router nginx { listen = 8080 }`. One server with
    `dp` ranks and internal balancing has one address without a router.

    Source
    vLLM's documentation on data-parallel deployment: independent servers need a balancer in front.
    """
    for serve in plan.serves:
        replicas = serve.chosen.cut.replicas
        if replicas > 1 and serve.serve.router_off and router_of(plan.spec, serve.serve) is None:
            yield finding(
                "KC601",
                f"{counted(replicas, 'replica')} and no router in front of them",
                written(serve.serve, "replicas") or head_of(serve.serve),
                help=("leave out `router = off`, or write `router nginx { listen = 8080 }`",),
            )


@rule("KC602", stage="plan")
def plain_round_robin(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    Four or more replicas, or several with prompts that repeat much (`prefix_share` of 30 % and more), are not behind plain round robin or
    random choice.

    Why
    Requests differ a hundredfold in work. Round robin counts them alike, so some replicas queue while others idle; and a prompt whose
    beginning sits in one replica's prefix cache lands on another, which computes it again.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 32, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { replicas = 4, tp = 1 }
      engine vllm { api_key = env("VLLM_API_KEY") }
      router nginx {
        listen = 8080
        policy = round_robin   #! KC602
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 4 * l40s }
    sla team { concurrency = 32, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      parallel { replicas = 4, tp = 1 }
      engine vllm { api_key = env("VLLM_API_KEY") }
      router nginx {
        listen = 8080
        policy = least_conn
      }
    }
    ```

    Fix
    Least connections for load alone; a hash of the session where prompts repeat; the vLLM router's `cache_aware` where sessions are not
    known.

    Source
    NGINX's `least_conn` and `hash … consistent` (open source); the vLLM router's policies and its cache threshold of 0.3 in its `--help`
    (0.1.17).
    """
    for serve in plan.serves:
        router = router_of(plan.spec, serve.serve)
        policy = router.policy if router is not None else None
        if policy is None or policy.value not in ("round_robin", "random"):
            continue
        replicas = serve.chosen.cut.replicas
        prefix = serve.load.prefix_share
        if replicas > 1 and prefix >= HIGH_PREFIX_SHARE:
            yield finding(
                "KC602",
                f"{share(prefix)} of a prompt repeats, and `{policy.value}` sends it to any of {counted(replicas, 'replica')}",
                place_of(policy),
                marks=(written_mark(serve.serve, "prefix_share", "what a prefix cache would save"),),
                help=("`policy = session` keeps a session on its replica; `router vllm-router` has `cache_aware`",),
            )
        elif replicas >= MANY_REPLICAS:
            yield finding(
                "KC602",
                f"`{policy.value}` over {counted(replicas, 'replica')} counts a request of {count(serve.load.context)} tokens "
                "like one of ten",
                place_of(policy),
                help=("`policy = least_conn`",),
                fixes=rewrite(policy, "least_conn"),
            )


def written_mark(serve: ServeSpec, subject: str, text: str) -> Mark | None:
    place = written(serve, subject)
    return Mark(place, text) if place is not None else None


def _selectors(route: RouteSpec) -> tuple[tuple[str, str], ...]:
    found = []
    if route.model_name is not None:
        found.append(("model_name", route.model_name.value))
    if route.header is not None:
        found.append(("header", ": ".join(route.header.value)))
    if route.path is not None:
        found.append(("path", route.path.value))
    return tuple(found)


def _overlap(one: tuple[str, str], other: tuple[str, str]) -> bool:
    """Whether some request is meant by both selectors of one kind."""
    if one[0] != other[0]:
        return False
    if one[0] == "path":
        first, second = (path[1].rstrip("/") + "/" for path in (one, other))
        return first == second
    if one[0] == "header":
        return one[1].lower() == other[1].lower()
    return one[1] == other[1]


@rule("KC603", stage="spec")
def route_selectors(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    Where several serves stand behind one router, each says which requests are its own (`model_name`, `header` or `path`), and no two say the
    same.

    Why
    The router must know from a request which serve it is for. Without a selector, or with the same one twice, requests for one model reach
    the other, which answers 404 or, worse, answers.

    Example
    ```kcluster bad
    model small { id = "meta-llama/Llama-3.1-8B-Instruct" }
    model qwen { id = "Qwen/Qwen3-8B" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    router nginx front {
      listen  = 8080
      api_key = env("ROUTER_KEY")
    }
    serve one {
      model = small, hardware = box, sla = team
      gpus  = [0]
      route front { path = "/chat" }
    }
    serve two {
      model = qwen, hardware = box, sla = team
      gpus  = [1]
      engine vllm { port = 8100 }
      route front { path = "/chat" }   #! KC603
    }
    ```

    ```kcluster good
    model small { id = "meta-llama/Llama-3.1-8B-Instruct" }
    model qwen { id = "Qwen/Qwen3-8B" }
    hardware box { gpus = 2 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    router nginx front {
      listen  = 8080
      api_key = env("ROUTER_KEY")
    }
    serve one {
      model = small, hardware = box, sla = team
      gpus  = [0]
      route front { path = "/small" }
    }
    serve two {
      model = qwen, hardware = box, sla = team
      gpus  = [1]
      engine vllm { port = 8100 }
      route front { path = "/qwen" }
    }
    ```

    Fix
    Give each route a selector of its own. `path` and `header` work with every router; `model_name` needs one that reads the request body.

    Source
    NGINX and HAProxy choose by path and header without reading the body; the field `model` of the OpenAI API stands in the body.
    """
    behind: dict[str, list[tuple[ServeSpec, RouteSpec]]] = {}
    for serve in spec.serves:
        if serve.route is not None:
            behind.setdefault(serve.route.router.value, []).append((serve, serve.route))
    for router, routes in behind.items():
        if len(routes) < 2:
            continue
        for position, (serve, route) in enumerate(routes):
            at = Place(serve.source, route.block, True)
            mine = _selectors(route)
            if not mine:
                yield finding(
                    "KC603",
                    f"`{serve.name}` shares router `{router}` with {counted(len(routes) - 1, 'serve')} and has no selector",
                    at,
                    help=('`path = "/small"`, `header = ["X-Model", "small"]` or `model_name = "small"`',),
                )
                continue
            for earlier, taken in routes[:position]:
                theirs = _selectors(taken)
                both = [one for one in mine if any(_overlap(one, other) for other in theirs)]
                if both and len(both) == len(mine) == len(theirs):
                    kind, text = both[0]
                    yield finding(
                        "KC603",
                        f"`{serve.name}` and `{earlier.name}` take the same requests: {kind} `{text}`",
                        at,
                        marks=(Mark(Place(earlier.source, taken.block), "taken here first"),),
                        help=("give each route a selector of its own",),
                    )
                    break


@rule("KC604", stage="plan")
def router_settings(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The router waits at least as long as the SLA lets an answer take, takes request bodies as long as the context, and hashes by what stays the
    same over a session.

    Why
    A proxy's defaults are made for web pages: 60 seconds between two reads, 1 MB of body. Behind them a long answer that is not streamed
    ends in a 504, and a long prompt in a 413, both long after everything was tested with short ones.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 8K
      prompt      = 2K
      completion  = 500
      answer     <= 120s
    }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
      router nginx {
        listen  = 8080
        timeout = 60s   #! KC604
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team {
      concurrency = 4
      context     = 8K
      prompt      = 2K
      completion  = 500
      answer     <= 120s
    }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
      router nginx { listen = 8080 }
    }
    ```

    Fix
    Leave `timeout` and `max_body` out: they follow from the SLA and the context. Where they are written, write at least what the message
    names.

    Source
    NGINX: `proxy_read_timeout` is 60 s and `client_max_body_size` 1 MB unless set; basetenlabs/truss pull request 1212 raised the latter to
    64 MB for long prompts. A hash of what every request has anew (`X-Request-ID`) spread 40 requests of one user 15 to 25 over two replicas
    (vLLM Router 0.1.17).
    """
    seen: set[int] = set()
    for serve in plan.serves:
        router = router_of(plan.spec, serve.serve)
        if router is None:
            continue
        yield from _timeout(serve, router)
        yield from _body(serve, router)
        if id(router) not in seen:
            seen.add(id(router))
            yield from _hash(router)


def _hash(router: RouterSpec) -> Iterator[Diagnostic]:
    """Hashing by what is new with every request."""
    policy = router.policy
    if policy is None:
        return
    if policy.value == "request_id":
        yield finding(
            "KC604",
            "a request id is new with every request, so that hashing it spreads each session over all replicas",
            place_of(policy),
            help=("`policy = session`, by a header that the client keeps",),
        )


def _timeout(plan: ServePlan, router: RouterSpec) -> Iterator[Diagnostic]:
    if router.timeout is None or not router.timeout.written:
        return
    waits = router.timeout.value
    sla = plan.serve.sla
    bound = sla.bound("answer") if sla is not None else None
    if bound is not None and waits < bound.value.value:
        yield finding(
            "KC604",
            f"the router gives up after {waits:,.0f} s, and the SLA lets an answer take {bound.value.value:,.0f} s",
            place_of(router.timeout),
            marks=(Mark(place_of(bound.value), "what an answer may take"),),
            help=("leave `timeout` out, and it follows from the SLA",),
        )
        return
    performance = plan.chosen.performance
    if performance is None:
        return
    from kcluster.physics.routing import longest_answer

    longest = longest_answer(plan.load, performance)
    if waits < longest.value:
        yield finding(
            "KC604",
            f"the router gives up after {waits:,.0f} s, and a request of {count(plan.load.context)} tokens may take "
            f"{shown(longest)}",
            place_of(router.timeout),
            help=("leave `timeout` out, and it follows from the SLA",),
        )


def _body(plan: ServePlan, router: RouterSpec) -> Iterator[Diagnostic]:
    if router.max_body is None or not router.max_body.written:
        return
    from kcluster.physics.routing import BYTES_PER_TOKEN, largest_body
    from kcluster.units import human

    length = plan.chosen.limits.max_model_len
    limit = router.max_body.value
    if limit < length * BYTES_PER_TOKEN.value:
        largest = largest_body(length)
        yield finding(
            "KC604",
            f"requests of at most {human(limit, 'bytes')} pass, and {count(length)} tokens of context are up to {shown(largest)}",
            place_of(router.max_body),
            marks=(Mark(blame(plan.serve, "max_model_len", "context"), f"{count(length)} tokens"),),
            help=("leave `max_body` out, and it follows from the context",),
        )
