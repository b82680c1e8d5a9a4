"""Processes of a test: started with a log, waited for by a condition, ended by their id."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

PATIENCE = 90.0
"""Seconds that a condition may take before a test gives up: a limit against hanging, never a measure of speed."""


# Below what the kernel gives to outgoing connections, so that no client of another test takes a port between being found
# free and being listened on; each process of pytest starts elsewhere, and gives no port twice.
_PORTS = itertools.cycle(random.Random(f"{os.getpid()} {time.time_ns()}").sample(range(10240, 32000, 2), 10880))


def free_pair() -> int:
    """A TCP port that nothing listens on at this moment, and neither on the next one."""
    for port in itertools.islice(_PORTS, 10880):
        if _free(port) and _free(port + 1):
            return port
    raise AssertionError("no two neighbouring ports are free")


def free_port() -> int:
    """A TCP port that nothing listens on at this moment."""
    return free_pair()


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True


def wait_for(condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it does not within `patience` seconds.
    """
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, f"gave up waiting until {what}"
        time.sleep(0.02)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started (it leads a session of its own), and wait for it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(
    command: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, its output in a file, ended when the block is left."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            list(command), stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True,
            env=None if env is None else {**os.environ, **env}, cwd=cwd,
        )  # fmt: skip
    try:
        yield process
    finally:
        end(process)


def gone_or(process: subprocess.Popen[bytes] | None, condition: Callable[[], bool]) -> bool:
    """A condition, looked at while a process runs.

    Raises:
        AssertionError: the process has ended.
    """
    assert process is not None and process.poll() is None, "the process ended"
    return condition()
