"""The package installed in each way that people install one, run from another folder than the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from .conftest import run

ROOT = Path(__file__).parent.parent.parent
pytestmark = pytest.mark.packaging


def environment(folder: Path) -> Path:
    run(sys.executable, "-m", "venv", folder)
    return folder / "bin"


def works(bin_: Path, elsewhere: Path) -> str:
    """Run the installed program from another folder; gives where the parser got its tables from."""
    shutil.copy(ROOT / "specs/recipe-a.kcluster", elsewhere)
    assert run(bin_ / "kcluster", "--version", cwd=elsewhere).stdout.startswith("kcluster ")
    done = run(bin_ / "kcluster", "lint", "recipe-a.kcluster", "--format", "concise", cwd=elsewhere)
    assert "KC203" in done.stdout
    run(bin_ / "python", "-m", "kcluster", "compile", "recipe-a.kcluster", "-o", "out", cwd=elsewhere)
    assert (elsewhere / "out/router/nginx.conf").is_file()
    assert run(bin_ / "kcluster", "explain", "KC202", cwd=elsewhere).stdout
    program = "from kcluster.syntax.tables import origin; print(origin())"
    return run(bin_ / "python", "-c", program, cwd=elsewhere).stdout.strip()


def test_the_wheel_holds_what_it_needs(built: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(built[0]).namelist())
    for name in (
        "syntax/kcluster.lark",
        "syntax/prebuilt.py",
        "catalog/prebuilt.py",
        "catalog/data/gpus.toml",
        "schemas/plan.schema.json",
        "py.typed",
    ):
        assert f"kcluster/{name}" in names, name
    assert not [name for name in names if not name.startswith(("kcluster/", "kcluster-"))]


def test_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "venv")
    run(bin_ / "pip", "install", "--quiet", built[0])
    assert works(bin_, tmp_path) == "prebuilt"


def test_sdist_to_wheel(built: tuple[Path, Path], tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "venv")
    run(bin_ / "pip", "install", "--quiet", built[1])
    assert works(bin_, tmp_path) == "prebuilt"


def test_plain_install(checkout: Path, tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "venv")
    run(bin_ / "pip", "install", "--quiet", ".", cwd=checkout)
    assert works(bin_, tmp_path) == "prebuilt"


def test_editable_install(checkout: Path, tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "venv")
    run(bin_ / "pip", "install", "--quiet", "--editable", ".", cwd=checkout)
    assert works(bin_, tmp_path) == "grammar", "a checkout parses with the live grammar"


def test_both_ways_to_the_tables_give_the_same_trees(built: tuple[Path, Path], tmp_path: Path) -> None:
    bin_ = environment(tmp_path / "venv")
    run(bin_ / "pip", "install", "--quiet", built[0])
    program = (
        "import sys; from pathlib import Path; from kcluster.source import Source; from kcluster.syntax.parser import parse\n"
        "for name in sys.argv[1:]:\n"
        "    file, findings = parse(Source('x', Path(name).read_text()))\n"
        "    print(repr(file.items), repr([f.message for f in findings]))\n"
    )
    specs = sorted((ROOT / "specs").rglob("*.kcluster"))
    prebuilt = run(bin_ / "python", "-c", program, *specs, cwd=tmp_path).stdout
    live = subprocess.run(
        [sys.executable, "-c", program, *map(str, specs)], env={**os.environ, "PYTHONPATH": str(ROOT / "compiler")},
        capture_output=True, text=True, check=True, timeout=300,
    ).stdout  # fmt: skip
    assert prebuilt == live
