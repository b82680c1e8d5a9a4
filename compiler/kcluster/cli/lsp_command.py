"""Serve an editor over standard input and output (the language server protocol). Needs the extra `kcluster[lsp]`."""

from __future__ import annotations

import argparse
import os

from kcluster.cli.common import OK, UsageError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stdio", action="store_true", help="accepted from editors that pass it; there is no other way"
    )


def run(arguments: argparse.Namespace) -> int:
    try:
        import pygls  # noqa: F401
    except ImportError:
        raise UsageError('the language server needs an extra: pip install "kcluster[lsp]"') from None
    from kcluster.lsp.server import make_server

    # The server closes what it speaks over; the interpreter's own streams stay open for its end.
    with os.fdopen(os.dup(0), "rb") as asked, os.fdopen(os.dup(1), "wb") as said:
        make_server().start_io(asked, said)
    return OK
