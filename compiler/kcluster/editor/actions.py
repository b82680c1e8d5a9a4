"""What an editor offers to do about findings: their fixes, all safe fixes of a file at once, and ignoring one with a reason."""

from __future__ import annotations

from collections.abc import Iterable

from kcluster.diagnostics import Diagnostic, Edit, Safety
from kcluster.fixes import Check, fix
from kcluster.source import Source, Span
from kcluster.values import frozen


@frozen(eq=False)
class Action:
    """Edits with a title. `preferred`: the one to take without thinking."""

    title: str
    finding: Diagnostic
    edits: tuple[Edit, ...]
    safety: Safety
    preferred: bool = False


def actions(found: Iterable[Diagnostic], source: Source, span: Span) -> tuple[Action, ...]:
    """The actions for the findings of a source that touch a place."""
    made: list[Action] = []
    for finding in found:
        if finding.suppressed or finding.source.path != source.path:
            continue
        if finding.span.end < span.start or span.end < finding.span.start:
            continue
        for one in finding.fixes:
            if one.edits and one.safety != "display":
                safe = one.safety == "safe"
                title = one.message if safe else f"{one.message} (check what it changes)"
                made.append(Action(title, finding, one.edits, one.safety, preferred=safe))
        if not finding.code.startswith("KC0"):
            made.append(Action(f"ignore {finding.code} here", finding, (_ignored(finding, source),), "unsafe"))
    return tuple(made)


def _ignored(finding: Diagnostic, source: Source) -> Edit:
    """A suppression on a line of its own above the finding; its reason is the author's to write."""
    line = source.position(finding.span.start).line
    start = source.offset(line, 1)
    text = source.line(line)
    indent = text[: len(text) - len(text.lstrip())]
    return Edit(Span(start, start), f"{indent}# kcluster: ignore[{finding.code}] why this is fine\n")


def all_fixed(source: Source, check: Check) -> Edit | None:
    """All safe fixes of a file as one edit; None where there is nothing to do."""
    fixed = fix(source, check)
    return whole(source, fixed.text)


def whole(source: Source, text: str) -> Edit | None:
    """The smallest edit that turns a source into a text; None where it is that already."""
    old = source.text
    if old == text:
        return None
    start = 0
    limit = min(len(old), len(text))
    while start < limit and old[start] == text[start]:
        start += 1
    end = 0
    while end < limit - start and old[len(old) - 1 - end] == text[len(text) - 1 - end]:
        end += 1
    return Edit(Span(start, len(old) - end), text[start : len(text) - end])
