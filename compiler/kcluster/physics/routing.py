"""What a router in front of the engines must let through: how long an answer may take, and how large a request is."""

from __future__ import annotations

from kcluster.physics.cut import Load
from kcluster.physics.results import Performance
from kcluster.units import Figure, derive, given

BYTES_PER_TOKEN = given(
    "bytes of prompt text per token",
    6,
    "bytes/token",
    "about four letters a token in English, more in code and other scripts; measured proxies size at six",
)
JSON_OVERHEAD = given("escapes and framing of JSON", 2, "ratio", "a string whose every character is escaped doubles")
OTHER_BYTES = given(
    "images and tools beside the text", 16 * 2**20, "bytes", "a few base64 pictures or a tool catalog a request"
)


def longest_answer(load: Load, performance: Performance) -> Figure:
    """Seconds that the longest request of the SLA may take from sending it to its last byte, at the slow end of the range.

    A request of `context` tokens that is nearly all completion is the slowest; a proxy must wait that long for an answer
    that is not streamed.
    """
    slow_ttft = given("ttft, slow end", performance.ttft.range()[1], "s", "performance.ttft_s")
    slow_itl = given("itl, slow end", performance.itl.range()[1], "s", "performance.itl_s")
    return derive(
        "routing.longest_answer_s",
        "s",
        "ttft + context * itl",
        source="every token of the longest request generated one after the other",
        ttft=slow_ttft,
        context=given("context", load.context, "tokens"),
        itl=slow_itl,
    )


def largest_body(max_model_len: int) -> Figure:
    """Bytes of the largest request body that a model of that length can be sent: its text as JSON, and what comes beside."""
    return derive(
        "routing.largest_body",
        "bytes",
        "length * per_token * json + other",
        source="proxies in front of long contexts answer 413 at their default of 1 MB",
        length=given("max_model_len", max_model_len, "tokens"),
        per_token=BYTES_PER_TOKEN,
        json=JSON_OVERHEAD,
        other=OTHER_BYTES,
    )
