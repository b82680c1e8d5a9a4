"""Every engine's start script and pod is given each hostile text whole, or the spec is refused: what arrives is what was written."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from kcluster.pipeline import check_source
from kcluster.source import Source
from kcluster.spec.text import printable
from kcluster.targets import emit
from tests.targets import run
from tests.targets.test_hostile import HOSTILE

MORE = (
    "%n%%n%s%%",
    "%i %h %%H ${%n}",
    "$$(touch CANARY)",
    "$$$(touch CANARY)",
    "$(HOME) $$(HOME) $",
    "${HOME:-$(touch CANARY)}",
    "${!HOME*}",
    "$'\\n touch CANARY'",
    "\\",
    "a\\",
    "\\\\' ; touch CANARY #",
    '\\" ; touch CANARY #',
    "'",
    '"',
    "``touch CANARY``",
    "; touch CANARY #",
    " # touch CANARY",
    "#",
    "&& touch CANARY",
    "|| touch CANARY",
    "| tee CANARY",
    "> CANARY",
    "<(touch CANARY)",
    "]]; touch CANARY; [[",
    ") ; touch CANARY ; (",
    "--",
    "-",
    "-c touch CANARY",
    "=eth0",
    "{{ evil }} {% evil %} {# evil #}",
    "{{`{{ evil }}`}}",
    "[CANARY](x) <script>",
    "!!binary x",
    "!evil x",
    "&anchor x",
    "? x",
    "- x",
    "a: b",
    "a:b: {c: d}",
    "[a, b]",
    "~",
    "null",
    "true",
    "0o17",
    "1e3",
    "0x1F",
    "2026-11-24",
    "<<: *evil",
    "%YAML 1.1",
    "---",
    "...",
    "@evil",
    "EOF",
    "STEP",
    "\u00a0x",
    "é…🦙",
    "! history !!",
    "~/x *.py ?[a]",
)
REFUSED = (
    "a\nb", "a\r\nb", "a\rb", "a\tb", "a\0b", "a\x1b[31mb", "a\x7fb", "a\u0085b", "a\u2028b", "a\u2029b", "a\u202eb", "a\u2066b",
    "a\u200bb", "\ufeffa", "a\u00adb", "a\U000e0041b",
)  # fmt: skip
ENGINES = ("vllm", "sglang", "trtllm", "triton")
SPEC = """
model m {{ id = "meta-llama/Llama-3.1-8B-Instruct" }}
hardware h {{ gpus = 1 * l40s, hosts = ["127.0.0.1"] }}
sla s {{ concurrency = 8, context = 4K, prompt = 1K, completion = 200 }}
serve chat {{
  model = m, hardware = h, sla = s, runtime = {runtime}
  engine {engine} {{
    args {{ {args} }}
    env {{ {env} }}
  }}
  {more}
}}
"""
FREE_FLAG = {"vllm": "--chat-template", "sglang": "--chat-template"}
STAND_IN = '#!/bin/bash\nprintf \'%s\\0\' "$@" >"$OUT/argv"\nenv -0 >"$OUT/env"\n'


def given(folder: Path) -> tuple[str, ...]:
    """Every text that the language takes, once."""
    every = dict.fromkeys((*MORE, *HOSTILE, *run.HOSTILE))
    return tuple(text.replace("CANARY", str(folder / "canary")) for text in every if printable(text))


def files_of(engine: str, texts: tuple[str, ...], runtime: str = "shell", joined: str = "") -> dict[str, str] | None:
    env = ", ".join(f"T_{number} = {json.dumps(text, ensure_ascii=False)}" for number, text in enumerate(texts))
    flag = FREE_FLAG.get(engine)
    args = f"{json.dumps(flag)} = {json.dumps(joined, ensure_ascii=False)}" if flag and joined else ""
    more = 'kubernetes { namespace = "llm" }' if runtime == "kubernetes" else ""
    text = SPEC.format(engine=engine, args=args, env=env, runtime=runtime, more=more)
    found = check_source(Source("test.kcluster", text))
    if found.errors or found.plan is None:
        assert found.errors, "a spec that gives no plan says why"
        return None
    return {artifact.path: artifact.text for artifact in emit(found.plan)}


@pytest.mark.parametrize("engine", ENGINES)
def test_engines_are_given_every_text_whole(engine: str, tmp_path: Path) -> None:
    texts = given(tmp_path)
    assert len(texts) >= 70
    joined = " ".join(texts)
    files = files_of(engine, texts, joined=joined)
    assert files is not None
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    for program in ("vllm", "sglang", "python3", "trtllm-serve"):
        (bin_ / program).write_text(STAND_IN)
        (bin_ / program).chmod(0o755)
    for path, body in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(body)
    env = {"PATH": f"{bin_}:/usr/bin:/bin", "OUT": str(tmp_path), "HOME": "/root"}
    done = subprocess.run(
        ["bash", "nodes/127.0.0.1/serve-chat.sh"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "env").read_bytes().decode().split("\0")[:-1]
    seen = dict(row.split("=", 1) for row in rows)
    assert {name: value for name, value in seen.items() if name.startswith("T_")} == {
        f"T_{number}": text for number, text in enumerate(texts)
    }
    words = (tmp_path / "argv").read_bytes().decode().split("\0")[:-1]
    assert engine not in FREE_FLAG or any(word in (joined, f"--chat-template={joined}") for word in words)
    assert not (tmp_path / "canary").exists()


def test_pods_are_given_every_text_whole(tmp_path: Path) -> None:
    texts = given(tmp_path)
    files = files_of("vllm", texts, "kubernetes", " ".join(texts))
    assert files is not None
    (container,) = next(
        one["spec"]["template"]["spec"]["containers"]
        for one in yaml.safe_load_all(files["kubernetes/chat/engine.yaml"])
        if one["kind"] == "Deployment"
    )
    defined = {one["name"]: one.get("value", "") for one in container["env"]}

    def kubelet(text: str) -> str:
        """What it makes of a value or argument: `$$` is `$`, and `$(NAME)` of a variable before it is that one's value."""
        return re.sub(r"\$\$|\$\((\w+)\)", lambda m: "$" if m[0] == "$$" else defined.get(m[1], m[0]), text)

    assert {name: kubelet(text) for name, text in defined.items() if name.startswith("T_")} == {
        f"T_{number}": text for number, text in enumerate(texts)
    }
    assert f"--chat-template={' '.join(texts)}" in [kubelet(word) for word in container["args"]]


@pytest.mark.parametrize("text", REFUSED, ids=ascii)
def test_what_no_file_can_hold_is_refused(text: str) -> None:
    assert files_of("vllm", (text,)) is None
    assert files_of("vllm", (), joined=text) is None
