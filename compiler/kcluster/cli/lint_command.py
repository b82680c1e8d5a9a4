"""Report every finding of the given specs.

Exit codes: 0 no error, 1 errors (with --strict warnings too), 2 wrong usage, 3 an internal fault."""

from __future__ import annotations

import argparse
import sys

from kcluster.cli.common import FINDINGS, OK, UsageError, add_color, add_paths, inputs, say, wants_color, width_of
from kcluster.diagnostics import Diagnostic, at_worst, code_of
from kcluster.pipeline import decode_and_check
from kcluster.render import FORMATS, render, summary


def configure(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--format", choices=sorted(FORMATS), default="pretty", help="how findings are written (default: pretty)"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 on warnings too")
    parser.add_argument(
        "--select", metavar="CODES", action="append", default=[], help="report only these codes or prefixes (KC2,KC501)"
    )
    parser.add_argument(
        "--ignore", metavar="CODES", action="append", default=[], help="leave these codes or prefixes out"
    )
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    select, ignore = _codes(arguments.select), _codes(arguments.ignore)
    findings: list[Diagnostic] = []
    read = inputs(arguments.paths, arguments.stdin_filename)
    for one in read:
        checked = decode_and_check(one.data, one.path, folder=one.folder)
        findings += [d for d in checked.diagnostics if _wanted(d.code, select, ignore)]
    shown = tuple(findings)
    say(render(arguments.format, shown, color=wants_color(sys.stdout, arguments.color), width=width_of(sys.stdout)))
    if arguments.format == "pretty":
        say(summary(shown, files=len(read)))
    worst = at_worst(shown)
    return FINDINGS if worst == "error" or (worst == "warning" and arguments.strict) else OK


def _codes(given: list[str]) -> tuple[str, ...]:
    """Codes and prefixes of codes, checked: a misspelt one would silently select nothing."""
    codes = []
    for text in (part.strip() for entry in given for part in entry.split(",")):
        if not text:
            continue
        known = code_of(text)
        if known is None and not _is_prefix(text):
            raise UsageError(
                f"`{text}` is neither a code nor the beginning of one (kcluster explain --list names them)"
            )
        codes.append(known.code if known else text.upper())
    return tuple(codes)


def _is_prefix(text: str) -> bool:
    from kcluster.diagnostics import CODES

    return len(text) >= 2 and any(code.startswith(text.upper()) for code in CODES)


def _wanted(code: str, select: tuple[str, ...], ignore: tuple[str, ...]) -> bool:
    return (not select or code.startswith(select)) and not (ignore and code.startswith(ignore))
