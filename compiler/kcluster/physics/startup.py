"""What a cluster moves beside its work: the model at a start, and the answers through the router."""

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


STREAMED_TOKEN = given(
    "bytes of one streamed token",
    300,
    "bytes/token",
    "a chat.completion.chunk of the OpenAI API: id, model and choices around one token, and its framing",
)


def streamed_rate(throughput: Figure) -> Figure:
    """bytes/s that streamed answers take of the router's link in one direction, at so many output tokens a second."""
    return derive(
        "routing.streamed_rate",
        "bytes/s",
        "throughput * token",
        source="every token is a JSON object of its own",
        throughput=throughput,
        token=STREAMED_TOKEN,
    )
