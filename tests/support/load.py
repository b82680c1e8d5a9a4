"""Clients of a router: many at a time, half of them streaming, each request with an id of its own."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from attrs import define, field

PATIENCE = 60.0


@define
class Outcome:
    """What clients saw. `first_chunk` and `last_chunk` are seconds after the request was sent, of streams that ended."""

    ok: int = 0
    failed: list[str] = field(factory=list)
    first_chunk: list[float] = field(factory=list)
    last_chunk: list[float] = field(factory=list)
    open: set[str] = field(factory=set)
    """Requests that were sent and are not answered yet."""


async def request(
    port: int, *, name: str = "-", stream: bool = False, path: str = "/v1/chat/completions", method: str = "POST",
    headers: dict[str, str] | None = None, body: dict[str, object] | None = None, tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes, list[float]]:  # fmt: skip
    """One request on a connection of its own: status, body, and when each piece came (seconds after sending)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls)
    try:
        content = {"stream": stream, "messages": [{"role": "user", "content": "hello"}], **(body or {})}
        data = json.dumps(content).encode() if method == "POST" else b""
        rows = {
            "Host": "localhost",
            "X-Test-Id": name,
            "Connection": "close",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{key}: {value}\r\n" for key, value in rows.items()) + "\r\n"
        sent = time.monotonic()
        writer.write(head.encode() + data)
        await writer.drain()
        status_line = await reader.readline()
        if not status_line:
            raise ConnectionError("closed without an answer")
        status = int(status_line.split()[1])
        chunked = False
        while line := (await reader.readline()).strip().lower():
            chunked |= line.startswith(b"transfer-encoding:") and b"chunked" in line
        pieces, times = [], []
        while piece := await reader.read(65536):
            pieces.append(piece)
            times.append(time.monotonic() - sent)
        whole = b"".join(pieces)
        return status, _dechunked(whole) if chunked else whole, times
    finally:
        writer.close()


def _dechunked(sent: bytes) -> bytes:
    """The body without its chunks' sizes, as far as it goes: a proxy ends a chunk where its buffer ends, also within a word."""
    found, at = [], 0
    while (end := sent.find(b"\r\n", at)) >= 0:
        size = int(sent[at:end].partition(b";")[0] or b"0", 16)
        if size == 0:
            break
        found.append(sent[end + 2 : end + 2 + size])
        at = end + 2 + size + 2
    return b"".join(found)


async def under_load(
    port: int, *, clients: int, until: Callable[[], bool], outcome: Outcome, tls: ssl.SSLContext | None = None,
    asked: Callable[[int, int], dict[str, object]] = lambda client, turn: {}, pause: float = 0.0,
) -> None:  # fmt: skip
    """Keep `clients` requests in flight until told to stop; half of the clients stream.

    `asked` gives what a client's request has beside the defaults; `pause` is the seconds that a client waits between two.
    """

    async def client(number: int) -> None:
        turn = 0
        while not until():
            turn += 1
            name = f"{number}-{turn}"
            stream = number % 2 == 0
            outcome.open.add(name)
            try:
                status, body, times = await asyncio.wait_for(
                    request(port, name=name, stream=stream, tls=tls, body=asked(number, turn)), PATIENCE
                )
            except (ConnectionError, asyncio.IncompleteReadError, IndexError, TimeoutError, ssl.SSLError) as error:
                outcome.failed.append(f"{name}: {error!r}")
                continue
            finally:
                outcome.open.discard(name)
            if status != 200 or (stream and b"[DONE]" not in body):
                outcome.failed.append(f"{name}: status {status}, {len(body)} bytes")
            else:
                outcome.ok += 1
                if stream and times:
                    outcome.first_chunk.append(times[0])
                    outcome.last_chunk.append(times[-1])
            await asyncio.sleep(pause)

    await asyncio.gather(*(client(number) for number in range(clients)))


def log_of(path: Path) -> tuple[list[str], list[str]]:
    """The ids that a stand-in was sent, and those that it answered whole."""
    rows = [line.split(" ", 1) for line in path.read_text().splitlines() if " " in line] if path.exists() else []
    return [name for kind, name in rows if kind == "start"], [name for kind, name in rows if kind == "end"]
