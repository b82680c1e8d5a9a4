"""Report every finding of the given specs, or mend what can be mended. Settings are in kcluster.toml, or under [tool.kcluster] of
pyproject.toml: severity, select, ignore, per-file-ignores, paths, targets, compile.

Exit codes: 0 no error, 1 errors (with --strict warnings too; with --diff something to mend), 2 wrong usage or unreadable input,
3 an internal fault."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from kcluster.cache import Cache
from kcluster.cli.common import (
    FINDINGS,
    OK,
    STDIN,
    USAGE,
    Input,
    UsageError,
    add_color,
    add_paths,
    complain,
    inputs,
    say,
    wants_color,
    width_of,
)
from kcluster.cli.launch_options import add_options, command_of
from kcluster.cli.linting import Linted, Settings, lint
from kcluster.cli.recall import open_cache, remember
from kcluster.diagnostics import Diagnostic, at_worst, code_of, in_order
from kcluster.reads import Reads
from kcluster.render import FORMATS, render, summary

_COUNTED: Final = ("pretty", "concise", "json")
"""Formats that --statistics has."""


_LAUNCHING: Final = (".sh", ".yaml", ".yml", ".service")
"""Files that launch engines are called so, and specs are not."""


def configure(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument(
        "--format", choices=sorted(FORMATS), default="pretty", help="how findings are written (default: pretty)"
    )
    parser.add_argument("--strict", action="store_true", help="exit 1 on warnings too")
    parser.add_argument(
        "--select",
        metavar="CODES",
        action="append",
        default=[],
        help="report only these: codes, names or beginnings of codes (KC2,KC501); syntax errors always",
    )
    parser.add_argument(
        "--ignore",
        metavar="CODES",
        action="append",
        default=[],
        help="leave these out, beside what the settings ignore",
    )
    parser.add_argument("--statistics", action="store_true", help="count the findings of each code instead")
    parser.add_argument("--baseline", metavar="FILE", help="report only what is not in this file")
    parser.add_argument(
        "--write-baseline", action="store_true", help="write what is found now into the --baseline FILE"
    )
    parser.add_argument("--fix", action="store_true", help="apply safe fixes, and report what remains")
    parser.add_argument("--unsafe-fixes", action="store_true", help="apply fixes too that change what is asked for")
    parser.add_argument("--diff", action="store_true", help="write nothing; show what fixing would change")
    parser.add_argument("--no-cache", action="store_true", help="judge everything anew, and keep nothing")
    parser.add_argument(
        "--jobs", metavar="N", type=int, default=0, help="processes for many specs (default: all cores)"
    )
    add_color(parser)
    parser.epilog = 'a launch command is linted itself: kcluster lint --gpus "4 * rtx-5090" -- vllm serve …'
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    words = command_of(arguments.line)
    if words:
        return _lint_command(words, arguments)
    _check_usage(arguments)
    reads, unreadable = Reads(), list[str]()
    settings = Settings(_codes(arguments.select), _codes(arguments.ignore), reads)
    specs = inputs(arguments.paths, arguments.stdin_filename, unreadable=unreadable, trace=reads)
    for line in unreadable:
        complain(line)
    for path in arguments.paths:
        if path.endswith(_LAUNCHING):
            complain(f"{path} is read as a spec here; kcluster import --lint reads the launch commands in it")
    if unreadable and not specs:
        if len(arguments.paths) > 1:
            complain("a launch command goes behind `--`: kcluster lint --gpus … -- vllm serve …")
        return USAGE
    cache = None if arguments.no_cache else open_cache()
    if arguments.fix or arguments.unsafe_fixes or arguments.diff:
        from kcluster.cli.fixing import mend

        specs, code = mend(specs, arguments, settings)
        if arguments.diff:
            return USAGE if unreadable else code
    found = _findings(specs, cache, arguments, settings)
    if arguments.write_baseline:
        _write_baseline(arguments.baseline, found)
        return USAGE if unreadable else OK
    hidden = ""
    if arguments.baseline:
        judged = () if settings.select or settings.ignore else [one.path for one in specs]
        found, hidden = _without_known(arguments.baseline, found, judged, reads)
    text = _text(found, arguments, len(specs), hidden)
    code = _exit_code(found, strict=arguments.strict)
    if arguments.fix and STDIN in arguments.paths:
        sys.stderr.write(text)
    else:
        say(text)
    if cache is not None:
        if not unreadable and STDIN not in arguments.paths and not arguments.fix:
            remember(cache, arguments.line, reads, code, text)
        cache.sweep()
    return USAGE if unreadable else code


def _lint_command(words: Sequence[str], arguments: argparse.Namespace) -> int:
    from kcluster.cli.launching import lint_text, text_of

    if arguments.fix or arguments.unsafe_fixes or arguments.diff or arguments.baseline or arguments.write_baseline:
        raise UsageError("a launch command is not a file: --fix, --diff and baselines are for specs")
    return lint_text(text_of(words, ()), arguments, form=arguments.format, strict=arguments.strict)


def _check_usage(arguments: argparse.Namespace) -> None:
    if arguments.gpus:
        raise UsageError(
            "--gpus is for a launch command, which goes behind `--`; for a file with one: kcluster import --lint"
        )
    arguments.fix = arguments.fix or arguments.unsafe_fixes
    if arguments.write_baseline and not arguments.baseline:
        raise UsageError("--write-baseline needs --baseline FILE, the file to write")
    if arguments.write_baseline and (arguments.fix or arguments.diff):
        raise UsageError("--write-baseline and fixing are two steps: fix first")
    if arguments.statistics and arguments.format not in _COUNTED:
        raise UsageError(f"--statistics has the formats {', '.join(_COUNTED)}")
    if arguments.jobs < 0:
        raise UsageError("--jobs is a number of processes")


def _findings(
    specs: Sequence[Input], cache: Cache | None, arguments: argparse.Namespace, settings: Settings
) -> tuple[Diagnostic, ...]:
    """The findings of all specs as the settings grade them, each once, by file and place."""
    jobs = arguments.jobs or len(os.sched_getaffinity(0))
    found: list[Diagnostic] = []
    for linted in _with_progress(lint(specs, cache, jobs), len(specs)):
        settings.reads.add(linted.reads)
        found += settings.graded(linted.one, linted.findings())
    return in_order((*settings.found, *found))


def _with_progress(work: Iterator[Linted], number: int) -> Iterator[Linted]:
    """The same, with a line on the terminal once it has taken a second."""
    if number < 2 or not sys.stderr.isatty():
        yield from work
        return
    from time import monotonic

    begun = shown = monotonic()
    lines = False
    for done, one in enumerate(work, start=1):
        yield one
        now = monotonic()
        if now - begun > 1 and now - shown > 0.1:
            sys.stderr.write(f"\r{done:,} of {number:,} specs")
            sys.stderr.flush()
            shown, lines = now, True
    if lines:
        sys.stderr.write("\r\x1b[K")


def _text(found: tuple[Diagnostic, ...], arguments: argparse.Namespace, files: int, hidden: str) -> str:
    if arguments.statistics:
        from kcluster.render.statistics import statistics

        return statistics(found, arguments.format)
    color = wants_color(sys.stdout, arguments.color)
    text = render(arguments.format, found, color=color, width=width_of(sys.stdout))
    return text + summary(found, files=files) + hidden + "\n" if arguments.format == "pretty" else text


def _exit_code(found: tuple[Diagnostic, ...], *, strict: bool) -> int:
    worst = at_worst(found)
    return FINDINGS if worst == "error" or (worst == "warning" and strict) else OK


# Choosing


def _codes(given: list[str]) -> tuple[str, ...]:
    """Codes and prefixes of codes, checked: a misspelt one would silently select nothing."""
    codes = []
    for text in (part.strip() for entry in given for part in entry.split(",")):
        if not text:
            continue
        known = code_of(text)
        if known is None and not _is_prefix(text):
            raise UsageError(
                f"`{text}` is neither a code, a name nor the beginning of a code (kcluster explain --list names them)"
            )
        codes.append(known.code if known else text.upper())
    return tuple(codes)


def _is_prefix(text: str) -> bool:
    from kcluster.diagnostics import CODES

    return len(text) >= 2 and any(code.startswith(text.upper()) for code in CODES)


# The baseline


def _folder_of(baseline: str) -> str:
    """The folder of a baseline as paths of findings are written: relative to the working folder where it lies below it."""
    place = os.path.relpath(os.path.dirname(os.path.abspath(baseline)))
    return os.path.abspath(place) if place.startswith("..") else "" if place == "." else place


def _write_baseline(path: str, found: tuple[Diagnostic, ...]) -> None:
    from kcluster.baseline import write

    text, number = write(found, _folder_of(path))
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
    say(f"{path} now holds {number} finding{'' if number == 1 else 's'}")


def _without_known(
    path: str, found: tuple[Diagnostic, ...], judged: Sequence[str], reads: Reads
) -> tuple[tuple[Diagnostic, ...], str]:
    """The findings that the baseline does not hold, and a word about those that it does. Only of files that were judged whole can
    it be said that a known finding is gone."""
    from kcluster.baseline import NotABaseline, read

    try:
        data = Path(path).read_bytes()
        reads.file(path, data)
        baseline = read(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except (NotABaseline, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be used as a baseline: {error}") from None
    kept, known, gone = baseline.new(found, _folder_of(path), judged)
    said = [f"{known} in the baseline"] if known else []
    said += [f"{gone} of the baseline gone"] if gone else []
    return kept, f" ({', '.join(said)})" if said else ""
