"""Mistakes of spelling, mended token by token: reported once, then read as what the author must have meant."""

from __future__ import annotations

from kcluster.syntax.findings import Findings
from kcluster.syntax.strings import check_escapes
from kcluster.syntax.tables import ONLY_LEXED
from kcluster.syntax.tokens import SPOILT, Token


def mend(tokens: list[Token], text: str, findings: Findings) -> list[Token]:
    out = []
    for token in tokens:
        if token.type in ("BLANK", "COMMENT"):
            continue
        if token.type in ONLY_LEXED:
            findings.add("KC001", f"unexpected `{token.text}`", token.span)
            token = token._replace(type=SPOILT)
        elif token.type == "STRING":
            check_escapes(token, findings)
        out.append(token)
    return out
