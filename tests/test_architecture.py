"""The house: who may import whom, what is forbidden where, and what a lint may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "compiler" / "kcluster"

# room → rooms that it may import. `source`, `units`, `values`, `version` and `reads` are open to all; a room may import itself.
OPEN = {"source", "units", "values", "version", "reads"}
MAY = {
    "source": set(),
    "units": set(),
    "values": set(),
    "version": set(),
    "reads": set(),
    "cache": set(),
    "diagnostics": set(),
    "physics": set(),
    "syntax": {"diagnostics"},
    "catalog": {"physics"},
    "project": {"diagnostics", "catalog", "syntax"},
    "spec": {"syntax", "diagnostics", "catalog", "physics", "project"},
    "planner": {"spec", "physics", "catalog"},
    "rules": {"planner", "spec", "syntax", "physics", "catalog", "diagnostics", "targets"},
    "targets": {"planner", "spec", "physics", "catalog"},
    "render": {"diagnostics", "planner", "spec", "physics", "changes", "verify"},
    "changes": {"diagnostics", "planner", "render", "targets"},
    "verify": {"catalog", "spec", "targets"},
    "importers": {"catalog", "spec", "syntax", "diagnostics", "physics"},
    "output": {"targets"},
    "fixes": {"diagnostics"},
    "baseline": {"diagnostics"},
    "pipeline": {"diagnostics", "syntax", "spec", "planner", "rules"},
    "editor": {"diagnostics", "syntax", "catalog", "spec", "physics", "planner", "render", "fixes"},
    "lsp": {"diagnostics", "syntax", "project", "pipeline", "planner", "render", "editor"},
    "api": {"diagnostics", "syntax", "spec", "planner", "rules", "targets", "pipeline"},
    "cli": {"*"},
    "__main__": {"cli"},
    "__init__": {"api"},
}
# third-party and heavy modules → the rooms that may import them
ONLY_IN = {
    "attrs": {"values"},
    "attr": set(),
    "lark": {"syntax"},
    "pygls": {"lsp", "cli"},
    "lsprotocol": {"lsp"},
    "pygments": {"editor"},
    "shtab": {"cli"},
    "jsonschema": set(),
    "tomli_w": {"targets"},
    "tomllib": {"catalog", "project", "output", "verify"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            if node.module == "kcluster":
                found.update(f"kcluster.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_arrows(path: Path) -> None:
    room = room_of(path)
    assert room in MAY, f"{room} is a new room: say in MAY what it may import"
    for name in sorted(imports_of(path)):
        top, *rest = name.split(".")
        if top == "kcluster" and rest:
            other = rest[0]
            if other == "VERSION" or (PACKAGE / other).exists() or (PACKAGE / f"{other}.py").exists():
                allowed = other == room or other in OPEN or "*" in MAY[room] or other in MAY[room]
                assert allowed, f"{room} may not import {other} ({name})"
        if top in ONLY_IN:
            assert room in ONLY_IN[top], f"{top} is not imported in {room}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if room_of(path) in ("cli", "__main__") or path.name == "pages.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in ("print", "exit", "quit", "input", "exec"), (
                f"{node.func.id} at line {node.lineno}"
            )
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            place = (node.value.id, node.attr)
            assert place not in {("sys", "exit"), ("os", "environ"), ("time", "time"), ("os", "getenv")}, place


def test_physics_knows_no_spans() -> None:
    for path in (PACKAGE / "physics").glob("*.py"):
        assert "kcluster.source" not in imports_of(path), path.name


# What `lint` of a sound spec must not load: each costs a good part of an interpreter's start, or more. (lark itself brings
# logging, dataclasses, tempfile and random.)
FORBIDDEN_AT_LINT = {
    "jsonschema", "tomli_w", "rich", "pygls", "importlib.metadata", "email", "http", "http.client", "asyncio", "urllib.request",
    "multiprocessing", "concurrent.futures", "unittest", "yaml", "difflib", "subprocess", "socket", "importlib.resources",
    "kcluster.targets.nginx", "kcluster.targets.vllm", "kcluster.render.sarif", "kcluster.render.junit",
}  # fmt: skip


def test_lint_loads_little() -> None:
    program = (
        "import sys; from kcluster.cli.main import run; code = run(['lint', 'specs/recipe-a.kcluster', '--format', 'concise', '--no-cache']);"
        "sys.stderr.write('\\n'.join(sorted(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[str(PACKAGE.parent), *sys.path]!r}; {program}"],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    loaded = set(done.stderr.splitlines())
    assert "kcluster.planner.plan" in loaded
    assert not loaded & FORBIDDEN_AT_LINT, sorted(loaded & FORBIDDEN_AT_LINT)


# What an unchanged file may load beyond what every interpreter has loaded at its start.
# (Those after `os` are what `os` itself brings: without `site` nothing has asked for it yet.)
ALLOWED_AT_RECALL = {
    "kcluster", "_blake2", "hashlib", "_hashlib", "__future__", "gc", "stat", "os", "_stat", "posixpath", "genericpath",
    "_collections_abc",
}  # fmt: skip


def test_lint_of_an_unchanged_file_loads_next_to_nothing(tmp_path: Path) -> None:
    program = (
        "import sys; before = set(sys.modules); from kcluster.__main__ import main;"
        "sys.argv[1:] = ['lint', 'specs/recipe-a.kcluster']; code = main();"
        "sys.stderr.write('\\n'.join(sorted(set(sys.modules) - before))); sys.exit(code)"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {[str(PACKAGE.parent), *sys.path]!r}; {program}"],
            cwd=ROOT, capture_output=True, text=True, timeout=120, check=False, env={"XDG_CACHE_HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done)
    first, second = said
    assert first.stdout == second.stdout
    assert "kcluster.planner.plan" in first.stderr.splitlines()
    extra = {name for name in second.stderr.splitlines() if name.split(".")[0] not in ALLOWED_AT_RECALL}
    assert not extra, sorted(extra)
    assert "argparse" not in second.stderr and "kcluster.cli.main" not in second.stderr


def test_no_registry_and_no_machine_paths_in_tracked_files() -> None:
    tracked = (
        subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    )
    bad = []
    # Put together here so that this file does not hold what it looks for.
    needles = [
        "pypi" + ".org",
        "files.python" + "hosted",
        "registry.npm" + "js",
        "deb.debian" + ".org",
        "/work" + "/main",
        "/root" + "/",
    ]
    for name in filter(None, tracked):
        path = ROOT / name
        if path.is_file():
            text = path.read_bytes().decode("utf-8", "replace")
            bad += [f"{name}: {needle}" for needle in needles if needle in text]
    assert not bad, bad
