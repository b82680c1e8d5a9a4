"""`python -m kcluster` and the console script. Asking for the version costs no more than it must."""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_OBJECTS_BETWEEN_COLLECTIONS = 2_000_000
"""Python's own 700 has a lint search for cycles dozens of times, over modules and tables that all stay; 50,000 took a tenth of the
time of many specs. A spec leaves 14 KB in cycles."""
_IN_A_SESSION = 50_000
"""The same for a process that stays."""


def main() -> int:
    """Run the command line on `sys.argv`; gives the exit code."""
    arguments = sys.argv[1:]
    if arguments in (["--version"], ["-V"]):
        from kcluster.version import VERSION

        sys.stdout.write(f"kcluster {VERSION}\n")
        return 0
    if arguments[:1] == ["lint"]:
        from kcluster.cli.recall import recall

        code = recall(arguments)
        if code is not None:
            return code
    from kcluster.cli.main import run

    return run(arguments)


def program() -> NoReturn:
    """`main` as a process of its own, which ends without taking its modules and values apart one by one: the operating system
    frees them at once, and what is left to do is to write out what was said. (Taking apart cost two bare interpreters.)"""
    gc.set_threshold(_IN_A_SESSION if sys.argv[1:2] == ["lsp"] else _OBJECTS_BETWEEN_COLLECTIONS)
    if sys.stdout is None or sys.stderr is None:  # closed by who started it: what is said goes nowhere
        nothing = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        sys.stdout, sys.stderr = sys.stdout or nothing, sys.stderr or nothing
    try:
        code = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = 130
    except OSError as error:
        from kcluster.cli.recall import lost

        code = lost(error)
    if sys.argv[1:2] == ["lsp"] or sys.gettrace() is not None or sys.getprofile() is not None:
        sys.exit(code)  # what has threads, or is watched, ends as the interpreter does it
    try:
        sys.stderr.flush()
    finally:
        os._exit(code)


if __name__ == "__main__":
    program()
