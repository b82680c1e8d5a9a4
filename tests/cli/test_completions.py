"""Shell completions: made from the commands' own parsers, and taken by a real bash."""

from __future__ import annotations

import subprocess

import pytest

from kcluster.cli.completing import FOLDER, SHELLS, written
from kcluster.cli.main import COMMANDS, run


@pytest.mark.parametrize("shell", SHELLS)
def test_they_are_fresh_and_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = (FOLDER / f"kcluster.{shell}").read_text("utf-8")
    assert text == written(shell), "make gen"
    assert run(["completions", shell]) == 0
    assert capsys.readouterr().out == text


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["kcluster", ""], set(COMMANDS)),
        (["kcluster", "lint", "--format", ""], {"sarif", "pretty", "github"}),
        (["kcluster", "lint", "--un"], {"--unsafe-fixes"}),
    ],
)
def test_bash_offers_them(words: list[str], wanted: set[str]) -> None:
    script = (
        f'. "{FOLDER / "kcluster.bash"}"\nCOMP_WORDS=("$@")\nCOMP_CWORD=$(($# - 1))\n_shtab_kcluster\n'
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script, "bash", *words], capture_output=True, text=True, check=True)
    assert wanted <= set(done.stdout.split())
