"""Open documents: their text, and what is known of it, judged when asked for and kept until the text changes."""

from __future__ import annotations

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
    """One open text. `folder` is None for a text without a place on a disk."""

    uri: str
    source: Source
    version: int | None = None
    folder: Path | None = None
    _checked: Checked | None = None
    _found: tuple[Diagnostic, ...] = ()

    @property
    def checked(self) -> Checked:
        """Tree, spec, plan and findings of the text as it is."""
        if self._checked is None:
            self._checked = check_source(self.source, folder=self.folder)
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
        return check_source(Source(self.source.path, text), folder=self.folder).diagnostics

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
        document = self.open[uri] = Document(uri, Source(name, text), version, folder)
        return document

    def get(self, uri: str) -> Document | None:
        return self.open.get(uri)

    def drop(self, uri: str) -> None:
        self.open.pop(uri, None)


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
