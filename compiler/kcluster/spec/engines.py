"""`parallel`, `engine`, `router`, `route`, `monitor` and `kubernetes` blocks: values into their types."""

from __future__ import annotations

from typing import Any, Final

from kcluster.spec.reader import Fields
from kcluster.spec.schema_serve import ENGINE
from kcluster.spec.types import (
    EngineSpec,
    KubernetesSpec,
    MonitorSpec,
    Origin,
    ParallelSpec,
    RouterSpec,
    RouteSpec,
    TlsSpec,
    Value,
)

_THRESHOLDS: Final = ("kv_usage", "errors", "queue", "ttft", "itl")


def build_parallel(fields: Fields | None) -> ParallelSpec:
    if fields is None:
        return ParallelSpec()
    names = ("replicas", "tp", "pp", "dp", "ep", "dcp", "layers", "eplb", "balance")
    return ParallelSpec(**{name: fields.get(name) for name in names}, block=fields.span)


def build_engine(fields: Fields | None, serve: Fields) -> EngineSpec:
    """The engine of a serve; vLLM of the newest version that has a flag table where nothing is said.

    `serve` is what a default points at where there is no `engine` block.
    """
    if fields is None:
        name: Value[Any] = serve.default("vllm", "the engine that is taken unless the serve names one")
        return EngineSpec(name, _newest("vllm", serve))
    source, kind = fields.source, fields.kind_span
    if kind is not None:
        name = Value(fields.kind, Origin("spec", source, kind), fields.head)
    else:
        name = fields.default(fields.kind, "the engine that is taken unless the block names one")
    names = [row.name for row in ENGINE.attributes if row.name != "version"]
    return EngineSpec(
        name=name,
        version=fields.get("version") or _newest(fields.kind, fields),
        **{attribute: fields.get(attribute) for attribute in names},
        args=_entries(fields.block("args")),
        env=_entries(fields.block("env")),
        block=fields.span,
    )


def _newest(engine: str, fields: Fields) -> Value[tuple[int, ...]]:
    from kcluster.catalog.engines import engine_versions

    versions = engine_versions(engine)
    if not versions:
        return fields.default((0,), "no version is known, because none is given and the catalog has no table")
    return fields.default(max(versions), "the newest version with a flag table, because none is given")


def _entries(fields: Fields | None) -> tuple[tuple[Value[str], Value[Any]], ...]:
    return () if fields is None else tuple((entry.key, entry.value) for entry in fields.entries)


def build_router(fields: Fields) -> RouterSpec:
    """A router, inside a serve or at top level."""
    if fields.kind_span is not None:
        kind: Value[Any] = Value(fields.kind, Origin("spec", fields.source, fields.kind_span), fields.head)
    else:
        kind = fields.default(fields.kind, "the router that is taken unless the block names one")
    tls = fields.block("tls")
    certificate = tls.get("certificate") if tls is not None else None
    key = tls.get("key") if tls is not None else None
    whole = tls is not None and certificate is not None and key is not None
    return RouterSpec(
        kind=kind,
        name=fields.name,
        host=fields.get("host"),
        listen=fields.get("listen"),
        policy=fields.get("policy"),
        tls=TlsSpec(certificate, key, tls.span) if whole and tls and certificate and key else None,
        api_key=fields.get("api_key"),
        max_body=fields.get("max_body"),
        timeout=fields.get("timeout"),
        version=fields.get("version"),
        block=fields.span,
        head=fields.head,
        source=fields.source,
    )


def build_route(fields: Fields) -> RouteSpec:
    span = fields.name_span or fields.head
    return RouteSpec(
        router=Value(fields.name, Origin("spec", fields.source, span), fields.head),
        model_name=fields.get("model_name"),
        header=fields.get("header"),
        path=fields.get("path"),
        block=fields.span,
    )


def build_monitor(fields: Fields | None, switch: Value[bool] | None) -> MonitorSpec:
    """The monitoring of a serve: on, unless `monitor = off` stands there."""
    if fields is None:
        return MonitorSpec(enabled=switch is None or switch.value, prometheus=None, grafana=None)
    written = [(name, fields.get(name)) for name in _THRESHOLDS]
    thresholds = tuple((name, value) for name, value in written if value is not None)
    return MonitorSpec(True, fields.get("prometheus"), fields.get("grafana"), thresholds, fields.span)


def build_kubernetes(fields: Fields | None) -> KubernetesSpec | None:
    if fields is None:
        return None
    selector = _entries(fields.block("node_selector"))
    return KubernetesSpec(fields.get("namespace"), fields.get("image"), fields.get("claim"), selector, fields.span)
