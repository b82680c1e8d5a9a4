from __future__ import annotations

from pathlib import Path

import pytest

from .inprocess import Cli


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """The command line in an empty folder that is the root of a project, with an empty cache."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "kcluster.toml").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Cli(folder, monkeypatch, capsys)
