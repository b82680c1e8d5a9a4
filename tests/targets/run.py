"""Running emitted scripts with stand-ins for the programs that they become."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from attrs import frozen

STAND_IN = """#!/bin/bash
printf '%s\\0' "$@" >"$KCLUSTER_TEST_OUT/argv"
env -0 >"$KCLUSTER_TEST_OUT/env"
"""


@frozen
class Ran:
    """How a script ended, and what the program that it became was given (empty where it never got there)."""

    code: int
    stderr: str
    argv: list[str]
    env: dict[str, str]


def run(text: str, folder: Path, **environment: str) -> Ran:
    """Run a script in an empty folder, with `vllm` and `ray` that only write down what they are given."""
    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    for name in ("vllm", "ray"):
        (bin_folder / name).write_text(STAND_IN)
        (bin_folder / name).chmod(0o755)
    for name in ("argv", "env"):
        (folder / name).unlink(missing_ok=True)
    (folder / "script.sh").write_text(text)
    ended = subprocess.run(
        ["bash", str(folder / "script.sh")],
        cwd=folder,
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}", "KCLUSTER_TEST_OUT": str(folder), **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=60,
    )
    argv = (folder / "argv").read_bytes().decode().split("\0")[:-1] if (folder / "argv").exists() else []
    pairs = (folder / "env").read_bytes().decode().split("\0")[:-1] if (folder / "env").exists() else []
    return Ran(ended.returncode, ended.stderr, argv, dict(pair.split("=", 1) for pair in pairs))


HOSTILE = (
    "plain",
    "two words",
    "it's",
    'a"quote',
    "$(touch canary)",
    "`touch canary`",
    "${HOME}",
    "a; touch canary",
    "a && touch canary",
    "a\ntouch canary\n",
    "a\rtouch canary",
    "| touch canary",
    "> canary",
    "{a,b}",
    "*",
    "~",
    "#comment",
    "back\\slash",
    "\\$(touch canary)",
    "'; touch canary; '",
    '"; touch canary; "',
    "'\"$(touch canary)\"'",
    "%s%n",
    "é…🦙",
    "\u202eevil\u200b",
    "<!-- --> <script>",
    "\t",
    "=eth0",
    "=it's",
    "",
)
"""Texts that would do something where they are not quoted; each touches a file called canary."""
