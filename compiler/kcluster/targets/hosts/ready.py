"""Readiness: a script for every server that waits for `/health` and then holds it to a completion.

An engine is healthy once its HTTP server is up. One whose stages do not reach each other is healthy too, and fails with its
first request: only a completion passes through every stage.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.engines import health_path
from kcluster.targets.header import comment_header
from kcluster.targets.hosts.folders import engine_processes, server_url, start_seconds
from kcluster.targets.layout import Process, served_names
from kcluster.targets.shell import SHEBANG, STRICT, bearer_key, command_needed, quote
from kcluster.targets.types import Artifact
from kcluster.units import human

COMPLETION_SECONDS: Final = 300
"""The first completion may compile what the start left out."""


def ready_scripts(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/ready-<name>.sh` of every process that answers."""
    return tuple(
        Artifact(ready_path(process), "".join(_script(plan, process)), executable=True)
        for process in engine_processes(plan)
        if process.answers
    )


def ready_path(process: Process) -> str:
    """Where the readiness script of a process lies."""
    return f"{process.folder}/ready-{process.stem.removeprefix('serve-')}.sh"


def _script(plan: Plan, process: Process) -> Iterator[str]:
    seconds, figure = start_seconds(process.serve)
    name = ready_path(process).rpartition("/")[2]
    key = process.serve.serve.engine.api_key
    body = json.dumps({"model": served_names(process.serve)[0], "prompt": "The sky is", "max_tokens": 8})
    yield SHEBANG
    yield comment_header(plan, f"Waits until {process.stem} on {process.host} answers a completion")
    yield f"# usage: {name} [SECONDS]\n"
    yield "# exit: 0 it computes; 1 it did not come up in time, or ended; 2 it is up and a completion fails\n"
    yield STRICT
    yield "\n"
    yield command_needed("curl", "install curl")
    if key:
        yield bearer_key(key.value.variable)
    yield f"# Reading the weights, compiling and capturing graphs take up to {human(figure.value, 's')}.\n"
    yield f"limit=${{1:-{seconds}}}\n"
    yield f"url={quote(server_url(plan, process))}\n"
    yield f"health={health_path(process.serve.serve.engine.name.value)}\n"
    yield f"body={quote(body)}\n\n"
    yield from _ask(key.value.variable if key else None)
    yield _WAIT
    yield _COMPLETION


def _ask(variable: str | None) -> Iterator[str]:
    yield "ask() {\n"
    yield "  {\n"
    yield "    printf 'silent\\nnoproxy = \"*\"\\nconnect-timeout = 5\\n'\n"
    if variable:
        yield "    # By a pipe: everybody can read the arguments of a process.\n"
        yield f'    printf \'header = "Authorization: Bearer %s"\\n\' "${variable}"\n'
    yield '  } | curl --disable --config - "$@"\n'
    yield "}\n"


_WAIT: Final = """\
# systemd says whose readiness this is: no use in waiting for what has ended.
ended() { [[ -n ${MAINPID:-} ]] && ! kill -0 "$MAINPID" 2>/dev/null; }

deadline=$((SECONDS + limit))
until ask --fail --output /dev/null --max-time 10 "$url$health"; do
  if ended; then
    echo "$url: the engine ended; its log says why" >&2
    exit 1
  fi
  if ((SECONDS >= deadline)); then
    echo "$url did not answer $health within $limit s; the engine's log says how far it came" >&2
    exit 1
  fi
  sleep 2
done

"""

_COMPLETION: Final = f"""\
answer=$(ask --max-time {COMPLETION_SECONDS} --header 'Content-Type: application/json' --data-raw "$body" \\
  --write-out '\\n%{{http_code}}' "$url/v1/completions") || {{
  echo "$url is healthy, and does not answer a completion within {COMPLETION_SECONDS} s: do the nodes of the engine reach each other?" >&2
  exit 2
}}
status=${{answer##*$'\\n'}}
if [[ $status != 200 || ! $answer =~ \\"completion_tokens\\":\\ ?[1-9] ]]; then
  echo "$url is healthy, and a completion fails with status $status: ${{answer:0:300}}" >&2
  exit 2
fi
"""
