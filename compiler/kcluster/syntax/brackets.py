"""Brackets matched before the grammar sees them."""

from __future__ import annotations

from kcluster.syntax.findings import Findings
from kcluster.syntax.tokens import NEWLINE, Token


def match_brackets(tokens: list[Token], findings: Findings) -> list[Token]:
    out = []
    stack: list[str] = []
    for token in tokens:
        if token.type in ("LPAREN", "LBRACKET", "LBRACE"):
            stack.append(token.type)
        elif token.type in ("RPAREN", "RBRACKET", "RBRACE") and stack:
            stack.pop()
        if token.type == NEWLINE and stack and stack[-1] != "LBRACE":
            continue
        out.append(token)
    return out
