"""`# kcluster: ignore[KC204] reason`: where it holds, and what becomes of the findings.

At the end of a line it holds for that line; on a line of its own for the attribute or block that follows; as the file's first
line for the file. Without a reason it silences nothing, and one that silences nothing is itself reported (KC111).
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import Final

from kcluster.diagnostics import CODES, Diagnostic, Edit, Fix, code_of
from kcluster.diagnostics.wording import listed, suggestions
from kcluster.source import Span
from kcluster.spec.removing import remove_comment
from kcluster.spec.types import Spec, Suppression
from kcluster.syntax.ast import Attribute, Block, Comment, File, Item
from kcluster.values import evolve

_OURS: Final = r"#\s*kcluster\s*:\s*(?P<rest>.*)"
_IGNORE: Final = r"ignore\s*\[(?P<codes>[^\]]*)\](?P<reason>.*)"
# Findings of these come from the text and the blocks themselves: they are there whether or not a plan could be made.
_EARLY: Final = ("KC0", "KC1")


def suppressions_of(file: File) -> tuple[Suppression, ...]:
    """Every comment of a file that speaks to kcluster, in order. One that cannot be understood has no codes."""
    found = []
    places: _Places | None = None
    for comment in file.comments:
        ours = re.match(_OURS, comment.text, re.DOTALL) if "kcluster" in comment.text else None
        if ours is None:
            continue
        parts = re.match(_IGNORE, ours["rest"], re.DOTALL)
        codes = tuple(text.strip() for text in parts["codes"].split(",") if text.strip()) if parts else ()
        reason = " ".join(parts["reason"].split()).lstrip(":-– ") if parts else ""
        places = places or _Places(file)
        found.append(Suppression(codes, reason, comment.span, places.scope(comment), file.source))
    return tuple(found)


class _Places:
    """Where the items of a file stand, for looking up what a comment speaks of."""

    def __init__(self, file: File) -> None:
        self.source = file.source
        self.blocks: dict[int, tuple[list[int], list[Item]]] = {}
        """Of each block (0: the file) the starts of its items, and the items in the same order."""
        self.begun: dict[int, int] = {}
        """Of each line on which an attribute ends that began on an earlier line: where that one begins."""
        waiting: list[tuple[int, tuple[Item, ...]]] = [(0, file.items)]
        while waiting:
            key, items = waiting.pop()
            ordered = sorted(items, key=lambda item: item.span.start)
            self.blocks[key] = ([item.span.start for item in ordered], ordered)
            for item in ordered:
                if isinstance(item, Block):
                    waiting.append((id(item), item.items))
                elif isinstance(item, Attribute):
                    self._note_end(item)

    def _note_end(self, item: Attribute) -> None:
        last = self.source.position(max(item.span.start, item.span.end - 1)).line
        if self.source.position(item.span.start).line < last:
            self.begun[last] = min(item.span.start, self.begun.get(last, item.span.start))

    def scope(self, comment: Comment) -> Span | None:
        """The stretch of text that a comment speaks of; None for the whole file."""
        line = self.source.position(comment.span.start).line
        if not comment.own_line:
            start = self.source.offset(line, 1)
            return Span(min(start, self.begun.get(line, start)), max(start, comment.span.end))
        if line == 1:
            return None
        following = self._following(comment.span.start)
        return following.span if following is not None else self._next_line(line, comment)

    def _following(self, at: int) -> Item | None:
        """The first item after an offset inside the same block."""
        key = 0
        for _ in range(len(self.blocks)):
            starts, items = self.blocks[key]
            index = bisect_right(starts, at)
            before = items[index - 1] if index else None
            if not isinstance(before, Block) or at >= before.span.end or id(before) not in self.blocks:
                return items[index] if index < len(items) else None
            key = id(before)
        return None

    def _next_line(self, number: int, comment: Comment) -> Span:
        """The next line that is neither empty nor a comment: what follows where the tree does not say."""
        for line in range(number + 1, min(self.source.lines, number + 100) + 1):
            text = self.source.line(line).strip()
            if text == "}":
                break
            if text and not text.startswith("#"):
                start = self.source.offset(line, 1)
                return Span(start, start + len(self.source.line(line)))
        return comment.span


# Applying


def apply_suppressions(file: File, spec: Spec | None, diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The findings with those marked that a suppression covers, and a finding (KC111) for each suppression that has no
    reason, names no code, or covers nothing.

    `spec` is None where the file did not resolve; the file's own comments count then. A suppression of a later stage's code
    is not called useless while errors of an earlier one keep that stage from speaking.
    """
    suppressions = spec.suppressions if spec is not None else suppressions_of(file)
    found = tuple(diagnostics)
    holding = _holding(suppressions)
    used: dict[int, set[str]] = {}
    marked = []
    for diagnostic in found:
        holds = holding.get((diagnostic.source.path, diagnostic.code))
        covering = holds.covering(diagnostic.span.start) if holds is not None else []
        for index in covering:
            used.setdefault(index, set()).add(diagnostic.code)
        marked.append(evolve(diagnostic, suppressed=suppressions[covering[0]].reason) if covering else diagnostic)
    early = spec is None or any(d.severity == "error" and d.code.startswith(_EARLY) for d in marked)
    for index, suppression in enumerate(suppressions):
        marked += _useless(suppression, used.get(index, set()), early)
    return tuple(marked)


def _codes(suppression: Suppression) -> tuple[str, ...]:
    known = (code_of(text) for text in suppression.codes)
    return tuple(code.code for code in known if code is not None)


class _Holds:
    """The suppressions of one code in one file by where they begin, with how far any of them so far reaches."""

    def __init__(self, scopes: list[tuple[int, int, int]]) -> None:
        self.scopes = sorted(scopes)
        self.starts = [start for start, _, _ in self.scopes]
        self.reach = list(accumulate((end for _, end, _ in self.scopes), max))

    def covering(self, at: int) -> list[int]:
        """The indices of those that hold at an offset, in the order of the file."""
        found = []
        place = bisect_right(self.starts, at) - 1
        while place >= 0 and self.reach[place] >= at:
            _, end, index = self.scopes[place]
            if end >= at:
                found.append(index)
            place -= 1
        return sorted(found)


def _holding(suppressions: tuple[Suppression, ...]) -> dict[tuple[str, str], _Holds]:
    """Those with a reason, by file and code. One for the whole file holds from its beginning to its end."""
    scopes: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
    for index, suppression in enumerate(suppressions):
        scope = suppression.scope or Span(0, len(suppression.source.text))
        for code in _codes(suppression) if suppression.reason else ():
            scopes.setdefault((suppression.source.path, code), []).append((scope.start, scope.end, index))
    return {key: _Holds(found) for key, found in scopes.items()}


def _useless(suppression: Suppression, used: set[str], early: bool) -> list[Diagnostic]:
    codes = _codes(suppression)
    idle = [code for code in dict.fromkeys(codes) if code not in used and (not early or code.startswith(_EARLY))]
    unknown = [text for text in suppression.codes if code_of(text) is None]
    help_: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()
    if not suppression.codes:
        message = "this is no suppression"
        help_ = ("write `# kcluster: ignore[KC204] reason`",)
    elif unknown:
        message = f"there is no code {listed(unknown)}"
        near = suggestions(unknown[0].upper(), CODES) or suggestions(unknown[0], [code.name for code in CODES.values()])
        help_ = (f"did you mean {listed(near)}?",) if near else ("`kcluster explain --list` shows all",)
    elif not suppression.reason:
        message = f"the suppression of {listed(codes, 'and')} has no reason, and holds only with one"
        help_ = (f"write it after the bracket: `# kcluster: ignore[{', '.join(suppression.codes)}] reason`",)
    elif not idle:
        return []
    elif len(idle) < len(set(codes)) and any(code.startswith("KC0") for code in used):
        return []  # one mistake of the syntax hides another
    elif len(idle) < len(set(codes)):
        message = f"this suppression silences no {listed(idle)}"
        fixes = _without(suppression, idle)
    else:
        message = f"this suppression of {listed(codes, 'and')} silences nothing"
        help_ = ("delete it",)
        fixes = remove_comment("delete it", suppression.source, suppression.span)
    severity = CODES["KC111"].severity
    return [Diagnostic("KC111", message, suppression.source, suppression.span, severity, help=help_, fixes=fixes)]


def _without(suppression: Suppression, idle: list[str]) -> tuple[Fix, ...]:
    """The fix that takes codes out of a suppression of several."""
    text = suppression.source.slice(suppression.span)
    first, last = text.index("[") + 1, text.index("]")
    kept = [word for word in suppression.codes if (known := code_of(word)) is None or known.code not in idle]
    span = Span(suppression.span.start + first, suppression.span.start + last)
    return (Fix(f"leave out {listed(idle, 'and')}", (Edit(span, ", ".join(kept)),), "safe"),)
