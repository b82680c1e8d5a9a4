"""How often each code was found, most often first: as a table, or as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kcluster.diagnostics import Diagnostic
from kcluster.render.places import as_json, name_of


def statistics(diagnostics: Sequence[Diagnostic], format_: str) -> str:
    """Counts of the findings that are not suppressed, by code and severity."""
    counts = Counter((found.code, found.severity) for found in diagnostics if not found.suppressed)
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    if format_ == "json":
        return as_json([{"code": c, "name": name_of(c), "severity": severity, "count": n} for (c, severity), n in rows])
    width = max((len(str(number)) for _, number in rows), default=1)
    return "".join(f"{n:>{width}}  {c}  {severity:<7}  {name_of(c)}\n" for (c, severity), n in rows)
