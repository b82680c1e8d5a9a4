"""Writes the shell completions that `kcluster completions` prints: `python -m kcluster.cli.completing`, by `make gen`.

They are made from the parsers of all commands by shtab, which the product itself does not need.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path
from typing import Final

from kcluster.cli.main import COMMANDS

SHELLS: Final = ("bash", "zsh", "fish")
FOLDER: Final = Path(__file__).parent / "completions"
_FILES: Final = ("paths", "spec", "path", "file", "baseline", "output", "log", "metrics", "html")
"""Arguments that name files."""


def parser() -> argparse.ArgumentParser:
    """All commands in one parser."""
    whole = argparse.ArgumentParser("kcluster", description="A compiler and linter for LLM inference clusters.")
    whole.add_argument("--version", action="store_true", help="the version")
    commands = whole.add_subparsers(dest="command")
    for name, summary in COMMANDS.items():
        module = import_module(f"kcluster.cli.{name}_command")
        module.configure(commands.add_parser(name, help=summary, description=summary))
    return whole


def written(shell: str) -> str:
    """The completions of a shell, as text."""
    import shtab

    whole = parser()
    for action in whole._actions:
        for inner in (action.choices or {}).values() if isinstance(action.choices, dict) else ():
            for one in inner._actions:
                if one.dest in _FILES:
                    one.complete = shtab.FILE
    text = shtab.complete(whole, shell)
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip() + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for shell in SHELLS:
        (FOLDER / f"kcluster.{shell}").write_text(written(shell), "utf-8")
