"""The output folder: whole files only, nobody else's file touched, and a killed compile seen and repaired."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster import output
from kcluster.output import PENDING, Refused, check, write
from kcluster.targets.header import text_sha256
from kcluster.targets.types import Artifact

ROOT = Path(__file__).parent.parent.parent


def compiled(*files: tuple[str, str]) -> tuple[Artifact, ...]:
    """Artifacts with a `plan.toml` that lists them, as `emit` gives them."""
    artifacts = tuple(Artifact(path, text, executable=path.endswith(".sh")) for path, text in files)
    listed = "".join(
        f'[[files]]\npath = "{artifact.path}"\nsha256 = "{text_sha256(artifact.text)}"\n' for artifact in artifacts
    )
    return (*artifacts, Artifact("plan.toml", f"# Written by kcluster 0\n{listed}"))


HEAD = "# Written by kcluster 0.1.0\n"
FIRST = compiled(("nodes/a/serve.sh", HEAD + "one\n"), ("nodes/b/serve.sh", HEAD + "two\n"), ("grafana.json", "{}\n"))
SECOND = compiled(("nodes/a/serve.sh", HEAD + "ONE\n"), ("router/x.conf", HEAD + "x\n"), ("grafana.json", "[]\n"))


def content(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def wanted(artifacts: tuple[Artifact, ...]) -> dict[str, str]:
    return {artifact.path: artifact.text for artifact in sorted(artifacts, key=lambda a: a.path)}


def test_writes_once_and_then_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    first = write(folder, FIRST)
    assert content(folder) == wanted(FIRST)
    assert first.written == tuple(sorted(wanted(FIRST))) and not first.removed
    assert os.access(folder / "nodes/a/serve.sh", os.X_OK) and not os.access(folder / "grafana.json", os.X_OK)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert write(folder, FIRST).written == ()
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert check(folder, FIRST) == ""


def test_what_is_no_longer_written_goes_unless_somebody_changed_it(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    result = write(tmp_path, SECOND)
    assert result.removed == ("nodes/b/serve.sh",) and not (tmp_path / "nodes/b").exists()
    assert content(tmp_path) == wanted(SECOND)
    (tmp_path / "router/x.conf").write_text("mine now\n")
    result = write(tmp_path, FIRST)
    assert result.removed == () and result.kept == ("router/x.conf",)
    assert (tmp_path / "router/x.conf").read_text() == "mine now\n"


def test_a_file_of_somebody_else_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "grafana.json").write_text("mine\n")
    with pytest.raises(Refused, match=r"grafana\.json was not written by kcluster"):
        write(tmp_path, FIRST)
    assert content(tmp_path) == {"grafana.json": "mine\n"}
    write(tmp_path, FIRST, force=True)
    assert content(tmp_path) == wanted(FIRST)


def test_the_mark_counts_only_as_a_comment_at_the_head(tmp_path: Path) -> None:
    (tmp_path / "grafana.json").write_text("a text about files Written by kcluster\n")
    with pytest.raises(Refused):
        write(tmp_path, FIRST)
    (tmp_path / "grafana.json").write_text("1\n2\n3\n4\n5\n6\n7\n" + HEAD)
    with pytest.raises(Refused):
        write(tmp_path, FIRST)
    (tmp_path / "grafana.json").write_text("<!-- by hand? -->\n<!-- Written by kcluster 0.0.9 from x -->\n")
    write(tmp_path, FIRST)
    assert content(tmp_path) == wanted(FIRST)


def test_an_edited_file_is_shown_by_check_and_put_right(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    (tmp_path / "nodes/a/serve.sh").write_text(HEAD + "one\nand a line by hand\n")
    (tmp_path / "nodes/b/serve.sh").chmod(0o644)
    difference = check(tmp_path, FIRST)
    assert "--- a/nodes/a/serve.sh\n+++ b/nodes/a/serve.sh\n" in difference
    assert "-and a line by hand\n" in difference
    assert "nodes/b/serve.sh should be executable" in difference
    assert write(tmp_path, FIRST).written == ("nodes/a/serve.sh", "nodes/b/serve.sh")
    assert check(tmp_path, FIRST) == ""


def test_check_shows_missing_and_left_over_files_and_writes_nothing(tmp_path: Path) -> None:
    assert "+++ b/plan.toml" in check(tmp_path / "nowhere", FIRST)
    assert not (tmp_path / "nowhere").exists()
    write(tmp_path, FIRST)
    before = content(tmp_path)
    difference = check(tmp_path, SECOND)
    assert "--- a/nodes/b/serve.sh\n+++ /dev/null\n" in difference
    assert "--- /dev/null\n+++ b/router/x.conf\n" in difference
    assert content(tmp_path) == before


@pytest.mark.parametrize("path", ["../x", "a/../../x", "/etc/x", "a//b", "./x", "a/.", "", "a\0b", PENDING])
def test_paths_that_leave_the_folder_are_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(Refused):
        write(tmp_path / "out", (Artifact(path, "x"),), force=True)
    assert content(tmp_path) == {}


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "nodes").symlink_to(outside)
    for force in (False, True):
        with pytest.raises(Refused, match="link"):
            write(folder, FIRST, force=force)
    (folder / "nodes").unlink()
    target = outside / "target"
    target.write_text(HEAD)
    (folder / "grafana.json").symlink_to(target)
    for force in (False, True):
        with pytest.raises(Refused, match="link"):
            write(folder, FIRST, force=force)
    assert target.read_text() == HEAD
    assert "not a plain file" in check(folder, FIRST)


def test_a_plan_file_edited_to_point_outside_removes_nothing_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("x")
    folder = tmp_path / "out"
    write(folder, FIRST)
    listed = (folder / "plan.toml").read_text()
    for path in ("../victim", str(victim), "nodes/../../victim"):
        listed += f'[[files]]\npath = "{path}"\nsha256 = "{text_sha256("x")}"\n'
    (folder / "plan.toml").write_text(listed)
    write(folder, SECOND)
    assert victim.read_text() == "x" and content(folder) == wanted(SECOND)


def test_a_broken_plan_file_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    (tmp_path / "plan.toml").write_bytes(b"# Written by kcluster 0\nfiles = [[\xff")
    assert check(tmp_path, FIRST) != ""
    write(tmp_path, FIRST)
    assert content(tmp_path) == wanted(FIRST)


class Killed(BaseException):
    """Stands for the process ending: nothing of the product catches it."""


@contextmanager
def killed_at(step: int) -> Iterator[list[int]]:
    """End the process at the step-th change of the disk: before or after a rename, a removal, a new folder."""
    count = [0]

    def step_taken() -> None:
        count[0] += 1
        if count[0] == step:
            raise Killed

    def counted(real):  # type: ignore[no-untyped-def]
        def call(*arguments, **named):  # type: ignore[no-untyped-def]
            step_taken()
            result = real(*arguments, **named)
            step_taken()
            return result

        return call

    with (
        mock.patch.object(output.os, "replace", counted(os.replace)),
        mock.patch.object(output.os, "unlink", counted(os.unlink)),
        mock.patch.object(output.os, "mkdir", counted(os.mkdir)),
        mock.patch.object(output.os, "fsync", counted(os.fsync)),
    ):
        yield count


def test_killed_at_any_point_it_is_seen_and_repaired(tmp_path: Path) -> None:
    third = compiled(("nodes/c/serve.sh", HEAD + "three\n"), ("grafana.json", "null\n"))
    step = 0
    killed = True
    while killed:
        step += 1
        folder = tmp_path / str(step)
        write(folder, FIRST)
        killed = False
        with killed_at(step):
            try:
                write(folder, SECOND)
            except Killed:
                killed = True
        for path, text in content(folder).items():
            # Every file is whole: of the first compile, of the second, or marked as being neither.
            assert path.rpartition("/")[2].startswith(".kcluster-") or text in (
                wanted(FIRST).get(path),
                wanted(SECOND).get(path),
            ), (step, path)
        if killed:
            as_before = content(folder) == wanted(FIRST)
            assert check(folder, SECOND) != "" or content(folder) == wanted(SECOND)
            assert as_before or check(folder, FIRST) != "", f"killed at {step} and not seen"
        # The same spec again, an older one, or another one: each puts the folder right, removing what it does not write.
        again = (SECOND, FIRST, third)[step % 3]
        write(folder, again)
        assert content(folder) == wanted(again), step
        assert check(folder, again) == ""
    assert step > 20  # the kills went through the whole of it


def test_killed_by_the_system_between_files(tmp_path: Path) -> None:
    write(tmp_path, FIRST)
    program = f"""
import os, signal, sys
sys.path[:0] = [{str(ROOT / "compiler")!r}, {str(ROOT)!r}]
from kcluster import output
from kcluster.targets.types import Artifact
real, count = os.replace, [0]
def replace(*arguments, **named):
    real(*arguments, **named)
    count[0] += 1
    if count[0] == 2:
        os.kill(os.getpid(), signal.SIGKILL)
output.os.replace = replace
output.write(__import__("pathlib").Path({str(tmp_path)!r}), tuple(Artifact(*a) for a in {[(a.path, a.text, a.executable) for a in SECOND]!r}))
"""
    ended = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert ended.returncode == -signal.SIGKILL
    assert (tmp_path / PENDING).exists() and "killed" in check(tmp_path, SECOND)
    write(tmp_path, SECOND)  # the lock of the dead process does not stand in the way
    assert content(tmp_path) == wanted(SECOND) and check(tmp_path, SECOND) == ""


def test_two_compiles_at_once_do_not_mix(tmp_path: Path) -> None:
    import fcntl

    write(tmp_path, FIRST)
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    try:
        with pytest.raises(Refused, match="another compile"):
            write(tmp_path, SECOND)
    finally:
        os.close(held)
    assert content(tmp_path) == wanted(FIRST)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(["a.sh", "b/a.sh", "b/c/x.json", "d.yaml"]), unique=True), st.booleans())
def test_any_sequence_of_compiles_ends_as_the_last(
    tmp_path_factory: pytest.TempPathFactory, paths: list[str], marked: bool
) -> None:
    folder = tmp_path_factory.mktemp("sequence")
    for number, chosen in enumerate((paths, list(reversed(paths))[:2], paths[1:])):
        artifacts = compiled(*((path, (HEAD if marked else "") + f"{number}\n") for path in chosen))
        write(folder, artifacts)
        assert content(folder) == wanted(artifacts)
