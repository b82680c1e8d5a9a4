"""Architectures, cards and constants written out by hand, so that these tests need no catalog."""

from __future__ import annotations

from kcluster.physics.architecture import (
    Architecture,
    DeltaNet,
    DenseFfn,
    GroupedAttention,
    LatentAttention,
    Layer,
    MoeFfn,
)
from kcluster.physics.cut import EngineVersion, KvFormat, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card
from kcluster.physics.memory import MemoryConstants
from kcluster.units import GIB, Figure, given

VLLM_33 = EngineVersion("vllm", (0, 33))
VLLM_19 = EngineVersion("vllm", (0, 19))
VLLM_11 = EngineVersion("vllm", (0, 11))
BF16 = WeightFormat("bf16", 2.0, quantized=False)
FP8_BLOCK = WeightFormat("fp8-block", 1.0, scale_bytes=4.0, block=(128, 128), arithmetic="fp8")
AWQ = WeightFormat("awq-int4", 0.5, scale_bytes=2.5, group=128, weight_only=True)
NVFP4 = WeightFormat("nvfp4", 0.5, scale_bytes=1.0, group=16, arithmetic="fp4")
MXFP4 = WeightFormat("mxfp4", 0.5, scale_bytes=1.0, group=32, arithmetic="fp4", covers="experts")


def limits(
    length: int = 8192,
    sequences: int = 256,
    batched: int = 8192,
    kv_format: KvFormat = "bf16",
    utilization: float = 0.9,
    **others: object,
) -> Limits:
    return Limits(length, sequences, batched, kv_format, utilization, **others)  # type: ignore[arg-type]


def dense(
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    intermediate: int,
    vocab: int,
    positions: int = 131072,
    **others: object,
) -> Architecture:
    layer = Layer((GroupedAttention(heads, kv_heads, head_dim, head_dim),), DenseFfn(intermediate), 2 * hidden)
    return Architecture(
        "llama",
        "LlamaForCausalLM",
        hidden,
        vocab,
        (layer,) * layers,
        False,
        positions,
        final_norm_parameters=hidden,
        **others,  # type: ignore[arg-type]
    )


TINY = dense(4, 256, 8, 4, 32, 512, 512, 1024)
"""The model of research/vllm.md, 1.1, which the real engine was run with."""
LLAMA_70B = dense(80, 8192, 64, 8, 128, 28672, 128256)
LLAMA_405B = dense(126, 16384, 128, 8, 128, 53248, 128256)
QWEN_235B = Architecture(
    "qwen3_moe",
    "Qwen3MoeForCausalLM",
    4096,
    151936,
    (Layer((GroupedAttention(64, 4, 128, 128, qk_norm="head"),), MoeFfn(128, 8, 1536), 2 * 4096),) * 94,
    False,
    40960,
)


def gpt_oss(layers: int) -> Architecture:
    sliding = Layer((GroupedAttention(64, 8, 64, 64, window=128, sinks=True),), MoeFfn(128, 4, 2880), 5760)
    full = Layer((GroupedAttention(64, 8, 64, 64, sinks=True),), MoeFfn(128, 4, 2880), 5760)
    return Architecture("gpt_oss", "GptOssForCausalLM", 2880, 201088, (sliding, full) * (layers // 2), False, 131072)


def deepseek(*, sparse: bool = False) -> Architecture:
    attention = LatentAttention(
        128, 1536, 512, 64, 128, 128, index_heads=64 if sparse else 0, index_dim=128 if sparse else 0
    )
    first = Layer((attention,), DenseFfn(18432), 2 * 7168)
    others = Layer((attention,), MoeFfn(256, 8, 2048, shared_intermediate=2048), 2 * 7168)
    return Architecture(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        7168,
        129280,
        (first,) * 3 + (others,) * 58,
        False,
        163840,
        mtp_layers=(others,),
    )


def qwen35_27b() -> Architecture:
    """64 layers, every fourth full attention, the others gated delta-rule layers."""
    recurrent = Layer((DeltaNet(16, 48, 128, 128, 4),), DenseFfn(17408), 2 * 5120)
    full = Layer((GroupedAttention(24, 4, 256, 256, output_gate=True),), DenseFfn(17408), 2 * 5120)
    return Architecture(
        "qwen3_5",
        "Qwen3_5ForConditionalGeneration",
        5120,
        248320,
        (recurrent, recurrent, recurrent, full) * 16,
        False,
        262144,
    )


def gemma_31b() -> Architecture:
    """60 layers, five sliding ones (16 KV heads of 256) to each full one (4 of 512)."""
    sliding = Layer((GroupedAttention(32, 16, 256, 256, window=1024),), DenseFfn(21504), 4 * 5376)
    full = Layer((GroupedAttention(32, 4, 512, 512),), DenseFfn(21504), 4 * 5376)
    return Architecture(
        "gemma4",
        "Gemma4ForConditionalGeneration",
        5376,
        262144,
        (*(sliding,) * 5, full) * 10,
        True,
        262144,
    )


def card(
    name: str = "h100-sxm",
    gib: float = 79.11,
    capability: tuple[int, int] | None = (9, 0),
    *,
    link: str | None = "nvlink",
    vendor: str = "nvidia",
    form: str = "sxm",
    bandwidth: float = 3.35e12,
) -> Card:
    return Card(
        name,
        name.upper(),
        vendor,
        given("gpu.memory", gib * GIB, "bytes"),
        given("gpu.bandwidth", bandwidth, "bytes/s"),
        (),
        capability,
        form,  # type: ignore[arg-type]
        5,
        16,
        link,  # type: ignore[arg-type]
        4,
        None,
        link is not None,
        True,
        False,
    )


def constant(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure("constant", value, "bytes", low=value if low is None else low, high=value if high is None else high)


def constants(**others: Figure) -> MemoryConstants:
    """Round constants without ranges, for arithmetic by hand."""
    values = {
        "sampler_sorted": constant(40),
        "sampler_flashinfer": constant(10),
        "sampler_fused": constant(16),
        "sampler_second": constant(2),
        "sampler_rows": constant(128),
        "activation_buffers": constant(2**20),
        "activation_hidden": constant(4),
        "activation_mlp": constant(3),
        "activation_experts": constant(1),
        "activation_recurrent": constant(6),
        "encoder": constant(65536),
        "base_cuda": constant(GIB / 8),
        "base_cuda_grown": constant(GIB / 4),
        "base_rocm": constant(GIB),
        "communicator_plain": constant(GIB / 8),
        "communicator_multicast": constant(GIB),
        "communicator_multicast_grown": constant(2 * GIB),
        "communicator_step": constant(GIB / 16),
        "communicator_rocm": constant(GIB / 2),
        "graph_first": constant(2**18),
        "graph_layer": constant(2**18),
        "graph_experts": constant(2**19),
        "graph_full": constant(2**22),
        "graph_recurrent": constant(8),
        "weights": constant(1),
        "pool": constant(0),
        "pool_unified": constant(0),
    }
    return MemoryConstants(**{**values, **others})
