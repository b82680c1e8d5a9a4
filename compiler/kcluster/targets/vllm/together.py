"""How a node that only computes ends with the first node of its engine.

Seen with vLLM 0.32 over two nodes: after the first node was killed, the other one waited for it for ever, with its cards and its
place in a group that no longer was, and a first node that was started again did not come up beside it. In Kubernetes a
LeaderWorkerSet ends the whole group; on hosts the start script watches the port where the nodes met.
"""

from __future__ import annotations

from typing import Final

from kcluster.targets.layout import Process
from kcluster.targets.shell import quote
from kcluster.targets.vllm.arguments import Argument

PROBE_SECONDS: Final = 5
FIRST_SECONDS: Final = 1
"""Between looks at the port until it is open for the first time: of a first node that ended before it was seen nobody would know,
and it may end seconds after the nodes met (seen: three)."""
GONE_SECONDS: Final = 20
"""As long as the port must be closed: an end is told from a moment without answer."""
END_SECONDS: Final = 10

_TOGETHER: Final = """\
# A node does not see that the first one ended, and would keep its cards for ever: once the port where they met is closed
# again, it ends too, so that what supervises both starts them anew.
first_node() {{
  timeout {probe} bash -s -- {host} {port} 2>/dev/null <<'PROBE'
exec 3<>"/dev/tcp/$1/$2"
PROBE
}}
set -m # a process group of its own
{command} &
engine=$!
set +m
joined='' stopping='' deadline='' pause={first}
trap 'stopping=yes; kill -TERM "$engine" 2>/dev/null || true' TERM INT
while kill -0 "$engine" 2>/dev/null; do
  if first_node; then
    [[ -n $joined ]] || echo {met} >&2
    joined=yes deadline='' pause={probe}
  elif [[ -n $joined && -z $stopping ]]; then
    deadline=${{deadline:-$((SECONDS + {gone}))}}
    if ((SECONDS >= deadline)); then
      echo {message} >&2
      kill -TERM -- "-$engine" 2>/dev/null || true
      sleep {end}
      kill -KILL -- "-$engine" 2>/dev/null || true
      exit 1
    fi
  fi
  kill -0 "$engine" 2>/dev/null || break
  sleep "$pause" &
  wait -n "$engine" $! || true
done
status=0
wait "$engine" || status=$?
exit "$status"
"""


def ends_with_first_node(process: Process, given: tuple[Argument, ...], command: str) -> str | None:
    """The end of a start script that runs `command` until it or the first node ends; None for a process that is no further node
    of vLLM's own kind (over Ray it is Ray that ends it)."""
    found = {argument.flag: str(argument.value) for argument in given}
    if process.node_rank == 0 or "--master-port" not in found:
        return None
    host, port = found["--master-addr"], found["--master-port"]
    return _TOGETHER.format(
        command=command,
        host=quote(host),
        port=quote(port),
        met=quote(f"the first node, {host}, is there: this one ends with it"),
        message=quote(f"the first node, {host}, has ended: this one ends too"),
        probe=PROBE_SECONDS,
        first=FIRST_SECONDS,
        gone=GONE_SECONDS,
        end=END_SECONDS,
    )
