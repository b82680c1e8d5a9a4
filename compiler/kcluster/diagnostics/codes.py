"""The registry of codes: the one table of code, name, default severity and one line of what it catches.

Codes are never reused. The pages behind them are the docstrings of the rules (`kcluster.rules`).
"""

from __future__ import annotations

from typing import Final

from kcluster.diagnostics.types import Severity
from kcluster.values import frozen


@frozen
class Code:
    """One row of the registry. `severity` is the default; a rule may choose another for one of its cases."""

    code: str
    name: str
    severity: Severity
    summary: str


_ROWS: Final = (
    ("KC001", "unexpected-token", "error", "something stands where the language expects something else"),
    ("KC002", "unterminated", "error", "a string, bracket or block that is never closed"),
    ("KC003", "bad-escape", "error", "an escape that strings do not have"),
    ("KC004", "invisible-character", "error", "a control or invisible character, or bytes that are not UTF-8"),
    ("KC005", "bad-number", "error", "not a number of this language"),
    ("KC006", "unknown-unit", "error", "a unit that the language does not know"),
    ("KC007", "beyond-limits", "error", "a file, nesting or number beyond the limits"),
    ("KC101", "unknown-block", "error", "a block that the language does not have, or not here"),
    ("KC102", "unknown-attribute", "error", "an attribute that this block does not have"),
    ("KC103", "wrong-kind", "error", "a value or unit of the wrong kind"),
    ("KC104", "given-twice", "error", "the same thing given twice"),
    ("KC105", "missing", "error", "something required that is not there"),
    ("KC106", "unresolved-reference", "error", "a reference to nothing"),
    (
        "KC107",
        "not-in-catalog",
        "error",
        "a GPU, model, bus or network that the catalog lacks, or an architecture not understood",
    ),
    ("KC108", "unused-block", "warning", "a block that nothing uses"),
    ("KC109", "bad-import", "error", "an import that is not found, cyclic, or outside the project"),
    ("KC110", "bound-or-value", "error", "`=` where a bound belongs, or the reverse"),
    ("KC111", "useless-suppression", "warning", "a suppression without a reason, or that suppresses nothing"),
    ("KC112", "cards-claimed-twice", "error", "two serves that claim the same cards"),
    ("KC201", "weights-do-not-fit", "error", "the weights do not fit the cards of one replica"),
    ("KC202", "context-does-not-fit", "error", "the KV cache cannot hold one request of max_model_len"),
    ("KC203", "peak-does-not-fit", "warning", "the KV cache cannot hold the concurrency at the longest context"),
    ("KC204", "typical-load-does-not-fit", "warning", "the KV cache cannot hold the concurrency of typical requests"),
    ("KC205", "memory-utilization", "warning", "a gpu_memory_utilization that leaves no room, or wastes much"),
    ("KC206", "model-length", "error", "a max_model_len beyond the model's positions, or below the SLA's context"),
    (
        "KC207",
        "sequence-limit",
        "warning",
        "a max_num_seqs below the concurrency, or far above what the KV cache holds",
    ),
    ("KC208", "unbalanced-stages", "warning", "pipeline stages out of balance"),
    ("KC209", "batched-tokens", "warning", "a max_num_batched_tokens that is refused or that eats the KV cache"),
    ("KC210", "drafter-not-budgeted", "error", "a drafter that the memory budget forgot"),
    ("KC301", "heads-not-divisible", "error", "tensor parallel does not divide the attention heads"),
    ("KC302", "kv-heads", "error", "KV heads and tensor parallel do not go together, or KV is replicated"),
    ("KC303", "card-count", "warning", "the cut does not use the cards that there are, or needs more"),
    ("KC304", "pipeline-layers", "warning", "pipeline stages do not divide the layers, or exceed them"),
    ("KC305", "expert-parallel", "error", "expert parallel where it cannot be or does not pay"),
    ("KC306", "quantization-block", "error", "a quantization block or group does not divide the shard"),
    ("KC307", "decode-context-parallel", "error", "decode context parallel outside its constraints"),
    ("KC308", "needless-cut", "note", "more tensor or pipeline parallel than the model needs"),
    ("KC309", "intermediate-not-divisible", "error", "tensor parallel does not divide the intermediate sizes"),
    ("KC310", "speculative-constraints", "error", "a draft that this cut or version does not allow"),
    ("KC401", "tensor-parallel-across-nodes", "error", "tensor parallel across nodes"),
    ("KC402", "tensor-parallel-beyond-bus", "warning", "tensor parallel beyond what the bus pays for"),
    ("KC403", "pipeline-boundary", "warning", "a pipeline boundary that the link makes slow"),
    ("KC404", "expert-all-to-all", "warning", "expert all-to-all that the link makes slow"),
    ("KC405", "router-link-and-load-time", "note", "the router's link, and the time to load the model"),
    ("KC501", "speed-out-of-reach", "error", "tokens per second of a request out of reach"),
    ("KC502", "latency-out-of-reach", "error", "time to first token or between tokens out of reach"),
    ("KC503", "answer-time-out-of-reach", "error", "time of a whole answer out of reach"),
    ("KC504", "throughput-out-of-reach", "error", "throughput out of reach"),
    ("KC505", "survive-loss", "error", "fewer replicas or hosts than survive_loss needs"),
    ("KC506", "incomplete-sla", "note", "figures missing from the SLA without which the choice is a guess"),
    ("KC507", "contradictory-sla", "error", "figures of the SLA that cannot hold together"),
    ("KC508", "latency-for-nothing", "warning", "a setting that costs latency for nothing"),
    ("KC601", "no-router", "warning", "several replicas and no router"),
    ("KC602", "plain-round-robin", "warning", "many replicas or a shared prefix behind plain round robin"),
    ("KC603", "route-selectors", "error", "several serves on one router without selectors, or overlapping ones"),
    ("KC604", "router-settings", "warning", "router time-outs, limits or hashing that break serving"),
    ("KC605", "target-needs-more", "error", "a target that needs what the spec does not say"),
    ("KC701", "open-listener", "warning", "an engine or router that listens beyond loopback without key or TLS"),
    ("KC702", "open-port", "warning", "a Ray, engine or metrics port reachable from outside"),
    ("KC703", "secret-in-spec", "error", "a secret written in the spec"),
    ("KC704", "port-clash", "error", "ports or hosts that clash, or privileged ports"),
    ("KC705", "hosts-missing", "error", "hosts missing where artifacts need them, or not as many as nodes"),
    ("KC706", "not-monitored", "note", "nothing watches KV usage and preemptions"),
    ("KC707", "shared-memory", "warning", "shared memory too small for the tensor-parallel group"),
    ("KC801", "unknown-flag", "error", "a flag, choice or value that this engine version does not have"),
    ("KC802", "flag-conflict", "warning", "a raw flag that fights an attribute or switches a check off"),
    ("KC803", "unsupported-format", "error", "a weight or KV format that the card or engine lacks or emulates"),
    ("KC804", "format-mismatch", "warning", "a checkpoint that says another format than weights"),
    ("KC805", "kv-dtype", "error", "a 16-bit kv_cache that differs from the model's dtype"),
    ("KC806", "starts-only-here", "note", "starts on this engine version but would not on the newest"),
)

CODES: Final[dict[str, Code]] = {
    code: Code(code, name, severity, summary)  # type: ignore[arg-type]
    for code, name, severity, summary in _ROWS
}


def code_of(text: str) -> Code | None:
    """The code of that number or kebab-case name, whatever its case."""
    wanted = text.strip()
    found = CODES.get(wanted.upper())
    if found is not None:
        return found
    return next((code for code in CODES.values() if code.name == wanted.lower()), None)
