"""`python -m kcluster` and the console script. Asking for the version costs no more than it must."""

from __future__ import annotations

import sys


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


if __name__ == "__main__":
    sys.exit(main())
