"""Text as it was pasted: what terminals, chats and other shells left in it becomes what was meant. Every place stays where it was."""

from __future__ import annotations

import re
from typing import Final

_FENCE: Final = re.compile(r"^[ \t]*```.*$", re.MULTILINE)
_CONTINUED: Final = re.compile(r"(?<=[ \t])[`^](?=[ \t\r]*\n)")
"""How PowerShell and cmd continue a line."""
_SECOND_PROMPT: Final = re.compile(r"(?<=\\\n)>(?= )")
"""What a shell prints before a continued line."""
_INLINE: Final = re.compile(r"`([^`\n]*\b(?:vllm serve|docker run)\b[^`\n]*)`")
_QUOTES: Final = str.maketrans({"\u00a0": " ", "\u201c": '"', "\u201d": '"', "\u2018": "'", "\u2019": "'"})


def as_meant(text: str) -> tuple[str, tuple[str, ...]]:
    """The text, as long as it was, and what to tell of it."""
    # Fences of Markdown become blanks.
    text = _FENCE.sub(lambda match: " " * len(match[0]), text)
    text = _CONTINUED.sub("\\\\", text)
    text = _SECOND_PROMPT.sub(" ", text)
    plain = text.translate(_QUOTES)
    told = ("typographic quotes or blanks were read as plain ones; a shell would not",) if plain != text else ()
    return plain, told


def inline(text: str) -> list[tuple[int, int]]:
    """Where commands stand between backticks in prose."""
    return [match.span(1) for match in _INLINE.finditer(text)]
