"""Words behind `vllm serve` as flags with values, by the flag table of the engine's version."""

from __future__ import annotations

import re
from typing import Final

from kcluster.catalog.engines import FlagTable
from kcluster.importers.words import Problem, Setting, Word

_NEGATIVE: Final = re.compile(r"-\d")


def _is_flag(word: Word) -> bool:
    return word.text.startswith("-") and not _NEGATIVE.match(word.text) and word.text != "-"


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
        if equals and re.fullmatch(r"-[\w.-]*", name):
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
