"""What a cluster needs beside its work: the time and shared memory of a start, and the link that answers stream through."""

from __future__ import annotations

from kcluster.units import GB, GIB, Figure, derive, given


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


ASSUMED_STORAGE = given(
    "storage",
    0.5 * GB,
    "bytes/s",
    "assumed where the spec gives none: a network file system over a shared 10 Gbit/s link",
)
START_MARGIN = given("reads of the checkpoint", 2, "ratio", "a cold disk or a second reader halves the rate")
START_REST = given(
    "what comes after the weights",
    900,
    "s",
    "imports, profiling, compilation and graph capture with an empty cache: minutes on record, a quarter of an hour as a limit",
)


def start_limit(checkpoint: Figure, storage: float | None) -> Figure:
    """Seconds after which an engine that does not answer is taken for stuck: a limit, not a prediction.

    `storage` in bytes/s (above 0), None where the spec does not say.
    """
    return derive(
        "startup.limit",
        "s",
        "margin * checkpoint / storage + rest",
        margin=START_MARGIN,
        checkpoint=checkpoint,
        storage=ASSUMED_STORAGE if storage is None else given("storage", storage, "bytes/s", "the spec"),
        rest=START_REST,
    )


SHARED_BASE = given(
    "queues of an engine",
    1 * GIB,
    "bytes",
    "vLLM's message queues (10 chunks of 24 MiB a broadcaster) and what PyTorch keeps there",
)
SHARED_PER_RANK = given(
    "one rank's share",
    1 * GIB,
    "bytes",
    "NCCL's and gloo's buffers where cards do not read each other's memory, and the rank's own queue; 1 GB a container is what NVIDIA asks for at least",
)


def shared_memory(ranks: int) -> Figure:
    """Bytes of `/dev/shm` for so many ranks of one engine on one node: what a container is given, and a host must have free."""
    return derive(
        "startup.shared_memory",
        "bytes",
        "base + ranks * rank",
        source="vLLM's documentation: host IPC or a larger shared memory than the runtime's 64 MB with tensor parallel",
        base=SHARED_BASE,
        ranks=given("ranks", ranks, "count"),
        rank=SHARED_PER_RANK,
    )
