"""Results kept from one run to the next, in a private folder of the user.

A result is named by everything that goes into it but the disk (this very installation, the options, the bytes asked about) and
carries what was read from disk (`kcluster.reads`); it is given back only while all of that still holds. An entry is plain text
and bytes behind a checksum: whatever is wrong with it, it counts as absent. Nothing is ever executed from it.
"""

from __future__ import annotations

import os
import sys

from kcluster.reads import Reads, digest, still_true

FORMAT = "kcluster cache 1"
MAX_BYTES = 64 * 2**20
"""All entries together; the oldest go first."""
MAX_ENTRY = 2 * 2**20
_SHELVES = "0123456789abcdef"


def folder_of(environment: dict[str, str] | os._Environ[str]) -> str | None:
    """Where this user's entries are; None where the environment does not say."""
    base = environment.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        home = environment.get("HOME", "")
        if not os.path.isabs(home):
            return None
        base = os.path.join(home, ".cache")
    return os.path.join(base, "kcluster")


def installation() -> str:
    """A name for this installation: every file of the package by size and time of change, the grammar where it lies elsewhere,
    lark's and Python's versions."""
    package = os.path.dirname(os.path.abspath(__file__))
    parts = [sys.version, package]
    folders = [package]
    if not os.path.exists(os.path.join(package, "syntax", "kcluster.lark")):
        folders.append(os.path.join(package, "..", "..", "grammar"))
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            continue
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    folders.append(entry.path)
            else:
                parts.append(_state(entry.path))
    for place in sys.path:
        lark = os.path.join(place, "lark", "__init__.py")
        if os.path.exists(lark):
            parts.append(_state(lark))
            break
    return digest("\0".join(sorted(parts)).encode("utf-8", "surrogateescape"))


def _state(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return path
    return f"{path} {found.st_size} {found.st_mtime_ns}"


class Cache:
    """The entries of one folder; with None for a folder, or one that others could write to, it stays empty."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder if folder is not None and _private(folder) else None
        self._wanted = folder
        self._installation = ""
        self._touched: set[str] = set()

    def key(self, *parts: bytes | str) -> str:
        """The name of a result of this installation."""
        if not self._installation:
            self._installation = installation()
        whole = [FORMAT.encode(), self._installation.encode()]
        whole += [part if isinstance(part, bytes) else part.encode("utf-8", "surrogateescape") for part in parts]
        return digest(b"".join(b"%d:%b" % (len(part), part) for part in whole))

    def get(self, key: str) -> tuple[bytes, bytes] | None:
        """A result and the facts that it rests on, if there is one and they all still hold."""
        if self.folder is None:
            return None
        try:
            with open(self._place(key), "rb") as file:
                data = file.read(MAX_ENTRY + 1)
        except OSError:
            return None
        head, _, body = data.partition(b"\n")
        if head != _head(key, body):
            return None
        size, _, rest = body.partition(b"\n")
        if not size.isdigit():
            return None
        facts, result = rest[: int(size)], rest[int(size) :]
        return (result, facts) if still_true(facts) else None

    def put(self, key: str, reads: Reads, result: bytes) -> None:
        """Keep a result, unless it rests on what cannot be told. A folder that cannot be written keeps nothing."""
        facts = reads.written()
        body = b"%d\n%b%b" % (len(facts), facts, result)
        if not reads.told or len(body) > MAX_ENTRY - 200 or not self._made():
            return
        place = self._place(key)
        beside = f"{place}.{os.getpid()}"
        try:
            os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
            with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "wb") as file:
                file.write(_head(key, body) + b"\n" + body)
            os.replace(beside, place)
        except OSError:
            _remove(beside)  # of a full disk the first part of it
            return
        self._touched.add(key[0])

    def sweep(self) -> None:
        """Remove the oldest entries where there are too many bytes of them. Only what this run wrote to is looked at."""
        for shelf in sorted(self._touched):
            _sweep(os.path.join(str(self.folder), shelf), MAX_BYTES // len(_SHELVES))

    def _place(self, key: str) -> str:
        return os.path.join(str(self.folder), key[0], key[1:])

    def _made(self) -> bool:
        if self.folder is None and self._wanted is not None:
            try:
                os.makedirs(self._wanted, mode=0o700, exist_ok=True)
            except OSError:
                self._wanted = None
                return False
            self.folder = self._wanted if _private(self._wanted) else None
        return self.folder is not None


def _head(key: str, body: bytes) -> bytes:
    return f"{FORMAT} {key} {digest(body)}".encode()


def _private(folder: str) -> bool:
    """Whether a folder is this user's own, and nobody else may enter it."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return found.st_uid == os.geteuid() and found.st_mode & 0o170077 == 0o040000


def _sweep(shelf: str, most: int) -> None:
    try:
        entries = [(entry.stat().st_mtime_ns, entry.stat().st_size, entry.path) for entry in os.scandir(shelf)]
    except OSError:
        return
    total = sum(size for _, size, _ in entries)
    if total <= most:
        return
    for _, size, path in sorted(entries):
        if total <= most * 3 // 4:  # some room, so that the next run need not sweep again
            return
        if _remove(path):
            total -= size


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except OSError:
        return False
    return True
