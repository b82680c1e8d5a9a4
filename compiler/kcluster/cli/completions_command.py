"""Print the completions of a shell, for its start-up file:

bash   eval "$(kcluster completions bash)"
zsh    kcluster completions zsh > "${fpath[1]}/_kcluster"
fish   kcluster completions fish > ~/.config/fish/completions/kcluster.fish
"""

from __future__ import annotations

import argparse
from pathlib import Path

from kcluster.cli.common import OK, say


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def run(arguments: argparse.Namespace) -> int:
    say((Path(__file__).parent / "completions" / f"kcluster.{arguments.shell}").read_text("utf-8").rstrip("\n"))
    return OK
