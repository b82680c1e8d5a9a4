"""Two real replicas behind each compiled router: answers and streams pass, one is killed and comes back, both are restarted
one at a time by the compiled script."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from attrs import define

from tests.e2e.engine.serving import PATIENCE, Replicas, tiny_spec, write_compiled
from tests.e2e.test_vllm_router import router_folder
from tests.support.compiled import tool
from tests.support.fronted import SYSTEM_PATH, answers
from tests.support.load import Outcome, request, under_load
from tests.support.processes import free_port, gone_or, listens, running, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("watcher")]

CLIENTS = 24


@define
class Routed:
    """A compiled router in front of the two engines, and names for requests that no other test has given."""

    kind: str
    folder: Path
    port: int
    env: dict[str, str]
    engines: Replicas
    first: int

    def body(self, client: int, turn: int, tokens: int = 48) -> dict[str, object]:
        return {
            "model": str(self.engines.model), "max_tokens": tokens, "ignore_eos": True, "seed": self.name(client, turn),
            "stream_options": {"include_usage": True} if client % 2 == 0 else None,
        }  # fmt: skip

    def name(self, client: int, turn: int) -> int:
        return self.first + client * 100_000 + turn

    def named(self, replica: int) -> list[int]:
        """The requests of this router that a replica has been sent."""
        return [name for name in self.engines.received(replica) if 0 <= name - self.first < 10_000_000]

    def sent_twice(self) -> set[int]:
        every = [name for replica in (0, 1) for name in self.named(replica)]
        return {name for name in every if every.count(name) > 1}


@pytest.fixture(scope="module", params=["nginx", "haproxy", "vllm-router"])
def routed(request: pytest.FixtureRequest, engines: Replicas) -> Iterator[Routed]:
    kind = request.param
    path = SYSTEM_PATH
    if kind == "haproxy":
        tool("haproxy", "haproxy")
    else:
        tool("nginx", "nginx-light")
    if kind == "vllm-router":
        path = f"{router_folder()}:{path}"
    folder = engines.folder / kind
    folder.mkdir()
    for place in (folder, *folder.parents[:3]):
        place.chmod(place.stat().st_mode | 0o055)  # workers of a root NGINX are another user
    port = free_port()
    write_compiled(tiny_spec(engines.model, engines.port, router=f"router {kind} {{ listen = {port} }}"), folder)
    env = {
        "PATH": path, "KCLUSTER_RUN_DIR": str(folder / "run"), "KCLUSTER_METRICS_PORT": str(free_port()),
        "KCLUSTER_ROUTER_PORT": str(free_port()),
    }  # fmt: skip
    # Seeds are 64-bit: each router's requests have a range of their own.
    first = 1_000_000_000 + 100_000_000 * ("nginx", "haproxy", "vllm-router").index(kind)
    with running(["bash", str(folder / f"out/router/{kind}.sh"), "start"], folder / "router.log", env=env) as process:
        wait_for(lambda: gone_or(process, lambda: answers(port, None)), f"{kind} answers")
        found = Routed(kind, folder, port, env, engines, first)
        wait_for(lambda: gone_or(process, lambda: asyncio.run(one(found, 99, 1))[0] == 200), f"{kind} passes a request")
        yield found


async def one(routed: Routed, client: int, turn: int, **more: object) -> tuple[int, bytes, list[float]]:
    stream = client % 2 == 0
    return await request(routed.port, stream=stream, body={**routed.body(client, turn), **more})


def test_completions_pass(routed: Routed) -> None:
    status, answer, _ = asyncio.run(one(routed, 97, 1))
    assert status == 200
    assert json.loads(answer)["usage"]["completion_tokens"] == 48
    body: dict[str, object] = {**routed.body(97, 2, 16), "prompt": "The sky is"}
    status, answer, _ = asyncio.run(request(routed.port, path="/v1/completions", body=body))
    assert status == 200 and json.loads(answer)["usage"] == {
        "prompt_tokens": 10, "completion_tokens": 16, "total_tokens": 26, "prompt_tokens_details": None,
        "completion_tokens_details": None,
    }  # fmt: skip
    status, answer, _ = asyncio.run(request(routed.port, path="/v1/models", method="GET"))
    assert status == 200 and str(routed.engines.model).encode() in answer


def test_streams_arrive_as_they_are_made(routed: Routed) -> None:
    arrivals = []
    for turn in range(5):
        status, answer, times = asyncio.run(one(routed, 98, 1 + turn, max_tokens=400))
        assert status == 200
        events = [line[6:] for line in answer.decode().split("\n") if line.startswith("data: ")]
        assert events[-1].strip() == "[DONE]"
        assert json.loads(events[-2])["usage"]["completion_tokens"] == 400
        arrivals.append(times)
        # A client that gets no time of the processor finds all of a stream waiting for it: one stream in five is enough.
        if len(times) > 20 and times[0] < 0.5 * times[-1]:
            return
    raise AssertionError(f"every stream came whole: {arrivals}")


def test_what_an_engine_refuses_arrives_as_it_is(routed: Routed) -> None:
    status, answer, _ = asyncio.run(one(routed, 97, 3, max_tokens=5000))
    assert status == 400 and "max_model_len=1024" in json.loads(answer)["error"]["message"], answer
    status, answer, _ = asyncio.run(one(routed, 97, 4, model="another"))
    assert status == 404, answer
    assert asyncio.run(request(routed.port, path="/metrics", method="GET"))[0] in (403, 404)


def loaded(routed: Routed, clients: int, story: Callable[[Outcome], Awaitable[None]], pause: float = 0.0) -> Outcome:
    """A story told under load."""
    outcome = Outcome()
    base = routed.first

    async def all_of_it() -> None:
        stop = asyncio.Event()
        load = asyncio.create_task(
            under_load(routed.port, clients=clients, until=stop.is_set, outcome=outcome, pause=pause, asked=routed.body)
        )
        try:
            await story(outcome)
        finally:
            stop.set()
            await load

    asyncio.run(all_of_it())
    routed.first = base + 10_000_000
    return outcome


async def until(condition: Callable[[], bool], what: str) -> None:
    limit = asyncio.get_running_loop().time() + PATIENCE
    while not await asyncio.to_thread(condition):
        assert asyncio.get_running_loop().time() < limit, f"gave up waiting until {what}"
        await asyncio.sleep(0.5)


def test_a_killed_replica_costs_what_was_in_flight_and_comes_back(routed: Routed) -> None:
    in_flight = 0
    twice: set[int] = set()

    async def story(outcome: Outcome) -> None:
        nonlocal in_flight, twice
        await until(
            lambda: outcome.ok > 50 and min(len(routed.named(0)), len(routed.named(1))) > 10, "both are at work"
        )
        # In flight is what clients had sent and the other replica was not at work on, until the kernel has taken the replica's
        # port away: on a busy machine that takes a while, in which requests are still sent to what is dead.
        seen = set(outcome.open)
        routed.engines.kill(0)
        while await asyncio.to_thread(listens, routed.engines.port):
            seen |= set(outcome.open)
            await asyncio.sleep(0.005)
        seen |= set(outcome.open)
        others = set(await asyncio.to_thread(routed.named, 1))
        in_flight = len([name for name in seen if routed.name(*map(int, name.split("-"))) not in others])
        before = len(routed.named(0))
        passed = outcome.ok
        await until(lambda: outcome.ok > passed + 50, "the other replica answers")
        await asyncio.to_thread(routed.engines.start, 0)
        await asyncio.to_thread(routed.engines.ready, 0)
        await until(lambda: len(routed.named(0)) > before, "traffic comes back to the replica")
        twice = routed.sent_twice()

    outcome = loaded(routed, CLIENTS, story, pause=0.2)
    assert twice == set()
    allowed = 2 * in_flight + 2 if routed.kind == "vllm-router" else in_flight + 2
    assert len(outcome.failed) <= allowed, (in_flight, outcome.failed)


def test_a_rolling_restart_loses_nothing(routed: Routed) -> None:
    hook_log = routed.engines.folder / "hook.log"
    done: subprocess.CompletedProcess[bytes] | None = None
    before = hook_log.read_text()
    twice: set[int] = set()

    def rolling() -> subprocess.CompletedProcess[bytes]:
        # Output goes to a file: the engines that it starts live on, and would hold a pipe open.
        with (routed.folder / "rolling.log").open("wb") as log:
            return subprocess.run(
                ["bash", str(routed.folder / "out/rolling-restart.sh")],
                env={**routed.env, "KCLUSTER_HOOK": str(routed.engines.hook)}, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, check=False, timeout=4 * PATIENCE,
            )  # fmt: skip

    async def story(outcome: Outcome) -> None:
        nonlocal done, twice
        await until(lambda: outcome.ok > 10, "the load is there")
        done = await asyncio.to_thread(rolling)
        sent = [len(routed.named(replica)) for replica in (0, 1)]
        await until(lambda: all(len(routed.named(replica)) > sent[replica] for replica in (0, 1)), "both are back")
        twice = routed.sent_twice()

    outcome = loaded(routed, 6, story, pause=0.3)
    assert done is not None and done.returncode == 0, (routed.folder / "rolling.log").read_text()
    steps = hook_log.read_text().removeprefix(before).splitlines()
    assert steps == [f"{action} 127.0.0.1 serve-chat-{replica}" for replica in (0, 1) for action in ("stop", "start")]
    assert outcome.failed == [] and twice == set() and outcome.ok > 50
