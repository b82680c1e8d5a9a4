"""`kcluster lint` within one process: what is odd, rare or goes wrong."""

from __future__ import annotations

import io
import json
import os
import sys
from types import SimpleNamespace

import pytest

from kcluster.cli import lint_command, linting
from kcluster.render import FORMATS

from .inprocess import MISSPELT, SOUND, WARNED, Cli, command


def codes(cli: Cli, *arguments: str) -> list[str]:
    cli.run("lint", "--format", "json", *arguments)
    return [found["code"] for found in json.loads(cli.out)]


def test_an_internal_fault_is_exit_code_3(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write(a=SOUND)
    monkeypatch.setattr(linting, "judge", lambda _: 1 / 0)
    assert cli.run("lint", "--no-cache") == 3
    assert "mistake in kcluster" in cli.err and "ZeroDivisionError" in cli.err


def test_what_cannot_be_read_is_said_every_time(cli: Cli) -> None:
    cli.write(wrong=MISSPELT)
    for _ in range(2):
        assert cli.run("lint", "absent.kcluster", "wrong.kcluster", "--format", "concise") == 2
        assert "cannot read absent.kcluster" in cli.err and "KC102" in cli.out


def test_a_finding_of_an_imported_file_is_reported_once(cli: Cli) -> None:
    library, rest = MISSPELT.split("serve", 1)
    main = 'import "library.kcluster"\nserve' + rest
    cli.write(library=library, one=main, two=main)
    cli.run("lint", "--format", "concise", "--select", "KC102")
    assert [line.split(":")[:2] for line in cli.out.splitlines()] == [["library.kcluster", "3"]]


@pytest.mark.parametrize("wanted", ["KC203", "kc2", "peak-does-not-fit", "KC1,KC2"])
def test_select_and_ignore_by_code_name_and_beginning(cli: Cli, wanted: str) -> None:
    cli.write(a=WARNED)
    assert "KC203" in codes(cli)
    assert {code[:3] for code in codes(cli, "--select", wanted)} == {"KC2"}
    assert "KC203" not in codes(cli, "--ignore", wanted)


def test_each_file_has_the_settings_of_its_own_project(cli: Cli) -> None:
    deep = cli.folder / "deep"
    deep.mkdir()
    (deep / "kcluster.toml").write_text('[severity]\nKC001 = "off"\n')
    (deep / "b.kcluster").write_text(WARNED)
    cli.write(a=WARNED)
    (cli.folder / "kcluster.toml").write_text('[severity]\nKC203 = "error"\n')
    assert cli.run("lint", "deep", "a.kcluster", "--format", "concise") == 1
    assert "a.kcluster:3:12: error[KC203]" in cli.out
    assert "deep/b.kcluster:3:12: warning[KC203]" in cli.out
    assert "deep/kcluster.toml:2:1: error[KC103]" in cli.out, "a syntax error is one everywhere"


def test_a_baseline_counts_equal_lines(cli: Cli) -> None:
    """Serves with the same misspelt line: the third is new."""
    inner = "  engine vllm { prt = 8000 }\n"
    two = f"serve a {{\n{inner}}}\nserve b {{\n{inner}}}\n"
    cli.write(a=two)
    cli.run("lint", "--baseline", "known.json", "--write-baseline", "--select", "KC102")
    cli.write(a=f"{two}serve c {{\n{inner}}}\n")
    cli.run("lint", "--baseline", "known.json", "--select", "KC102", "--format", "concise")
    assert [line.split(":")[1] for line in cli.out.splitlines()] == ["8"]


def test_a_baseline_does_not_hide_what_became_graver(cli: Cli) -> None:
    cli.write(b=WARNED)
    cli.run("lint", "--baseline", "known.json", "--write-baseline")
    assert cli.run("lint", "--baseline", "known.json", "--format", "concise") == 0 and "KC203" not in cli.out
    (cli.folder / "kcluster.toml").write_text('[severity]\nKC203 = "error"\n')
    assert cli.run("lint", "--baseline", "known.json", "--format", "concise") == 1 and "KC203" in cli.out


def test_a_baseline_holds_from_any_folder(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    cli.write(a=MISSPELT)
    cli.run("lint", "--baseline", "known.json", "--write-baseline")
    (cli.folder / "sub").mkdir()
    monkeypatch.chdir(cli.folder / "sub")
    assert cli.run("lint", str(cli.folder / "a.kcluster"), "--baseline", "../known.json") == 0


def test_a_baseline_says_gone_only_of_files_that_were_judged_whole(cli: Cli) -> None:
    cli.write(a=MISSPELT, b=SOUND)
    cli.run("lint", "--baseline", "known.json", "--write-baseline")
    assert cli.run("lint", "--baseline", "known.json", "b.kcluster") == 0 and "gone" not in cli.out
    assert cli.run("lint", "--baseline", "known.json", "--select", "KC2") == 0 and "gone" not in cli.out
    cli.write(a=SOUND)
    assert cli.run("lint", "--baseline", "known.json") == 0 and "(1 of the baseline gone)" in cli.out


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "x", "findings": []}', "[" * 100_000, "\udcff"])
def test_what_is_no_baseline(cli: Cli, text: str) -> None:
    cli.write(a=SOUND)
    (cli.folder / "known.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert cli.run("lint", "--baseline", "known.json") == 2
    assert "known.json cannot be used as a baseline" in cli.err


def test_standard_input(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))

    library, rest = MISSPELT.split("serve", 1)
    typed(MISSPELT)
    assert cli.run("lint", "-", "--format", "concise") == 1 and cli.out.startswith("<stdin>:3:12: error[KC102]")
    (cli.folder / "sub").mkdir()
    (cli.folder / "sub" / "library.kcluster").write_text(library)
    typed('import "library.kcluster"\nserve' + rest)
    assert cli.run("lint", "-", "--stdin-filename", "sub/new.kcluster", "--format", "concise") == 1
    assert cli.out.startswith("sub/library.kcluster:3:12: error[KC102]")
    typed(MISSPELT)
    assert cli.run("lint", "--fix", "-") == 0
    assert cli.out == SOUND and "fixed 1 finding" in cli.err


@pytest.mark.parametrize("words", ["lint --fix", "fmt"])
def test_what_came_from_standard_input_goes_to_standard_output(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Editors name the file that a text is of; the file itself, which may be older, is theirs to write."""
    cli.write(a="# older\n")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(MISSPELT.encode())))
    cli.run(*words.split(), "-", "--stdin-filename", "a.kcluster")
    assert cli.out.startswith("model llama {") and "serve chat {" in cli.out
    assert (cli.folder / "a.kcluster").read_text() == "# older\n"


def test_standard_input_that_is_no_text_is_handed_on_as_it_is(cli: Cli) -> None:
    for data in (MISSPELT.encode() + b"# caf\xe9", MISSPELT.encode("utf-16"), SOUND.removesuffix("\n").encode()):
        assert command("lint", "--fix", "-", cwd=cli.folder, data=data).stdout == data


def test_names_and_bytes_that_are_no_text(cli: Cli) -> None:
    (cli.folder / b"\xff\xfe.kcluster".decode("utf-8", "surrogateescape")).write_text(MISSPELT)
    (cli.folder / "zero.kcluster").write_bytes(b"\0\xff" * 50)
    (cli.folder / "large.kcluster").write_bytes(b"#" * (2**20 + 5))
    for format_ in sorted(FORMATS):
        assert cli.run("lint", "--format", format_) == 1, (format_, cli.err)
    cli.run("lint", "--format", "concise")
    assert "KC004" in cli.out and "KC007" in cli.out and "KC102" in cli.out


def test_devices_end(cli: Cli) -> None:
    assert cli.run("lint", "/dev/zero", "--format", "concise") == 1
    assert "KC007" in cli.out


def test_a_process_that_is_killed_costs_nothing_but_time(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    parent, real = os.getpid(), linting.judge

    def judge(one: linting.Input) -> linting.Linted:
        if os.getpid() != parent and one.path.startswith("07"):
            os._exit(9)
        return real(one)

    judge.__module__, judge.__qualname__ = "kcluster.cli.linting", "judge"  # found by that name in the other process
    monkeypatch.setattr(linting, "judge", judge)
    cli.write(**{f"{number:02}": MISSPELT for number in range(14)})
    assert cli.run("lint", "--jobs", "2", "--no-cache", "--format", "concise", "--select", "KC102") == 1
    assert [line[:2] for line in cli.out.splitlines()] == [f"{number:02}" for number in range(14)]


def test_progress_is_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    times = iter(range(0, 1000, 2))
    monkeypatch.setattr("time.monotonic", lambda: float(next(times)))
    for stream, wanted in ((io.StringIO(), ""), (Terminal(), "\r1 of 3 specs")):
        monkeypatch.setattr(sys, "stderr", stream)
        assert list(lint_command._with_progress(iter("abc"), 3)) == list("abc")  # type: ignore[arg-type,comparison-overlap]
        assert stream.getvalue().startswith(wanted) and bool(stream.getvalue()) == bool(wanted)
