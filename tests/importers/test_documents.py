"""Texts as launches: the forms in which people keep their commands."""

from __future__ import annotations

from typing import Any

import yaml as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.importers.documents import read_text
from kcluster.importers.words import Launch, Word, whole
from kcluster.importers.yaml import Yaml


def only(text: str, **options: Any) -> Launch:
    (launch,) = read_text(text, **options).launches
    return launch


def flags(launch: Launch) -> dict[str, object]:
    return {
        one.flag + (f".{one.key}" if one.key else ""): [word.text for word in one.values] or one.on
        for one in launch.settings
    }


def model(launch: Launch) -> str:
    assert launch.model is not None
    return launch.model.text


def test_the_flags_of_the_engine_are_read_as_its_parser_does() -> None:
    launch = only(
        "vllm serve org/m -tp 2 --max_model_len=8k --gpu-memory-util 0.9 --no-enable-prefix-caching --served-model-name a b "
        "--compilation_config.pass_config.x true -O3 --whatever 7 --trust-remote-code"
    )
    assert model(launch) == "org/m"
    assert flags(launch) == {
        "--tensor-parallel-size": ["2"],
        "--max-model-len": ["8k"],
        "--gpu-memory-utilization": ["0.9"],
        "--enable-prefix-caching": False,
        "--served-model-name": ["a", "b"],
        "--compilation-config.pass_config.x": ["true"],
        "--optimization-level": ["3"],
        "--whatever": ["7"],
        "--trust-remote-code": True,
    }


def test_the_module_form_and_a_wrapper() -> None:
    assert model(only("nohup python3 -m vllm.entrypoints.openai.api_server --model org/m > log 2>&1 &")) == "org/m"
    assert model(only("./launch.sh exec vllm serve org/m")) == "org/m"


def test_a_script_with_variables_and_two_servers() -> None:
    text = (
        "#!/bin/bash\nset -e\nexport MODEL=org/m\nPORT=${PORT:-8000}\nARGS=(--max-model-len 8192\n --enforce-eager)\n"
        'CUDA_VISIBLE_DEVICES=0,1 vllm serve "$MODEL" --port $PORT "${ARGS[@]}" &\n'
        "CUDA_VISIBLE_DEVICES=2 vllm serve org/n --port 8001 &\nwait\n"
    )
    first, second = read_text(text).launches
    assert (model(first), first.indices, flags(first)["--port"]) == ("org/m", (0, 1), ["8000"])
    assert flags(first)["--enforce-eager"] is True
    assert (model(second), second.indices) == ("org/n", (2,))


def test_docker_with_the_entry_point_of_the_image() -> None:
    launch = only(
        "sudo docker run -d --rm --gpus '\"device=0,3\"' --ipc=host -p 8000:8000 -e A=1 --name chat "
        "vllm/vllm-openai:v0.11.2 --model org/m -tp 2"
    )
    assert (model(launch), launch.indices, launch.cards, launch.version, launch.name) == (
        "org/m",
        (0, 3),
        2,
        "0.11.2",
        "chat",
    )
    assert dict(launch.env)["A"].text == "1"


def test_docker_with_a_shell_inside() -> None:
    launch = only(
        'podman run --gpus 4 --entrypoint bash image -c "vllm serve org/m --speculative-config \'{\\"method\\":\\"mtp\\"}\'"'
    )
    assert launch.cards == 4
    assert flags(launch) == {"--speculative-config": ['{"method":"mtp"}']}


def test_compose() -> None:
    text = """
x-common: &common
  image: vllm/vllm-openai:v0.27.1
  environment: {NCCL_P2P_DISABLE: "1"}
services:
  one:
    <<: *common
    command:
      - --model
      - ${MODEL:-org/m}
      - --max-model-len
      - "8192"
    deploy:
      resources:
        reservations:
          devices:
            - driver: nvidia
              device_ids: ["0", "1"]
              capabilities: [gpu]
  two:
    <<: *common
    entrypoint: ["/bin/bash", "-lc"]
    command: >
      exec vllm serve org/n
      --port $${PORT:-9000}
"""
    first, second = read_text(text).launches
    assert (first.name, model(first), first.indices, first.version) == ("one", "org/m", (0, 1), "0.27.1")
    assert dict(first.env)["NCCL_P2P_DISABLE"].text == "1"
    assert (second.name, model(second), flags(second)) == ("two", "org/n", {"--port": ["9000"]})


def test_compose_command_as_one_string() -> None:
    launch = only("services:\n  a:\n    image: vllm/vllm-openai\n    command: --model org/m --max-model-len 4096\n")
    assert (model(launch), flags(launch)) == ("org/m", {"--max-model-len": ["4096"]})


def test_compose_script_that_passes_its_arguments_on() -> None:
    text = (
        "services:\n  a:\n    image: x\n    entrypoint:\n      - /bin/bash\n      - -c\n      - |\n"
        '        echo hello\n        exec vllm serve "$$@"\n      - --\n    command:\n      - org/m\n      - --port\n      - "1"\n'
    )
    launch = only(text)
    assert (model(launch), flags(launch)) == ("org/m", {"--port": ["1"]})


def test_kubernetes() -> None:
    text = """
apiVersion: apps/v1
kind: Deployment
spec:
  template:
    spec:
      containers:
      - name: chat
        image: vllm/vllm-openai:v0.32.0
        command: ["/bin/sh", "-c"]
        args: ["vllm serve org/m --tensor-parallel-size $TP"]
        env:
        - name: TP
          value: "2"
        resources:
          limits:
            nvidia.com/gpu: "2"
"""
    launch = only(text)
    assert (launch.name, model(launch), launch.cards, launch.version) == ("chat", "org/m", 2, "0.32.0")
    assert flags(launch) == {"--tensor-parallel-size": ["2"]}


def test_helm_values_of_the_production_stack() -> None:
    text = (
        "servingEngineSpec:\n  modelSpec:\n  - name: chat\n    modelURL: org/m\n    requestGPU: 2\n    vllmConfig:\n"
        '      tensorParallelSize: 2\n      maxModelLen: 4096\n      extraArgs: ["--trust-remote-code"]\n'
    )
    launch = only(text)
    assert (model(launch), launch.cards) == ("org/m", 2)
    assert flags(launch) == {"--tensor-parallel-size": ["2"], "--max-model-len": ["4096"], "--trust-remote-code": True}


def test_systemd() -> None:
    text = (
        "[Unit]\nDescription=x\n[Service]\nEnvironment=CUDA_VISIBLE_DEVICES=0,1 PORT=9\n"
        "ExecStart=/opt/vllm/bin/vllm serve org/m \\\n  --tensor-parallel-size 2 \\\n  --port ${PORT}\nRestart=always\n"
    )
    launch = only(text)
    assert (model(launch), launch.indices) == ("org/m", (0, 1))
    assert flags(launch) == {"--tensor-parallel-size": ["2"], "--port": ["9"]}


def test_python() -> None:
    launch = only('from vllm import LLM\nn = 2\nllm = LLM(model="org/m", tensor_parallel_size=n, enforce_eager=True)\n')
    assert (model(launch), flags(launch)) == ("org/m", {"--tensor-parallel-size": ["2"], "--enforce-eager": True})


def test_a_command_in_a_string_of_another_program_and_in_markdown() -> None:
    assert model(only('import os\nos.system("vllm serve org/m --port 1")\n')) == "org/m"
    assert model(only("```bash\nvllm serve org/m \\\n  --port 1\n```\n")) == "org/m"


def test_ray_beside_the_server_is_seen() -> None:
    assert only("ray start --head\nvllm serve org/m").ray


def test_variables_can_be_given() -> None:
    assert model(only("vllm serve $MODEL", variables={"MODEL": "org/m"})) == "org/m"


def test_hostile_texts_end() -> None:
    for text in (
        "X=(" * 5000,
        "${A:-" * 5000,
        "$(" * 5000,
        "services: " + "[" * 5000,
        "(" * 5000,
        "a: &b\n" * 2000 + "services:\n",
        # what a pattern might try again from every line or quote
        "\n" * 40_000,
        " \n" * 40_000 + "x",
        "a:\n" * 10_000 + "model",
        '"""' * 20_000,
        '["vllm",' * 5000,
        "<<EOF\n" * 10_000,
    ):
        assert read_text(text).launches == ()
    assert len(read_text("vllm serve m\n" * 5000).launches) == 200
    assert read_text("A+=x\n" * 10_000 + "vllm serve $A").launches
    assert len(read_text("vllm serve m " + "x " * 5000).launches[0].problems) == 5000
    assert read_text("a " * 2**18).notes


def test_nothing_to_import() -> None:
    assert read_text("echo hello").launches == ()
    assert read_text("volumes:\n- name: shm\n").launches == ()


# The reader of YAML, against the reference one


def plain(node: object) -> object:
    if isinstance(node, Word):
        return node.text
    if isinstance(node, dict):
        return {key: plain(value) for key, value in node.items()}
    return [plain(item) for item in node] if isinstance(node, list) else node


YAML = """\
a: 1
b: "x: y # z"   # comment
c: 'it''s'
d:
- one
- two: 2
  three: [a, "b, c", {d: e}]
- - nested
  - list
e: |
  line one
    more
  line three
f: >-
  folded
  text
g: {h: i, j: [k, l]}
m:
  n: plain text
    that goes on
o: &anchor {p: q}
r: *anchor
s:
  <<: *anchor
  t: u
http: http://host:8000/v1
"""


def test_yaml_is_read_as_the_reference_reads_it() -> None:
    (mine,) = Yaml(whole(YAML)).documents()
    theirs = reference.load(YAML, reference.BaseLoader)  # every scalar is its text
    del theirs["s"], mine["s"]["t"]  # BaseLoader does not merge
    assert plain(mine.pop("s")) == {"p": "q"}
    assert {key: value.rstrip("\n") if isinstance(value, str) else value for key, value in theirs.items()} == plain(
        mine
    )


def test_yaml_knows_its_places() -> None:
    text = 'a:\n- "x y"\n- >\n  b c\n'
    (document,) = Yaml(whole(text)).documents()
    first, second = document["a"]
    assert text[first.span.start : first.span.end] == '"x y"'
    assert "".join(text[place] for place in second.places if text[place] != "\n") == "b c"


@given(st.text(alphabet="a: -[]{}\"'|>&*#\n<!,${}services command image", max_size=80))
@settings(max_examples=300, deadline=None)
def test_nothing_that_is_written_ends_in_an_exception(text: str) -> None:
    Yaml(whole(text)).documents()
    read_text("services:\n" + text)


def test_an_image_without_arguments_starts_nothing_that_is_said() -> None:
    assert read_text("docker run --gpus all vllm/vllm-openai:v0.11.0").launches == ()
    assert read_text("services:\n  a:\n    image: vllm/vllm-openai\n    command: []\n").launches == ()
