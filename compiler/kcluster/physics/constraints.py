"""What a cut must satisfy whatever the hardware's speed: divisibility, axes, blocks of quantization, limits, formats.

Each inequality is written here once: the planner rejects with it and the rule of the same code reports it. Sources: vLLM 0.33,
`config/`, `distributed/utils.py`, `layers/linear.py`, `layers/quantization/` (research/vllm.md, 3.1, 3.2 and 3.5).
"""

from __future__ import annotations

from kcluster.physics.architecture import Architecture, DenseFfn, GroupedAttention, LatentAttention, MoeFfn
from kcluster.physics.broken import Broken
from kcluster.physics.cut import Cut, EngineVersion, Limits
from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card
from kcluster.physics.support import family, format_violations
from kcluster.physics.weights import stage_layers
from kcluster.units import Figure, given

MOST_TP = 64
"""Tensor-parallel sizes beyond this are never proposed."""

MARLIN_COLUMNS = 64
MARLIN_ROWS = 128
"""What the Marlin kernel needs of a shard: output columns by 64, input rows by 128."""


def violations(
    arch: Architecture,
    fmt: WeightFormat,
    cut: Cut,
    limits: Limits,
    engine: EngineVersion,
    cards: tuple[Card, ...],
) -> tuple[Broken, ...]:
    """Every constraint that this cut breaks, fatal or not, in the order of their codes. Empty where nothing is wrong."""
    found = [
        *_length(arch, limits),
        *_batch(arch, limits, engine),
        *_heads(arch, cut),
        *_kv_heads(arch, cut),
        *_stages(arch, cut),
        *_experts(arch, cut),
        *_blocks(arch, fmt, cut),
        *_context_parallel(arch, cut),
        *_sparse_context(arch, cut, limits, engine, cards),
        *_widths(arch, cut),
        *format_violations(arch, fmt, limits, engine, cards),
    ]
    return tuple(sorted(found, key=lambda broken: broken.code))


def divisors(number: int, most: int = MOST_TP) -> tuple[int, ...]:
    """Divisors of a number up to `most`, rising."""
    return tuple(value for value in range(1, min(number, most) + 1) if number % value == 0)


def allowed_dcps(arch: Architecture, cut: Cut) -> tuple[int, ...]:
    """The sizes of decode context parallelism above 1 that a cut takes."""
    sizes = range(2, cut.tp + 1)
    return tuple(size for size in sizes if not _context_parallel(arch, Cut(tp=cut.tp, dcp=size)))


def allowed_tps(arch: Architecture, fmt: WeightFormat, cut: Cut, most: int = MOST_TP) -> tuple[int, ...]:
    """Tensor-parallel sizes up to `most` for which no divisibility is broken, everything else of `cut` as it is."""
    attention = arch.attention
    heads = attention.heads if attention is not None else most
    sizes = []
    for tp in divisors(heads, most) if attention is not None else tuple(range(1, most + 1)):
        other = Cut(tp=tp, pp=cut.pp, dp=cut.dp, ep=cut.ep and arch.moe is not None)
        broken = [*_heads(arch, other), *_kv_heads(arch, other), *_blocks(arch, fmt, other), *_widths(arch, other)]
        if not any(item.fatal for item in broken):
            sizes.append(tp)
    return tuple(sizes)


def _listed(numbers: tuple[int, ...]) -> str:
    return ", ".join(str(number) for number in numbers)


def _count(name: str, value: float) -> Figure:
    return given(name, value, "count")


def _length(arch: Architecture, limits: Limits) -> list[Broken]:
    if arch.max_positions is None or limits.max_model_len <= arch.max_positions:
        return []
    because = f"{limits.max_model_len} tokens exceed the model's {arch.max_positions} positions"
    figures = (given("max_positions", arch.max_positions, "tokens"),)
    return [Broken("KC206", "max_model_len", because, True, figures)]


def _batch(arch: Architecture, limits: Limits, engine: EngineVersion) -> list[Broken]:
    found = [*_item(arch, limits, engine), *_latent_prompt(arch, limits, engine)]
    batched = limits.max_num_batched_tokens
    if batched < limits.max_num_seqs:
        because = (
            f"{batched} batched tokens are fewer than {limits.max_num_seqs} sequences, which decode one token each"
        )
        found.append(Broken("KC209", "max_num_batched_tokens", because, True))
    if not limits.chunked_prefill and batched < limits.max_model_len:
        because = f"{batched} batched tokens cannot hold a prompt of {limits.max_model_len} without chunked prefill"
        found.append(Broken("KC209", "max_num_batched_tokens", because, True))
    return found


ITEMS_WHOLE_SINCE = (0, 8, 4)
"""From vLLM 0.8.4 a step that cannot hold a multimodal item which is not cut is refused (pull request 16447)."""
ITEM_FLOOR_SINCE = (0, 22)
"""From about vLLM 0.22 a step that nobody sized holds one multimodal item that cannot be cut (vLLM pull request 43051)."""
DEFAULT_STEP = 2048
LATENT_CHUNKS_SINCE = (0, 8)
CHUNKS_BY_LENGTH = 32 * 1024
"""Before vLLM 0.8, models longer than this got chunked prefill, and with it the step of 2,048 tokens, by default."""


def _item(arch: Architecture, limits: Limits, engine: EngineVersion) -> list[Broken]:
    """A multimodal item whose tokens all attend to each other is taken in one step (vLLM, encoder_cache_manager)."""
    batched, item = limits.max_num_batched_tokens, arch.item_tokens
    if batched >= item or limits.language_model_only or not limits.video or not engine.at_least(*ITEMS_WHOLE_SINCE):
        return []
    because = (
        f"{batched} batched tokens cannot hold one item of {item} tokens, which {arch.class_name} takes in one step"
    )
    # Before 0.22 the step that nobody sized was 2,048; logs of such starts leave open whether somebody had.
    sure = batched != DEFAULT_STEP or engine.at_least(*ITEM_FLOOR_SINCE)
    return [Broken("KC209", "max_num_batched_tokens", because, sure, (given("item_tokens", item, "tokens"),))]


def _latent_prompt(arch: Architecture, limits: Limits, engine: EngineVersion) -> list[Broken]:
    """Before vLLM 0.8 latent attention switched chunked prefill off and kept its step: longer prompts were refused (issue
    13370)."""
    batched = limits.max_num_batched_tokens
    if (
        not arch.latent
        or engine.at_least(*LATENT_CHUNKS_SINCE)
        or limits.max_model_len <= max(CHUNKS_BY_LENGTH, batched)
    ):
        return []
    because = (
        f"prompts of more than {batched} tokens are refused: latent attention has no chunked prefill before vLLM 0.8"
    )
    return [Broken("KC209", "max_num_batched_tokens", because, False, (given("batched", batched, "tokens"),))]


def _heads(arch: Architecture, cut: Cut) -> list[Broken]:
    attention = arch.attention
    if attention is None or attention.heads % cut.tp == 0:
        return []
    because = f"{attention.heads} attention heads do not divide by tp {cut.tp} (they do by {_listed(divisors(attention.heads))})"
    return [Broken("KC301", "tp", because, True, (_count("heads", attention.heads),))]


def _kv_heads(arch: Architecture, cut: Cut) -> list[Broken]:
    attention = arch.attention
    if isinstance(attention, LatentAttention):
        if cut.tp == 1 or cut.dcp == cut.tp:
            return []
        because = f"latent attention keeps its whole KV on each of the {cut.tp} tensor-parallel ranks" + (
            f", shared by dcp {cut.dcp}" if cut.dcp > 1 else ""
        )
        return [Broken("KC302", "tp", because, False)]
    counts = sorted(
        {
            mixer.kv_heads
            for layer in arch.kinds
            for mixer in layer.mixers
            if isinstance(mixer, GroupedAttention) and not mixer.no_kv
        }
    )
    found = []
    for heads in counts:
        figures = (_count("kv_heads", heads),)
        if heads % cut.tp and cut.tp % heads:
            fitting = tuple(tp for tp in range(1, MOST_TP + 1) if heads % tp == 0 or tp % heads == 0)
            allowed = tuple(tp for tp in fitting if attention is None or attention.heads % tp == 0)
            because = f"neither of {heads} KV heads and tp {cut.tp} divides the other (tp {_listed(allowed)} would do)"
            found.append(Broken("KC302", "tp", because, True, figures))
        elif cut.tp > heads and cut.dcp * heads < cut.tp:
            copies = cut.tp // heads // cut.dcp
            because = f"tp {cut.tp} exceeds {heads} KV heads, so each is held {copies} times"
            found.append(Broken("KC302", "tp", because, False, figures))
    return found


def _stages(arch: Architecture, cut: Cut) -> list[Broken]:
    layers = len(arch.layers)
    figures = (_count("layers", layers),)
    if cut.pp > 1 and not arch.pipeline:
        because = f"{arch.class_name} does not support pipeline parallel"
        return [Broken("KC304", "pp", because, True)]
    if cut.pp > layers:
        return [Broken("KC304", "pp", f"pp {cut.pp} exceeds the model's {layers} layers", True, figures)]
    if cut.layers is not None:
        if len(cut.layers) != cut.pp or sum(cut.layers) != layers or min(cut.layers) < 1:
            because = f"layers {list(cut.layers)} are not {cut.pp} stages that sum to {layers}"
            return [Broken("KC304", "layers", because, True, figures)]
        return []
    if layers % cut.pp:
        because = f"{layers} layers do not divide by pp {cut.pp}: stages of {_listed(stage_layers(layers, cut))} layers"
        return [Broken("KC304", "pp", because, False, figures)]
    return []


def _experts(arch: Architecture, cut: Cut) -> list[Broken]:
    moe = arch.moe
    if moe is None:
        if cut.ep:
            return [Broken("KC305", "ep", "the model has no experts to spread", True)]
        return []
    if cut.eplb and not cut.ep:
        return [Broken("KC305", "eplb", "balancing experts needs expert parallel", True)]
    if cut.redundant_experts and not cut.eplb:
        return [Broken("KC305", "eplb", f"{cut.redundant_experts} redundant experts need the balancer", True)]
    if not cut.ep:
        return []
    ranks = cut.ep_size
    figures = (_count("experts", moe.experts),)
    if cut.eplb and ranks == 1:
        return [Broken("KC305", "eplb", "balancing needs more than one expert-parallel rank", True)]
    if cut.eplb and (moe.experts + cut.redundant_experts) % ranks:
        lacking = -(moe.experts + cut.redundant_experts) % ranks
        because = (
            f"{moe.experts} + {cut.redundant_experts} redundant experts do not divide by {ranks} ranks "
            f"({cut.redundant_experts + lacking} redundant ones would)"
        )
        return [Broken("KC305", "eplb", because, True, figures)]
    if moe.experts % ranks:
        more = moe.experts % ranks
        because = f"{moe.experts} experts over {ranks} ranks are uneven: {more} ranks hold one more"
        return [Broken("KC305", "ep", because, False, figures)]
    return []


def _context_parallel(arch: Architecture, cut: Cut) -> list[Broken]:
    if cut.dcp == 1:
        return []
    if cut.tp % cut.dcp:
        return [Broken("KC307", "dcp", f"tp {cut.tp} does not divide by dcp {cut.dcp}", True)]
    attention = arch.attention
    if not isinstance(attention, GroupedAttention):
        if attention is None:
            return [Broken("KC307", "dcp", "the model has no attention whose context could be split", True)]
        return []
    windows = any(
        isinstance(mixer, GroupedAttention) and (mixer.window or mixer.chunk)
        for layer in arch.kinds
        for mixer in layer.mixers
    )
    if windows:
        return [Broken("KC307", "dcp", "sliding or chunked layers do not support dcp", True)]
    heads = attention.kv_heads
    figures = (_count("kv_heads", heads),)
    if cut.tp <= heads:
        because = f"tp {cut.tp} does not exceed {heads} KV heads, so there is no copy for dcp to reclaim"
        return [Broken("KC307", "dcp", because, True, figures)]
    if cut.dcp > cut.tp // heads:
        because = f"dcp {cut.dcp} exceeds the {cut.tp // heads} copies that tp {cut.tp} makes of {heads} KV heads"
        return [Broken("KC307", "dcp", because, True, figures)]
    if (attention.heads // heads) % cut.dcp:
        because = f"{attention.heads // heads} query heads for a KV head do not divide by dcp {cut.dcp}"
        return [Broken("KC307", "dcp", because, True, figures)]
    return []


SPARSE_CONTEXT_SINCE = (0, 29)
SPARSE_HEADS = 32
"""Heads of a rank from which on Hopper's sparse kernel splits prefill from decode, which dcp does not take."""
SPARSE_GATHERED_HEADS = 64
"""Heads up to which that kernel pads a rank's own and those that dcp gathers alike."""


def _sparse_context(
    arch: Architecture, cut: Cut, limits: Limits, engine: EngineVersion, cards: tuple[Card, ...]
) -> list[Broken]:
    """What Hopper's kernel for a sparse index takes of dcp (vLLM, `backends/mla/flashmla_sparse.py`)."""
    attention = arch.attention
    hopper = any(card.compute_capability is not None and card.compute_capability[0] == 9 for card in cards)
    if cut.dcp == 1 or not isinstance(attention, LatentAttention) or not attention.index_heads or not hopper:
        return []
    heads = attention.heads // cut.tp
    if engine.name == "vllm" and not engine.at_least(*SPARSE_CONTEXT_SINCE):
        because = "sparse latent attention takes no dcp on these cards before vLLM 0.29"
    elif limits.kv_format != "fp8":
        because = "sparse latent attention takes dcp with an fp8 KV cache alone on these cards"
    elif heads >= SPARSE_HEADS:
        because = (
            f"sparse latent attention takes dcp with fewer than {SPARSE_HEADS} heads a rank on these cards, not {heads}"
        )
    elif heads * cut.dcp > SPARSE_GATHERED_HEADS:
        because = f"{heads} heads a rank × dcp {cut.dcp} exceed the {SPARSE_GATHERED_HEADS} that the sparse kernel takes together"
    else:
        return []
    return [Broken("KC307", "dcp", because, True, (_count("heads", attention.heads),))]


def _widths(arch: Architecture, cut: Cut) -> list[Broken]:
    found = []
    for width in _dense_widths(arch):
        if width % cut.tp:
            because = f"intermediate size {width} does not divide by tp {cut.tp}"
            found.append(Broken("KC309", "tp", because, True, (_count("intermediate", width),)))
    for width in _expert_widths(arch):
        if not cut.ep and width % cut.expert_shards:
            by = f"tp {cut.tp}" if cut.dp == 1 else f"tp {cut.tp} × dp {cut.dp}"
            because = (
                f"the experts' intermediate size {width} does not divide by {by} (expert parallel keeps experts whole)"
            )
            found.append(Broken("KC309", "tp", because, True, (_count("expert intermediate", width),)))
    return found


def _dense_widths(arch: Architecture) -> tuple[int, ...]:
    widths: set[int] = set()
    for layer in arch.kinds:
        if isinstance(layer.ffn, DenseFfn):
            widths.add(layer.ffn.intermediate)
        elif isinstance(layer.ffn, MoeFfn):
            widths.update({layer.ffn.shared_intermediate, layer.ffn.dense_intermediate} - {0})
    return tuple(sorted(widths))


def _expert_widths(arch: Architecture) -> tuple[int, ...]:
    return tuple(sorted({layer.ffn.intermediate for layer in arch.kinds if isinstance(layer.ffn, MoeFfn)}))


def _blocks(arch: Architecture, fmt: WeightFormat, cut: Cut) -> list[Broken]:
    """KC306: what a quantization shares along a shard must end at the shard's edge. MXFP4 is padded by the engine."""
    if not fmt.quantized or cut.tp * cut.dp == 1 or family(fmt) == "mxfp4":
        return []
    found: dict[str, Broken] = {}
    for what, width, shards, rows in _shards(arch, fmt, cut):
        if width % shards:
            continue  # KC301 or KC309 says so
        because = _block_mismatch(fmt, what, width, shards, rows)
        if because:
            found[because] = Broken(
                "KC306", "tp", because, True, (_count(what, width), _count("shard", width // shards))
            )
    return list(found.values())


def _shards(arch: Architecture, fmt: WeightFormat, cut: Cut) -> list[tuple[str, int, int, bool]]:
    """(what, width, shards, whether the width is also the input of a row-parallel matrix) of every width that is cut."""
    found: list[tuple[str, int, int, bool]] = []
    attention = arch.attention
    if cut.tp > 1 and fmt.covers in ("linear", "ffn"):
        found += [("the intermediate size", width, cut.tp, True) for width in _dense_widths(arch)]
    if cut.tp > 1 and fmt.covers == "linear" and attention is not None:
        found.append(("the attention width", attention.heads * attention.v_head_dim, cut.tp, True))
        if isinstance(attention, GroupedAttention):
            # a rank holds at least one KV head
            held = min(cut.tp, attention.kv_heads)
            found.append(("the KV width", attention.kv_heads * attention.head_dim, held, False))
    if not cut.ep:
        found += [("the experts' intermediate size", width, cut.expert_shards, True) for width in _expert_widths(arch)]
    return found


def _block_mismatch(fmt: WeightFormat, what: str, width: int, shards: int, rows: bool) -> str:
    shard = width // shards
    cut = f"{what} {width} / {shards} = {shard}"
    if fmt.block is not None:
        size = max(fmt.block) if rows else fmt.block[0]
        return f"{cut} is not a multiple of the block of {size}" if shard % size else ""
    if fmt.group and rows and shard % fmt.group:
        return f"{cut} is not a multiple of the group of {fmt.group}"
    if _marlin(fmt) and rows and shard % MARLIN_ROWS:
        return f"{cut} is not a multiple of the {MARLIN_ROWS} rows that the Marlin kernel takes"
    if _marlin(fmt) and shard % MARLIN_COLUMNS:
        return f"{cut} is not a multiple of the {MARLIN_COLUMNS} columns that the Marlin kernel takes"
    return ""


def _marlin(fmt: WeightFormat) -> bool:
    return family(fmt) == "int4" and fmt.name.startswith(("awq", "gptq", "w4a16"))
