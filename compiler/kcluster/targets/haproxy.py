"""HAProxy in front of the replicas: active health checks, several models behind one address, and a drain that loses nothing.

What it must get right, and what was measured behind it (deployment findings of this project):

- `option http-no-delay`: without it a stream's chunks wait for full packets (221 ms to the first token against 1.4 ms).
- Never a second generation: `retry-on conn-failure` and one redispatch re-send only what was never sent.
- A replica whose `/health` answers 503 drains: no new request, running ones finish. So `on-marked-down
  shutdown-sessions` is not used; it cuts healthy streams.
- `timeout tunnel` does nothing for server-sent events; client and server time-outs govern them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.engines import health_path
from kcluster.targets.haproxy_script import script
from kcluster.targets.header import comment_header
from kcluster.targets.routing import FLOORS, Front, Route, fronts
from kcluster.targets.tls import TLS_CIPHERS
from kcluster.targets.types import Artifact, target
from kcluster.units import KIB, MIB, human

FLOOR: Final = FLOORS["haproxy"]
"""Every keyword below is in HAProxy from this version on (Debian 12)."""

FEWEST_CONNECTIONS: Final = 2000
"""Its files fit the limit of 4096 that some systems set."""

QUEUE_SECONDS: Final = 30
CHECK_SECONDS: Final = 5
SLOW_START_SECONDS: Final = 5
SMALLEST_BUFFER: Final = 64 * KIB
LARGEST_BUFFER: Final = MIB
"""Bytes of a request in which its `model` is looked for; a request holds such a buffer until it is passed on."""

_BALANCE: Final = {
    "round_robin": ("balance roundrobin",),
    "random": ("balance random(1)",),
    "power_of_two": ("balance random(2) # two replicas drawn, the one with less open taken",),
    "request_id": ("balance hash unique-id", "hash-type consistent"),
    "session": (
        "balance hdr(X-Session-ID) # a session keeps its replica and so its prefix cache; round robin without one",
        "hash-type consistent",
        "hash-balance-factor 150 # no replica takes more than one and a half times its share",
    ),
}
_LEAST_OPEN: Final = ("balance leastconn # answers differ in length by orders of magnitude: count what is open",)

_NOT_FOUND: Final = "no such model or path"
_ERRORS: Final = (
    (401, "a valid key is needed"),
    (404, _NOT_FOUND),
    (413, "the request is larger than the context allows"),
    (503, "no replica is free or healthy"),
)


@target("haproxy")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`router/haproxy.cfg` and `router/haproxy.sh` for every HAProxy of the plan."""
    artifacts: list[Artifact] = []
    for front in fronts(plan):
        if front.kind == "haproxy":
            artifacts.append(Artifact(f"router/{front.file_stem}.cfg", "".join(_configuration(plan, front))))
            artifacts.append(Artifact(f"router/{front.file_stem}.sh", script(plan, front), executable=True))
    return tuple(artifacts)


def quote(text: str) -> str:
    """A string as one HAProxy word. Inside single quotes nothing is replaced, not even `$`.

    Raises:
        ValueError: the text holds a single quote or a control character; the spec's types keep such text out before.
    """
    if "'" in text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError(f"not a text that HAProxy can hold literally: {text!r}")
    return f"'{text}'"


def backend_name(serve: str) -> str:
    """The name of a serve's backend, as metrics are labelled with it."""
    return f"kcluster_{serve}"


def _configuration(plan: Plan, front: Front) -> Iterator[str]:
    yield comment_header(plan, f"HAProxy {'.'.join(map(str, FLOOR))} or newer")
    yield "# Start it with the script beside this file, which also drains a replica; relative names are in its folder.\n"
    yield from _global(front)
    yield from _defaults(front)
    yield from _frontend(front)
    for route in front.routes:
        yield from _backend(front, route)
    yield "\nbackend nothing_here\n    http-request deny deny_status 404\n"
    yield (
        "\n# Metrics and the state of every replica, for people and Prometheus on this machine only.\n"
        "frontend stats\n"
        f'    bind "127.0.0.1:${{KCLUSTER_METRICS_PORT-{front.metrics_port}}}"\n'
        "    http-request use-service prometheus-exporter if { path /metrics }\n"
        "    stats enable\n"
        "    stats uri /\n"
        "    no log\n"
    )


def _global(front: Front) -> Iterator[str]:
    running = sum(_running(route) for route in front.routes)
    most = max(FEWEST_CONNECTIONS, 4 * running)
    yield "\nglobal\n    log stderr format raw local0\n"
    yield f"    maxconn {most} # two files each; the engines run {running} requests at a time, others wait or idle\n"
    yield "    noreuseport # a second HAProxy on the same port does not start, rather than take a share\n"
    yield "    # A reload takes the listening sockets over and lets the longest answer finish.\n"
    yield "    stats socket unix@haproxy.sock mode 600 level admin expose-fd listeners\n"
    yield f"    hard-stop-after {front.timeout}s\n"
    if any(route.model_name is not None for route in front.routes):
        size = min(LARGEST_BUFFER, max(SMALLEST_BUFFER, math.ceil(front.body / KIB) * KIB))
        yield f"    tune.bufsize {size} # what of a request is looked at for its model: it stands first in most clients'\n"
    if front.tls is not None:
        yield f"    ssl-default-bind-ciphers {TLS_CIPHERS}\n"
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
        "    option dontlognull\n"
        "    option http-no-delay # tokens pass as they come\n"
        "    option abortonclose # a client that left frees its place in the queue\n"
        "    option http-keep-alive\n"
        "    option idle-close-on-response # a reload closes no connection on which a request may be under way\n"
        "    option forwardfor\n"
        "    http-reuse safe\n"
        "    timeout connect 2s\n"
        f"    timeout client {front.timeout}s # {reason}\n"
        f"    timeout server {front.timeout}s\n"
        f"    timeout queue {QUEUE_SECONDS}s # then 503: the replicas are full\n"
        "    timeout http-request 30s\n"
        "    timeout http-keep-alive 60s\n"
        f"    timeout check {CHECK_SECONDS}s # an engine that is busy with long prompts answers late, and is not dead\n"
        "    # Another replica only where nothing was sent yet: never a second generation of one request.\n"
        "    retries 3\n"
        "    option redispatch 1\n"
        "    retry-on conn-failure\n"
    )
    for status, message in _ERRORS:
        body = json.dumps({"error": {"message": message, "code": status}}, separators=(",", ":"))
        yield f"    http-error status {status} content-type application/json string {quote(body)}\n"


def _frontend(front: Front) -> Iterator[str]:
    where = f"[::]:{front.listen} v4v6" if ":" in front.host else f":{front.listen}"
    yield "\nfrontend kcluster\n    option httplog\n"
    if front.tls is not None:
        yield f"    # The script links {front.file_stem}.pem and {front.file_stem}.pem.key to the files that the spec names.\n"
        yield f"    bind {where} ssl crt {quote(front.file_stem + '.pem')} alpn http/1.1\n"
        yield "    http-request set-header X-Forwarded-Proto https\n"
    else:
        yield f"    bind {where}\n"
        yield "    http-request set-header X-Forwarded-Proto http\n"
    yield "    unique-id-format %[uuid()]\n"
    yield "    http-request set-header X-Request-ID %[unique-id]\n"
    for route in front.routes:
        yield f"    acl some_replica_up nbsrv({backend_name(route.serve.name)}) gt 0\n"
    yield "    # For a balancer in front of this one.\n"
    yield "    http-request deny deny_status 503 if { path /lb-health } !some_replica_up\n"
    yield '    http-request return status 200 content-type application/json string \'{"status":"ok"}\' if { path /lb-health }\n'
    yield "    # Only the API passes: the engine's key guards /v1 only, not /metrics, /sleep, /collective_rpc and the like.\n"
    yield "    http-request deny deny_status 404 if { path,url_dec -m reg '(^|/)[.][.]?(/|$)' }\n"
    yield "    http-request deny deny_status 404 if { path,url_dec -m end /load_lora_adapter /unload_lora_adapter }\n"
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
        yield "    http-request deny deny_status 401 unless { req.fhdr(authorization),secure_memcmp(txn.key) -m bool }\n"
    yield from _models(front)
    for route in front.by_precedence:
        yield from _selector(route)
    yield "    default_backend nothing_here\n"


def _models(front: Front) -> Iterator[str]:
    """Reading a request's model, and the list of models where no engine knows them all."""
    named = [route for route in front.routes if route.model_name is not None]
    if not named:
        return
    yield "    http-request wait-for-body time 30s if METH_POST\n"
    yield "    http-request set-var(txn.model) req.body,json_query('$.model')\n"
    for prefix in sorted({route.prefix for route in named}):
        if any(route.prefix == prefix and route.model_name is None for route in front.routes):
            continue
        listed = [r.model_name for r in named if r.prefix == prefix]
        rows = [{"id": name, "object": "model", "created": 0, "owned_by": "kcluster"} for name in listed]
        body = json.dumps({"object": "list", "data": rows}, separators=(",", ":"))
        condition = f"METH_GET {{ path {quote(prefix + '/v1/models')} }}"
        yield f"    http-request return status 200 content-type application/json string {quote(body)} if {condition}\n"


def _selector(route: Route) -> Iterator[str]:
    conditions = [f"{{ path_beg {quote(route.prefix + '/v1/')} }}"]
    if route.header is not None:
        name, value = route.header
        conditions.append(f"{{ req.hdr({name}) -m str {quote(value)} }}")
    if route.model_name is not None:
        conditions.append(f"{{ var(txn.model) -m str {quote(route.model_name)} }}")
    yield f"    use_backend {backend_name(route.serve.name)} if {' '.join(conditions)}\n"


def _running(route: Route) -> int:
    """Requests that all engines of a serve run at a time."""
    cut = route.serve.chosen.cut
    return route.serve.chosen.limits.max_num_seqs * cut.dp * cut.replicas


def _backend(front: Front, route: Route) -> Iterator[str]:
    most = max(1, _running(route) // len(route.backends))
    yield f"\nbackend {backend_name(route.serve.name)}\n"
    for line in _BALANCE.get(front.policy, _LEAST_OPEN):
        yield f"    {line}\n"
    if route.path is not None:
        pattern = "^" + route.prefix.replace(".", "[.]") + "(/.*)"
        yield f"    http-request replace-path {quote(pattern)} '\\1'\n"
    key = front.engine_key(route)
    if key is not None:
        yield f"    # The engine has a key of its own, read from {key.variable} when HAProxy starts.\n"
        yield f'    http-request set-header Authorization "Bearer ${{{key.variable}}}"\n'
    yield (
        "    option httpchk\n"
        f"    http-check send meth GET uri {health_path(route.serve.serve.engine.name.value)}\n"
        "    http-check expect status 200\n"
        "    # A refused connection marks a replica down at once; late answers only three times in a row.\n"
        "    default-server inter 1s fastinter 500ms fall 3 rise 2 "
        f"slowstart {SLOW_START_SECONDS}s observe layer4 error-limit 1 on-error mark-down\n"
    )
    for backend in route.backends:
        yield (
            f"    server {backend.name} {backend.endpoint} check maxconn {most} # {backend.host}; at most what the engine runs at a time\n"
        )
