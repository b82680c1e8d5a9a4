"""The grammar fed token by token, and what to do when it refuses one.

A statement in which the grammar refuses a token is mended where the mistake is known (`repairs`) and fed again; else it is
reported and dropped up to its end, with its body where it has one. Either way the next statement starts afresh, so each
mistake is reported once.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from kcluster.syntax.ast import Item
from kcluster.syntax.automaton import Automaton, RefusedError
from kcluster.syntax.findings import Findings
from kcluster.syntax.limits import MAX_RECOVERIES, MAX_REPAIRS
from kcluster.syntax.lowering import lower
from kcluster.syntax.repairs import Situation, find_repair
from kcluster.syntax.tables import tables
from kcluster.syntax.tokens import CLOSERS, END, ERROR, NAMES, NEWLINE, OPENERS, OPERATORS, SPOILT, Token, put_in
from kcluster.syntax.wording import expected, found, place

_STATEMENT_ENDS: Final = frozenset((NEWLINE, "COMMA", "RBRACE", END))


def read(tokens: list[Token], findings: Findings) -> tuple[Item, ...]:
    """The items of a token sequence whose brackets match."""
    return _Reader(tokens, findings).read()


class _Reader:
    """One pass over the tokens of a file. `_statement` holds what was fed of the statement at hand."""

    def __init__(self, tokens: list[Token], findings: Findings) -> None:
        end = tokens[-1].end if tokens else 0
        self._coming = deque(tokens)
        self._end = Token(END, "", end, end)
        self._coming.append(self._end)
        self._findings = findings
        self._text = findings.source.text
        self._statement: list[Token] = []
        self._depth = 0
        self._blocks = 0
        self._repairs = 0
        self._recoveries = 0
        self._given_up = False
        self._automaton = Automaton(tables())

    def read(self) -> tuple[Item, ...]:
        result = None
        while self._coming:
            token = self._coming.popleft()
            try:
                result = self._automaton.feed(token)
            except RefusedError:
                self._recoveries += 1
                if self._findings.full or self._recoveries > MAX_RECOVERIES:
                    self._give_up(token)
                else:
                    self._recover(token)
            else:
                self._note(token)
        return lower(result) if result is not None else ()

    def _note(self, token: Token) -> None:
        """Keep track of where the statement at hand began."""
        if self._depth == 0 and (token.type in _STATEMENT_ENDS or token.type == "LBRACE"):
            self._blocks += (token.type == "LBRACE") - (token.type == "RBRACE")
            self._statement.clear()
            self._repairs = 0
            return
        self._statement.append(token)
        if token.type in ("LPAREN", "LBRACKET"):
            self._depth += 1
        elif token.type in ("RPAREN", "RBRACKET"):
            self._depth -= 1

    def _recover(self, token: Token) -> None:
        silent = self._findings.within((self._statement or [token])[0].start, token.end)
        if token.type != SPOILT and self._repairs < MAX_REPAIRS and self._repair(token, silent):
            return
        if token.type != SPOILT and not silent and not self._findings.on_line_of(token.start):
            message = f"expected {expected(self._statement, self._blocks > 0)}, found {found(token)}"
            self._findings.add("KC001", message, place(token), label="not expected here")
        if not self._keep_body(token) and not self._drop_token(token):
            self._skip_statement(token)

    def _repair(self, token: Token, silent: bool) -> bool:
        ahead = [self._coming[i] for i in range(min(6, len(self._coming)))]
        repair = find_repair(Situation(list(self._statement), token, ahead, self._blocks > 0, self._text))
        if repair is None:
            return False
        if not silent:
            self._findings.add(
                "KC001", repair.message, repair.span, label=repair.label, help=repair.help, fixes=repair.fixes
            )
        repairs = self._repairs + 1
        self._rewind()
        self._repairs = repairs
        for _ in range(repair.swallowed):
            self._coming.popleft()
        self._coming.extendleft(reversed(repair.tokens))
        return True

    def _drop_token(self, token: Token) -> bool:
        """Drop nothing but the refused token where the grammar takes the one after it."""
        kept = token.type in (SPOILT, NEWLINE, "RBRACE", END) or token.type in OPENERS or token.type in CLOSERS
        if kept or not self._statement or self._repairs >= MAX_REPAIRS:
            return False
        self._repairs += 1
        return self._automaton.takes(self._coming[0].type)

    def _keep_body(self, token: Token) -> bool:
        """Where a block's head is spoilt, drop what spoils it and go on with its body."""
        names = list(self._statement)
        if not names or names[0].type != "WORD" or any(name.type not in NAMES for name in names):
            return False
        ahead = token
        skipped = 0
        while ahead.type not in (*_STATEMENT_ENDS, *OPENERS, *OPERATORS) and skipped < len(self._coming):
            ahead = self._coming[skipped]
            skipped += 1
        if ahead.type != "LBRACE" or skipped == 0:
            return False
        for _ in range(skipped - 1):
            self._coming.popleft()
        self._rewind()
        self._coming.extendleft(reversed(names))
        return True

    def _skip_statement(self, token: Token) -> None:
        """Drop the statement at hand up to its end, body included, and put ERROR in its place."""
        self._coming.appendleft(token)
        depth = self._depth
        first = True
        while self._coming:
            ahead = self._coming[0].type
            if ahead == END or (depth == 0 and ahead in _STATEMENT_ENDS and not (first and not self._statement)):
                break
            depth += (ahead in OPENERS) - (ahead in CLOSERS)
            self._coming.popleft()
            first = False
            if ahead == "RBRACE" and depth == 0:
                break
        self._rewind()
        self._automaton.feed(Token(ERROR, "", token.start, token.start))

    def _give_up(self, token: Token) -> None:
        """Enough was reported: close what is open and drop the rest."""
        self._rewind()
        self._coming.clear()
        if self._given_up:
            return
        self._given_up = True
        self._coming.extend(put_in("RBRACE", token.start) for _ in range(self._blocks))
        self._coming.append(self._end)

    def _rewind(self) -> None:
        """Take the parser back to where the statement at hand began."""
        if self._statement:
            self._automaton.rewind(ERROR)
        self._statement.clear()
        self._depth = 0
        self._repairs = 0
