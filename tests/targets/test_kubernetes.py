"""Manifests, as Kubernetes and the custom resources' own schemas take them, and the flags in them as the engine does."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kcluster.physics.cut import Cut
from kcluster.planner.types import EnginePorts, Plan
from kcluster.source import Span
from kcluster.spec.types import KubernetesSpec, RouterSpec, Secret
from kcluster.targets import emit
from kcluster.targets.kubernetes import shape_of
from kcluster.targets.kubernetes.names import expanded, label
from kcluster.targets.kubernetes.picker import PICKED_BY
from tests.support.compiled import compiled, tool, venv_tool
from tests.support.needed import SHARED, with_shared
from tests.targets import checker, factory
from tests.targets.factory import SOURCE, written
from tests.targets.run import HOSTILE

CRDS = SHARED / "crds"
HERE = Span(0, 1)
TWO = ("10.0.0.11", "10.0.0.12")


def in_kubernetes(*, router: str = "", policy: str = "", claim: str | None = "models", **fields: Any) -> Plan:
    block = KubernetesSpec(written("llm"), None, written(claim) if claim else None, (), HERE)
    front = RouterSpec(
        written(router), "", None, None, written(policy) if policy else None, None, None, None, None, None, HERE, HERE, SOURCE
    ) if router else None  # fmt: skip
    serve = {"runtime": written("kubernetes"), "router": front, **fields.pop("serve", {})}
    fields.setdefault("engine", {"api_key": written(Secret("VLLM_API_KEY"))})
    from kcluster.values import evolve

    made = factory.serve_plan(serve=serve, **fields)
    return factory.plan(evolve(made, serve=evolve(made.serve, kubernetes=block)))


PLANS = {
    "one pod": in_kubernetes(hardware={"model_path": written("/srv/models")}),
    "replicas": in_kubernetes(cut=Cut(tp=4, replicas=2), hosts=TWO, network=factory.ETHERNET),
    "groups": in_kubernetes(
        cut=Cut(tp=4, pp=2, replicas=2), hosts=(*TWO, "10.0.0.13", "10.0.0.14"), distribution="nnodes",
        ports=(EnginePorts(8000, 29501), EnginePorts(8000, 29501)), network=factory.ROCE,
    ),
    "experts": in_kubernetes(
        cut=Cut(dp=8, ep=True), hosts=TWO, distribution="dp", ports=(EnginePorts(8000, dp_rpc=29550),), network=factory.ROCE
    ),
    "hybrid": in_kubernetes(
        cut=Cut(dp=8, ep=True), hosts=TWO, distribution="dp", ports=(EnginePorts(8000, dp_rpc=29550),), network=factory.ROCE,
        parallel={"balance": written("hybrid")},
    ),
    "fetched": in_kubernetes(claim=None, cut=Cut(tp=4, replicas=2), hosts=TWO, network=factory.ETHERNET, router="llm-d", policy="session"),
}  # fmt: skip


def documents(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    return {
        artifact.path: list(yaml.safe_load_all(artifact.text))
        for artifact in emit(plan, ("kubernetes",))
        if artifact.path.startswith("kubernetes/")
    }


def objects(plan: Plan) -> list[dict[str, Any]]:
    """Every object that is applied."""
    return [
        one
        for path, found in documents(plan).items()
        if not path.endswith(("kustomization.yaml", "-config.yaml"))
        for one in found
    ]


def of_kind(plan: Plan, kind: str) -> list[dict[str, Any]]:
    return [one for one in objects(plan) if one["kind"] == kind]


def engine_pods(plan: Plan) -> list[dict[str, Any]]:
    """The pod templates of the engines, leaders first."""
    found = []
    for one in objects(plan):
        if one["kind"] == "LeaderWorkerSet":
            group = one["spec"]["leaderWorkerTemplate"]
            found += [group["leaderTemplate"], group["workerTemplate"]]
        elif one["kind"] == "Deployment" and one["metadata"]["labels"]["app.kubernetes.io/component"] == "engine":
            found.append(one["spec"]["template"])
    return found


def closed(schema: Any) -> Any:
    """A published schema that refuses fields it does not name, as the API server's pruning would drop them in silence."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items()}
    if found.pop("x-kubernetes-int-or-string", False):
        return {"type": ["integer", "string"]}
    named = isinstance(found.get("properties"), dict) and found.get("type") == "object"
    if named and not found.get("x-kubernetes-preserve-unknown-fields"):
        found.setdefault("additionalProperties", False)
    return found


@pytest.fixture(scope="module")
def validators() -> dict[str, Any]:
    found = {}
    for path in CRDS.glob("*.json"):
        crd = json.loads(path.read_text())
        schema = closed(crd["openAPIV3Schema"])
        schema["properties"]["metadata"] = {"type": "object"}
        found[f"{crd['group']}/{crd['version']}/{crd['kind']}"] = jsonschema.Draft202012Validator(schema)
    assert len(found) == 3
    return found


def of_core(one: dict[str, Any]) -> bool:
    return one["apiVersion"].split("/")[0] in (
        "v1", "apps", "policy", "networking.k8s.io", "rbac.authorization.k8s.io",
    )  # fmt: skip


@pytest.mark.parametrize("name", PLANS)
def test_kubernetes_takes_every_object(name: str) -> None:
    import kubernetes_validate

    found = [one for one in objects(PLANS[name]) if of_core(one)]
    assert {"Service", "NetworkPolicy"} <= {one["kind"] for one in found}
    for one in found:
        kubernetes_validate.validate(one, "1.37", strict=True)


@with_shared("crds")
@pytest.mark.parametrize("name", PLANS)
def test_custom_resources_are_of_their_published_schemas(name: str, validators: dict[str, Any]) -> None:
    checked = []
    for one in objects(PLANS[name]):
        key = f"{one['apiVersion']}/{one['kind']}"
        if key in validators:
            checked.append(one["kind"])
            validators[key].validate(one)
        else:
            assert of_core(one) or one["apiVersion"] in ("gateway.networking.k8s.io/v1", "monitoring.coreos.com/v1"), (
                key
            )
    expected = {
        "one pod": [], "replicas": ["InferencePool"], "groups": ["LeaderWorkerSet", "InferencePool"],
        "experts": ["LeaderWorkerSet"], "hybrid": ["LeaderWorkerSet", "InferencePool"], "fetched": ["InferencePool"],
    }  # fmt: skip
    assert checked == expected[name]


@with_shared("crds")
def test_a_wrong_field_would_be_seen(validators: dict[str, Any]) -> None:
    import kubernetes_validate

    (group,) = of_kind(PLANS["groups"], "LeaderWorkerSet")
    spoilt = copy.deepcopy(group)
    spoilt["spec"]["leaderWorkerTemplate"]["sise"] = 2
    with pytest.raises(jsonschema.ValidationError, match="sise"):
        validators["leaderworkerset.x-k8s.io/v1/LeaderWorkerSet"].validate(spoilt)
    (deployment,) = of_kind(PLANS["one pod"], "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.37", strict=True)


@pytest.mark.parametrize("name", PLANS)
def test_kustomize_builds_the_folder(name: str, tmp_path: Path) -> None:
    for artifact in emit(PLANS[name], ("kubernetes",)):
        (tmp_path / artifact.path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / artifact.path).write_text(artifact.text)
    for path, (content, *_) in documents(PLANS[name]).items():
        if path.endswith("kustomization.yaml"):
            folder = (tmp_path / path).parent
            listed = content["resources"] + [
                file.partition("=")[2] for one in content.get("configMapGenerator", []) for file in one["files"]
            ]
            assert all((folder / resource).is_file() for resource in listed)
            beside = {str(p.relative_to(folder)) for p in folder.rglob("*.yaml") if p.name != "kustomization.yaml"}
            assert {*listed} == {p for p in beside if not p.startswith("monitoring/")}
    kubectl = tool("kubectl", "kubernetes-client")
    for folder in ("kubernetes", "kubernetes/monitoring"):
        done = subprocess.run(
            [kubectl, "kustomize", folder], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        built = list(yaml.safe_load_all(done.stdout))
        wanted = [one for path, found in documents(PLANS[name]).items() for one in found if "kind" in one]
        watching = folder != "kubernetes"
        kinds = sorted(
            one["kind"] for one in wanted
            if one["kind"] not in ("Kustomization", "EndpointPickerConfig") and watching == one["kind"].endswith("Monitor")
        )  # fmt: skip
        pooled = not watching and "InferencePool" in kinds
        assert sorted(one["kind"] for one in built) == sorted(kinds + (["ConfigMap"] if pooled else []))
        if pooled:
            (settings,) = [one["metadata"]["name"] for one in built if one["kind"] == "ConfigMap"]
            (mounted,) = [
                volume["configMap"]["name"]
                for one in built if one["kind"] == "Deployment"
                for volume in one["spec"]["template"]["spec"]["volumes"] if "configMap" in volume
            ]  # fmt: skip
            assert mounted == settings != "chat-picker"


@pytest.mark.parametrize("name", PLANS)
def test_yaml_is_as_yamllint_wants_it(name: str, tmp_path: Path) -> None:
    rules = "{extends: default, rules: {line-length: disable, document-start: disable, comments-indentation: disable}}"
    for number, artifact in enumerate(emit(PLANS[name], ("kubernetes",))):
        if artifact.path.endswith(".yaml"):
            (tmp_path / f"{number}.yaml").write_text(artifact.text)
    done = subprocess.run(
        [venv_tool("yamllint"), "--strict", "-d", rules, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout


def kubelet(text: str, env: dict[str, str]) -> str:
    """What the kubelet makes of a text: `$$` is `$`, `$(NAME)` the variable where there is one, and nothing else changes."""
    return re.sub(
        r"\$\$|\$\(([^)]*)\)",
        lambda match: "$" if match[1] is None else env.get(match[1], match[0]),
        text,
    )


def commands(plan: Plan, leader: str = "10.1.0.1") -> Iterator[tuple[list[str], dict[str, Any]]]:
    """The command line of every pod of the first replica as it is run, with its container."""
    pods = engine_pods(plan)
    (size,) = [one["spec"]["leaderWorkerTemplate"]["size"] for one in of_kind(plan, "LeaderWorkerSet")] or [1]
    for index in range(size):
        container = pods[min(index, len(pods) - 1)]["spec"]["containers"][0]
        given = {"LWS_WORKER_INDEX": str(index), "LWS_LEADER_ADDRESS": leader, "POD_IP": f"10.1.0.{index + 1}"}
        words = [kubelet(word, given) for word in (*container["command"], *container["args"])]
        if words[0] == "/bin/bash":
            done = subprocess.run(
                ["bash", "-c", "vllm() { printf '%s\\0' vllm \"$@\"; }\n" + words[2].replace("exec ", ""), *words[3:]],
                env={**os.environ, **given}, capture_output=True, text=True, check=True, timeout=60,
            )  # fmt: skip
            words = done.stdout.split("\0")[:-1]
        assert words[:2] == ["vllm", "serve"]
        yield words, container


@pytest.mark.parametrize("name", PLANS)
def test_the_engine_takes_the_flags_and_they_add_up_to_the_plan(name: str) -> None:
    plan = PLANS[name]
    (serve,) = plan.serves
    cut = serve.chosen.cut
    said = [(checker.read(words[1:], (0, 33)), container) for words, container in commands(plan)]
    assert sum(container["resources"]["limits"]["nvidia.com/gpu"] for _, container in said) == cut.tp * cut.pp * cut.dp
    for index, (flags, container) in enumerate(said):
        assert flags["tensor_parallel_size"] == cut.tp
        assert flags.get("pipeline_parallel_size", 1) == cut.pp
        assert flags.get("data_parallel_size", 1) == cut.dp
        answers = flags.get("headless") is None
        assert answers == ("startupProbe" in container) == ("ports" in container)
        if answers:
            assert flags["host"] == "0.0.0.0" and flags["port"] == container["ports"][0]["containerPort"]
            probe = container["startupProbe"]
            # 180 s to read and 900 s for the rest are the least that any model is given.
            assert probe["periodSeconds"] * probe["failureThreshold"] >= 900
        if serve.distribution == "nnodes":
            assert (flags["nnodes"], flags["node_rank"]) == (2, index)
            assert flags["master_addr"] == "10.1.0.1"
        if serve.distribution == "dp":
            assert flags["data_parallel_address"] == "10.1.0.1"
            assert flags.get("data_parallel_start_rank", 0) == index * flags["data_parallel_size_local"]
            assert flags["data_parallel_size_local"] == cut.dp // len(said)
        assert not any("VISIBLE_DEVICES" in variable["name"] for variable in container["env"])


def test_replicas_times_size_is_what_the_plan_has() -> None:
    (group,) = of_kind(PLANS["groups"], "LeaderWorkerSet")
    assert (group["spec"]["replicas"], group["spec"]["leaderWorkerTemplate"]["size"]) == (2, 2)
    deployments = {one["metadata"]["name"]: one for one in of_kind(PLANS["replicas"], "Deployment")}
    assert deployments["chat"]["spec"]["replicas"] == 2 and deployments["chat-picker"]["spec"]["replicas"] == 1


@pytest.mark.parametrize("name", PLANS)
def test_selectors_find_what_they_mean_and_references_exist(name: str) -> None:
    plan = PLANS[name]
    pods = engine_pods(plan) + [
        one["spec"]["template"] for one in of_kind(plan, "Deployment") if "picker" in one["metadata"]["name"]
    ]
    names = {(one["kind"], one["metadata"]["name"]) for one in objects(plan)}
    assert len(names) == len(objects(plan))
    assert {one["metadata"]["namespace"] for one in objects(plan)} == {"llm"}

    def found(selector: dict[str, str]) -> int:
        return sum(selector.items() <= pod["metadata"]["labels"].items() for pod in pods)

    answering = sum("ports" in pod["spec"]["containers"][0] and pod in engine_pods(plan) for pod in pods)
    for one in of_kind(plan, "Service"):
        picker = one["metadata"]["name"].endswith("picker")
        assert found(one["spec"]["selector"]) == (1 if picker else answering)
    for one in of_kind(plan, "InferencePool"):
        assert found(one["spec"]["selector"]["matchLabels"]) == answering
        reference = one["spec"]["endpointPickerRef"]
        assert ("Service", reference["name"]) in names and reference["port"]["number"] == 9002
        # The rules of the custom resource that its schema cannot say: ports are distinct.
        ports = [port["number"] for port in one["spec"]["targetPorts"]]
        assert len(set(ports)) == len(ports)
    for one in of_kind(plan, "HTTPRoute"):
        for rule in one["spec"]["rules"]:
            assert all((ref["kind"], ref["name"]) in names for ref in rule["backendRefs"])
            assert re.fullmatch(r"[0-9]{1,5}(h|m|s|ms)", rule["timeouts"]["request"])
            assert all(match["path"]["value"].endswith("/v1") for match in rule["matches"])
    for one in of_kind(plan, "NetworkPolicy"):
        assert found(one["spec"]["podSelector"]["matchLabels"]) >= 1
    for one in [*of_kind(plan, "Deployment"), *of_kind(plan, "LeaderWorkerSet")]:
        if one["kind"] == "Deployment":
            template = one["spec"]["template"]["metadata"]["labels"]
            assert one["spec"]["selector"]["matchLabels"].items() <= template.items()


def test_secrets_are_named_and_never_written() -> None:
    text = "".join(artifact.text for artifact in emit(PLANS["replicas"]))
    (pod,) = engine_pods(PLANS["replicas"])
    (key,) = [item for item in pod["spec"]["containers"][0]["env"] if item["name"] == "VLLM_API_KEY"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "chat-keys", "key": "VLLM_API_KEY"}}
    assert 'kind: "Secret"' not in text


def test_stops_are_longer_than_what_they_wait_for() -> None:
    for plan in PLANS.values():
        for pod in engine_pods(plan):
            container = pod["spec"]["containers"][0]
            drain = next(
                int(word.partition("=")[2]) for word in container["args"] if word.startswith("--shutdown-timeout")
            )
            sleep = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
            assert pod["spec"]["terminationGracePeriodSeconds"] > drain + sleep


@pytest.mark.parametrize("policy", [*PICKED_BY, ""])
def test_the_picker_has_the_plugins_of_the_policy(policy: str) -> None:
    plan = in_kubernetes(cut=Cut(tp=4, replicas=2), hosts=TWO, network=factory.ETHERNET, router="llm-d", policy=policy)
    ((config, *_),) = [found for path, found in documents(plan).items() if path.endswith("-config.yaml")]
    declared = [plugin["type"] for plugin in config["plugins"]]
    assert len(set(declared)) == len(declared)
    (profile,) = config["schedulingProfiles"]
    used = {plugin["pluginRef"] for plugin in profile["plugins"]}
    assert used <= set(declared) and {"metrics-data-source", "core-metrics-extractor"} <= set(declared)
    assert used == {row[0] for row in PICKED_BY[policy or "cache_aware"]}


def test_what_no_pods_can_be_written_for_gives_no_files() -> None:
    plan = in_kubernetes(
        cut=Cut(tp=4, pp=2),
        hosts=TWO,
        distribution="ray",
        network=factory.ETHERNET,
        engine={"executor": written("ray")},
    )
    assert "Ray" in str(shape_of(plan, plan.serves[0]))
    assert not documents(plan)


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.isprintable()])
def test_hostile_texts_stay_what_they_are(text: str) -> None:
    env = {"HOME": "evil", "LWS_WORKER_INDEX": "evil", "touch canary": "evil"}
    assert kubelet(expanded(text), env) == text
    assert kubelet(expanded(f"$(HOME){text}"), env) == f"$(HOME){text}"
    assert re.fullmatch(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", label(text))


ROUTED = """
model m { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware h { gpus = 4 * h100-sxm }
sla s { concurrency = 16, context = 4K, prompt = 1K, completion = 200 }
router llm-d Edge_1 { timeout = 40000s }
serve One {
  model = m, hardware = h, sla = s, runtime = kubernetes
  parallel { replicas = 2, tp = 1, pp = 1 }
  kubernetes { namespace = "a", claim = "w", image = "registry:5000/vllm@sha256:DIGEST", node_selector { "k8s.io/gpu" = "yes" } }
  route Edge_1 { path = "/one" }
}
serve one {
  model = m, hardware = h, sla = s, runtime = kubernetes
  parallel { replicas = 2, tp = 1, pp = 1 }
  engine vllm { env { GREETING = "$(HOME) yes" } }
  kubernetes { namespace = "a" }
  route Edge_1 { header = ["X-Model", "one"] }
}
""".replace("DIGEST", "0" * 64)


def test_two_serves_behind_one_gateway() -> None:
    files = compiled(ROUTED)
    listed = yaml.safe_load(files["kubernetes/kustomization.yaml"].text)["resources"]
    assert list(dict.fromkeys(path.partition("/")[0] for path in listed)) == ["one", "one-2"]
    pool = list(yaml.safe_load_all(files["kubernetes/one/pool.yaml"].text))
    route = next(one for one in pool if one["kind"] == "HTTPRoute")["spec"]
    assert route["parentRefs"][0]["name"] == "edge-1"
    (rule,) = route["rules"]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/one/v1"}}]
    assert rule["filters"][0]["urlRewrite"]["path"] == {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/v1"}
    assert rule["timeouts"]["request"] == "80000s"
    second = list(yaml.safe_load_all(files["kubernetes/one-2/pool.yaml"].text))
    (other,) = next(one for one in second if one["kind"] == "HTTPRoute")["spec"]["rules"]
    assert other["matches"][0]["headers"] == [{"type": "Exact", "name": "X-Model", "value": "one"}]
    (deployment,) = [
        one for one in yaml.safe_load_all(files["kubernetes/one/engine.yaml"].text) if one["kind"] == "Deployment"
    ]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == "registry:5000/vllm@sha256:" + "0" * 64
    assert pod["nodeSelector"] == {"k8s.io/gpu": "yes"}
    (engine,) = [
        one for one in yaml.safe_load_all(files["kubernetes/one-2/engine.yaml"].text) if one["kind"] == "Deployment"
    ]
    env = {item["name"]: item for item in engine["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert kubelet(env["GREETING"]["value"], {"HOME": "evil"}) == "$(HOME) yes"
    assert env["HF_TOKEN"]["valueFrom"]["secretKeyRef"]["optional"] is True
    assert not [path for path in files if path.startswith(("nodes/", "router/"))]
