"""A further node of an engine ends with the first one, and not before there was one. Run with a program in the engine's place."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kcluster.planner.types import EnginePorts
from kcluster.targets import emit
from tests.support.processes import PATIENCE, free_port, wait_for
from tests.targets import factory
from tests.targets.factory import TP4, written

ENGINE = """#!/bin/bash
# An engine that takes no heed of SIGTERM where a file says so, with a worker.
[[ -e $FOLDER/deaf ]] && trap '' TERM || trap 'exit 7' TERM
echo $$ >"$FOLDER/engine"
sleep 600 &
echo $! >"$FOLDER/worker"
touch "$FOLDER/up"
while [[ ! -e $FOLDER/end ]]; do sleep 0.1; done
exit 3
"""


def node(port: int) -> str:
    """The start script of the second node, its waits made short."""
    from kcluster.values import evolve

    plan = factory.plan(
        factory.serve_plan(
            cut=evolve(TP4, pp=2), hosts=("127.0.0.1", "127.0.0.2"), distribution="nnodes",
            ports=(EnginePorts(8000, master=port),), network=factory.ROCE, hardware={"interface": written("lo")},
        )
    )  # fmt: skip
    files = {artifact.path: artifact.text for artifact in emit(plan)}
    assert "set -m" not in files["nodes/127.0.0.1/serve-chat.sh"]
    text = files["nodes/127.0.0.2/serve-chat.sh"]
    for old, new in (
        ("SECONDS + 20", "SECONDS + 2"),
        ("pause=1", "pause=0.2"),
        ("pause=5", "pause=0.2"),
        ("sleep 10", "sleep 1"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    return text


@contextmanager
def first_node(port: int) -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(("127.0.0.1", port))
        listening.listen()
        listening.settimeout(PATIENCE)
        yield listening


@contextmanager
def started(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    (folder / "bin").mkdir()
    (folder / "bin/vllm").write_text(ENGINE)
    (folder / "bin/vllm").chmod(0o755)
    (folder / "node.sh").write_text(node(port))
    process = subprocess.Popen(
        ["bash", folder / "node.sh"], env={"PATH": f"{folder}/bin:/usr/bin:/bin", "FOLDER": str(folder)},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=(folder / "said").open("w"), text=True,
    )  # fmt: skip
    try:
        wait_for((folder / "up").exists, "the engine is started")
        yield process
    finally:
        (folder / "end").touch()
        process.kill()
        process.wait(PATIENCE)


def running(folder: Path, name: str) -> bool:
    stat = Path("/proc") / (folder / name).read_text().strip() / "stat"
    try:
        return stat.read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@pytest.mark.parametrize("deaf", [False, True])
def test_it_ends_once_the_first_node_has_ended(tmp_path: Path, deaf: bool) -> None:
    if deaf:
        (tmp_path / "deaf").touch()
    port = free_port()
    with started(tmp_path, port) as process:
        with first_node(port) as listening:
            # It is not there at first, which is no reason to end.
            listening.accept()[0].close()
            assert process.poll() is None and running(tmp_path, "engine")
        assert process.wait(PATIENCE) == 1
        said = (tmp_path / "said").read_text().splitlines()
        assert said[:2] == [
            "the first node, 127.0.0.1, is there: this one ends with it",
            "the first node, 127.0.0.1, has ended: this one ends too",
        ]
        wait_for(lambda: not running(tmp_path, "engine") and not running(tmp_path, "worker"), "all of it has ended")


def test_a_moment_without_the_first_node_is_no_end(tmp_path: Path) -> None:
    port = free_port()
    text = node(port)
    assert re.search(r"deadline=\$\{deadline:-\$\(\(SECONDS \+ 2\)\)\}", text)
    with started(tmp_path, port) as process:
        with first_node(port) as listening:
            listening.accept()[0].close()
        with first_node(port) as listening:
            for _ in range(12):
                listening.accept()[0].close()
            assert process.poll() is None


def test_it_is_told_to_stop_and_ends_as_its_engine_does(tmp_path: Path) -> None:
    with started(tmp_path, free_port()) as process:
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 7
        assert not running(tmp_path, "engine")
    assert (tmp_path / "said").read_text() == ""


def test_an_engine_that_ends_by_itself_ends_it(tmp_path: Path) -> None:
    with started(tmp_path, free_port()) as process:
        (tmp_path / "end").touch()
        assert process.wait(PATIENCE) == 3
