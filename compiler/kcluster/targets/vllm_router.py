"""vLLM Router in front of the replicas: its own script, and the NGINX that clients reach.

Seen on the released package (PyPI 0.1.17), which is what the flags are from; its repository's documents name others:

- It passes every path to the engines (`/sleep`, `/collective_rpc`, `/metrics`), and whoever reaches it adds and removes replicas
  (`/add_worker`) without a key. So it listens on loopback, behind an NGINX that lets only the API through.
- With retries, what was in flight at a killed replica is generated twice. Without them a refused connection is an answer of
  500 until the breaker or the health check takes the replica out: up to twice what was in flight is lost.
- Consistent hashing sends every request without `X-Session-ID` to one replica: NGINX sets it, from the client's address
  where the client does not.
- A client's `Authorization` goes on for chat completions, completions, embeddings and models only; its `--api-key`, which goes
  with the others, would stand in the process list and let anybody in.
- It waits for every replica before it listens, and gives up after the start-up time-out.
- It reaches its replicas by the proxy of `http_proxy` and the like, and then never begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.nginx import FLOOR, configuration
from kcluster.targets.nginx_script import key_function, key_lines
from kcluster.targets.routing import FLOORS, LOOPBACK, Backend, Front, Route, fronts
from kcluster.targets.shell import SHEBANG, STRICT, command_needed, indented, quote
from kcluster.targets.types import Artifact, target
from kcluster.units import human
from kcluster.values import evolve

PACKAGE: Final = "vllm-router"
VERSION: Final = ".".join(map(str, FLOORS["vllm-router"]))
"""The release whose flags are written; another package of the same command (production-stack) has others."""

HIGH_PREFIX_SHARE: Final = 0.3
"""From here on it is worth sending prompts that begin alike to the same replica; the router's own cache threshold."""
LONGEST_ANSWER_SECONDS: Final = 1800
HEALTH_SECONDS: Final = 2
BREAKER_SECONDS: Final = 5

POLICIES: Final = {
    "round_robin": "round_robin",
    "random": "random",
    "power_of_two": "power_of_two",
    "cache_aware": "cache_aware",
    "session": "consistent_hash",
}
"""The language's policies that it has; the others have no counterpart."""


@target("vllm-router")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`router/vllm-router.sh` and `router/vllm-router.conf` for every vLLM Router of the plan."""
    artifacts: list[Artifact] = []
    for front in fronts(plan):
        if front.kind == "vllm-router":
            conf = configuration(plan, _guard(front), "vLLM Router")
            artifacts.append(Artifact(f"router/{front.file_stem}.conf", conf))
            artifacts.append(Artifact(f"router/{front.file_stem}.sh", _script(plan, front), executable=True))
    return tuple(artifacts)


def _guard(front: Front) -> Front:
    """The NGINX before it: the same front with the router as its one backend."""
    inner = Backend("vLLM Router", 0, front.host, LOOPBACK, LOOPBACK, front.inner_port)
    return evolve(front, routes=tuple(evolve(route, backends=(inner,)) for route in front.routes))


def flags(front: Front) -> tuple[tuple[str, str, str], ...]:
    """Every flag with its value and its reason; an empty value is a bare flag. Addresses and ports of its own are the script's."""
    route = front.routes[0]
    return (
        *_choice(front, route),
        ("--disable-retries", "", "never a second generation of one request"),
        *_breaker(),
        *_health(),
        *_start(route),
        *_limits(front),
    )


def _choice(front: Front, route: Route) -> Iterator[tuple[str, str, str]]:
    share = route.serve.load.prefix_share
    if front.policy in POLICIES:
        yield "--policy", POLICIES[front.policy], "as the spec says"
    elif share >= HIGH_PREFIX_SHARE:
        yield "--policy", "cache_aware", f"{share:.0%} of a prompt repeats: prompts that begin alike go to one replica"
    else:
        yield "--policy", "power_of_two", "two replicas drawn, the one with less open taken"


def _breaker() -> Iterator[tuple[str, str, str]]:
    yield "--cb-failure-threshold", "2", "failures in a row after which a replica gets nothing"
    yield "--cb-success-threshold", "1", ""
    yield "--cb-timeout-duration-secs", str(BREAKER_SECONDS), "then it is tried again"
    yield "--cb-window-duration-secs", "30", ""


def _health() -> Iterator[tuple[str, str, str]]:
    yield "--health-check-endpoint", "/health", "503 drains a replica: no new request, running ones finish"
    yield "--health-check-interval-secs", str(HEALTH_SECONDS), "its own 60 s leave a dead replica in use for minutes"
    yield "--health-check-timeout-secs", "5", "an engine that is busy with long prompts answers late, and is not dead"
    yield "--health-failure-threshold", "2", ""
    yield "--health-success-threshold", "2", ""


def _start(route: Route) -> Iterator[tuple[str, str, str]]:
    from kcluster.targets.hosts.folders import start_seconds

    seconds, _ = start_seconds(route.serve)
    yield "--worker-startup-timeout-secs", str(seconds), "the slowest start of an engine; it listens when all answer"
    yield "--worker-startup-check-interval", "2", ""


def _limits(front: Front) -> Iterator[tuple[str, str, str]]:
    whole = max(LONGEST_ANSWER_SECONDS, 2 * front.timeout)
    reason = (
        f"longest takes up to {human(front.timeout_figure.value, 's')}"
        if front.timeout_figure
        else "time-out is the spec's"
    )
    yield "--request-timeout-secs", str(whole), f"of a whole answer, its wait in the queue included; the {reason}"
    yield "--max-payload-size", str(math.ceil(front.body)), "bytes, as NGINX lets through"
    yield "--log-level", "warning", ""


def _script(plan: Plan, front: Front) -> str:
    name = front.file_stem
    example = next(backend.endpoint for route in front.routes for backend in route.backends)
    return "".join(
        (
            SHEBANG,
            comment_header(
                plan,
                f"vLLM Router {VERSION} on loopback behind NGINX {'.'.join(map(str, FLOOR))} or newer, in the foreground",
            ),
            "# usage: start | test | drain HOST:PORT | restore\n",
            "# It passes every path and takes replicas from anybody: clients reach NGINX, which lets the API through.\n",
            STRICT,
            'here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)\n',
            "# The pid, keys and temporary files of NGINX live here, beside its live configuration.\n",
            f'run=${{KCLUSTER_RUN_DIR:-"$here/run-{name}"}}\n',
            f"conf={quote(name + '.conf')}\n",
            f"inner=${{KCLUSTER_ROUTER_PORT:-{front.inner_port}}}\n",
            f"metrics=${{KCLUSTER_METRICS_PORT:-{front.metrics_port}}}\n",
            "\n",
            command_needed("vllm-router", f"pip install {PACKAGE}=={VERSION}"),
            command_needed("nginx", "install it, version 1.22 or newer"),
            command_needed("curl", "install curl"),
            "# The router would ask a proxy for its replicas, where a host has one to fetch models by.\n",
            "unset http_proxy HTTP_PROXY https_proxy HTTPS_PROXY all_proxy ALL_PROXY\n",
            "\n",
            *_arguments(front),
            "\n",
            *(f"{line}\n" for line in key_function(front)),
            "prepare() {\n",
            '  mkdir -p "$run"\n',
            f'  sed "s/ 127\\.0\\.0\\.1:{front.inner_port} / 127.0.0.1:$inner /" "$here/$conf" >"$run/$conf"\n',
            *(f"{line}\n" for line in key_lines(front)),
            "}\n",
            'nginx_here() { nginx -p "$run/" -c "$run/$conf" "$@"; }\n',
            'ask() { curl --disable -gfsS "$@"; }\n',
            "\n",
            _RUN,
            "\n",
            "case ${1:-start} in\n",
            f"start) # clients reach port {front.listen}\n",
            "  prepare\n  nginx_here -t\n  run_both\n  ;;\n",
            "test)\n  prepare\n  nginx_here -t\n  vllm-router --help >/dev/null\n  ;;\n",
            "drain) # no new request to one replica; wait until its vllm:num_requests_running is 0, then stop it\n",
            f"  replica=${{2:?HOST:PORT, for instance {example}}}\n",
            indented(_known(front), "  "),
            '  ask -X POST "http://127.0.0.1:$inner/remove_worker?url=http://$replica"\n',
            "  ;;\n",
            "restore) # every replica back, each when it answers\n",
            '  workers=$(ask "http://127.0.0.1:$inner/list_workers")\n',
            '  for replica in "${replicas[@]}"; do\n',
            '    [[ $workers == *"\\"http://$replica\\""* ]] || ask -X POST "http://127.0.0.1:$inner/add_worker?url=http://$replica"\n',
            "  done\n",
            "  ;;\n",
            "*)\n",
            '  echo "usage: $0 start | test | drain HOST:PORT | restore" >&2\n',
            "  exit 2\n",
            "  ;;\n",
            "esac\n",
        )
    )


def _known(front: Front) -> str:
    return (
        'case " ${replicas[*]} " in\n*" $replica "*) ;;\n*) echo "no such replica: $replica" >&2 && exit 2 ;;\nesac\n'
    )


def _arguments(front: Front) -> Iterator[str]:
    yield "replicas=(\n"
    for route in front.routes:
        for backend in route.backends:
            yield f"  {quote(backend.endpoint)} # {backend.name} on {backend.host}\n"
    yield ")\nargs=(\n"
    yield '  --host 127.0.0.1 --port "$inner"\n'
    yield '  --prometheus-host 127.0.0.1 --prometheus-port "$metrics"\n'
    yield '  --worker-urls "${replicas[@]/#/http://}"\n'
    for flag, value, why in flags(front):
        if why:
            yield f"  # {why}\n"
        yield f"  {flag}{f' {quote(value)}' if value else ''}\n"
    yield ")\n"


_RUN: Final = """\
# Both run until one of them ends or this script is ended; then NGINX first lets running answers finish.
run_both() {
  local code=0 stopping=
  trap 'stopping=1' TERM INT
  vllm-router "${args[@]}" &
  router=$!
  nginx_here -g 'daemon off;' &
  guard=$!
  wait -n "$router" "$guard" || code=$?
  trap 'kill -TERM "$guard" 2>/dev/null || true' TERM INT
  nginx_here -s quit 2>/dev/null || true
  while kill -0 "$guard" 2>/dev/null; do wait "$guard" || true; done
  kill -TERM "$router" 2>/dev/null || true
  while kill -0 "$router" 2>/dev/null; do wait "$router" || true; done
  [[ -n $stopping ]] || { echo "the router or NGINX ended (status $code)" >&2 && exit 1; }
}
"""
