"""How a run ends that is not heard to its end: readers that go away, disks that are full, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from .process import BAD, PACKAGE, write

LINT = f"'{sys.executable}' -m kcluster lint"


def shell(line: str, at: Path, cache: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE), "XDG_CACHE_HOME": str(cache)}
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        cwd=at, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("again", [False, True], ids=["judged", "kept"])
def test_what_is_said_and_does_not_arrive(tmp_path: Path, again: bool) -> None:
    """The same where the answer is new and where it comes from the cache: more than a pipe holds, so that it is noticed."""
    write(tmp_path, many="".join(f"model m{number} {{ idd = 1 }}\n" for number in range(400)))
    cache = tmp_path / "cache"
    if again:
        assert len(shell(f"{LINT} many.kcluster", tmp_path, cache).stdout) > 2**16
    gone = shell(f"{LINT} many.kcluster | head -1", tmp_path, cache)
    assert gone.returncode == 0 and gone.stderr == "" and gone.stdout.startswith("error[KC1"), gone
    full = shell(f"{LINT} many.kcluster > /dev/full", tmp_path, cache)
    assert (full.returncode, full.stderr) == (2, "kcluster: cannot write the output: No space left on device\n")
    closed = shell(f"{LINT} many.kcluster >&-", tmp_path, cache)
    assert (closed.returncode, closed.stderr) == (1, ""), closed


def test_the_version_to_a_full_disk(tmp_path: Path) -> None:
    full = shell(f"'{sys.executable}' -m kcluster --version > /dev/full", tmp_path, tmp_path / "cache")
    assert (full.returncode, full.stderr) == (2, "kcluster: cannot write the output: No space left on device\n")


def test_ctrl_c(tmp_path: Path) -> None:
    """All processes of the terminal get the signal, as from a keyboard: 130, nothing said, nobody left behind."""
    write(tmp_path, **{f"s{number:04}": BAD.replace("8K", f"{number + 1}K") for number in range(1000)})
    begun = tmp_path / "cache" / "kcluster"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    child = subprocess.Popen(
        # A shell that put the tests into the background has them, and whom they start, ignore SIGINT.
        ["env", "--default-signal=INT", sys.executable, "-m", "kcluster", "lint", ".", "--jobs", "2"],
        cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 90
    while sum(path.is_file() for path in begun.rglob("*")) < 20:  # more than the one that is judged before others help
        assert child.poll() is None and time.monotonic() < deadline, child.communicate()
        time.sleep(0.01)
    os.killpg(child.pid, signal.SIGINT)
    out, err = child.communicate(timeout=90)
    assert (child.returncode, out, err) == (130, "", "")
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline + 60:
            os.killpg(child.pid, 0)
            time.sleep(0.05)
