"""What only follows from a syntax error: findings in a statement that did not parse are mostly the same mistake seen again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kcluster.diagnostics import Diagnostic
from kcluster.source import Source, Span

# Findings about what stands in the text or is missing from it; a suppression or an unused block is none of them.
_ECHOES: Final = frozenset({"KC006", "KC007", "KC101", "KC102", "KC103", "KC104", "KC105", "KC106", "KC107", "KC110"})


class Broken:
    """The places of every file where the syntax is broken."""

    def __init__(self, syntax: Iterable[Diagnostic]) -> None:
        self._lines: dict[str, set[int]] = {}
        self._after: dict[str, set[int]] = {}
        """Lines after one that broke off at its end: what stands there may be the rest of it."""
        self._spans: dict[str, list[Span]] = {}
        self.learn(syntax)

    def learn(self, found: Iterable[Diagnostic]) -> None:
        """Note the syntax errors among findings (KC001 to KC005)."""
        for finding in found:
            if not "KC001" <= finding.code <= "KC005":
                continue
            source = finding.source
            first = source.position(finding.span.start).line
            last = source.position(max(finding.span.start, finding.span.end - 1)).line
            self._lines.setdefault(source.path, set()).update((first, last))
            if not source.text[finding.span.end : source.offset(last, len(source.line(last)) + 1)].strip():
                self._after.setdefault(source.path, set()).add(last + 1)
            self._spans.setdefault(source.path, []).append(finding.span)

    def without_echoes(self, found: Iterable[Diagnostic]) -> list[Diagnostic]:
        """The findings that say something of their own: not on a line that did not parse, and nothing missing from a block
        part of which did not."""
        if not self._lines:
            return list(found)
        return [finding for finding in found if not self._echo(finding)]

    def _echo(self, finding: Diagnostic) -> bool:
        path = finding.source.path
        if path not in self._lines or finding.code not in _ECHOES:
            return False
        line = finding.source.position(finding.span.start).line
        rest = finding.code in ("KC101", "KC102") and line in self._after.get(path, ())
        return rest or line in self._lines[path]

    def begins(self, source: Source, word: str) -> bool:
        """Whether a line that did not parse begins with a word: its block may be one of that kind, under whatever name."""
        lines = self._lines.get(source.path, set())
        return any(source.line(line).lstrip().startswith(word) for line in lines)

    def inside(self, source: Source, span: Span) -> bool:
        """Whether the syntax is broken somewhere in a stretch of text, its end included."""
        return any(span.start <= place.start <= span.end for place in self._spans.get(source.path, ()))


NOTHING_BROKEN: Final = Broken(())
