"""Applying fixes: those that do not touch each other at once, then judging the text anew, until nothing changes.

A fix says of itself whether it is safe, but nothing is taken on trust: what leaves the text no better is taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from kcluster.diagnostics import Diagnostic, Edit, Fix, Safety
from kcluster.source import Source
from kcluster.values import frozen

MAX_ROUNDS: Final = 3
_ERRORS: Final = 2
"""The last of the kinds of `Grade` that are errors."""
MAX_AT_ONCE: Final = 50
"""Fixes of one round; the next takes further ones."""

Check = Callable[[str], tuple[Diagnostic, ...]]
Grade = tuple[int, int, int, int, int]


@frozen
class Fixed:
    """A text with its fixes made. `applied`: the findings that they mended; `rounds`: how often the text changed; `left`: what is
    found in it now."""

    text: str
    applied: tuple[Diagnostic, ...]
    rounds: int
    left: tuple[Diagnostic, ...]


@frozen
class _Chosen:
    finding: Diagnostic
    fix: Fix


def fix(source: Source, check: Check, *, unsafe: bool = False) -> Fixed:
    """Apply the safe fixes of a text, the unsafe ones too where asked.

    Args:
        source: the text; findings of other files are left alone.
        check: gives the findings of a text at the source's path.
    """
    text = source.text
    found = check(text)
    applied: list[Diagnostic] = []
    rounds = 0
    while rounds < MAX_ROUNDS:
        chosen = _compatible(found, source.path, unsafe)
        text_after, found_after, made = _improve(text, found, chosen, check)
        if not made:
            break
        text, found = text_after, found_after
        applied += [one.finding for one in made]
        rounds += 1
    return Fixed(text, tuple(applied), rounds, found)


def usable(finding: Diagnostic, unsafe: bool) -> Fix | None:
    """The fix of a finding that may be applied: its first safe one, else its first unsafe one where those are asked for."""
    wanted: tuple[Safety, ...] = ("safe", "unsafe") if unsafe else ("safe",)
    for safety in wanted:
        for one in finding.fixes:
            if one.safety == safety and one.edits:
                return one
    return None


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """The text with edits made that do not overlap. Line ends of what is put in are those of the text."""
    windows = text.count("\r\n") * 2 > text.count("\n")
    for edit in sorted(edits, key=lambda one: (one.span.start, one.span.end), reverse=True):
        new = edit.text.replace("\n", "\r\n") if windows else edit.text
        text = text[: edit.span.start] + new + text[edit.span.end :]
    return text


def _compatible(found: Sequence[Diagnostic], path: str, unsafe: bool) -> list[_Chosen]:
    """Fixes in the order of their places, without those that touch an earlier one: they wait for the next round."""
    chosen: list[_Chosen] = []
    taken: list[Edit] = []
    for finding in found:
        one = usable(finding, unsafe) if not finding.suppressed and finding.source.path == path else None
        if one is None or len(chosen) >= MAX_AT_ONCE:
            continue
        if any(_touch(edit, other) for edit in one.edits for other in taken):
            continue
        chosen.append(_Chosen(finding, one))
        taken += one.edits
    return chosen


def _touch(one: Edit, other: Edit) -> bool:
    return one.span.start <= other.span.end and other.span.start <= one.span.end


def _improve(
    text: str, found: tuple[Diagnostic, ...], chosen: list[_Chosen], check: Check
) -> tuple[str, tuple[Diagnostic, ...], list[_Chosen]]:
    """The text with all of the fixes, or with those that make it better each by itself."""
    if not chosen:
        return text, found, []
    whole = _applied(text, chosen)
    after = check(whole)
    if _better(found, after, chosen):
        return whole, after, chosen
    if len(chosen) == 1:
        return text, found, []
    kept: list[_Chosen] = []
    best, now = text, found
    for one in chosen:
        tried = _applied(text, [*kept, one])
        after = check(tried)
        if _better(now, after, [one]):
            kept.append(one)
            best, now = tried, after
    return best, now, kept


def _applied(text: str, chosen: Iterable[_Chosen]) -> str:
    return apply_edits(text, (edit for one in chosen for edit in one.fix.edits))


def grade(found: Iterable[Diagnostic]) -> Grade:
    """How bad a text is, for comparing: syntax errors, errors of names and values, other errors, warnings, notes."""
    counts = [0, 0, 0, 0, 0]
    for one in found:
        if not one.suppressed:
            counts[_stage(one)] += 1
    return (counts[0], counts[1], counts[2], counts[3], counts[4])


def _stage(finding: Diagnostic) -> int:
    if finding.severity == "error":
        return 0 if finding.code.startswith("KC0") else 1 if finding.code.startswith("KC1") else 2
    return 3 if finding.severity == "warning" else 4


def _better(before: tuple[Diagnostic, ...], after: tuple[Diagnostic, ...], mended: Sequence[_Chosen]) -> bool:
    """Whether what the fixes were for is gone and nothing as grave came in its place. What could not be seen before, because the
    text was not understood or what it asks for does not start, does not count against a fix by which it is."""
    gone = [0, 0, 0, 0, 0]
    for one in mended:
        gone[_stage(one.finding)] += 1
    for stage, (old, new, less) in enumerate(zip(grade(before), grade(after), gone, strict=True)):
        if new > old - less:
            return False
        if less and stage <= _ERRORS:
            return True
    return True
