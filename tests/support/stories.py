"""What every router is put through: streams, a replica killed under load, a replica drained under load."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from attrs import define

from tests.support.fronted import Fronted
from tests.support.load import Outcome, log_of, request, under_load
from tests.support.processes import end

CLIENTS = 24
PATIENCE = 60.0


@define
class Story:
    """What a killed or drained replica cost. `in_flight` is what it ran when it was killed."""

    outcome: Outcome
    in_flight: int = 0

    def sent_twice(self, case: Fronted) -> set[str]:
        sent = [name for replica in range(len(case.replicas)) for name in log_of(case.log(replica))[0]]
        return {name for name in sent if sent.count(name) > 1}


async def streams(case: Fronted, count: int = 6, seconds: float = 1.6) -> list[tuple[int, bytes, list[float]]]:
    """Several streams of eight chunks at once."""
    body: dict[str, object] = {"seconds": seconds}
    return list(await asyncio.gather(*(request(case.port, stream=True, body=body, tls=case.tls) for _ in range(count))))


def assert_streamed(results: list[tuple[int, bytes, list[float]]]) -> None:
    """Every stream came whole, in order, and spread over the time in which it was made: buffered, all would be at its end."""
    for status, body, times in results:
        assert status == 200
        assert body.count(b"data: ") == 9 and b"[DONE]" in body
        assert len(times) > 3, times
        assert times[0] < 0.5 * times[-1], times


async def until(condition: Callable[[], bool], what: str) -> None:
    limit = asyncio.get_running_loop().time() + PATIENCE
    while not condition():
        assert asyncio.get_running_loop().time() < limit, f"gave up waiting until {what}"
        await asyncio.sleep(0.1)


def _under_load(case: Fronted, clients: int, story: Callable[[Story], Awaitable[None]]) -> Story:
    found = Story(Outcome())

    async def all_of_it() -> None:
        stop = asyncio.Event()
        load = asyncio.create_task(
            under_load(case.port, clients=clients, until=stop.is_set, outcome=found.outcome, tls=case.tls)
        )
        try:
            await story(found)
        finally:
            stop.set()
            await load

    asyncio.run(all_of_it())
    return found


def killed(case: Fronted, *, away: float = 2.0) -> Story:
    """One of two replicas killed under the load of 24 clients, half of them streaming, and started again after a while; ends
    when it has traffic again."""

    async def story(found: Story) -> None:
        await asyncio.sleep(1.5)
        # In flight is what clients had sent and the other replica was not at work on: also what the router had passed on
        # and a loaded machine had not yet let the victim read.
        others = [
            set(started) - set(ended) for started, ended in map(log_of, map(case.log, range(1, len(case.replicas))))
        ]
        found.in_flight = len(found.outcome.open.difference(*others))
        case.replicas[0].kill()
        case.replicas[0].wait()
        started, _ = log_of(case.log(0))
        await asyncio.sleep(away)
        case.replicas[0] = await asyncio.to_thread(case.start, 0)
        before = len(started)
        await until(lambda: len(log_of(case.log(0))[0]) > before, "traffic comes back to the replica")

    return _under_load(case, CLIENTS, story)


def drained(case: Fronted, drain: Callable[[], None], restore: Callable[[], None], *, clients: int = 12) -> Story:
    """One of two replicas drained under load, ended when it is idle, started again and restored; ends when it has traffic
    again. What is lost in this is lost by the router."""

    async def story(found: Story) -> None:
        await asyncio.sleep(1)
        await asyncio.to_thread(drain)
        quiet = 0

        def idle() -> bool:  # nothing is running on it, again and again
            nonlocal quiet
            started, ended = log_of(case.log(0))
            quiet = quiet + 1 if len(started) == len(ended) else 0
            return quiet >= 15

        await until(idle, "the replica is idle")
        end(case.replicas[0])
        await asyncio.sleep(0.5)
        case.replicas[0] = await asyncio.to_thread(case.start, 0)
        before = len(log_of(case.log(0))[0])
        await asyncio.to_thread(restore)
        await until(lambda: len(log_of(case.log(0))[0]) > before, "traffic comes back to the replica")

    return _under_load(case, clients, story)
