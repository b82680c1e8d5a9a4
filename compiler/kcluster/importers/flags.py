"""Words behind `vllm serve` as flags with values, by the flag table of the engine's version."""

from __future__ import annotations

import re
from typing import Final

from kcluster.catalog.engines import FlagTable
from kcluster.importers.words import Problem, Setting, Word

_NEGATIVE: Final = re.compile(r"-\d")
_DASHES: Final = ("-", "\N{EN DASH}", "\N{EM DASH}")
"""What flags begin with; the last two are what editors make of two hyphens."""


def _is_flag(word: Word) -> bool:
    return word.text.startswith(_DASHES) and not _NEGATIVE.match(word.text) and word.text not in _DASHES


def _meant(name: str, table: FlagTable) -> str:
    """The flag that a name with other dashes stands for (`—model`, `-model`, `--tp`), and `-O.key` as versions before 0.12 took it;
    empty where that is none or several."""
    bare = name.lstrip("".join(_DASHES))
    if bare.startswith("O."):
        return f"-cc{bare[1:]}" if table.match("-cc") is not None else ""
    if len(bare) < 2:
        return ""
    return next((one for one in (f"--{bare}", f"-{bare}") if one != name and table.match(one) is not None), "")


def read_flags(
    words: tuple[Word, ...], table: FlagTable
) -> tuple[tuple[Setting, ...], tuple[Word, ...], tuple[Problem, ...]]:
    """The flags, the words that belong to none, and what is wrong with how they are written.

    Underscores, aliases, abbreviations, `=`, `--no-`, dotted keys and lists are read as the engine's parser does. A flag that
    the table lacks keeps the one word behind it that is no flag as its value.
    """
    settings: list[Setting] = []
    loose: list[Word] = []
    problems: list[Problem] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not _is_flag(word):
            loose.append(word)
            continue
        joined: Word | None = None
        name, equals, _ = word.text.partition("=")
        if equals and re.fullmatch(r"[-\N{EN DASH}\N{EM DASH}][\w.-]*", name):
            joined = word.part(len(name) + 1)
        elif " " in name.strip() and not word.unset:
            name = name.split()[0]
            joined = word.part(word.text.index(" ") + 1)
            problems.append(
                Problem(
                    "KC801",
                    f"`{word.text}` is one word to the engine, which has no flag of that name: "
                    "flag and value are two items of the list",
                    word.span,
                    help=f"write `{name}` and `{joined.text}` as two items, or `{name}={joined.text}`",
                )
            )
        meant = _meant(name, table) if not word.unset and table.match(name) is None else ""
        if meant:
            place = word.part(0, len(name)).span
            problems.append(
                Problem("KC801", f"the engine has no flag `{name}`: `{meant}` is one", place, fix=(place, meant))
            )
            name = meant
        setting, at = _setting(word, name, joined, words, at, table)
        settings.append(setting)
    return tuple(settings), tuple(loose), tuple(problems)


def _setting(
    word: Word, name: str, joined: Word | None, words: tuple[Word, ...], at: int, table: FlagTable
) -> tuple[Setting, int]:
    match = table.match(name)
    if match is None:
        gone = table.gone.get("--" + name.lstrip("-").replace("_", "-"))
        takes = gone.takes_value if gone is not None else True
        flag, key, on, several = name, "", True, False
    else:
        flag, key, on = match.flag.name, match.key, not match.negated
        takes = match.flag.takes_value and on
        several = match.flag.nargs == "+" and not key
        if match.value:
            return Setting(flag, (word.part(len(word.text) - len(match.value)),), word.span, key, on), at
    values: list[Word] = [] if joined is None else [joined]
    if joined is None and takes:
        while at < len(words) and not _is_flag(words[at]) and (several or not values):
            values.append(words[at])
            at += 1
    span = word.span
    for value in values:
        span = span.cover(value.span)
    return Setting(flag, tuple(values), span, key, on), at
