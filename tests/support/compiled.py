"""Small real specs for tests of targets: compiled by the whole pipeline, on addresses of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import kcluster
from kcluster.targets.types import Artifact


def two_replicas(port: int, router: str = "", *, engine: str = "", name: str = "chat", extra: str = "") -> str:
    """A spec of two replicas on this machine at `port` and `port + 1`, behind a router."""
    return f"""
model m {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
hardware h {{
  gpus  = 2 * rtx-5090
  hosts = ["127.0.0.1"]
}}
sla s {{ concurrency = 16, context = 4K, prompt = 1K, completion = 200 }}
serve {name} {{
  model = m
  hardware = h
  sla = s
  parallel {{ replicas = 2, tp = 1, pp = 1 }}
  engine vllm {{
    port = {port}
    {engine}
  }}
  {router}
}}
{extra}
"""


def compiled(spec: str) -> dict[str, Artifact]:
    """The artifacts of a spec by path."""
    return {artifact.path: artifact for artifact in kcluster.compile_(spec, path="test.kcluster")}


def written(spec: str, folder: Path) -> Path:
    """The artifacts of a spec in a folder, programs executable."""
    return written_to(folder, compiled(spec).values())


def written_to(folder: Path, artifacts: Iterable[Artifact]) -> Path:
    """Artifacts in a folder, programs executable."""
    for artifact in artifacts:
        place = folder / artifact.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(artifact.text)
        place.chmod(0o755 if artifact.executable else 0o644)
    return folder


def tool(name: str, package: str) -> str:
    """The path of a program that a test needs. In CI a missing one fails; elsewhere the test is skipped with the reason."""
    import shutil

    from tests.support.needed import absent

    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/local/sbin")
    if found is None:
        absent(f"{name} is not installed (Debian package {package}; `make test` installs it where root)")
    return found


def venv_tool(name: str) -> str:
    """The path of a program that comes with the development environment. In CI a missing one fails."""
    import sys

    from tests.support.needed import absent

    found = Path(sys.executable).parent / name
    if not found.exists():
        absent(f"{name} is not in the development environment")
    return str(found)
