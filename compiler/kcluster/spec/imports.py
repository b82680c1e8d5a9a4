"""A file with everything that it imports, in file order: an imported file's blocks stand where its `import` stands."""

from __future__ import annotations

import posixpath
from typing import Final

from kcluster.diagnostics.wording import shown
from kcluster.source import Source, Span
from kcluster.spec.files import Files, Unreadable
from kcluster.spec.findings import Findings, did_you_mean
from kcluster.spec.text import refusal
from kcluster.syntax.ast import File, Import, Item
from kcluster.values import frozen

MAX_FILES: Final = 256
MAX_DEPTH: Final = 32
MAX_SPEC_BYTES: Final = 2**20
MAX_TOTAL_BYTES: Final = 4 * 2**20


@frozen(eq=False)
class Piece:
    """One item with the file that it stands in. `own`: in the file asked for; `base`: the folder that its paths start from."""

    file: File
    item: Item
    own: bool
    base: str


@frozen(eq=False)
class Loaded:
    """Everything that was read: the items in order, and the files, the one asked for first."""

    pieces: tuple[Piece, ...]
    files: tuple[File, ...]

    @property
    def complete(self) -> bool:
        return all(file.complete for file in self.files)


@frozen(eq=False)
class _Open:
    """A file whose imports are being followed."""

    file: File
    path: str
    identity: str


class _Loading:
    def __init__(self, files: Files, findings: Findings) -> None:
        self.disk = files
        self.findings = findings
        self.pieces: list[Piece] = []
        self.files: list[File] = []
        self.known: set[str] = set()
        self.left = MAX_TOTAL_BYTES

    def follow(self, opened: _Open, stack: tuple[_Open, ...]) -> None:
        self.known.add(opened.identity)
        self.files.append(opened.file)
        base = posixpath.dirname(opened.path)
        for item in opened.file.items:
            if isinstance(item, Import):
                self.bring(item, base, (*stack, opened))
            else:
                self.pieces.append(Piece(opened.file, item, not stack, base))

    def bring(self, item: Import, base: str, stack: tuple[_Open, ...]) -> None:
        source, span, wanted = stack[-1].file.source, item.path.span, item.path.text
        reason = refusal(wanted, "file")
        if reason is not None:
            self.findings.add("KC109", f"the import's path {reason}", source, span)
            return
        path = self.disk.join(base, wanted)
        try:
            if self.disk.reads and not self.disk.inside(path):
                message = f"the import `{shown(wanted)}` leads out of the project"
                help_ = ("a project's root is the nearest folder with a kcluster.toml, a pyproject.toml or a .git",)
                self.findings.add("KC109", message, source, span, help=help_)
                return
            identity = self.disk.identity(path)
        except (OSError, ValueError):
            self.findings.add("KC109", f"the import `{shown(wanted)}` is not a path", source, span)
            return
        if self._cyclic(identity, source, span, stack) or identity in self.known:
            return
        if len(stack) >= MAX_DEPTH or len(self.files) >= MAX_FILES:
            message = f"more than {MAX_FILES} files, or imports more than {MAX_DEPTH} deep"
            self.findings.add("KC007", message, source, span)
            return
        self._read(path, identity, item, stack)

    def _cyclic(self, identity: str, source: Source, span: Span, stack: tuple[_Open, ...]) -> bool:
        at = next((index for index, opened in enumerate(stack) if opened.identity == identity), None)
        if at is None:
            return False
        names = [shown(self.disk.display(opened.path)) for opened in stack[at:]]
        if len(names) == 1:
            message = f"`{names[0]}` imports itself"
        else:
            message = f"the imports run in a circle: {' → '.join((*names, names[0]))}"
        self.findings.add("KC109", message, source, span)
        return True

    def _read(self, path: str, identity: str, item: Import, stack: tuple[_Open, ...]) -> None:
        from kcluster.syntax.parser import decode, parse

        source, span, wanted = stack[-1].file.source, item.path.span, item.path.text
        try:
            data = self.disk.bytes_of(path, MAX_SPEC_BYTES)
        except Unreadable as error:
            message = f"the imported file `{shown(wanted)}` {error}"
            self.findings.add("KC109", message, source, span, help=self._near(path))
            self.known.add(identity)
            return
        self.left -= len(data)
        if self.left < 0:
            message = f"the imported files are together larger than {MAX_TOTAL_BYTES:,} bytes"
            self.findings.add("KC007", message, source, span)
            return
        text, found = decode(data, self.disk.display(path))
        self.findings.found.extend(found)
        file, found = parse(text)
        self.findings.found.extend(found)
        self.follow(_Open(file, path, identity), stack)

    def _near(self, path: str) -> tuple[str, ...]:
        """The specs in the folder that the path names, where one is nearly called so."""
        if self.disk.read is not None or not self.disk.reads:
            return ()
        import os

        folder, name = posixpath.split(path)
        try:
            names = sorted(entry for entry in os.listdir(self.disk.place(folder) or ".") if entry.endswith(".kcluster"))
        except (OSError, ValueError):
            return ()
        return did_you_mean(name, names)


def load(file: File, files: Files, findings: Findings) -> Loaded:
    """Follow every import of a file. A file that is imported twice counts once; what cannot be read is a finding (KC109)."""
    loading = _Loading(files, findings)
    path = posixpath.basename(file.source.path) or "spec"
    loading.follow(_Open(file, path, files.identity(path)), ())
    return Loaded(tuple(loading.pieces), tuple(loading.files))
