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
from kcluster.targets.header import comment_header
from kcluster.targets.routing import Front, Route, fronts
from kcluster.targets.shell import quote as shell_quote
from kcluster.targets.types import Artifact, target
from kcluster.units import MIB, human

FLOOR: Final = (1, 22)
"""Every directive below is in open-source NGINX from this version on (Debian 12)."""

KEEPALIVE_SECONDS: Final = 60


@target("nginx")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`router/nginx.conf` and `router/nginx.sh` for every NGINX of the plan."""
    artifacts: list[Artifact] = []
    for front in fronts(plan):
        if front.kind == "nginx":
            artifacts.append(Artifact(f"router/{front.file_stem}.conf", "".join(_configuration(plan, front))))
            artifacts.append(Artifact(f"router/{front.file_stem}.sh", _script(plan, front), executable=True))
    return tuple(artifacts)


def quote(text: str) -> str:
    """A string as one NGINX word. There is no escape for `$` in NGINX, so that a text with one cannot be written.

    Raises:
        ValueError: the text holds `$` or a control character; the spec's types keep such text out before.
    """
    if "$" in text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError(f"not a text that NGINX can hold literally: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _configuration(plan: Plan, front: Front) -> Iterator[str]:
    yield comment_header(plan, f"NGINX {'.'.join(map(str, FLOOR))} or newer")
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
        '    log_format kcluster \'$remote_addr [$time_iso8601] "$request_method $uri" $status $body_bytes_sent\'\n'
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
    yield from _maps(front)
    for route in front.routes:
        yield from _upstream(front, route)
    yield from _server(front)
    yield "}\n"


def _maps(front: Front) -> Iterator[str]:
    if front.policy == "session":
        yield (
            "    # Requests of one session go to one replica (its prefix cache); without a session, of one client.\n"
            "    map $http_x_session_id $kcluster_session {\n"
            '        "" $remote_addr;\n'
            "        default $http_x_session_id;\n"
            "    }\n\n"
        )
    if front.api_key is not None:
        yield "    # Sets $kcluster_authorized; made by the script at start from the environment, mode 0600.\n"
        yield "    include keys.conf;\n\n"
    by_header: dict[str, list[Route]] = {}
    for route in front.routes:
        if route.header is not None:
            by_header.setdefault(route.header[0].lower().replace("-", "_"), []).append(route)
    default = _default_route(front)
    for number, (name, routes) in enumerate(sorted(by_header.items())):
        # What one header does not decide, the next one does, and then the serve without a selector.
        last = quote(_upstream_name(default) if default else "")
        yield f"    map $http_{name} $kcluster_by_header_{number} {{\n"
        yield f"        default {last if number == len(by_header) - 1 else f'$kcluster_by_header_{number + 1}'};\n"
        for route in routes:
            assert route.header is not None
            yield f"        {quote(route.header[1])} {quote(_upstream_name(route))};\n"
        yield "    }\n\n"


def _default_route(front: Front) -> Route | None:
    return next((route for route in front.routes if route.header is None and route.path is None), None)


def _upstream_name(route: Route) -> str:
    return f"kcluster_{route.serve.name.replace('-', '_').replace('.', '_')}"


def _upstream(front: Front, route: Route) -> Iterator[str]:
    cut, limits = route.serve.chosen.cut, route.serve.chosen.limits
    yield f"    # {route.serve.name}: {cut.replicas} replica{'s' if cut.replicas != 1 else ''}"
    yield f", each at most {limits.max_num_seqs} sequences at a time\n"
    yield f"    upstream {_upstream_name(route)} {{\n"
    yield f"        zone {_upstream_name(route)} 256k;\n"
    if front.policy == "session":
        yield "        hash $kcluster_session consistent;\n"
    elif front.policy != "round-robin":
        yield "        least_conn; # answers differ in length by orders of magnitude: count what is open\n"
    for backend in route.backends:
        yield f"        server {backend.endpoint} max_fails=3 fail_timeout=5s; # {backend.name} on {backend.host}\n"
    yield f"        keepalive {max(64, limits.max_num_seqs)};\n"
    yield f"        keepalive_timeout {KEEPALIVE_SECONDS}s; # below the engine's 75 s, or the two race\n"
    yield "    }\n\n"


def _server(front: Front) -> Iterator[str]:
    yield "    server {\n"
    if front.tls is not None:
        yield f"        listen {front.listen} ssl;\n"
        yield f"        ssl_certificate {quote(front.tls.certificate.value)};\n"
        yield f"        ssl_certificate_key {quote(front.tls.key.value)};\n"
        yield "        ssl_protocols TLSv1.2 TLSv1.3;\n"
        yield "        ssl_session_cache shared:kcluster:10m;\n"
    else:
        yield f"        listen {front.listen};\n"
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
        '        proxy_set_header Connection "";\n'
        "        proxy_set_header Host $host;\n"
        "        proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
        "        proxy_set_header X-Forwarded-Proto $scheme;\n"
        "        proxy_set_header X-Request-ID $request_id;\n"
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
        '            return 200 "{\\"status\\":\\"ok\\"}";\n'
        "        }\n"
    )
    yield from _locations(front)
    yield (
        "\n"
        "        # Everything else stays inside: the engine's key guards /v1 only, not /metrics, /sleep, /collective_rpc,\n"
        "        # /reset_prefix_cache, /scale_elastic_ep, /pause, /tokenize, /invocations, /pooling or /score.\n"
        "        location / {\n"
        "            return 404;\n"
        "        }\n"
        "    }\n"
    )


def _locations(front: Front) -> Iterator[str]:
    for route in front.routes:
        if route.path is not None:
            prefix = route.path.rstrip("/")
            yield f"\n        location {quote(prefix + '/v1/')} {{\n"
            yield from _authorization(front)
            yield f"            proxy_pass http://{_upstream_name(route)}/v1/;\n        }}\n"
    headers = sorted({route.header[0].lower() for route in front.routes if route.header is not None})
    default = _default_route(front)
    if headers:
        yield "\n        location /v1/ {\n"
        yield from _authorization(front)
        variable = "$kcluster_by_header_0"
        yield f'            if ({variable} = "") {{\n                return 404;\n            }}\n'
        yield f"            proxy_pass http://{variable};\n        }}\n"
    elif default is not None:
        yield "\n        location /v1/ {\n"
        yield from _authorization(front)
        yield f"            proxy_pass http://{_upstream_name(default)};\n        }}\n"


def _authorization(front: Front) -> Iterator[str]:
    if front.api_key is not None:
        yield "            if ($kcluster_authorized = 0) {\n                return 401;\n            }\n"


def _script(plan: Plan, front: Front) -> str:
    name = front.file_stem
    port = front.listen
    lines = [
        "#!/usr/bin/env bash",
        comment_header(plan, "NGINX, started in the foreground").rstrip("\n"),
        "# usage: start | test | reload | drain HOST:PORT | restore",
        "set -euo pipefail",
        'here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)',
        f'run=${{KCLUSTER_RUN_DIR:-"$here/run-{name}"}}  # pid, keys and temporary files live here, beside the live copy',
        f"conf={shell_quote(name + '.conf')}",
        "",
        "prepare() {",
        '  mkdir -p "$run"',
        '  cp "$here/$conf" "$run/$conf"',
    ]
    if front.api_key is not None:
        variable = front.api_key.variable
        lines += [
            f"  # The key is checked here, and never written into {name}.conf.",
            f'  local key="${{{variable}:?set {variable} to the key that clients send}}"',
            '  [[ $key =~ ^[A-Za-z0-9._~+/=-]+$ ]] || { echo "the key holds characters that a header cannot" >&2; exit 2; }',
            '  (umask 077 && printf \'map $http_authorization $kcluster_authorized {\\n    default 0;\\n    "Bearer %s" 1;\\n}\\n\' "$key" >"$run/keys.conf")',
        ]
    lines += [
        "}",
        'nginx_here() { nginx -p "$run/" -c "$run/$conf" "$@"; }',
        "",
        "case ${1:-start} in",
        f"  start) # listens on port {port}",
        "    prepare",
        "    nginx_here -t",
        '    exec nginx -p "$run/" -c "$run/$conf" -g "daemon off;"',
        "    ;;",
        "  test)",
        "    prepare",
        "    nginx_here -t",
        "    ;;",
        "  reload) # takes the file as compiled; running answers finish on the old workers",
        "    prepare",
        "    nginx_here -t",
        "    nginx_here -s reload",
        "    ;;",
        "  drain) # no new request to one replica; wait until its vllm:num_requests_running is 0, then stop it",
        '    replica=${2:?HOST:PORT as in the upstream block}',
        '    grep -qF "server $replica max_fails" "$run/$conf" || { echo "no such replica, or already drained: $replica" >&2; exit 2; }',
        '    pattern=$(printf %s "$replica" | sed \'s/[][\\.*^$\\/]/\\\\&/g\')',
        '    sed -i "s/server $pattern max_fails/server $pattern down max_fails/" "$run/$conf"',
        "    nginx_here -t",
        "    nginx_here -s reload",
        "    ;;",
        "  restore) # every replica back",
        '    sed -i "s/ down max_fails/ max_fails/" "$run/$conf"',
        "    nginx_here -t",
        "    nginx_here -s reload",
        "    ;;",
        "  *)",
        '    echo "usage: $0 start | test | reload | drain HOST:PORT | restore" >&2',
        "    exit 2",
        "    ;;",
        "esac",
    ]
    return "\n".join(lines) + "\n"
