"""A stand-in for an engine: the endpoints that routers use, streams of chunks, and a log of what it was sent.

Run as a program: `standin.py PORT LOG`. Each request's `X-Test-Id` is logged when it starts and when it ends, so that a
request that two replicas were sent is seen.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
from pathlib import Path

CHUNKS = 8


class StandIn:
    def __init__(self, log: Path, seed: int) -> None:
        self.log = log.open("a", buffering=1)
        self.random = random.Random(seed)
        self.healthy = True
        self.broken = False
        self.running = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self.one_request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def one_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        line = await reader.readline()
        if not line:
            return False
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers: dict[str, str] = {}
        while (row := (await reader.readline()).decode("latin-1").strip()) != "":
            name, _, value = row.partition(":")
            headers[name.lower()] = value.strip()
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if path == "/health":
            self.answer(writer, 200 if self.healthy else 503, b"{}")
        elif path == "/drain":
            self.healthy = False
            self.answer(writer, 200, b"{}")
        elif path == "/break":
            self.broken = True
            self.answer(writer, 200, b"{}")
        elif path == "/metrics":
            self.answer(writer, 200, self.metrics().encode())
        elif method == "POST" and path.startswith("/v1/") and self.broken:
            self.answer(writer, 500, json.dumps({"error": {"message": "EngineCore encountered an issue"}}).encode())
        elif method == "POST" and path.startswith("/v1/"):
            self.running += 1
            try:
                await self.generate(writer, headers, body)
            finally:
                self.running -= 1
        else:
            self.answer(writer, 200, json.dumps({"path": path, "headers": headers}).encode())
        await writer.drain()
        return headers.get("connection", "").lower() != "close"

    async def generate(self, writer: asyncio.StreamWriter, headers: dict[str, str], body: bytes) -> None:
        name = headers.get("x-test-id", "-")
        self.log.write(f"start {name}\n")
        wanted = json.loads(body or b"{}")
        pause = float(wanted.get("seconds", self.random.uniform(0.1, 0.5)))
        if wanted.get("stream"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for number in range(CHUNKS):
                self.chunk(writer, f"data: {json.dumps({'n': number})}\n\n".encode())
                await writer.drain()
                await asyncio.sleep(pause / CHUNKS)
            self.chunk(writer, b"data: [DONE]\n\n")
            self.chunk(writer, b"")
        else:
            await asyncio.sleep(pause)
            content = {
                "text": "x" * 64,
                "authorization": headers.get("authorization"),
                "usage": {"prompt_tokens": 4, "completion_tokens": CHUNKS},
            }
            self.answer(writer, 200, json.dumps(content).encode())
        await writer.drain()
        self.log.write(f"end {name}\n")

    def metrics(self) -> str:
        label = '{engine="0",model_name="m"}'
        return f"vllm:num_requests_running{label} {self.running}.0\nvllm:num_requests_waiting{label} 0.0\n"

    @staticmethod
    def chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
        writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    @staticmethod
    def answer(writer: asyncio.StreamWriter, status: int, data: bytes) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)


async def main(port: int, log: Path) -> None:
    stand_in = StandIn(log, port)
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", port)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with server:
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), Path(sys.argv[2])))
