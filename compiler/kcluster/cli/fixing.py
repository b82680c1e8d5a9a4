"""`lint --fix` and `--diff`: mending specs on disk, on standard input, or only in a diff."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kcluster.cli.common import FINDINGS, OK, Input, difference, hand_on, replace_file, say
from kcluster.cli.linting import Settings, source_of
from kcluster.diagnostics import Diagnostic
from kcluster.fixes import Fixed, fix
from kcluster.source import Source
from kcluster.values import evolve

_BOM = "\ufeff"


def mend(specs: Sequence[Input], arguments: argparse.Namespace, settings: Settings) -> tuple[tuple[Input, ...], int]:
    """Apply fixes to specs, where they are or only in a diff.

    Returns:
        The specs as they are now, and the exit code of --diff.
    """
    mended, number, files, left = [], 0, 0, 0
    for one in specs:
        fixed = _fixed(one, settings, unsafe=arguments.unsafe_fixes)
        now = _with_text(one, fixed.text) if fixed is not None else one
        mended.append(now)
        left += sum(found.severity == "error" and not found.suppressed for found in fixed.left) if fixed else 0
        if one.from_stdin and not arguments.diff:
            hand_on(now.data)
        if fixed is None or now.data == one.data:
            continue
        number, files = number + len(fixed.applied), files + 1
        if arguments.diff:
            say(difference(one.path, one.data.decode(), now.data.decode(), "fixed"))
        elif not one.from_stdin:
            replace_file(Path(one.path), now.data)
    _report(number, files, "would fix" if arguments.diff else "fixed")
    return tuple(mended), FINDINGS if number or left else OK


def _report(number: int, files: int, verb: str) -> None:
    if number:
        findings, in_files = "" if number == 1 else "s", "" if files == 1 else "s"
        sys.stderr.write(f"{verb} {number} finding{findings} in {files} file{in_files}\n")
    else:
        sys.stderr.write("nothing to fix\n")


def _fixed(one: Input, settings: Settings, *, unsafe: bool) -> Fixed | None:
    """The spec's text with its fixes; None where the bytes are no text that could be written back."""
    from kcluster.pipeline import check_source

    source = source_of(one)
    if _with_text(one, source.text).data != one.data:
        return None

    def check(text: str) -> tuple[Diagnostic, ...]:
        checked = check_source(Source(one.path, text), folder=one.folder)
        return settings.graded(one, checked.diagnostics)

    return fix(source, check, unsafe=unsafe)


def _with_text(one: Input, text: str) -> Input:
    """The same spec with another text; a byte order mark stays."""
    mark = _BOM if one.data.startswith(_BOM.encode()) else ""
    return evolve(one, data=(mark + text).encode("utf-8", "replace"))
