"""Alerts with thresholds from the SLA and the plan, and for each a test that it fires just above and is silent just below."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.spec.types import SlaSpec
from kcluster.targets.haproxy import backend_name
from kcluster.targets.monitoring.metrics import (
    Histogram,
    Metrics,
    Outcomes,
    bound_above,
    bound_matcher,
    metrics_of,
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

ANSWERS: Final = 10_000
"""Answers a step in the test of their failures: fine enough for a threshold of a hundredth of a percent."""

STEP: Final = "1m"
"""Between samples of a test: what is asked for is over five minutes or more."""


@frozen
class Alert:
    """One alert. `series` are the synthetic series of its test: (name with labels, firing values, silent values) in
    Prometheus' notation, STEP apart."""

    name: str
    serve: str
    expression: str
    for_: str
    severity: str
    summary: str
    description: str
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
        found = alerts_of(plan, serve)
        cases.append(_case(found, firing=True))
        cases.append(_case(found, firing=False))
    return {"rule_files": ["alerts.yml"], "evaluation_interval": STEP, "tests": cases}


def alerts_of(plan: Plan, serve: ServePlan) -> tuple[Alert, ...]:
    """Every alert of one serve, what stops it first."""
    thresholds = {name: value.value for name, value in serve.serve.monitor.thresholds}
    metrics = metrics_of(serve)
    return (
        _down(serve, metrics),
        *(_kv_full(serve, metrics.kv_usage, thresholds.get("kv_usage", KV_FULL)) if metrics.kv_usage else ()),
        *((_preemptions(serve, metrics.preemptions),) if metrics.preemptions else ()),
        *((_waiting(serve, metrics.waiting),) if metrics.waiting else ()),
        *_slow(serve, metrics, thresholds),
        *_errors(plan, serve, metrics.outcomes, thresholds.get("errors", SERVER_ERRORS)),
    )


def _rule(alert: Alert) -> Yaml:
    return {
        "alert": alert.name,
        "expr": alert.expression,
        "for": alert.for_,
        # With its serve's name: two serves' rules are not the same rule twice.
        "labels": {"severity": alert.severity, "serve": _template(alert.serve)},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }


def _case(found: tuple[Alert, ...], *, firing: bool) -> Yaml:
    """All alerts of a serve at once, whose series are apart: a case costs promtool a database of its own."""
    return {
        "interval": STEP,
        "input_series": [
            {"series": name, "values": high if firing else low} for alert in found for name, high, low in alert.series
        ],
        "alert_rule_test": [
            {"eval_time": "30m", "alertname": alert.name, "exp_alerts": [_fired(alert)] if firing else []}
            for alert in found
        ],
    }


def _fired(alert: Alert) -> Yaml:
    labels = {**dict(alert.seen), "severity": alert.severity, "serve": alert.serve}
    return {
        "exp_labels": labels,
        "exp_annotations": {
            "summary": _filled(alert.summary, labels),
            "description": _filled(alert.description, labels),
        },
    }


def _filled(text: str, labels: dict[str, str]) -> str:
    """A text with `{{ $labels.name }}` filled in and escapes undone, as Prometheus does."""
    return re.sub(
        r'\{\{ (?:\$labels\.(\w+)|"(\{\{)") \}\}',
        lambda found: found[2] or labels.get(found[1], ""),
        text,
    )


def _template(text: str) -> str:
    """A text of the spec as Prometheus' templates show it: what would start one is written as a string of theirs."""
    return text.replace("{{", '{{ "{{" }}')


def _of(serve: ServePlan) -> dict[str, str]:
    return {"job": "kcluster", "serve": serve.name}


def _series(metric: str, serve: ServePlan, **labels: str) -> str:
    return selector(metric, **_of(serve), replica="0", **labels)


def _down(serve: ServePlan, metrics: Metrics) -> Alert:
    return Alert(
        "KclusterReplicaDown",
        serve.name,
        f"{selector('up', **_of(serve))} == 0",
        "1m",
        "critical",
        "replica {{ $labels.replica }} of {{ $labels.serve }} does not answer",
        f"Its {metrics.path} has not answered for a minute. The router sends it nothing once connections are refused.",
        ((_series("up", serve), "0x40", "1x40"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _kv_full(serve: ServePlan, metric: str, share: float) -> Iterator[Alert]:
    if share >= 1:
        return  # nothing is above it
    above, below = share + (1 - share) / 100, share * 0.99
    yield Alert(
        "KclusterKvCacheFull",
        serve.name,
        f"avg_over_time({selector(metric, **_of(serve))}[5m]) > {number(share)}",
        "5m",
        "warning",
        "the KV cache of {{ $labels.serve }}, replica {{ $labels.replica }}, is nearly full",
        f"Over {share:.0%} for ten minutes: new requests wait, and running ones may be preempted. "
        f"The plan holds {human(serve.chosen.memory.kv_tokens.value, 'tokens') if serve.chosen.memory else 'it all'}.",
        ((_series(metric, serve), f"{number(above)}x40", f"{number(below)}x40"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _preemptions(serve: ServePlan, metric: str) -> Alert:
    return Alert(
        "KclusterPreemptions",
        serve.name,
        f"increase({selector(metric, **_of(serve))}[10m]) > 1",
        "5m",
        "warning",
        "{{ $labels.serve }}, replica {{ $labels.replica }}, preempts requests",
        "The KV cache does not hold what runs: preempted requests compute their prompt again. "
        "Fewer sequences (max_num_seqs), shorter contexts, or more KV.",
        ((_series(metric, serve), "0+1x40", "0x40"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _waiting(serve: ServePlan, metric: str) -> Alert:
    limit = max(1.0, round(serve.chosen.limits.max_num_seqs * WAITING_SHARE))
    return Alert(
        "KclusterRequestsWaiting",
        serve.name,
        f"avg_over_time({selector(metric, **_of(serve))}[5m]) > {number(limit)}",
        "5m",
        "warning",
        "requests wait at {{ $labels.serve }}, replica {{ $labels.replica }}",
        f"More than {limit:g} for ten minutes, where a replica runs {serve.chosen.limits.max_num_seqs} at a time: "
        "the load is above what was planned, or the KV cache is full.",
        ((_series(metric, serve), f"{number(limit + 1)}x40", f"{number(limit)}x40"),),
        (*_of(serve).items(), ("replica", "0")),
    )


def _share_of(percentile: str) -> float:
    """`p50` → 0.5. What the SLA's bounds mean; other words mean the median."""
    digits = percentile.removeprefix("p")
    return float(digits) / 100 if digits.replace(".", "", 1).isdigit() else 0.5


def _slow(serve: ServePlan, metrics: Metrics, written: dict[str, float]) -> Iterator[Alert]:
    """Waits that are bounded, by the spec's `monitor` or else by the SLA, each at the engine's next histogram bound."""
    sla = serve.serve.sla
    share = _share_of(sla.percentile.value) if sla is not None else 0.5
    if share <= 0:
        return  # no answer is asked to be within anything
    asked = {**(_asked(sla) if sla is not None else {}), **written}
    for bound, name, what, histogram in (
        ("ttft", "KclusterFirstTokenSlow", "the first token", metrics.ttft),
        ("itl", "KclusterTokensSlow", "the next token", metrics.itl),
        ("answer", "KclusterAnswersSlow", "the whole answer", metrics.answer),
        ("queue", "KclusterQueueSlow", "the wait before prefill", metrics.queue),
    ):
        if bound in asked and histogram is not None:
            yield from _slower(serve, metrics, name, what, histogram, asked[bound], share)


def _asked(sla: SlaSpec) -> dict[str, float]:
    """The SLA's bounds on waits in seconds; tokens a second are so many seconds between two, unless those have a bound."""
    found = {bound.name: bound.value.value for bound in sla.bounds}
    speed = found.pop("tokens_per_second", 0.0)
    if speed > 0:
        found.setdefault("itl", 1 / speed)
    return {str(name): value for name, value in found.items()}


def _slower(
    serve: ServePlan, metrics: Metrics, name: str, what: str, histogram: Histogram, value: float, share: float
) -> Iterator[Alert]:
    bound = bound_above(histogram.bounds, value)
    if bound is None:
        return
    within = selector(f"{histogram.name}_bucket", bound_matcher(metrics, bound), **_of(serve))
    every = selector(f"{histogram.name}_count", **_of(serve))
    asked = f"{human(value, 's')} for {share:.0%} of requests"
    # 100 requests a step, of which a little fewer or a little more than the share are within the bound.
    few, many = max(0, round(share * 100) - 2), min(100, round(share * 100) + 2)
    written = number(bound).removesuffix(".0") if metrics.whole_bounds else number(bound)
    yield Alert(
        name,
        serve.name,
        f"sum by (serve) (rate({within}[5m])) / sum by (serve) (rate({every}[5m])) < {number(share)}",
        "5m",
        "warning",
        "{{ $labels.serve }} is slow: " + what,
        f"Asked is {asked}; the engine counts at {human(bound, 's')}, and fewer are within it.",
        (
            (_series(f"{histogram.name}_bucket", serve, le=written), f"0+{few}x40", f"0+{many}x40"),
            (_series(f"{histogram.name}_count", serve), "0+100x40", "0+100x40"),
        ),
        (),
    )


def _errors(plan: Plan, serve: ServePlan, outcomes: Outcomes | None, share: float) -> Iterator[Alert]:
    """Answers that fail, at the router where it counts them, else at the engine (NGINX counts nothing: its log has them)."""
    if share >= 1:
        return  # nothing is above it
    front = front_of(plan, serve)
    labels = _of(serve)
    if front is not None and front.kind == "haproxy":
        counter = "haproxy_backend_http_responses_total"
        outcomes = Outcomes(counter, (counter,), "code", "5xx", "2xx")
        labels = {"job": "kcluster-haproxy", "proxy": backend_name(serve.name)}
    if outcomes is None:
        return  # nobody counts them
    status = outcomes.status
    matcher = f'{status}=~"5.."' if status else ""
    failed = f"sum(rate({selector(outcomes.failed, matcher, **labels)}[5m]))"
    total = " + ".join(f"sum(rate({selector(counter, **labels)}[5m]))" for counter in outcomes.total)
    # Answers a step: one failure more, and one less, than the share of them.
    above, below = math.floor(share * ANSWERS) + 1, max(0, math.ceil(share * ANSWERS) - 1)
    bad = selector(outcomes.failed, **labels, **({status: outcomes.bad} if status else {}))
    good = selector(outcomes.total[0], **labels, **({status: outcomes.good} if status else {}))
    yield Alert(
        "KclusterServerErrors",
        serve.name,
        f"{failed} / ({total}) > {number(share)}",
        "5m",
        "critical",
        f"answers of {_template(serve.name)} fail",
        f"More than {share:.0%} of the answers are {'a 5xx' if status else 'failures'}. "
        "Look at the engine's log, and whether its replicas answer /health.",
        (
            (bad, f"0+{above}x40", f"0+{below}x40"),
            (good, f"0+{ANSWERS - above}x40", f"0+{ANSWERS - below}x40"),
        ),
        (),
    )
