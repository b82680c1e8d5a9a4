"""Open documents: their text, and what is known of it, judged when asked for and kept until the text changes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from kcluster.diagnostics import Diagnostic
from kcluster.editor.names import files_around
from kcluster.pipeline import Checked, check_source
from kcluster.project import Project, find_root, load_project
from kcluster.source import Source
from kcluster.syntax.ast import File
from kcluster.values import define


@define(eq=False)
class Document:
    """One open text. `folder` is None for a text without a place on a disk; `typed` gives the open texts by real path, which come
    before the disk's where this one imports them."""

    uri: str
    source: Source
    typed: Callable[[], Mapping[str, bytes]]
    version: int | None = None
    folder: Path | None = None
    _checked: Checked | None = None
    _found: tuple[Diagnostic, ...] = ()

    @property
    def checked(self) -> Checked:
        """Tree, spec, plan and findings of the text as it is."""
        if self._checked is None:
            self._checked = self._check(self.source)
            self._found = self.wanted(self._checked.diagnostics)
        return self._checked

    @property
    def file(self) -> File:
        return self.checked.file

    @property
    def files(self) -> tuple[File, ...]:
        """The tree and those of the files that it imports."""
        spec = self.checked.spec
        return files_around(self.file, spec.sources if spec is not None else ())

    @property
    def findings(self) -> tuple[Diagnostic, ...]:
        """The findings that the project wants, with its severities, suppressed ones left out."""
        assert self.checked is not None
        return self._found

    @property
    def project(self) -> Project | None:
        return load_project(find_root(self.folder))[0] if self.folder is not None else None

    def wanted(self, found: tuple[Diagnostic, ...]) -> tuple[Diagnostic, ...]:
        """Findings as the project's settings grade and choose them."""
        project = self.project
        if project is not None:
            found = tuple(
                one
                for one in project.graded(found)
                if one.code.startswith("KC0") or (project.wants(one.code) and not self._left_out(project, one))
            )
        return tuple(one for one in found if not one.suppressed)

    def _left_out(self, project: Project, one: Diagnostic) -> bool:
        own = one.source.path == self.source.path and self.folder is not None
        place = self.folder / Path(one.source.path).name if own and self.folder is not None else Path(one.source.path)
        return project.leaves_out(one.code, str(place))

    def check(self, text: str) -> tuple[Diagnostic, ...]:
        """The findings of another text in this one's place."""
        return self._check(Source(self.source.path, text)).diagnostics

    def _check(self, source: Source) -> Checked:
        return check_source(source, folder=self.folder, typed=self.typed())

    def imports(self, other: Document) -> bool:
        """Whether its spec was made of another one's text as well; of a text that gave no spec nobody knows, and it may be."""
        spec = self.checked.spec
        return self is not other and (spec is None or any(one.path == other.source.path for one in spec.sources))

    def forget(self) -> None:
        """Judge anew when next asked: a file that this one reads may have changed."""
        self._checked = None


class Documents:
    """The open documents by URI."""

    def __init__(self) -> None:
        self.open: Final[dict[str, Document]] = {}

    def put(self, uri: str, text: str, version: int | None) -> Document:
        """Take over a text."""
        path = path_of(uri)
        name = path.as_posix() if path is not None else uri
        folder = path.parent if path is not None else None
        document = self.open[uri] = Document(uri, Source(name, text), self.typed, version, folder)
        return document

    def get(self, uri: str) -> Document | None:
        return self.open.get(uri)

    def drop(self, uri: str) -> None:
        self.open.pop(uri, None)

    def typed(self) -> dict[str, bytes]:
        """The open texts by real path."""
        return {
            os.path.realpath(one.source.path): one.source.text.encode()
            for one in self.open.values()
            if one.folder is not None
        }

    def importing(self, document: Document) -> tuple[Document, ...]:
        """The open documents that import one, or may."""
        return tuple(one for one in self.open.values() if one.imports(document))

    def files(self, document: Document) -> tuple[File, ...]:
        """A document's tree, those of the files that it imports, and of the open ones that import it: where its names stand."""
        found = {one.source.path: one for one in document.files}
        for other in self.importing(document):
            found.setdefault(other.source.path, other.file)
        return tuple(found.values())


def path_of(uri: str) -> Path | None:
    """The path of a file URI; None for others (a text that was never saved)."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return None
    path = unquote(parts.path)
    if len(path) > 2 and path[0] == "/" and path[2] == ":":  # a drive of Windows
        path = path[1:]
    return Path(path)


def uri_of(source: Source, document: Document) -> str:
    """The URI of a source that a document's spec is made of."""
    if source.path == document.source.path:
        return document.uri
    path = Path(source.path)
    if not path.is_absolute() and document.folder is not None:
        path = document.folder / path
    return path.resolve().as_uri()
