"""Running the command line in this process, as a person would type it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kcluster.cli.main import run

ROOT = Path(__file__).parents[2]
SPECS = ROOT / "specs"

SOUND = """\
model llama { id = "meta-llama/Llama-3.1-8B-Instruct", weights = bf16 }
hardware box { gpus = 1 * l40s, hosts = ["10.0.0.1"] }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
serve chat {
  model = llama, hardware = box, sla = team
  engine vllm { api_key = env("VLLM_API_KEY") }
}
"""
MISSPELT = SOUND.replace("concurrency", "concurency")
"""KC102, with a safe fix."""
WARNED = SOUND.replace("concurrency = 8, context = 8K", "concurrency = 400, context = 8K")
"""KC203 on the line of `sla`."""


class Cli:
    """A folder, and the command line run in it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.capture = capture
        self.out = self.err = ""
        monkeypatch.chdir(folder)

    def write(self, **files: str) -> None:
        """Specs by the names of their files, without the suffix."""
        for name, text in files.items():
            (self.folder / f"{name}.kcluster").write_text(text, encoding="utf-8")

    def run(self, *arguments: str) -> int:
        self.capture.readouterr()
        try:
            code = run(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        self.out, self.err = self.capture.readouterr()
        return code


def command(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """The command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "kcluster", *map(str, arguments)],
        cwd=cwd, input=data, capture_output=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT / "compiler"), **(env or {})},
    )  # fmt: skip
