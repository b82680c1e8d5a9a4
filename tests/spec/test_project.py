"""The project's root and settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcluster.diagnostics import Diagnostic
from kcluster.project import Project, find_root, load_project


def settings(folder: Path, text: str | bytes, name: str = "kcluster.toml") -> tuple[Project, tuple[Diagnostic, ...]]:
    place = folder / name
    if isinstance(text, bytes):
        place.write_bytes(text)
    else:
        place.write_text(text)
    return load_project(folder)


@pytest.mark.parametrize("mark", ["kcluster.toml", "pyproject.toml", ".git"])
def test_root(tmp_path: Path, mark: str) -> None:
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x.kcluster").write_text("")
    (tmp_path / mark).mkdir() if mark == ".git" else (tmp_path / mark).write_text("")
    assert find_root(deep / "x.kcluster") == tmp_path
    assert find_root(deep) == tmp_path
    (tmp_path / "a" / "kcluster.toml").write_text("")
    assert find_root(deep) == tmp_path / "a", "the nearest"


def test_without_a_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kcluster.project._MARKS", ("no-such-mark",))
    (tmp_path / "x.kcluster").write_text("")
    assert find_root(tmp_path / "x.kcluster") == tmp_path
    assert find_root(tmp_path) == tmp_path


WHOLE = """
select = ["KC2", "weights-do-not-fit", "kc5"]
ignore = ["KC506"]
targets = ["vllm", "nginx"]
paths = ["specs", "more/x.kcluster"]

[severity]
KC203 = "error"
unused-block = "off"
"""


def test_settings(tmp_path: Path) -> None:
    project, found = settings(tmp_path, WHOLE)
    assert found == ()
    assert project == Project(
        tmp_path,
        severities=(("KC108", "off"), ("KC203", "error")),
        select=("KC2", "KC201", "KC5"),
        ignore=("KC506",),
        targets=("vllm", "nginx"),
        paths=("specs", "more/x.kcluster"),
        file="kcluster.toml",
    )
    assert project.severity("KC203", "warning") == "error"
    assert project.severity("KC204", "warning") == "warning"
    assert project.wants("KC201") and project.wants("KC501")
    assert not project.wants("KC506") and not project.wants("KC101")


def test_pyproject(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\nselect = 4\n[tool.kcluster]\ntargets = ["vllm"]\n[tool.kcluster.severity]\nKC203 = "note"\n'
    project, found = settings(tmp_path, text, "pyproject.toml")
    assert found == () and project.targets == ("vllm",) and project.severities == (("KC203", "note"),)
    assert settings(tmp_path, '[tool.ruff]\n"kcluster" = 1\n', "pyproject.toml") == (Project(tmp_path), ())
    project, _ = settings(tmp_path, 'targets = ["ray"]\n')
    assert project.targets == ("ray",), "kcluster.toml comes first"


def test_none(tmp_path: Path) -> None:
    assert load_project(tmp_path) == (Project(tmp_path), ())
    (tmp_path / "kcluster.toml").mkdir()
    assert load_project(tmp_path) == (Project(tmp_path), ())


@pytest.mark.parametrize(
    ("text", "code", "place", "word"),
    [
        ("selects = []", "KC102", "selects", "`select`"),
        ("colour = 1", "KC102", "colour", "settings are"),
        ("select = 4", "KC103", "select", "list of strings"),
        ("select = [4]", "KC103", "select", "list of strings"),
        ('select = ["KC999"]', "KC106", "KC999", "no code"),
        ('ignore = ["weight-do-not-fit"]', "KC106", "weight-do-not-fit", "`weights-do-not-fit`"),
        ("severity = 3", "KC103", "severity", "table"),
        ('[severity]\nKC203 = "fatal"', "KC103", "KC203", "`warning`"),
        ("[severity]\nKC203 = 1", "KC103", "KC203", "`warning`"),
        ('[severity]\nKC2O3 = "error"', "KC106", "KC2O3", "`KC203`"),
        ('paths = ["../x"]', "KC103", "../x", "out of the project"),
        ('paths = ["/etc"]', "KC103", "/etc", "out of the project"),
        ('paths = ["a\\u0000"]', "KC103", "", "out of the project"),
        ("select = [", "KC001", "", "not TOML"),
        ("a = 1\na = 2\n", "KC001", "", "not TOML"),
        ("x = " + "[" * 5000, "KC001", "", "not TOML"),
        (b"\xff\xfe", "KC004", "", "UTF-8"),
        (b"#" * (2**20 + 1), "KC007", "", "larger"),
    ],
)
def test_mistakes_in_settings(tmp_path: Path, text: str | bytes, code: str, place: str, word: str) -> None:
    project, found = settings(tmp_path, text)
    (only,) = found
    assert only.code == code, only
    assert only.source.path == "kcluster.toml"
    if place:
        assert only.source.slice(only.span) == place
    assert word in " ".join((only.message, *only.help))
    assert project.targets is None, "the rest holds"


def test_the_rest_of_the_settings_holds(tmp_path: Path) -> None:
    project, found = settings(
        tmp_path, 'slect = ["KC2"]\ntargets = ["vllm"]\n[severity]\nKC203 = "error"\nKC204 = "x"\n'
    )
    assert [finding.code for finding in found] == ["KC102", "KC103"]
    assert project.targets == ("vllm",) and project.severities == (("KC203", "error"),)
