"""Hostile strings in every string attribute: refused with a finding, or inert where they end up.

What compiles is run: every script with stand-ins for the programs that it starts, under a canary; NGINX and HAProxy check
their files, in which a directive that got out of its quotes would be an unknown one; YAML, TOML and JSON have the keys
that a harmless value gives, and no others.
"""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kcluster.pipeline import check_source
from kcluster.source import Source
from kcluster.targets import emit
from kcluster.targets.types import Artifact
from tests.support.compiled import tool

HOSTILE = (
    "'; touch CANARY; '",
    '"; touch CANARY; "',
    "$(touch CANARY)",
    "`touch CANARY`",
    "x; kcluster_evil on;",
    '"; kcluster_evil on; #',
    "} kcluster_evil on; {",
    "x\nkcluster_evil on;\n",
    "x\r\nX-Evil: 1",
    "$kcluster_evil",
    "${HOME}",
    "%(evil)s %i %h",
    "{{ evil }}",
    "-o/CANARY",
    "--evil",
    "../../../CANARY",
    "a\u202eb",
    "a\u200bb",
    "a\u0000b",
    "a: b\n- c",
    "x' || touch CANARY || '",
    "*evil",
    "!!python/object/apply:os.system [touch CANARY]",
)
"""`CANARY` stands for the path of a file that nothing may make."""

SPEC = """
model {model_name} {{
  id         = {model_id}
  checkpoint = {checkpoint}
  revision   = {revision}
}}
hardware h {{
  gpus       = 4 * {gpu}
  hosts      = [{host}]
  network    = ethernet(25GbE)
  interface  = {interface}
  user       = {user}
  model_path = {model_path}
}}
sla s {{ concurrency = 8, context = 4K, prompt = 1K, completion = 200 }}
router {kind} {router_name} {{
  listen = 8443
  tls {{ certificate = {certificate}, key = {key} }}
}}
serve {serve_name} {{
  model    = {model_name}
  hardware = h
  sla      = s
  nodes    = [0]
  gpus     = [0, 1]
  engine vllm {{
    api_key = env({variable})
    image   = {image}
    dtype   = {dtype}
    args {{ "--chat-template" = {argument} }}
    env {{ VLLM_LOGGING_LEVEL = {environment} }}
  }}
  route {router_name} {{ {route} }}
}}
serve other {{
  model    = {model_name}
  hardware = h
  sla      = s
  gpus     = [2, 3]
  engine vllm {{ port = 9000 }}
  route {router_name} {{ path = {path} }}
}}
"""
HARMLESS = {
    "model_name": "m",
    "model_id": "meta-llama/Llama-3.1-8B-Instruct",
    "checkpoint": "meta-llama/Llama-3.1-8B-Instruct",
    "revision": "main",
    "gpu": "rtx-5090",
    "host": "127.0.0.1",
    "interface": "lo",
    "user": "llm",
    "model_path": "/srv/models",
    "router_name": "edge",
    "certificate": "/etc/kcluster/cert.pem",
    "key": "/etc/kcluster/key.pem",
    "serve_name": "chat",
    "variable": "VLLM_API_KEY",
    "image": "vllm/vllm-openai:v0.33.0",
    "dtype": "bfloat16",
    "argument": "template.jinja",
    "environment": "INFO",
    "header_name": "X-Model",
    "header_value": "small",
    "path": "/big",
}
PROGRAMS = ("vllm", "ray", "nginx", "haproxy", "curl")


def spec_of(kind: str, **changed: str) -> str:
    texts = {name: json.dumps(value, ensure_ascii=False) for name, value in {**HARMLESS, **changed}.items()}
    route = f"header = [{texts.pop('header_name')}, {texts.pop('header_value')}]"
    return SPEC.format(kind=kind, route=route, **texts)


def artifacts_of(text: str) -> dict[str, Artifact] | None:
    """The artifacts by path, None where the spec is refused."""
    found = check_source(Source("test.kcluster", text))
    if found.errors or found.plan is None:
        assert found.errors, "a spec that gives no plan says why"
        return None
    return {artifact.path: artifact for artifact in emit(found.plan)}


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Every place of a document by its keys; values and the lengths of plain lists do not count."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}/{key}"
            yield from keys_of(item, f"{path}/{key}")
    elif isinstance(value, list):
        for item in value:
            yield from keys_of(item, f"{path}[]")


def documents(artifacts: dict[str, Artifact]) -> dict[str, set[str]]:
    """The keys of every document whose form a parser knows, by the ending and order of its path (names differ)."""
    readers = {".yaml": yaml.safe_load, ".yml": yaml.safe_load, ".toml": tomllib.loads, ".json": json.loads}
    found: dict[str, set[str]] = {}
    for path in sorted(artifacts):
        ending = os.path.splitext(path)[1]
        if ending in readers:
            found[f"{len(found)}{ending}"] = set(keys_of(readers[ending](artifacts[path].text)))
    return found


def run_all(folder: Path, artifacts: dict[str, Artifact]) -> None:
    """Start every script with stand-ins that do nothing, and let the routers check their files."""
    bin_ = folder / "bin"
    bin_.mkdir()
    for program in PROGRAMS:
        (bin_ / program).write_text("#!/bin/sh\nexit 0\n")
        (bin_ / program).chmod(0o755)
    for artifact in artifacts.values():
        place = folder / "out" / artifact.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(artifact.text)
    env = {
        "PATH": f"{bin_}:/usr/bin:/bin",
        "HOME": str(folder),
        "VLLM_API_KEY": "k",
        "KCLUSTER_RUN_DIR": str(folder / "run"),
    }
    for path in artifacts:
        if path.endswith(".sh"):
            assert (
                subprocess.run(["bash", "-n", str(folder / "out" / path)], check=False, timeout=60).returncode == 0
            ), path
            subprocess.run(
                ["timeout", "5", "bash", str(folder / "out" / path)], cwd=folder / "out", env=env, check=False,
                stdin=subprocess.DEVNULL, capture_output=True, timeout=60,
            )  # fmt: skip


def checked_by_routers(folder: Path, kind: str, certificate: tuple[Path, Path], changed: dict[str, str]) -> None:
    """`nginx -t` and `haproxy -c` of the same spec, with a certificate that is there."""
    texts = {"certificate": str(certificate[0]), "key": str(certificate[1]), **changed}
    artifacts = artifacts_of(spec_of(kind, **texts))
    if artifacts is None:
        return
    for path, artifact in artifacts.items():
        place = folder / "router-check" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(artifact.text)
    done = subprocess.run(
        ["bash", str(folder / f"router-check/router/{kind}.sh"), "test"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "KCLUSTER_RUN_DIR": str(folder / "checked"), "KCLUSTER_METRICS_PORT": "8404"},
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    if not {"certificate", "key"} & set(changed):
        assert done.returncode == 0, done.stderr
    assert "kcluster_evil" not in done.stderr.replace(str(folder), ""), done.stderr


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [tool("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert),
         "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
def test_the_harmless_spec_compiles_and_is_accepted(kind: str, tmp_path: Path, certificate: tuple[Path, Path]) -> None:
    artifacts = artifacts_of(spec_of(kind))
    assert artifacts is not None and f"router/{kind}.sh" in artifacts
    tool(kind, kind)
    checked_by_routers(tmp_path, kind, certificate, {})


@pytest.mark.parametrize("kind", ["nginx", "haproxy"])
@pytest.mark.parametrize("attribute", HARMLESS)
def test_a_hostile_string_is_refused_or_inert(
    kind: str, attribute: str, tmp_path: Path, certificate: tuple[Path, Path]
) -> None:
    tool(kind, kind)
    expected = documents(artifacts_of(spec_of(kind)) or {})
    for number, hostile in enumerate(HOSTILE):
        folder = tmp_path / str(number)
        folder.mkdir()
        canary = folder / "canary"
        text = hostile.replace("CANARY", str(canary))
        artifacts = artifacts_of(spec_of(kind, **{attribute: text}))
        if artifacts is None:
            continue
        assert not any(c < " " and c not in "\n\t" for artifact in artifacts.values() for c in artifact.text)
        assert documents(artifacts) == expected, f"{attribute} = {text!r} changes a document's keys"
        run_all(folder, artifacts)
        checked_by_routers(folder, kind, certificate, {attribute: text})
        assert not canary.exists(), f"{attribute} = {text!r} was executed"


def test_what_was_refused_was_not_everything() -> None:
    """The test would prove nothing if no hostile string ever reached a file: arguments and variables are free text."""
    reached = [
        text
        for attribute in ("argument", "environment")
        for text in HOSTILE
        if artifacts_of(spec_of("nginx", **{attribute: text})) is not None
    ]
    assert len(reached) >= 20
