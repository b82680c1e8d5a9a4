"""One mistake, one finding: real specs, spoilt in one place each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

from kcluster.source import Source
from kcluster.syntax.limits import MAX_REPORTED
from kcluster.syntax.parser import decode, parse

from .mutations import Mutation, character_mistakes, noise, token_mistakes, truncations
from .reading import EXAMPLE, mended, specs

SEED = 20261123
TEXTS = [EXAMPLE, *(path.read_text(encoding="utf-8") for path in specs())]


def counted(mutations: Iterable[Mutation]) -> Counter[int]:
    counts: Counter[int] = Counter()
    for mutation in mutations:
        _, found = parse(Source("t.kcluster", mutation.text))
        places = [one.span for one in found]
        assert all(0 <= span.start <= span.end <= len(mutation.text) for span in places), mutation
        assert len(found) <= 3, (mutation.kind, mutation.what, [one.message for one in found])
        counts[len(found)] += 1
    return counts


def share_of_one(counts: Counter[int]) -> float:
    """Of the mistakes that the syntax can see, how many give exactly one finding."""
    seen = sum(number for findings, number in counts.items() if findings)
    return counts[1] / seen


def test_mistakes_with_tokens() -> None:
    counts: Counter[int] = Counter()
    for number, text in enumerate(TEXTS):
        counts += counted(token_mistakes(text, random.Random(SEED + number), 120))
    assert share_of_one(counts) >= 0.97, counts
    # Of 100 some 17 are no mistakes of syntax: a line end less after a block, a label more, a word for another.
    assert counts[0] <= 0.25 * counts.total(), counts


def test_mistakes_with_characters() -> None:
    counts: Counter[int] = Counter()
    for number, text in enumerate(TEXTS):
        counts += counted(character_mistakes(text, random.Random(SEED + number), 120))
    assert share_of_one(counts) >= 0.95, counts


def test_truncated_files() -> None:
    counts = counted(truncations(EXAMPLE, random.Random(SEED), 150))
    assert share_of_one(counts) >= 0.95, counts


def test_noise() -> None:
    for data in noise(random.Random(SEED), 200):
        source, decoded = decode(data, "t")
        _, found = parse(source)
        assert len(decoded) <= 3
        assert len(found) <= MAX_REPORTED


def test_two_mistakes_far_apart_are_both_found() -> None:
    rng = random.Random(SEED)
    both = 0
    tried = 0
    half = EXAMPLE.index("sla agents")
    for one in token_mistakes(EXAMPLE[:half], rng, 60):
        other = next(iter(token_mistakes(EXAMPLE[half:], rng, 1)), None)
        if other is None:
            continue
        first, second = (
            parse(Source("t", one.text + EXAMPLE[half:]))[1],
            parse(Source("t", EXAMPLE[:half] + other.text))[1],
        )
        if len(first) != 1 or len(second) != 1:
            continue
        tried += 1
        both += len(parse(Source("t", one.text + other.text))[1]) == 2
    assert tried > 30
    assert both >= 0.9 * tried


def test_safe_fixes_leave_sound_texts() -> None:
    """A fix is called safe where it writes what the author must have meant: then nothing of the mistake is left."""
    offered = sound = 0
    for number, text in enumerate(TEXTS):
        for mutation in token_mistakes(text, random.Random(SEED + number), 100):
            _, found = parse(Source("t", mutation.text))
            if len(found) == 1 and found[0].fixes and found[0].fixes[0].safety == "safe" and found[0].fixes[0].edits:
                offered += 1
                sound += not parse(Source("t", mended(mutation.text, found)))[1]
    assert offered > 100
    assert sound >= 0.97 * offered, (sound, offered)
