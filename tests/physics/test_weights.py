"""Bytes of weights: whole checkpoints against what publishers list, and single ranks by hand."""

from __future__ import annotations

import pytest

from kcluster.catalog.config_json import read_config
from kcluster.catalog.formats import WEIGHT_FORMATS
from kcluster.catalog.models import find_model
from kcluster.physics.allocator import kept
from kcluster.physics.architecture import Architecture
from kcluster.physics.checkpoint import tensor_bytes
from kcluster.physics.cut import Cut
from kcluster.physics.parameters import parameters
from kcluster.physics.tensors import layer_tensors
from kcluster.physics.weights import part_bytes, stage_layers, stage_weights, weight_bytes
from kcluster.physics.work import stored_bytes
from kcluster.units import GIB

BF16 = WEIGHT_FORMATS["bf16"]


def arch(model: str) -> Architecture:
    match = find_model(model)
    assert match is not None
    return match.architecture


def read(**config: object) -> Architecture:
    architecture, problems = read_config(config)
    assert architecture is not None, problems
    return architecture


SMALL = {
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 128,
    "vocab_size": 100,
    "max_position_embeddings": None,  # no rotary tables in the arithmetic below
}
EXPERTS = {
    "model_type": "mixtral",
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 96,
    "num_local_experts": 6,
    "num_experts_per_tok": 2,
    "vocab_size": 128,
    "max_position_embeddings": None,  # no rotary tables in the arithmetic below
}


# ---- layers of a stage ----


@pytest.mark.parametrize(
    ("layers", "pp", "dealt"),
    [
        (80, 1, (80,)),
        (80, 2, (40, 40)),
        (61, 2, (31, 30)),
        (61, 4, (15, 15, 16, 15)),
        (126, 4, (31, 32, 32, 31)),
        (126, 8, (15, 16, 16, 16, 16, 16, 16, 15)),
        (7, 4, (2, 2, 2, 1)),
        (3, 4, (1, 1, 1, 0)),
        (36, 5, (7, 7, 7, 8, 7)),
    ],
)
def test_layers_as_the_engine_deals_them_out(layers: int, pp: int, dealt: tuple[int, ...]) -> None:
    # the remainder goes to the stages before the last, from the back
    assert stage_layers(layers, Cut(pp=pp)) == dealt


def test_a_partition_by_hand_wins() -> None:
    assert stage_layers(80, Cut(pp=2, layers=(41, 39))) == (41, 39)


# ---- whole checkpoints ----


@pytest.mark.parametrize(
    ("model", "form", "gib"),
    [
        # sizes as their repositories list them, in GiB
        ("meta-llama/Llama-3.3-70B-Instruct", "bf16", 131.42),
        ("meta-llama/Llama-3.1-8B-Instruct", "bf16", 14.96),
        ("google/gemma-3-27b-it", "bf16", 51.10),
        ("google/gemma-3-4b-it", "bf16", 8.01),
        ("google/gemma-4-31B-it", "bf16", 58.25),
        ("google/gemma-4-26B-A4B", "bf16", 48.07),
        ("Qwen/Qwen3.6-27B", "bf16", 51.75),
        ("Qwen/Qwen3.6-35B-A3B", "bf16", 66.97),
        ("Qwen/Qwen3.5-9B", "bf16", 17.98),
        ("Qwen/Qwen3.5-4B", "bf16", 8.68),
        ("microsoft/phi-4", "bf16", 27.31),
        ("microsoft/Phi-4-mini-instruct", "bf16", 7.15),
        ("microsoft/Phi-3.5-mini-instruct", "bf16", 7.12),
        ("mistralai/Mistral-7B-Instruct-v0.3", "bf16", 13.50),
        ("ibm-granite/granite-4.1-8b", "bf16", 16.38),
        ("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "bf16", 58.82),
        ("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", "bf16", 230.25),
        ("deepseek-ai/DeepSeek-V3", "fp8-block", 641.30),
        ("MiniMaxAI/MiniMax-M2.7", "fp8-block", 214.34),
        ("Qwen/Qwen3.6-35B-A3B", "fp8-block", 34.90),
        ("zai-org/GLM-5.2", "fp8-block", 703.75),
        ("Qwen/Qwen3-8B", "awq-int4", 5.68),
        ("moonshotai/Kimi-K2.5", "int4-experts", 554.32),
    ],
)
def test_checkpoints_have_the_size_that_is_listed(model: str, form: str, gib: float) -> None:
    assert weight_bytes(arch(model), WEIGHT_FORMATS[form]).value / GIB == pytest.approx(gib, rel=0.0015)


def test_gpt_oss_is_half_of_its_repository_which_holds_two_copies() -> None:
    assert weight_bytes(arch("openai/gpt-oss-120b"), WEIGHT_FORMATS["mxfp4"]).value / GIB == pytest.approx(
        121.54 / 2, rel=0.001
    )
    assert weight_bytes(arch("openai/gpt-oss-20b"), WEIGHT_FORMATS["mxfp4"]).value / GIB == pytest.approx(
        25.63 / 2, rel=0.001
    )


def test_deepseek_v4_has_fp4_experts_in_fp8_blocks() -> None:
    form = WEIGHT_FORMATS["fp8-fp4-experts"]
    pro = weight_bytes(arch("deepseek-ai/DeepSeek-V4-Pro"), form)
    assert pro.value / GIB == pytest.approx(805.34, rel=0.0005)
    # the listed Flash of 31 July holds three MTP modules, the config that was read has one
    flash = arch("deepseek-ai/DeepSeek-V4-Flash")
    three = weight_bytes(flash, form).value + 2 * part_bytes(flash, form).mtp.value
    assert three / GIB == pytest.approx(155.43, rel=0.001)


def test_llama_405b_at_one_byte() -> None:
    model = arch("meta-llama/Llama-3.1-405B")
    # linear layers at one byte, embedding, head and norms (4,206,837,760 parameters) at two, 4 bytes a row of scales
    rows = 126 * (16384 + 1024 + 1024 + 16384 + 2 * 53248 + 16384)
    assert weight_bytes(model, WEIGHT_FORMATS["fp8"]).value == 405_853_388_800 + 4_206_837_760 + 4 * rows
    # Meta's own FP8 checkpoint leaves attention in 16 bits: 126 × 570,425,344 bytes more
    ffn = weight_bytes(model, WEIGHT_FORMATS["fp8-ffn"]).value
    assert ffn - weight_bytes(model, WEIGHT_FORMATS["fp8"]).value == pytest.approx(126 * 570_425_344, rel=1e-3)


def test_bytes_of_bf16_are_twice_the_parameters() -> None:
    for model in ("Qwen/Qwen3-14B", "google/gemma-3-12b-it", "zai-org/GLM-4-9B-0414", "openai/gpt-oss-20b"):
        known = arch(model)
        assert weight_bytes(known, BF16).value == 2 * parameters(known).total.value


def test_groups_of_int4() -> None:
    # one layer: q 64 × 64, k and v 16 × 64, o 64 × 64, gate and up 128 × 64, down 64 × 128: 34,816 weights
    known = read(**SMALL)
    whole = weight_bytes(known, WEIGHT_FORMATS["awq-int4-g32"]).value
    packed = 4 * 34_816 * (0.5 + 2.5 / 32)
    plain = 2 * (2 * 100 * 64 + 4 * 2 * 64 + 64)
    assert whole == packed + plain
    # a group of 128 is wider than a row of 64: one scale a row still
    rows = 64 + 16 + 16 + 64 + 128 + 128
    assert weight_bytes(known, WEIGHT_FORMATS["awq-int4"]).value == plain + 4 * (34_816 * 0.5 + 2.5 * (rows + 64))


# one layer of the small model: q and o 64 × 64, k and v 16 × 64, gate and up 128 × 64, down 64 × 128
MATRICES = ((64, 64), (64, 64), (16, 64), (16, 64), (128, 64), (128, 64), (64, 128))
WEIGHTS = 34_816  # in all of them
PLAIN = 2 * (2 * 100 * 64 + 4 * 2 * 64 + 64)  # embedding, head and norms in 16 bits


@pytest.mark.parametrize(
    ("form", "layer"),
    [
        # a 32-bit scale for an output row: 64 + 64 + 16 + 16 + 128 + 128 + 64 = 480 rows
        ("fp8", 34_816 + 4 * 480),
        ("int8", 34_816 + 4 * 480),
        ("w8a16", 34_816 + 4 * 480),
        # a 16-bit scale (and for AWQ and GPTQ a 4-bit zero point) for 64 or 32 weights
        ("awq-int4-g64", 34_816 / 2 + 2.5 * 34_816 / 64),
        ("gptq-int4-g64", 34_816 / 2 + 2.5 * 34_816 / 64),
        ("gptq-int4-g32", 34_816 / 2 + 2.5 * 34_816 / 32),
        ("w4a16-g32", 34_816 / 2 + 2 * 34_816 / 32),
        # a row of 64 is half a group of 128 and has a scale all the same; 416 rows of 64 and 64 of 128
        ("gptq-int8", 34_816 + 3 * 480),
        ("w4a16", 34_816 / 2 + 2 * 480),
        # an 8-bit scale for 16 or 32 weights, a 32-bit one for 64
        ("nvfp4", 34_816 / 2 + 34_816 / 16),
        ("mxfp8", 34_816 + 34_816 / 32),
        ("bnb-int4", 34_816 / 2 + 4 * 34_816 / 64),
    ],
)
def test_a_small_checkpoint_by_hand(form: str, layer: float) -> None:
    assert sum(rows * columns for rows, columns in MATRICES) == WEIGHTS
    assert weight_bytes(read(**SMALL), WEIGHT_FORMATS[form]).value == PLAIN + 4 * layer


def test_feed_forward_parts_that_are_packed_apart() -> None:
    # attention in FP8 blocks (each matrix fits one, 4 bytes of scale), MLPs at 4 bits with a scale for 16
    attention, mlp = 2 * 64 * 64 + 2 * 16 * 64, 3 * 128 * 64
    known = read(**SMALL)
    assert weight_bytes(known, WEIGHT_FORMATS["fp8-nvfp4-ffn"]).value == PLAIN + 4 * (attention + 4 * 4 + mlp * 9 / 16)
    # the experts alone: 6 of 3 × 96 × 64 in each of 2 layers
    experts = read(**EXPERTS)
    form = WEIGHT_FORMATS["fp8-nvfp4-experts"]
    assert part_bytes(experts, form).experts.value == 2 * 6 * 3 * 96 * 64 * 9 / 16
    assert part_bytes(experts, form).attention.value == 2 * (2 * 64 * 64 + 2 * 16 * 64 + 4 * 4)


@pytest.mark.parametrize("form", sorted(WEIGHT_FORMATS))
def test_what_a_step_reads_is_what_is_stored(form: str) -> None:
    """Bytes of an element as the time model reads them are those of the checkpoint, but for groups that a row does not fill."""
    fmt = WEIGHT_FORMATS[form]
    for model in ("deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-235B-A22B", "openai/gpt-oss-120b", "Qwen/Qwen3-8B"):
        known = arch(model)
        dense = known.moe is None
        for tensor in (tensor for layer in known.kinds for tensor in layer_tensors(layer, known.hidden)):
            whole = tensor_bytes(tensor, fmt, dense, tensor.rows, tensor.columns, tensor.copies).value
            read_bytes = tensor.elements * stored_bytes(tensor, fmt, dense)
            scales = 4 * tensor.rows * tensor.copies if not fmt.group and fmt.block is None else 0
            assert read_bytes == pytest.approx(whole, rel=0.01, abs=scales), tensor.name


def test_blocks_of_fp8_are_rounded_up() -> None:
    # every matrix of the small model fits one block, so that each has one scale of 4 bytes
    known = read(**SMALL)
    plain = 2 * (2 * 100 * 64 + 4 * 2 * 64 + 64)
    assert weight_bytes(known, WEIGHT_FORMATS["fp8-block"]).value == plain + 4 * (34_816 + 7 * 4)


def test_what_a_format_leaves_in_16_bits() -> None:
    known = read(**EXPERTS)
    router = 2 * 2 * 6 * 64
    for form in ("fp8", "nvfp4", "awq-int4", "mxfp4"):
        parts = part_bytes(known, WEIGHT_FORMATS[form])
        assert parts.embedding.value == parts.head.value == 2 * 128 * 64
        assert parts.norms.value == router + 2 * (2 * 2 * 64 + 64)
    attention = 2 * 2 * (2 * 64 * 64 + 2 * 16 * 64)
    assert part_bytes(known, WEIGHT_FORMATS["mxfp4"]).attention.value == attention
    assert part_bytes(known, WEIGHT_FORMATS["nvfp4-ffn"]).attention.value == attention
    assert part_bytes(known, WEIGHT_FORMATS["nvfp4"]).attention.value < attention / 3


def test_dense_models_have_no_experts_to_pack_and_are_packed_whole() -> None:
    known = read(**SMALL)
    assert part_bytes(known, WEIGHT_FORMATS["mxfp4"]).attention.value == 4 * (2 * 64 * 64 + 2 * 16 * 64) * 17 / 32


def test_nvfp4_leaves_latent_attention_in_16_bits() -> None:
    known = arch("deepseek-ai/DeepSeek-V3")
    assert part_bytes(known, WEIGHT_FORMATS["nvfp4"]).attention.value == part_bytes(known, BF16).attention.value
    assert part_bytes(known, WEIGHT_FORMATS["awq-int4"]).attention.value < part_bytes(known, BF16).attention.value / 3


def test_gguf_packs_embeddings_too() -> None:
    # Llama-3.1-8B as Q4_K_M and Q8_0: 4.58 and 7.95 GiB as listed for the files
    known = arch("meta-llama/Llama-3.1-8B-Instruct")
    assert weight_bytes(known, WEIGHT_FORMATS["gguf-q4_k_m"]).value / GIB == pytest.approx(4.58, rel=0.005)
    assert weight_bytes(known, WEIGHT_FORMATS["gguf-q8_0"]).value / GIB == pytest.approx(7.95, rel=0.005)


# ---- one rank ----


def rank(known: Architecture, cut: Cut, stage: int = 0, form: str = "bf16", **more: bool) -> float:
    return stage_weights(known, WEIGHT_FORMATS[form], cut, stage, **more).value


def without_tables(**changes: object) -> Architecture:
    """The small model without rotary tables (no positions), so that only weights count."""
    return read(**{**SMALL, **changes})


def test_one_rank_holds_all_and_a_padded_vocabulary() -> None:
    # 100 rows are padded to 128: 28 rows of 64 more, in embedding and head
    known = without_tables()
    assert rank(known, Cut()) == weight_bytes(known, BF16).value + 2 * 2 * 28 * 64


def test_tensor_parallel_cuts_linear_layers_and_repeats_norms() -> None:
    known = without_tables()
    # a layer: q and o 2 × 64 × 64, k and v 2 × 16 × 64, mlp 3 × 128 × 64; norms 2 × 64
    layer = (2 * 64 * 64 + 2 * 16 * 64 + 3 * 128 * 64) // 2 + 2 * 64
    assert rank(known, Cut(tp=2)) == 2 * (4 * layer + 2 * 64 * 64 + 64)


def test_kv_heads_are_repeated_beyond_their_number() -> None:
    known = without_tables()
    # 2 KV heads over 8 ranks: one whole head of 8 a rank
    layer = (2 * 64 * 64 + 3 * 128 * 64) // 8 + 2 * 8 * 64 + 2 * 64
    assert rank(known, Cut(tp=8)) == 2 * (4 * layer + 2 * 16 * 64 + 64)


def test_stages_hold_their_layers_and_the_ends_hold_the_vocabulary() -> None:
    known = without_tables(num_hidden_layers=7)
    layer = 2 * 64 * 64 + 2 * 16 * 64 + 3 * 128 * 64 + 2 * 64
    # 7 layers over 4 stages: 2, 2, 2, 1
    assert [rank(known, Cut(pp=4), stage) for stage in range(4)] == [
        2 * (2 * layer + 128 * 64),
        2 * 2 * layer,
        2 * 2 * layer,
        2 * (layer + 128 * 64 + 64),
    ]


def test_a_tied_head_is_a_copy_on_the_last_stage() -> None:
    tied = without_tables(tie_word_embeddings=True)
    whole = rank(tied, Cut())
    assert sum(rank(tied, Cut(pp=2), stage) for stage in range(2)) == whole + 2 * 128 * 64


def test_a_stage_without_layers_holds_what_stands_at_the_ends() -> None:
    known = without_tables(num_hidden_layers=3)
    assert rank(known, Cut(pp=4), 3) == 2 * (128 * 64 + 64)


def test_experts_are_sliced_without_expert_parallel() -> None:
    known = read(**EXPERTS)
    # over tp × dp = 4: 96 / 4 = 24 of each expert's width; attention over tp = 2 only
    layer = (2 * 64 * 64 + 2 * 16 * 64) // 2 + 6 * 3 * 64 * 24 + 6 * 64 + 2 * 64
    assert rank(known, Cut(tp=2, dp=2)) == 2 * (2 * layer + 2 * 64 * 64 + 64)


def test_experts_stay_whole_with_expert_parallel_and_the_first_ranks_have_one_more() -> None:
    known = read(**EXPERTS)
    # 6 experts over 4 ranks: 2, 2, 1, 1 — the fullest has 2 whole ones
    layer = (2 * 64 * 64 + 2 * 16 * 64) // 2 + 2 * 3 * 64 * 96 + 6 * 64 + 2 * 64
    assert rank(known, Cut(tp=2, dp=2, ep=True)) == 2 * (2 * layer + 2 * 64 * 64 + 64)
    # two redundant experts: 8 over 4 ranks is 2 again, 6 more make it 3
    cut = Cut(tp=2, dp=2, ep=True, eplb=True, redundant_experts=2)
    assert rank(known, cut) == rank(known, Cut(tp=2, dp=2, ep=True))
    more = Cut(tp=2, dp=2, ep=True, eplb=True, redundant_experts=6)
    assert rank(known, more) - rank(known, cut) == 2 * 2 * 3 * 64 * 96


def test_attention_is_whole_on_each_data_parallel_rank() -> None:
    known = read(**EXPERTS)
    layer = 2 * 64 * 64 + 2 * 16 * 64 + 2 * 3 * 64 * 96 + 6 * 64 + 2 * 64
    # ep over dp = 3: two experts a rank, attention whole
    assert rank(known, Cut(dp=3, ep=True)) == 2 * (2 * layer + 2 * 128 * 64 + 64)


def test_shared_experts_are_whole_where_attention_ranks_share_experts() -> None:
    known = arch("deepseek-ai/DeepSeek-V3")
    alone, spread = rank(known, Cut(tp=8, ep=True)), rank(known, Cut(tp=8, dp=2, ep=True))
    # 256 experts over 8 or 16 ranks: 32 or 16 of 44,040,192 weights in 58 layers; and 58 shared experts whole, not an eighth
    assert spread - alone == pytest.approx(2 * 58 * (-16 * 44_040_192 + 44_040_192 * 7 / 8))


def test_latent_down_projections_stand_on_every_rank() -> None:
    known = arch("deepseek-ai/DeepSeek-V3")
    halves = rank(known, Cut(tp=8)) - rank(known, Cut(tp=16))
    # between tp 8 and 16 a rank loses a sixteenth of what is cut: all but 61 × (7168 × (1536 + 576) + 1536 + 512) of the
    # down-projections, 58 routers, norms
    replicated = 61 * (7168 * (1536 + 576) + 1536 + 512 + 14_336) + 58 * (7168 * 256 + 256) + 7168
    language = parameters(known).component("language_model")
    assert language is not None
    # what the allocator rounds up differs by at most one rest of 1 MiB for each of 4 large tensors a layer
    assert halves == pytest.approx(2 * (language.value - replicated) / 16, abs=61 * 4 * 2**20)


def test_packed_kv_b_is_unpacked_beside_itself() -> None:
    known = arch("deepseek-ai/DeepSeek-V3")
    # 128 heads × (128 + 128) × 512 in 61 layers at 2 bytes, an eighth of it a rank
    extra = 61 * 128 * 256 * 512 * 2 / 8
    layer = stage_weights(known, WEIGHT_FORMATS["fp8-block"], Cut(tp=8), 0)
    found: list[float] = []

    def collect(figure: object, times: float) -> None:
        for name, inner in getattr(figure, "inputs", ()):
            count = dict(figure.inputs)["layers"].value if name == "each" else 1  # type: ignore[attr-defined]
            if name == "absorbed":
                found.append(inner.value * times)
            collect(inner, times * count)

    collect(layer, 1)
    assert sum(found) == extra


def test_mtp_layers_are_loaded_for_speculation_only() -> None:
    known = arch("deepseek-ai/DeepSeek-V3")
    form = "fp8-block"
    more = rank(known, Cut(tp=8), form=form, mtp=True) - rank(known, Cut(tp=8), form=form)
    # the layer's 11.5 billion near one byte, cut by 8; the projection of 2 × 7168² whole on every rank at two bytes
    assert more == pytest.approx((11_610_068_224 - 2 * 7168**2) / 8 + 2 * 2 * 7168**2, rel=0.02)
    assert rank(known, Cut(tp=4, pp=2), 0, form, mtp=True) == rank(known, Cut(tp=4, pp=2), 0, form)


def test_the_vision_tower_may_stay_out() -> None:
    known = arch("google/gemma-3-27b-it")
    assert rank(known, Cut(tp=2)) - rank(known, Cut(tp=2), vision=False) == known.vision_parameters


def test_rotary_tables_count() -> None:
    short, long = without_tables(max_position_embeddings=1024), without_tables(max_position_embeddings=2048)
    # 1,024 positions × 8 values × 2 bytes
    assert rank(long, Cut(tp=2)) - rank(short, Cut(tp=2)) == 1024 * 8 * 2


def test_mxfp4_kernels_pad_experts() -> None:
    known = arch("openai/gpt-oss-120b")
    # 2880 wide experts over tp 4 are 720, rounded up to 768; hidden 2880 to 3072
    packed = 36 * 128 * 3 * 3072 * 768 * 17 / 32
    unpadded = 36 * 128 * 3 * 2880 * 720 * 17 / 32
    bare = stage_weights(known, WEIGHT_FORMATS["mxfp4"], Cut(tp=4), 0).value
    assert bare > packed > unpadded
    assert bare / GIB == pytest.approx(17.2217, rel=0.005)  # as vLLM 0.10.1 logs it


def test_exact_bytes_scale_what_is_computed() -> None:
    known = arch("Qwen/Qwen3-8B")
    form = WEIGHT_FORMATS["awq-int4"]
    computed = weight_bytes(known, form).value
    scaled = stage_weights(known, form, Cut(tp=2), 0, exact_bytes=round(computed * 1.1))
    assert scaled.value == pytest.approx(stage_weights(known, form, Cut(tp=2), 0).value * 1.1)
    assert scaled.formula == "computed * exact / checkpoint"


def test_all_ranks_together_hold_at_least_the_model() -> None:
    for model in (
        "Qwen/Qwen3-30B-A3B",
        "Qwen/Qwen3.5-27B",
        "nvidia/Nemotron-H-8B-Base-8K",
        "ai21labs/AI21-Jamba-Mini-1.5",
    ):
        known = arch(model)
        language = parameters(known).component("language_model")
        assert language is not None
        for cut in (Cut(), Cut(tp=2), Cut(tp=4, pp=2), Cut(tp=2, pp=3)):
            whole = sum(cut.tp * rank(known, cut, stage, vision=False) for stage in range(cut.pp))
            assert 2 * language.value <= whole <= 2 * language.value * 1.2


def test_more_ranks_never_hold_more_each() -> None:
    known = arch("Qwen/Qwen3-235B-A22B")
    sizes = [rank(known, Cut(tp=tp), form="fp8-block") for tp in (1, 2, 4, 8, 16, 32, 64)]
    assert sizes == sorted(sizes, reverse=True)


# ---- the allocator ----


def rests_of(known: Architecture, cut: Cut) -> float:
    """What one layer holds beyond its tensors, in MiB."""
    layer = dict(stage_weights(known, BF16, cut, 0).inputs)["attention_dense_layers"]
    each = dict(dict(layer.inputs)["each"].inputs)
    return each["allocator"].value / 2**20


def test_blocks_hold_rests_of_at_most_a_mebibyte() -> None:
    known = arch("Qwen/Qwen2-7B-Instruct")
    # tp 1: qkv 4608 × 3584 × 2 bytes = 31.5 MiB in a block of 32; o 24.5 in 26, whose rest of 1.5 is given away; gate and up
    # 37,888 × 3584 × 2 = 259 in 260; down 129.5 in 130
    assert rests_of(known, Cut()) == 0.5 + 1.0 + 0.5
    # tp 2: qkv 15.75 in 16; o 12.25 in 14, given away; gate and up 129.5 in 130; down 64.75 in 66, given away
    assert rests_of(known, Cut(tp=2)) == 0.25 + 0.5


def test_small_tensors_and_whole_blocks_hold_no_rest() -> None:
    mebibyte = 2**20
    assert [kept(size * mebibyte) for size in (9.5, 10, 11, 11.5, 12.5, 13)] == [False, False, True, True, False, True]
