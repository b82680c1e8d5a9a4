"""Texts in unit files: a word of a command, and the rest of a line."""

from __future__ import annotations

from kcluster.targets.shell import one_line


def word(text: str) -> str:
    """A text as one argument of an `Exec…=` line, in which systemd replaces neither specifiers nor variables.

    Raises:
        ValueError: the text holds a control character, which a unit cannot; the spec's types keep such text out before.
    """
    return '"' + _escaped(text).replace("$", "$$") + '"'


def item(text: str) -> str:
    """A text as one item of a list of paths or assignments, or as the program of an `Exec…=` line: in these specifiers are
    replaced and variables are not.

    Raises:
        ValueError: as `word`.
    """
    return '"' + _escaped(text) + '"'


def line(text: str) -> str:
    """A text as the whole value of a directive that people read. A backslash at its end would take the next line in."""
    return one_line(text).replace("%", "%%").replace("\\", "\N{SET MINUS}")


def _escaped(text: str) -> str:
    if any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError(f"not a text that a unit can hold: {text!r}")
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
