"""The script that starts, reloads and drains an HAProxy of the plan."""

from __future__ import annotations

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.routing import Front
from kcluster.targets.shell import SHEBANG, STRICT, bearer_key, command_needed, indented, quote, stop_unless


def script(plan: Plan, front: Front) -> str:
    """`router/haproxy.sh`: it runs HAProxy in a folder of its own, on a copy of the configuration that a drain edits."""
    name = front.file_stem
    return "".join(
        (
            SHEBANG,
            comment_header(plan, "HAProxy, started in the foreground"),
            "# usage: start | test | reload | drain NAME | restore\n",
            "# SIGTERM to it ends running answers, SIGUSR1 lets them finish first.\n",
            STRICT,
            'here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)\n',
            "# The live copy of the configuration, the pid, the admin socket and links to the certificate are here.\n",
            f'run=${{KCLUSTER_RUN_DIR:-"$here/run-{name}"}}\n',
            f"conf={quote(name + '.cfg')}\n",
            "\n",
            command_needed("haproxy", "install it, version 2.6 or newer"),
            "\n",
            _prepare(front),
            "\n",
            _reload(),
            "\n",
            _commands(front),
        )
    )


def _prepare(front: Front) -> str:
    name = front.file_stem
    lines = ["prepare() {\n", '  (umask 077 && mkdir -p "$run")\n', '  cp "$here/$conf" "$run/$conf"\n']
    lines += [indented(bearer_key(key.variable)) for key in front.keys]
    if front.tls is not None:
        # HAProxy reads the key beside the certificate; links keep the private key in one place and see renewals.
        lines += [
            f'  ln -sfn -- {quote(front.tls.certificate.value)} "$run/{name}.pem"\n',
            f'  ln -sfn -- {quote(front.tls.key.value)} "$run/{name}.pem.key"\n',
        ]
    return "".join((*lines, "}\n"))


def _reload() -> str:
    return (
        'check() { (cd "$run" && haproxy -c -dW -f "$conf"); }\n'
        "signal() { # the pid file is empty for a moment while HAProxy reloads\n"
        "  local pid=''\n"
        "  for _ in {1..50}; do\n"
        '    pid=$(cat "$run/haproxy.pid" 2>/dev/null) && [[ -n $pid ]] && break\n'
        "    sleep 0.1\n"
        "  done\n"
        '  kill -s "$1" "${pid:?is missing: HAProxy does not run from $run}"\n'
        "}\n"
    )


def _commands(front: Front) -> str:
    replica = next(backend.name for route in front.routes for backend in route.backends)
    known = stop_unless(
        'grep -q "^    server $pattern [^ ]* check" "$run/$conf"', "no such replica, or already drained", 2
    )
    return (
        "case ${1:-start} in\n"
        f"start) # listens on port {front.listen}\n"
        "  prepare\n"
        "  check\n"
        '  cd "$run"\n'
        '  exec haproxy -W -f "$conf" -p haproxy.pid\n'
        "  ;;\n"
        "test)\n"
        "  prepare\n"
        "  check\n"
        "  ;;\n"
        "reload) # takes the file as compiled; running answers finish on the old worker\n"
        "  prepare\n"
        "  check\n"
        "  signal USR2\n"
        "  ;;\n"
        "drain) # no new request to one replica; wait until its vllm:num_requests_running is 0, then stop it\n"
        f"  replica=${{2:?NAME as in the cfg file, for instance {replica}}}\n"
        "  pattern=$(printf %s \"$replica\" | sed 's/[][\\.*^$\\/]/\\\\&/g')\n"
        + indented(known, "  ")
        + '  sed -i "s/^\\(    server $pattern [^ ]*\\) check/\\1 weight 0 check/" "$run/$conf"\n'
        "  check\n"
        "  signal USR2\n"
        "  ;;\n"
        "restore) # every replica back\n"
        '  sed -i "s/ weight 0 check/ check/" "$run/$conf"\n'
        "  check\n"
        "  signal USR2\n"
        "  ;;\n"
        "*)\n"
        '  echo "usage: $0 start | test | reload | drain NAME | restore" >&2\n'
        "  exit 2\n"
        "  ;;\n"
        "esac\n"
    )
