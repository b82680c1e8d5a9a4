"""Triton with its vLLM backend: a model repository for every process, and the script that starts the server behind its
OpenAI-compatible front.

The repository's `config.pbtxt` is in the words of Triton's own protobuf; `model.json` holds the arguments of vLLM's engine,
which are the same as those of `vllm serve`. The front's options were read from triton-inference-server/server
(python/openai/openai_frontend/main.py); nothing here has been started.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.engines import FlagValue
from kcluster.planner.types import Plan
from kcluster.targets.engine_script import address, location, script
from kcluster.targets.header import comment_header
from kcluster.targets.layout import Process, processes, served_names
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.arguments import Argument
from kcluster.targets.vllm.arguments import arguments as vllm_arguments
from kcluster.targets.vllm.files import describe

FRONT: Final = "/opt/tritonserver/python/openai/openai_frontend/main.py"
"""Where the front lies in Triton's own image."""
_SERVER: Final = frozenset(
    {"--host", "--port", "--served-model-name", "--sse-keep-alive-interval", "--shutdown-timeout", "--headless"}
)
"""Flags of vLLM's HTTP server, which Triton's front takes the place of."""


@target("triton")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/serve-<name>.sh` and `nodes/<host>/triton-<name>/<model>/{config.pbtxt,1/model.json}`."""
    found: list[Artifact] = []
    for process in processes(plan):
        serve = process.serve.serve
        if serve.engine.name.value != "triton" or serve.runtime.value == "kubernetes":
            continue
        folder = f"{process.folder}/{_repository(process)}/{model_name(process)}"
        command = ("python3", FRONT)
        found.append(
            Artifact(
                f"{process.path}.sh",
                script(plan, process, command, _front(plan, process), beside=True),
                executable=True,
            )
        )
        found.append(Artifact(f"{folder}/config.pbtxt", config_pbtxt(plan, process)))
        found.append(Artifact(f"{folder}/1/model.json", model_json(plan, process)))
    return tuple(found)


def model_name(process: Process) -> str:
    """The model's name: that of its folder in the repository, and the one that clients say."""
    return served_names(process.serve)[-1]


def _repository(process: Process) -> str:
    return f"triton-{process.stem.removeprefix('serve-')}"


def _front(plan: Plan, process: Process) -> tuple[Argument, ...]:
    bind, why = address(plan, process)
    return (
        Argument("--model-repository", _repository(process), "the folder beside this script"),
        Argument("--tokenizer", location(process), "for chat templates"),
        Argument("--backend", "vllm", "how requests are put to the model"),
        Argument("--host", bind, why),
        Argument("--openai-port", process.port, "/v1 and /metrics"),
    )


def engine_arguments(plan: Plan, process: Process) -> dict[str, object]:
    """The arguments of vLLM's engine under the names that `model.json` takes."""
    found: dict[str, object] = {}
    for argument in vllm_arguments(plan, process):
        if argument.flag in _SERVER:
            continue
        name, value = _key(argument.flag, argument.value)
        found[name] = value
    found["disable_log_stats"] = False
    return dict(sorted(found.items(), key=lambda item: (item[0] != "model", item[0])))


def _key(flag: str, value: FlagValue) -> tuple[str, object]:
    if flag.startswith("--no-"):
        return flag[5:].replace("-", "_"), False
    name = flag.removeprefix("--").replace("-", "_")
    if isinstance(value, tuple):
        return name, list(value)
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return name, json.loads(value)
        except ValueError:
            return name, value
    return name, value


def model_json(plan: Plan, process: Process) -> str:
    """The engine's arguments; JSON knows no comments, their reasons are in `plan.toml`."""
    return json.dumps(engine_arguments(plan, process), indent=2, ensure_ascii=False) + "\n"


def config_pbtxt(plan: Plan, process: Process) -> str:
    """The model's description for Triton: text in, text out, streamed; the backend batches by itself."""
    return "".join(_pbtxt(plan, process))


def _pbtxt(plan: Plan, process: Process) -> Iterator[str]:
    yield comment_header(plan, f"{describe(process)}; Triton with its vLLM backend")
    yield f"name: {_text(model_name(process))}\n"
    yield 'backend: "vllm"\n'
    yield "# the engine makes its own batches\nmax_batch_size: 0\n"
    yield "# answers are streamed\nmodel_transaction_policy { decoupled: true }\n"
    for name, kind, optional in _INPUTS:
        rest = " optional: true" if optional else ""
        yield f'input [ {{ name: "{name}" data_type: {kind} dims: [ 1 ]{rest} }} ]\n'
    yield 'output [ { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] } ]\n'
    yield "# the engine finds its cards by CUDA_VISIBLE_DEVICES\ninstance_group [ { count: 1 kind: KIND_MODEL } ]\n"
    yield "# the engine's own metrics beside Triton's\n"
    yield 'parameters { key: "REPORT_CUSTOM_METRICS" value { string_value: "true" } }\n'


_INPUTS: Final = (
    ("text_input", "TYPE_STRING", False),
    ("stream", "TYPE_BOOL", True),
    ("sampling_parameters", "TYPE_STRING", True),
    ("exclude_input_in_output", "TYPE_BOOL", True),
)


def _text(text: str) -> str:
    """A text in protobuf's notation, whose escapes are those of C."""
    return '"' + "".join(_escaped(byte) for byte in text.encode()) + '"'


def _escaped(byte: int) -> str:
    if byte in (0x22, 0x5C):
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\{byte:03o}"
