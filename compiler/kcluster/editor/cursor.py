"""Where a cursor stands in a text that is being typed: judged by tokens, since the tree may lack what is unfinished."""

from __future__ import annotations

from typing import Final

from kcluster.source import Span
from kcluster.spec.schema import SPEC, BlockSchema
from kcluster.syntax.tokens import CLOSERS, NAMES, NEWLINE, OPENERS, OPERATORS, Token, lex
from kcluster.values import define, field, frozen

_TYPED: Final = ("WORD", "IMPORT", "STRING", "OPEN_STRING", "NUMBER", "FLAG")
_BETWEEN: Final = ("BLANK", "COMMENT")


@define(eq=False)
class Frame:
    """A block around the cursor, or the file itself (no word): the word, its labels, and the keys written in it so far."""

    word: str = ""
    labels: tuple[str, ...] = ()
    keys: list[str] = field(factory=list)


@frozen(eq=False)
class Cursor:
    """A place in a text.

    Attributes:
        frames: the file and the blocks around the place, outermost first.
        before: the statement's tokens up to the one that is being typed.
        typed: the token that the cursor stands in or right behind, None where it stands free.
        calls: the constructors whose brackets are open, outermost first; empty text for a list.
        comment: the comment that the cursor stands in, empty outside one.
    """

    offset: int
    frames: tuple[Frame, ...]
    before: tuple[Token, ...]
    typed: Token | None
    calls: tuple[str, ...]
    comment: str = ""

    @property
    def prefix(self) -> str:
        """What of the token stands before the cursor, without its opening quote."""
        if self.typed is None:
            return ""
        return self.typed.text[: self.offset - self.typed.start].removeprefix('"')

    @property
    def span(self) -> Span:
        """What a completion replaces: the token, or where its string is not closed only what stands before the cursor."""
        if self.typed is None:
            return Span(self.offset, self.offset)
        end = self.offset if self.typed.type == "OPEN_STRING" else self.typed.end
        return Span(self.typed.start, end)

    @property
    def quoted(self) -> bool:
        return self.typed is not None and self.typed.type in ("STRING", "OPEN_STRING")

    @property
    def schema(self) -> BlockSchema | None:
        """The table of the innermost block; None inside one that the language does not have."""
        found: BlockSchema | None = SPEC
        for frame in self.frames[1:]:
            found = found.block(frame.word) if found is not None else None
        return found

    @property
    def key(self) -> str:
        """The attribute whose value is being written; empty elsewhere."""
        if len(self.before) > 1 and self.before[1].type in OPERATORS:
            return _plain(self.before[0])
        return ""

    @property
    def frame(self) -> Frame:
        return self.frames[-1]


def cursor_at(text: str, offset: int) -> Cursor:
    """The place of an offset. Braces that do not match are taken as they come."""
    offset = max(0, min(offset, len(text)))
    reading = _Reading()
    for token in lex(text):
        inside = token.start < offset <= token.end
        if token.type == "COMMENT" and inside:
            reading.stop(None, offset, token.text[: offset - token.start])
        elif not reading.stopped and (token.start >= offset or (inside and token.type in _TYPED)):
            whole = token.type != "STRING" or offset < token.end
            reading.stop(token if inside and whole else None, offset)
            if inside and not whole:
                reading.take(token)
                reading.stop(None, offset, again=True)
        reading.take(token)
    if not reading.stopped:
        reading.stop(None, offset)
    assert reading.found is not None
    return reading.found


class _Reading:
    """One pass over the tokens. It goes on behind the cursor, so that a block's frame knows all of its keys."""

    def __init__(self) -> None:
        self.frames = [Frame()]
        self.statement: list[Token] = []
        self.open: list[str] = []
        self.found: Cursor | None = None

    @property
    def stopped(self) -> bool:
        return self.found is not None

    def stop(self, typed: Token | None, offset: int, comment: str = "", *, again: bool = False) -> None:
        if self.found is None or again:
            frames, before = tuple(self.frames), tuple(self.statement)
            self.found = Cursor(offset, frames, before, typed, tuple(self.open), comment)

    def take(self, token: Token) -> None:
        kind = token.type
        if kind in _BETWEEN:
            return
        if kind == "LBRACE":
            self._enter()
        elif kind == "RBRACE":
            self._end_statement()
            self.open.clear()
            if len(self.frames) > 1:
                self.frames.pop()
        elif kind in OPENERS:
            before = self.statement[-1] if self.statement else None
            self.open.append(before.text if kind == "LPAREN" and before is not None else "")
            self.statement.append(token)
        elif kind in CLOSERS:
            if self.open:
                self.open.pop()
            self.statement.append(token)
        elif kind == NEWLINE or (kind == "COMMA" and not self.open):
            if not self.open:
                self._end_statement()
        elif self.statement or kind in NAMES or kind in _TYPED:
            self.statement.append(token)

    def _enter(self) -> None:
        head = self.statement
        word = head[0].text if head else ""
        labels = tuple(_plain(token) for token in head[1:] if token.type in NAMES)
        if word:
            self.frames[-1].keys.append(word)
        self.statement = []
        self.open.clear()
        self.frames.append(Frame(word, labels))

    def _end_statement(self) -> None:
        if self.statement and self.statement[0].type in NAMES:
            self.frames[-1].keys.append(_plain(self.statement[0]))
        self.statement = []


def _plain(token: Token) -> str:
    """A word, or a string's text without its quotes (escapes are of no matter for comparing names)."""
    return token.text.strip('"') if token.type in ("STRING", "OPEN_STRING") else token.text
