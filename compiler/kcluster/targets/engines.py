"""What differs between the servers of engines for every target that speaks to them."""

from __future__ import annotations


def health_path(engine: str) -> str:
    """Where a server says that it is up."""
    return "/health/ready" if engine == "triton" else "/health"
