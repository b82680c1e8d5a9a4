"""The start script of an engine other than vLLM: its environment, its flags with their reasons, its command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan
from kcluster.targets.engines import KEEP_ALIVE_SECONDS
from kcluster.targets.header import comment_header
from kcluster.targets.layout import Process, model_location
from kcluster.targets.routing import listening
from kcluster.targets.shell import SHEBANG, STRICT, bearer_key, command_needed, quote, variable_name
from kcluster.targets.vllm.arguments import Argument
from kcluster.targets.vllm.environment import Variable, cards, is_address, patience
from kcluster.targets.vllm.files import array_lines, describe, exports, hints, model_check

KEY_CONFIG: Final = """\
# The engine takes the key from its command line, which everybody can read, or from a file: one that only this user can read.
config=$(mktemp --suffix=.yaml)
trap 'rm -f "$config"' EXIT
printf 'api-key: "%s"\\n' "${{{variable}}}" >"$config"

{command} --config "$config" "${{args[@]}}" &
engine=$!
trap 'kill -TERM "$engine"' TERM INT
status=0
wait "$engine" || status=$?
# A signal ends the first wait early: the engine may still be finishing its answers.
while kill -0 "$engine" 2>/dev/null; do
  status=0
  wait "$engine" || status=$?
done
exit "$status"
"""


_ADDRESS: Final = {"sglang": "SGLANG_HOST_IP"}
"""Engine → the variable that holds the address by which the other nodes reach a node."""
_PARTITION: Final = {"sglang": "SGLANG_PP_LAYER_PARTITION", "triton": "VLLM_PP_LAYER_PARTITION"}
"""Engine → the variable that holds the layers of each stage. SGLang's own shares give the remainder to other stages than
the plan's."""


_BESIDE: Final = ("\n", "# flags name files beside this script\n", 'cd "$(dirname "${BASH_SOURCE[0]}")"\n')


def script(
    plan: Plan,
    process: Process,
    command: tuple[str, ...],
    given: tuple[Argument, ...],
    *,
    beside: bool = False,
) -> str:
    """A bash script that checks its environment and becomes the engine.

    Args:
        command: the words of the command; the flags follow it. The first must be on the PATH.
        given: the flags.
        beside: flags name files beside the script.
    """
    key = process.serve.serve.engine.api_key
    words = " ".join(quote(word) for word in command)
    environment = variables(process)
    odd = "".join(f" {quote(f'{item.name}={item.value}')}" for item in environment if not variable_name(item.name))
    if odd:
        words = f"env{odd} {words}"
    lines = [
        SHEBANG,
        comment_header(plan, describe(process)),
        STRICT,
        "\n",
        *((bearer_key(key.value.variable),) if key else ()),
        *exports(environment),
        *hints(process),
        "\n",
        command_needed(command[0], "activate the environment that the engine is installed in"),
        *model_check(process),
        *(_BESIDE if beside else ()),
        "\nargs=(\n",
        *(line for argument in given for line in array_lines(argument)),
        ")\n\n",
    ]
    if key and process.serve.serve.engine.name.value == "sglang":
        lines.append(KEY_CONFIG.format(variable=key.value.variable, command=words))
    else:
        lines.append(f'exec {words} "${{args[@]}}"\n')
    return "".join(lines)


def variables(process: Process) -> tuple[Variable, ...]:
    """The environment of a process: cards, network and stages; what the spec's `env` says takes their place."""
    own = (*cards(process.serve, process.gpus), *_network(process), *_stages(process), *_server(process))
    found = {item.name: item for item in own}
    for key, value in process.serve.serve.engine.env:
        found[key.value] = Variable(key.value, value.value, "as the spec says")
    return tuple(found.values())


def _network(process: Process) -> Iterator[Variable]:
    if process.nodes < 2:
        return
    name = _ADDRESS.get(process.serve.serve.engine.name.value)
    if name:
        why = "the address by which the other nodes reach this one"
        yield Variable(name, process.host, why, resolve=not is_address(process.host))
    interface = process.serve.serve.hardware.interface
    if interface:
        yield Variable(
            "NCCL_SOCKET_IFNAME", f"={interface.value}", "exactly this interface (= keeps it from matching others)"
        )
        yield Variable("GLOO_SOCKET_IFNAME", interface.value, "the same for gloo, which takes one name")
    network = process.serve.serve.cluster.nodes[0].network
    if network is not None and not network.rdma:
        yield Variable("NCCL_IB_DISABLE", "1", "plain Ethernet: NCCL does not look for RDMA")


def _stages(process: Process) -> Iterator[Variable]:
    name = _PARTITION.get(process.serve.serve.engine.name.value)
    layers = layers_of_stages(process)
    if name and layers:
        yield Variable(name, ",".join(str(count) for count in layers), "layers of each stage")


def _server(process: Process) -> Iterator[Variable]:
    if process.serve.serve.engine.name.value == "triton":
        yield patience(process.serve)
    if process.serve.serve.engine.name.value == "sglang" and process.answers:
        why = "seconds; longer than the router keeps idle connections"
        yield Variable("SGLANG_TIMEOUT_KEEP_ALIVE", str(KEEP_ALIVE_SECONDS), why)


def layers_of_stages(process: Process) -> tuple[int, ...]:
    """The layers of each pipeline stage as they were planned; empty for one stage."""
    chosen = process.serve.chosen
    if chosen.cut.pp == 1:
        return ()
    if chosen.memory is not None:
        return tuple(stage.layers for stage in chosen.memory.stages)
    return chosen.cut.layers or ()


def address(plan: Plan, process: Process) -> tuple[str, str]:
    """What the server binds, and why."""
    bind = listening(plan, process.serve, process.host)
    if process.serve.serve.engine.host is not None:
        return bind, "as the spec says"
    return bind, "reached from this node only" if bind == "127.0.0.1" else "this node's address on the network"


def location(process: Process) -> str:
    """What the engine loads, so that it is never taken for a flag."""
    found = model_location(process.serve)
    return f"./{found}" if found.startswith("-") else found


def raw(process: Process) -> tuple[Argument, ...]:
    """The raw flags of the spec, as they are written: `on` the bare flag, `off` none."""
    return tuple(
        Argument(key.value, value.value, "as the spec says (args)")
        for key, value in process.serve.serve.engine.args
        if value.value is not False
    )


def overlaid(own: Iterator[Argument], given: tuple[Argument, ...], same: dict[str, str]) -> tuple[Argument, ...]:
    """Own flags with the raw ones in their place. `same` maps further spellings of a flag to the one used here."""
    found = {argument.flag: argument for argument in own}
    for argument in given:
        name = same.get(argument.flag, argument.flag)
        found[name] = Argument(name, argument.value, argument.why)
    return tuple(found.values())
