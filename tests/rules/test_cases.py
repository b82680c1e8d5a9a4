"""Case files: for each rule further specs, with the findings marked on their lines. Unexpected and missing ones both fail.

A file holds chunks split by lines of `---`; `--- file=NAME` begins a file that the chunk before may import. The first line of a
chunk says what it shows.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import frozen

from kcluster.diagnostics import CODES

from .conftest import Check, described, expectations, unmet

CASES = Path(__file__).parent / "cases"

PROMISED = {
    "KC201", "KC202", "KC203", "KC204", "KC205", "KC206", "KC207", "KC301", "KC302", "KC303", "KC304", "KC305", "KC306", "KC309",
    "KC401", "KC402", "KC403", "KC501", "KC502", "KC503", "KC504", "KC505", "KC506", "KC507", "KC601", "KC701", "KC703", "KC704",
    "KC705",
}  # fmt: skip


@frozen
class Case:
    name: str
    text: str
    files: dict[str, str]


def cases() -> list[Case]:
    found = []
    for path in sorted(CASES.glob("*.kct")):
        chunks: list[tuple[str, list[str]]] = [("", [])]
        for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.rstrip() == "---" or line.startswith("--- file="):
                chunks.append((line.strip().removeprefix("---").strip().removeprefix("file="), []))
            else:
                chunks[-1][1].append(line)
        specs: list[tuple[str, dict[str, str]]] = []
        for name, lines in chunks:
            if name:
                specs[-1][1][name] = "".join(lines)
            else:
                specs.append(("".join(lines), {}))
        found += [Case(f"{path.stem}-{number}", text, files) for number, (text, files) in enumerate(specs, start=1)]
    return found


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_case(case: Case, check: Check) -> None:
    checked = check(case.text, case.files)
    assert unmet(case.text, checked) == ([], []), described(checked)


def test_cases_are_named_after_codes_and_show_them() -> None:
    shown = dict.fromkeys(CODES, False)
    for path in CASES.glob("*.kct"):
        assert path.stem in CODES, path.name
    for case in cases():
        code = case.name.partition("-")[0]
        shown[code] = shown[code] or any(mark.code == code for mark in expectations(case.text))
        assert case.text.startswith("# "), f"{case.name}: the first line says what it shows"
    assert not [code for code in sorted(PROMISED) if not shown[code]]
