"""Bring specs into canonical layout: comments kept, meaning kept, running it twice changes nothing more.

Exit codes: 0 nothing to do or done, 1 with --check or --diff something would change, or a file has syntax errors,
2 wrong usage or unreadable input."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from kcluster.cli.common import (
    FINDINGS,
    OK,
    USAGE,
    Input,
    add_color,
    add_paths,
    complain,
    difference,
    hand_on,
    inputs,
    replace_file,
    say,
    wants_color,
    width_of,
)


def configure(parser: argparse.ArgumentParser) -> None:
    add_paths(parser)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a file would change")
    parser.add_argument("--diff", action="store_true", help="write nothing; show what would change")
    add_color(parser)


def run(arguments: argparse.Namespace) -> int:
    code, unreadable = OK, list[str]()
    for one in inputs(arguments.paths, arguments.stdin_filename, unreadable=unreadable):
        code = max(code, _format(one, arguments))
    for line in unreadable:
        complain(line)
    return USAGE if unreadable else code


def _format(one: Input, arguments: argparse.Namespace) -> int:
    from kcluster.render import render
    from kcluster.syntax.formatter import format_source
    from kcluster.syntax.parser import decode, parse

    source, bad_bytes = decode(one.data, one.path)
    _, found = parse(source)
    errors = tuple(finding for finding in (*bad_bytes, *found) if finding.severity == "error")
    if errors:
        sys.stderr.write(
            render("pretty", errors, color=wants_color(sys.stderr, arguments.color), width=width_of(sys.stderr))
        )
        complain(f"{one.path} has syntax errors and is left as it is")
        return FINDINGS
    text = format_source(source)
    data = text.encode()
    if arguments.check or arguments.diff:
        if data == one.data:
            return OK
        if arguments.diff:
            say(difference(one.path, one.data.decode("utf-8", "replace"), text, "formatted"))
        else:
            say(f"would format {one.path}")
        return FINDINGS
    if one.from_stdin:
        hand_on(data)
    elif data != one.data:
        replace_file(Path(one.path), data)
        say(f"formatted {one.path}")
    return OK
