"""Lines of a formatted spec, and their alignment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from kcluster.values import evolve, frozen

COMMENT_COLUMN: Final = 32
"""Blanks and text before the comments at the end of a run of lines, unless one of the lines is longer."""

_INDENT: Final = 2


@frozen
class Line:
    """One line: its depth, its text or, for an attribute, key, operator and the text of the value, and its comment.

    A line that is `alone` (a block's head or brace, a value of several lines) is aligned with no other.
    """

    depth: int
    text: str
    key: str = ""
    operator: str = ""
    comment: str = ""
    blank_before: bool = False
    alone: bool = False
    is_comment: bool = False

    @property
    def whole(self) -> str:
        """The line without indentation and comment."""
        return f"{self.key} {self.operator} {self.text}" if self.operator else self.text


def lay_out(lines: Sequence[Line]) -> str:
    """The text of the lines, with `=` and trailing comments aligned."""
    out = []
    for line in _aligned_comments(_aligned_keys(lines)):
        if line.blank_before:
            out.append("")
        out.append(" " * (line.depth * _INDENT) + line.text)
    return "".join(line.rstrip() + "\n" for line in out)


def _aligned_keys(lines: Sequence[Line]) -> Iterator[Line]:
    """Keys of a run padded to one width, the keys then being part of the text. A run ends at an empty line, at a block, and
    where bounds follow values; bounds whose names are no longer than those above them keep their column."""
    above = 0
    for run in _runs(lines, _same_alignment):
        aligned = [line for line in run if line.operator and not line.alone]
        width = max((len(line.key) for line in aligned), default=0)
        is_apart = run[0].blank_before or run[0].operator == "="
        if not is_apart and width <= above:
            width = above
        for line in run:
            if not line.operator:
                yield line
                continue
            key = line.key if line.alone else line.key.ljust(width)
            yield evolve(line, text=f"{key} {line.operator} {line.text}")
        above = width if aligned and run[-1] is aligned[-1] else 0


def _same_alignment(last: Line, line: Line) -> bool:
    return last.depth == line.depth and bool(last.operator) and (last.operator == "=") == (line.operator == "=")


def _aligned_comments(lines: Iterable[Line]) -> Iterator[Line]:
    for run in _runs(list(lines), lambda last, line: last.depth == line.depth):
        with_comment = [line.depth * _INDENT + len(line.text) for line in run if line.comment and not line.alone]
        column = max(COMMENT_COLUMN, max(with_comment, default=0) + 2)
        for line in run:
            if not line.comment:
                yield line
            elif line.alone:
                yield evolve(line, text=f"{line.text}  {line.comment}")
            else:
                yield evolve(line, text=f"{line.text.ljust(column - line.depth * _INDENT)}{line.comment}")


def _runs(lines: Sequence[Line], together: Callable[[Line, Line], bool]) -> Iterator[list[Line]]:
    """Runs of lines; comments on lines of their own do not end one."""
    run: list[Line] = []
    last: Line | None = None
    for line in lines:
        if line.is_comment and not line.blank_before:
            run.append(line)
            continue
        joins = last is not None and not (last.alone or line.alone or line.blank_before) and together(last, line)
        if run and not joins and not (last is None and not line.blank_before):
            yield run
            run = []
        run.append(line)
        last = None if line.is_comment else line
    if run:
        yield run
