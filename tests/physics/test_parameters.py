"""Parameters computed by hand, with the arithmetic beside them."""

from __future__ import annotations

from typing import Any

import pytest

from kcluster.catalog.config_json import read_config
from kcluster.catalog.models import find_model
from kcluster.physics.architecture import Architecture
from kcluster.physics.parameters import Parameters, parameters
from kcluster.physics.tensors import embedding_tensor, head_tensor, layer_tensors


def of(model: str) -> Parameters:
    match = find_model(model)
    assert match is not None
    return parameters(match.architecture)


def read(**config: Any) -> Architecture:
    architecture, problems = read_config(config)
    assert architecture is not None, problems
    return architecture


def test_llama_3_3_70b() -> None:
    # a layer: q and o 2 × 8192 × 8192 = 134,217,728; k and v 2 × 8192 × 1024 = 16,777,216;
    #          mlp 3 × 8192 × 28672 = 704,643,072; norms 2 × 8192 = 16,384          → 855,654,400
    # 80 layers 68,452,352,000; embedding and head 2 × 128256 × 8192 = 2,101,346,304; final norm 8,192
    known = of("meta-llama/Llama-3.3-70B-Instruct")
    assert known.total.value == 68_452_352_000 + 2_101_346_304 + 8_192 == 70_553_706_496
    assert known.attention.value == 80 * (134_217_728 + 16_777_216)
    assert known.mlp.value == 80 * 704_643_072
    assert known.embedding.value == 2_101_346_304
    assert known.experts.value == 0
    assert known.active.value == known.total.value


def test_llama_3_1_405b() -> None:
    # a layer: q and o 2 × 16384² = 536,870,912; k and v 2 × 16384 × 1024 = 33,554,432;
    #          mlp 3 × 16384 × 53248 = 2,617,245,696; norms 32,768                  → 3,187,703,808
    # 126 layers 401,650,679,808; embedding and head 2 × 128256 × 16384 = 4,202,692,608; final norm 16,384
    assert of("meta-llama/Llama-3.1-405B").total.value == 401_650_679_808 + 4_202_692_608 + 16_384 == 405_853_388_800


def test_tied_head_counts_once() -> None:
    # Llama-3.2-1B, a layer: q and o 2 × 2048² + k and v 2 × 2048 × 512 = 10,485,760; mlp 3 × 2048 × 8192 = 50,331,648;
    # norms 4,096 → 60,821,504; 16 layers 973,144,064; embedding 128256 × 2048 = 262,668,288; final norm 2,048
    known = of("meta-llama/Llama-3.2-1B")
    assert known.total.value == 973_144_064 + 262_668_288 + 2_048 == 1_235_814_400
    assert known.embedding.value == 262_668_288


def test_qwen2_bias_and_qwen3_norms() -> None:
    # Qwen2.5-0.5B, a layer: q and o 2 × 896², k and v 2 × 896 × 128, mlp 3 × 896 × 4864, bias 896 + 2 × 128, norms 1,792
    # = 1,605,632 + 229,376 + 13,074,432 + 1,152 + 1,792 = 14,912,384; × 24 = 357,897,216
    # embedding 151936 × 896 = 136,134,656; final norm 896
    assert of("Qwen/Qwen2.5-0.5B").total.value == 357_897_216 + 136_134_656 + 896 == 494_032_768
    # Qwen3-8B, a layer: 2 × 4096² + 2 × 4096 × 1024 + 3 × 4096 × 12288 + 2 × 128 + 2 × 4096 = 192,946,432; × 36
    # embedding and head 2 × 151936 × 4096 = 1,244,659,712; final norm 4,096
    assert of("Qwen/Qwen3-8B").total.value == 36 * 192_946_432 + 1_244_659_712 + 4_096 == 8_190_735_360


def test_qwen3_235b() -> None:
    # a layer: q and o 2 × 4096 × 8192 = 67,108,864; k and v 2 × 4096 × 512 = 4,194,304; q and k norm 256;
    #          experts 128 × 3 × 4096 × 1536 = 2,415,919,104; router 4096 × 128 = 524,288; norms 8,192 → 2,487,755,008
    # 94 layers 233,848,970,752; embedding and head 2 × 151936 × 4096 = 1,244,659,712; final norm 4,096
    known = of("Qwen/Qwen3-235B-A22B")
    assert known.total.value == 233_848_970_752 + 1_244_659_712 + 4_096 == 235_093_634_560
    assert known.experts.value == 94 * 2_415_919_104
    # active: 8 of 128 experts, that is 15/16 of them left out
    assert known.active.value == 235_093_634_560 - 94 * 2_415_919_104 * 15 / 16 == 22_190_763_520


def test_mixtral() -> None:
    # a layer: 2 × 4096² + 2 × 4096 × 1024 = 41,943,040; experts 8 × 3 × 4096 × 14336 = 1,409,286,144; router 32,768;
    # norms 8,192 → 1,451,270,144; × 32 = 46,440,644,608; embedding and head 2 × 32000 × 4096; final norm 4,096
    known = of("mistralai/Mixtral-8x7B-v0.1")
    assert known.total.value == 46_440_644_608 + 262_144_000 + 4_096 == 46_702_792_704
    # the 12.9 billion that its publisher gives
    assert known.active.value == 46_702_792_704 - 32 * 1_409_286_144 * 6 // 8 == 12_879_925_248


def test_gpt_oss_120b() -> None:
    # a layer: q and o 2 × 2880 × 4096 = 23,592,960; k and v 2 × 2880 × 512 = 2,949,120;
    #          biases 4096 + 2 × 512 + 2880 = 8,000; sinks 64; norms 5,760; router 2880 × 128 + 128 = 368,768
    #          experts 128 × (3 × 2880² + 2 × 2880 + 2880) = 128 × 24,891,840 = 3,186,155,520  → 3,213,080,192
    # 36 layers 115,670,886,912; embedding and head 2 × 201088 × 2880 = 1,158,266,880; final norm 2,880
    known = of("openai/gpt-oss-120b")
    assert known.total.value == 115_670_886_912 + 1_158_266_880 + 2_880 == 116_829_156_672
    # 4 of 128 experts; the publisher's 5.13 billion leave the input embedding (0.58) out
    assert known.active.value == 116_829_156_672 - 36 * 3_186_155_520 * 124 / 128
    assert known.active.value - 201_088 * 2_880 == pytest.approx(5.13e9, rel=0.002)


def test_deepseek_v3() -> None:
    # latent attention: q_a 7168 × 1536 + 1536; q_b 1536 × 128 × 192; kv_a 7168 × 576 + 512; kv_b 512 × 128 × 256;
    #   o 128 × 128 × 7168 → 11,011,584 + 37,748,736 + 4,129,280 + 16,777,216 + 117,440,512 = 187,107,328; × 61
    # three dense layers: 3 × 7168 × 18432 = 396,361,728 each
    # 58 mixtures: 256 × 3 × 7168 × 2048 = 11,274,289,152; shared 44,040,192; router 7168 × 256 + 256 = 1,835,264
    # norms 61 × 14,336; embedding and head 2 × 129280 × 7168 = 1,853,358,080; final norm 7,168
    known = of("deepseek-ai/DeepSeek-V3")
    language = (
        61 * 187_107_328
        + 3 * 396_361_728
        + 58 * (11_274_289_152 + 44_040_192 + 1_835_264)
        + 61 * 14_336
        + 1_853_358_080
        + 7_168
    )
    assert language == 671_026_419_200
    figures = dict(known.components)
    assert figures["language_model"].value == language
    # its MTP layer: attention, mixture and norms once more, a projection of 2 × 7168² and three norms
    mtp = 187_107_328 + 11_274_289_152 + 44_040_192 + 1_835_264 + 14_336 + 2 * 7168**2 + 3 * 7168
    assert figures["mtp"].value == mtp == 11_610_068_224
    assert known.total.value == language + mtp
    # the files hold embedding and head again, and a scale for each block of 128 × 128
    assert figures["stored_mtp_embedding"].value == 1_853_358_080
    published = 684_531_386_000
    assert language + mtp + 1_853_358_080 + figures["block_scales"].value == published


def test_active_of_deepseek_v3_is_near_the_37_billion_that_are_stated() -> None:
    assert of("deepseek-ai/DeepSeek-R1").active.value == pytest.approx(37e9, rel=0.03)


def test_parts_add_up_to_the_total() -> None:
    for model in ("zai-org/GLM-4.5", "Qwen/Qwen3.6-35B-A3B", "google/gemma-3-27b-it", "microsoft/phi-4"):
        known = of(model)
        parts = (known.embedding, known.attention, known.mlp, known.experts, known.other)
        assert sum(part.value for part in parts) == known.total.value
        language_and_more = sum(
            figure.value for name, figure in known.components if name in ("language_model", "vision", "mtp")
        )
        assert language_and_more == known.total.value


def test_figures_count_the_same_tensors_that_weights_are_made_of() -> None:
    match = find_model("nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16")
    assert match is not None
    arch = match.architecture
    tensors = [embedding_tensor(arch), head_tensor(arch)]
    for layer in arch.layers:
        tensors += layer_tensors(layer, arch.hidden)
    elements = sum(tensor.elements for tensor in tensors) + arch.final_norm_parameters
    language = parameters(arch).component("language_model")
    assert language is not None and elements == language.value


def test_every_figure_says_how_it_came_about() -> None:
    total = of("meta-llama/Llama-3.3-70B-Instruct").total
    assert total.formula == "embedding + attention + mlp + experts + other"
    attention = dict(total.inputs)["attention"]
    layers = dict(attention.inputs)["attention"]
    assert layers.formula == "layers * each" and dict(layers.inputs)["layers"].value == 80
    q = dict(dict(layers.inputs)["each"].inputs)["q_proj"]
    assert (q.formula, q.source, q.value) == ("rows * columns", "heads × head_dim, hidden", 8192 * 8192)


@pytest.mark.parametrize(
    ("change", "more"),
    [
        # 2 layers, hidden 64, 4 heads of 16, 2 KV heads, intermediate 128
        ({"attention_bias": True}, 2 * (64 + 2 * 32 + 64)),
        ({"mlp_bias": True}, 2 * (2 * 128 + 64)),
        ({"tie_word_embeddings": True}, -100 * 64),
        ({"num_key_value_heads": 4}, 2 * 2 * 64 * 32),
        ({"head_dim": 32}, 2 * 64 * 16 * (4 + 2 + 2 + 4)),
        ({"num_hidden_layers": 3}, 64 * 64 * 2 + 2 * 64 * 32 + 3 * 64 * 128 + 128),
    ],
)
def test_each_field_moves_what_it_should(change: dict[str, Any], more: int) -> None:
    small = {
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 100,
    }
    assert parameters(read(**{**small, **change})).total.value - parameters(read(**small)).total.value == more


def test_experts_and_shared_experts() -> None:
    # hidden 64, 2 layers, 8 experts of 32, 2 a token, shared 48 with its gate
    arch = read(
        model_type="qwen2_moe",
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=128,
        moe_intermediate_size=32,
        num_experts=8,
        num_experts_per_tok=2,
        shared_expert_intermediate_size=48,
        vocab_size=100,
    )
    known = parameters(arch)
    assert known.experts.value == 2 * 8 * 3 * 64 * 32
    assert known.mlp.value == 2 * 3 * 64 * 48
    # routers 64 × 8, gates 64, norms 2 × 64 a layer, final norm 64
    assert known.other.value == 2 * (64 * 8 + 64 + 128) + 64
    assert known.total.value - known.active.value == 2 * 6 * 3 * 64 * 32


def test_a_stated_total_carries_a_range() -> None:
    from attrs import evolve

    match = find_model("meta-llama/Llama-3.3-70B-Instruct")
    assert match is not None
    total = parameters(evolve(match.architecture, stated_total=71_000_000_000)).total
    assert total.value == 71e9
    low, high = total.range()
    assert low < 71e9 < high
