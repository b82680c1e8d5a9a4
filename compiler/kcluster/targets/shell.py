"""Bash: quoting, comments, and the pieces that several scripts share.

Every text of a spec that reaches a script goes through `quote` (a word) or `one_line` (a comment); both are shown to be inert
by executing them.
"""

from __future__ import annotations

import shlex
from typing import Final

SHEBANG: Final = "#!/usr/bin/env bash\n"
STRICT: Final = "set -euo pipefail\n"


def quote(text: str) -> str:
    """A text as one word of bash that expands to exactly that text.

    Raises:
        ValueError: the text holds a NUL, which no word can hold; the spec's strings cannot.
    """
    if "\0" in text:
        raise ValueError("a NUL cannot be written in bash")
    return shlex.quote(text)


def one_line(text: str) -> str:
    """A text for a comment: one line, with control and invisible characters made visible."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def variable_name(text: str) -> bool:
    """Whether bash can export a variable of that name."""
    return text.isascii() and text.isidentifier()


def required(variable: str, what: str) -> str:
    """A line that stops the script where a variable is unset or empty; `what` is a constant of this package."""
    if not variable_name(variable):
        raise ValueError(f"not a variable that bash can read: {variable!r}")
    return f': "${{{variable}:?set {variable} to {what}}}"\n'


def command_needed(command: str, hint: str) -> str:
    """A line that stops the script with a hint where a command is not on the PATH; both constants of this package."""
    return f"command -v {command} >/dev/null || {{ echo {quote(f'{command} is not on the PATH: {hint}')} >&2; exit 127; }}\n"
