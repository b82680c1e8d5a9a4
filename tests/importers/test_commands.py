"""Real launch commands of the collection: every verbatim one imports, and how many are judged as they turned out."""

from __future__ import annotations

import json

import pytest
from benchmarks.commands.__main__ import Row, row_of, table

from tests.support.needed import SHARED, with_shared

COMMANDS = SHARED / "launch_commands.jsonl"

pytestmark = with_shared("launch_commands.jsonl")


@pytest.fixture(scope="module")
def found() -> list[Row]:
    return [row_of(json.loads(line)) for line in COMMANDS.read_text("utf-8").splitlines()]


def test_every_verbatim_command_imports(found: list[Row]) -> None:
    verbatim = [row for row in found if row.fidelity == "verbatim"]
    assert len(verbatim) >= 40
    assert [row.fault for row in found if row.fault] == []
    # One row is a volume mount, the fix of its thread, and starts nothing.
    assert [row.id for row in verbatim if not row.servers] == ["pstack44-shm"]


def test_failures_are_found_and_what_worked_is_left_alone(found: list[Row]) -> None:
    static = [row for row in found if row.outcome == "failed" and row.static]
    worked = [row for row in found if row.outcome == "worked"]
    missed = {row.id for row in static if not row.hits}
    # The excerpt ends before its mistake.
    assert missed <= {"backport16-a100x4-json"}
    assert [row.id for row in worked if row.errors] == []
    assert "static failures found" in table(found)
