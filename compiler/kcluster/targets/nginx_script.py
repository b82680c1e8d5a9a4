"""The script that starts, drains and reloads an NGINX of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.routing import Front, Route
from kcluster.targets.shell import quote

_CHECK_KEY: Final = (
    "check_key() {",
    '  [[ -n ${!1:-} ]] || { echo "set $1 to a key" >&2 && exit 2; }',
    '  [[ ${!1} =~ ^[A-Za-z0-9._~+/=-]+$ ]] || { echo "$1 holds characters that a header cannot" >&2 && exit 2; }',
    "}",
    "",
)
_AUTHORIZED: Final = 'map $http_authorization $kcluster_authorized {\\n    default 0;\\n    "Bearer %s" 1;\\n}\\n'
_ENGINE_KEYS: Final = "map $kcluster_chosen $kcluster_engine_key {\\n    default $http_authorization;\\n"
_ENGINE_KEY: Final = '    "%s" "Bearer %s";\\n'


def upstream_name(route: Route) -> str:
    """The name of a serve's upstream block."""
    return f"kcluster_{route.serve.name}"


def script(plan: Plan, front: Front) -> str:
    """`router/nginx.sh`: it runs NGINX in a folder of its own, on a copy of the configuration that a drain edits."""
    name = front.file_stem
    port = front.listen
    lines = [
        "#!/usr/bin/env bash",
        comment_header(plan, "NGINX, started in the foreground").rstrip("\n"),
        "# usage: start | test | reload | drain HOST:PORT | restore",
        "set -euo pipefail",
        'here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)',
        f'run=${{KCLUSTER_RUN_DIR:-"$here/run-{name}"}} # pid, keys and temporary files live here, beside the live copy',
        f"conf={quote(name + '.conf')}",
        "",
        *key_function(front),
        "prepare() {",
        '  mkdir -p "$run"',
        '  cp "$here/$conf" "$run/$conf"',
    ]
    lines += [
        *key_lines(front),
        "}",
        'nginx_here() { nginx -p "$run/" -c "$run/$conf" "$@"; }',
        *_WORKERS,
        "",
        "case ${1:-start} in",
        f"start) # listens on port {port}",
        "  prepare",
        "  nginx_here -t",
        '  exec nginx -p "$run/" -c "$run/$conf" -g "daemon off;"',
        "  ;;",
        "test)",
        "  prepare",
        "  nginx_here -t",
        "  ;;",
        "reload) # takes the file as compiled; running answers finish on the old workers",
        "  prepare",
        "  nginx_here -t",
        "  nginx_here -s reload",
        "  ;;",
        "drain) # no new request to one replica; wait until its vllm:num_requests_running is 0, then stop it",
        "  replica=${2:?HOST:PORT as in the upstream block}",
        '  grep -qF "server $replica max_fails" "$run/$conf" || { echo "no such replica, or already drained: $replica" >&2 && exit 2; }',
        "  pattern=$(printf %s \"$replica\" | sed 's/[][\\.*^$\\/]/\\\\&/g')",
        '  sed -i "s/server $pattern max_fails/server $pattern down max_fails/" "$run/$conf"',
        "  nginx_here -t",
        "  # The command returns at once; until the old workers take nothing new, a request may still go to the replica.",
        "  before=$(workers)",
        "  nginx_here -s reload",
        "  deadline=$((SECONDS + 60))",
        "  for worker in $before; do",
        '    while grep -qxF "$worker" <<<"$(workers)"; do',
        '      ((SECONDS < deadline)) || { echo "worker $worker did not end" >&2 && exit 1; }',
        "      sleep 0.1",
        "    done",
        "  done",
        "  ;;",
        "restore) # every replica back",
        '  sed -i "s/ down max_fails/ max_fails/" "$run/$conf"',
        "  nginx_here -t",
        "  nginx_here -s reload",
        "  ;;",
        "*)",
        '  echo "usage: $0 start | test | reload | drain HOST:PORT | restore" >&2',
        "  exit 2",
        "  ;;",
        "esac",
    ]
    return "\n".join(lines) + "\n"


_WORKERS: Final = (
    "workers() { # the ids of the worker processes that take requests",
    "  local master task title",
    '  master=$(<"$run/nginx.pid")',
    "  for task in /proc/[0-9]*; do",
    "    { IFS= read -rd '' title <\"$task/cmdline\"; } 2>/dev/null || continue",
    "    [[ $title == 'nginx: worker process' ]] || continue",
    '    if grep -qs "^PPid:[[:space:]]*$master\\$" "$task/status"; then echo "${task#/proc/}"; fi',
    "  done",
    "}",
)


def key_function(front: Front) -> tuple[str, ...]:
    """Lines of a function that stops the script unless a variable holds a key as RFC 6750 spells it."""
    return _CHECK_KEY if front.api_key is not None else ()


def key_lines(front: Front) -> Iterator[str]:
    """The lines of `prepare` that write keys.conf: the clients' key, and engines' own where they differ from it."""
    if front.api_key is None:
        return
    variable = front.api_key.variable
    yield f"  # Keys are checked here, and never written into {front.file_stem}.conf."
    yield f"  check_key {variable}"
    engines = {
        upstream_name(route): key.variable for route in front.routes if (key := front.engine_key(route)) is not None
    }
    for name in dict.fromkeys(engines.values()):
        yield f"  check_key {name}"
    yield "  # shellcheck disable=SC2016 # the variables in the texts are NGINX's"
    yield "  (umask 077 && {"
    yield f'    printf {quote(_AUTHORIZED)} "${variable}"'
    if engines:
        yield f"    printf {quote(_ENGINE_KEYS)}"
        for upstream, name in engines.items():
            yield f'    printf {quote(_ENGINE_KEY)} {quote(upstream)} "${name}"'
        yield "    printf '}\\n'"
    yield '  } >"$run/keys.conf")'
