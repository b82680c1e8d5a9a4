"""A baseline: findings that a project knows of and has put off, so that only new ones are reported.

A finding is known again by its code, its file and the text of its line, not by the line's number nor by the figures of its
message: it survives lines that move and figures that are refined, and not a change of the line itself. One that has become
graver is reported again.
"""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any, Final

from kcluster.diagnostics import Diagnostic, Severity
from kcluster.values import frozen

SCHEMA: Final = "kcluster.baseline/1"
_GRAVITY: Final[dict[str, int]] = {"note": 0, "warning": 1, "error": 2}


class NotABaseline(ValueError):
    """The text is no baseline; the exception's text says why."""


@frozen
class Baseline:
    """Fingerprint → the gravest severity that is known and put off, and the file, relative to the baseline's folder."""

    known: dict[str, tuple[Severity, str]]

    def new(
        self, found: Iterable[Diagnostic], folder: str, judged: Iterable[str]
    ) -> tuple[tuple[Diagnostic, ...], int, int]:
        """The findings that are not known (suppressed ones stay), how many are, and how many known ones of the files that were
        judged whole are gone.

        Args:
            folder: the baseline's folder, as paths of findings name it; empty for the working folder.
            judged: the paths of those files, as findings name them.
        """
        kept = []
        used = set()
        for one, mark in _marked(found, folder):
            severity, _ = self.known.get(mark, (None, ""))
            if severity is not None and _GRAVITY[one.severity] <= _GRAVITY[severity] and not one.suppressed:
                used.add(mark)
            else:
                kept.append(one)
        whole = {_relative(path, folder) for path in judged}
        gone = sum(path in whole and mark not in used for mark, (_, path) in self.known.items())
        return tuple(kept), len(used), gone


def read(text: str) -> Baseline:
    """A baseline as `write` wrote it.

    Raises:
        NotABaseline: it is something else.
    """
    try:
        table: Any = json.loads(text)
        if table["schema"] != SCHEMA:
            raise NotABaseline(f"its schema is not {SCHEMA}")
        known = {str(row["fingerprint"]): (row["severity"], str(row["path"])) for row in table["findings"]}
    except NotABaseline:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise NotABaseline("it is not a baseline of kcluster") from error
    if not all(severity in _GRAVITY for severity, _ in known.values()):
        raise NotABaseline("it holds severities that there are not")
    return Baseline(known)


def write(found: Iterable[Diagnostic], folder: str) -> tuple[str, int]:
    """The text of a baseline of these findings, suppressed ones left out, and how many it holds."""
    rows = [
        {
            "code": one.code,
            "severity": one.severity,
            "path": _relative(one.source.path, folder),
            "message": one.message,
            "fingerprint": mark,
        }
        for one, mark in _marked(found, folder)
        if not one.suppressed
    ]
    return json.dumps({"schema": SCHEMA, "findings": rows}, indent=2) + "\n", len(rows)


def _marked(found: Iterable[Diagnostic], folder: str) -> Iterator[tuple[Diagnostic, str]]:
    """Each finding with its fingerprint. The text of a line may hold what should not be copied: only its hash is kept."""
    seen: dict[str, int] = {}
    for one in found:
        line = one.source.line(one.source.position(one.span.start).line).strip()
        whole = "\0".join((one.code, _relative(one.source.path, folder), line))
        seen[whole] = seen.get(whole, 0) + 1
        yield one, f"{sha256(whole.encode('utf-8', 'replace')).hexdigest()[:32]}:{seen[whole]}"


def _relative(path: str, folder: str) -> str:
    return posixpath.relpath(path, folder) if folder and posixpath.isabs(path) == posixpath.isabs(folder) else path
