"""`kcluster fmt`: one canonical layout for every spec.

Two blanks of indentation, `=` and trailing comments aligned within a run of lines, at most one blank line, `on` and `off`
for booleans. What an author decides stays: blank lines, comments, whether a short block stands on one line, whether a list
has a line for each element. The result is held against the text before it is given: same tree, same comments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from kcluster.source import Source
from kcluster.syntax.ast import (
    Attribute,
    Block,
    CallNode,
    Comment,
    File,
    Import,
    Item,
    ListNode,
    NamedArgument,
    NumberNode,
    RangeNode,
    StringNode,
    TimesNode,
    ValueNode,
    WordNode,
)
from kcluster.syntax.layout import Line, lay_out
from kcluster.syntax.parser import parse
from kcluster.values import evolve, frozen

WIDTH: Final = 100
"""Columns that a one-line block or list may take."""

_INDENT: Final = 2
_BOOLEANS: Final = {"true": "on", "false": "off"}
_REST_IS_BLANK: Final = re.compile(r"[ \t\r]*\n")
_SUPPRESSION: Final = "# kcluster:"
"""How a comment begins whose place means something: it stays on the line of what it stands beside."""


def format_source(source: Source) -> str:
    """The canonical text of a spec. A text with syntax errors comes back as it is: the caller refuses it before."""
    file, _ = parse(source)
    if not file.complete:
        return source.text
    text = lay_out(_Formatter(file).lines())
    _check_same(file, text)
    return text


def _check_same(file: File, text: str) -> None:
    """Nothing but layout may change; anything else is a fault of this module, and no file must suffer it."""
    again, diagnostics = parse(Source(file.source.path, text))
    assert not diagnostics, "the formatted text does not parse"
    before, after = _shape(file.items, file.source), _shape(again.items, again.source)
    assert before == after, "formatting changed what the spec says"
    texts = [comment.text for comment in file.comments], [comment.text for comment in again.comments]
    assert texts[0] == texts[1], "formatting lost or moved a comment"


def _shape(items: Sequence[Item], source: Source) -> list[object]:
    """What a tree says, without places."""
    shapes: list[object] = []
    for item in items:
        if isinstance(item, Block):
            labels = [source.slice(label.span) for label in item.labels]
            shapes.append((item.keyword.text, labels, _shape(item.items, source)))
        elif isinstance(item, Import):
            shapes.append(("import", item.path.text))
        else:
            shapes.append((source.slice(item.key.span), item.operator, _flat(item.value, source)))
    return shapes


@frozen
class _Pieces:
    """A value over one or more lines: the first goes on behind what stands before it."""

    first: str
    first_comment: str = ""
    rest: tuple[Line, ...] = ()
    last: str = ""

    @property
    def is_flat(self) -> bool:
        return not self.last


def _flat(value: ValueNode | NamedArgument, source: Source) -> str:
    """A value on one line."""
    match value:
        case WordNode():
            return _BOOLEANS.get(value.text, value.text)
        case StringNode():
            return source.slice(value.span)
        case NumberNode():
            return _number(value, source)
        case RangeNode():
            return f"{_number(value.first, source)}..{_number(value.last, source)}"
        case TimesNode():
            return f"{_number(value.count, source)} * {_flat(value.item, source)}"
        case ListNode():
            return f"[{', '.join(_flat(item, source) for item in value.items)}]"
        case CallNode():
            arguments = ", ".join(_flat(argument, source) for argument in _arguments(value))
            return f"{value.name.text}({arguments})"
        case NamedArgument():
            return f"{value.name.text} = {_flat(value.value, source)}"


def _number(node: NumberNode, source: Source) -> str:
    if node.unit_span is None:
        return source.slice(node.span)
    digits = source.text[node.span.start : node.unit_span.start]
    glued = digits == digits.rstrip()
    return f"{digits.rstrip()}{'' if glued else ' '}{node.unit}"


def _arguments(call: CallNode) -> list[ValueNode | NamedArgument]:
    """The arguments of a call in the order in which they stand."""
    return sorted([*call.arguments, *call.named], key=lambda argument: argument.span.start)


class _Formatter:
    """Walks the items of a file, with the comments in a queue beside them."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._source = file.source
        self._text = file.source.text
        self._comments = list(file.comments)
        self._next = 0
        self._lines: list[Line] = []

    def lines(self) -> list[Line]:
        self._items(self._file.items, 0, 0, len(self._text))
        if self._lines and self._keeps_first_line_free():
            self._lines[0] = evolve(self._lines[0], blank_before=True)
        return self._lines

    def _keeps_first_line_free(self) -> bool:
        """A suppression on the first line holds for the whole file: one further down must not come to stand there."""
        first = self._file.comments[0] if self._file.comments else None
        if first is None or not self._is_suppression(first) or not self._lines[0].text.startswith("#"):
            return False
        return "\n" in self._text[: first.span.start]

    # Items

    def _items(self, items: Sequence[Item], depth: int, start: int, end: int) -> None:
        """The items of a body that begins at offset `start` and ends at `end`."""
        at = start
        first = len(self._lines)
        glued = held = False
        line_end = 0
        for number, item in enumerate(items):
            limit = items[number + 1].span.start if number + 1 < len(items) else end
            before = len(self._lines)
            at = self._own_comments(item.span.start, depth, at, first)
            blank = self._is_blank(at, item.span.start) and len(self._lines) > first
            line = len(self._lines)
            if isinstance(item, Block):
                self._block(item, depth, limit)
            elif isinstance(item, Attribute):
                self._attribute(item, depth, limit, glued)
            else:
                self._lines.append(Line(depth, f"import {self._source.slice(item.path.span)}"))
                self._trailing_comment(item.span.end, limit)
            if line < len(self._lines):
                self._lines[line] = evolve(self._lines[line], blank_before=blank)
                if depth == 0 and number:
                    self._set_apart(before, line, items[number - 1], item)
            at = self._end_of(item.span.end, limit)
            if number >= line_end:
                line_end, held = self._line_of_attributes(items, number, end)
            glued = held and number + 1 < line_end
        self._own_comments(end, depth, at, first)

    def _set_apart(self, before: int, line: int, previous: Item, item: Item) -> None:
        """A blank line around a top-level block of several lines."""
        if any(self._lines[i].blank_before for i in range(before, line + 1)):
            return
        is_long = line + 1 < len(self._lines) and not self._lines[-1].text.startswith("#")
        was_long = isinstance(previous, Block) and self._lines[before - 1].text.startswith("}")
        if (isinstance(item, Block) and is_long) or was_long:
            self._lines[before] = evolve(self._lines[before], blank_before=True)

    def _attribute(self, item: Attribute, depth: int, limit: int, glued: bool) -> None:
        key = item.key.text if isinstance(item.key, WordNode) else self._source.slice(item.key.span)
        room = WIDTH - depth * _INDENT - len(key) - len(item.operator) - 2
        value = self._value(item.value, depth, room, self._end_of(item.value.span.end, limit))
        if glued:
            whole = f"{self._lines[-1].whole}, {key} {item.operator} {value.first}"
            self._lines[-1] = Line(depth, whole, alone=True)
        else:
            line = Line(depth, value.first, key=key, operator=item.operator, comment=value.first_comment)
            self._lines.append(evolve(line, alone=not value.is_flat))
        self._rest(value, depth, "")
        self._trailing_comment(item.span.end, limit)

    def _rest(self, value: _Pieces, depth: int, after: str) -> None:
        self._lines += value.rest
        if value.last:
            self._lines.append(Line(depth, value.last + after, alone=True))
        elif after:
            self._lines[-1] = evolve(self._lines[-1], text=self._lines[-1].text + after)

    def _line_of_attributes(self, items: Sequence[Item], number: int, end: int) -> tuple[int, bool]:
        """Where the attributes that stand on one line with this one end, and whether they must stay on it, for a
        suppression behind them that holds for all."""
        last = number
        while last < len(items) and isinstance(items[last], Attribute):
            if "\n" in self._text[items[max(number, last - 1)].span.start : items[last].span.end]:
                break
            last += 1
        if last - number < 2:
            return number + 1, False
        at, limit = items[last - 1].span.end, items[last].span.start if last < len(items) else end
        after = self._comments_between(at, self._end_of(at, limit))
        return last, bool(after) and self._is_suppression(after[0])

    def _block(self, block: Block, depth: int, limit: int) -> None:
        head = " ".join([block.keyword.text, *(self._source.slice(label.span) for label in block.labels)])
        brace = self._text.index("{", block.head.end)
        inside = self._comments_between(brace, block.span.end)
        if not block.items and not inside:
            self._lines.append(Line(depth, head + " {}"))
        elif (short := self._on_one_line(block, depth, head, limit)) is not None:
            self._lines.append(Line(depth, short))
        else:
            self._lines.append(Line(depth, head + " {", alone=True))
            self._trailing_comment(brace + 1, block.items[0].span.start if block.items else block.span.end - 1)
            self._items(block.items, depth + 1, brace + 1, block.span.end - 1)
            self._lines.append(Line(depth, "}", alone=True))
        self._trailing_comment(block.span.end, limit)

    def _on_one_line(self, block: Block, depth: int, head: str, limit: int) -> str | None:
        """A block of attributes that stands on one line and fits one."""
        if "\n" in self._source.slice(block.span):
            return None
        attributes = [item for item in block.items if isinstance(item, Attribute)]
        if len(attributes) < len(block.items):
            return None
        texts = [f"{self._source.slice(a.key.span)} {a.operator} {_flat(a.value, self._source)}" for a in attributes]
        line = f"{head} {{ {', '.join(texts)} }}"
        after = self._comments_between(block.span.end, self._end_of(block.span.end, limit))
        held = bool(after) and self._is_suppression(after[0])
        return line if held or depth * _INDENT + len(line) <= WIDTH else None

    # Values

    def _value(self, value: ValueNode | NamedArgument, depth: int, room: int, end_of_line: int) -> _Pieces:
        """A value in one line where it can be, else with a line for each element of its outermost brackets."""
        flat = _flat(value, self._source)
        before, bracket = self._outer_brackets(value)
        if bracket is None or not self._is_broken(bracket, len(flat) > room, end_of_line):
            return _Pieces(flat)
        elements: list[ValueNode | NamedArgument]
        if isinstance(bracket, ListNode):
            opener, closer, elements, at = "[", "]", list(bracket.items), bracket.span.start + 1
        else:
            opener, closer, elements = f"{bracket.name.text}(", ")", _arguments(bracket)
            at = self._text.index("(", bracket.name.span.end) + 1
        outer, self._lines = self._lines, []
        first_comment = self._take_comment(at, elements[0].span.start if elements else bracket.span.end - 1)
        self._elements(elements, depth + 1, at, bracket.span.end - 1)
        rest, self._lines = tuple(self._lines), outer
        return _Pieces(before + opener, first_comment, rest, closer)

    def _outer_brackets(self, value: ValueNode | NamedArgument) -> tuple[str, ListNode | CallNode | None]:
        """The outermost list or call of a value, and what stands before it."""
        match value:
            case ListNode() | CallNode():
                return "", value
            case TimesNode():
                before, bracket = self._outer_brackets(value.item)
                return f"{_number(value.count, self._source)} * {before}", bracket
            case NamedArgument():
                before, bracket = self._outer_brackets(value.value)
                return f"{value.name.text} = {before}", bracket
            case _:
                return "", None

    def _is_broken(self, bracket: ListNode | CallNode, too_long: bool, end_of_line: int) -> bool:
        if isinstance(bracket, ListNode):
            empty, opener = not bracket.items, bracket.span.start
        else:
            empty, opener = not (bracket.arguments or bracket.named), self._text.index("(", bracket.name.span.end)
        if self._comments_between(bracket.span.start, bracket.span.end):
            return True
        if empty:
            return False
        inside = self._source.slice(bracket.span)
        after = self._comments_between(bracket.span.end, end_of_line)
        if "\n" in inside and after and self._is_suppression(after[0]):
            return True
        return too_long or _REST_IS_BLANK.match(self._text, opener + 1) is not None

    def _elements(self, elements: Sequence[ValueNode | NamedArgument], depth: int, start: int, end: int) -> None:
        at = start
        for number, element in enumerate(elements):
            limit = elements[number + 1].span.start if number + 1 < len(elements) else end
            at = self._own_comments(element.span.start, depth, at, 0)
            blank = self._is_blank(at, element.span.start) and bool(self._lines)
            value = self._value(element, depth, WIDTH - depth * _INDENT - 1, element.span.end)
            if value.is_flat:
                self._own_comments(element.span.end, depth, element.span.end, 0)
            line = Line(depth, value.first, comment=value.first_comment, blank_before=blank, alone=not value.is_flat)
            self._lines.append(line)
            self._rest(value, depth, ",")
            self._trailing_comment(element.span.end, limit)
            at = self._end_of(element.span.end, limit)
        self._own_comments(end, depth, at, 0)

    # Comments

    def _is_suppression(self, comment: Comment) -> bool:
        return comment.text.startswith(_SUPPRESSION)

    def _comments_between(self, start: int, end: int) -> list[Comment]:
        """Comments not yet laid out that begin between two offsets."""
        found = []
        at = self._next
        while at < len(self._comments) and self._comments[at].span.start < end:
            if self._comments[at].span.start >= start:
                found.append(self._comments[at])
            at += 1
        return found

    def _own_comments(self, until: int, depth: int, at: int, first: int) -> int:
        """Comments before an offset, each on its own line; gives where the last of them ends."""
        while self._next < len(self._comments) and self._comments[self._next].span.start < until:
            comment = self._comments[self._next]
            self._next += 1
            blank = self._is_blank(at, comment.span.start) and len(self._lines) > first
            self._lines.append(Line(depth, comment.text, blank_before=blank, is_comment=True))
            at = comment.span.end
        return at

    def _take_comment(self, after: int, limit: int) -> str:
        """The comment that ends the line of an offset, if one does before `limit`."""
        if self._next < len(self._comments):
            comment = self._comments[self._next]
            if comment.span.start < limit and "\n" not in self._text[after : comment.span.start]:
                self._next += 1
                return comment.text
        return ""

    def _trailing_comment(self, after: int, limit: int) -> None:
        comment = self._take_comment(after, limit)
        if comment:
            self._lines[-1] = evolve(self._lines[-1], comment=comment)

    # Places

    def _end_of(self, offset: int, limit: int) -> int:
        """The end of the line of an offset, or the limit where that comes first."""
        end = self._text.find("\n", offset, limit)
        return end if end >= 0 else limit

    def _is_blank(self, start: int, end: int) -> bool:
        """Whether an empty line stands between two offsets of which the first is the end of something."""
        return self._text.count("\n", start, end) > 1
