"""Options for what a launch command does not say. `lint` has them on every start, so nothing is imported here."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options for what a launch command does not say."""
    group = parser.add_argument_group("what a launch command does not say")
    group.add_argument(
        "--gpus", metavar="CARDS", default="", help='the cards of a node: "4 * rtx-5090", or a name alone'
    )
    group.add_argument("--bus", metavar="BUS", default="", help='how they are joined: "pcie(5, x16)"')
    group.add_argument("--network", metavar="NETWORK", default="", help='how nodes are joined: "roce(100GbE)"')
    group.add_argument("--nodes", metavar="N", type=int, default=0, help="nodes with such cards (default: 1)")
    group.add_argument("--hosts", metavar="ADDRESSES", default="", help="the nodes' addresses, separated by commas")
    group.add_argument(
        "--listen", metavar="PORT", type=int, default=0, help="put an NGINX in front that listens there (default: none)"
    )
    group.add_argument(
        "--engine-version", metavar="V", default="", help="of the engine (default: the image's, else the newest)"
    )
    group.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a variable that the text uses and does not set",
    )


def command_of(line: Sequence[str]) -> tuple[str, ...]:
    """The words behind `--` where they are a launch command and not paths."""
    words = tuple(line[line.index("--") + 1 :]) if "--" in line else ()
    return words if words and not os.path.exists(words[0]) and not words[0].endswith(".kcluster") else ()
