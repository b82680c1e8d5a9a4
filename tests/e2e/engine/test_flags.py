"""The engine's own parser and configuration take the flags that are compiled, for every model of the catalog and every spec."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kcluster
from kcluster.catalog.models import model_ids
from kcluster.planner.types import Plan
from kcluster.targets.layout import Process, processes
from kcluster.targets.vllm.arguments import arguments
from kcluster.targets.vllm.files import plain
from tests.e2e.engine.asking import Oracle, oracle
from tests.e2e.engine.models import published

pytestmark = pytest.mark.e2e

SPECS = sorted((Path(__file__).parents[3] / "specs").glob("*.kcluster"))

ONE_BOX = """
model m {{ id = "{id}" }}
hardware h {{
  gpus = 8 * h200-sxm
  hosts = ["10.0.0.1"]
}}
sla s {{
  concurrency = 8
  context = 4K
}}
serve chat {{
  model = m
  hardware = h
  sla = s
  engine vllm {{ version = "0.32" }}
}}
"""

NOT_WITHOUT_MORE = {
    "internlm/internlm2_5-7b-chat": "does not recognize this architecture",
    "LGAI-EXAONE/EXAONE-3.5-7.8B-Instruct": "does not recognize this architecture",
    "XiaomiMiMo/MiMo-7B-Base": "does not recognize this architecture",
    "MiniMaxAI/MiniMax-M3": "does not recognize this architecture",
    "stepfun-ai/Step-3.7-Flash": "are not supported for now",
    "OpenGVLab/InternVL3-78B": "cannot pass text prompts",
    "meta-llama/Llama-3.2-11B-Vision-Instruct": "Can't load image processor",
    "meta-llama/Llama-3.2-90B-Vision-Instruct": "Can't load image processor",
}
"""What config.json alone does not start in 0.32: configuration classes that come as code with the checkpoint, a model that is
newer, and processors that are read where the checkpoint is."""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with oracle(tmp_path_factory.mktemp("oracle")) as found:
        yield found


def flags(plan: Plan, process: Process) -> list[str]:
    """The command line of a process without its model."""
    found: list[str] = []
    for argument in arguments(plan, process):
        if argument.flag == "--model":
            continue
        if argument.value is True:
            found.append(argument.flag)
        elif isinstance(argument.value, tuple):
            found += [argument.flag, *(str(value) for value in argument.value)]
        else:
            found.append(f"{argument.flag}={plain(argument.value)}")
    return found


def limits_agree(plan: Plan, process: Process, answer: dict[str, Any]) -> None:
    limits = process.serve.chosen.limits
    assert answer["max_model_len"] == limits.max_model_len
    assert answer["max_num_seqs"] == limits.max_num_seqs
    if not answer["latent"]:
        # The CPU platform computes a prompt of latent attention in one step, whatever it is asked for.
        assert answer["max_num_batched_tokens"] == limits.max_num_batched_tokens


@pytest.mark.parametrize("id", model_ids())
def test_the_engine_takes_the_flags_of_every_model(engine: Oracle, id: str) -> None:
    plan = kcluster.plan(ONE_BOX.format(id=id))
    (process, *_) = processes(plan)
    answer = engine.ask(published(id), *flags(plan, process))
    if id in NOT_WITHOUT_MORE:
        assert not answer["accepted"] and NOT_WITHOUT_MORE[id] in answer["message"], answer
    else:
        assert answer["accepted"], (flags(plan, process), answer)
        limits_agree(plan, process, answer)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_engine_takes_the_flags_of_every_spec(engine: Oracle, path: Path) -> None:
    """Each spec as it would be for the version at hand."""
    text = re.sub(r'version\s*= "0\.\d+"\n', "", path.read_text())
    text, count = re.subn(r"engine vllm \{", 'engine vllm { version = "0.32"\n', text)
    if count == 0:
        text, count = re.subn(r"(serve \w+ \{\n)", r'\1  engine vllm { version = "0.32" }\n', text)
    assert count
    plan = kcluster.plan(text, folder=path.parent)
    assert plan.serves
    for process in processes(plan):
        answer = engine.ask(published(process.serve.serve.model.id.value), *flags(plan, process))
        assert answer["accepted"], (flags(plan, process), answer)
        if process.answers:
            limits_agree(plan, process, answer)


DEEPSEEK = 'id = "deepseek-ai/DeepSeek-V3"'
LLAMA = 'id = "meta-llama/Llama-3.3-70B-Instruct"'
FORMS = {
    "inside": (DEEPSEEK, "tp = 1, dp = 16, ep = on", ""),
    "hybrid": (DEEPSEEK, "tp = 1, dp = 16, ep = on, balance = hybrid", ""),
    "outside": (DEEPSEEK, "tp = 1, dp = 16, ep = on, balance = external", ""),
    "both": (DEEPSEEK, "tp = 8, dp = 2, ep = on", ""),
    "copies": (LLAMA, "tp = 4, dp = 4", "kv_offload = 64GB"),
    "stages": (DEEPSEEK, "tp = 8, pp = 2, layers = [31, 30]", ""),
    "context": (DEEPSEEK, "tp = 8, dcp = 8, pp = 1", ""),
    "own layers": (f"{DEEPSEEK}, draft {{ method = mtp, tokens = 1 }}", "tp = 8, pp = 1, ep = on", ""),
    "n-grams": (f"{LLAMA}, draft {{ method = ngram, tokens = 4 }}", "tp = 8, pp = 1", "chunked_prefill = off"),
    "a model": (f'{LLAMA}, draft {{ method = draft, id = "DRAFTER", tokens = 3 }}', "tp = 4, pp = 1", "kv_cache = fp8"),
    "ray": (DEEPSEEK, "tp = 8, pp = 2", "executor = ray\nprefix_caching = off"),
    "spread": (DEEPSEEK, "tp = 1, dp = 16, ep = on, eplb = on", ""),
    "wide": (DEEPSEEK, "tp = 8, pp = 2, dp = 2, ep = on", ""),
    "wide over ray": (DEEPSEEK, "tp = 8, pp = 2, dp = 2, ep = on", "executor = ray"),
}
SEVERAL_BOXES = """
model m {{ {model} }}
hardware h {{
  gpus = 8 * h200-sxm
  hosts = [{hosts}]
  network = 8 * infiniband(ndr)
}}
sla s {{ concurrency = 64, context = 8K, prompt = 2K, completion = 500 }}
serve chat {{
  model = m
  hardware = h
  sla = s
  parallel {{ {parallel} }}
  engine vllm {{
    version = "0.32"
    {settings}
  }}
}}
"""
NOT_ON_A_CPU = {"spread": "load balancing is only supported on CUDA devices"}


@pytest.mark.parametrize("form", FORMS)
def test_the_engine_takes_every_form(engine: Oracle, form: str, tmp_path: Path) -> None:
    """Nodes and ranks of two boxes, or four, each as it would be started there."""
    model, parallel, settings = FORMS[form]
    (tmp_path / "config.json").write_text(json.dumps(published("meta-llama/Llama-3.2-1B-Instruct")))
    hosts = ", ".join(f'"10.0.0.{place}"' for place in range(1, 5 if form.startswith("wide") else 3))
    model = model.replace("DRAFTER", str(tmp_path))
    plan = kcluster.plan(SEVERAL_BOXES.format(model=model, hosts=hosts, parallel=parallel, settings=settings))
    found = processes(plan)
    assert found
    for process in (*found[:2], *found[-1:]):
        answer = engine.ask(published(process.serve.serve.model.id.value), *flags(plan, process))
        if form in NOT_ON_A_CPU:
            assert not answer["accepted"] and NOT_ON_A_CPU[form] in answer["message"], answer
        else:
            assert answer["accepted"], (process.stem, process.node_rank, flags(plan, process), answer)


def test_the_engine_refuses_what_it_must(engine: Oracle) -> None:
    """So that the tests above can fail."""
    model = published("meta-llama/Llama-3.1-8B-Instruct")
    for wrong, said in (
        ("--tensor-parallel-size=3", "divisible"),
        ("--max-model-len=1000000000", "max_model_len"),
        ("--swap-space=4", "unrecognized"),
        ("--max-num-seqs=several", "several"),
    ):
        answer = engine.ask(model, wrong)
        assert not answer["accepted"] and said in answer["message"], (wrong, answer)
