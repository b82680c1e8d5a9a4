"""The project's own catalog as specs read it: `catalog/gpus.toml`, `models.toml` and `links.toml` at the project's root.

A row of the project comes before the built-in one of the same name. A file is read when something of its kind is looked up.
"""

from __future__ import annotations

import os
import posixpath
from typing import Any, Final, TypeVar

from kcluster.physics.hardware import Bus, Card
from kcluster.project import find_root
from kcluster.source import Source, Span
from kcluster.spec.files import Files
from kcluster.spec.findings import Findings
from kcluster.values import define, evolve, field

FOLDER: Final = "catalog"
MAX_BYTES: Final = 2**20

T = TypeVar("T")


@define(eq=False)
class OwnCatalog:
    """What a project adds to the catalog, and the findings on it; nothing where the text has no place on a disk."""

    files: Files
    findings: Findings
    kept: dict[str, dict[str, Any]] = field(factory=dict)
    spoilt: dict[str, str] = field(factory=dict)
    """The texts of files with mistakes."""
    root: str | None = None

    def explains(self, kind: str, name: str) -> bool:
        """Whether a name is not found because its row has a mistake, which is told already."""
        return name.lower() in self.spoilt.get(kind, "").lower()

    def card(self, name: str) -> Card | None:
        """The project's card of a name."""
        found: Card | None = self._named("gpus", name)
        return found

    def model(self, name: str) -> Any:
        """The project's model of an id (`kcluster.catalog.own.OwnModel`)."""
        return self._named("models", name)

    def model_at(self, path: str) -> Any:
        """The project's model whose name, without its owner, a path ends in."""
        name = path.rstrip("/").rpartition("/")[2]
        if not name or not self._rows("models"):
            return None
        from kcluster.catalog.own import plain

        rows = self._rows("models")
        return next((row for key, row in rows.items() if key.rpartition("/")[2] == plain(name)), None)

    def measured(self, bus: Bus) -> Bus:
        """A bus at the rate that the project measured of such a link, where it did."""
        found = self._rows("links")
        if not found:
            return bus
        name = f"pcie{bus.generation}-x{bus.lanes}" if bus.kind == "pcie" else f"{bus.kind}{bus.generation}"
        return evolve(bus, bandwidth=found[name]) if name in found else bus

    def note(self, name: str) -> str:
        """Where a row is from, for the origin of a value."""
        return f"the project's {FOLDER}/{name}.toml"

    def _named(self, kind: str, name: str) -> Any:
        rows = self._rows(kind)
        if not rows:
            return None
        from kcluster.catalog.own import plain

        return rows.get(plain(name))

    def _rows(self, kind: str) -> dict[str, Any]:
        rows = self.kept.get(kind)
        if rows is None:
            # An unreadable file is read once: nothing is found in it again.
            self.kept[kind] = rows = self._load(kind)
        return rows

    def _load(self, kind: str) -> dict[str, Any]:
        text = self._text(f"{kind}.toml")
        if text is None:
            return {}
        from kcluster.catalog.own import read_gpus, read_links, read_models

        source = Source(self.files.display(self._path(f"{kind}.toml")), text)
        rows: dict[str, Any]
        if kind == "gpus":
            rows, problems = read_gpus(text)
        elif kind == "links":
            rows, problems = read_links(text)
        else:
            rows, problems = read_models(text, self._text)
        for problem in problems:
            self.findings.add(
                problem.code,
                problem.message,
                source,
                Span(problem.start, max(problem.end, problem.start)),
                help=(problem.help,) if problem.help else (),
            )
        if problems:
            self.spoilt[kind] = text
        return rows

    def _path(self, name: str) -> str:
        """A file of the catalog as paths here are kept: relative to the spec's folder."""
        assert self.files.folder is not None
        if self.root is None:
            self.root = str(
                self.files.root if self.files.root is not None else find_root(self.files.folder, self.files.trace)
            )
        whole = os.path.join(self.root, FOLDER, *name.split("/"))
        return os.path.relpath(whole, self.files.folder).replace(os.sep, "/")

    def _text(self, name: str) -> str | None:
        """A file's text; None where there is none to read. That there is none is told to the trace, too."""
        if self.files.folder is None or posixpath.isabs(name) or ".." in name.split("/"):
            return None
        place = self.files.place(self._path(name))
        try:
            data = self.files.read(place) if self.files.read is not None else _bytes(place)
        except (OSError, LookupError, ValueError):
            data = None
        trace = self.files.trace
        if trace is not None:
            trace.file(place, data)
            if self.files.read is not None or (data is None and os.path.lexists(place)) or len(data or b"") > MAX_BYTES:
                trace.untold()
        if data is None or len(data) > MAX_BYTES:
            return None
        return data.decode("utf-8", "replace").replace("\r\n", "\n")


def _bytes(place: str) -> bytes | None:
    if not os.path.isfile(place):
        return None
    with open(place, "rb") as file:
        return file.read(MAX_BYTES + 1)
