"""Running the command line in a process of its own, and small projects to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "compiler"

GOOD = """model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware box { gpus = 1 * l40s }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
"""
BAD = GOOD.replace("concurrency = 8", "concurency = 8")
"""KC102, with a safe fix."""


@frozen
class Ran:
    code: int
    out: str
    err: str


def kcluster(*arguments: str, at: Path, stdin: bytes = b"", env: dict[str, str] | None = None) -> Ran:
    """One command line in a folder. It keeps nothing unless `env` names a cache folder."""
    whole = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PACKAGE),
        "PYTHONHASHSEED": "random",
        **(env or {}),
    }
    done = subprocess.run(
        [sys.executable, "-m", "kcluster", *arguments],
        cwd=at, input=stdin, env=whole, capture_output=True, timeout=120, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())


def write(folder: Path, **files: str) -> Path:
    """Specs of a folder: `a="…"` is `a.kcluster`."""
    for name, text in files.items():
        (folder / f"{name}.kcluster").write_text(text, encoding="utf-8", newline="")
    return folder
