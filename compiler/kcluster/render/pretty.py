"""Findings for people: the place, the figures at the places that they come from, what to do, where to read more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kcluster.diagnostics import Diagnostic, Edit, Fix
from kcluster.render.excerpt import Excerpt, Mark
from kcluster.render.text import columns, cut, expand, paint, visible, wrap
from kcluster.source import Source

_MAX_FIX_LINES: Final = 6
"""Changed lines of a fix that are shown; a larger one is named only."""
_MIN_FIX: Final = 40
"""Columns that a changed line gets however narrow the terminal."""
_HOW: Final = {"safe": "kcluster lint --fix", "unsafe": "kcluster lint --unsafe-fixes", "display": ""}
_OWN_WORD: Final = "fits: "
"""A help that says what fits says so in its own word."""


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding that is not suppressed, an empty line after each."""
    return "".join(_finding(found, color, width) for found in diagnostics if not found.suppressed)


def _finding(found: Diagnostic, color: bool, width: int) -> str:
    parts = _by_file(found)
    gutter = max(len(str(_last_line(source, marks))) for source, marks in parts)
    lines = [_headline(found, color)]
    for number, (source, marks) in enumerate(parts):
        main = next((mark for mark in marks if mark.primary), marks[0])
        start = source.position(main.span.start)
        arrow = paint("-->" if number == 0 else ":::", "frame", color)
        lines.append(f"{' ' * gutter}{arrow} {visible(source.path)}:{start.line}:{start.column}")
        lines.append(paint(f"{' ' * gutter} |", "frame", color))
        lines += Excerpt(source, tuple(marks), found.severity, color, width, gutter).lines()
    remarks = [*_remarks(found, gutter, color, width)]
    if remarks:
        lines += [paint(f"{' ' * gutter} |", "frame", color), *remarks]
    return "\n".join(lines) + "\n\n"


def _headline(found: Diagnostic, color: bool) -> str:
    head = paint(f"{found.severity}[{found.code}]", found.severity, color)
    return head + paint(f": {visible(found.message)}", "bold", color)


def _by_file(found: Diagnostic) -> list[tuple[Source, list[Mark]]]:
    """The marks of a finding by file, the finding's own first."""
    parts: list[tuple[Source, list[Mark]]] = [(found.source, [Mark(found.span, found.label, True)])]
    for label in found.labels:
        source = label.source or found.source
        mark = Mark(label.span, label.text, False)
        for other, marks in parts:
            if other is source or (other.path == source.path and other.text == source.text):
                marks.append(mark)
                break
        else:
            parts.append((source, [mark]))
    return parts


def _last_line(source: Source, marks: Sequence[Mark]) -> int:
    return max(source.position(max(mark.span.start, mark.span.end - 1)).line for mark in marks)


def _remarks(found: Diagnostic, gutter: int, color: bool, width: int) -> Iterator[str]:
    """Notes, help, fixes, and where to read more."""
    for text in found.notes:
        yield from _remark("note", text, gutter, color, width)
    for text in found.help:
        own = text.startswith(_OWN_WORD)
        yield from _remark("fits" if own else "help", text.removeprefix(_OWN_WORD), gutter, color, width)
    for fix in found.fixes:
        how = f" ({_HOW[fix.safety]})" if _HOW[fix.safety] else ""
        yield from _remark("fix", fix.message + how, gutter, color, width)
        yield from _suggestion(found.source, fix, gutter, color, width)
    read = f"kcluster explain {found.code}"
    if found.figure:
        read += f" · kcluster plan --why {found.figure} {found.source.path}"
    yield f"{' ' * gutter} {paint('=', 'frame', color)} {paint('read', 'bold', color)}: {visible(read)}"


def _remark(word: str, text: str, gutter: int, color: bool, width: int) -> Iterator[str]:
    indent = gutter + 5 + len(word)
    first, *rest = wrap(text, width - indent)
    yield f"{' ' * gutter} {paint('=', 'frame', color)} {paint(word, 'bold', color)}: {first}"
    for line in rest:
        yield f"{' ' * indent}{line}".rstrip()


def _suggestion(source: Source, fix: Fix, gutter: int, color: bool, width: int) -> Iterator[str]:
    """The lines that a fix changes, before and after; of long ones, the part around the change."""
    old, new, first = changed_lines(source, fix.edits)
    if not 0 < len(old) + len(new) <= _MAX_FIX_LINES:
        return
    room = max(_MIN_FIX, width - gutter - 3)
    pairs = len(old) == len(new)
    left = [_unchanged(*pair, room) for pair in zip(old, new, strict=True)] if pairs else []
    for sign, style, lines in (("-", "removed", old), ("+", "added", new)):
        for number, line in enumerate(lines):
            text = _part(expand(line)[0], left[number] if left else 0, room)
            yield paint(f"{first + number:>{gutter}} {sign} {text}".rstrip(), style, color)


def _unchanged(old: str, new: str, room: int) -> int:
    """Columns to leave out at the left of a line so that what changes in it is seen."""
    if max(columns(expand(line)[0]) for line in (old, new)) <= room:
        return 0
    same = next(
        (at for at, pair in enumerate(zip(old, new, strict=False)) if pair[0] != pair[1]), min(len(old), len(new))
    )
    before = columns(expand(old[:same])[0])
    return 0 if before < room // 2 else before - room // 4


def _part(text: str, left: int, room: int) -> str:
    """The columns of a shown line from `left` on that there is room for, with `…` where it goes on."""
    whole = columns(text)
    if left:
        text = "…" + cut(text, left + 1, whole)
    return text if columns(text) <= room else cut(text, 0, room - 1) + "…"


def changed_lines(source: Source, edits: Sequence[Edit]) -> tuple[list[str], list[str], int]:
    """The lines that edits change, before and after, and the number of the first one."""
    if not edits:
        return [], [], 1
    first = source.position(min(edit.span.start for edit in edits)).line
    last = source.position(max(edit.span.end for edit in edits)).line
    start = source.offset(first, 1)
    end = source.offset(last, 1) + len(source.line(last))
    text = source.text[start:end]
    for edit in sorted(edits, key=lambda one: (one.span.start, one.span.end), reverse=True):
        text = text[: edit.span.start - start] + edit.text + text[edit.span.end - start :]
    old = [line.rstrip("\r") for line in source.text[start:end].split("\n")]
    new = [line.rstrip("\r") for line in text.split("\n")]
    while old and new and old[0] == new[0]:
        del old[0], new[0]
        first += 1
    while old and new and old[-1] == new[-1]:
        del old[-1], new[-1]
    return old, new, first
