"""Wording that stages share: the nearest known name to a misspelt one, lists in words, and the author's text made fit for a
message."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

_LONGEST: Final = 80  # names longer than this are compared by their beginning: the cost is quadratic
INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that cannot be seen, or that break a line."""


def distance(first: str, second: str, most: int = 4) -> int:
    """The number of letters inserted, left out, replaced or swapped with their neighbour; `most` + 1 where it is more."""
    if abs(len(first) - len(second)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, start=1):
        current = [i]
        for j, right in enumerate(second, start=1):
            cost = min(row[j] + 1, current[j - 1] + 1, row[j - 1] + (left != right))
            if i > 1 and j > 1 and left == second[j - 2] and first[i - 2] == right:
                cost = min(cost, before[j - 2] + 1)
            current.append(cost)
        if min(current) > most:
            return most + 1
        before, row = row, current
    return row[-1] if row[-1] <= most else most + 1


_START = 3
"""Letters by which a part of a name is known where it is shortened."""


def _allowed(length: int) -> int:
    """How many slips a name of that length forgives: a third of it, at most three."""
    return max(1, min(3, length // 3))


def ranked(wanted: str, known: Iterable[str]) -> list[tuple[int, str]]:
    """Known names within reach of a misspelling, nearest first, with their distance."""
    text = wanted.lower()[:_LONGEST].replace("-", "_")
    most = _allowed(len(text))
    found = []
    for name in dict.fromkeys(known):
        steps = distance(text, name.lower()[:_LONGEST].replace("-", "_"), most)
        if steps <= most and steps < max(len(text), 2):
            found.append((steps, name))
    return sorted(found, key=lambda entry: (entry[0], entry[1]))


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant; None where nothing is near, or where several are equally near."""
    found = ranked(wanted, known)
    if not found or (len(found) > 1 and found[0][0] == found[1][0]):
        return None
    return found[0][1]


def plain_slip(wanted: str, name: str) -> bool:
    """Whether a misspelling is one letter off a name long enough that it can mean nothing else."""
    return len(wanted) >= 5 and distance(wanted.lower(), name.lower(), 1) <= 1


def suggestions(wanted: str, known: Iterable[str], most: int = 3) -> tuple[str, ...]:
    """Up to `most` known names to offer, nearest first: by spelling, then those that hold the text or all its parts
    (`max_seqs` of `max_num_seqs`), then those whose parts begin as its parts do (`max_num_sequences`)."""
    known = tuple(dict.fromkeys(known))
    found = [name for _, name in ranked(wanted, known)]
    folded = wanted.lower()[:_LONGEST]
    if len(folded) >= 3:
        found += [name for name in known if folded in name.lower() and name not in found]
        parts = set(_parts(folded))
        found += [name for name in known if len(parts) > 1 and parts <= set(_parts(name)) and name not in found]
        starts = {part[:_START] for part in parts}
        found += [
            name
            for name in known
            if len(parts) > 1 and starts == {part[:_START] for part in _parts(name)} and name not in found
        ]
    return tuple(found[:most])


def _parts(name: str) -> list[str]:
    return name.lower().replace("-", "_").split("_")


def listed(items: Iterable[str], last: str = "or") -> str:
    """`a`, `b` or `c`, each in back-quotes."""
    texts = [f"`{item}`" for item in items]
    if len(texts) < 2:
        return "".join(texts)
    return f"{', '.join(texts[:-1])} {last} {texts[-1]}"


def shown(text: str, longest: int = 40) -> str:
    """A text as messages quote it: control and invisible characters escaped, shortened where it is long."""
    safe = "".join(c if unicodedata.category(c) not in INVISIBLE else f"\\u{ord(c):04x}" for c in text[: longest + 1])
    return safe if len(text) <= longest else f"{safe[:longest]}…"
