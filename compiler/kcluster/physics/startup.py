"""How long an engine takes to start, as far as it follows from sizes: reading the model."""

from __future__ import annotations

from kcluster.units import Figure, derive, given


def load_seconds(checkpoint: Figure, storage: float) -> Figure:
    """Seconds that a node takes to read a checkpoint of so many bytes at `storage` bytes/s (which is above 0).

    Every node reads the whole checkpoint: ranks open all of its files and keep what is theirs.
    """
    return derive(
        "startup.load_seconds",
        "s",
        "checkpoint / storage",
        checkpoint=checkpoint,
        storage=given("storage", storage, "bytes/s", "the spec"),
    )
