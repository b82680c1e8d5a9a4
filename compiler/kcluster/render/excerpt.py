"""Source lines with marks below them, as a compiler shows them.

    13 |   gpus  = 4 * rtx-5090
       |           ------------ what this one adds
    ...
    24 |     max_model_len = 128K
       |     ^^^^^^^^^^^^^^^^^^^^ what is wrong here

One `Excerpt` is one file's part of one finding. Marks of one line share a row; their texts stand behind the last one and
below the others. A span of several lines is drawn at the left, each in a lane of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from kcluster.render.text import columns, cut, expand, paint, wrap
from kcluster.source import Source, Span
from kcluster.values import field, frozen

_SHOWN_ENDS: Final = 2
"""Lines shown at either end of a span of many lines."""
_MIN_TEXT: Final = 40
"""Columns that a source line gets however narrow the terminal."""
_MIN_LABEL: Final = 24
_LEAD: Final = 12
"""Columns kept before the first mark of a line that is cut off at its left."""


@frozen
class Mark:
    """A span to mark, with its text. Primary marks are `^`, others `-`."""

    span: Span
    text: str
    primary: bool

    @property
    def sign(self) -> str:
        return "^" if self.primary else "-"


@frozen
class _Single:
    """A mark within one line, in columns of the line as shown."""

    start: int
    end: int
    mark: Mark


@frozen
class _Multi:
    """A mark over several lines: its lines, the columns of its first and last character, and its lane."""

    first: int
    last: int
    start: int
    end: int
    mark: Mark
    lane: int = 0
    from_margin: bool = False
    """Whether nothing stands before it on its first line, so that the lane may begin there."""


class _Row:
    """One line to be drawn: characters with a style each, put in anywhere."""

    def __init__(self) -> None:
        self._cells: list[tuple[str, str]] = []

    def put(self, column: int, text: str, style: str = "", *, over: bool = True) -> None:
        while len(self._cells) < column + len(text):
            self._cells.append((" ", ""))
        for at, character in enumerate(text, start=column):
            if over or self._cells[at][0] == " ":
                self._cells[at] = (character, style)

    def drawn(self, color: bool) -> str:
        pieces: list[str] = []
        at = 0
        while at < len(self._cells):
            style = self._cells[at][1]
            end = at
            while end < len(self._cells) and self._cells[end][1] == style:
                end += 1
            pieces.append(paint("".join(character for character, _ in self._cells[at:end]), style, color))
            at = end
        return "".join(pieces).rstrip()


@frozen
class Excerpt:
    """The lines of one file that a finding shows."""

    source: Source
    marks: tuple[Mark, ...]
    severity: str
    color: bool
    width: int
    gutter: int
    _multis: tuple[_Multi, ...] = field(init=False)
    _singles: dict[int, list[_Single]] = field(init=False)

    def __attrs_post_init__(self) -> None:
        multis: list[_Multi] = []
        singles: dict[int, list[_Single]] = {}
        for mark in self.marks:
            first, last = _lines_of(self.source, mark.span)
            if first == last:
                singles.setdefault(first, []).append(self._single(mark, first))
            else:
                multis.append(self._multi(mark, first, last))
        object.__setattr__(self, "_multis", _in_lanes(multis))
        object.__setattr__(self, "_singles", singles)

    def lines(self) -> Iterator[str]:
        """The excerpt, line by line, without the frame above and below."""
        numbers = self._shown_lines()
        before = 0
        for number in numbers:
            if before and number == before + 2:
                yield from self._source_line(before + 1)
            elif before and number > before + 1:
                yield self._gap(before)
            yield from self._source_line(number)
            yield from self._below(number)
            before = number

    @property
    def _lanes(self) -> int:
        return max((multi.lane + 1 for multi in self._multis), default=0)

    # Where things stand

    def _single(self, mark: Mark, line: int) -> _Single:
        _, starts = expand(self.source.line(line))
        start = starts[self._index(mark.span.start, len(starts))]
        end = starts[self._index(mark.span.end, len(starts), line)]
        return _Single(start, max(end, start + 1), mark)

    def _multi(self, mark: Mark, first: int, last: int) -> _Multi:
        text, starts = expand(self.source.line(first))
        start = starts[self._index(mark.span.start, len(starts))]
        _, end_starts = expand(self.source.line(last))
        end = end_starts[self._index(mark.span.end, len(end_starts), last)]
        return _Multi(first, last, start, max(end - 1, 0), mark, from_margin=not text[:start].strip())

    def _index(self, offset: int, length: int, line: int | None = None) -> int:
        """An offset as an index into its line; the end of a span may lie on the line after."""
        position = self.source.position(offset)
        if line is not None and position.line > line:
            return length - 1
        return min(position.column - 1, length - 1)

    def _shown_lines(self) -> list[int]:
        shown = set(self._singles)
        for multi in self._multis:
            if multi.last - multi.first <= 2 * _SHOWN_ENDS:
                shown.update(range(multi.first, multi.last + 1))
            else:
                shown.update(range(multi.first, multi.first + _SHOWN_ENDS))
                shown.update(range(multi.last - _SHOWN_ENDS + 1, multi.last + 1))
        return sorted(shown)

    # Drawing

    def _frame(self, number: str) -> str:
        return paint(f"{number:>{self.gutter}} |", "frame", self.color)

    def _gap(self, after: int) -> str:
        row = _Row()
        for multi in self._multis:
            if multi.first <= after < multi.last:
                row.put(2 * multi.lane, "|", self._style(multi.mark))
        drawn = row.drawn(self.color)
        dots = paint("...", "frame", self.color)
        return f"{dots}{' ' * max(0, self.gutter)}{drawn}".rstrip() if drawn else dots

    def _style(self, mark: Mark) -> str:
        return self.severity if mark.primary else "frame"

    def _room(self) -> int:
        """Columns for source text."""
        return max(_MIN_TEXT, self.width - self.gutter - 3 - 2 * self._lanes)

    def _left_of(self, number: int) -> int:
        """How many columns of a long line are cut off at its left, so that its marks are seen."""
        text, _ = expand(self.source.line(number))
        if columns(text) <= self._room():
            return 0
        singles = self._singles.get(number, ())
        starts = [(single.mark.primary, single.start) for single in singles]
        starts += [(multi.mark.primary, multi.start) for multi in self._multis if multi.first == number]
        starts += [(multi.mark.primary, multi.end) for multi in self._multis if multi.last == number]
        # What is wrong comes into sight, whatever else is marked on the line.
        own = [start for primary, start in starts if primary] or [start for _, start in starts]
        first = min(own, default=0)
        return 0 if first + _LEAD < self._room() else first - _LEAD

    def _seen(self, number: int) -> list[_Single]:
        """The marks within a line as far as they are in sight; of one out of sight, the sign at the end that it lies beyond."""
        text, _ = expand(self.source.line(number))
        left, room = self._left_of(number), self._room()
        whole = columns(text)
        if not left and whole <= room:
            return self._singles.get(number, [])
        last = min(left + room, whole + 1) - 1
        seen = []
        for single in self._singles.get(number, ()):
            start = min(max(single.start, left), last)
            seen.append(_Single(start, max(start + 1, min(single.end, last + 1)), single.mark))
        return seen

    def _source_line(self, number: int) -> Iterator[str]:
        row = _Row()
        for multi in self._multis:
            if multi.first == number and multi.from_margin:
                row.put(2 * multi.lane, "/", self._style(multi.mark))
            elif multi.first < number <= multi.last:
                row.put(2 * multi.lane, "|", self._style(multi.mark))
        text, _ = expand(self.source.line(number))
        left, room = self._left_of(number), self._room()
        whole = columns(text)
        text = cut(text, left, left + room) if left or whole > room else text
        if left:
            text = "…" + cut(text, 1, room)
        if whole > left + room:
            text = cut(text, 0, room - 1) + "…"
        lanes = row.drawn(self.color)
        pad = " " * (2 * self._lanes - len(_plain(row)))
        yield f"{self._frame(str(number))} {lanes}{pad}{text}".rstrip()

    def _below(self, number: int) -> Iterator[str]:
        """The rows of marks below a line."""
        yield from self._single_rows(number)
        for multi in self._multis:
            if multi.first == number and not multi.from_margin:
                yield self._turn(number, multi, multi.start, "")
        for multi in self._multis:
            if multi.last == number:
                yield self._turn(number, multi, multi.end, multi.mark.text)

    def _lane_row(self, number: int, turning: _Multi | None = None) -> _Row:
        """A row with the lanes that run past the marks of a line."""
        row = _Row()
        for multi in self._multis:
            goes_on = multi.first < number < multi.last or (multi.first == number and multi.from_margin)
            if turning is not None:
                begun = multi.first == number and (multi.from_margin or self._order(multi) < self._order(turning))
                ends_later = multi.last == number and self._order(multi) > self._order(turning)
                goes_on = multi.first < number < multi.last or begun or (ends_later and multi.first < number)
            elif multi.last == number:
                goes_on = True
            if goes_on:
                row.put(2 * multi.lane, "|", self._style(multi.mark))
        return row

    def _order(self, multi: _Multi) -> int:
        return self._multis.index(multi)

    def _turn(self, number: int, multi: _Multi, column: int, text: str) -> str:
        """The row on which a lane turns to the character where its span begins or ends."""
        row = self._lane_row(number, multi)
        style = self._style(multi.mark)
        at = 2 * self._lanes + min(max(0, column - self._left_of(number)), self._room() - 1)
        begins = multi.first == number
        row.put(2 * multi.lane, " " if begins else "|", style)
        row.put(2 * multi.lane + 1, "_" * (at - 2 * multi.lane - 1), style, over=False)
        row.put(at, multi.mark.sign, style)
        if text:
            row.put(at + 2, " ".join(wrap(text, 10_000)), style)
        return f"{self._frame('')} {row.drawn(self.color)}".rstrip()

    def _single_rows(self, number: int) -> Iterator[str]:
        singles = sorted(self._seen(number), key=lambda single: (single.start, not single.mark.primary))
        if not singles:
            return
        left = self._left_of(number)
        offset = 2 * self._lanes - left
        row = self._lane_row(number)
        for single in sorted(singles, key=lambda one: one.mark.primary):
            row.put(offset + single.start, single.mark.sign * (single.end - single.start), self._style(single.mark))
        last = singles[-1]
        hanging = [single for single in singles if single.mark.text]
        if last in hanging and last.end == max(single.end for single in singles):
            hanging.remove(last)
            yield from self._with_text(row, number, offset + last.end + 1, last, hanging, offset)
        else:
            yield self._drawn(row)
        yield from self._hanging_rows(number, hanging, offset)

    def _with_text(
        self, row: _Row, number: int, column: int, single: _Single, hanging: Sequence[_Single], offset: int
    ) -> Iterator[str]:
        """A row of marks with the text of the last one behind it, over more rows where it is long."""
        style = self._style(single.mark)
        lines = wrap(single.mark.text, max(_MIN_LABEL, self.width - self.gutter - 3 - column))
        for at, line in enumerate(lines):
            if at:
                row = self._lane_row(number)
                for other in hanging:
                    row.put(offset + other.start, "|", self._style(other.mark))
            row.put(column, line, style)
            yield self._drawn(row)

    def _hanging_rows(self, number: int, hanging: list[_Single], offset: int) -> Iterator[str]:
        """The texts of marks that have another mark at their right: each below its mark, the last one first."""
        if hanging:
            row = self._lane_row(number)
            for single in hanging:
                row.put(offset + single.start, "|", self._style(single.mark))
            yield self._drawn(row)
        while hanging:
            single = hanging.pop()
            yield from self._with_text(
                self._hang(number, hanging, offset), number, offset + single.start, single, hanging, offset
            )

    def _hang(self, number: int, hanging: Sequence[_Single], offset: int) -> _Row:
        row = self._lane_row(number)
        for other in hanging:
            row.put(offset + other.start, "|", self._style(other.mark))
        return row

    def _drawn(self, row: _Row) -> str:
        return f"{self._frame('')} {row.drawn(self.color)}".rstrip()


def _plain(row: _Row) -> str:
    return row.drawn(False)


def _lines_of(source: Source, span: Span) -> tuple[int, int]:
    """First and last line of a span; a line end belongs to the line that it ends."""
    first = source.position(span.start).line
    last = source.position(max(span.start, span.end - 1)).line
    return first, last


def _in_lanes(multis: list[_Multi]) -> tuple[_Multi, ...]:
    """Spans of several lines, outer ones first and further left; those that do not touch share a lane."""
    from kcluster.values import evolve

    placed: list[_Multi] = []
    for multi in sorted(multis, key=lambda one: (one.first, -one.last, one.start)):
        taken = {other.lane for other in placed if other.last >= multi.first}
        placed.append(evolve(multi, lane=next(lane for lane in range(len(placed) + 1) if lane not in taken)))
    return tuple(placed)
