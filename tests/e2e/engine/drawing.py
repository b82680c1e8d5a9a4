"""Drawn models of every family that lays out its cache in its own way, cut down to a few layers, and flags that change it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

from attrs import define

from tests.e2e.engine.models import published

POSITIONS: Final = 65_536

SPEC = """
model m {{
  id = "{folder}"
  config = "{folder}/config.json"
  {draft}
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
  parallel {{ replicas = 1, tp = {tp}, pp = {pp}, dp = 1, dcp = {dcp}, ep = off }}
  engine vllm {{
    version = "0.32"
    max_model_len = {length}
    max_num_seqs = 4
    max_num_batched_tokens = {batched}
    {attributes}
    args {{
      "--kv-cache-memory-bytes" = {kv_bytes}
      {args}
    }}
  }}
}}
"""


@define(frozen=True)
class Drawn:
    """A model, what it is started with, and the bytes of its cache. `args` are raw flags, True the bare flag."""

    family: str
    model: dict[str, Any]
    cut: dict[str, int]
    length: int
    batched: int
    kv_bytes: int
    fp8: bool
    caching: bool | None
    drafted: int
    args: dict[str, Any]

    def spec(self, folder: str) -> str:
        attributes = "kv_cache = fp8\n    " * self.fp8
        if self.caching is not None:
            attributes += f"prefix_caching = {'on' if self.caching else 'off'}"
        args = "\n      ".join(
            f'"{flag}" = {"on" if value is True else json.dumps(value)}' for flag, value in self.args.items()
        )
        draft = f"draft {{ method = mtp, tokens = {self.drafted} }}" if self.drafted else ""
        return SPEC.format(
            folder=folder, draft=draft, length=self.length, batched=self.batched, kv_bytes=self.kv_bytes,
            attributes=attributes, args=args, **self.cut,
        )  # fmt: skip

    def flags(self) -> list[str]:
        found = [
            f"--tensor-parallel-size={self.cut['tp']}", f"--pipeline-parallel-size={self.cut['pp']}",
            f"--decode-context-parallel-size={self.cut['dcp']}", f"--max-model-len={self.length}", "--max-num-seqs=4",
            f"--max-num-batched-tokens={self.batched}",
        ]  # fmt: skip
        if self.fp8:
            found.append("--kv-cache-dtype=fp8")
        if self.caching is not None:
            found.append("--enable-prefix-caching" if self.caching else "--no-enable-prefix-caching")
        if self.drafted:
            found.append(f'--speculative-config={{"method":"mtp","num_speculative_tokens":{self.drafted}}}')
        return found + [flag if value is True else f"{flag}={value}" for flag, value in self.args.items()]


def _small(id: str, layers: int, **others: Any) -> dict[str, Any]:
    """A published model with fewer layers and experts."""
    config = published(id)
    inner = config.get("text_config", config)
    inner |= {"num_hidden_layers": layers, "max_position_embeddings": POSITIONS, **others}
    inner |= {name: 8 for name in ("num_experts", "num_local_experts", "n_routed_experts") if inner.get(name)}
    inner |= {name: 2 for name in ("num_experts_per_tok", "top_k_experts") if inner.get(name)}
    if inner.get("n_group"):
        inner |= {"n_group": 1, "topk_group": 1}
    return config


def _heads(
    draw: random.Random, groups: tuple[int, ...] = (1, 2, 4, 8), sizes: tuple[int, ...] = (64, 128, 256)
) -> dict[str, int]:
    kv = draw.choice(groups)
    return {"num_key_value_heads": kv, "num_attention_heads": kv * draw.choice((4, 8)), "head_dim": draw.choice(sizes)}


def _kinds(draw: random.Random, layers: int, other: str, periods: tuple[int, ...]) -> list[str]:
    period = draw.choice(periods)
    return [other if (index + 1) % period else "full_attention" for index in range(layers)]


def llama(draw: random.Random) -> dict[str, Any]:
    return _small("meta-llama/Llama-3.1-8B-Instruct", draw.choice((2, 5, 12)), **_heads(draw))


def qwen3_moe(draw: random.Random) -> dict[str, Any]:
    return _small("Qwen/Qwen3-30B-A3B", draw.choice((2, 5, 12)), **_heads(draw))


def gemma3(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice((5, 6, 7, 12, 13, 26))
    kinds = _kinds(draw, layers, "sliding_attention", (2, 3, 4, 6))
    window = draw.choice((128, 512, 1000, 4096))
    return _small("google/gemma-3-1b-it", layers, layer_types=kinds, sliding_window=window, **_heads(draw))


def gemma4(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice((5, 6, 9, 12))
    config: dict[str, Any] = _small(
        "google/gemma-4-26B-A4B", layers, layer_types=_kinds(draw, layers, "sliding_attention", (2, 3, 6)), global_head_dim=512,
        num_key_value_heads=draw.choice((2, 4, 8)), num_global_key_value_heads=draw.choice((1, 2)), sliding_window=draw.choice((512, 1000)),
    )["text_config"]  # fmt: skip
    config.pop("vision_config")
    return config | {"architectures": ["Gemma4ForCausalLM"]}


def cohere2(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice((4, 6, 9))
    kinds = _kinds(draw, layers, "sliding_attention", (4,))
    return _small("CohereLabs/c4ai-command-a-03-2025", layers, layer_types=kinds, **_heads(draw, sizes=(128,)))


def llama4(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice((4, 8, 10))
    kinds = _kinds(draw, layers, "chunked_attention", (4,))
    config = _small(
        "meta-llama/Llama-4-Scout-17B-16E-Instruct", layers, layer_types=kinds, attention_chunk_size=draw.choice((1024, 8192)),
        no_rope_layers=[int(kind != "full_attention") for kind in kinds], **_heads(draw),
    )  # fmt: skip
    config["text_config"].pop("moe_layers", None)
    return config


def _latent(id: str, layers: tuple[int, ...], heads: tuple[int, ...], draw: random.Random) -> dict[str, Any]:
    count = draw.choice(heads)
    return _small(id, draw.choice(layers), num_attention_heads=count, num_key_value_heads=count)


def deepseek_v2(draw: random.Random) -> dict[str, Any]:
    return _latent("deepseek-ai/DeepSeek-V2-Lite", (3, 6, 9), (8, 16, 32), draw)


def deepseek_v3(draw: random.Random) -> dict[str, Any]:
    return _latent("deepseek-ai/DeepSeek-V3", (4, 6), (8, 16, 32), draw)


def deepseek_v32(draw: random.Random) -> dict[str, Any]:
    return _latent("deepseek-ai/DeepSeek-V3.2-Exp", (4, 6), (64, 128), draw)


def glm_dsa(draw: random.Random) -> dict[str, Any]:
    return _latent("zai-org/GLM-5", (4, 6), (64,), draw)


def qwen3_next(draw: random.Random) -> dict[str, Any]:
    layers, keys = draw.choice((4, 6, 8, 12, 13)), draw.choice((8, 16))
    period = draw.choice((2, 3, 4))
    return _small(
        "Qwen/Qwen3-Next-80B-A3B-Instruct", layers, layer_types=_kinds(draw, layers, "linear_attention", (period,)),
        full_attention_interval=period, linear_num_key_heads=keys, linear_num_value_heads=keys * draw.choice((1, 2, 4)),
        linear_key_head_dim=draw.choice((64, 128)), linear_value_head_dim=draw.choice((64, 128)),
        **_heads(draw, (1, 2, 4), (128, 256)),
    )  # fmt: skip


def qwen3_5(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice((4, 8, 12))
    kinds = _kinds(draw, layers, "linear_attention", (4,))
    return _small(
        "Qwen/Qwen3.5-27B", layers, layer_types=kinds, full_attention_interval=4, **_heads(draw, (1, 2, 4), (128, 256))
    )


def nemotron_h(draw: random.Random) -> dict[str, Any]:
    pattern = "".join(draw.choice("MMM-*") for _ in range(draw.choice((6, 10, 14)))) + "M*"
    heads = _heads(draw, (2, 4, 8), (128,))
    return _small(
        "nvidia/Nemotron-H-8B-Base-8K", len(pattern), hybrid_override_pattern=pattern, mamba_num_heads=draw.choice((32, 64, 128)),
        mamba_head_dim=64, ssm_state_size=draw.choice((64, 128)), n_groups=draw.choice((1, 8)), attention_head_dim=128, **heads,
    )  # fmt: skip


def granite_hybrid(draw: random.Random) -> dict[str, Any]:
    kinds = ["mamba", "attention", *draw.choices(("mamba", "mamba", "attention"), k=draw.choice((4, 7, 10)))]
    config = _small("ibm-granite/granite-4.0-h-micro", len(kinds))
    return config | {
        name: kinds for name in ("layer_types", "layers_block_type") if name == "layer_types" or name in config
    }


def falcon_h1(draw: random.Random) -> dict[str, Any]:
    return _small("tiiuae/Falcon-H1-0.5B-Base", draw.choice((4, 5, 8)))


def jamba(draw: random.Random) -> dict[str, Any]:
    return _small("ai21labs/AI21-Jamba-Mini-1.5", draw.choice((8, 16)))


HYBRID: Final = (qwen3_next, qwen3_5, nemotron_h, granite_hybrid, falcon_h1, jamba)
DRAFTING: Final = (deepseek_v3, deepseek_v32, glm_dsa, qwen3_5)
SPLITTING: Final = (llama, qwen3_moe, deepseek_v2, deepseek_v3)
FAMILIES: Final[tuple[Callable[[random.Random], dict[str, Any]], ...]] = (
    llama, qwen3_moe, gemma3, gemma4, cohere2, llama4, deepseek_v2, deepseek_v3, deepseek_v32, glm_dsa, *HYBRID,
)  # fmt: skip


def drawn(draw: random.Random, family: Callable[[random.Random], dict[str, Any]]) -> Drawn:
    tp = draw.choice((1, 1, 2, 4, 8))
    args: dict[str, Any] = {}
    if draw.random() < 0.4:
        args["--block-size"] = draw.choice((16, 32, 48, 64, 128, 256))
    for chance, flag, values in (
        (0.25, "--no-async-scheduling", (True,)),
        (0.2, "--disable-hybrid-kv-cache-manager", (True,)),
        (0.15, "--num-gpu-blocks-override", (50, 400, 5000)),
    ):
        if draw.random() < chance:
            args[flag] = draw.choice(values)
    if family in HYBRID:
        for flag, types in (("--mamba-cache-mode", ("none", "align")), ("--mamba-cache-dtype", ("float32", "bfloat16")), (
            "--mamba-ssm-cache-dtype", ("float32", "bfloat16", "float16"),
        )):  # fmt: skip
            if draw.random() < 0.15:
                args[flag] = draw.choice(types)
    return Drawn(
        family=family.__name__,
        model=family(draw),
        cut={
            "tp": tp,
            "pp": draw.choice([pp for pp in (1, 1, 2) if tp * pp <= 8]),
            "dcp": 2 if family in SPLITTING and tp > 1 and draw.random() < 0.3 else 1,
        },
        length=draw.choice((1024, 1027, 4096, 8192, 30_001, 65_536)),
        batched=draw.choice((512, 2048, 8000, 8192)),
        kv_bytes=int(draw.choice((0.25, 1, 3, 8)) * 2**30),
        fp8=draw.random() < 0.25,
        caching=draw.choice((None, None, True, False)),
        drafted=draw.choice((1, 2, 3)) if family in DRAFTING and draw.random() < 0.4 else 0,
        args=args,
    )
