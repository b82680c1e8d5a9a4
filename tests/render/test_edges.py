"""Every edge case in every format, as it was read and found right."""

from __future__ import annotations

import re

import pytest
from syrupy.assertion import SnapshotAssertion

from kcluster.render import render
from kcluster.render.text import columns
from kcluster.version import VERSION

from .edges import EDGES


@pytest.mark.parametrize("format_", ["pretty", "concise", "github", "gitlab", "sarif", "junit"])
@pytest.mark.parametrize("edge", sorted(EDGES))
def test_edges(edge: str, format_: str, snapshot: SnapshotAssertion) -> None:
    text = render(format_, EDGES[edge], width=80).replace(f'"version": "{VERSION}"', '"version": "of this program"')
    assert "\n" + text == snapshot


@pytest.mark.parametrize("width", [20, 60, 80, 1000])
@pytest.mark.parametrize("edge", sorted(EDGES))
def test_a_picture_stays_within_its_width(edge: str, width: int) -> None:
    """A source line has 40 columns at least, and a label 24, however narrow the terminal."""
    for line in render("pretty", EDGES[edge], width=width).split("\n"):
        if re.match(r" *[0-9]+ [-+|] ", line):
            assert columns(line) <= max(width, 40 + len("1000 | / / ")), line
        elif re.match(r" *\| ", line):
            assert columns(line) <= max(width, 40 + len("1000 | / / ")) + 24, line
