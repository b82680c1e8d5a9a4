"""The package installed in each way that people install one, run from another folder than the checkout."""

from __future__ import annotations

import json
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


def test_wheel(installed: Path, tmp_path: Path) -> None:
    assert works(installed, tmp_path) == "prebuilt"


COUNTED = """
import builtins, json, re._compiler, sys
sys.argv[1:] = ["lint", "recipe-a.kcluster"]
counts = {"classes": 0, "patterns": 0}
def counting(name, function):
    def counted(*given, **named):
        counts[name] += 1
        return function(*given, **named)
    return counted
builtins.__build_class__ = counting("classes", builtins.__build_class__)
re._compiler.compile = counting("patterns", re._compiler.compile)
from kcluster.__main__ import main
main()
sys.stderr.write(json.dumps({**counts, "modules": sorted(sys.modules)}))
"""
SLOW_TO_LOAD = {
    "lark", "attr", "attrs", "jsonschema", "tomli_w", "tomllib", "decimal", "dataclasses", "inspect", "shutil", "bz2", "lzma",
    "ast", "tempfile", "subprocess", "socket", "ssl", "hashlib", "random", "threading", "logging", "multiprocessing", "concurrent",
    "asyncio", "difflib", "string", "importlib.metadata", "importlib.resources", "email", "http", "zipfile", "pickle",
    "unittest", "kcluster.render.sarif", "kcluster.render.junit", "kcluster.lsp", "kcluster.importers",
}  # fmt: skip


def test_what_a_lint_of_the_installed_wheel_loads(installed: Path, tmp_path: Path) -> None:
    """Not seconds, but what they go into: modules, classes made, patterns compiled. Each bound is about a tenth over what it was
    when a cold lint took 9.6 bare interpreters (benchmarks/startup); what needs more is worth a second look."""
    shutil.copy(ROOT / "specs/recipe-a.kcluster", tmp_path)
    env = {"PATH": os.environ["PATH"], "XDG_CACHE_HOME": str(tmp_path / "cache")}
    first, second = (
        json.loads(
            subprocess.run(
                [installed / "python", "-c", COUNTED],
                cwd=tmp_path, env=env, capture_output=True, text=True, check=True, timeout=120,
            ).stderr
        )
        for _ in range(2)
    )  # fmt: skip
    loaded = set(first["modules"])
    assert "kcluster.planner.plan" in loaded and "kcluster.syntax.prebuilt" in loaded
    assert not loaded & SLOW_TO_LOAD, sorted(loaded & SLOW_TO_LOAD)
    assert len([name for name in loaded if name.startswith("kcluster")]) <= 180
    assert len(loaded) <= 275
    assert 200 < first["classes"] <= 430
    assert 10 < first["patterns"] <= 46
    # An unchanged file goes the short way (other modules are of the counting here, or of the interpreter's start).
    again = {name for name in second["modules"] if name.startswith("kcluster")}
    assert again == {
        "kcluster", "kcluster.__main__", "kcluster.version", "kcluster.cli", "kcluster.cli.recall", "kcluster.cache", "kcluster.reads",
    }, again  # fmt: skip


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


def test_both_ways_to_the_tables_give_the_same_trees(installed: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from kcluster.source import Source; from kcluster.syntax.parser import parse\n"
        "for name in sys.argv[1:]:\n"
        "    file, findings = parse(Source('x', Path(name).read_text()))\n"
        "    print(repr(file.items), repr([f.message for f in findings]))\n"
    )
    specs = sorted((ROOT / "specs").rglob("*.kcluster"))
    prebuilt = run(installed / "python", "-c", program, *specs, cwd=tmp_path).stdout
    live = subprocess.run(
        [sys.executable, "-c", program, *map(str, specs)], env={**os.environ, "PYTHONPATH": str(ROOT / "compiler")},
        capture_output=True, text=True, check=True, timeout=300,
    ).stdout  # fmt: skip
    assert prebuilt == live
