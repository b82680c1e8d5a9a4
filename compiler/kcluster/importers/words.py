"""Words of a command with the places that they come from, and what is read out of them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from kcluster.source import Span
from kcluster.values import frozen

if TYPE_CHECKING:
    from kcluster.catalog.models import ModelMatch


@frozen
class Word:
    """One word as the program would get it.

    Attributes:
        text: quotes and variables resolved.
        places: the offset in the source of each character of the text.
        span: the word as written, quotes included.
        unset: variables in it that nothing sets; they stand in the text as written.
    """

    text: str
    places: tuple[int, ...]
    span: Span
    unset: tuple[str, ...] = ()

    def part(self, start: int, end: int | None = None) -> Word:
        """Some of its characters as a word."""
        end = len(self.text) if end is None else min(end, len(self.text))
        if start >= end:
            return Word("", (), Span(self.span.end, self.span.end), self.unset)
        places = self.places[start:end]
        return Word(self.text[start:end], places, Span(places[0], max(places[-1] + 1, places[0] + 1)), self.unset)


def whole(text: str) -> Word:
    """A whole text as one word."""
    return Word(text, tuple(range(len(text))), Span(0, len(text)))


@frozen
class Command:
    """A simple command: its words after expansion, the environment that it gets, and whether what follows it waits for its end."""

    words: tuple[Word, ...]
    env: tuple[tuple[str, Word], ...] = ()
    waits: bool = False


@frozen
class Problem:
    """Something wrong with the command itself, which no spec could say."""

    code: str
    message: str
    span: Span
    severity: Literal["error", "warning", "note"] = "error"
    help: str = ""
    note: str = ""
    fix: tuple[Span, str] | None = None
    """What would mend it: a place and the text that belongs there."""


@frozen
class Setting:
    """One flag. `flag` is the engine's own name of it, or as written where it has none; a switch has no values.

    Attributes:
        key: the rest of a dotted flag.
        on: False for the `--no-` form.
        span: flag and values as written.
        elsewhere: whether another file says it, which the command only names.
    """

    flag: str
    values: tuple[Word, ...]
    span: Span
    key: str = ""
    on: bool = True
    elsewhere: bool = False

    @property
    def text(self) -> str:
        return self.values[0].text if self.values else ""

    @property
    def unset(self) -> tuple[str, ...]:
        return tuple(name for word in self.values for name in word.unset)


@frozen
class Launch:
    """One server that a text starts.

    Attributes:
        name: what the text calls it, empty where it has no name.
        model: None where it is not said.
        cards: cards that the text gives it, 0 where it does not say.
        indices: which cards, where the text says.
        version: from the image's tag, empty where that does not say.
        ray: whether the same text starts Ray.
        small_shm: whether it runs in a container that says nothing of shared memory, and so gets 64 MiB.
        span: program and arguments.
        gpus, replicas, weights: what a description says that a command cannot; empty and 1 elsewhere.
        load: of the SLA, each an attribute with its sign and the value.
        open: whether axes that are not said are open, and not what the engine takes by itself.
        outside: where the model lies outside of its container, empty where no mount says so.
        written: whether it is shell text, into which flags can be written.
        waits: whether what stands behind it in a script starts when it has ended.
        own: the model as the project's catalog or a config.json beside its weights describes it.
        config: that config.json, as a spec names it.
    """

    model: Word | None
    settings: tuple[Setting, ...]
    env: tuple[tuple[str, Word], ...]
    span: Span
    name: str = ""
    cards: int = 0
    indices: tuple[int, ...] = ()
    version: str = ""
    image: str = ""
    ray: bool = False
    small_shm: bool = False
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    gpus: str = ""
    replicas: int = 1
    weights: str = ""
    load: tuple[tuple[str, str], ...] = ()
    open: bool = False
    outside: str = ""
    written: bool = True
    waits: bool = False
    own: ModelMatch | None = None
    config: str = ""

    def setting(self, flag: str) -> Setting | None:
        """The last of a flag, which is the one that counts."""
        return next((one for one in reversed(self.settings) if one.flag == flag and not one.key), None)


def size_of(text: str) -> int | None:
    """A number of tokens as flags take it: `8192`, `8k` of 1,000, `8K` of 1,024; None for anything else."""
    found = re.fullmatch(r"([0-9]{1,12})(?:\.0)?([kKmM]?)", text)
    return int(found[1]) * {"": 1, "k": 10**3, "m": 10**6, "K": 2**10, "M": 2**20}[found[2]] if found else None


def count_of(text: str) -> int | None:
    """A whole number as a command may give it, up to a million: not what else Python takes for digits, nor what no machine has."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
