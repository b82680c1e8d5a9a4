"""The files of one engine process: a start script, and the same as the engine's `--config` file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.engines import FlagValue
from kcluster.physics.cut import ENGINE_NAMES
from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.layout import Process, model_location
from kcluster.targets.shell import (
    SHEBANG,
    STRICT,
    command_needed,
    one_line,
    quote,
    required,
    stop_unless,
    variable_name,
)
from kcluster.targets.vllm.arguments import Argument, table_of
from kcluster.targets.vllm.environment import Variable, is_address, variables
from kcluster.targets.vllm.together import ends_with_first_node
from kcluster.targets.yaml import Yaml, document, scalar

_MEETING: Final = "--data-parallel-address"
"""The one flag whose value is bound as well as called, which a host's name cannot be."""


def script(process: Process, plan: Plan, given: tuple[Argument, ...], wait: str = "") -> str:
    """A bash script that checks its environment and becomes the engine. `given` are its flags; `wait` are lines that hold it
    back until what it needs is there (Ray's cards)."""
    environment = variables(process)
    return "".join(
        (
            SHEBANG,
            comment_header(plan, describe(process)),
            STRICT,
            "\n",
            *secrets(environment),
            *exports(environment),
            *hints(process),
            "\n",
            command_needed("vllm", "activate the environment that it is installed in"),
            *model_check(process),
            *_head_address(given),
            wait,
            "\nargs=(\n",
            *(line for argument in given if argument.flag != "--model" for line in array_lines(argument)),
            ")\n\n",
            _start(process, given, environment),
        )
    )


def config(process: Process, plan: Plan, given: tuple[Argument, ...]) -> str:
    """The same flags as a `--config` file: long names without dashes, the model under `model`."""
    lines = [comment_header(plan, f"{describe(process)}; vllm serve --config {process.stem}.yaml")]
    environment = [item for item in variables(process) if not item.secret]
    if environment:
        lines.append("# It needs the environment that the script beside it sets:\n")
        lines += [f"#   {one_line(item.name)}={one_line(item.value)}\n" for item in environment]
    for argument in given:
        key = argument.flag.removeprefix("--")
        if _repeated(process, argument):
            lines.append(f"# --{one_line(key)} is given more than once, which only the script can say.\n")
            continue
        lines += comment(argument.why, "")
        lines.append(document({key: _yaml_value(argument.value)}))
    return "".join(lines)


def _yaml_value(value: FlagValue) -> Yaml:
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else list(value)
    return value


def _repeated(process: Process, argument: Argument) -> bool:
    flag = table_of(process).find(argument.flag)
    many = isinstance(argument.value, tuple) and len(argument.value) > 1
    return many and (flag is None or flag.nargs != "+")


def describe(process: Process) -> str:
    """What a process is, in a clause."""
    serve_plan = process.serve
    engine = serve_plan.serve.engine
    count = serve_plan.chosen.cut.replicas
    replica = f", replica {process.replica} of {count}" if count > 1 else ""
    node = f", node {process.node_rank} of {process.nodes}" if process.nodes > 1 else ""
    rank = f", ranks {' '.join(str(rank) for rank in process.ranks)}" if serve_plan.chosen.cut.dp > 1 else ""
    version = ".".join(str(part) for part in engine.version.value)
    gpus = " ".join(str(gpu) for gpu in process.gpus)
    called = (
        f"{ENGINE_NAMES[engine.name.value]} {version}" if any(engine.version.value) else ENGINE_NAMES[engine.name.value]
    )
    return f"{called}, serve {serve_plan.name}{replica}{node}{rank}, on {process.host}: GPU {gpus}"


def exports(environment: tuple[Variable, ...]) -> Iterator[str]:
    """Lines that set the environment."""
    for item in environment:
        if not variable_name(item.name):
            continue
        yield from comment(item.why, "")
        if item.secret:
            yield f'export {item.name}="${{{item.value}}}"\n'
        elif item.resolve:
            yield from resolved(item.name, item.value)
            yield f"export {item.name}\n"
        else:
            yield f"export {item.name}={quote(item.value)}\n"


def resolved(variable: str, host: str) -> Iterator[str]:
    """Lines that look up the address of a host that is known by name."""
    yield f"{variable}=$(getent ahostsv4 {quote(host)} | awk 'NR == 1 {{ print $1 }}' || true)\n"
    yield stop_unless(f"[[ -n ${variable} ]]", f"{host} has no address")


def secrets(environment: tuple[Variable, ...]) -> Iterator[str]:
    """Lines that stop the script where a secret is not set."""
    for item in environment:
        if item.secret:
            yield required(item.value, "the key that clients send")


def hints(process: Process) -> Iterator[str]:
    """Comments on what the links of a process may need."""
    bus = process.serve.serve.cluster.nodes[process.node].bus
    if process.serve.chosen.cut.tp > 1 and not bus.peer_to_peer:
        yield "# These cards do not read each other's memory. Should NCCL hang at start, try NCCL_P2P_DISABLE=1.\n"
    network = process.serve.serve.cluster.nodes[process.node].network
    if process.nodes > 1 and network is not None and network.rdma:
        yield "# RDMA between the nodes: where NCCL picks the wrong adapter, name it in NCCL_IB_HCA.\n"


def model_check(process: Process) -> Iterator[str]:
    """Lines that stop the script where the model's folder is not there."""
    location = model_location(process.serve)
    if location.startswith("/"):
        yield stop_unless(f"[[ -d {quote(location)} ]]", f"no model at {location}")


def _head_address(given: tuple[Argument, ...]) -> Iterator[str]:
    for argument in given:
        if argument.flag == _MEETING and not is_address(str(argument.value)):
            yield from resolved("head_address", str(argument.value))


def array_lines(argument: Argument) -> Iterator[str]:
    """A flag with its reason, as entries of a bash array."""
    yield from comment(argument.why, "  ")
    flag = quote(argument.flag)
    if argument.value is True:
        yield f"  {flag}\n"
    elif argument.flag == _MEETING and not is_address(str(argument.value)):
        yield f'  {flag} "$head_address"\n'
    elif isinstance(argument.value, tuple):
        yield f"  {flag}{''.join(' ' + word(item) for item in argument.value)}\n"
    elif word(argument.value).lstrip("'").startswith("-"):
        # A value that looks like a flag belongs to this one.
        yield f"  {quote(f'{argument.flag}={plain(argument.value)}')}\n"
    else:
        yield f"  {flag} {word(argument.value)}\n"


def plain(value: FlagValue) -> str:
    """A value as the engine reads it."""
    if isinstance(value, float):
        return scalar(value)
    return str(value)


def word(value: FlagValue) -> str:
    """A value as one word of bash."""
    return quote(plain(value))


def _start(process: Process, given: tuple[Argument, ...], environment: tuple[Variable, ...]) -> str:
    model = next(plain(argument.value) for argument in given if argument.flag == "--model")
    if model.startswith("-"):
        model = f"./{model}"
    # Names that bash cannot export are handed over by env.
    odd = "".join(f" {quote(f'{item.name}={item.value}')}" for item in environment if not variable_name(item.name))
    command = f'{f"env{odd} " if odd else ""}vllm serve {quote(model)} "${{args[@]}}"'
    return ends_with_first_node(process, given, command) or f"exec {command}\n"


def comment(text: str, indent: str) -> Iterator[str]:
    """A text as comment lines."""
    text = one_line(text)
    width = 108 - len(indent)
    for line in (text,) if 0 < len(text) <= width else textwrap.wrap(text, width):
        yield f"{indent}# {line}\n"
