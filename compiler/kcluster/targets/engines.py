"""What differs between the servers of engines for every target that speaks to them."""

from __future__ import annotations

from typing import Final

KEEP_ALIVE_SECONDS: Final = 75
"""What a server is told to keep an idle connection for: above every router's 60 s, since where the server closes first a
request is lost."""
_TOLD: Final = ("vllm", "sglang")
"""Engines whose servers can be told; those of the others keep to uvicorn's own 5 s."""


def idle_seconds(engine: str) -> int:
    """Seconds after which an engine's server closes a connection that nothing is sent on."""
    return KEEP_ALIVE_SECONDS if engine in _TOLD else 5


def health_path(engine: str) -> str:
    """Where a server says that it is up."""
    return "/health/ready" if engine == "triton" else "/health"
