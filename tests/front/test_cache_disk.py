"""The cache where others write at the same time, and where the disk does not let it: an answer is the right one or none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .inprocess import MISSPELT, ROOT, Cli

WRITER = """
import sys
from kcluster.cache import Cache
from kcluster.reads import Reads
cache, own, found = Cache(sys.argv[1]), int(sys.argv[2]), 0
keys = [cache.key("shared", str(number)) for number in range(4)]
for round_ in range(250):
    cache.put(keys[round_ % 4], Reads(), bytes([own]) * (5000 * own + round_))
    for key in keys:
        kept = cache.get(key)
        if kept is not None:
            result = kept[0]
            size = len(result) - 5000 * result[0]
            assert result == bytes([result[0]]) * len(result) and 0 <= size < 250, "parts of two answers"
            found += 1
print(found)
"""


def test_writers_at_the_same_time_leave_whole_answers(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "compiler")}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder), str(own)], env=env, stdout=subprocess.PIPE, text=True
        )
        for own in (1, 2, 3)
    ]
    said = [writer.communicate(timeout=120)[0] for writer in writers]
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert all(int(found) > 100 for found in said), said
    assert len([path for path in folder.rglob("*") if path.is_file()]) == 4, "nothing half-written is left"


def test_a_full_disk_costs_the_cache_and_nothing_else(cli: Cli, tmp_path: Path) -> None:
    """A limit on the size of files, since a test has no disk to fill: an entry begins to be written and cannot be finished."""
    cli.write(**{f"s{number}": MISSPELT.replace("8K", f"{number + 1}K") for number in range(3)})
    cache = tmp_path / "cache"
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "compiler"), "XDG_CACHE_HOME": str(cache)}
    line = f"'{sys.executable}' -m kcluster lint . --format concise"
    said = [
        subprocess.run(
            ["bash", "-c", limit + line], cwd=cli.folder, env=env, capture_output=True, text=True, timeout=120, check=False
        )
        for limit in ("ulimit -f 0; ", "ulimit -f 0; ", "")
    ]  # fmt: skip
    assert [(done.returncode, done.stdout, done.stderr) for done in said[:2]] == [(1, said[2].stdout, "")] * 2
    assert said[2].stdout.count("KC102") == 3
    kept = [path for path in cache.rglob("*") if path.is_file()]
    assert len(kept) == 4, "three specs and what was said; of the limited runs nothing"


def test_a_home_that_cannot_be_written_is_no_failure(cli: Cli, tmp_path: Path) -> None:
    cli.write(a=MISSPELT)
    (tmp_path / "file").write_text("")
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "compiler")}
    for home in (tmp_path / "file", Path("/proc"), tmp_path / "none" / "such"):
        done = subprocess.run(
            [sys.executable, "-m", "kcluster", "lint", "a.kcluster", "--format", "concise"],
            cwd=cli.folder, env={**env, "HOME": str(home)}, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 1 and "KC102" in done.stdout and done.stderr == "", (home, done)
