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
    # shlex leaves a leading = bare, which after a variable's own reads as a comparison.
    return f"'{text}'" if text.startswith("=") and "'" not in text else shlex.quote(text)


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


def stop_unless(condition: str, message: str, code: int = 1) -> str:
    """Lines that end the script with a message where a condition does not hold. `condition` is bash; `message` any text."""
    return f"{condition} || {{\n  echo {quote(message)} >&2\n  exit {code}\n}}\n"


def command_needed(command: str, hint: str) -> str:
    """Lines that end the script with a hint where a command is not on the PATH."""
    return stop_unless(f"command -v {quote(command)} >/dev/null", f"{command} is not on the PATH: {hint}", 127)


def bearer_key(variable: str, what: str = "the key that clients send") -> str:
    """Lines that end the script unless a variable holds a key as RFC 6750 spells it (so that it can stand in a header, and
    in a configuration, as it is); `what` is a constant of this package."""
    return required(variable, what) + stop_unless(
        f"[[ ${variable} =~ ^[A-Za-z0-9._~+/=-]+$ ]]", f"{variable} holds characters that a bearer token cannot", 2
    )


def indented(lines: str, by: str = "  ") -> str:
    """Lines of a function or branch."""
    return "".join(f"{by}{line}" for line in lines.splitlines(keepends=True))
