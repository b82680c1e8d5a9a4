"""HAProxy in front of the replicas: active health checks, several models behind one address, and a drain that loses nothing.

What it must get right, and what was measured behind it (deployment findings of this project):

- `option http-no-delay`: without it a stream's chunks wait for full packets (221 ms to the first token against 1.4 ms).
- Never a second generation: `retry-on conn-failure` and one redispatch re-send only what was never sent.
- A replica whose `/health` answers 503 drains: no new request, running ones finish. So `on-marked-down
  shutdown-sessions` is not used; it cuts healthy streams.
- `timeout tunnel` does nothing for server-sent events; client and server time-outs govern them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.routing import Front, Route, fronts
from kcluster.targets.types import Artifact, target
from kcluster.units import KIB, human

FLOOR: Final = (2, 6)
"""Every keyword below is in HAProxy from this version on (Debian 12)."""

QUEUE_SECONDS: Final = 30
MODEL_BUFFER: Final = 256 * KIB
"""Bytes of a request that are looked at for its `model`: most clients write it first; two such buffers a request."""


@target("haproxy")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`router/haproxy.cfg` for every HAProxy of the plan."""
    return tuple(
        Artifact(f"router/{front.file_stem}.cfg", "".join(_configuration(plan, front)))
        for front in fronts(plan)
        if front.kind == "haproxy"
    )


def quote(text: str) -> str:
    """A string as one HAProxy word. Inside single quotes nothing is replaced, not even `$`.

    Raises:
        ValueError: the text holds a single quote or a control character; the spec's types keep such text out before.
    """
    if "'" in text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError(f"not a text that HAProxy can hold literally: {text!r}")
    return f"'{text}'"


def _configuration(plan: Plan, front: Front) -> Iterator[str]:
    yield comment_header(plan, f"HAProxy {'.'.join(map(str, FLOOR))} or newer; test: haproxy -c -f THIS")
    yield from _global(front)
    yield from _defaults(front)
    yield from _frontend(front)
    for route in front.routes:
        yield from _backend(front, route)
    # Metrics and the state of every replica, for people and Prometheus on this machine only.
    yield (
        "\nfrontend stats\n"
        "    bind 127.0.0.1:8404\n"
        "    http-request use-service prometheus-exporter if { path /metrics }\n"
        "    stats enable\n"
        "    stats uri /\n"
        "    no log\n"
    )


def _global(front: Front) -> Iterator[str]:
    yield "\nglobal\n    log stderr format raw local0\n    maxconn 16384\n"
    yield "    stats socket ./haproxy.sock mode 600 level admin # set server kcluster_NAME/NAME-0 state drain\n"
    if any(route.model_name is not None for route in front.routes):
        yield f"    tune.bufsize {MODEL_BUFFER} # the part of a request in which its model is looked for\n"
    if front.tls is not None:
        yield "    ssl-default-bind-options ssl-min-ver TLSv1.2\n"


def _defaults(front: Front) -> Iterator[str]:
    reason = (
        f"the longest answer takes up to {human(front.timeout_figure.value, 's')}"
        if front.timeout_figure
        else "as the spec says"
    )
    yield (
        "\ndefaults\n"
        "    mode http\n"
        "    log global\n"
        "    option httplog\n"
        "    option dontlognull\n"
        "    option http-no-delay # tokens pass as they come\n"
        "    option abortonclose # a client that left frees its place in the queue\n"
        "    option http-keep-alive\n"
        "    http-reuse safe\n"
        "    timeout connect 2s\n"
        f"    timeout client {front.timeout}s # {reason}\n"
        f"    timeout server {front.timeout}s\n"
        f"    timeout queue {QUEUE_SECONDS}s # then 503: the replicas are full\n"
        "    timeout http-request 30s\n"
        "    # Another replica only where nothing was sent yet: never a second generation of one request.\n"
        "    retries 3\n"
        "    option redispatch 1\n"
        "    retry-on conn-failure\n"
    )


def _frontend(front: Front) -> Iterator[str]:
    yield "\nfrontend kcluster\n"
    if front.tls is not None:
        yield f"    bind :{front.listen} ssl crt {quote(front.tls.certificate.value)} alpn http/1.1\n"
    else:
        yield f"    bind :{front.listen}\n"
    yield "    unique-id-format %[uuid()]\n    unique-id-header X-Request-ID\n"
    yield '    http-request return status 200 content-type application/json string \'{"status":"ok"}\' if { path /lb-health }\n'
    why = (
        f"{human(front.body_figure.value, 'bytes')}: the longest prompt as JSON, and what comes beside"
        if front.body_figure
        else "as the spec says"
    )
    yield f"    http-request deny deny_status 413 if {{ req.body_size gt {front.body} }} # {why}\n"
    if front.api_key is not None:
        variable = front.api_key.variable
        yield f"    # The key is read from {variable} when HAProxy starts; it is not in this file.\n"
        yield f'    http-request set-var(txn.key) str("Bearer ${{{variable}}}")\n'
        yield "    http-request deny deny_status 401 unless { req.hdr(authorization),strcmp(txn.key) eq 0 }\n"
    if any(route.model_name is not None for route in front.routes):
        yield "    option http-buffer-request\n"
        yield "    http-request set-var(txn.model) req.body,json_query('$.model')\n"
    for route in front.routes:
        yield from _selector(route)
    yield "    # Only the API passes: the engine's key guards /v1 only, not /metrics, /sleep, /collective_rpc and the like.\n"
    default = next((r for r in front.routes if r.header is None and r.path is None and r.model_name is None), None)
    if default is not None:
        yield f"    use_backend {_name(default)} if {{ path_beg /v1/ }}\n"
    yield "    default_backend nothing_here\n"
    yield "\nbackend nothing_here\n    http-request return status 404 content-type text/plain string 'not found'\n"


def _selector(route: Route) -> Iterator[str]:
    if route.path is not None:
        yield f"    use_backend {_name(route)} if {{ path_beg {quote(route.path.rstrip('/') + '/v1/')} }}\n"
    if route.header is not None:
        name, value = route.header
        yield f"    use_backend {_name(route)} if {{ path_beg /v1/ }} {{ req.hdr({name}) -m str {quote(value)} }}\n"
    if route.model_name is not None:
        yield f"    use_backend {_name(route)} if {{ path_beg /v1/ }} {{ var(txn.model) -m str {quote(route.model_name)} }}\n"


def _name(route: Route) -> str:
    return "kcluster_" + route.serve.name.replace(".", "_")


def _backend(front: Front, route: Route) -> Iterator[str]:
    limits = route.serve.chosen.limits
    most = limits.max_num_seqs * route.serve.chosen.cut.dp
    yield f"\nbackend {_name(route)}\n"
    if front.policy == "session":
        yield "    balance hdr(X-Session-ID) # round robin without the header\n"
        yield "    hash-type consistent\n    hash-balance-factor 150\n"
    elif front.policy == "round-robin":
        yield "    balance roundrobin\n"
    else:
        yield "    balance leastconn # answers differ in length by orders of magnitude: count what is open\n"
    if route.path is not None:
        yield f"    http-request replace-path {quote(route.path.rstrip('/') + '(/.*)')} '\\1'\n"
    yield (
        "    option httpchk\n"
        "    http-check send meth GET uri /health\n"
        "    http-check expect status 200\n"
        "    default-server inter 1s fastinter 500ms fall 2 rise 2 slowstart 5s observe layer4 error-limit 1 on-error mark-down\n"
    )
    for backend in route.backends:
        yield f"    server {backend.name} {backend.endpoint} check maxconn {most} # {backend.host}; at most what the engine runs at a time\n"
