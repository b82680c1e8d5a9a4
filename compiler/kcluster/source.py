"""Source text and places in it.

A place is a half-open range of code-point offsets into one `Source`. Lines, columns and UTF-16 units are
computed only at the edge (renderers, the language server), never stored.
"""

from __future__ import annotations

from bisect import bisect_right

from kcluster.values import field, frozen


@frozen
class Span:
    """A half-open range `[start, end)` of code-point offsets into the text of one `Source`."""

    start: int
    end: int

    def cover(self, other: Span) -> Span:
        """The smallest span that holds both."""
        return Span(min(self.start, other.start), max(self.end, other.end))

    def contains(self, other: Span) -> bool:
        return self.start <= other.start and other.end <= self.end


@frozen
class Position:
    """A place as people and editors count it: line and column from 1, the column in code points."""

    line: int
    column: int


@frozen(eq=False)
class Source:
    """One file's text, with the path under which people know it (relative, with `/`)."""

    path: str
    text: str
    _starts: tuple[int, ...] = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        starts = [0]
        find = self.text.find
        at = find("\n")
        while at >= 0:
            starts.append(at + 1)
            at = find("\n", at + 1)
        object.__setattr__(self, "_starts", tuple(starts))

    def position(self, offset: int) -> Position:
        """Line and column of an offset; an offset beyond the text counts as its end."""
        offset = max(0, min(offset, len(self.text)))
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)

    def offset(self, line: int, column: int) -> int:
        """The offset of a position counted from 1; beyond a line's end it is the line's end."""
        line = max(1, min(line, len(self._starts)))
        start = self._starts[line - 1]
        return min(start + max(0, column - 1), start + len(self.line(line)))

    def line(self, number: int) -> str:
        """The text of a line counted from 1, without its line end."""
        start = self._starts[number - 1]
        end = self._starts[number] if number < len(self._starts) else len(self.text)
        return self.text[start:end].rstrip("\r\n")

    @property
    def lines(self) -> int:
        return len(self._starts)

    def slice(self, span: Span) -> str:
        return self.text[span.start : span.end]
