"""Where a bracket is missing or too many, by lines and indentation."""

from __future__ import annotations

from typing import Final

from kcluster.diagnostics import Edit, Fix, Label, Safety
from kcluster.source import Span
from kcluster.syntax.findings import Findings
from kcluster.syntax.limits import MAX_DEPTH, MAX_REPORTED
from kcluster.syntax.tokens import CLOSERS, NAMES, NEWLINE, OPENERS, OPERATORS, SIGNS, SPOILT, Token, put_in
from kcluster.values import frozen

_TAB: Final = 8
_AHEAD: Final = 64
"""Tokens of one line that are looked at ahead: a longer line is read without."""
_BLOCK: Final = 256
"""Tokens of a block behind a `}` that are looked at ahead."""
_BODY: Final = 4096
"""Tokens of a block without a head that are looked back over."""
_OPERATOR: Final = tuple([operator] for operator in OPERATORS)
_INSTEAD: Final = frozenset((SPOILT, "NUMBER", "SLASH", "STAR", "PERCENT", "TO"))
"""What may stand where a block's `{` was meant."""
_HEAD_ENDS: Final = frozenset((NEWLINE, "LBRACE", "RBRACE", "COMMA"))


@frozen
class _Open:
    """An open bracket: its token, the indentation of its line, the number of that line, and the words before it."""

    token: Token
    indent: int
    line: int
    head: str

    @property
    def is_brace(self) -> bool:
        return self.token.type == "LBRACE"


@frozen
class Report:
    """A finding of an attempt, kept until the attempt is accepted."""

    code: str
    message: str
    span: Span
    label: str
    labels: tuple[Label, ...] = ()
    fixes: tuple[Fix, ...] = ()
    is_surplus: bool = False

    def add_to(self, findings: Findings) -> None:
        findings.add(self.code, self.message, self.span, label=self.label, labels=self.labels, fixes=self.fixes)


def _fix(message: str, at: int, text: str, safety: Safety = "unsafe", end: int | None = None) -> tuple[Fix, ...]:
    return (Fix(message, (Edit(Span(at, at if end is None else end), text),), safety),)


class Matcher:
    """One attempt. `missing` and `extra` say how many braces the indentation may add or take away."""

    def __init__(self, tokens: list[Token], findings: Findings, *, missing: int, extra: int) -> None:
        self.out: list[Token] = []
        self.reports: list[Report] = []
        self.spoilt_end: int | None = None
        """Where the last statement breaks off, if brackets were open at the end of the file."""
        self._tokens = tokens
        self._findings = findings
        self._text = findings.source.text
        self._missing = missing
        self._extra = extra
        self._open: list[_Open] = []
        self._line = 0
        self._indent = 0
        self._at = 0
        self._first = True
        """Whether the next token is the first of its line."""

    def match(self) -> None:
        self._indent = self._tokens[0].start if self._tokens else 0
        for at, token in enumerate(self._tokens):
            self._at = at
            if token.type == NEWLINE:
                self._end_line(token)
                continue
            if self._first:
                self._begin_line(token)
            if token.type in OPENERS:
                self._opener(token)
            elif token.type in CLOSERS:
                self._closer(token)
            else:
                self.out.append(token)
            self._first = False
        self._end()

    # Lines

    def _end_line(self, token: Token) -> None:
        following = self._at + 1 if self._at + 1 < len(self._tokens) else None
        if self._open and not self._open[-1].is_brace and self._ends_brackets(following):
            self._close_lost_brackets()
        indent = len(token.text[token.text.rindex("\n") + 1 :].expandtabs(_TAB))
        if self._extra and following is not None and indent > self._indent:
            self._put_brace_after_head(self._tokens[following])
        self._line += 1
        self._indent = indent
        self._first = True
        if not self._open or self._open[-1].is_brace:
            self.out.append(token)

    def _begin_line(self, token: Token) -> None:
        """Close blocks that end above this line by the indentation."""
        if token.type == "RBRACE":
            while self._missing and self._open_brace_deeper():
                self._close_lost_brace(token)
            return
        while self._missing and self._open and self._open[-1].is_brace and self._open[-1].line < self._line:
            if self._indent > self._open[-1].indent:
                return
            self._close_lost_brace(token)

    def _open_brace_deeper(self) -> bool:
        """Whether a `}` of this indentation belongs to a block further out than the last one opened."""
        if not self._open or not self._open[-1].is_brace or self._open[-1].indent <= self._indent:
            return False
        return any(open_.indent == self._indent for open_ in self._open)

    # Braces that the indentation adds

    def _close_lost_brace(self, token: Token) -> None:
        open_ = self._open.pop()
        self._missing -= 1
        last = self._last()
        at = last.end
        same_line = "\n" not in self._text[open_.token.start : at]
        text = " }" if same_line else "\n" + " " * open_.indent + "}"
        above = f"this line stands no deeper than `{open_.head}`, so a `}}` is missing above it"
        self._report_lost_brace(open_, (Label(token.span, above),), _fix("add `}`", at, text))
        self._put_in("RBRACE", at)

    def _report_lost_brace(self, open_: _Open, labels: tuple[Label, ...], fixes: tuple[Fix, ...]) -> None:
        self.reports.append(
            Report(
                "KC002",
                f"the block `{open_.head}` is never closed" if open_.head else "this `{` is never closed",
                open_.token.span,
                "opened here",
                labels,
                fixes,
            )
        )

    def _put_brace_after_head(self, following: Token) -> None:
        """Where the line so far is a block's head and the next one stands deeper, as a body would, its `{` is lost."""
        instead = self.out.pop() if self.out and self.out[-1].type in _INSTEAD else None
        names = self._names_at_end()
        if names and names[0].type == "WORD" and self._before(len(names)) in _HEAD_ENDS and following.type != "LBRACE":
            head = " ".join(name.text for name in names)
            self._put_brace(names, head, "the lines below stand deeper, as a block's do", instead)
        elif instead is not None:
            self.out.append(instead)

    def _put_brace(self, names: list[Token], head: str, why: str, instead: Token | None = None) -> None:
        """Open a block whose `{` is lost; `instead` stands in its place."""
        self._extra -= 1
        at = names[-1].end
        span = Span(names[0].start, at)
        if instead is None:
            fixes = _fix("add `{`", at, " {", "safe")
            self.reports.append(Report("KC001", f"`{{` is missing after `{head}`", span, why, (), fixes))
        elif instead.type != SPOILT:
            message = f"`{{` is missing after `{head}`, where `{instead.text}` stands"
            fixes = _fix("write `{`", at, " {", end=instead.end)
            self.reports.append(Report("KC001", message, instead.span, why, (), fixes))
        brace = put_in("LBRACE", at)
        self._open.append(_Open(brace, self._indent, self._line, head))
        self.out.append(brace)

    # Brackets as they come

    def _opener(self, token: Token) -> None:
        if token.type != "LBRACE":
            self._push(token)
            return
        if self._open and not self._open[-1].is_brace:
            if self._closed_later(self._open[-1].token.type):
                self._missing = max(0, self._missing - 1)
                self._drop(token, f"no block begins before the `{SIGNS[OPENERS[self._open[-1].token.type]]}`")
                return
            self._close_lost_brackets()
        headless = self._before() in _HEAD_ENDS
        if headless and (self._missing or self._before() == "LBRACE") and not self._first_of_lone_block():
            self._missing = max(0, self._missing - 1)
            self._drop(token, "no word stands before this `{`")
            return
        self._push(token)

    def _first_of_lone_block(self) -> bool:
        """Whether the `{` begins a line below a head, which is a mistake of its own (`recovery`)."""
        names = [token for token in self.out[-6:] if token.type != NEWLINE]
        return self._first and bool(names) and names[-1].type in NAMES

    def _closer(self, token: Token) -> None:
        if token.type == "RBRACE":
            self._closing_brace(token)
            return
        top = self._open[-1] if self._open else None
        if top is None or top.is_brace:
            self._drop(token, "nothing is open that this could close")
            self._spoil_line(token)
        elif top.token.type == CLOSERS[token.type]:
            self._open.pop()
            self.out.append(token)
        elif len(self._open) > 1 and self._open[-2].token.type == CLOSERS[token.type]:
            self._close_lost_brackets(only=1)
            self._open.pop()
            self.out.append(token)
        elif self._closed_later(top.token.type):
            self._drop(token, f"the `{top.token.text}` goes on behind it")
        else:
            self._open.pop()
            right = OPENERS[top.token.type]
            sign = SIGNS[right]
            label = Label(top.token.span, "opened here")
            message = f"`{top.token.text}` is closed by `{sign}`, not by `{token.text}`"
            fixes = _fix(f"write `{sign}`", token.start, sign, end=token.end)
            self.reports.append(Report("KC001", message, token.span, f"write `{sign}`", (label,), fixes))
            self.out.append(token._replace(type=right, text=sign))

    def _closing_brace(self, token: Token) -> None:
        if self._open and not self._open[-1].is_brace:
            if self._closed_later(self._open[-1].token.type) and self._block_goes_on():
                self._extra = max(0, self._extra - 1)
                self._drop(token, f"the `{self._open[-1].token.text}` goes on behind it")
                return
            self._close_lost_brackets()
        top = self._open[-1] if self._open else None
        within = self._extra and not self._first and (top is None or top.line < self._line)
        if within and (names := self._names_before_operator()):
            self._brace_within_line(names)
            self._push_closer(token)
        elif top is None:
            self._drop(token, "no block is open here", self._drop_headless_body())
        elif within:
            self._extra -= 1
            self._drop(token, f"the block `{top.head}` goes on below, by the indentation")
        elif self._extra and top.line == self._line and not self._first and self._closed_later("LBRACE"):
            self._extra -= 1
            self._drop(token, f"the block `{top.head}` goes on behind it")
        elif self._extra and self._first and (self._indent > top.indent or self._goes_on_behind(top.indent)):
            self._extra -= 1
            self._drop(token, f"the block `{top.head}` goes on below, by the indentation")
        else:
            self._push_closer(token)

    def _block_goes_on(self) -> bool:
        """Whether the block at hand does not need to be closed on this line, or is so further on."""
        block = next((open_ for open_ in reversed(self._open) if open_.is_brace), None)
        return block is None or block.line != self._line or self._closed_later("LBRACE")

    def _goes_on_behind(self, indent: int) -> bool:
        """Whether a statement follows this `}` on its line, after which lines stand deeper still than the block that it would close."""
        coming = self._tokens[self._at + 1 : self._at + 1 + _BLOCK]
        if not coming or coming[0].type not in NAMES:
            return False
        depth, line, first = 0, indent, False
        for token in coming:
            if token.type == NEWLINE:
                line, first = len(token.text[token.text.rindex("\n") + 1 :].expandtabs(_TAB)), True
                if not depth:
                    return line > indent
                continue
            depth += (token.type in OPENERS) - (token.type in CLOSERS)
            if not depth and first:
                return line > indent
            if depth < 0:
                return False
            first = False
        return False

    def _closed_later(self, opener: str) -> bool:
        """Whether the closing bracket of an open one stands further on in this line."""
        depth = 0
        for token in self._tokens[self._at + 1 : self._at + 1 + _AHEAD]:
            if token.type == NEWLINE:
                return False
            depth += (token.type == opener) - (token.type == OPENERS[opener])
            if depth < 0:
                return True
        return False

    def _push_closer(self, token: Token) -> None:
        self._open.pop()
        self.out.append(token)

    def _names_before_operator(self) -> list[Token]:
        """The head of `parallel tp = 4 }`, whose `{` is lost: the names of this line but the last before the operator."""
        line: list[Token] = []
        for token in reversed(self.out):
            if token.type in (NEWLINE, "LBRACE", "RBRACE"):
                break
            line.append(token)
        line.reverse()
        at = next((i for i, token in enumerate(line) if token.type not in NAMES), 0)
        found = at > 1 and line[at].type in OPERATORS and line[0].type == "WORD"
        return line[: at - 1] if found else []

    def _brace_within_line(self, names: list[Token]) -> None:
        head = " ".join(name.text for name in names)
        at = self.out.index(names[-1]) + 1
        rest = self.out[at:]
        del self.out[at:]
        self._put_brace(names, head, "a block begins with `{`")
        self.out += rest

    # What brackets lack

    def _ends_brackets(self, following: int | None) -> bool:
        """Whether the line after this one can only stand outside the brackets that are open."""
        if following is None:
            return True
        kind = self._tokens[following].type
        if kind in ("RBRACE", "LBRACE"):
            return True
        types = [token.type for token in self._tokens[following + 1 : following + 4]]
        if kind not in NAMES or not types:
            return False
        if types[0] in OPERATORS:
            return self._open[-1].token.type == "LBRACKET" or self._before() not in ("COMMA", "LPAREN")
        while types and types[0] in NAMES:
            types.pop(0)
        return kind == "WORD" and bool(types) and types[0] == "LBRACE"

    def _close_lost_brackets(self, only: int = MAX_DEPTH) -> None:
        """Close ( and [ up to the block they stand in; one report for all of them."""
        at = self._last().end
        lost: list[_Open] = []
        while self._open and not self._open[-1].is_brace and len(lost) < only:
            lost.append(self._open.pop())
            self._put_in(OPENERS[lost[-1].token.type], at)
        signs = "".join(SIGNS[OPENERS[open_.token.type]] for open_ in lost)
        opener = lost[-1].token
        label = Label(Span(at, at), f"`{signs}` is missing here")
        message = f"this `{opener.text}` is never closed"
        fixes = _fix(f"add `{signs}`", at, signs)
        self.reports.append(Report("KC002", message, opener.span, "opened here", (label,), fixes))

    def _end(self) -> None:
        """Close what the file leaves open. A statement cut off by the end of the file is not reported besides."""
        if not self._open:
            return
        last = self._last()
        reported = len(self.reports)
        if not self._open[-1].is_brace:
            self._close_lost_brackets()
        if self._open and not self._findings.on_line_of(last.end):
            del self.reports[reported:]
            self._report_open_blocks()
        while self._open:
            self._open.pop()
            self._put_in("RBRACE", last.end)
        self.spoilt_end = last.end

    def _report_open_blocks(self) -> None:
        end = len(self._text)
        others = tuple(Label(o.token.span, "nor is this one") for o in self._open[-4:-1])
        lines = [" " * open_.indent + "}" for open_ in reversed(self._open)]
        text = "\n".join(lines) + "\n" if self._text.endswith("\n") else "\n" + "\n".join(lines)
        place = Label(Span(end, end), "the file ends here")
        self._report_lost_brace(self._open[-1], (*others, place), _fix("add what is missing at the end", end, text))

    # What was read so far

    def _push(self, token: Token) -> None:
        head = " ".join(name.text for name in self._names_at_end()) if token.type == "LBRACE" else ""
        self._open.append(_Open(token, self._indent, self._line, head))
        self.out.append(token)

    def _drop_headless_body(self) -> tuple[Label, ...]:
        """Where attributes stand deeper than the brace that nothing opened, their block's head is lost: what it was for nobody
        knows, so they are left unread. Gives what to say of them."""
        if not self._first:
            return ()
        begin = None
        for at in range(len(self.out) - 2, max(-1, len(self.out) - _BODY), -1):
            token = self.out[at]
            if token.type != NEWLINE:
                continue
            if len(token.text[token.text.rindex("\n") + 1 :].expandtabs(_TAB)) <= self._indent:
                break
            begin = at + 1
        if begin is None or [token.type for token in self.out[begin : begin + 2]][1:] not in _OPERATOR:
            return ()
        depth = 0
        for token in self.out[begin:]:
            depth += (token.type in OPENERS) - (token.type in CLOSERS)
            if depth < 0:
                # It closes what was opened by a line further left: the indentation says nothing here.
                return ()
        span = self.out[begin].span
        del self.out[begin:]
        return (Label(span, "the head of a block is missing above this"),)

    def _drop(self, token: Token, label: str, labels: tuple[Label, ...] = ()) -> None:
        if len(self.reports) > 2 * MAX_REPORTED:
            return
        message = f"a `{token.text}` too many"
        fixes = _fix("remove it", token.start, "", end=token.end)
        self.reports.append(Report("KC001", message, token.span, label, labels, fixes, is_surplus=True))

    def _spoil_line(self, token: Token) -> None:
        """Give up what stands on this line so far: without the bracket that was meant, its commas mean something else."""
        while self.out and self.out[-1].type not in (NEWLINE, "LBRACE", "RBRACE"):
            self.out.pop()
        self.out.append(token._replace(type=SPOILT))

    def _put_in(self, kind: str, at: int) -> None:
        self.out.append(put_in(kind, at))

    def _before(self, back: int = 0) -> str:
        """The type of a token before; a new line before the first."""
        return self.out[-1 - back].type if len(self.out) > back else NEWLINE

    def _last(self) -> Token:
        """The last token that is no new line."""
        return next((t for t in reversed(self.out) if t.type != NEWLINE), Token(NEWLINE, "", 0, 0))

    def _names_at_end(self) -> list[Token]:
        names: list[Token] = []
        for token in reversed(self.out):
            if token.type not in NAMES:
                break
            names.append(token)
        return names[::-1]
