"""The readiness script, run against a stand-in engine that starts late, computes, or only seems to."""

from __future__ import annotations

import subprocess
import urllib.request
from pathlib import Path

import pytest

from kcluster.targets import emit
from tests.support.compiled import compiled, two_replicas
from tests.support.fronted import SYSTEM_PATH, stand_in
from tests.support.load import log_of
from tests.support.processes import end, free_pair, listens, wait_for
from tests.targets import factory

KEY = "sk-test_1.2~3+4/5="


def script(folder: Path, port: int, engine: str = 'api_key = env("CHAT_KEY")') -> Path:
    found = compiled(two_replicas(port, "router nginx { }", engine=engine))
    place = folder / "ready.sh"
    place.write_text(found["nodes/127.0.0.1/ready-chat-0.sh"].text)
    return place


def run(place: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(place), *arguments], env={"PATH": SYSTEM_PATH, "CHAT_KEY": KEY, **env},
        capture_output=True, text=True, check=False, timeout=90,
    )  # fmt: skip


def test_it_waits_for_a_late_engine_and_holds_it_to_a_completion(tmp_path: Path) -> None:
    port, log = free_pair(), tmp_path / "log"
    place = script(tmp_path, port)
    waiting = subprocess.Popen(["bash", str(place), "60"], env={"PATH": SYSTEM_PATH, "CHAT_KEY": KEY})
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(1)
    engine = stand_in(port, log)
    try:
        assert waiting.wait(60) == 0
        assert log_of(log) == (["-"], ["-"])
    finally:
        end(engine)


def test_healthy_is_not_enough(tmp_path: Path) -> None:
    port = free_pair()
    engine = stand_in(port, tmp_path / "log")
    try:
        wait_for(lambda: listens(port), "the stand-in listens")
        place = script(tmp_path, port)
        # Proxies of the environment are not asked.
        assert run(place, http_proxy="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1").returncode == 0
        urllib.request.urlopen(f"http://127.0.0.1:{port}/break").close()
        broken = run(place)
        assert broken.returncode == 2
        assert "a completion fails with status 500" in broken.stderr and "EngineCore" in broken.stderr
    finally:
        end(engine)


def test_it_gives_up_in_time_and_when_the_engine_has_ended(tmp_path: Path) -> None:
    place = script(tmp_path, free_pair())
    late = run(place, "1")
    assert late.returncode == 1 and "within 1 s" in late.stderr
    gone = subprocess.Popen(["true"])
    gone.wait()
    ended = run(place, MAINPID=str(gone.pid))
    assert ended.returncode == 1 and "ended" in ended.stderr


@pytest.mark.parametrize("key", ["", 'a"b', "a b", "a\nheader = x"])
def test_a_key_that_could_break_out_is_refused(tmp_path: Path, key: str) -> None:
    done = run(script(tmp_path, free_pair()), "1", CHAT_KEY=key)
    assert done.returncode != 0 and "CHAT_KEY" in done.stderr and "/health" not in done.stderr


def test_the_key_reaches_the_engine_and_no_argument(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    curl = tmp_path / "bin/curl"
    curl.write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$@" >>{tmp_path}/arguments\ncat >>{tmp_path}/input\n'
        "printf '{\"completion_tokens\": 3}\\n200'\n"
    )
    curl.chmod(0o755)
    place = script(tmp_path, free_pair())
    assert run(place, PATH=f"{tmp_path}/bin:{SYSTEM_PATH}").returncode == 0
    assert KEY not in (tmp_path / "arguments").read_text()
    assert f'header = "Authorization: Bearer {KEY}"' in (tmp_path / "input").read_text()
    assert KEY not in place.read_text()


def test_only_what_answers_is_asked() -> None:
    paths = {a.path for a in emit(factory.two_nodes(), ("hosts",)) if a.path.endswith(".sh")}
    assert paths == {"nodes/10.0.0.11/ready-chat.sh"}
    external = {a.path for a in emit(factory.expert_parallel("external"), ("hosts",)) if "/ready-" in a.path}
    assert len(external) == 8
