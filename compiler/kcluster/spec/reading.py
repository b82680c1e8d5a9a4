"""What readers of values share: where a value is read, and the marks for a value that is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kcluster.diagnostics.wording import shown
from kcluster.source import Source, Span
from kcluster.spec.findings import Findings
from kcluster.spec.schema_types import AttributeSchema
from kcluster.syntax.ast import ValueNode
from kcluster.values import frozen


class Marker:
    """A value that is none."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


AUTO: Final = Marker("AUTO")
BAD: Final = Marker("BAD")


@frozen(eq=False)
class Place:
    """Where a value is read: its file, what it is called in messages, and where findings go."""

    source: Source
    findings: Findings
    name: str

    def wrong(self, message: str, span: Span, *, code: str = "KC103", **more: Any) -> Marker:
        """Report that `name` is wrong in that way."""
        self.findings.add(code, f"`{self.name}` {message}", self.source, span, **more)
        return BAD

    def written(self, span: Span) -> str:
        """The author's text, fit for a message."""
        return shown(self.source.slice(span).replace("\n", " "), 60)


Reader = Callable[[ValueNode, AttributeSchema, Place], Any]
