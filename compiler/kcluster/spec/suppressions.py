"""`# kcluster: ignore[KC204] reason`: where it holds, and what becomes of the findings.

At the end of a line it holds for that line; on a line of its own for the attribute or block that follows; as the file's first
line for the file. Without a reason it silences nothing, and one that silences nothing is itself reported (KC111).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from attrs import evolve

from kcluster.diagnostics import CODES, Diagnostic, code_of
from kcluster.diagnostics.wording import listed, suggestions
from kcluster.source import Span
from kcluster.spec.types import Spec, Suppression
from kcluster.syntax.ast import Attribute, Block, Comment, File, Item

_OURS: Final = re.compile(r"#\s*kcluster\s*:\s*(?P<rest>.*)", re.DOTALL)
_IGNORE: Final = re.compile(r"ignore\s*\[(?P<codes>[^\]]*)\](?P<reason>.*)", re.DOTALL)
# Findings of these come from the text and the blocks themselves: they are there whether or not a plan could be made.
_EARLY: Final = ("KC0", "KC1")


def suppressions_of(file: File) -> tuple[Suppression, ...]:
    """Every comment of a file that speaks to kcluster, in order. One that cannot be understood has no codes."""
    found = []
    for comment in file.comments:
        ours = _OURS.match(comment.text)
        if ours is None:
            continue
        parts = _IGNORE.match(ours["rest"])
        codes = tuple(text.strip() for text in parts["codes"].split(",") if text.strip()) if parts else ()
        reason = " ".join(parts["reason"].split()).lstrip(":-– ") if parts else ""
        found.append(Suppression(codes, reason, comment.span, _scope(comment, file), file.source))
    return tuple(found)


def _scope(comment: Comment, file: File) -> Span | None:
    """The stretch of text that a comment speaks of; None for the whole file."""
    line = file.source.position(comment.span.start).line
    if not comment.own_line:
        start = file.source.offset(line, 1)
        ends = [
            item.span for item in _items(file.items) if isinstance(item, Attribute) and _touches(item, start, comment)
        ]
        return Span(min([start, *(span.start for span in ends)]), comment.span.end)
    if line == 1:
        return None
    following = _following(comment, file)
    if following is not None:
        return following.span
    return _next_line(comment, file)


def _touches(item: Attribute, start: int, comment: Comment) -> bool:
    """Whether an attribute ends on the comment's line, having begun before it."""
    return start <= item.span.end <= comment.span.start and item.span.start < start


def _items(items: Iterable[Item]) -> Iterable[Item]:
    """Every item, those inside blocks too."""
    waiting = list(items)
    while waiting:
        item = waiting.pop()
        yield item
        if isinstance(item, Block):
            waiting += item.items


def _following(comment: Comment, file: File) -> Item | None:
    """The first item after a comment inside the same block."""
    items = file.items
    at = comment.span.start
    while True:
        around = next(
            (item for item in items if isinstance(item, Block) and item.span.start < at < item.span.end), None
        )
        if around is None:
            break
        items = around.items
    return min((item for item in items if item.span.start > at), key=lambda item: item.span.start, default=None)


def _next_line(comment: Comment, file: File) -> Span:
    """The next line that is neither empty nor a comment: what follows where the tree does not say."""
    source = file.source
    number = source.position(comment.span.start).line
    for line in range(number + 1, source.lines + 1):
        text = source.line(line).strip()
        if text and not text.startswith("#") and text != "}":
            start = source.offset(line, 1)
            return Span(start, start + len(source.line(line)))
        if text == "}":
            break
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
    used: set[int] = set()
    marked = []
    for diagnostic in found:
        covering = [index for index, suppression in enumerate(suppressions) if _covers(suppression, diagnostic)]
        used.update(covering)
        marked.append(evolve(diagnostic, suppressed=suppressions[covering[0]].reason) if covering else diagnostic)
    early = spec is None or any(d.severity == "error" and d.code.startswith(_EARLY) for d in marked)
    for index, suppression in enumerate(suppressions):
        marked += _useless(suppression, index in used, early)
    return tuple(marked)


def _codes(suppression: Suppression) -> tuple[str, ...]:
    known = (code_of(text) for text in suppression.codes)
    return tuple(code.code for code in known if code is not None)


def _covers(suppression: Suppression, diagnostic: Diagnostic) -> bool:
    if not suppression.reason or diagnostic.source.path != suppression.source.path:
        return False
    if diagnostic.code not in _codes(suppression):
        return False
    scope = suppression.scope
    return scope is None or scope.start <= diagnostic.span.start <= scope.end


def _useless(suppression: Suppression, used: bool, early: bool) -> list[Diagnostic]:
    codes = _codes(suppression)
    unknown = [text for text in suppression.codes if code_of(text) is None]
    help_: tuple[str, ...] = ()
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
    elif used or (early and not all(code.startswith(_EARLY) for code in codes)):
        return []
    else:
        message = f"this suppression of {listed(codes, 'and')} silences nothing"
        help_ = ("delete it",)
    severity = CODES["KC111"].severity
    return [Diagnostic("KC111", message, suppression.source, suppression.span, severity, help=help_)]
