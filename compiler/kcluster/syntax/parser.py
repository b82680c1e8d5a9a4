"""From text to tree, with every syntax error of the file and whatever could be understood around them.

    text → characters (KC004) → tokens → mistakes of spelling mended → brackets matched → grammar, statement by statement → tree

Each pass reports what it finds and hands on something that the next can use, so one mistake is reported once. lark is
imported when the first text is parsed, not when this module is.
"""

from __future__ import annotations

from kcluster.diagnostics import Diagnostic
from kcluster.source import Source
from kcluster.syntax import ast
from kcluster.syntax.characters import clean, decode
from kcluster.syntax.findings import Findings

__all__ = ["decode", "parse"]


def parse(source: Source) -> tuple[ast.File, tuple[Diagnostic, ...]]:
    """The tree of a spec and its syntax errors (KC0xx). Never raises; where the syntax is broken, the file is not
    `complete` and its items are what could be understood."""
    findings = Findings(source)
    text = clean(source, findings)
    if text is None:
        return ast.File(source, (), (), complete=False), findings.diagnostics()

    from kcluster.syntax.brackets import match_brackets
    from kcluster.syntax.limits import MAX_TOKENS
    from kcluster.syntax.mistakes import mend
    from kcluster.syntax.recovery import read
    from kcluster.syntax.tokens import comments_of, lex

    tokens = lex(text)
    if len(tokens) > MAX_TOKENS:
        message = f"the file has more than the {MAX_TOKENS:,} words and signs that a spec has at most"
        findings.add("KC007", message, tokens[-1].span, label="read up to here", help=("split it with `import`",))
        return ast.File(source, (), (), complete=False), findings.diagnostics()
    items = read(match_brackets(mend(tokens, text, findings), findings), findings)
    return ast.File(source, items, comments_of(tokens), complete=not findings.any), findings.diagnostics()
