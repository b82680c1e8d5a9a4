"""The engine as an oracle, asked from the tests' own environment."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import define

from tests.support.needed import absent

ORACLE = Path(__file__).with_name("oracle.py")
ENGINE = Path(__file__).parents[3] / ".venv-engine"


def engine_program(name: str = "vllm") -> Path:
    """A program of the engine's environment. CI has it; where it is missing elsewhere, the test is skipped and says so."""
    found = Path(os.environ.get("KCLUSTER_ENGINE_BIN") or ENGINE / "bin") / name
    if not found.exists():
        absent(f"no {found.name} in {found.parent}: make e2e installs the engine")
    return found


@define
class Oracle:
    process: subprocess.Popen[str]
    log: Path

    def ask(self, model: dict[str, Any], *flags: str, **more: Any) -> dict[str, Any]:
        """The engine's answer to one command line (see `oracle.py`)."""
        question = json.dumps({"model": model, "flags": list(flags), **more})
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(question + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the oracle ended at {question[:2000]}: {self.log.read_text('utf-8', 'replace')[-2000:]}"
        found: dict[str, Any] = json.loads(line)
        return found


@contextlib.contextmanager
def oracle(folder: Path) -> Iterator[Oracle]:
    log = folder / "oracle.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            [str(engine_program("python")), str(ORACLE), str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )  # fmt: skip
    try:
        yield Oracle(process, log)
    finally:
        process.kill()
        process.wait()
