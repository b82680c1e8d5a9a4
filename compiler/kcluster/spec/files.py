"""Reading what a spec names: imported files, a config.json, a safetensors index. Paths start from the file that names them.

Nothing is read where the text has no place on a disk. Only regular files are opened, and only up to a limit: a path in a
spec may as well be `/dev/zero`.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from kcluster.project import find_root
from kcluster.reads import REAL, Reads
from kcluster.values import frozen

ReadFile = Callable[[str], bytes]

MAX_CONFIG_BYTES: Final = 8 * 2**20
MAX_INDEX_BYTES: Final = 64 * 2**20


class Unreadable(Exception):
    """A file that a spec names cannot be read; its text ends the sentence "the file …"."""


@frozen(eq=False)
class Files:
    """Where paths start and how they are read.

    Attributes:
        folder: the folder of the file asked for; None where nothing may be read from disk.
        root: the folder that imports must stay in; None for the nearest project root above `folder`.
        read: reads a path in place of the disk (a revision of git, a test's); it may raise OSError or LookupError.
        shown: the folder of the file asked for as findings name it, `/` between its parts, empty for the working folder.
        trace: told of everything that is read from disk.
        typed: contents by real path that come before the disk's: an editor's open files.
    """

    folder: Path | None
    root: Path | None
    read: ReadFile | None
    shown: str = ""
    trace: Reads | None = None
    typed: Mapping[str, bytes] | None = None

    @property
    def reads(self) -> bool:
        return self.folder is not None or self.read is not None

    def join(self, base: str, path: str) -> str:
        """A path that a file in `base` names, as paths here are kept: relative to `folder`, or absolute."""
        return posixpath.normpath(posixpath.join(base, path))

    def display(self, path: str) -> str:
        """A path as findings name it."""
        if posixpath.isabs(path):
            if self.folder is None:
                return path
            path = posixpath.normpath(os.path.relpath(path, self.folder).replace(os.sep, "/"))
        return posixpath.normpath(posixpath.join(self.shown, path))

    def place(self, path: str) -> str:
        """The path to open."""
        return path if self.folder is None else os.path.join(self.folder, path)

    def identity(self, path: str) -> str:
        """One text for one file, however it is named."""
        if self.folder is None:
            return path
        if self.trace is not None:
            self.trace.look(REAL, self.place(path))
        return os.path.realpath(self.place(path))

    def inside(self, path: str) -> bool:
        """Whether a path stays in the project, links followed."""
        if self.folder is None:
            return not posixpath.isabs(path) and path != ".." and not path.startswith("../")
        root = os.path.realpath(self.root if self.root is not None else find_root(self.folder, self.trace))
        return os.path.commonpath((root, self.identity(path))) == root

    def bytes_of(self, path: str, limit: int) -> bytes:
        """The content of a file.

        Raises:
            Unreadable: it is not there, not a regular file, longer than `limit` bytes, or nothing may be read.
        """
        if not self.reads:
            raise Unreadable("cannot be read: this text has no folder that paths could start from")
        try:
            if self.read is not None:
                self.untold()
                data = self.read(self.place(path))
            else:
                typed = self.typed.get(self.identity(path)) if self.typed else None
                data = _from_disk(self.place(path), limit) if typed is None else typed
        except Unreadable:
            self.untold()
            raise
        except (FileNotFoundError, NotADirectoryError, LookupError):
            self.untold()
            raise Unreadable("does not exist") from None
        except (OSError, ValueError) as error:
            self.untold()
            raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or 'not a path'}") from None
        if len(data) > limit:
            self.untold()
            raise Unreadable(f"is larger than {limit:,} bytes")
        if self.trace is not None:
            self.trace.file(self.place(path), data)
        return data

    def untold(self) -> None:
        """Say that something is read that the trace does not tell of."""
        if self.trace is not None:
            self.trace.untold()


def _from_disk(path: str, limit: int) -> bytes:
    mode = os.stat(path).st_mode
    if stat.S_ISDIR(mode):
        raise Unreadable("is a folder")
    if not stat.S_ISREG(mode):
        raise Unreadable("is not a regular file")
    with open(path, "rb") as file:
        return file.read(limit + 1)
