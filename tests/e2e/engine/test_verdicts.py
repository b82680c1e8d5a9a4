"""Generated models and cuts through the engine's whole configuration: what it refuses kcluster refuses; what kcluster refuses
beyond that is what the engine dies of later."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kcluster
from tests.e2e.engine.asking import Oracle, oracle

pytestmark = pytest.mark.e2e

NUMBER = 250

SPEC = """
model m {{
  id = "{folder}"
  config = "{folder}/config.json"
}}
hardware h {{
  gpus = 8 * h200-sxm
  hosts = ["10.0.0.1"]
}}
sla s {{
  concurrency = 4
  context = 1K
}}
serve chat {{
  model = m
  hardware = h
  sla = s
  parallel {{ replicas = 1, tp = {tp}, pp = {pp}, dp = 1, ep = off }}
  engine vllm {{
    version = "0.32"
    max_model_len = {length}
    max_num_seqs = {seqs}
    max_num_batched_tokens = {batched}
    {chunked}
  }}
}}
"""


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with oracle(tmp_path_factory.mktemp("oracle")) as found:
        yield found


def drawn(draw: random.Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """A model, and what it is started with."""
    kv_heads = draw.choice((1, 2, 3, 4, 6, 8))
    heads = kv_heads * draw.choice((1, 2, 3, 4))
    head_dim = draw.choice((64, 128))
    model = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": heads * head_dim,
        "intermediate_size": 256 * draw.choice((4, 7, 16, 48)), "num_hidden_layers": draw.choice((2, 4, 7, 16)),
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim, "vocab_size": 32000,
        "max_position_embeddings": draw.choice((2048, 4096)), "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    }  # fmt: skip
    tp = draw.choice((1, 2, 3, 4, 6, 8))
    started = {
        "tp": tp, "pp": draw.choice([pp for pp in (1, 2, 3, 4, 8) if tp * pp <= 8]), "length": draw.choice((1024, 2048, 4096, 8192)),
        "seqs": draw.choice((4, 64, 4096)), "batched": draw.choice((1024, 2048, 8192)), "chunked": draw.random() < 0.8,
    }  # fmt: skip
    return model, started


def test_the_verdicts_are_the_engines(engine: Oracle, tmp_path: Path) -> None:
    draw = random.Random(20261124)
    wrong, agreed, later = [], {True: 0, False: 0}, []
    for number in range(NUMBER):
        model, started = drawn(draw)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(model))
        chunked = "" if started["chunked"] else "chunked_prefill = off"
        findings = kcluster.check(
            SPEC.format(folder=folder, **{**started, "chunked": chunked}), path="drawn.kcluster", folder=tmp_path
        )
        errors = {finding.code: finding.message for finding in findings if finding.severity == "error"}
        flags = [
            f"--tensor-parallel-size={started['tp']}", f"--pipeline-parallel-size={started['pp']}", f"--max-model-len={started['length']}",
            f"--max-num-seqs={started['seqs']}", f"--max-num-batched-tokens={started['batched']}",
            *(() if started["chunked"] else ("--no-enable-chunked-prefill",)),
        ]  # fmt: skip
        answer = engine.ask(model, *flags)
        if answer["accepted"] != bool(errors):
            agreed[answer["accepted"]] += 1
        elif answer["accepted"]:
            later.append((errors, model, started))
        else:
            wrong.append((answer["message"][:300], model, started))
    assert not wrong, wrong[:5]
    for errors, model, started in later:
        unequal = (
            max(started["tp"], model["num_key_value_heads"]) % min(started["tp"], model["num_key_value_heads"]) != 0
        )
        stages = started["pp"] > model["num_hidden_layers"]
        widths = model["intermediate_size"] % started["tp"] != 0
        assert unequal or stages or widths, (errors, model, started)
    assert min(agreed.values()) > 40, agreed
