"""The KV cache as the engine's own classes lay it out: tokens and concurrency that are planned are the engine's, to the token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define

import kcluster
from kcluster.physics.cut import EngineVersion
from kcluster.physics.kv_layout import default_block_size
from kcluster.planner.types import ServePlan
from kcluster.targets.layout import processes
from kcluster.units import GIB
from tests.e2e.engine.asking import Oracle, oracle
from tests.e2e.engine.models import published
from tests.e2e.engine.test_flags import flags

pytestmark = pytest.mark.e2e

SPEC = """
model m {{ id = "{id}" }}
hardware h {{
  gpus = {cards} * h200-sxm
  hosts = ["10.0.0.1"]
}}
sla s {{
  concurrency = 8
  context = {length}
}}
serve chat {{
  model = m
  hardware = h
  sla = s
  parallel {{ replicas = 1, tp = {tp}, pp = {pp}, dp = 1, dcp = {dcp}, ep = off }}
  engine vllm {{
    version = "0.32"
    max_model_len = {length}
    max_num_batched_tokens = {batched}
    {format}
    args {{
      "--kv-cache-memory-bytes" = {kv_bytes}
      {more}
    }}
  }}
}}
"""


@define(frozen=True)
class Shape:
    """One question. `kv` is the format of the cache ("" where none is asked for), `block` what a GPU would take by itself."""

    id: str
    tp: int = 1
    length: int = 8192
    gib: float = 4.0
    kv: str = ""
    batched: int = 8192
    pp: int = 1
    dcp: int = 1
    more: str = ""

    def __str__(self) -> str:
        parts = (
            f"tp{self.tp}",
            f"pp{self.pp}" * (self.pp > 1),
            f"dcp{self.dcp}" * (self.dcp > 1),
            str(self.length),
            self.kv,
        )
        return "-".join((self.id.rpartition("/")[2], *(part for part in parts if part)))

    def spec(self) -> str:
        return SPEC.format(
            id=self.id, cards=max(8, self.tp * self.pp), tp=self.tp, pp=self.pp, dcp=self.dcp, length=self.length,
            batched=self.batched, format=f"kv_cache = {self.kv}" if self.kv else "", kv_bytes=int(self.gib * GIB), more=self.more,
        )  # fmt: skip


SHAPES = (
    # Grouped heads, from one KV head a rank to many, in several sizes and formats.
    *(Shape("meta-llama/Llama-3.1-8B-Instruct", tp, length, kv=kv) for tp, length, kv in (
        (1, 8192, ""), (2, 8192, ""), (4, 131072, ""), (8, 8192, ""), (1, 4099, ""), (1, 8192, "fp8"), (8, 131072, "fp8"))),
    Shape("meta-llama/Llama-3.3-70B-Instruct", 4, 8192), Shape("meta-llama/Llama-3.3-70B-Instruct", 8, 32768, kv="fp8"),
    Shape("meta-llama/Llama-3.3-70B-Instruct", 4, 8192, pp=2), Shape("meta-llama/Llama-3.1-405B", 8, 16384),
    Shape("meta-llama/Llama-2-7b-hf", 1, 4096), Shape("meta-llama/Llama-2-13b-hf", 4, 2048),
    Shape("Qwen/Qwen2.5-7B-Instruct", 4, 16384), Shape("Qwen/Qwen2.5-0.5B", 2, 16384), Shape("Qwen/Qwen2.5-72B", 8, 32768),
    Shape("Qwen/Qwen3-8B", 1, 40960), Shape("Qwen/Qwen3-32B", 4, 40960), Shape("Qwen/Qwen3-32B", 4, 40960, kv="fp8"),
    Shape("Qwen/Qwen3-32B", 8, 40960, pp=1, dcp=1), Shape("Qwen/Qwen3-30B-A3B", 2, 32768), Shape("Qwen/Qwen3-30B-A3B", 8, 32768),
    Shape("Qwen/Qwen3-235B-A22B", 8, 32768), Shape("Qwen/Qwen3-235B-A22B", 8, 32768, dcp=2),
    Shape("Qwen/Qwen3-VL-30B-A3B-Instruct", 2, 32768), Shape("Qwen/Qwen2.5-VL-7B-Instruct", 1, 32768),
    Shape("mistralai/Mistral-Nemo-Instruct-2407", 2, 32768), Shape("mistralai/Mixtral-8x7B-v0.1", 2, 32768),
    Shape("mistralai/Mistral-7B-v0.1", 1, 32768), Shape("mistralai/Mistral-Large-Instruct-2407", 8, 32768),
    Shape("mistralai/Mistral-Small-3.1-24B-Instruct-2503", 2, 32768),
    Shape("microsoft/phi-4", 2, 16384), Shape("microsoft/Phi-3.5-mini-instruct", 1, 16384),
    Shape("tiiuae/falcon-7b", 1, 2048), Shape("bigcode/starcoder2-7b", 2, 16384), Shape("google/gemma-7b", 2, 8192),
    Shape("CohereLabs/c4ai-command-r-v01", 4, 32768), Shape("ibm-granite/granite-4.1-8b", 2, 32768),
    Shape("HuggingFaceTB/SmolLM3-3B", 1, 32768), Shape("allenai/OLMo-2-1124-7B", 1, 4096),
    Shape("zai-org/GLM-4.5-Air", 4, 32768), Shape("zai-org/GLM-4-9B-0414", 2, 32768), Shape("MiniMaxAI/MiniMax-M2.5", 4, 32768),
    Shape("baidu/ERNIE-4.5-300B-A47B-Paddle", 8, 32768),
    # Sliding and chunked layers in groups beside full ones.
    Shape("google/gemma-3-27b-it", 2, 32768), Shape("google/gemma-3-27b-it", 1, 131072, 16), Shape("google/gemma-3-4b-it", 1, 8192),
    Shape("google/gemma-3-27b-it", 4, 32768, kv="fp8"), Shape("google/gemma-2-9b", 1, 8192), Shape("google/gemma-3-1b-it", 1, 8192),
    Shape("openai/gpt-oss-120b", 1, 131072), Shape("openai/gpt-oss-20b", 2, 32768, batched=2048), Shape("openai/gpt-oss-20b", 1, 8192),
    Shape("allenai/Olmo-3-1125-32B", 4, 32768), Shape("LGAI-EXAONE/EXAONE-4.0-1.2B", 1, 32768),
    Shape("CohereLabs/c4ai-command-a-03-2025", 4, 32768),
    Shape("meta-llama/Llama-4-Scout-17B-16E-Instruct", 8, 131072), Shape("meta-llama/Llama-4-Maverick-17B-128E-Instruct", 8, 32768),
    # Latent attention: one latent on every rank.
    Shape("deepseek-ai/DeepSeek-V2-Lite", 1, 32768), Shape("deepseek-ai/DeepSeek-V3", 8, 32768), Shape("deepseek-ai/DeepSeek-R1", 8, 65536),
    Shape("moonshotai/Kimi-K2-Instruct", 8, 32768),
    # Recurrent states, whose pages make the blocks of the attention layers grow.
    Shape("Qwen/Qwen3-Next-80B-A3B-Instruct", 4, 32768), Shape("Qwen/Qwen3-Next-80B-A3B-Instruct", 2, 32768, 16),
    Shape("Qwen/Qwen3.5-27B", 4, 32768, 8), Shape("Qwen/Qwen3.5-35B-A3B", 2, 32768, 8),
    Shape("nvidia/Nemotron-H-8B-Base-8K", 1, 8192), Shape("ibm-granite/granite-4.0-h-micro", 1, 8192),
)  # fmt: skip


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    with oracle(tmp_path_factory.mktemp("oracle")) as found:
        yield found


def planned(shape: Shape) -> tuple[ServePlan, list[str]]:
    plan = kcluster.plan(shape.spec())
    (serve,) = plan.serves
    return serve, flags(plan, processes(plan)[0])


def asked(engine: Oracle, shape: Shape) -> tuple[ServePlan, dict[str, Any]]:
    serve, given = planned(shape)
    assert serve.chosen.memory is not None and serve.chosen.memory.layout is not None
    # What a GPU's kernel takes when nobody asks is given: the engine's arithmetic is what is compared.
    chosen, card = serve.chosen, serve.serve.cluster.nodes[0].cards[0]
    architecture = serve.serve.model.architecture.value
    version = EngineVersion("vllm", serve.serve.engine.version.value)
    block = default_block_size(architecture, chosen.limits, version, card)
    return serve, engine.ask(
        published(shape.id), *given, kv_bytes=int(shape.gib * GIB), like_gpu=True, block_size=block
    )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_tokens_and_concurrency_are_the_engines(engine: Oracle, shape: Shape) -> None:
    serve, answer = asked(engine, shape)
    assert answer["accepted"], answer
    memory = serve.chosen.memory
    assert memory is not None
    assert (memory.starts == "yes") == answer["starts"], (memory.max_concurrency, answer)
    if answer["starts"]:
        found = (int(memory.kv_tokens.value), round(memory.max_concurrency.value, 6))
        assert found == (answer["tokens"], round(answer["concurrency"], 6)), (memory.layout, answer)


def test_a_window_as_wide_as_the_positions_is_planned_as_full_attention(engine: Oracle) -> None:
    """The engine counts one block more a request, for where a window begins inside a block: 0.05 % of the tokens here."""
    serve, answer = asked(engine, Shape("mistralai/Ministral-8B-Instruct-2410", 2, 32768))
    memory = serve.chosen.memory
    assert memory is not None and answer["groups"] == [["SlidingWindowSpec", 16, 36]]
    of_one = 32768 // 16
    assert memory.max_concurrency.value == answer["blocks"] / of_one
    assert answer["concurrency"] == answer["blocks"] / (of_one + 1)
