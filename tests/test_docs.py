"""The documents show what really happens: examples are files or are run and compared, and links lead somewhere.

`KCLUSTER_UPDATE_README=1 pytest tests/test_docs.py` rewrites the outputs and the tables of the benchmarks (`make update` does)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kcluster.editor.reference import reference

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md")) + sorted((ROOT / "docs" / "guides").glob("*.md"))
LINKED = [*PAGES, *sorted((ROOT / "docs" / "rules").glob("*.md")), *sorted(ROOT.glob("*.md"))]
LINKED += [ROOT / "editors" / "README.md", ROOT / "grammar" / "README.md", ROOT / "benchmarks" / "README.md"]
BLOCK = re.compile(r"<!-- (file|write|run): (.+?) -->\n```(\w*)\n(.*?)```", re.DOTALL)
TABLE = re.compile(r'<!-- table: (\d) of "(.+?)" -->\n((?:\|.*\n)*)')
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def path_with_kcluster(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A PATH on which `kcluster` is this checkout's."""
    folder = tmp_path_factory.mktemp("bin")
    program = folder / "kcluster"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}/compiler" exec "{sys.executable}" -m kcluster "$@"\n')
    program.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}:/usr/sbin"


def fresh(block: re.Match[str], path: str, work: Path) -> str:
    """A block with what is true now: `file` quotes a file of the repository, `write` makes one in the working folder, `run` is a
    command with what it printed there."""
    kind, what, language, shown = block.groups()
    if kind == "file":
        shown = (ROOT / what).read_text()
    elif kind == "write":
        (work / what).write_text(shown)
    else:
        environment = {**os.environ, "PATH": path, "COLUMNS": "100"}
        done = subprocess.run(
            ["bash", "-c", what], cwd=work, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode in (0, 1), what + "\n" + done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        shown = "\n".join(line.rstrip() for line in done.stdout.splitlines()) + "\n"
    return f"<!-- {kind}: {what} -->\n```{language}\n{shown}```"


def fresh_table(block: re.Match[str]) -> str:
    """A table of the benchmarks, as it stands under that heading there."""
    number, heading, _ = block.groups()
    _, found, rest = (ROOT / "benchmarks" / "README.md").read_text("utf-8").partition(f"\n## {heading}\n")
    assert found, f"the benchmarks have nothing under {heading!r}"
    tables = re.findall(r"(?:^\|.*\n)+", rest.partition("\n## ")[0], re.MULTILINE)
    return f'<!-- table: {number} of "{heading}" -->\n{tables[int(number) - 1]}'


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_what_happens(page: Path, path_with_kcluster: str, tmp_path: Path) -> None:
    text = page.read_text()
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    now = BLOCK.sub(lambda block: fresh(block, path_with_kcluster, tmp_path), TABLE.sub(fresh_table, text))
    if os.environ.get("KCLUSTER_UPDATE_README"):
        page.write_text(now)
    else:
        assert now == text, (
            f"{page.name} shows something else than what happens: `make update`, and read the difference"
        )


def test_the_reference_is_fresh() -> None:
    assert (ROOT / "docs" / "language.md").read_text("utf-8") == reference(), "make gen"


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings have where it is shown."""
    text = FENCE.sub("", page.read_text("utf-8"))
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        found.add(plain)
    return found


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in LINK.findall(FENCE.sub("", page.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        place = (page.parent / file).resolve() if file else page
        if not place.exists() or (anchor and place.suffix == ".md" and anchor not in anchors(place)):
            broken.append(target)
    assert broken == []
