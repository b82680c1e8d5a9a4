"""One engine over two nodes, the further one started first: it comes up, and the further node ends with the first one."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from tests.e2e.engine.asking import engine_program
from tests.e2e.engine.serving import ENVIRONMENT, PATIENCE, tiny_spec, write_compiled, write_model
from tests.support.fronted import SYSTEM_PATH
from tests.support.processes import end, free_pair, gone_or, wait_for

pytestmark = pytest.mark.e2e

ONE_BOX = 'gpus  = 1 * rtx-5090\n  hosts = ["127.0.0.1"]'
TWO_BOXES = """nodes     = 2
  gpus      = 1 * rtx-5090
  network   = ethernet(25GbE)
  interface = "lo"
  hosts     = ["127.0.0.1", "127.0.0.2"]"""


def start(folder: Path, node: int) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in ENVIRONMENT.items() if name != "VLLM_HOST_IP"}
    with (folder / f"node-{node}.log").open("ab") as log:
        return subprocess.Popen(
            ["bash", str(folder / f"out/nodes/127.0.0.{node + 1}/serve-chat.sh")],
            env={**environment, "PATH": f"{engine_program().parent}:{SYSTEM_PATH}", "HOME": str(folder)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip


def test_the_further_node_waits_for_the_first_and_ends_with_it(tmp_path: Path) -> None:
    """Computing over two nodes needs GPUs (the CPU build's pipeline fails with its first request): this is about coming and going."""
    engine_program()
    port = free_pair()
    spec = tiny_spec(write_model(tmp_path / "model"), port, replicas=1)
    assert ONE_BOX in spec and "pp = 1" in spec
    write_compiled(spec.replace(ONE_BOX, TWO_BOXES).replace("pp = 1", "pp = 2"), tmp_path)
    processes: list[subprocess.Popen[bytes]] = []

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def said() -> str:
        return (tmp_path / "node-1.log").read_text("utf-8", "replace")

    try:
        further = start(tmp_path, 1)
        processes.append(further)
        processes.append(first := start(tmp_path, 0))
        wait_for(lambda: gone_or(first, healthy), "both nodes are up", PATIENCE)
        assert further.poll() is None
        wait_for(lambda: "127.0.0.1, is there" in said(), "the further node has seen the first", PATIENCE)
        os.killpg(first.pid, signal.SIGKILL)
        assert further.wait(PATIENCE) == 1
        assert "the first node, 127.0.0.1, has ended" in said()
    finally:
        end(processes[0])  # what it runs has a process group of its own
        for process in processes[1:]:
            with contextlib.suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
