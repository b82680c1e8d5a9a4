"""Colours for editors and documents, made from the language's tables: the TextMate grammar, and the words of the Pygments lexer.

`python -m kcluster.editor.highlighting FILE` writes the grammar. Only what TextMate (Oniguruma) and PCRE share is used.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from kcluster.spec.quantities import UNITS
from kcluster.spec.schema import CONSTRUCTORS, every_block

SCOPE: Final = "source.kcluster"
_BOUNDARY: Final = r"(?![A-Za-z0-9_.-])"
_WORD: Final = r"[A-Za-z_][A-Za-z0-9_.-]*"


def block_words() -> tuple[str, ...]:
    """Every word that begins a block."""
    return tuple(sorted({path[-1] for path, _ in every_block() if path} | {"import"}))


def attribute_names() -> tuple[str, ...]:
    """Every attribute of any block."""
    return tuple(sorted({row.name for _, block in every_block() for row in block.attributes}))


def constructor_names() -> tuple[str, ...]:
    return tuple(sorted({row.name for row in CONSTRUCTORS} | {"env"}))


def units() -> tuple[str, ...]:
    """Every spelling of a unit, longest first so that an alternation takes the longest."""
    return tuple(sorted(UNITS, key=lambda unit: (-len(unit), unit)))


def alternation(words: tuple[str, ...]) -> str:
    """A pattern that matches one of the words, longest first."""
    return "|".join(re.escape(word).replace(r"\-", "-") for word in sorted(words, key=lambda word: (-len(word), word)))


def textmate() -> dict[str, Any]:
    """The TextMate grammar as JSON."""
    blocks, attributes = alternation(block_words()), alternation(attribute_names())
    return {
        "$schema": "https://raw.githubusercontent.com/martinring/tmlanguage/master/tmlanguage.json",
        "name": "kcluster",
        "scopeName": SCOPE,
        "fileTypes": ["kcluster"],
        "patterns": [
            {
                "name": "comment.line.number-sign.kcluster",
                "match": r"#.*$",
                "captures": {"0": {"patterns": [_match("keyword.other.suppression", r"kcluster: ignore\[[^\]]*\]")]}},
            },
            {
                "name": "string.quoted.double.kcluster",
                "begin": '"',
                "end": '"|$',
                "patterns": [_match("constant.character.escape", r"\\.")],
            },
            # An attribute before a block: `router = off` and `router nginx {` begin alike.
            _match("variable.other.property", rf"\b(?:{attributes}){_BOUNDARY}(?=\s*(?:=|<=|>=))"),
            {
                "match": rf'\b({blocks}){_BOUNDARY}(?=(?:\s+(?:{_WORD}|"[^"]*"))*\s*(?:\{{|$)|\s+")((?:\s+{_WORD})*)',
                "captures": {
                    "1": {"name": "keyword.control.kcluster"},
                    "2": {"name": "entity.name.type.kcluster"},
                },
            },
            _match("support.function", rf"\b(?:{alternation(constructor_names())})(?=\s*\()"),
            _match("constant.language", rf"\b(?:on|off|auto|true|false|none){_BOUNDARY}"),
            {
                "match": rf"(?<![A-Za-z0-9_.-])([0-9][0-9_]*(?:\.[0-9]+)?)\s*({alternation(units())})?{_BOUNDARY}",
                "captures": {
                    "1": {"name": "constant.numeric.kcluster"},
                    "2": {"name": "keyword.other.unit.kcluster"},
                },
            },
            _match("keyword.operator", r"<=|>=|=|\*|\.\."),
            _match("punctuation.section", r"[{}\[\](),]"),
        ],
    }


def _match(name: str, pattern: str) -> dict[str, str]:
    return {"name": f"{name}.kcluster", "match": pattern}


def grammar_text() -> str:
    """The grammar's file."""
    return json.dumps(textmate(), indent=2, ensure_ascii=False) + "\n"


def write(path: Path) -> None:
    """Write the grammar where it is not that already."""
    text = grammar_text()
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
