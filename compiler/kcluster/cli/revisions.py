"""Specs as they were: `REV:path` read from git, with everything that they import from the same revision."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

from kcluster.cli.common import Input, UsageError
from kcluster.reads import SUFFIX
from kcluster.values import frozen

GIT_SECONDS: Final = 120


@frozen(eq=False)
class Version:
    """The specs of one side: by the name that pairs them with the other side's, and how further files are read (None: from
    disk)."""

    specs: dict[str, Input]
    read: Callable[[str], bytes] | None = None


def is_revision(text: str) -> bool:
    """Whether an argument means `REV:path` rather than a path that there is."""
    return ":" in text and not os.path.exists(text)


@frozen(eq=False)
class _Listed:
    """The files of `REV:path`: the commit, the work tree's top, the path below it, and the names of all files there."""

    commit: str
    top: Path
    inside: str
    names: tuple[str, ...]

    def blob(self, absolute: str) -> bytes:
        """A file of that revision, by where it lies in the work tree."""
        name = _inside(self.top, Path(os.path.normpath(absolute)), absolute)
        done = _run("cat-file", "blob", f"{self.commit}:{name}")
        if done.returncode != 0:
            raise FileNotFoundError(absolute)
        return done.stdout


def _listed(text: str) -> _Listed:
    """What `REV:path` holds.

    Raises:
        UsageError: no git, or no such revision.
    """
    revision, _, path = text.partition(":")
    if not revision or revision.startswith("-"):
        raise UsageError(f"`{text}` is neither a path nor REV:path")
    commit = _git(
        "rev-parse",
        "--verify",
        "--quiet",
        "--end-of-options",
        revision + "^{commit}",
        fault=f"git knows no revision `{revision}`",
    )
    commit = commit.strip()
    top = Path(os.fsdecode(_git_bytes("rev-parse", "--show-toplevel", fault="this is no git repository").rstrip(b"\n")))
    place = Path(os.path.normpath(os.path.join(os.getcwd(), path or ".")))
    inside = _inside(top, place, text)
    listed = _git_bytes(
        "ls-tree",
        "-r",
        "-z",
        "--full-tree",
        "--name-only",
        commit,
        "--",
        inside or ".",
        fault=f"git cannot list {text}",
    )
    return _Listed(commit, top, inside, tuple(os.fsdecode(name) for name in listed.split(b"\0") if name))


def at_revision(text: str) -> Version:
    """The specs of `REV:path`, where the path is a file or a folder, relative to the working folder.

    Raises:
        UsageError: no git, no such revision, or no spec there.
    """
    there = _listed(text)
    if there.inside in there.names:
        found = {"": there.inside}
    else:
        found = {os.path.relpath(name, there.inside or "."): name for name in there.names if name.endswith(SUFFIX)}
    if not found:
        raise UsageError(f"there is no spec at {text}")
    specs = {}
    for key, name in sorted(found.items()):
        absolute = there.top / name
        shown = os.path.relpath(absolute).replace(os.sep, "/")
        specs[key] = Input(shown, there.blob(str(absolute)), absolute.parent)
    return Version(specs, there.blob)


def compiled_at_revision(text: str, mark: str) -> dict[str, str] | None:
    """The files of a compiled folder `REV:path` by their paths below it; None where it is none.

    Args:
        mark: the file that every compiled folder has.
    """
    there = _listed(text)
    below = {os.path.relpath(name, there.inside or "."): name for name in there.names}
    if mark not in below or any(name.endswith(SUFFIX) for name in below):
        return None
    return {key: there.blob(str(there.top / name)).decode("utf-8", "replace") for key, name in below.items()}


def _inside(top: Path, place: Path, text: str) -> str:
    """A path relative to the repository's top, `/` between its parts."""
    try:
        found = Path(
            os.path.realpath(place.parent) if place != top else top, place.name if place != top else ""
        ).relative_to(os.path.realpath(top))
    except ValueError:
        raise UsageError(f"{text} lies outside of the repository") from None
    return "" if found == Path() else found.as_posix()


def _run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(("git", *arguments), capture_output=True, check=False, timeout=GIT_SECONDS)
    except OSError as error:
        raise UsageError(f"git cannot be run: {error.strerror or error}") from None
    except subprocess.TimeoutExpired:
        raise UsageError("git gave no answer") from None


def _git_bytes(*arguments: str, fault: str) -> bytes:
    done = _run(*arguments)
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise UsageError(fault + (f": {said[0]}" if said else ""))
    return done.stdout


def _git(*arguments: str, fault: str) -> str:
    return _git_bytes(*arguments, fault=fault).decode("utf-8", "replace")
