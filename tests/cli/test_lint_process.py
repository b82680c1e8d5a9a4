"""`kcluster lint`: what is read, what is reported, and the exit code."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from .process import BAD, GOOD, ROOT, kcluster, write

WARNS = GOOD.replace("\n", "  # kcluster: ignore[KC107] nothing to ignore\n", 1)  # KC111


def test_exit_codes_and_the_summary(tmp_path: Path) -> None:
    write(tmp_path, good=GOOD, warns=WARNS, bad=BAD)
    good = kcluster("lint", "good.kcluster", "--select", "KC1", at=tmp_path)
    assert (good.code, good.out, good.err) == (0, "no findings in 1 file\n", "")
    warns = kcluster("lint", "warns.kcluster", "--select", "KC1", at=tmp_path)
    assert warns.code == 0 and warns.out.endswith("1 warning in 1 file\n"), warns
    assert kcluster("lint", "warns.kcluster", "--select", "KC1", "--strict", at=tmp_path).code == 1
    bad = kcluster("lint", ".", "--select", "KC1", at=tmp_path)
    assert bad.code == 1 and bad.out.endswith("1 error, 1 warning in 3 files\n"), bad


@pytest.mark.parametrize(
    "arguments",
    [
        ("nothing.kcluster",),
        ("empty",),
        ("good.kcluster", "--select", "KC9"),
        ("good.kcluster", "--format", "yaml"),
        ("good.kcluster", "--write-baseline"),
        ("good.kcluster", "--baseline", "nothing.json"),
        ("good.kcluster", "--statistics", "--format", "sarif"),
        ("good.kcluster", "--jobs", "-1"),
    ],
    ids=" ".join,
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    write(tmp_path, good=GOOD)
    (tmp_path / "empty").mkdir()
    ran = kcluster("lint", *arguments, at=tmp_path)
    assert ran.code == 2 and ran.out == "" and ran.err and "Traceback" not in ran.err


@pytest.mark.parametrize("given", [("vllm", "serve", "Qwen/Qwen3-8B"), ("--gpus", "4090", "vllm")], ids=" ".join)
def test_a_command_without_its_dashes_is_told_where_it_goes(tmp_path: Path, given: tuple[str, ...]) -> None:
    ran = kcluster("lint", *given, at=tmp_path)
    assert ran.code == 2 and "a launch command" in ran.err and "behind `--`" in ran.err, ran
    (tmp_path / "serve.sh").write_text("vllm serve Qwen/Qwen3-8B\n")
    assert "kcluster import --lint" in kcluster("lint", "serve.sh", at=tmp_path).err


def test_what_cannot_be_read_does_not_hide_the_rest(tmp_path: Path) -> None:
    write(tmp_path, bad=BAD)
    ran = kcluster("lint", "nothing.kcluster", "bad.kcluster", "--format", "concise", at=tmp_path)
    assert ran.code == 2 and "KC102" in ran.out and "nothing.kcluster" in ran.err


def test_an_internal_fault_says_so(tmp_path: Path) -> None:
    write(tmp_path, good=GOOD)
    (tmp_path / "sitecustomize.py").write_text(
        "import kcluster.cli.lint_command as it\ndef run(arguments): raise RuntimeError('broken')\nit.run = run\n"
    )
    from .process import PACKAGE

    ran = kcluster("lint", "good.kcluster", at=tmp_path, env={"PYTHONPATH": f"{PACKAGE}:{tmp_path}"})
    assert ran.code == 3 and "internal fault" in ran.err and "RuntimeError: broken" in ran.err


def test_standard_input(tmp_path: Path) -> None:
    write(tmp_path, shared='model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }\n')
    text = 'import "shared.kcluster"\n' + BAD.partition("\n")[2]
    ran = kcluster(
        "lint", "-", "--stdin-filename", "x.kcluster", "--format", "concise", at=tmp_path, stdin=text.encode()
    )
    assert ran.code == 1 and ran.out.startswith("x.kcluster:3:12: error[KC102]"), ran
    assert "KC109" not in ran.out, "imports start from the folder of the name given"
    nameless = kcluster("lint", "-", "--format", "concise", at=tmp_path, stdin=BAD.encode())
    assert nameless.code == 1 and nameless.out.startswith("<stdin>:3:12: error[KC102]"), nameless


def test_folders_are_read_in_order_and_each_file_once(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / ".hidden").mkdir()
    write(tmp_path, c=BAD, a=BAD)
    write(tmp_path / "b", x=BAD)
    write(tmp_path / ".hidden", y=BAD)
    ran = kcluster("lint", ".", "c.kcluster", "--format", "concise", "--select", "KC102", at=tmp_path)
    assert [line.split(":")[0] for line in ran.out.splitlines()] == ["a.kcluster", "b/x.kcluster", "c.kcluster"]


@pytest.mark.parametrize("name", ["kcluster.toml", "pyproject.toml"])
def test_settings(tmp_path: Path, name: str) -> None:
    head, table = ("", "severity") if name == "kcluster.toml" else ("[tool.kcluster]\n", "tool.kcluster.severity")
    write(tmp_path, warns=WARNS)
    (tmp_path / "specs").mkdir()
    write(tmp_path / "specs", a=WARNS)

    def says(text: str, *arguments: str) -> tuple[int, list[str]]:
        (tmp_path / name).write_text(head + text.replace("[severity]", f"[{table}]"))
        ran = kcluster("lint", "--format", "json", *arguments, at=tmp_path)
        return ran.code, [f"{found['path']} {found['code']} {found['severity']}" for found in json.loads(ran.out)]

    own = ("warns.kcluster", "--select", "KC1")
    assert says("", *own) == (0, ["warns.kcluster KC111 warning"])
    assert says('[severity]\nuseless-suppression = "error"\n', *own) == (1, ["warns.kcluster KC111 error"])
    assert says('[severity]\nKC111 = "off"\n', *own) == (0, [])
    assert says('select = ["KC102"]\n', "warns.kcluster") == (0, [])
    assert says('select = ["KC102"]\n', *own)[1] == ["warns.kcluster KC111 warning"], "the command line wins"
    assert not any("KC111" in line for line in says('ignore = ["KC1"]\n', "warns.kcluster")[1])
    assert says('paths = ["specs"]\nselect = ["KC111"]\n') == (0, ["specs/a.kcluster KC111 warning"])
    code, found = says('select = ["KC111"]\nseverty = 1\n', "warns.kcluster")
    assert code == 1 and found == [f"{name} KC102 error", "warns.kcluster KC111 warning"]


def test_syntax_errors_cannot_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, broken="model llama { id = }\n")
    ran = kcluster("lint", "broken.kcluster", "--select", "KC2", "--format", "concise", at=tmp_path)
    assert ran.code == 1 and "[KC001]" in ran.out


def test_statistics(tmp_path: Path) -> None:
    write(tmp_path, a=BAD, b=BAD, c=WARNS)
    ran = kcluster("lint", ".", "--select", "KC1", "--statistics", at=tmp_path)
    assert ran.code == 1
    assert ran.out.splitlines() == ["2  KC102  error    unknown-attribute", "1  KC111  warning  useless-suppression"]
    rows = json.loads(kcluster("lint", ".", "--select", "KC1", "--statistics", "--format", "json", at=tmp_path).out)
    assert [(row["code"], row["count"]) for row in rows] == [("KC102", 2), ("KC111", 1)]


def test_a_baseline_hides_what_is_known_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path, a=WARNS, b=BAD)
    base = ("lint", ".", "--select", "KC1", "--baseline", "known.json")
    written = kcluster(*base, "--write-baseline", at=tmp_path)
    assert (written.code, written.out) == (0, "known.json now holds 2 findings\n"), written

    ran = kcluster(*base, at=tmp_path)
    assert (ran.code, ran.out) == (0, "no findings in 2 files (2 in the baseline)\n")
    write(tmp_path, a="# moved\n\n" + WARNS, b=WARNS.partition("\n")[0] + "\n" + BAD.partition("\n")[2])
    ran = kcluster(*base, "--format", "concise", at=tmp_path)
    assert (
        ran.code == 0 and len(ran.out.splitlines()) == 1 and ran.out.startswith("b.kcluster:1:") and "KC111" in ran.out
    ), ran
    write(tmp_path, a=GOOD, b=GOOD)
    # only of files that were judged whole can it be said that a known finding is gone
    assert kcluster(*base, at=tmp_path).out == "no findings in 2 files\n"
    ran = kcluster("lint", ".", "--baseline", "known.json", at=tmp_path)
    assert ran.out == "no findings in 2 files (2 of the baseline gone)\n"
    (tmp_path / "known.json").write_text("[]")
    ran = kcluster(*base, at=tmp_path)
    assert ran.code == 2 and "baseline" in ran.err


def test_formats_of_several_files_are_each_one_document(tmp_path: Path) -> None:
    write(tmp_path, a=BAD, b=BAD)
    out = {
        name: kcluster("lint", ".", "--select", "KC1", "--format", name, at=tmp_path).out
        for name in ("json", "sarif", "gitlab", "junit", "github", "concise")
    }
    assert [found["path"] for found in json.loads(out["json"])] == ["a.kcluster", "b.kcluster"]
    assert len(json.loads(out["sarif"])["runs"][0]["results"]) == 2
    assert len(json.loads(out["gitlab"])) == 2
    assert len(ElementTree.fromstring(out["junit"]).findall(".//failure")) == 2
    assert [line.split(" ")[0] for line in out["github"].splitlines()] == ["::error", "::error"]
    assert len(out["concise"].splitlines()) == 2


def test_many_specs_in_several_processes_read_as_in_one(tmp_path: Path) -> None:
    texts = {f"s{number:02}": (BAD if number % 3 else WARNS).replace("8K", f"{number + 1}K") for number in range(30)}
    write(tmp_path, **texts)
    one, two = (
        kcluster("lint", ".", "--no-cache", "--format", "json", "--jobs", jobs, at=tmp_path) for jobs in ("1", "2")
    )
    assert one.code == 1 and one == two and len(json.loads(one.out)) >= 30


def test_a_reader_that_goes_away_is_no_failure(tmp_path: Path) -> None:
    import subprocess
    import sys

    from .process import PACKAGE

    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{sys.executable}' -m kcluster catalog list models | head -1"],
        cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PACKAGE)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr, done


def test_own_specs_are_sound() -> None:
    specs = [path.name for path in sorted((ROOT / "specs").glob("*.kcluster"))]
    ran = kcluster("lint", *specs, "--format", "concise", "--no-cache", at=ROOT / "specs")
    assert ran.code == 0, ran.out
