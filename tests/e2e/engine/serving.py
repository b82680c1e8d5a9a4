"""Real engines on loopback: a tiny model with a tokenizer, a spec of two replicas of it, and the compiled scripts run.

What differs from a machine with GPUs is said here and nowhere in a compiled file: the environment below, and in the spec that
weights are made up (`--load-format dummy`), that no graphs are compiled, and the bytes and blocks of the KV cache, which the
CPU build would choose by the machine's memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define

import kcluster
from tests.e2e.engine.asking import engine_program
from tests.support.compiled import written_to
from tests.support.fronted import SYSTEM_PATH
from tests.support.processes import free_pair

PATIENCE: Final = 400.0
"""Seconds that the start of an engine may take on a loaded machine."""

ENVIRONMENT: Final = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    # One thread an engine, on whichever core is free: else each binds one to every core of this small machine.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_HOST_IP": "127.0.0.1",
}

TINY: Final[dict[str, Any]] = {
    "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 256, "intermediate_size": 512,
    "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 32, "vocab_size": 512,
    "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
    "torch_dtype": "bfloat16", "bos_token_id": 256, "eos_token_id": 257,
}  # fmt: skip


def byte_letters() -> list[str]:
    """The printable letter of each byte in the byte-level alphabet that GPT-2 introduced: its own where it has one, else the
    next one from 256 on."""
    own = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte if byte in own else next(others)) for byte in range(256)]


def write_model(folder: Path, config: Mapping[str, Any] = TINY) -> Path:
    """A model's folder without weights: config.json and a tokenizer of one token a byte."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {letter: number for number, letter in enumerate(byte_letters())}
    special = [
        {"id": 256 + number, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": True}
        for number, content in enumerate(("<s>", "</s>"))
    ]  # fmt: skip
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                  "vocab": vocabulary, "merges": []},
    }  # fmt: skip
    files = {
        "config.json": dict(config),
        "tokenizer.json": tokenizer,
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "model_max_length": 4096,
            "chat_template": "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}",
        },
        "generation_config.json": {"bos_token_id": 256, "eos_token_id": 257},
    }  # fmt: skip
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def tiny_spec(model: Path, port: int, *, kv_bytes: int = 64 * 2**20, router: str = "", monitor: str = "", length: str = "1K",
              replicas: int = 2, tp: int = 1) -> str:  # fmt: skip
    """A spec of small engines of a model's folder on this machine, at `port` and the ports after it."""
    return f"""
model m {{
  id = "{model}"
  config = "{model}/config.json"
}}
hardware h {{
  gpus  = {replicas * tp} * rtx-5090
  hosts = ["127.0.0.1"]
}}
sla s {{
  concurrency = 16
  context = {length}
  prompt = 128
  completion = 64
  ttft <= 2s
  itl <= 100ms
}}
serve chat {{
  model = m
  hardware = h
  sla = s
  parallel {{ replicas = {replicas}, tp = {tp}, pp = 1 }}
  engine vllm {{
    version = "0.32"
    port = {port}
    args {{
      "--load-format" = "dummy"
      "--enforce-eager" = on
      "--block-size" = 128
      "--kv-cache-memory-bytes" = {kv_bytes}
      "--enable-log-requests" = on
    }}
  }}
  {router}
  monitor {{ {monitor} }}
}}
"""


def write_compiled(spec: str, folder: Path) -> None:
    """The artifacts of a spec as `kcluster compile -o out` writes them in a folder."""
    written_to(folder / "out", kcluster.compile_(spec, path="tiny.kcluster", folder=folder))


HOOK: Final = """\
#!{python}
# stop|start HOST SCRIPT, as the compiled rolling restart calls it: engines by the ids that are written beside their logs.
import os, pathlib, signal, subprocess, sys, time

folder = pathlib.Path({folder!r})
action, host, script = sys.argv[1:]
number = script.rpartition("-")[2]
place = folder / f"pid-{{number}}"


def alive(group):
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, found = stat.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(found) == group and state not in "ZX":
            return True
    return False


with (folder / "hook.log").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if action == "stop":
    pid = int(place.read_text())
    os.kill(pid, signal.SIGTERM)
    while alive(pid):
        time.sleep(0.2)
else:
    with (folder / f"replica-{{number}}.log").open("ab") as out:
        started = subprocess.Popen(
            ["bash", str(folder / "out/nodes/127.0.0.1" / f"{{script}}.sh")],
            env={environment!r}, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )
    place.write_text(str(started.pid))
"""


@define
class Replicas:
    """Two engines run by their compiled start scripts, replica n on `port + n`, their ids in files that the hook reads too."""

    folder: Path
    port: int
    model: Path

    def log(self, replica: int) -> Path:
        return self.folder / f"replica-{replica}.log"

    def pid(self, replica: int) -> int:
        return int((self.folder / f"pid-{replica}").read_text())

    @property
    def hook(self) -> Path:
        """The program for `KCLUSTER_HOOK`."""
        place = self.folder / "hook"
        place.write_text(HOOK.format(python=sys.executable, folder=str(self.folder), environment=self.environment()))
        place.chmod(0o755)
        return place

    def environment(self) -> dict[str, str]:
        return {**ENVIRONMENT, "PATH": f"{engine_program().parent}:{SYSTEM_PATH}", "HOME": str(self.folder)}

    def start(self, replica: int) -> None:
        """The compiled script of a replica, in a session of its own, started as the rolling restart does."""
        subprocess.run([str(self.hook), "start", "127.0.0.1", f"serve-chat-{replica}"], check=True, timeout=60)

    def ready(self, replica: int) -> None:
        """Held to the compiled readiness script, which ends early where the engine has ended."""
        done = subprocess.run(
            ["bash", str(self.folder / f"out/nodes/127.0.0.1/ready-chat-{replica}.sh"), str(int(PATIENCE))],
            env={"PATH": SYSTEM_PATH, "MAINPID": str(self.pid(replica))}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{done.stderr}\n{self.log(replica).read_text()[-4000:]}"

    def kill(self, replica: int) -> None:
        """Ended as by the kernel: the server and its engine core, without a chance to say anything."""
        os.killpg(self.pid(replica), signal.SIGKILL)

    def received(self, replica: int) -> list[int]:
        """The seeds of the requests that a replica has been sent, which are their names here: routers give ids of their own."""
        return [
            int(found)
            for found in re.findall(r"Received request .*\bseed=(\d+)", self.log(replica).read_text("utf-8", "replace"))
        ]

    def metrics(self, replica: int) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port + replica}/metrics", timeout=60) as answer:
            text: str = answer.read().decode()
        return text

    def up(self, replica: int) -> bool:
        try:
            return "vllm:num_requests_running" in self.metrics(replica)
        except OSError:
            return False


def start_script(script: Path, log: Path) -> subprocess.Popen[bytes]:
    """A compiled start script of an engine, in a session of its own."""
    with log.open("ab") as out:
        return subprocess.Popen(
            ["bash", str(script)],
            env={**ENVIRONMENT, "PATH": f"{engine_program().parent}:{SYSTEM_PATH}", "HOME": str(log.parent)},
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


@contextlib.contextmanager
def replicas(folder: Path) -> Iterator[Replicas]:
    """Two replicas of the tiny model, up and held to a completion each."""
    engine_program()
    port = free_pair()
    model = write_model(folder / "model")
    write_compiled(tiny_spec(model, port), folder)
    found = Replicas(folder, port, model)
    try:
        for replica in (0, 1):
            found.start(replica)
        for replica in (0, 1):
            found.ready(replica)
        yield found
    finally:
        for replica in (0, 1):
            with contextlib.suppress(OSError):
                os.killpg(found.pid(replica), signal.SIGKILL)
