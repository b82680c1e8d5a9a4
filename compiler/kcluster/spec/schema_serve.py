"""The table of `serve` blocks and of what stands in them."""

from __future__ import annotations

from typing import Final

from kcluster.spec.schema_types import (
    MAX_BYTES,
    MAX_GPUS_PER_NODE,
    MAX_LAYERS,
    MAX_NODES,
    MAX_PORT,
    MAX_REQUESTS,
    MAX_SECONDS,
    A,
    BlockSchema,
    EntrySchema,
    count,
    switch,
    text,
    tokens,
)

PARALLEL: Final = BlockSchema(
    "parallel",
    "the cut of the model over cards; a number pins, `auto` lets the planner choose",
    (
        count("replicas", "independent servers behind the router", default="auto"),
        count("tp", "tensor parallel", default="auto"),
        count("pp", "pipeline parallel", high=MAX_LAYERS, default="auto"),
        count("dp", "ranks inside one engine", default="auto"),
        switch("ep", "expert parallel", default="auto"),
        count("dcp", "decode context parallel", default="auto"),
        A(
            "layers",
            "integers",
            "layers of each pipeline stage, by hand",
            low=1,
            high=MAX_LAYERS,
            default="as the engine deals them out",
        ),
        switch("eplb", "expert load balancing", default="off"),
        A(
            "balance",
            "choice",
            "who balances the ranks of dp",
            choices=("internal", "hybrid", "external"),
            default="auto",
        ),
    ),
)

ARGS: Final = BlockSchema(
    "args",
    "any further flag of the engine, checked against the version's table",
    entries=EntrySchema(
        "flag",
        "argument",
        "argument",
        "flag",
        '`"--any-flag" = value`: `on` the bare flag, `off` its `--no-` form, a list repeats',
    ),
)
ENV: Final = BlockSchema(
    "env",
    "environment variables of the engine",
    entries=EntrySchema("environment name", "string", "argument", "variable", '`NAME = "value"`'),
)

_DTYPES: Final = (
    ("bf16", "bfloat16"),
    ("fp16", "float16"),
    ("half", "float16"),
    ("fp32", "float32"),
    ("float", "float32"),
)

ENGINE: Final = BlockSchema(
    "engine",
    "the inference engine and what it is started with",
    (
        A("version", "version", "the engine's version", default="the newest with a table"),
        A(
            "gpu_memory_utilization",
            "ratio",
            "share of a card's memory for the engine",
            above=True,
            high=1,
            limit=False,
            default="the engine's own",
        ),
        tokens("max_model_len", "longest request", default="the SLA's context, or the model's positions"),
        count("max_num_seqs", "requests in one batch", high=MAX_REQUESTS, default="by the SLA"),
        tokens("max_num_batched_tokens", "tokens in one step", default="the engine's own"),
        switch("prefix_caching", "reuse the KV of shared beginnings", default="the engine's own"),
        switch("chunked_prefill", "prefill in chunks beside decoding", default="the engine's own"),
        A(
            "kv_cache",
            "choice",
            "format of the KV cache",
            choices=("auto", "bf16", "fp16", "fp8", "nvfp4"),
            spellings=(("bfloat16", "bf16"), ("float16", "fp16"), ("fp8_e4m3", "fp8")),
            default="auto",
        ),
        A("kv_offload", "bytes", "host memory for KV that leaves the cards", high=MAX_BYTES, default="0"),
        A(
            "dtype",
            "choice",
            "the model's 16-bit format",
            choices=("bfloat16", "float16", "float32"),
            spellings=_DTYPES,
            default="the model's",
        ),
        text(
            "host",
            "host",
            "address that the engine listens on",
            default="loopback behind a router on the node, else the node's",
        ),
        A(
            "port",
            "count",
            "first port; replica n on one node takes port + n",
            low=1,
            high=MAX_PORT,
            limit=False,
            default="8000",
        ),
        A("api_key", "secret", 'key that clients send: `env("NAME")`', variable="VLLM_API_KEY"),
        A(
            "executor",
            "choice",
            "how one engine spans cards and nodes",
            choices=("mp", "ray"),
            default="mp, Ray where the engine lacks it",
        ),
        text("image", "image", "container image", default="the engine's own of that version"),
    ),
    (ARGS, ENV),
    label="kind",
    kinds=("vllm", "sglang", "trtllm", "triton"),
)

TLS: Final = BlockSchema(
    "tls",
    "certificate and key of the router",
    (
        text("certificate", "path", "file with the certificate chain", required=True),
        text("key", "path", "file with the private key", required=True),
    ),
)

# `request_id` is what people configure and KC604 speaks against: a hash of what is new with every request.
_POLICIES: Final = ("round_robin", "least_conn", "session", "cache_aware", "power_of_two", "random", "request_id")
_POLICY_SPELLINGS: Final = (
    ("roundrobin", "round_robin"),
    ("least_connections", "least_conn"),
    ("leastconn", "least_conn"),
    ("least_requests", "least_conn"),
    ("session_hash", "session"),
    ("session_id", "session"),
    ("consistent_hash", "session"),
    ("hash", "session"),
    ("sticky", "session"),
    ("prefix", "cache_aware"),
    ("prefix_cache", "cache_aware"),
    ("prefix_aware", "cache_aware"),
)
_ROUTER_ATTRIBUTES: Final = (
    text("host", "host", "where the router runs", default="the first node"),
    A("listen", "count", "port", low=1, high=MAX_PORT, limit=False, default="8080"),
    A(
        "policy",
        "choice",
        "how requests are spread",
        choices=_POLICIES,
        spellings=_POLICY_SPELLINGS,
        default="by router and SLA",
    ),
    A("api_key", "secret", 'key that clients send: `env("NAME")`', variable="ROUTER_API_KEY"),
    A("max_body", "bytes", "largest request body", above=True, high=MAX_BYTES, default="from the context"),
    A(
        "timeout",
        "seconds",
        "longest wait between two parts of an answer",
        above=True,
        high=MAX_SECONDS,
        default="from the SLA",
    ),
    A("version", "version", "the router's version", default="a floor that the files name"),
)
_ROUTER_KINDS: Final = ("nginx", "haproxy", "vllm-router", "llm-d")
_ROUTER_DOC: Final = "what stands in front of the replicas"
ROUTER: Final = BlockSchema("router", _ROUTER_DOC, _ROUTER_ATTRIBUTES, (TLS,), label="kind", kinds=_ROUTER_KINDS)
SHARED_ROUTER: Final = BlockSchema(
    "router",
    _ROUTER_DOC + ", for several serves",
    _ROUTER_ATTRIBUTES,
    (TLS,),
    label="kind and name",
    kinds=_ROUTER_KINDS,
    repeat=True,
)

ROUTE: Final = BlockSchema(
    "route",
    "this serve's place on a router at top level",
    (
        text("model_name", "model name", "the model's name in requests", default="the checkpoint"),
        A("header", "header", '`["X-Model", "small"]`: a header and its value'),
        text("path", "url path", "the beginning of the path"),
    ),
    label="name",
)

MONITOR: Final = BlockSchema(
    "monitor",
    "scrape configuration, alerts and dashboard",
    (
        text("prometheus", "address", "where Prometheus listens", default="port 9090 of the first node"),
        text("grafana", "address", "where Grafana listens"),
        A(
            "kv_usage",
            "ratio",
            "alert above this share of the KV cache",
            above=True,
            high=1,
            limit=False,
            default="0.9",
        ),
        A(
            "errors",
            "ratio",
            "alert above this share of failed requests",
            above=True,
            high=1,
            limit=False,
            default="0.01",
        ),
        A("queue", "seconds", "alert above this wait before prefill", above=True, high=MAX_SECONDS),
        A(
            "ttft",
            "seconds",
            "alert above this time to the first token",
            above=True,
            high=MAX_SECONDS,
            default="the SLA's",
        ),
        A("itl", "seconds", "alert above this time between tokens", above=True, high=MAX_SECONDS, default="the SLA's"),
    ),
)

NODE_SELECTOR: Final = BlockSchema(
    "node_selector",
    "labels of the Kubernetes nodes that may run it",
    entries=EntrySchema("label key", "string", "label value", "label", '`"key" = "value"`'),
)
KUBERNETES: Final = BlockSchema(
    "kubernetes",
    "what the cluster's manifests need",
    (
        text("namespace", "label", "namespace"),
        text("image", "image", "container image", default="the engine's"),
        text("claim", "subdomain", "volume claim that holds the models"),
    ),
    (NODE_SELECTOR,),
)

SWITCH: Final = ("on", "off", "none")

SERVE: Final = BlockSchema(
    "serve",
    "which model runs on which hardware, for which SLA",
    (
        A("model", "reference", "the model", target="model", default="the only one"),
        A("hardware", "reference", "the hardware", target="hardware", default="the only one"),
        A("sla", "reference", "the SLA", target="sla", default="the only one"),
        A("nodes", "indices", "which nodes: `[0..3]`", high=MAX_NODES - 1, default="disjoint cards in file order"),
        A(
            "gpus",
            "indices",
            "which cards of each node: `[0..3]`",
            high=MAX_GPUS_PER_NODE - 1,
            default="disjoint cards in file order",
        ),
        A(
            "runtime",
            "choice",
            "what starts the processes",
            choices=("shell", "systemd", "compose", "kubernetes"),
            default="shell",
        ),
        A(
            "router",
            "switch",
            "`off` for none",
            choices=SWITCH,
            default="nginx from two replicas on, llm-d between pods",
        ),
        A("monitor", "switch", "`off` for none", choices=SWITCH, default="on"),
    ),
    (PARALLEL, ENGINE, ROUTER, ROUTE, MONITOR, KUBERNETES),
    label="name",
    repeat=True,
)
