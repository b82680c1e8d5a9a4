"""Alerts with thresholds from the SLA and the plan, and for each a test that it fires just above and is silent just below."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.haproxy import backend_name
from kcluster.targets.monitoring.metrics import (
    ANSWER,
    ANSWER_BOUNDS,
    HTTP_REQUESTS,
    ITL,
    ITL_BOUNDS,
    KV_USAGE,
    PREEMPTIONS,
    TTFT,
    TTFT_BOUNDS,
    WAITING,
    bound_above,
    number,
    selector,
)
from kcluster.targets.routing import front_of
from kcluster.targets.yaml import Yaml
from kcluster.units import human
from kcluster.values import frozen

KV_FULL: Final = 0.9
"""Share of the KV cache at which new requests soon wait or push others out."""

WAITING_SHARE: Final = 0.1
"""Waiting requests, as a share of what a replica runs at a time, that are more than a ripple."""

SERVER_ERRORS: Final = 0.01
"""Share of answers with a 5xx that is more than a client's disconnect."""


@frozen
class Alert:
    """One alert. `series` are the synthetic series of its test: (name with labels, firing values, silent values) in
    Prometheus' notation, 15 s apart."""

    name: str
    expression: str
    for_: str
    severity: str
    summary: str
    description: str
    labels: tuple[tuple[str, str], ...]
    series: tuple[tuple[str, str, str], ...]
    seen: tuple[tuple[str, str], ...]
    """Labels that the firing alert has from its expression."""


def alerts(plan: Plan, watched: tuple[ServePlan, ...]) -> dict[str, Yaml]:
    """`alerts.yml` as a mapping: one group a serve."""
    return {
        "groups": [
            {"name": f"kcluster {serve.name}", "rules": [_rule(alert) for alert in alerts_of(plan, serve)]}
            for serve in watched
        ]
    }


def alert_tests(plan: Plan, watched: tuple[ServePlan, ...]) -> dict[str, Yaml]:
    """`alerts_test.yml` for `promtool test rules`: each alert fires on its firing series and not on its silent ones."""
    cases: list[Yaml] = []
    for serve in watched:
        for alert in alerts_of(plan, serve):
            cases.append(_case(alert, firing=True))
            cases.append(_case(alert, firing=False))
    return {"rule_files": ["alerts.yml"], "evaluation_interval": "15s", "tests": cases}


def alerts_of(plan: Plan, serve: ServePlan) -> tuple[Alert, ...]:
    """Every alert of one serve, what stops it first."""
    thresholds = {name: value.value for name, value in serve.serve.monitor.thresholds}
    return (
        _down(serve),
        _kv_full(serve, thresholds.get("kv_usage", KV_FULL)),
        _preemptions(serve),
        _waiting(serve, thresholds.get("waiting")),
        *_slow(serve),
        _errors(plan, serve, thresholds.get("errors", SERVER_ERRORS)),
    )


def _rule(alert: Alert) -> Yaml:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.for_,
        "labels": {"severity": alert.severity, **dict(alert.labels)},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }


def _case(alert: Alert, *, firing: bool) -> Yaml:
    expected: list[Yaml] = []
    if firing:
        labels = {**dict(alert.seen), "severity": alert.severity, **dict(alert.labels)}
        expected.append(
            {
                "exp_labels": labels,
                "exp_annotations": {
                    "summary": _filled(alert.summary, labels),
                    "description": _filled(alert.description, labels),
                },
            }
        )
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": high if firing else low} for name, high, low in alert.series],
        "alert_rule_test": [{"eval_time": "30m", "alertname": alert.name, "exp_alerts": expected}],
    }


def _filled(text: str, labels: dict[str, str]) -> str:
    """A text with `{{ $labels.name }}` filled in, as Prometheus does."""
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels.get(found[1], ""), text)


def _of(serve: ServePlan) -> dict[str, str]:
    return {"job": "kcluster", "serve": serve.name}


def _series(metric: str, serve: ServePlan, **labels: str) -> str:
    return selector(metric, **_of(serve), replica="0", **labels)


def _down(serve: ServePlan) -> Alert:
    return Alert(
        "KclusterReplicaDown",
        f"{selector('up', **_of(serve))} == 0",
        "1m",
        "critical",
        "replica {{ $labels.replica }} of {{ $labels.serve }} does not answer",
        "Its /metrics has not answered for a minute. The router sends it nothing once connections are refused.",
        (),
        ((_series("up", serve), "0x200", "1x200"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _kv_full(serve: ServePlan, share: float) -> Alert:
    return Alert(
        "KclusterKvCacheFull",
        f"avg_over_time({selector(KV_USAGE, **_of(serve))}[5m]) > {number(share)}",
        "5m",
        "warning",
        "the KV cache of {{ $labels.serve }}, replica {{ $labels.replica }}, is nearly full",
        f"Over {share:.0%} for ten minutes: new requests wait, and running ones may be preempted. "
        f"The plan holds {human(serve.chosen.memory.kv_tokens.value, 'tokens') if serve.chosen.memory else 'it all'}.",
        (),
        ((_series(KV_USAGE, serve), f"{number(min(1.0, share + 0.01))}x200", f"{number(share - 0.01)}x200"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _preemptions(serve: ServePlan) -> Alert:
    return Alert(
        "KclusterPreemptions",
        f"increase({selector(PREEMPTIONS, **_of(serve))}[10m]) > 1",
        "5m",
        "warning",
        "{{ $labels.serve }}, replica {{ $labels.replica }}, preempts requests",
        "The KV cache does not hold what runs: preempted requests compute their prompt again. "
        "Fewer sequences (max_num_seqs), shorter contexts, or more KV.",
        (),
        ((_series(PREEMPTIONS, serve), "0+1x200", "0x200"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _waiting(serve: ServePlan, most: float | None) -> Alert:
    limit = most if most is not None else max(1.0, round(serve.chosen.limits.max_num_seqs * WAITING_SHARE))
    return Alert(
        "KclusterRequestsWaiting",
        f"avg_over_time({selector(WAITING, **_of(serve))}[5m]) > {number(limit)}",
        "5m",
        "warning",
        "requests wait at {{ $labels.serve }}, replica {{ $labels.replica }}",
        f"More than {limit:g} for ten minutes, where a replica runs {serve.chosen.limits.max_num_seqs} at a time: "
        "the load is above what was planned, or the KV cache is full.",
        (),
        ((_series(WAITING, serve), f"{number(limit + 1)}x200", f"{number(limit)}x200"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _share_of(percentile: str) -> float:
    """`p50` → 0.5. What the SLA's bounds mean; other words mean the median."""
    digits = percentile.removeprefix("p")
    return float(digits) / 100 if digits.replace(".", "", 1).isdigit() else 0.5


def _slow(serve: ServePlan) -> Iterator[Alert]:
    """Latency bounds of the SLA, each at the engine's next histogram bound."""
    sla = serve.serve.sla
    if sla is None:
        return
    share = _share_of(sla.percentile.value)
    for bound in sla.bounds:
        value = bound.value.value
        if bound.name == "ttft":
            yield from _slower(serve, "KclusterFirstTokenSlow", "the first token", TTFT, TTFT_BOUNDS, value, share)
        elif bound.name == "itl":
            yield from _slower(serve, "KclusterTokensSlow", "the next token", ITL, ITL_BOUNDS, value, share)
        elif bound.name == "answer":
            yield from _slower(serve, "KclusterAnswersSlow", "the whole answer", ANSWER, ANSWER_BOUNDS, value, share)
        elif bound.name == "tokens_per_second" and sla.bound("itl") is None and value > 0:
            yield from _slower(serve, "KclusterTokensSlow", "the next token", ITL, ITL_BOUNDS, 1 / value, share)


def _slower(
    serve: ServePlan, name: str, what: str, metric: str, bounds: tuple[float, ...], value: float, share: float
) -> Iterator[Alert]:
    bound = bound_above(bounds, value)
    if bound is None:
        return
    within = selector(f"{metric}_bucket", **_of(serve), le=number(bound))
    every = selector(f"{metric}_count", **_of(serve))
    asked = f"{human(value, 's')} for {share:.0%} of requests"
    # 100 requests a step, of which a little fewer or a little more than the share are within the bound.
    few, many = max(0, round(share * 100) - 2), min(100, round(share * 100) + 2)
    yield Alert(
        name,
        f"sum by (serve) (rate({within}[5m])) / sum by (serve) (rate({every}[5m])) < {number(share)}",
        "5m",
        "warning",
        "{{ $labels.serve }} is slow: " + what,
        f"Asked is {asked}; the engine counts at {human(bound, 's')}, and fewer are within it.",
        (),
        (
            (_series(f"{metric}_bucket", serve, le=number(bound)), f"0+{few}x200", f"0+{many}x200"),
            (_series(f"{metric}_count", serve), "0+100x200", "0+100x200"),
        ),
        (("serve", serve.name),),
    )


def _errors(plan: Plan, serve: ServePlan, share: float) -> Alert:
    """Answers with a 5xx, at the router where it counts them, else at the engine (NGINX counts nothing: its log has them)."""
    front = front_of(plan, serve)
    if front is not None and front.kind == "haproxy":
        backend = backend_name(serve.name)
        total = selector("haproxy_backend_http_responses_total", job="kcluster-haproxy", proxy=backend)
        failed = selector("haproxy_backend_http_responses_total", job="kcluster-haproxy", proxy=backend, code="5xx")
        series = "haproxy_backend_http_responses_total"
        bad = selector(series, job="kcluster-haproxy", proxy=backend, code="5xx")
        good = selector(series, job="kcluster-haproxy", proxy=backend, code="2xx")
    else:
        total = selector(HTTP_REQUESTS, **_of(serve))
        failed = total[:-1] + ',status=~"5.."}'
        bad = _series(HTTP_REQUESTS, serve, status="5xx")
        good = _series(HTTP_REQUESTS, serve, status="2xx")
    percent = round(share * 100)
    return Alert(
        "KclusterServerErrors",
        f"sum(rate({failed}[5m])) / sum(rate({total}[5m])) > {number(share)}",
        "5m",
        "critical",
        f"answers fail at {_plain(serve.name)}",
        f"More than {share:.0%} of the answers are a 5xx. Look at the engine's log, and whether its replicas answer /health.",
        (("serve", serve.name),),
        ((bad, f"0+{percent + 2}x200", "0x200"), (good, f"0+{100 - percent}x200", "0+100x200")),
        (),
    )


def _plain(text: str) -> str:
    """A name without what Prometheus' templates would read."""
    return text.replace("{", "").replace("}", "")
