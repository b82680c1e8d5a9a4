"""The resolved spec: typed, in base units, references followed, and every value knowing where it came from."""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from kcluster.physics.architecture import Architecture
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Bus, Card, Cluster, Network
from kcluster.source import Source, Span
from kcluster.values import field, frozen

T = TypeVar("T")

OriginKind = Literal["spec", "default", "catalog", "implied", "planner"]


@frozen
class Origin:
    """Where a value came from. `span` (in `source`) is its place in the spec: of the value itself for kind "spec", else of the
    nearest thing that a person would look at (the block that lacks the attribute). `note` says it in words: the catalog row
    with its source, or the reason of a default."""

    kind: OriginKind
    source: Source
    span: Span
    note: str = ""


@frozen
class Value(Generic[T]):
    """A value with its origin. `attribute` spans `key = value` where it was written (for labels and fixes)."""

    value: T
    origin: Origin
    attribute: Span | None = None

    @property
    def written(self) -> bool:
        """Whether the author wrote it."""
        return self.origin.kind == "spec"


@frozen
class Secret:
    """`env("NAME")`: a secret known only by the name of the environment variable that will hold it."""

    variable: str


@frozen
class DraftSpec:
    """A drafter for speculative decoding."""

    method: Value[Literal["draft", "mtp", "eagle", "ngram"]]
    id: Value[str] | None
    architecture: Architecture | None
    weights: Value[WeightFormat] | None
    tokens: Value[int]
    acceptance: Value[float]
    tp: Value[int] | None
    block: Span
    source: Source


@frozen
class ModelSpec:
    """`id` as written; `architecture` from the catalog, a config.json or an inner block (its origin says which);
    `exact_weight_bytes` from a safetensors index or folder, None without."""

    name: str
    id: Value[str]
    checkpoint: Value[str]
    revision: Value[str] | None
    weights: Value[WeightFormat]
    architecture: Value[Architecture]
    draft: DraftSpec | None
    exact_weight_bytes: Value[int] | None
    quantization: dict[str, Any] | None
    """The `quantization_config` of the config that was read, None where it has none (the catalog's row or the user's file)."""
    block: Span
    head: Span
    source: Source


@frozen
class NodeSpec:
    host: Value[str]
    """The address on the network, or `node0`, `node1`, … where the spec gives none (origin "default")."""
    cards: tuple[Value[Card], ...]
    """One a GPU."""
    gpus: Value[str]
    """As written (`4 * rtx-5090`), for labels."""
    bus: Value[Bus]


@frozen
class HardwareSpec:
    name: str
    nodes: tuple[NodeSpec, ...]
    network: Value[Network] | None
    hosts_given: Value[tuple[str, ...]] | None
    interface: Value[str] | None
    user: Value[str] | None
    model_path: Value[str] | None
    storage: Value[float] | None
    """bytes/s"""
    reserved: Value[float] | None
    """bytes on every card"""
    block: Span
    head: Span
    source: Source

    @property
    def gpus(self) -> int:
        return sum(len(node.cards) for node in self.nodes)


BoundName = Literal["tokens_per_second", "ttft", "itl", "answer", "throughput"]


@frozen
class Bound:
    """One bound of an SLA in base units (tokens/s, seconds)."""

    name: BoundName
    operator: Literal["<=", ">="]
    value: Value[float]


@frozen
class SlaSpec:
    name: str
    concurrency: Value[int]
    context: Value[int]
    prompt: Value[int]
    completion: Value[int]
    prefix_share: Value[float]
    percentile: Value[str]
    survive_loss: Value[Literal["replica", "host"]] | None
    bounds: tuple[Bound, ...]
    block: Span
    head: Span
    source: Source
    unread: tuple[str, ...] = ()
    """Figures of the load that are written and could not be read, which is reported, or may be (where the block is torn)."""

    def bound(self, name: BoundName) -> Bound | None:
        return next((bound for bound in self.bounds if bound.name == name), None)


@frozen
class ParallelSpec:
    """Pinned numbers; None is `auto`."""

    replicas: Value[int] | None = None
    tp: Value[int] | None = None
    pp: Value[int] | None = None
    dp: Value[int] | None = None
    ep: Value[bool] | None = None
    dcp: Value[int] | None = None
    layers: Value[tuple[int, ...]] | None = None
    eplb: Value[bool] | None = None
    balance: Value[Literal["internal", "hybrid", "external"]] | None = None
    block: Span | None = None


ArgumentValue = str | int | float | bool | tuple[str | int | float | bool, ...]


@frozen
class EngineSpec:
    """None is `auto`, or the engine's own default. `args` keep the author's order."""

    name: Value[Literal["vllm", "sglang", "trtllm", "triton"]]
    version: Value[tuple[int, ...]]
    gpu_memory_utilization: Value[float] | None = None
    max_model_len: Value[int] | None = None
    max_num_seqs: Value[int] | None = None
    max_num_batched_tokens: Value[int] | None = None
    prefix_caching: Value[bool] | None = None
    chunked_prefill: Value[bool] | None = None
    kv_cache: Value[Literal["auto", "bf16", "fp16", "fp8", "nvfp4"]] | None = None
    kv_offload: Value[float] | None = None
    dtype: Value[str] | None = None
    host: Value[str] | None = None
    port: Value[int] | None = None
    api_key: Value[Secret] | None = None
    executor: Value[Literal["mp", "ray"]] | None = None
    image: Value[str] | None = None
    args: tuple[tuple[Value[str], Value[ArgumentValue]], ...] = ()
    env: tuple[tuple[Value[str], Value[str]], ...] = ()
    block: Span | None = None


@frozen
class TlsSpec:
    certificate: Value[str]
    key: Value[str]
    block: Span


@frozen
class RouterSpec:
    """`name` is empty for a router inside a serve."""

    kind: Value[Literal["nginx", "haproxy", "vllm-router", "llm-d"]]
    name: str
    host: Value[str] | None
    listen: Value[int] | None
    policy: Value[str] | None
    tls: TlsSpec | None
    api_key: Value[Secret] | None
    max_body: Value[float] | None
    timeout: Value[float] | None
    version: Value[tuple[int, ...]] | None
    block: Span
    head: Span
    source: Source


@frozen
class RouteSpec:
    """A serve's place on a top-level router."""

    router: Value[str]
    model_name: Value[str] | None
    header: Value[tuple[str, str]] | None
    path: Value[str] | None
    block: Span


@frozen
class MonitorSpec:
    """`enabled` is False only where the spec says `monitor = off`. Thresholds are shares or seconds by name."""

    enabled: bool
    prometheus: Value[str] | None
    grafana: Value[str] | None
    thresholds: tuple[tuple[str, Value[float]], ...] = ()
    block: Span | None = None


@frozen
class KubernetesSpec:
    namespace: Value[str] | None
    image: Value[str] | None
    claim: Value[str] | None
    node_selector: tuple[tuple[Value[str], Value[str]], ...]
    block: Span


@frozen
class ServeSpec:
    """`implied`: the file has no `serve`; spans then are those of the model's block. `cards`: the (node, gpu) indices on its
    hardware that this serve may use, resolved from `nodes`, `gpus` and file order."""

    name: str
    implied: bool
    model: ModelSpec
    hardware: HardwareSpec
    sla: SlaSpec | None
    parallel: ParallelSpec
    engine: EngineSpec
    router: RouterSpec | None
    router_off: bool
    route: RouteSpec | None
    monitor: MonitorSpec
    kubernetes: KubernetesSpec | None
    runtime: Value[Literal["shell", "systemd", "compose", "kubernetes"]]
    cluster: Cluster
    """The hardware narrowed to this serve's cards."""
    gpu_ids: tuple[tuple[int, ...], ...]
    """For each node of `cluster`, the indices of its cards on the real machine, in the order of `cluster.nodes[i].cards`."""
    cards_pinned: bool
    """Whether `nodes` or `gpus` was written."""
    block: Span
    head: Span
    source: Source


@frozen
class Suppression:
    """`# kcluster: ignore[KC204] reason`. `scope` is the span in which findings are silenced, None for the whole file."""

    codes: tuple[str, ...]
    reason: str
    span: Span
    scope: Span | None
    source: Source


@frozen
class Spec:
    """A whole spec with what it imports. `path` and `source` are of the file asked for."""

    source: Source
    models: tuple[ModelSpec, ...]
    hardware: tuple[HardwareSpec, ...]
    slas: tuple[SlaSpec, ...]
    serves: tuple[ServeSpec, ...]
    routers: tuple[RouterSpec, ...]
    suppressions: tuple[Suppression, ...]
    sources: tuple[Source, ...] = field(factory=tuple)
    """Every file that was read, this one first."""
