"""Hostile strings under the other runtimes and the vLLM Router: refused with a finding, or inert in units, containers and pods.

The scripts are those that test_hostile runs; here it is the files around them, in which nothing may become a key, a directive
or a document, and the vLLM Router's own script, which is run.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kcluster.pipeline import check_source
from kcluster.source import Source
from kcluster.targets import emit
from tests.targets.test_hostile import HOSTILE, keys_of

SPEC = """
model m {{
  id         = "meta-llama/Llama-3.1-8B-Instruct"
  checkpoint = {checkpoint}
}}
hardware h {{
  gpus       = 2 * rtx-5090
  hosts      = [{host}]
  user       = {user}
  model_path = {model_path}
}}
sla s {{ concurrency = 8, context = 4K, prompt = 1K, completion = 200 }}
serve {serve_name} {{
  model    = m
  hardware = h
  sla      = s
  runtime  = {runtime}
  parallel {{ replicas = 2, tp = 1, pp = 1 }}
  engine vllm {{
    api_key = env({variable})
    image   = {image}
    args {{ "--chat-template" = {argument} }}
    env {{ VLLM_LOGGING_LEVEL = {environment} }}
  }}
  {more}
}}
"""
HARMLESS = {
    "checkpoint": "meta-llama/Llama-3.1-8B-Instruct",
    "host": "127.0.0.1",
    "user": "llm",
    "model_path": "/srv/models",
    "serve_name": "chat",
    "variable": "VLLM_API_KEY",
    "image": "vllm/vllm-openai:v0.33.0",
    "argument": "template.jinja",
    "environment": "INFO",
    "namespace": "llm",
    "claim": "models",
    "label_key": "a/b",
    "label": "c",
    "certificate": "/etc/kcluster/cert.pem",
}
FREE = ("argument", "environment")
"""Attributes that take any printable text; the others are fixed sets of characters, which a few strings show."""
FEW = (
    "'; touch CANARY; '",
    "$(touch CANARY)",
    "x\nkcluster_evil: on",
    "--evil",
    "../../../CANARY",
    "{{ evil }}",
    "a: b\n- c",
)
KINDS = ("systemd", "compose", "kubernetes", "vllm-router")


def files_of(kind: str, **changed: str) -> dict[str, str] | None:
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in {**HARMLESS, **changed}.items()}
    if kind == "kubernetes":
        more = "kubernetes {{ namespace = {namespace}, claim = {claim}, node_selector {{ {label_key} = {label} }} }}"
    else:
        router = "vllm-router" if kind == "vllm-router" else "nginx"
        more = f"router {router} {{{{ listen = 8443, tls {{{{ certificate = {{certificate}}, key = {{certificate}} }}}} }}}}"
    runtime = "shell" if kind == "vllm-router" else kind
    found = check_source(Source("test.kcluster", SPEC.format(runtime=runtime, more=more.format(**texts), **texts)))
    if found.errors or found.plan is None:
        assert found.errors, "a spec that gives no plan says why"
        return None
    return {artifact.path: artifact.text for artifact in emit(found.plan)}


def shape(path: str, text: str) -> Iterator[str]:
    """What a file's own reader finds in it: the keys of every document, the directives of a unit."""
    if path.endswith((".yaml", ".yml")):
        for number, one in enumerate(yaml.load_all(text, Loader=yaml.CSafeLoader)):
            yield from (f"{number}{key}" for key in keys_of(one))
    elif path.endswith(".service"):
        yield from (line.partition("=")[0] for line in text.splitlines() if line and not line.startswith("#"))


def shapes(files: dict[str, str]) -> list[list[str]]:
    """Those of all files in the order of their paths; names of serves and hosts are in the paths, and are not compared."""
    return sorted(
        list(shape(path, text)) for path, text in files.items() if path.endswith((".yaml", ".yml", ".service"))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_strings_become_nothing(kind: str, tmp_path: Path) -> None:
    harmless = files_of(kind)
    assert harmless is not None
    expected = shapes(harmless)
    assert expected and any(expected)
    attributes = [
        name for name in HARMLESS if f"{{{name}}}" in SPEC or (kind == "kubernetes") != (name == "certificate")
    ]
    reached = 0
    for attribute in attributes:
        for hostile in HOSTILE if attribute in FREE else FEW:
            text = hostile.replace("CANARY", str(tmp_path / "canary"))
            files = files_of(kind, **{attribute: text})
            if files is None:
                continue
            reached += 1
            found = shapes(files)
            assert found == expected, f"{attribute} = {text!r} changes what is read"
            assert not any(c < " " and c not in "\n\t" for body in files.values() for c in body)
            if kind == "vllm-router" and attribute in FREE:
                _started(tmp_path / str(reached), files)
    assert reached >= 20
    assert not (tmp_path / "canary").exists()


def _started(folder: Path, files: dict[str, str]) -> None:
    """The vLLM Router's script with stand-ins for what it starts."""
    bin_ = folder / "bin"
    bin_.mkdir(parents=True)
    for program in ("vllm-router", "nginx", "curl"):
        (bin_ / program).write_text("#!/bin/sh\nexit 0\n")
        (bin_ / program).chmod(0o755)
    (folder / "router").mkdir()
    for path, text in files.items():
        if path.startswith("router/"):
            (folder / path).write_text(text)
    done = subprocess.run(
        ["bash", str(folder / "router/vllm-router.sh"), "test"], cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": f"{bin_}:/usr/bin:/bin", "VLLM_API_KEY": "k", "KCLUSTER_RUN_DIR": str(folder / "run")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_pods_get_the_text_and_not_what_the_kubelet_makes_of_it() -> None:
    for hostile in ("$(HOME)", "$$(HOME)", "$", "a$(b", "${HOME}"):
        files = files_of("kubernetes", argument=hostile)
        assert files is not None
        (container,) = next(
            one["spec"]["template"]["spec"]["containers"]
            for one in yaml.safe_load_all(files["kubernetes/chat/engine.yaml"])
            if one["kind"] == "Deployment"
        )
        (word,) = [word for word in container["args"] if word.startswith("--chat-template=")]
        assert re.sub(r"\$\$", "$", word) == f"--chat-template={hostile}"
        assert all(re.fullmatch(r"(\$\$)*", run) for run in re.findall(r"\$+", word))
