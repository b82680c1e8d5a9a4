"""`kcluster diff`: what a change changes, between files, folders and revisions of git."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from kcluster.cli.main import run

ROOT = Path(__file__).parents[2]
RECIPE = (ROOT / "specs" / "recipe-a.kcluster").read_text()
SMALL = """
model m { id = "Qwen/Qwen3-8B" }
hardware h { gpus = 1 * rtx-5090 }
sla s { concurrency = 4, context = 4K, ttft <= 30s }
serve a { model = m, hardware = h, sla = s }
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def git(*arguments: str) -> None:
    identity = {
        "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@b",
        "GIT_COMMITTER_NAME": "a",
        "GIT_COMMITTER_EMAIL": "a@b",
    }
    nothing = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *arguments], check=True, capture_output=True, env={**os.environ, **identity, **nothing})


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a serve's differences by name: before, after and sense."""
    found = {}
    for line in text.splitlines():
        if "→" in line and line.startswith("  "):
            name, before, _, *rest = [part.strip() for part in line.replace("→", "  →  ").split("  ") if part.strip()]
            found[name] = [before, *rest]
    return found


def test_the_cut_its_flags_and_its_figures(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.kcluster").write_text(RECIPE)
    Path("new.kcluster").write_text(RECIPE.replace("tp = 4", "tp = 2, pp = 2"))
    assert run(["diff", "old.kcluster", "new.kcluster"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("old.kcluster → new.kcluster\nchat\n")
    found = rows(text)
    assert found["cut"] == ["1 replica of tp 4", "1 replica of tp 2 × pp 2"]
    assert found["--tensor-parallel-size"] == ["4", "2"]
    assert found["--pipeline-parallel-size"] == ["–", "2"]
    assert found["KV a GPU"][2] == "better", "a stage has no copy of the other's buffers"
    assert "weights a GPU" not in found, "a quarter of them either way"
    assert "--port" not in found


def test_the_same_spec_is_no_difference(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.kcluster").write_text(SMALL)
    Path("b.kcluster").write_text("# a comment\n" + SMALL.replace("gpus = 1 * rtx-5090", "gpus = rtx-5090"))
    assert run(["diff", "a.kcluster", "b.kcluster"]) == 0
    assert capsys.readouterr().out == "nothing changes\n"


def test_a_bound_that_is_lost_is_worse(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.kcluster").write_text(SMALL)
    Path("b.kcluster").write_text(SMALL.replace("ttft <= 30s", "ttft <= 1ms"))
    assert run(["diff", "a.kcluster", "b.kcluster"]) == 1
    text = capsys.readouterr().out
    assert rows(text)["ttft"] == ["≤ 30.0 s: kept", "≤ 1.0 ms: missed", "lost"]
    assert "+ error[KC502]" in text
    assert run(["diff", "b.kcluster", "a.kcluster"]) == 0
    assert "- error[KC502]" in capsys.readouterr().out


def test_an_error_more_is_worse_also_where_nothing_can_be_planned(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("a.kcluster").write_text(SMALL)
    Path("b.kcluster").write_text(SMALL.replace("concurrency = 4", "concurrency = 4GB"))
    assert run(["diff", "a.kcluster", "b.kcluster"]) == 1
    assert "+ error[KC103]" in capsys.readouterr().out


def test_folders_pair_their_specs_by_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("old", "new"):
        Path(folder, "deep").mkdir(parents=True)
        Path(folder, "deep", "same.kcluster").write_text(SMALL)
    Path("old", "gone.kcluster").write_text(SMALL)
    Path("new", "fresh.kcluster").write_text(SMALL.replace("serve a", "serve b"))
    assert run(["diff", "old", "new"]) == 0
    text = capsys.readouterr().out
    assert "new/fresh.kcluster (new)\nb (new)\n" in text
    assert "old/gone.kcluster (gone)\na (gone)\n" in text
    assert "same.kcluster" not in text


def test_revisions_of_git_bring_their_own_imports(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git("init", "-q", "-b", "main")
    Path("clusters").mkdir()
    Path("shared.kcluster").write_text("hardware h { gpus = 1 * rtx-5090 }\n")
    main = 'import "../shared.kcluster"\n' + SMALL.replace("hardware h { gpus = 1 * rtx-5090 }\n", "")
    Path("clusters", "a.kcluster").write_text(main)
    git("add", ".")
    git("commit", "-q", "-m", "first")
    Path("shared.kcluster").write_text("hardware h { gpus = 1 * rtx-4090 }\n")
    assert run(["diff", "HEAD:clusters/a.kcluster", "clusters/a.kcluster"]) == 0
    assert rows(capsys.readouterr().out)["cards"] == [
        "1 × RTX 5090",
        "1 × RTX 4090",
    ]
    os.chdir("clusters")
    assert run(["diff", "HEAD:a.kcluster", "a.kcluster"]) == 0
    assert "cards" in rows(capsys.readouterr().out)
    os.chdir("..")
    assert run(["diff", "HEAD:clusters", "clusters", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(one["before"], one["after"]) for one in found["specs"]] == [("clusters/a.kcluster", "clusters/a.kcluster")]
    git("commit", "-qam", "second")
    assert run(["diff", "HEAD~1:clusters", "HEAD:clusters"]) == 0
    assert "cards" in rows(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("old", "says"),
    [
        ("nothing.kcluster", "cannot read nothing.kcluster"),
        ("nope:a.kcluster", "git knows no revision `nope`"),
        ("HEAD:none.kcluster", "there is no spec at HEAD:none.kcluster"),
        ("HEAD:../../etc", "outside of the repository"),
        ("--upload-pack=x:a", "neither a path nor REV:path"),
        (":a.kcluster", "neither a path nor REV:path"),
    ],
)
def test_what_cannot_be_read_is_said(here: Path, capsys: pytest.CaptureFixture[str], old: str, says: str) -> None:
    Path("a.kcluster").write_text(SMALL)
    git("init", "-q")
    git("add", "a.kcluster")
    git("commit", "-q", "-m", "first")
    assert run(["diff", "--", old, "a.kcluster"]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_outside_of_a_repository(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(here.parent))
    Path("a.kcluster").write_text(SMALL)
    assert run(["diff", "HEAD:a.kcluster", "a.kcluster"]) == 2
    assert "git" in capsys.readouterr().err


def test_json_is_as_its_schema_says(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.kcluster").write_text(SMALL)
    Path("b.kcluster").write_text(SMALL.replace("ttft <= 30s", "ttft <= 1ms").replace("rtx-5090", "rtx-3090"))
    assert run(["diff", "a.kcluster", "b.kcluster", "--format", "json"]) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads((files("kcluster") / "schemas" / "diff.schema.json").read_text("utf-8")))
    assert found["worse"] is True
    (spec,) = found["specs"]
    assert spec["errors"] == {"before": 0, "after": 1}
    assert {"part": "bounds", "name": "ttft", "lost": True}.items() <= next(
        row for row in spec["serves"][0]["differences"] if row["name"] == "ttft"
    ).items()


HOSTILE = '"<b>|[x](http://e.f)@everyone `a`"'


def test_nothing_of_a_spec_is_markup_in_a_comment(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.kcluster").write_text(SMALL)
    Path("b.kcluster").write_text(SMALL.replace("sla = s ", f"sla = {HOSTILE} "))
    assert run(["diff", "a.kcluster", "b.kcluster", "--format", "markdown"]) == 1
    text = capsys.readouterr().out
    assert "everyone" in text, "it is quoted in a finding"
    assert "<b>" not in text
    assert "@everyone" not in text
    assert not re.search(r"(?<!\\)\]\(", text)
    assert "http://" not in text, "not even an address becomes a link"
    lines = [line for line in text.splitlines() if "everyone" in line]
    assert all(line.replace("\\|", "").count("|") in (4, 5) for line in lines), "cells stay cells"


def test_compiled_folders_are_compared_file_by_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.kcluster").write_text(SMALL)
    for folder, text in (("one", SMALL), ("two", SMALL.replace("context = 4K", "context = 8K"))):
        Path(f"{folder}.kcluster").write_text(text)
        assert run(["compile", f"{folder}.kcluster", "-o", folder]) == 0
    capsys.readouterr()
    assert run(["diff", "one", "two"]) == 0
    text = capsys.readouterr().out
    assert "+++ plan.toml (two)" in text
    assert run(["diff", "one", "one"]) == 0
    assert capsys.readouterr().out == "nothing changes\n"
    assert run(["diff", "one", "two", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, json.loads((files("kcluster") / "schemas" / "diff.schema.json").read_text("utf-8")))
    assert {"path": "plan.toml", "change": "changed"}.items() <= found["files"][-1].items()
    Path("two", "README.md").write_text("```` closes nothing\n")
    assert run(["diff", "one", "two", "--format", "markdown"]) == 0
    text = capsys.readouterr().out
    assert "<summary>changed: plan.toml</summary>" in text.replace("\\", "")
    assert "`````diff" in text and text.count("<details>") == text.count("</details>") == len(found["files"])


def test_the_comment_of_the_action(here: Path) -> None:
    """The script of action.yml, with a `gh` that writes down what it was told."""
    git("init", "-q", "-b", "main")
    Path("a.kcluster").write_text(SMALL)
    git("add", ".")
    git("commit", "-q", "-m", "first")
    Path("a.kcluster").write_text(SMALL.replace("rtx-5090", "rtx-4090"))
    programs = here / "bin"
    programs.mkdir()
    (programs / "kcluster").write_text(
        f'#!/bin/sh\nPYTHONPATH="{ROOT}/compiler" exec "{sys.executable}" -m kcluster "$@"\n'
    )
    (programs / "gh").write_text('#!/bin/sh\nprintf "%s\\n" "$*" > told\ncat "$5" > body\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "BASE": "HEAD",
        "NUMBER": "7",
        "PATHS": ".",
    }
    script = ROOT / "editors" / "ci" / "comment.sh"
    subprocess.run(["bash", script], check=True, env=environment, cwd=here, timeout=120)
    assert Path("told").read_text().startswith("pr comment 7 --body-file ")
    assert "| cards | 1 × RTX 5090" in Path("body").read_text()


def test_a_spec_that_was_moved_is_compared_with_itself(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, text in (("old", SMALL), ("new/prod", SMALL.replace("concurrency = 4", "concurrency = 5"))):
        Path(folder).mkdir(parents=True)
        Path(folder, "a.kcluster").write_text(text)
    Path("old/same.kcluster").write_text(RECIPE)
    Path("new/other.kcluster").write_text(RECIPE)
    assert run(["diff", "old", "new"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("old/a.kcluster → new/prod/a.kcluster\n")
    assert "(new)" not in text and "(gone)" not in text and "same" not in text


def test_a_comment_names_what_gets_worse(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("old", "new"):
        Path(folder).mkdir()
        Path(folder, "same.kcluster").write_text(SMALL)
    Path("old/a_b.kcluster").write_text(SMALL)
    Path("new/a_b.kcluster").write_text(SMALL.replace("ttft <= 30s", "ttft <= 1ms"))
    Path("new/more.kcluster").write_text(RECIPE)
    assert run(["diff", "--format", "markdown", "old", "new"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "**kcluster**: this makes worse: old/a\\_b.kcluster → new/a\\_b.kcluster."
    assert "| cut | 1 replica of tp 4 |" in lines, "what is new has one column"


def test_compiled_folders_of_a_revision(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    git("init", "-q")
    Path("a.kcluster").write_text(RECIPE)
    assert run(["compile", "a.kcluster", "-o", "out"]) == 0
    git("add", "out")
    git("commit", "-qm", "one")
    Path("out/plan.toml").write_text(Path("out/plan.toml").read_text() + "# more\n")
    capsys.readouterr()
    assert run(["diff", "HEAD:out", "out"]) == 0
    text = capsys.readouterr().out
    assert "+# more" in text and text.count("\n--- ") + text.startswith("--- ") == 1


def test_a_revision_without_a_path_is_told_how(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.kcluster").write_text(SMALL)
    assert run(["diff", "HEAD", "a.kcluster"]) == 2
    assert "a revision of git is REV:path, such as HEAD:specs" in capsys.readouterr().err
