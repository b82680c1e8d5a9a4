"""What commands share: exit codes, finding and reading specs, and the terminal."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TextIO

from attrs import frozen

OK: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2
FAULT: Final = 3

SUFFIX: Final = ".kcluster"
STDIN: Final = "-"


class UsageError(Exception):
    """Wrong usage or unreadable input: its text goes to the person, the exit code is 2."""


def complain(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"kcluster: {text}\n")


@frozen
class Input:
    """One spec to read: the path that findings name, its bytes, and the folder that its relative paths start from."""

    path: str
    data: bytes
    folder: Path


def add_paths(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*" if several else 1,
        default=["."] if several else None,
        help="a spec, a folder of specs, or - for standard input" + (" (default: this folder)" if several else ""),
    )
    parser.add_argument(
        "--stdin-filename",
        metavar="PATH",
        help="the path that findings name, and imports start from, for standard input",
    )


def inputs(paths: Sequence[str], stdin_filename: str | None = None) -> tuple[Input, ...]:
    """Read every spec that the paths name, in order, each once.

    Raises:
        UsageError: something cannot be read, or a folder holds no spec.
    """
    found: dict[str, Input] = {}
    for path in paths:
        for one in _expand(path, stdin_filename):
            found.setdefault(one.path, one)
    return tuple(found.values())


def _expand(path: str, stdin_filename: str | None) -> Iterable[Input]:
    if path == STDIN:
        name = stdin_filename or "<stdin>"
        folder = Path(name).parent if stdin_filename else Path()
        yield Input(_shown(Path(name)) if stdin_filename else name, sys.stdin.buffer.read(), folder)
        return
    place = Path(path)
    if place.is_dir():
        files = sorted(
            file
            for file in place.rglob(f"*{SUFFIX}")
            if file.is_file() and not any(part.startswith(".") for part in file.relative_to(place).parts)
        )
        if not files:
            raise UsageError(f"no *{SUFFIX} file in {path}")
        for file in files:
            yield _read(file)
        return
    yield _read(place)


def _read(place: Path) -> Input:
    try:
        return Input(_shown(place), place.read_bytes(), place.parent)
    except OSError as error:
        raise UsageError(f"cannot read {place}: {error.strerror or error}") from None


def _shown(place: Path) -> str:
    """A path as findings name it: relative to the working folder where it lies below it, with `/`."""
    if place.is_absolute():
        try:
            return place.relative_to(Path.cwd()).as_posix()
        except ValueError:
            return place.as_posix()
    return place.as_posix()


def wants_color(stream: TextIO, choice: str = "auto") -> bool:
    """Whether to colour: as asked, else only on a terminal that did not say NO_COLOR."""
    if choice != "auto":
        return choice == "always"
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def add_color(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colours (default: on a terminal)"
    )


def width_of(stream: TextIO) -> int:
    """Columns of the terminal; a fixed 100 where the output is not one, so that it is the same everywhere."""
    return max(60, min(shutil.get_terminal_size((100, 24)).columns, 140)) if stream.isatty() else 100


def say(text: str) -> None:
    """Write to standard output, as UTF-8 whatever the locale."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
