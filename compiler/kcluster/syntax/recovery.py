"""The grammar fed token by token, and what to do when it refuses one."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from kcluster.syntax.ast import Item
from kcluster.syntax.findings import Findings
from kcluster.syntax.lowering import lower
from kcluster.syntax.tables import parser
from kcluster.syntax.tokens import CLOSERS, END, ERROR, NEWLINE, OPENERS, SPOILT, Token

if TYPE_CHECKING:
    from lark.parsers.lalr_interactive_parser import InteractiveParser

_STATEMENT_ENDS: Final = frozenset((NEWLINE, "COMMA", "RBRACE", END))


def read(tokens: list[Token], findings: Findings) -> tuple[Item, ...]:
    """The items of a token sequence whose brackets match."""
    return _Reader(tokens, findings).read()


class _Reader:
    """One pass over the tokens of a file. `_statement` holds what was fed of the statement at hand."""

    def __init__(self, tokens: list[Token], findings: Findings) -> None:
        end = tokens[-1].end if tokens else 0
        self._coming = deque(tokens)
        self._coming.append(Token(END, "", end, end))
        self._findings = findings
        self._statement: list[Token] = []
        self._depth = 0
        self._state: InteractiveParser = parser().parse_interactive("")

    def read(self) -> tuple[Item, ...]:
        from lark.exceptions import UnexpectedToken

        result = None
        while self._coming and not self._findings.full:
            token = self._coming.popleft()
            try:
                result = self._state.feed_token(token)  # type: ignore[arg-type]
            except UnexpectedToken:
                self._recover(token)
            else:
                self._note(token)
        return lower(result) if result is not None else ()

    def _note(self, token: Token) -> None:
        """Keep track of where the statement at hand began."""
        if self._depth == 0 and token.type in (*_STATEMENT_ENDS, "LBRACE"):
            self._statement.clear()
            return
        self._statement.append(token)
        if token.type in ("LPAREN", "LBRACKET"):
            self._depth += 1
        elif token.type in ("RPAREN", "RBRACKET"):
            self._depth -= 1

    def _recover(self, token: Token) -> None:
        if token.type != SPOILT:
            self._findings.add("KC001", f"unexpected `{token.text}`", token.span)
        self._skip_statement(token)

    def _skip_statement(self, token: Token) -> None:
        """Drop the statement at hand up to its end, body included, and put ERROR in its place."""
        self._coming.appendleft(token)
        depth = self._depth
        skipped = 0
        while self._coming:
            ahead = self._coming[0].type
            if ahead == END or (depth == 0 and ahead in _STATEMENT_ENDS):
                break
            depth += (ahead in OPENERS) - (ahead in CLOSERS)
            self._coming.popleft()
            skipped += 1
            if ahead == "RBRACE" and depth == 0:
                break
        if not skipped and not self._statement:
            self._coming.popleft()
        self._rewind()
        self._state.feed_token(Token(ERROR, "", token.start, token.start))  # type: ignore[arg-type]

    def _rewind(self) -> None:
        """Take the parser back to where the statement at hand began. The one place that reaches into lark's stacks."""
        from lark.parsers.lalr_analysis import Shift

        state = self._state.parser_state
        table = state.parse_conf.states
        if self._statement:
            while table[state.state_stack[-1]].get(ERROR, (None,))[0] is not Shift:
                state.state_stack.pop()
                state.value_stack.pop()
        self._statement.clear()
        self._depth = 0
