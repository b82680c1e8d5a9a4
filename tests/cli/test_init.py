"""`kcluster init`: by options, and by questions on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kcluster.api import check, plan
from kcluster.cli.main import run
from kcluster.source import Source
from kcluster.syntax.formatter import format_source

ROOT = Path(__file__).parents[2]
DEADLINE = 120


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_make_a_spec_that_plans(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["init", "--model", "Qwen/Qwen3-8B", "--gpus", "2 * rtx-5090", "--ttft", "5s", "--concurrency", "16"]) == 0
    )
    text = Path("cluster.kcluster").read_text()
    assert "ttft        <= 5s" in text
    assert "concurrency = 16" in text
    assert format_source(Source("t", text)) == text
    assert not [one for one in check(text) if one.severity == "error"]
    assert plan(text).serves[0].chosen.fits == "yes"
    said = capsys.readouterr().out
    assert "GPU memory" in said
    assert said.rstrip().endswith("next: kcluster compile cluster.kcluster -o cluster")


def test_several_nodes_are_joined(here: Path) -> None:
    options = [
        "--model",
        "meta-llama/Llama-3.3-70B-Instruct",
        "--gpus",
        "4 * l40s",
        "--nodes",
        "2",
        "--network",
        "ethernet(25GbE)",
        "--hosts",
        "10.0.0.1, 10.0.0.2",
    ]
    assert run(["init", "two.kcluster", *options]) == 0
    text = Path("two.kcluster").read_text()
    assert "network = ethernet(25GbE)" in text
    assert 'hosts   = ["10.0.0.1", "10.0.0.2"]' in text


def test_a_model_that_does_not_fit_is_written_and_said(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", "--model", "meta-llama/Llama-3.3-70B-Instruct", "--gpus", "rtx-4090"]) == 1
    said = capsys.readouterr().out
    assert "error[KC201]" in said
    assert "next: mend cluster.kcluster" in said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "without a terminal to ask on, say --model and --gpus"),
        (["--model", "Qwen/Qwen3-8B", "--gpus", "2 * rtx-509"], "--gpus: the catalog has no GPU"),
        (["--model", "Qwen/Qwen3-8C", "--gpus", "rtx-5090"], "--model: the catalog has no model"),
        (["--model", "Qwen/Qwen3-8B", "--gpus", "rtx-5090 }\nserve x {"], "--gpus: this is not one value"),
        (["--model", "Qwen/Qwen3-8B", "--gpus", "rtx-5090 # x"], "--gpus: this is not one value"),
        (["--model", 'a"\n}', "--gpus", "rtx-5090"], "--model: "),
        (["--model", "Qwen/Qwen3-8B", "--gpus", "rtx-5090", "--ttft", "2GB"], "--ttft: "),
        (["--model", "Qwen/Qwen3-8B", "--gpus", "rtx-5090", "--concurrency", "0"], "--concurrency: "),
        (["none/x.kcluster", "--model", "Qwen/Qwen3-8B", "--gpus", "rtx-5090"], "there is no folder none"),
    ],
)
def test_wrong_answers_write_nothing(
    here: Path, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    assert run(["init", *options]) == 2
    assert says in capsys.readouterr().err
    assert list(here.iterdir()) == []


def test_an_existing_file_stays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cluster.kcluster").write_text("mine")
    options = ["init", "--model", "Qwen/Qwen3-8B", "--gpus", "rtx-5090"]
    assert run(options) == 2
    assert Path("cluster.kcluster").read_text() == "mine"
    assert run([*options, "--force"]) == 0
    assert Path("cluster.kcluster").read_text() != "mine"


def test_questions_on_a_terminal(here: Path) -> None:
    """Answers as a person would give them: one of them wrong at first, most left at their defaults."""
    answers = ["Qwen/Qwen3-8B", "", "", "2 * rtx-509", "2 * rtx-5090", "", "", "", "", "3s", ""]
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "compiler")}
    command = [sys.executable, "-m", "kcluster", "init", "asked.kcluster"]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, waiting = b"", iter(answers)
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        ready, _, _ = select.select([ours], [], [], 1)
        if not ready:
            continue
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        shown += part
        if _asks(shown):
            os.write(ours, next(waiting).encode() + b"\n")
            shown += b"\n"
    os.close(ours)
    text = shown.decode()
    assert child.wait(DEADLINE) == 0, text
    assert "the catalog has no GPU" in text
    written = Path("asked.kcluster").read_text()
    assert "gpus  = 2 * rtx-5090" in written
    assert "ttft        <= 3s" in written
    assert "network" not in written
    assert next(waiting, None) is None, "every answer was asked for"


def _asks(shown: bytes) -> bool:
    """Whether the last thing on the terminal is a question: a text with a blank behind it that no line end follows."""
    last = shown.rpartition(b"\n")[2]
    return len(last.strip()) > 5 and last.endswith(b" ")


def test_cards_of_the_projects_catalog_are_taken(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("kcluster.toml").write_text("")
    Path("catalog").mkdir()
    Path("catalog/gpus.toml").write_text(
        '[rtx-9090]\nmemory_gib = 30\nbandwidth_gbs = 1792\ntflops = { bf16 = 209 }\nsource = "ours"\n'
    )
    assert run(["init", "--model", "Qwen/Qwen3-8B", "--gpus", "1 * rtx-9090"]) == 0
    assert run(["lint", "cluster.kcluster"]) == 0
    capsys.readouterr()
    assert run(["init", "--force", "--model", "Qwen/Qwen3-8B", "--gpus", "rtx-9090 x2"]) == 2
    assert "this is not one value; write it like 4 * rtx-5090" in capsys.readouterr().err
