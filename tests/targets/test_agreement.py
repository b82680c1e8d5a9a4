"""All files of a folder say the same: every spec of this repository and the field's usual shapes, compiled for all targets and read
back against `plan.toml`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kcluster
from kcluster.api import SpecError
from kcluster.spec.text import SCRIPTS_OWN
from tests.targets.agreement import disagreements

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.kcluster"))

BOXES = """
model llama { id = "meta-llama/Llama-3.1-70B-Instruct" }
model small { id = "meta-llama/Llama-3.1-8B-Instruct" }
model experts { id = "Qwen/Qwen3-235B-A22B" }
hardware racks {
  nodes   = 2
  gpus    = 8 * h100-sxm
  network = 8 * infiniband(ndr)
  hosts   = ["10.0.0.21", "10.0.0.22"]
}
hardware box {
  gpus  = 4 * l40s
  hosts = ["10.0.0.31"]
}
sla team { concurrency = 16, context = 8K, prompt = 2K, completion = 500 }
"""
ONE = """
serve chat {
  model = MODEL, hardware = HARDWARE, sla = team, runtime = RUNTIME
  parallel { PARALLEL }
  engine vllm { api_key = env("KEY") }
  MORE
}
"""
SHAPES = {
    "tp 8 x pp 2": ("llama", "racks", "tp = 8, pp = 2, replicas = 1"),
    "four replicas": ("small", "box", "tp = 1, pp = 1, replicas = 4"),
    "dp 8 and ep": ("experts", "racks", "tp = 2, pp = 1, dp = 8, ep = on, replicas = 1"),
    "hybrid": ("experts", "racks", "tp = 2, pp = 1, dp = 8, ep = on, replicas = 1, balance = hybrid"),
    "external": ("experts", "racks", "tp = 2, pp = 1, dp = 8, ep = on, replicas = 1, balance = external"),
}
TWO_MODELS = """
router haproxy front {
  listen  = 8080
  api_key = env("CLIENTS")
}
serve one {
  model = small, hardware = box, sla = team, gpus = [0, 1], runtime = RUNTIME
  parallel { tp = 1, pp = 1, replicas = 2 }
  engine vllm { api_key = env("KEY") }
  route front { model_name = "small" }
}
serve two {
  model = small, hardware = box, sla = team, gpus = [2, 3], runtime = RUNTIME
  parallel { tp = 2, pp = 1, replicas = 1 }
  engine vllm {
    port    = 8100
    api_key = env("KEY")
  }
  route front { model_name = "other" }
}
"""


def spec(shape: str, runtime: str) -> str:
    model, hardware, parallel = SHAPES[shape]
    more = 'kubernetes { namespace = "llm", claim = "models" }' if runtime == "kubernetes" else ""
    text = ONE.replace("MODEL", model).replace("HARDWARE", hardware).replace("RUNTIME", runtime)
    return BOXES + text.replace("PARALLEL", parallel).replace("MORE", more)


def files_of(text: str, path: str = "test.kcluster") -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in kcluster.compile_(text, path=path)}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_files_of_the_specs_agree(path: Path) -> None:
    assert disagreements(files_of(path.read_text(), str(path))) == []


@pytest.mark.parametrize("runtime", ["shell", "systemd", "compose", "kubernetes"])
@pytest.mark.parametrize("shape", SHAPES)
def test_files_of_usual_shapes_agree(shape: str, runtime: str) -> None:
    if (shape, runtime) == ("external", "kubernetes"):
        with pytest.raises(SpecError):
            files_of(spec(shape, runtime))
        return
    assert disagreements(files_of(spec(shape, runtime))) == []


@pytest.mark.parametrize("runtime", ["shell", "systemd", "compose"])
def test_files_of_two_models_on_one_box_agree(runtime: str) -> None:
    assert disagreements(files_of(BOXES + TWO_MODELS.replace("RUNTIME", runtime))) == []


SPOILT = {
    "another port": ("nodes/10.0.0.31/serve-chat-1.yaml", "port: 8001", "port: 8009"),
    "another card": ("nodes/10.0.0.31/serve-chat-1.sh", "CUDA_VISIBLE_DEVICES=1", "CUDA_VISIBLE_DEVICES=2"),
    "another backend": ("router/nginx.conf", "127.0.0.1:8002", "127.0.0.1:8007"),
    "another length": ("nodes/10.0.0.31/serve-chat-0.yaml", "max-model-len: 8192", "max-model-len: 4096"),
    "another scrape": ("monitoring/prometheus.yml", "127.0.0.1:8003", "127.0.0.1:8004"),
    "a closed port": ("nodes/10.0.0.31/firewall.nft", "tcp dport 8080", "tcp dport 8081"),
    "another readiness": ("nodes/10.0.0.31/ready-chat-3.sh", ":8003", ":8000"),
}


SPOILT_NODES = {
    "another meeting": ("nodes/10.0.0.22/serve-chat.yaml", 'master-addr: "10.0.0.21"', 'master-addr: "10.0.0.22"'),
    "another meeting port": ("nodes/10.0.0.22/serve-chat.yaml", "master-port: 29501", "master-port: 29511"),
    "another address": ("nodes/10.0.0.22/serve-chat.sh", "VLLM_HOST_IP=10.0.0.22", "VLLM_HOST_IP=10.0.0.21"),
    "another interface": ("nodes/10.0.0.22/serve-chat.sh", "GLOO_SOCKET_IFNAME=ib0", "GLOO_SOCKET_IFNAME=ib1"),
    "another rank": ("nodes/10.0.0.22/serve-chat.yaml", "node-rank: 1", "node-rank: 0"),
    "listens alone": ("nodes/10.0.0.21/serve-chat.yaml", '\nhost: "10.0.0.21"', '\nhost: "127.0.0.1"'),
    "a key for nobody": ("nodes/10.0.0.22/serve-chat.sh", "export GLOO", "export VLLM_API_KEY=x\nexport GLOO"),
}


@pytest.mark.parametrize("what", SPOILT_NODES)
def test_a_disagreement_of_nodes_would_be_seen(what: str) -> None:
    path, old, new = SPOILT_NODES[what]
    files = files_of(spec("tp 8 x pp 2", "shell").replace("hosts   = [", 'interface = "ib0"\n  hosts   = [', 1))
    assert disagreements(files) == []
    assert old in files[path], files[path]
    assert len(disagreements({**files, path: files[path].replace(old, new)})) >= 2  # the hash is the one of both


@pytest.mark.parametrize("what", SPOILT)
def test_a_disagreement_would_be_seen(what: str) -> None:
    path, old, new = SPOILT[what]
    files = files_of(spec("four replicas", "shell"))
    assert old in files[path]
    assert len(disagreements({**files, path: files[path].replace(old, new)})) >= 2  # the hash is the one of both


ALL_IN_SMALL = re.compile(r"(?:^|[\s;({])(?:export )?([a-z_][a-z0-9_]*)\+?=", re.MULTILINE)


def scripts_of(text: str) -> dict[str, str]:
    return {path: body for path, body in files_of(text).items() if path.endswith(".sh")}


def own_variables(script: str) -> set[str]:
    """What a script assigns, quoted texts aside."""
    code = re.sub(r"(?:^|\s)#.*$", "", script, flags=re.MULTILINE)
    bare = re.sub(r"'[^']*'", "''", code)
    listed = re.findall(r"(?:local|read -ra|for)((?: [a-z_]\w*)+)", bare)
    return {*ALL_IN_SMALL.findall(bare), *(word for words in listed for word in words.split() if word != "in")}


def test_variables_of_a_spec_are_none_of_the_scripts_own() -> None:
    """Keys are named in capitals, in which no script has a variable of its own; `env` sets others in start scripts only."""
    ray = spec("tp 8 x pp 2", "shell").replace("engine vllm {", "engine vllm { executor = ray,")
    engines = [spec("four replicas", "shell").replace("engine vllm", f"engine {name}") for name in ("sglang",)]
    found = [scripts_of(text) for text in (ray, *engines, spec("hybrid", "shell"), spec("external", "systemd"))]
    starts = [
        (path, body) for files in found for path, body in files.items() if re.search(r"/(serve|ray)-[^/]*$", path)
    ]
    assert {path.rpartition("/")[2].partition("-")[0] for path, _ in starts} == {"serve", "ray"}
    used = {name for _, body in starts for name in own_variables(body)}
    assert used - SCRIPTS_OWN == set()
    assert {"args", "deadline", "temp"} <= used


@pytest.mark.parametrize("name", ["run", "conf", "args", "SECONDS", "UID", "IFS"])
def test_a_key_is_not_named_like_what_scripts_use(name: str) -> None:
    with pytest.raises(SpecError, match="environment variable"):
        files_of(spec("four replicas", "shell").replace('env("KEY")', f'env("{name}")'))


def test_small_letters_are_for_the_environment_of_the_engine() -> None:
    text = spec("four replicas", "shell").replace("engine vllm {", 'engine vllm { env { NAME = "http://proxy:3128" }\n')
    assert "export http_proxy=" in files_of(text.replace("NAME", "http_proxy"))["nodes/10.0.0.31/serve-chat-0.sh"]
    with pytest.raises(SpecError):
        files_of(text.replace("NAME", "args"))
