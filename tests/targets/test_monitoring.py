"""Prometheus, alerts and dashboard: what Prometheus' own tool says of them, and what the plan says is in them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from syrupy.assertion import SnapshotAssertion

from kcluster.physics.cut import Cut
from kcluster.pipeline import check_source
from kcluster.planner.types import Plan, ServePlan
from kcluster.source import Source
from kcluster.spec.types import Bound, MonitorSpec, RouterSpec, SlaSpec
from kcluster.targets import emit
from kcluster.targets.monitoring.metrics import bound_above, metrics_of
from tests.support.compiled import tool
from tests.targets import factory
from tests.targets.factory import HERE, SOURCE, default, plan, serve_plan, written

DATA = Path(__file__).parent.parent / "data" / "engine"
HOSTILE = (
    'a"} or vector(1) or x{a="',
    "{{ evil }}",
    "$x ${y} %(z)s",
    "back\\slash",
    "a: b\n- c",
    "{{{ .Labels }}}",
    '{{ "{{" }}',
)


def sla(percentile: str = "p50", **bounds: float) -> SlaSpec:
    """An SLA with bounds in seconds, or tokens a second."""
    found = tuple(
        Bound(name, ">=" if name in ("throughput", "tokens_per_second") else "<=", written(value))  # type: ignore[arg-type]
        for name, value in bounds.items()
    )
    return SlaSpec(
        "s", written(12), written(8192), written(2048), written(500), default(0.0), written(percentile), None, found, HERE, HERE,
        SOURCE,
    )  # fmt: skip


def serve(
    name: str = "chat",
    engine: str = "vllm",
    version: tuple[int, ...] = (0, 33),
    monitor: Any = None,
    asked: Any = None,
    **more: Any,
) -> ServePlan:
    from kcluster.values import evolve

    found = serve_plan(
        name,
        cut=Cut(tp=4, replicas=2),
        hosts=("10.0.0.11", "10.0.0.12"),
        version=version,
        network=factory.ETHERNET,
        **more,
    )
    spec = evolve(
        found.serve,
        engine=evolve(found.serve.engine, name=written(engine)),
        sla=asked or sla(ttft=3.0, itl=0.04, answer=25.0, throughput=300.0),
        monitor=monitor or MonitorSpec(True, None, None),
    )
    return evolve(found, serve=spec)


def thresholds(**values: float) -> MonitorSpec:
    return MonitorSpec(True, None, None, tuple((name, written(value)) for name, value in values.items()))


def haproxy() -> RouterSpec:
    return RouterSpec(written("haproxy"), "", None, None, None, None, None, None, None, None, HERE, HERE, SOURCE)


PLANS: dict[str, Plan] = {
    "vllm-0.33": plan(serve()),
    "vllm-0.11": plan(serve(version=(0, 11))),
    "vllm-0.8": plan(serve(version=(0, 8, 5))),
    "sglang": plan(serve(engine="sglang", version=(0, 5, 23))),
    "trtllm": plan(serve(engine="trtllm", version=(1, 3))),
    "trtllm-1.2": plan(serve(engine="trtllm", version=(1, 2))),
    "triton": plan(serve(engine="triton", version=(25, 10), asked=sla(ttft=0.9, itl=0.7, answer=12.0))),
    "haproxy": plan(serve(serve={"router": haproxy()})),
    "p99": plan(serve(asked=sla("p99", ttft=0.26, tokens_per_second=20.0))),
    "p99.9": plan(serve(asked=sla("p99.9", itl=0.0101))),
    "out of reach": plan(serve(asked=sla(ttft=9999.0))),
    "thresholds": plan(serve(monitor=thresholds(kv_usage=0.8, errors=0.002, queue=0.9, ttft=0.2, itl=0.3))),
    "widest": plan(serve(monitor=thresholds(kv_usage=0.995, errors=0.985))),
    "two": plan(serve(), serve("docs", version=(0, 11))),
    "hostile": plan(*(serve(name) for name in HOSTILE)),
    "hostile haproxy": plan(*(serve(name, serve={"router": haproxy()}) for name in HOSTILE)),
}


def spec(name: str) -> Plan:
    path = Path(__file__).parents[2] / "specs" / f"{name}.kcluster"
    found = check_source(Source(path.name, path.read_text()), folder=path.parent).plan
    assert found is not None
    return found


def monitoring(found: Plan) -> dict[str, str]:
    return {one.path.removeprefix("monitoring/"): one.text for one in emit(found, ("monitoring",)) if "/" in one.path}


def alerts(text: str) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]}


def promtool(*words: str | Path, expect: int = 0) -> str:
    # Its databases, one a case, wait for the disk otherwise.
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}
    done = subprocess.run(
        [tool("promtool", "prometheus"), *map(str, words)], check=False, capture_output=True, text=True, timeout=300,
        env={**os.environ, **memory},
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == expect, said
    return said


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of every plan and of some real specs, a folder each."""
    top = tmp_path_factory.mktemp("monitoring")
    found = {}
    real = {f"specs/{name}": spec(name) for name in ("recipe-a", "eight-5090", "two-boxes")}
    for number, (name, one) in enumerate({**PLANS, **real}.items()):
        found[name] = top / str(number)
        found[name].mkdir()
        for path, text in monitoring(one).items():
            (found[name] / path).write_text(text)
    return found


def test_prometheus_takes_its_configuration_and_the_rules(folders: dict[str, Path]) -> None:
    promtool(
        "check", "config", "--lint=all", "--lint-fatal", *(folder / "prometheus.yml" for folder in folders.values())
    )
    said = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", *(folder / "alerts.yml" for folder in folders.values())
    )
    assert said.count("SUCCESS") == len(folders)


def test_every_alert_fires_just_above_its_threshold_and_not_just_below(folders: dict[str, Path]) -> None:
    said = promtool("test", "rules", *(folder / "alerts_test.yml" for folder in folders.values()))
    assert said.count("SUCCESS") == len(folders)
    for folder in folders.values():
        tests = yaml.safe_load((folder / "alerts_test.yml").read_text())["tests"]
        tried = [(one["alertname"], bool(one["exp_alerts"])) for test in tests for one in test["alert_rule_test"]]
        names = alerts((folder / "alerts.yml").read_text())
        assert {*tried} == {(name, fires) for name in names for fires in (True, False)}


@pytest.mark.parametrize(
    ("change", "told"), [((r"([<>=]+) [-\d.e]+$", r"\1 1000000"), "not fire"), ((r"^(.*)$", r"vector(1)"), "fire")]
)
def test_the_tests_see_a_rule_that_is_wrong(
    change: tuple[str, str], told: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """With its threshold out of reach, or always true, every alert fails its own test."""
    rules = yaml.safe_load((folders["p99"] / "alerts.yml").read_text())
    for rule in rules["groups"][0]["rules"]:
        if told == "not fire" and rule["expr"].rstrip("0123456789.- ").endswith("<"):
            rule["expr"] = re.sub(r"< .*$", "< -1", rule["expr"])
        else:
            rule["expr"] = re.sub(*change, rule["expr"])
    (tmp_path / "alerts.yml").write_text(yaml.safe_dump(rules))
    (tmp_path / "alerts_test.yml").write_text((folders["p99"] / "alerts_test.yml").read_text())
    said = promtool("test", "rules", tmp_path / "alerts_test.yml", expect=1)
    assert {*re.findall(r"alertname: ?(\w+)", said)} == {*alerts((tmp_path / "alerts.yml").read_text())}


def test_thresholds_by_hand() -> None:
    """The bounds of the SLA at the next bound of the engine's histogram: 3 s → 5 s, 40 ms → 50 ms, 25 s → 30 s; 16 sequences
    at a time, of which a tenth is 2; the median is half of the requests."""
    rules = alerts(monitoring(PLANS["vllm-0.33"])["alerts.yml"])
    of = 'job="kcluster",serve="chat"'
    assert {name: rule["expr"] for name, rule in rules.items()} == {
        "KclusterReplicaDown": f"up{{{of}}} == 0",
        "KclusterKvCacheFull": f"avg_over_time(vllm:kv_cache_usage_perc{{{of}}}[5m]) > 0.9",
        "KclusterPreemptions": f"increase(vllm:num_preemptions_total{{{of}}}[10m]) > 1",
        "KclusterRequestsWaiting": f"avg_over_time(vllm:num_requests_waiting{{{of}}}[5m]) > 2.0",
        "KclusterFirstTokenSlow": f'sum by (serve) (rate(vllm:time_to_first_token_seconds_bucket{{{of},le="5.0"}}[5m]))'
        f" / sum by (serve) (rate(vllm:time_to_first_token_seconds_count{{{of}}}[5m])) < 0.5",
        "KclusterTokensSlow": f'sum by (serve) (rate(vllm:inter_token_latency_seconds_bucket{{{of},le="0.05"}}[5m]))'
        f" / sum by (serve) (rate(vllm:inter_token_latency_seconds_count{{{of}}}[5m])) < 0.5",
        "KclusterAnswersSlow": f'sum by (serve) (rate(vllm:e2e_request_latency_seconds_bucket{{{of},le="30.0"}}[5m]))'
        f" / sum by (serve) (rate(vllm:e2e_request_latency_seconds_count{{{of}}}[5m])) < 0.5",
        "KclusterServerErrors": f'sum(rate(http_requests_total{{{of},status=~"5.."}}[5m]))'
        f" / (sum(rate(http_requests_total{{{of}}}[5m]))) > 0.01",
    }  # fmt: skip
    # 20 tokens a second are 50 ms each, which is a bound itself; 0.26 s is between 0.25 and 0.5.
    rules = alerts(monitoring(PLANS["p99"])["alerts.yml"])
    assert 'le="0.05"' in rules["KclusterTokensSlow"]["expr"] and rules["KclusterTokensSlow"]["expr"].endswith("< 0.99")
    assert 'le="0.5"' in rules["KclusterFirstTokenSlow"]["expr"]
    assert 'le="0.025"' in alerts(monitoring(PLANS["p99.9"])["alerts.yml"])["KclusterTokensSlow"]["expr"]
    # A bound above the histogram's last one cannot be counted against.
    assert "KclusterFirstTokenSlow" not in alerts(monitoring(PLANS["out of reach"])["alerts.yml"])
    written_ = alerts(monitoring(PLANS["thresholds"])["alerts.yml"])
    assert [written_[f"Kcluster{name}"]["expr"].rpartition(" ")[2] for name in ("KvCacheFull", "ServerErrors")] == [
        "0.8", "0.002",
    ]  # fmt: skip
    # The spec's `monitor` before the SLA: 0.9 s → 1 s, 0.2 s → 0.25 s; 0.3 s is a bound.
    for name, bound in (
        ("QueueSlow", "1.0"),
        ("FirstTokenSlow", "0.25"),
        ("TokensSlow", "0.3"),
        ("AnswersSlow", "30.0"),
    ):
        assert f'le="{bound}"' in written_[f"Kcluster{name}"]["expr"]
    off = alerts(monitoring(plan(serve(monitor=thresholds(kv_usage=1.0, errors=1.0))))["alerts.yml"])
    assert not {"KclusterKvCacheFull", "KclusterServerErrors"} & off.keys()


@pytest.mark.parametrize(
    ("engine", "flag", "value", "bounds"),
    [
        ("vllm", "--custom-histogram-buckets", '{"time_to_first_token": [0.5, 3.2, 4], "request_latency": [1, 60]}', ("3.2", "60.0")),
        ("vllm", "--custom_histogram_buckets", '{"time_to_first_token": [0.5]}', (None, "30.0")),
        ("vllm", "--custom-histogram-buckets", '{"time_to_first_token": "all"', ("5.0", "30.0")),
        ("vllm", "--custom-histogram-buckets", "[[1]]", ("5.0", "30.0")),
        ("sglang", "--bucket-time-to-first-token", (3.5, 7.0), ("3.5", "40.0")),
    ],
)  # fmt: skip
def test_bounds_that_a_raw_flag_sets(engine: str, flag: str, value: Any, bounds: tuple[str | None, str]) -> None:
    """3 s and 25 s are counted at the engine's next bound, which is another one where the spec passes its own."""
    from kcluster.values import evolve

    found = serve(engine=engine)
    spec = evolve(found.serve, engine=evolve(found.serve.engine, args=((written(flag), written(value)),)))
    rules = alerts(monitoring(plan(evolve(found, serve=spec)))["alerts.yml"])
    for name, bound in zip(("KclusterFirstTokenSlow", "KclusterAnswersSlow"), bounds, strict=True):
        assert (f'le="{bound}"' in rules[name]["expr"]) if bound else name not in rules


def test_bound_above() -> None:
    assert bound_above((0.1, 0.25), 0.1) == 0.1
    assert bound_above((0.1, 0.25), 0.11) == 0.25
    assert bound_above((0.1, 0.25), 0.26) is None


def exposed(text: str) -> dict[str, set[str]]:
    """Names in an engine's /metrics with the bounds of each histogram."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("{")
            bound = re.search(r'\ble="([^"]*)"', rest)
            found.setdefault(name.split(" ")[0], set()).update([bound[1]] if bound else [])
    return found


def test_the_names_and_bounds_are_those_of_a_real_engine() -> None:
    """Every metric that the files of vLLM 0.32 and later speak of is among those that a real 0.32 exposed."""
    real = exposed((DATA / "vllm-0.32.0-metrics.txt").read_text())
    metrics = metrics_of(serve(version=(0, 32)))
    for histogram in filter(None, (metrics.ttft, metrics.itl, metrics.answer, metrics.queue)):
        bounds = {str(bound) for bound in histogram.bounds}
        assert real[f"{histogram.name}_bucket"] == bounds | {"+Inf"}
    asked = set(re.findall(r"\b(?:vllm:|http_)\w+", "".join(monitoring(PLANS["vllm-0.33"]).values())))
    assert len(asked) > 12 and asked <= real.keys(), asked - real.keys()


def test_names_by_version_and_engine() -> None:
    """Another engine's or version's names are in no file: an alert on a metric that is not there never fires."""
    said = {name: "".join(monitoring(found).values()) for name, found in PLANS.items()}
    assert "vllm:kv_cache_usage_perc" in said["vllm-0.11"] and "vllm:gpu_cache_usage_perc" not in said["vllm-0.11"]
    assert "vllm:gpu_cache_usage_perc" in said["vllm-0.8"] and "kv_cache_usage_perc" not in said["vllm-0.8"]
    assert "vllm:time_per_output_token_seconds" in said["vllm-0.8"] and "inter_token_latency" not in said["vllm-0.8"]
    for engine in ("sglang", "trtllm"):
        assert "vllm:" not in said[engine] and "http_requests_total" not in said[engine]
    assert "sglang:token_usage" in said["sglang"] and "trtllm_kv_cache_utilization" in said["trtllm"]
    assert "KclusterPreemptions" in said["sglang"] and "KclusterPreemptions" not in said["trtllm"]
    # What an engine does not count has neither an alert nor a panel.
    waits = {"KclusterReplicaDown", "KclusterFirstTokenSlow", "KclusterTokensSlow", "KclusterAnswersSlow"}
    assert set(alerts(monitoring(PLANS["trtllm-1.2"])["alerts.yml"])) == waits
    assert set(alerts(monitoring(PLANS["triton"])["alerts.yml"])) == {*waits, "KclusterServerErrors"}
    for name in ("trtllm-1.2", "triton"):
        assert not re.search(r"trtllm_|cache_usage|num_requests|queue_time", said[name])
    # Triton's library writes whole bounds without a point.
    assert 'le=~"1([.]0)?"' in alerts(monitoring(PLANS["triton"])["alerts.yml"])["KclusterFirstTokenSlow"]["expr"]
    assert 'le=~"15([.]0)?"' in alerts(monitoring(PLANS["triton"])["alerts.yml"])["KclusterAnswersSlow"]["expr"]
    assert "haproxy_backend_http_responses_total" in said["haproxy"] and "http_requests_total{" not in said["haproxy"]


def test_prometheus_asks_every_replica_by_its_path() -> None:
    found = yaml.safe_load(monitoring(PLANS["haproxy"])["prometheus.yml"])["scrape_configs"]
    assert [(job["job_name"], [one["targets"] for one in job["static_configs"]]) for job in found] == [
        ("kcluster", [["127.0.0.1:8000"], ["10.0.0.12:8001"]]),
        ("kcluster-haproxy", [["127.0.0.1:8404"]]),
    ]
    trtllm = yaml.safe_load(monitoring(PLANS["trtllm"])["prometheus.yml"])["scrape_configs"][0]["static_configs"]
    assert [one["labels"]["__metrics_path__"] for one in trtllm] == ["/prometheus/metrics"] * 2


def test_off_and_pods() -> None:
    assert not monitoring(plan(serve(monitor=MonitorSpec(False, None, None))))
    # A Prometheus operator finds pods by their monitors; alerts and dashboard are the same.
    pods = plan(serve(serve={"runtime": written("kubernetes")}))
    assert {*monitoring(pods)} == {"alerts.yml", "alerts_test.yml", "grafana.json"}


def panels(found: Plan) -> list[dict[str, Any]]:
    return json.loads(monitoring(found)["grafana.json"])["panels"]  # type: ignore[no-any-return]


def expressions(found: Plan) -> Iterator[str]:
    for panel in panels(found):
        for target in panel["targets"]:
            yield target["expr"]


@pytest.mark.parametrize("name", PLANS)
def test_the_dashboard_as_grafana_reads_it(name: str) -> None:
    found = json.loads(monitoring(PLANS[name])["grafana.json"])
    assert found["uid"].isascii() and len(found["uid"]) <= 40
    assert found["schemaVersion"] == 36 and found["title"]
    (variable,) = found["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    taken: set[tuple[int, int]] = set()
    assert [panel["id"] for panel in found["panels"]] == list(range(1, len(found["panels"]) + 1))
    for panel in found["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells
        assert panel["type"] == "timeseries" and panel["title"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        ids = [target["refId"] for target in panel["targets"]]
        assert ids and len(ids) == len(set(ids))
        assert all(
            target["datasource"] == panel["datasource"] and target["legendFormat"] for target in panel["targets"]
        )


def test_every_expression_of_the_dashboards_is_promql(tmp_path: Path) -> None:
    texts = sorted({one.replace("$__rate_interval", "1m") for found in PLANS.values() for one in expressions(found)})
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(texts)]
    place = tmp_path / "panels.yml"
    place.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(texts)} rules found" in promtool("check", "rules", place)
    rules[0]["expr"] = "sum("
    place.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert "parse error" in promtool("check", "rules", place, expect=1)


def test_the_dashboard_shows_kv_first_and_the_plan_beside_what_is_measured() -> None:
    shown = panels(PLANS["vllm-0.33"])
    assert [panel["title"] for panel in shown] == [
        f"chat: {title}"
        for title in (
            "KV usage", "preemptions a minute", "requests running and waiting", "time to first token", "time between tokens",
            "output tokens a second", "prefix cache hits", "replicas up",
        )
    ]  # fmt: skip
    lines = {panel["title"]: {t["legendFormat"]: t["expr"] for t in panel["targets"]} for panel in shown}
    first = lines["chat: time to first token"]
    # The prediction and range of tests/targets/factory.py, and the SLA's bound.
    assert {key: first[key] for key in first if key not in ("median", "p95")} == {
        "plan": "0.9", "plan, low": "0.5", "plan, high": "1.6", "asked <=": "3",
    }  # fmt: skip
    assert (
        lines["chat: output tokens a second"]["plan"] == "330"
        and lines["chat: output tokens a second"]["asked >="] == "300"
    )
    assert lines["chat: time between tokens"]["plan"] == "0.034"
    assert lines["chat: requests running and waiting"]["planned in flight"] == "12.0"
    assert lines["chat: replicas up"]["planned"] == "2.0"
    # Two specs do not take each other's place in Grafana.
    from kcluster.values import evolve

    other = evolve(PLANS["two"], spec=evolve(PLANS["two"].spec, source=Source("other.kcluster", SOURCE.text)))
    one, two = (json.loads(monitoring(found)["grafana.json"]) for found in (PLANS["two"], other))
    assert one["uid"] != two["uid"] and one["title"] != two["title"]


@pytest.mark.parametrize("name", ["recipe-a", "deepseek-2x8-h200", "two-boxes"])
def test_lines_of_the_dashboard_are_the_figures_of_the_plan(name: str) -> None:
    """What Grafana shows as planned and asked is what `plan.toml` holds beside it."""
    found = {one.path: one.text for one in emit(spec(name), ("monitoring",))}
    serves = {serve["name"]: serve for serve in tomllib.loads(found["plan.toml"])["serves"]}
    shown = json.loads(found["monitoring/grafana.json"])["panels"]
    held = 0
    for panel in shown:
        of, _, title = panel["title"].partition(": ")
        lines = {target["legendFormat"]: target["expr"] for target in panel["targets"]}
        keys = {"time to first token": ("ttft_s", "ttft"), "time between tokens": ("itl_s", "itl"),
                "output tokens a second": ("output_tokens_per_second", "throughput")}  # fmt: skip
        if title not in keys:
            continue
        key, bound = keys[title]
        planned = serves[of]["performance"][key]
        wanted = {"plan": planned["value"], "plan, low": planned["low"], "plan, high": planned["high"]}
        for row in serves[of].get("sla", ()):
            if row["bound"] == bound:
                wanted[f"asked {row['operator']}"] = row["target"]
        assert {legend: float(expr) for legend, expr in lines.items() if legend[:4] in ("plan", "aske")} == wanted
        held += len(wanted)
    assert held >= 9 * len(serves)


@pytest.mark.parametrize("name", ["vllm-0.33", "sglang"])
def test_files(name: str, snapshot: SnapshotAssertion) -> None:
    found = monitoring(PLANS[name])
    assert {path: found[path] for path in ("prometheus.yml", "alerts.yml")} == snapshot
