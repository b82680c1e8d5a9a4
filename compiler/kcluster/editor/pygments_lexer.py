"""A Pygments lexer, so that documents colour specs. Pygments finds it by its entry point; nothing else imports it."""

from __future__ import annotations

from typing import Any, ClassVar

from pygments.lexer import RegexLexer, bygroups, words
from pygments.token import (
    Comment,
    Keyword,
    Name,
    Number,
    Operator,
    Punctuation,
    String,
    Text,
    Whitespace,
)

from kcluster.editor.highlighting import alternation, attribute_names, block_words, constructor_names, units

_groups: Any = bygroups
_END = r"(?![A-Za-z0-9_.-])"


class KclusterLexer(RegexLexer):
    """Specs of LLM inference clusters."""

    name = "kcluster"
    aliases: ClassVar[list[str]] = ["kcluster"]
    filenames: ClassVar[list[str]] = ["*.kcluster"]
    url = ""
    tokens: ClassVar[dict[str, list[Any]]] = {
        "root": [
            (r"\s+", Whitespace),
            (r"#.*$", Comment.Single),
            (r'"', String.Double, "string"),
            (rf"(?:{alternation(attribute_names())}){_END}(?=\s*(?:=|<=|>=))", Name.Attribute),
            (words(block_words(), suffix=_END), Keyword),
            (words(constructor_names(), suffix=r"(?=\s*\()"), Name.Function),
            (rf"(?:on|off|auto|true|false|none){_END}", Keyword.Constant),
            (
                rf"([0-9][0-9_]*(?:\.[0-9]+)?)([ \t]*)({alternation(units())}){_END}",
                _groups(Number, Whitespace, Keyword.Type),
            ),
            (r"[0-9][0-9_]*(?:\.[0-9]+)?", Number),
            (r"<=|>=|=|\*|\.\.|/|%", Operator),
            (r"[{}\[\](),]", Punctuation),
            (r"[A-Za-z_][A-Za-z0-9_.-]*", Name),
            (r".", Text),
        ],
        "string": [
            (r"\\.", String.Escape),
            (r'[^"\\\n]+', String.Double),
            (r'"|$', String.Double, "#pop"),
        ],
    }
