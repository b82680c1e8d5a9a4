"""The README shows what really happens: its example is a file of specs/, its outputs are run and compared.

`KCLUSTER_UPDATE_README=1 pytest tests/test_readme.py` rewrites the outputs (`make update` does)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"<!-- (file|run): (.+?) -->\n```(\w*)\n(.*?)```", re.DOTALL)


@pytest.fixture(scope="module")
def path_with_kcluster(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which `kcluster` is this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "kcluster"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}/compiler" exec "{sys.executable}" -m kcluster "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def output(kind: str, what: str, path: str, tmp_path: Path) -> str:
    if kind == "file":
        return (ROOT / what).read_text()
    work = tmp_path / "work"
    if not work.exists():
        work.mkdir()
        (work / "specs").symlink_to(ROOT / "specs")
    done = subprocess.run(
        ["bash", "-c", what],
        cwd=work,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"


def test_the_readme_shows_what_happens(path_with_kcluster: str, tmp_path: Path) -> None:
    text = README.read_text()
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) >= 4
    fresh = BLOCK.sub(
        lambda b: f"<!-- {b[1]}: {b[2]} -->\n```{b[3]}\n{output(b[1], b[2], path_with_kcluster, tmp_path)}```", text
    )
    if os.environ.get("KCLUSTER_UPDATE_README"):
        README.write_text(fresh)
    else:
        assert fresh == text, (
            "the README shows something else than what happens: `make update`, and read the difference"
        )


def test_the_commands_that_the_readme_names_work(path_with_kcluster: str) -> None:
    """Those that change nothing: each runs as it stands."""
    # The lines of a new user's path write files, and tests/packaging/test_new_user.py runs them.
    text = re.sub(r"<!-- path: .+? -->\n```sh\n.*?```", "", README.read_text(), flags=re.DOTALL)
    commands = [line.partition("#")[0].strip() for line in text.splitlines() if line.startswith("kcluster ")]
    tried = [command for command in commands if not command.startswith(("kcluster fmt", "kcluster init"))]
    assert len(tried) >= 6
    for command in tried:
        done = subprocess.run(
            ["bash", "-c", command], cwd=ROOT, env={**os.environ, "PATH": path_with_kcluster},
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
        assert done.returncode in (0, 1), f"{command}: {done.stderr}"
        assert done.stdout, command
        assert "Traceback" not in done.stderr
