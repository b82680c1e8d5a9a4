"""Single mistakes, made at random but always the same: what the parser is held to."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

from kcluster.syntax.tokens import NEWLINE, Token, lex


class Mutation(NamedTuple):
    """One mistake in a text."""

    kind: str
    what: str
    text: str


def _tokens(text: str) -> list[Token]:
    return [token for token in lex(text) if token.type not in ("BLANK", "COMMENT")]


def _line_of(text: str, at: int) -> str:
    start = text.rfind("\n", 0, at) + 1
    end = text.find("\n", at)
    return text[start : end if end >= 0 else len(text)].strip()


def token_mistakes(text: str, rng: random.Random, number: int) -> Iterator[Mutation]:
    """Tokens lost, doubled, exchanged with the next, or followed by a character that is none."""
    tokens = _tokens(text)
    for _ in range(number):
        at = rng.randrange(len(tokens) - 1)
        token, following = tokens[at], tokens[at + 1]
        kind = rng.choice(("delete", "double", "swap", "junk"))
        if kind == "delete":
            changed = text[: token.start] + text[token.end :]
        elif kind == "double":
            changed = text[: token.end] + " " + token.text + text[token.end :]
        elif kind == "swap":
            between = text[token.end : following.start]
            changed = text[: token.start] + following.text + between + token.text + text[following.end :]
        else:
            changed = text[: token.end] + rng.choice("@?^~!&|") + text[token.end :]
        if token.type == NEWLINE and kind != "delete":
            continue
        yield Mutation(f"{kind} {token.type}", _line_of(changed, token.start), changed)


def character_mistakes(text: str, rng: random.Random, number: int) -> Iterator[Mutation]:
    """One character lost, replaced or put in."""
    for _ in range(number):
        at = rng.randrange(len(text))
        kind = rng.choice(("lose", "replace", "put in"))
        character = rng.choice("abz019 _-./:=<>{}[]()\",'#*%\n\té×“\u200b\x07")
        changed = text[:at] + ("" if kind == "lose" else character) + text[at + (kind != "put in") :]
        yield Mutation(f"{kind} {character!r}", _line_of(changed, at), changed)


def truncations(text: str, rng: random.Random, number: int) -> Iterator[Mutation]:
    """The file ends early."""
    for _ in range(number):
        at = rng.randrange(len(text))
        yield Mutation("truncate", text[max(0, at - 30) : at], text[:at])


def noise(rng: random.Random, number: int) -> Iterator[bytes]:
    """Bytes that are no spec at all."""
    for _ in range(number):
        yield rng.randbytes(rng.randrange(400))
