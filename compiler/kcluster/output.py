"""Writing a folder of artifacts so that it can be trusted: every file by atomic rename and `plan.toml` last.

`plan.toml` lists the hash of every file beside it. A compile first writes down what it is going to write (`.kcluster-pending`,
removed at its end), so that whatever a killed one left behind is known to be a compile's own: the next one sees it and puts it
right. A file that no list knows and whose head does not say who wrote it is somebody's, and stays.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import os
import re
import stat
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from kcluster.targets import PLAN_FILE
from kcluster.targets.header import MARK
from kcluster.targets.types import Artifact
from kcluster.values import frozen

PENDING: Final = ".kcluster-pending"
_TEMPORARY: Final = ".kcluster-tmp-"
_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_MARKED: Final = re.compile(rb"\A(?:[^\n]*\n){0,5}?(?:#|<!--|//|;)[^\n]*\b" + MARK.encode())

Known = dict[str, set[str]]
"""Path → hashes of what compiles wrote there."""


class Refused(Exception):
    """Writing would destroy something that no compile wrote, or leave the folder. Nothing was written."""


@frozen
class Result:
    """Paths relative to the folder, sorted: written (new or changed); removed, being of an earlier compile; kept, being of
    an earlier compile but changed since by somebody."""

    written: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...] = ()


def write(folder: Path, artifacts: tuple[Artifact, ...], *, force: bool = False) -> Result:
    """Make the folder hold exactly these artifacts, beside files that are not a compile's.

    Raises:
        Refused: a file in the way was not written by a compile and `force` is not given; a path is a link or leaves the
            folder; another compile is writing there.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(root, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another compile is writing into {folder}") from None
        return _write(root, artifacts, force)
    finally:
        os.close(root)


def _write(root: int, artifacts: tuple[Artifact, ...], force: bool) -> Result:
    known = _known(root)
    for artifact in artifacts:
        reason = _in_the_way(root, artifact, known, force)
        if reason:
            raise Refused(reason)
    changed = [artifact for artifact in artifacts if not _as_wanted(root, artifact)]
    stale, kept = _stale(root, artifacts, known)
    if changed or stale or _is_pending(root):
        _put(root, Artifact(PENDING, _pending_text(known, artifacts)))
        for artifact in changed:
            if artifact.path != PLAN_FILE:
                _put(root, artifact)
        _remove(root, stale)
        for artifact in changed:
            if artifact.path == PLAN_FILE:
                _put(root, artifact)
        _sweep(root, known, artifacts)
        os.unlink(PENDING, dir_fd=root)
    return Result(tuple(sorted(artifact.path for artifact in changed)), stale, kept)


def check(folder: Path, artifacts: tuple[Artifact, ...]) -> str:
    """How the folder differs from what would be written, as a unified diff; empty where it does not.

    Raises:
        OSError: a file cannot be read.
    """
    if not folder.is_dir():
        return "".join(_diff("", artifact.text, "/dev/null", artifact.path) for artifact in artifacts)
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        parts = [_difference(root, artifact) for artifact in sorted(artifacts, key=lambda artifact: artifact.path)]
        stale, _ = _stale(root, artifacts, _known(root))
        parts += [_diff(_read(root, path).decode("utf-8", "replace"), "", path, "/dev/null") for path in stale]
        if _is_pending(root):
            parts.append(f"{PENDING} says that a compile was killed here: compile again\n")
        return "".join(parts)
    finally:
        os.close(root)


def _difference(root: int, artifact: Artifact) -> str:
    kind = _kind(root, artifact.path)
    if kind == "none":
        return _diff("", artifact.text, "/dev/null", artifact.path)
    if kind != "file":
        return f"{artifact.path} is not a plain file in plain folders\n"
    before = _read(root, artifact.path).decode("utf-8", "replace")
    if before != artifact.text:
        return _diff(before, artifact.text, artifact.path, artifact.path)
    if not _as_wanted(root, artifact):
        return f"{artifact.path} should {'' if artifact.executable else 'not '}be executable\n"
    return ""


def _diff(before: str, after: str, old: str, new: str) -> str:
    """A unified diff; line ends count, so that a file that differs only in them differs."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True),
        after.splitlines(keepends=True),
        old if old.startswith("/") else f"a/{old}",
        new if new.startswith("/") else f"b/{new}",
    )
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _known(root: int) -> Known:
    """What earlier compiles wrote, by the list of the last finished one and that of one that was killed."""
    known: Known = {}
    for path, digest in (*_listed(root), *_pending(root)):
        if _inside(path):
            known.setdefault(path, set()).add(digest)
    return known


def _listed(root: int) -> Iterator[tuple[str, str]]:
    import tomllib

    if _kind(root, PLAN_FILE) != "file":
        return
    try:
        files = tomllib.loads(_read(root, PLAN_FILE).decode()).get("files")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        return
    for entry in files if isinstance(files, list) else ():
        if isinstance(entry, dict):
            path, digest = entry.get("path"), entry.get("sha256")
            if isinstance(path, str) and isinstance(digest, str):
                yield path, digest


def _pending(root: int) -> Iterator[tuple[str, str]]:
    """The lines of `.kcluster-pending`, in the form of sha256sum."""
    if _kind(root, PENDING) == "file":
        for line in _read(root, PENDING).decode("utf-8", "replace").splitlines():
            digest, separator, path = line.partition("  ")
            if separator:
                yield path, digest


def _pending_text(known: Known, artifacts: tuple[Artifact, ...]) -> str:
    lines = {(path, digest) for path, digests in known.items() for digest in digests}
    lines |= {(artifact.path, _digest(artifact.text.encode())) for artifact in artifacts}
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(lines))


def _is_pending(root: int) -> bool:
    """Whether a compile was killed here: its list is still there, or it was killed while it wrote that."""
    return any(_kind(root, path) == "file" for path in (PENDING, _TEMPORARY + PENDING))


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def _inside(path: str) -> bool:
    """Whether a path stays in the folder. A list is a file that anyone may have edited."""
    return "\0" not in path and "\n" not in path and all(part not in ("", ".", "..") for part in path.split("/"))


@contextlib.contextmanager
def _parent(root: int, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
    """The folder that holds a path, opened part by part without following a link, and the name inside it.

    Raises:
        FileNotFoundError, NotADirectoryError, OSError: a part is not there (and `make` is not given), or not a folder.
    """
    *parts, name = path.split("/")
    place = os.dup(root)
    try:
        for part in parts:
            if make:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, dir_fd=place)
            inner = os.open(part, _DIRECTORY, dir_fd=place)
            os.close(place)
            place = inner
        yield place, name
    finally:
        os.close(place)


def _kind(root: int, path: str) -> str:
    """`none`, `file`, or `other` (a folder, a link, a device, or something on the way that is not a plain folder)."""
    try:
        with _parent(root, path) as (place, name):
            mode = os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return "none"
    except OSError:
        return "other"
    return "file" if stat.S_ISREG(mode) else "other"


def _read(root: int, path: str) -> bytes:
    with _parent(root, path) as (place, name):
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=place)
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _in_the_way(root: int, artifact: Artifact, known: Known, force: bool) -> str:
    """Why an artifact cannot be written, in a sentence; empty where it can."""
    if not _inside(artifact.path) or artifact.path == PENDING:
        return f"{artifact.path} leaves the folder"
    kind = _kind(root, artifact.path)
    if kind == "other":
        return f"{artifact.path} is a link or a folder, or lies behind one that is not plain: nothing is written through it"
    if kind == "none" or force:
        return ""
    content = _read(root, artifact.path)
    digests = known.get(artifact.path, set())
    if content == artifact.text.encode() or _digest(content) in digests or _MARKED.match(content):
        return ""
    if digests and not content:
        return ""  # a machine that lost power may leave a file of a compile empty
    return f"{artifact.path} was not written by kcluster; --force overwrites it"


def _as_wanted(root: int, artifact: Artifact) -> bool:
    if _kind(root, artifact.path) != "file" or _read(root, artifact.path) != artifact.text.encode():
        return False
    with _parent(root, artifact.path) as (place, name):
        mode = os.stat(name, dir_fd=place, follow_symlinks=False).st_mode
    return bool(mode & stat.S_IXUSR) == artifact.executable


def _stale(root: int, artifacts: tuple[Artifact, ...], known: Known) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Files of earlier compiles that are no longer written: those unchanged since, and those that somebody changed."""
    wanted = {artifact.path for artifact in artifacts}
    stale: list[str] = []
    kept: list[str] = []
    for path, digests in sorted(known.items()):
        if path not in wanted and path != PLAN_FILE and _kind(root, path) == "file":
            (stale if _digest(_read(root, path)) in digests else kept).append(path)
    return tuple(stale), tuple(kept)


def _put(root: int, artifact: Artifact) -> None:
    """Write one file whole or not at all."""
    with _parent(root, artifact.path, make=True) as (place, name):
        temporary = f"{_TEMPORARY}{name}"
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=place)
        mode = 0o777 if artifact.executable else 0o666
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode, dir_fd=place)
        with os.fdopen(descriptor, "wb") as file:
            file.write(artifact.text.encode())
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, name, src_dir_fd=place, dst_dir_fd=place)


def _remove(root: int, paths: tuple[str, ...]) -> None:
    """Remove files, and the folders that are empty without them."""
    for path in paths:
        try:
            with _parent(root, path) as (place, name):
                os.unlink(name, dir_fd=place)
        except FileNotFoundError:
            continue
        while "/" in path:
            path = path.rpartition("/")[0]
            try:
                with _parent(root, path) as (place, name):
                    os.rmdir(name, dir_fd=place)
            except OSError:
                break


def _sweep(root: int, known: Known, artifacts: tuple[Artifact, ...]) -> None:
    """Remove half-written files that a killed compile left."""
    for path in {*known, *(artifact.path for artifact in artifacts)}:
        with contextlib.suppress(OSError), _parent(root, path) as (place, name):
            os.unlink(f"{_TEMPORARY}{name}", dir_fd=place)
    with contextlib.suppress(OSError):
        os.unlink(f"{_TEMPORARY}{PENDING}", dir_fd=root)
