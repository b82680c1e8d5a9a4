"""The Python interface: five functions over the same frozen values as the command line."""

from __future__ import annotations

from pathlib import Path

from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import Checked, check_source, decode_and_check
from kcluster.planner.types import Plan
from kcluster.source import Source
from kcluster.targets.types import Artifact

__all__ = ["Checked", "SpecError", "check", "compile_", "format_", "load", "plan"]


class SpecError(ValueError):
    """A spec has errors where a function needs it to have none. `diagnostics` says which."""

    def __init__(self, diagnostics: tuple[Diagnostic, ...]) -> None:
        self.diagnostics = diagnostics
        first = diagnostics[0]
        place = first.source.position(first.span.start)
        more = f" (and {len(diagnostics) - 1} more)" if len(diagnostics) > 1 else ""
        super().__init__(f"{first.source.path}:{place.line}:{place.column}: {first.code}: {first.message}{more}")


def check(text: str, *, path: str = "<text>", folder: Path | None = None) -> tuple[Diagnostic, ...]:
    """Every finding of a spec, in order; suppressed ones carry their reason.

    `folder` is where relative paths in the spec start from; without it nothing is read from disk.
    """
    return check_source(Source(path, text), folder=folder).diagnostics


def plan(text: str, *, path: str = "<text>", folder: Path | None = None) -> Plan:
    """The plan of a spec, also where it does not fit (its candidates then say why).

    Raises:
        SpecError: the text could not be resolved to a spec.
    """
    checked = check_source(Source(path, text), folder=folder)
    if checked.plan is None:
        raise SpecError(checked.errors)
    return checked.plan


def compile_(
    text: str, *, path: str = "<text>", folder: Path | None = None, targets: tuple[str, ...] | None = None
) -> tuple[Artifact, ...]:
    """The artifacts of a spec, as `kcluster compile` would write them.

    Raises:
        SpecError: the spec has errors that are not suppressed.
    """
    from kcluster.targets import emit

    checked = check_source(Source(path, text), folder=folder)
    if checked.plan is None or checked.errors:
        raise SpecError(checked.errors)
    return emit(checked.plan, targets)


def format_(text: str, *, path: str = "<text>") -> str:
    """A spec in canonical layout, comments kept.

    Raises:
        SpecError: the text has syntax errors; nothing is formatted then.
    """
    from kcluster.syntax.formatter import format_source
    from kcluster.syntax.parser import parse

    source = Source(path, text)
    _, findings = parse(source)
    errors = tuple(finding for finding in findings if finding.severity == "error")
    if errors:
        raise SpecError(errors)
    return format_source(source)


def load(path: str | Path) -> Checked:
    """Read and check a file.

    Raises:
        OSError: the file cannot be read.
    """
    place = Path(path)
    return decode_and_check(place.read_bytes(), place.as_posix(), folder=place.parent)
