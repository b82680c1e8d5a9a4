"""NGINX in front of the replicas: a whole configuration and the script that starts, drains and reloads it.

What it must get right, and what was measured behind it (deployment findings of this project):

- Streaming: `proxy_buffering off`; with TLS and buffering on, a whole answer arrives at its end.
- Never a second generation: `proxy_next_upstream error timeout` re-sends a POST only where nothing was sent yet.
- Open-source NGINX has no active health checks: a dead replica is found by a refused connection (`max_fails`), a hanging
  one is not found at all.
- The engine's idle keep-alive (75 s, set by its script) is longer than the proxy's (60 s): else the two race and a
  request is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.engines import idle_seconds
from kcluster.targets.header import comment_header
from kcluster.targets.nginx_script import script, upstream_name
from kcluster.targets.routing import FLOORS, Front, Route, fronts
from kcluster.targets.tls import TLS_CIPHERS
from kcluster.targets.types import Artifact, target
from kcluster.units import MIB, human

FLOOR: Final = FLOORS["nginx"]
"""Every directive below is in open-source NGINX from this version on (Debian 12)."""

KEEPALIVE_SECONDS: Final = 60

_BALANCE: Final = {
    "round_robin": (),
    "random": ("random;",),
    "power_of_two": ("random two least_conn; # two replicas drawn, the one with less open taken",),
    "request_id": ("hash $request_id consistent;",),
    "session": ("hash $kcluster_session consistent;",),
}
_LEAST_OPEN: Final = ("least_conn; # answers differ in length by orders of magnitude: count what is open",)


@target("nginx")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`router/nginx.conf` and `router/nginx.sh` for every NGINX of the plan."""
    artifacts: list[Artifact] = []
    for front in fronts(plan):
        if front.kind == "nginx":
            artifacts.append(Artifact(f"router/{front.file_stem}.conf", configuration(plan, front)))
            artifacts.append(Artifact(f"router/{front.file_stem}.sh", script(plan, front), executable=True))
    return tuple(artifacts)


def quote(text: str) -> str:
    """A string as one NGINX word. There is no escape for `$` in NGINX, so that a text with one cannot be written.

    Raises:
        ValueError: the text holds `$` or a control character; the spec's types keep such text out before.
    """
    if "$" in text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError(f"not a text that NGINX can hold literally: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def configuration(plan: Plan, front: Front, guarded: str = "") -> str:
    """A whole `nginx.conf`. With `guarded`, the backend is a router of that name on this machine, which NGINX stands before: it
    is never taken out, is asked whether it is ready, and gets a session with every request."""
    return "".join(_configuration(plan, front, guarded))


def _configuration(plan: Plan, front: Front, guarded: str) -> Iterator[str]:
    what = f"NGINX {'.'.join(map(str, FLOOR))} or newer"
    yield comment_header(plan, f"{what}, before {guarded}" if guarded else what)
    yield (
        "# Start it with the script beside this file, which also drains a replica. Test: nginx -t -p DIR -c THIS.\n"
        "\n"
        "worker_processes auto;\n"
        "worker_rlimit_nofile 65536;\n"
        f"worker_shutdown_timeout {front.timeout}s; # a reload lets the longest answer finish\n"
        "pid nginx.pid;\n"
        "error_log stderr warn;\n"
        "\n"
        "events {\n"
        "    worker_connections 16384; # two a request: the client's and the replica's\n"
        "}\n"
        "\n"
        "http {\n"
        "    server_tokens off;\n"
        "    default_type application/json;\n"
        "    log_format kcluster '$remote_addr [$time_iso8601] \"$request_method $uri\" $status $body_bytes_sent'\n"
        "                        ' replica=$upstream_addr connect=$upstream_connect_time'\n"
        "                        ' first_byte=$upstream_header_time total=$request_time id=$request_id';\n"
        "    access_log /dev/stdout kcluster;\n"
        "    client_body_temp_path body;\n"
        "    proxy_temp_path proxy;\n"
        "    fastcgi_temp_path fastcgi;\n"
        "    uwsgi_temp_path uwsgi;\n"
        "    scgi_temp_path scgi;\n"
        "\n"
    )
    yield from _maps(front, guarded)
    for route in front.routes:
        yield from _upstream(front, route, guarded)
    yield from _server(front, guarded)
    yield "}\n"


def _maps(front: Front, guarded: str) -> Iterator[str]:
    if front.policy == "session" or guarded:
        yield (
            "    # Requests of one session go to one replica (its prefix cache); without a session, of one client.\n"
            "    map $http_x_session_id $kcluster_session {\n"
            '        "" $remote_addr;\n'
            "        default $http_x_session_id;\n"
            "    }\n\n"
        )
    if front.api_key is not None:
        yield "    # The keys, made by the script at start from the environment, mode 0600.\n"
        yield "    include keys.conf;\n\n"
    for number, group in enumerate(_groups(front)):
        yield from _choice(number, group)


def _groups(front: Front) -> tuple[tuple[Route, ...], ...]:
    """The routes by the prefix of their paths, longest prefix first."""
    found: dict[str, list[Route]] = {}
    for route in front.routes:
        found.setdefault(route.prefix, []).append(route)
    return tuple(tuple(found[prefix]) for prefix in sorted(found, key=lambda prefix: (-len(prefix), prefix)))


def _choice(number: int, group: tuple[Route, ...]) -> Iterator[str]:
    """Maps that choose among the routes of one prefix by their headers; what one header does not decide, the next does."""
    headers: dict[str, list[tuple[str, Route]]] = {}
    for route in group:
        if route.header is not None:
            headers.setdefault(route.header[0].lower().replace("-", "_"), []).append((route.header[1], route))
    default = next((route for route in group if route.header is None), None)
    rest = quote(upstream_name(default) if default else "")
    for place, (name, values) in enumerate(sorted(headers.items())):
        following = f"$kcluster_route_{number}_{place + 1}"
        yield f"    map $http_{name} $kcluster_route_{number}_{place} {{\n"
        yield f"        default {rest if place == len(headers) - 1 else following};\n"
        for value, route in values:
            # The backslash keeps `default`, `~…` and the like from being read as more than a value.
            yield f"        {quote(chr(92) + value)} {quote(upstream_name(route))};\n"
        yield "    }\n\n"


def _upstream(front: Front, route: Route, guarded: str) -> Iterator[str]:
    cut, limits = route.serve.chosen.cut, route.serve.chosen.limits
    yield f"    # {route.serve.name}: {cut.replicas} replica{'s' if cut.replicas != 1 else ''}"
    yield f", each at most {limits.max_num_seqs} sequences at a time\n"
    yield f"    upstream {upstream_name(route)} {{\n"
    yield f"        zone {upstream_name(route)} 256k;\n"
    for directive in () if guarded else _BALANCE.get(front.policy, _LEAST_OPEN):
        yield f"        {directive}\n"
    marks = "max_fails=0" if guarded else "max_fails=3 fail_timeout=5s"
    for backend in route.backends:
        yield f"        server {backend.endpoint} {marks}; # {backend.name} on {backend.host}\n"
    yield f"        keepalive {max(64, limits.max_num_seqs)};\n"
    idle = idle_seconds(route.serve.serve.engine.name.value)
    yield f"        keepalive_timeout {min(KEEPALIVE_SECONDS, idle - 1)}s; # below the engine's {idle} s, or the two race\n"
    yield "    }\n\n"


def _server(front: Front, guarded: str) -> Iterator[str]:
    yield "    server {\n"
    where = f"[::]:{front.listen} ipv6only=off" if ":" in front.host else f"{front.listen}"
    if front.tls is not None:
        yield f"        listen {where} ssl;\n"
        yield f"        ssl_certificate {quote(front.tls.certificate.value)};\n"
        yield f"        ssl_certificate_key {quote(front.tls.key.value)};\n"
        yield "        ssl_protocols TLSv1.2 TLSv1.3;\n"
        yield f"        ssl_ciphers {TLS_CIPHERS};\n"
        yield "        ssl_session_cache shared:kcluster:10m;\n"
    else:
        yield f"        listen {where};\n"
    why = (
        f"{human(front.body_figure.value, 'bytes')}: the longest prompt as JSON, and what comes beside"
        if front.body_figure
        else "as the spec says"
    )
    yield (
        f"        client_max_body_size {-(-front.body // MIB)}m; # {why}\n"
        "        client_body_buffer_size 1m; # longer prompts go through a file\n"
        "\n"
        "        proxy_http_version 1.1;\n"
    )
    yield from _headers(guarded=guarded)
    yield (
        "        # Tokens pass as they come. Under TLS a buffered stream arrives whole at its end.\n"
        "        proxy_buffering off;\n"
        "        proxy_cache off;\n"
        "        gzip off;\n"
        "        proxy_connect_timeout 2s;\n"
        "        proxy_send_timeout 60s;\n"
    )
    reason = (
        f"the longest answer takes up to {human(front.timeout_figure.value, 's')}"
        if front.timeout_figure
        else "as the spec says"
    )
    yield f"        proxy_read_timeout {front.timeout}s; # {reason}\n"
    yield (
        "        # Another replica only where nothing was sent yet: never a second generation of one request.\n"
        "        proxy_next_upstream error timeout;\n"
        "        proxy_next_upstream_tries 2;\n"
        "        proxy_next_upstream_timeout 5s;\n"
        "\n"
        "        # For a balancer in front of this one.\n"
        "        location = /lb-health {\n"
        "            access_log off;\n"
    )
    if guarded:
        yield f"            proxy_pass http://{upstream_name(front.routes[0])}/readiness;\n        }}\n"
    else:
        yield '            return 200 "{\\"status\\":\\"ok\\"}";\n        }\n'
    yield (
        "        # Adapters are loaded by who runs this.\n"
        '        location ~ "/(un)?load_lora_adapter$" {\n'
        "            return 404;\n"
        "        }\n"
    )
    yield from _locations(front, guarded)
    yield (
        "\n"
        "        # Everything else stays inside: the engine's key guards /v1 only, not /metrics, /sleep, /collective_rpc,\n"
        "        # /reset_prefix_cache, /scale_elastic_ep, /pause, /tokenize, /invocations, /pooling or /score.\n"
        "        location / {\n"
        "            return 404;\n"
        "        }\n"
        "    }\n"
    )


def _locations(front: Front, guarded: str) -> Iterator[str]:
    for number, group in enumerate(_groups(front)):
        prefix = group[0].prefix
        yield f"\n        location {quote(prefix + '/v1/')} {{\n"
        if front.api_key is not None:
            yield "            if ($kcluster_authorized = 0) {\n                return 401;\n            }\n"
        chosen = upstream_name(group[0])
        if any(route.header is not None for route in group):
            chosen = f"$kcluster_route_{number}_0"
            yield f'            if ({chosen} = "") {{\n                return 404;\n            }}\n'
        own_keys = any(front.engine_key(route) is not None for route in group)
        if own_keys:
            # Before the rewrite: its `break` ends what this module does for a request.
            yield f"            set $kcluster_chosen {chosen};\n"
        if prefix:
            yield f"            rewrite {quote('^' + prefix.replace('.', '[.]') + '(/.*)')} $1 break;\n"
        if own_keys:
            yield from (f"    {line}" for line in _headers("$kcluster_engine_key", guarded))
        yield f"            proxy_pass http://{chosen};\n        }}\n"


def _headers(authorization: str = "", guarded: str = "") -> Iterator[str]:
    """What replicas are told; a block with one such line inherits none, so that all of them are written again there."""
    yield '        proxy_set_header Connection "";\n'
    yield "        proxy_set_header Host $host;\n"
    yield "        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
    yield "        proxy_set_header X-Forwarded-Proto $scheme;\n"
    yield "        proxy_set_header X-Request-ID $request_id;\n"
    if authorization:
        yield f"        proxy_set_header Authorization {authorization};\n"
    if guarded:
        yield "        proxy_set_header X-Session-ID $kcluster_session;\n"
