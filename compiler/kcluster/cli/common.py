"""What commands share: exit codes, finding and reading specs, and the terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, TextIO

from kcluster.reads import SUFFIX, TREE, Reads, specs_below
from kcluster.syntax.limits import MAX_BYTES
from kcluster.values import frozen

OK: Final = 0
FINDINGS: Final = 1
USAGE: Final = 2
FAULT: Final = 3

STDIN: Final = "-"


class UsageError(Exception):
    """Wrong usage or unreadable input: its text goes to the person, the exit code is 2."""


def complain(text: str) -> None:
    """One line on standard error."""
    sys.stderr.write(f"kcluster: {text}\n")


@frozen
class Input:
    """One spec to read: the path that findings name, its bytes, the folder that its relative paths start from, and whether it came
    from standard input, whatever its path says."""

    path: str
    data: bytes
    folder: Path
    from_stdin: bool = False


def add_paths(parser: argparse.ArgumentParser, *, several: bool = True) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*" if several else 1,
        help="a spec, a folder of specs, or - for standard input"
        + (" (default: the `paths` of the project's settings, else this folder)" if several else ""),
    )
    parser.add_argument(
        "--stdin-filename",
        metavar="PATH",
        help="the path that findings name, and imports start from, for standard input",
    )


def inputs(
    paths: Sequence[str],
    stdin_filename: str | None = None,
    *,
    unreadable: list[str] | None = None,
    trace: Reads | None = None,
) -> tuple[Input, ...]:
    """Read every spec that the paths name, in order, each once.

    Args:
        paths: none for those of the project's settings, else the working folder.
        unreadable: takes what cannot be read, a line each, so that the others are read all the same.
        trace: told of everything that is looked up on disk.

    Raises:
        UsageError: a folder holds no spec; something cannot be read and `unreadable` is not given.
    """
    found: dict[str, Input] = {}
    for path in paths or _default_paths(trace):
        for one in _expand(path, stdin_filename, unreadable, trace):
            found.setdefault(one.path, one)
    return tuple(found.values())


def _default_paths(trace: Reads | None) -> tuple[str, ...]:
    from kcluster.project import find_root, load_project

    root = find_root(Path(), trace)
    project, _ = load_project(root, trace=trace)
    return tuple(os.path.relpath(root / path) for path in project.paths) or (".",)


def _expand(
    path: str, stdin_filename: str | None, unreadable: list[str] | None, trace: Reads | None
) -> Iterable[Input]:
    if path == STDIN:
        name = stdin_filename or "<stdin>"
        folder = Path(name).parent if stdin_filename else Path()
        shown = shown_path(Path(name)) if stdin_filename else name
        yield Input(shown, sys.stdin.buffer.read(), folder, from_stdin=True)
        return
    files = [path]
    if os.path.isdir(path):
        files = specs_below(path)
        if trace is not None:
            trace.look(TREE, path)
        if not files:
            raise UsageError(f"no *{SUFFIX} file in {path}")
    for file in files:
        try:
            one = _read(Path(file))
        except UsageError as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
            continue
        if trace is not None:
            trace.file(file, one.data)
        yield one


def _read(place: Path) -> Input:
    """A spec's bytes: no more than are needed to see that it is too large."""
    try:
        with place.open("rb") as file:
            return Input(shown_path(place), file.read(MAX_BYTES + 1), place.parent)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {place}: {getattr(error, 'strerror', None) or error}") from None


def shown_path(place: Path) -> str:
    """A path as findings name it: relative to the working folder where it lies below it, with `/`."""
    if place.is_absolute():
        try:
            text = place.relative_to(Path.cwd()).as_posix()
            return "" if text == "." else text
        except ValueError:
            return place.as_posix()
    return place.as_posix()


def replace_file(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that a crash leaves the old text or the new one. Links stay links, and its mode stays.

    Raises:
        UsageError: it cannot be written.
    """
    place = os.path.realpath(path)
    beside = f"{place}.kcluster-{os.getpid()}"
    try:
        mode = os.stat(place).st_mode & 0o777
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
        os.replace(beside, place)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(beside)
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def difference(path: str, before: str, after: str, what: str) -> str:
    """A unified diff of one file; line ends count."""
    from difflib import unified_diff

    lines = unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), path, f"{path} ({what})")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


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
    if not stream.isatty():
        return 100
    from shutil import get_terminal_size

    return max(60, min(get_terminal_size((100, 24)).columns, 140))


def hand_on(data: bytes) -> None:
    """Write a file's bytes to standard output as they are: what came from standard input goes back there."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def say(text: str) -> None:
    """Write to standard output, as UTF-8 whatever the locale."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        reconfigure(encoding="utf-8", errors="replace")
    sys.stdout.write(text if text.endswith("\n") or not text else text + "\n")
