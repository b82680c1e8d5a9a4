"""What a spec may be at most. Each limit is far above any honest spec and low enough that a hostile one costs nothing."""

from __future__ import annotations

from typing import Final

MAX_BYTES: Final = 1024 * 1024
"""One file. A spec of a thousand serves is about half of that."""

MAX_TOKENS: Final = 400_000
"""Tokens of one file, blanks and comments included. A spec has one for three or four characters; a file of nothing but signs would
take a gigabyte."""

MAX_DEPTH: Final = 32
"""Open `{`, `[` and `(` at once. The language itself needs five; readers of the tree may recurse."""

MAX_DIGITS: Final = 18
"""Digits of one number: an exabyte in bytes has 19, and every such integer is exact in 64 bits."""

MAX_REPORTED: Final = 20
"""Syntax errors of one file. Who has more has not written a spec, or mends the first ones first."""

MAX_SIMILAR: Final = 3
"""Findings of one kind that come in heaps (invisible characters of a binary file), before the rest is only counted."""

MAX_REPAIRS: Final = 8
"""Repairs of one statement before it is given up: guarantees that recovery ends."""

MAX_RECOVERIES: Final = 2_000
"""Statements of one file that are mended or dropped before the rest is left unread: a file of nothing but mistakes of
which each is too much like the last to be reported again."""
