"""Markdown of the runbook: texts of a spec as code, and commands to copy."""

from __future__ import annotations

from kcluster.targets.shell import one_line


def code(text: str) -> str:
    """A text as a code span that Markdown shows as it is, also in a table."""
    shown = one_line(text).replace("|", "\\|")
    fence = "`"
    while fence in shown:
        fence += "`"
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def block(command: str, indent: str = "") -> str:
    """A command to copy. It is one line that does not start with a fence, so that nothing in it ends the block."""
    return f"\n{indent}```sh\n{indent}{one_line(command)}\n{indent}```\n"


def step(number: int, text: str, command: str) -> str:
    """A numbered step with its command."""
    return f"\n{number}. {text}:\n{block(command, '    ')}"
