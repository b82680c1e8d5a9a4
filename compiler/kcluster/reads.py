"""What was read from disk on the way to a result, so that a cache can tell whether reading again would give the same.

It imports next to nothing: the short way of an unchanged file goes through here.
"""

from __future__ import annotations

import os
import stat

try:
    from _blake2 import blake2b  # the same function without hashlib, which loads OpenSSL
except ImportError:  # an interpreter without CPython's own module
    from hashlib import blake2b

SUFFIX = ".kcluster"
MARKS = ("kcluster.toml", "pyproject.toml", ".git")
"""What a folder holds that is the root of a project."""

FILE, REAL, ROOT, TREE = "file", "real", "root", "tree"


def digest(data: bytes) -> str:
    """A name for bytes that no other bytes have."""
    return blake2b(data, digest_size=20).hexdigest()


def nearest_root(path: str, marks: tuple[str, ...] = MARKS) -> str:
    """The nearest folder, from an absolute path upwards, that holds one of the marks; else the path's own folder."""
    own = folder = path if os.path.isdir(path) else os.path.dirname(path)
    while True:
        if any(os.path.exists(os.path.join(folder, mark)) for mark in marks):
            return folder
        above = os.path.dirname(folder)
        if above == folder:
            return own
        folder = above


def specs_below(folder: str) -> list[str]:
    """Every spec below a folder in order, hidden files and folders left out, links to folders not followed. Paths begin with
    `folder` as given, but for `.`."""
    found: list[list[str]] = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        head = os.path.normpath(place)
        parts = [] if head == "." else head.split(os.sep)
        found += (
            [*parts, name]
            for name in names
            if name.endswith(SUFFIX) and not name.startswith(".") and os.path.isfile(os.path.join(place, name))
        )
    return [os.sep.join(parts) for parts in sorted(found)]


def _look(kind: str, path: str) -> str:
    """What a fact of that kind is now; a text that no fact has where it cannot be said."""
    try:
        if kind == FILE:
            if not stat.S_ISREG(os.stat(path).st_mode):
                return "?"
            with open(path, "rb") as file:
                return digest(file.read())
        if kind == REAL:
            return os.path.realpath(path)
        if kind == ROOT:
            return nearest_root(path)
        if kind == TREE:
            return digest("\0".join(specs_below(path)).encode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        return "absent"
    except (OSError, ValueError):
        return "?"
    return "?"


class Reads:
    """Facts about the disk, each a kind, a path and what was found there. `told` is False where something was read that no
    fact describes: the result then stays out of every cache."""

    def __init__(self) -> None:
        self.facts: dict[tuple[str, str], str] = {}
        self.told = True

    def file(self, path: str, data: bytes | None) -> None:
        """A file's whole content was read; None: it does not exist."""
        self._add(FILE, path, "absent" if data is None else digest(data))

    def look(self, kind: str, path: str) -> None:
        """Something other than a file's content was asked for; it is looked at once more."""
        place = os.path.abspath(path)
        self._add(kind, place, _look(kind, place))

    def untold(self) -> None:
        """Something was read that no fact describes."""
        self.told = False

    @classmethod
    def of(cls, written: bytes) -> Reads:
        """Facts that were written by `written`."""
        reads = cls()
        parts = written.decode("utf-8", "surrogateescape").split("\0") if written else []
        for at in range(0, len(parts) - 2, 3):
            reads.facts[parts[at], parts[at + 1]] = parts[at + 2]
        return reads

    def add(self, other: Reads) -> None:
        """Take over the facts of a part."""
        self.told = self.told and other.told
        for (kind, path), value in other.facts.items():
            self._add(kind, path, value)

    def _add(self, kind: str, path: str, value: str) -> None:
        place = os.path.abspath(path)
        if value == "?" or self.facts.setdefault((kind, place), value) != value:
            self.told = False  # it cannot be told, or changed while it was read

    def written(self) -> bytes:
        """The facts as bytes."""
        parts = (part for (kind, path), value in self.facts.items() for part in (kind, path, value))
        return "\0".join(parts).encode("utf-8", "surrogateescape")


def still_true(written: bytes) -> bool:
    """Whether every one of the written facts holds now. False for what is no list of facts."""
    try:
        parts = written.decode("utf-8", "surrogateescape").split("\0") if written else []
    except UnicodeDecodeError:
        return False
    if len(parts) % 3:
        return False
    return all(_look(parts[at], parts[at + 1]) == parts[at + 2] for at in range(0, len(parts), 3))
