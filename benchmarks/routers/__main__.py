"""`python -m benchmarks.routers [STREAMS]`: what each compiled router adds to the first token, over TLS.

Stand-in engines stream at a steady pace; each router runs by its compiled script, on loopback, with its compiled TLS. 50 streams
directly to a replica and through each router take turns in one run, one at a time, each on a connection of its own; the time starts
when that connection stands, so that a client's handshake, which it makes once, is not in it. Shown are medians: of the first token, and of its delay over the direct stream beside it.
The vLLM Router is taken where VLLM_ROUTER_BIN names the folder of its program (`.venv-e2e/bin` after `make e2e`).
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.support.fronted import SYSTEM_PATH, Fronted, fronted
from tests.support.load import request

STREAMS: Final = 50


def routers() -> Iterator[tuple[str, dict[str, str]]]:
    """The routers that are here, each with what its script needs."""
    yield "nginx", {}
    yield "haproxy", {}
    folder = os.environ.get("VLLM_ROUTER_BIN")
    if folder:
        yield "vllm-router", {"PATH": f"{folder}:{SYSTEM_PATH}"}


async def first_token(case: Fronted, *, direct: bool, turn: int) -> float:
    """Milliseconds from the request to the first part of its stream."""
    port, tls = (case.engine, None) if direct else (case.port, case.tls)
    status, body, times = await request(port, name=f"{'d' if direct else 'r'}-{turn}", stream=True, tls=tls)
    if status != 200 or b"[DONE]" not in body:
        raise SystemExit(f"{case.stem}: status {status}: {body[:200]!r}")
    return 1e3 * times[0]


async def measure(cases: list[Fronted], streams: int) -> dict[str, list[tuple[float, float]]]:
    """For each router pairs of a direct stream's first token and its own, in turns."""
    found: dict[str, list[tuple[float, float]]] = {case.stem: [] for case in cases}
    for case in cases:  # connections to the replicas are made, and code is read
        await first_token(case, direct=True, turn=-1)
        await first_token(case, direct=False, turn=-1)
    for turn in range(streams):
        for case in cases:
            direct = await first_token(case, direct=True, turn=turn)
            found[case.stem].append((direct, await first_token(case, direct=False, turn=turn)))
    return found


def main(streams: int) -> int:
    with ExitStack() as stack:
        cases = []
        for kind, environment in routers():
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            cases.append(stack.enter_context(fronted(folder, kind, tls=True, **environment)))
        found = asyncio.run(measure(cases, streams))
    print(f"{streams} streams each, milliseconds to the first token, medians")
    print(f"{'router':<12} {'direct':>8} {'through':>8} {'delay':>8} {'ratio':>6}")
    for kind, pairs in found.items():
        direct, through = (statistics.median(column) for column in zip(*pairs, strict=True))
        delay = statistics.median(after - before for before, after in pairs)
        print(f"{kind:<12} {direct:8.1f} {through:8.1f} {delay:8.1f} {through / direct:6.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(int(sys.argv[1]) if len(sys.argv) > 1 else STREAMS))
