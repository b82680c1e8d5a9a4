"""Brackets matched before the grammar sees them.

A lost or doubled brace spoils everything behind it for a parser, while a person sees at once where it belongs: by the
indentation. So the brackets are matched first. Where they match, nothing happens; where they do not, lines and indentation
say what is missing or too much, each is reported once (KC001, KC002), and the grammar gets a sequence that matches.
"""

from __future__ import annotations

from kcluster.syntax.findings import Findings
from kcluster.syntax.indentation import Matcher
from kcluster.syntax.limits import MAX_DEPTH
from kcluster.syntax.tokens import CLOSERS, NEWLINE, OPENERS, SPOILT, Token


def match_brackets(tokens: list[Token], findings: Findings) -> list[Token]:
    """The same tokens with brackets that match, without the new lines inside ( ) and [ ]."""
    tokens = _limit_depth(tokens, findings)
    out = _as_written(tokens)
    if out is not None:
        return out
    balance = sum((token.type == "LBRACE") - (token.type == "RBRACE") for token in tokens)
    guess = Matcher(tokens, findings, missing=max(balance, not balance), extra=max(-balance, not balance))
    guess.match()
    if len(guess.reports) > max(1, abs(balance)) + 1:
        guess = Matcher(tokens, findings, missing=0, extra=0)
        guess.match()
    for report in guess.reports:
        if not (report.is_surplus and findings.on_line_of(report.span.start)):
            report.add_to(findings)
    if guess.spoilt_end is not None:
        findings.taint(guess.spoilt_end)
    return guess.out


def _limit_depth(tokens: list[Token], findings: Findings) -> list[Token]:
    """Without what stands deeper than any spec needs to (KC007)."""
    out: list[Token] = []
    depth = 0
    reported = False
    for token in tokens:
        if token.type in OPENERS:
            depth += 1
            if depth == MAX_DEPTH + 1:
                if not reported:
                    message = f"more than {MAX_DEPTH} brackets are open at once"
                    findings.add("KC007", message, token.span, label="one too many")
                    reported = True
                out.append(token._replace(type=SPOILT))
        elif token.type in CLOSERS:
            depth = max(0, depth - 1)
            if depth >= MAX_DEPTH:
                continue
        if depth <= MAX_DEPTH:
            out.append(token)
    return out


def _as_written(tokens: list[Token]) -> list[Token] | None:
    """The tokens where their brackets match as they are, else None."""
    out = []
    open_: list[str] = []
    for token in tokens:
        kind = token.type
        if kind == NEWLINE:
            if open_ and open_[-1] != "LBRACE":
                continue
        elif kind in OPENERS:
            if kind == "LBRACE" and open_ and open_[-1] != "LBRACE":
                return None
            open_.append(kind)
        elif kind in CLOSERS and (not open_ or open_.pop() != CLOSERS[kind]):
            return None
        out.append(token)
    return None if open_ else out
