"""The table of `model` and `sla` blocks."""

from __future__ import annotations

from typing import Final

from kcluster.spec.schema_types import (
    MAX_EXPERTS,
    MAX_LAYERS,
    MAX_REQUESTS,
    MAX_SECONDS,
    MAX_VOCABULARY,
    MAX_WIDTH,
    A,
    BlockSchema,
    count,
    switch,
    text,
    tokens,
)

WEIGHTS: Final = A(
    "weights",
    "choice",
    "how the checkpoint stores its linear layers",
    spellings=(
        ("bfloat16", "bf16"),
        ("float16", "fp16"),
        ("half", "fp16"),
        ("float32", "fp32"),
        ("fp8-dynamic", "fp8"),
        ("awq", "awq-int4"),
        ("gptq", "gptq-int4"),
        ("bitsandbytes", "bnb-int4"),
    ),
    catalog="weights",
    default="what the checkpoint says",
)

ARCHITECTURE: Final = BlockSchema(
    "architecture",
    "the sizes of a model that neither the catalog nor a config.json describes",
    (
        count("layers", "decoder layers", high=MAX_LAYERS, required=True),
        count("hidden", "width of the residual stream", high=MAX_WIDTH, required=True),
        count("heads", "attention heads", high=MAX_EXPERTS, required=True),
        count("kv_heads", "key and value heads", high=MAX_EXPERTS, default="heads"),
        count("head_dim", "width of a head", high=MAX_WIDTH, default="hidden / heads"),
        count("intermediate", "width of the dense feed-forward part", high=MAX_VOCABULARY),
        count("vocab", "rows of the embedding", high=MAX_VOCABULARY, required=True),
        switch("tied", "whether the output head shares the embedding", default="off"),
        tokens("max_positions", "the longest context the model was made for"),
        tokens("sliding_window", "tokens that every layer's attention sees", default="all"),
        count("experts", "experts of a layer", high=MAX_EXPERTS),
        count("experts_per_token", "experts that a token uses", high=MAX_EXPERTS),
        count("moe_intermediate", "width of one expert", high=MAX_VOCABULARY),
        count("shared_experts", "experts that every token uses", low=0, high=MAX_EXPERTS, default="0"),
        count("dense_layers", "leading layers without experts", low=0, high=MAX_LAYERS, default="0"),
        count(
            "q_lora_rank", "rank of the compressed queries (latent attention)", high=MAX_WIDTH, default="not compressed"
        ),
        count("kv_lora_rank", "rank of the compressed keys and values (latent attention)", high=MAX_WIDTH),
        count("rope_head_dim", "width of a head's rotary part (latent attention)", high=MAX_WIDTH),
        count("nope_head_dim", "width of a head's other part (latent attention)", high=MAX_WIDTH),
        count("v_head_dim", "width of a value head", high=MAX_WIDTH, default="head_dim"),
    ),
)

DRAFT: Final = BlockSchema(
    "draft",
    "speculative decoding: what drafts, and how well",
    (
        A(
            "method",
            "choice",
            "how tokens are drafted",
            choices=("draft", "mtp", "eagle", "ngram"),
            default="draft where `id` is given, else mtp",
        ),
        text("id", "model id", "the drafting model"),
        WEIGHTS,
        count("tokens", "tokens drafted a step", high=64, default="3, for mtp 1"),
        A("acceptance", "ratio", "share of drafted tokens that are accepted", high=1, limit=False, default="0.7"),
        count("tp", "tensor parallel of the drafter", default="the model's"),
    ),
)

MODEL: Final = BlockSchema(
    "model",
    "a model: what it is and what the engine loads",
    (
        text("id", "model id", "the model, by which the catalog knows its architecture", default="checkpoint"),
        text("checkpoint", "model id", "what the engine loads", default="id"),
        text("revision", "revision", "branch, tag or commit of the checkpoint"),
        text("config", "file", "a config.json, which beats the catalog"),
        text("index", "file", "a safetensors index or folder, for exact bytes"),
        WEIGHTS,
    ),
    (ARCHITECTURE, DRAFT),
    label="name",
    repeat=True,
)

SLA: Final = BlockSchema(
    "sla",
    "the load, and the bounds that must hold at it",
    (
        count("concurrency", "requests in flight at peak", high=MAX_REQUESTS, default="1"),
        tokens("context", "prompt + completion, the longest", default="prompt + completion, else 8192"),
        tokens("prompt", "a typical prompt", default="a quarter of the context, at most 2048"),
        tokens("completion", "a typical completion", default="a sixteenth of the context, at most 512"),
        A("prefix_share", "ratio", "share of a prompt that repeats", high=1, limit=False, default="0"),
        A(
            "percentile",
            "choice",
            "the statistic that the bounds mean",
            choices=("p50", "p75", "p90", "p95", "p99"),
            default="p50",
        ),
        A(
            "survive_loss",
            "choice",
            "what may be lost while the bounds hold",
            choices=("replica", "host"),
            default="nothing",
        ),
        A("tokens_per_second", "tokens/s", "each request, while it streams", bound=">=", above=True, high=10**6),
        A("ttft", "seconds", "time to the first token", bound="<=", above=True, high=MAX_SECONDS),
        A("itl", "seconds", "time between tokens", bound="<=", above=True, high=MAX_SECONDS),
        A("answer", "seconds", "a typical completion, whole", bound="<=", above=True, high=MAX_SECONDS),
        A(
            "throughput",
            "tokens/s",
            "output tokens a second, all requests together",
            bound=">=",
            above=True,
            high=10**9,
        ),
    ),
    label="name",
    repeat=True,
)
