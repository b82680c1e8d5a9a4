"""The front door: finds the command, imports only its module, and turns what escapes it into an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from errno import EDQUOT, EFBIG, EIO, ENOSPC, EPIPE
from importlib import import_module
from typing import Final

from kcluster.cli.common import FAULT, USAGE, UsageError, complain
from kcluster.cli.recall import lost

COMMANDS: Final[dict[str, str]] = {
    "init": "write a first spec from a few answers",
    "lint": "report every finding of specs",
    "fmt": "bring specs into canonical layout",
    "plan": "show the chosen cut, and why",
    "compile": "write the files that start the cluster",
    "diff": "show what a change of a spec changes",
    "import": "write a spec from a launch command, script or manifest",
    "verify": "hold a plan against a real engine's log or metrics",
    "explain": "print the page of a rule",
    "inspect": "show what is known of a model, a GPU or a link",
    "catalog": "list what is built in",
    "lsp": "serve an editor (needs kcluster[lsp])",
    "completions": "print the completions of a shell",
}

_NO_READER: Final = (EPIPE, ENOSPC, EDQUOT, EFBIG, EIO)
"""What writing to a stream fails with when its reader has gone, or its disk is full."""


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse makes one to check each option, and each asks for the terminal's width by way of shutil and the compressors that it
    imports; here it is asked for when there is help to print."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=100)

    def format_help(self) -> str:
        from shutil import get_terminal_size

        self._width = get_terminal_size().columns - 2
        return super().format_help()

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        from textwrap import fill

        paragraphs = text.strip().split("\n\n")
        return "\n\n".join(
            one if "  " in one else fill(one, width, break_on_hyphens=False) for one in paragraphs
        )  # columns stay as they are


def _usage() -> str:
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
    return (
        "usage: kcluster COMMAND [OPTIONS] PATH…\n\n"
        "A compiler and linter for LLM inference clusters.\n\n"
        f"commands:\n{rows}\n\n"
        "A PATH is a file, a folder (every *.kcluster below it) or - for standard input.\n"
        "kcluster COMMAND --help says more; kcluster --version the version.\n"
        "exit codes: 0 fine, 1 findings, 2 wrong usage or unreadable input, 3 an internal fault\n"
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line; gives the exit code."""
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        sys.stdout.write(_usage())
        return 0 if arguments else USAGE
    name, *rest = arguments
    if name not in COMMANDS:
        from difflib import get_close_matches

        near = get_close_matches(name, COMMANDS, 1)
        complain(
            f"there is no command `{name}`; " + (f"did you mean `{near[0]}`?" if near else "kcluster --help lists them")
        )
        return USAGE
    module = import_module(f"kcluster.cli.{name}_command")
    parser = argparse.ArgumentParser(prog=f"kcluster {name}", description=module.__doc__, formatter_class=_Formatter)
    module.configure(parser)
    try:
        known = parser.parse_args(rest)
        known.line = tuple(arguments)
        code = int(module.run(known))
        sys.stdout.flush()
        return code
    except UsageError as error:
        complain(str(error))
        return USAGE
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_READER:
            return lost(error)
        _report_fault(arguments)
        return FAULT


def _report_fault(arguments: Sequence[str]) -> None:
    import traceback

    from kcluster.version import VERSION

    complain("internal fault: this is a mistake in kcluster, not in your spec")
    sys.stderr.write(
        f"kcluster {VERSION} on Python {sys.version.split()[0]}, command: {' '.join(arguments)}\n"
        "Please report it with the lines below and, if you may, the spec.\n\n"
    )
    traceback.print_exc()
