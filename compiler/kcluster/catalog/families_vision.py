"""Vision towers and projectors: their parameters from `vision_config`."""

from __future__ import annotations

from kcluster.catalog.families_fields import MAX_HEADS, MAX_LAYERS, MAX_WIDTH, Fields, shown


def siglip_tower(v: Fields) -> int:
    """A SigLIP tower: patch and position embeddings, blocks with biases and layer norms, a post norm."""
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", high=MAX_LAYERS)
    patch = v.integer("patch_size", high=1024)
    image = v.integer("image_size", high=100_000)
    channels = v.integer("num_channels", default=3, high=1024)
    embeddings = channels * patch * patch * width + width + (image // patch) ** 2 * width
    block = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    head = 0
    if v.flag("vision_use_head"):
        head = 3 * width + 4 * width * width + 4 * width + 2 * width * inner + inner + width
    return embeddings + layers * block + 2 * width + head


def gemma3_vision(f: Fields, hidden: int) -> int:
    """SigLIP, and the projector of Gemma 3: one matrix and a norm."""
    v = f.tower("vision_config", "siglip_vision_model")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    return siglip_tower(v) + width * hidden + width


def qwen2_vision(f: Fields) -> int:
    """Qwen2-VL: `embed_dim` wide blocks with biases and layer norms, an MLP of `mlp_ratio`, a merger to `hidden_size`."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("embed_dim", default=1280)
    out = v.integer("hidden_size")
    depth = v.integer("depth", high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    temporal = v.integer("temporal_patch_size", default=2, high=64)
    merge = v.integer("spatial_merge_size", default=2, high=64) ** 2 * width
    ratio = v.integer("mlp_ratio", default=4, high=64)
    channels = v.integer("in_channels", "in_chans", default=3, high=64)
    inner = ratio * width
    block = 3 * width * width + 3 * width + width * width + width + 2 * width * inner + inner + width + 4 * width
    merger = 2 * width + merge * merge + merge + merge * out + out
    return channels * temporal * patch * patch * width + depth * block + merger


def qwen2_5_vision(f: Fields) -> int:
    """Qwen2.5-VL: RMS norms, a gated MLP with biases, a merger to `out_hidden_size`."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    out = v.integer("out_hidden_size")
    depth = v.integer("depth", high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    temporal = v.integer("temporal_patch_size", default=2, high=64)
    merge = v.integer("spatial_merge_size", default=2, high=64) ** 2 * width
    channels = v.integer("in_channels", "in_chans", default=3, high=64)
    block = 4 * width * width + 4 * width + 3 * width * inner + 2 * inner + width + 2 * width
    merger = width + merge * merge + merge + merge * out + out
    return channels * temporal * patch * patch * width + depth * block + merger


def qwen3_vision(f: Fields) -> int:
    """Qwen3-VL and 3.5: layer norms, an ungated MLP with biases, learned positions, a merger, and one more for each layer
    of `deepstack_visual_indexes`."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    out = v.integer("out_hidden_size")
    depth = v.integer("depth", high=MAX_LAYERS)
    patch = v.integer("patch_size", default=16, high=1024)
    temporal = v.integer("temporal_patch_size", default=2, high=64)
    merge = v.integer("spatial_merge_size", default=2, high=64) ** 2 * width
    channels = v.integer("in_channels", default=3, high=64)
    rows = v.integer("num_position_embeddings", default=0, low=0, high=MAX_WIDTH)
    listed = v.integers("deepstack_visual_indexes", high=MAX_LAYERS)
    deep = len(listed or ())
    if listed is None and f.untold and f.kind.startswith("qwen3_vl"):
        deep = 3
    patches = channels * temporal * patch * patch * width + width
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    projector = merge * merge + merge + merge * out + out
    return patches + rows * width + depth * block + 2 * width + projector + deep * (2 * merge + projector)


def pixtral_tower(v: Fields) -> int:
    """Pixtral: RMS norms, a gated MLP, no biases, rotary positions."""
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", high=MAX_LAYERS)
    patch = v.integer("patch_size", high=1024)
    channels = v.integer("num_channels", default=3, high=64)
    block = 4 * width * width + 3 * width * inner + 2 * width
    return channels * patch * patch * width + width + layers * block


def pixtral_vision(f: Fields, hidden: int) -> int:
    """Pixtral and Mistral 3's projector: a norm, a patch merger, two matrices."""
    v = f.tower("vision_config", "pixtral")
    if v is None:
        return 0
    tower, width = pixtral_tower(v), v.integer("hidden_size")
    merge = f.integer("spatial_merge_size", default=2, high=64)
    bias = 2 * hidden if f.flag("multimodal_projector_bias") else 0
    return tower + width + merge**2 * width * width + width * hidden + hidden * hidden + bias


def llama4_vision(f: Fields, hidden: int) -> int:
    """Llama 4: a ViT with biases and layer norms, a class token, learned positions, a pixel-shuffle MLP, one projector."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", high=MAX_LAYERS)
    patch = v.integer("patch_size", high=1024)
    image = v.integer("image_size", high=100_000)
    out = v.integer("vision_output_dim")
    projector_in = v.integer("projector_input_dim", default=4096)
    projector_out = v.integer("projector_output_dim", default=4096)
    channels = v.integer("num_channels", default=3, high=64)
    embeddings = channels * patch * patch * width + width + ((image // patch) ** 2 + 1) * width
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    shuffle = inner * projector_in + projector_out * projector_out
    return embeddings + layers * block + 4 * width + shuffle + out * hidden


def kimi_vision(f: Fields) -> int:
    """MoonViT of Kimi VL and K2.5 (`vt_…` fields in the published config): learned positions, blocks, and a projector over merged
    patches; with biases and layer norms, or as K3's flags say it (vLLM, `kimi_k25_vit.py`)."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", "vt_hidden_size", default=1152)
    inner = v.integer("intermediate_size", "vt_intermediate_size", default=4304)
    layers = v.integer("num_hidden_layers", "vt_num_hidden_layers", default=27, high=MAX_LAYERS)
    attention = v.integer("qkv_hidden_size", default=width)
    patch = v.integer("patch_size", default=14, high=1024)
    rows = v.integer("pos_emb_height", "init_pos_emb_height", default=64, high=4096)
    columns = v.integer("pos_emb_width", "init_pos_emb_width", default=64, high=4096)
    kernel = v.integers("merge_kernel_size", low=1, high=64) or (2, 2)
    merged = kernel[0] * kernel[-1] * width
    hidden = f.integer("hidden_size")
    norm = width if v.text("norm_type") == "rmsnorm" else 2 * width
    block = 4 * width * attention + 2 * width * inner + 2 * norm
    block += 3 * attention + width if v.flag("attn_bias", default=True) else 0
    block += inner + width if v.flag("linear_bias", default=True) else 0
    patches = 3 * patch * patch * width + (width if v.flag("patch_embed_proj_bias", default=True) else 0)
    newer = v.text("mm_projector_type") == "patchmergerv2"
    around = hidden if newer else 2 * width + merged + hidden
    return patches + rows * columns * width + layers * block + norm + around + merged * merged + merged * hidden


def mllama_vision(f: Fields, hidden: int) -> int:
    """Llama 3.2 Vision's tile encoder: local and global blocks without attention biases, gates, tile and aspect-ratio embeddings."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    local = v.integer("num_hidden_layers", high=MAX_LAYERS)
    over = v.integer("num_global_layers", default=8, high=MAX_LAYERS)
    patch = v.integer("patch_size", high=1024)
    image = v.integer("image_size", high=100_000)
    tiles = v.integer("max_num_tiles", default=4, high=64)
    out = v.integer("vision_output_dim")
    _, ratios = v.find("supported_aspect_ratios")
    ids = 1 + (len(ratios) if isinstance(ratios, list) else 8)
    patches = (image // patch) ** 2 + 1
    block = 4 * width * width + 2 * width * inner + inner + width + 4 * width
    positions = 1 + patches * width + ids * tiles * patches * width
    aspect = 2 * (ids * tiles * width + 1)
    channels = v.integer("num_channels", default=3, high=64)
    tower = (
        channels * patch * patch * width + width + positions + aspect + (local + over) * block + 2 * over + 4 * width
    )
    return tower + out * hidden + hidden


def gemma4_vision(f: Fields, hidden: int) -> int:
    """Gemma 4's tower: two position tables, gated blocks with four norms and head-size norms on q and k; one projection."""
    v = f.tower("vision_config", optional=True)
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", high=MAX_LAYERS)
    heads = v.integer("num_attention_heads", high=MAX_HEADS)
    kv_heads = v.integer("num_key_value_heads", default=heads, high=MAX_HEADS)
    head = v.integer("head_dim", default=max(1, width // heads))
    patch = v.integer("patch_size", default=16, high=1024)
    rows = v.integer("position_embedding_size", default=10_240)
    block = 2 * width * heads * head + 2 * width * kv_heads * head + 3 * width * inner + 4 * width + 2 * head
    return 3 * patch * patch * width + 2 * rows * width + layers * block + width * hidden


def gemma4_audio(f: Fields, hidden: int) -> int:
    """The audio encoder of Gemma 4 E2B and E4B: two convolutions, Conformer layers, one projection."""
    a = f.tower("audio_config", optional=True)
    if a is None:
        return 0
    width = a.integer("hidden_size")
    layers = a.integer("num_hidden_layers", high=MAX_LAYERS)
    heads = a.integer("num_attention_heads", high=MAX_HEADS)
    kernel = a.integer("conv_kernel_size", default=5, high=1024)
    channels = a.integers("subsampling_conv_channels", low=1, high=100_000) or (128, 32)
    out = a.integer("output_proj_dims", default=1536)
    first, second = channels[0], channels[-1]
    front = 9 * first + first + 9 * first * second + second + first // 4 * second * width
    feed = 8 * width * width + 2 * width
    convolution = 3 * width * width + kernel * width + 2 * width
    mixing = 5 * width * width + width // heads
    return front + layers * (2 * feed + convolution + mixing + 3 * width) + width * out + out + out * hidden


def minimax_m3_vision(f: Fields, hidden: int) -> int:
    """MiniMax M3's tower (biases, layer norms, a norm before) and its two projectors."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", default=1280)
    inner = v.integer("intermediate_size", default=5120)
    layers = v.integer("num_hidden_layers", default=32, high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    temporal = v.integer("temporal_patch_size", default=2, high=64)
    merge = v.integer("spatial_merge_size", default=2, high=64)
    between = f.integer("projector_hidden_size", default=hidden)
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    tower = 3 * temporal * patch * patch * width + layers * block + 2 * width
    first = width * between + between + between * hidden + hidden
    merged = merge * merge * hidden * between + between + between * hidden + hidden
    return tower + first + merged


def step_vision(f: Fields, hidden: int) -> int:
    """Step 3.7's tower (biases, layer norms, two layer scales), two strided convolutions and a projector."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", "width", default=1536)
    inner = int(width * v.number("mlp_ratio", 8960 / 1536, 0.1, 100))
    if v.states("intermediate_size"):
        inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", "layers", default=47, high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    image = v.integer("image_size", default=728, high=100_000)
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 6 * width
    embeddings = 3 * patch * patch * width + (image // patch) ** 2 * width + 2 * width
    down = 9 * width * 2 * width + 2 * width + 9 * 2 * width * 4 * width + 4 * width
    bias = hidden if f.flag("projector_bias") else 0
    return embeddings + layers * block + down + 4 * width * hidden + bias


def glm_vision(f: Fields) -> int:
    """GLM-4.1V to 4.6V and GLM-5.3: gated blocks with RMS norms, a strided convolution, a merger; learned positions and a norm
    after the patches in GLM-4, head-size norms and biases in GLM-5.3 (`projection_intermediate_size`)."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", default=1536)
    out = v.integer("out_hidden_size", default=4096)
    inner = v.integer("intermediate_size", default=13696)
    depth = v.integer("depth", default=24, high=MAX_LAYERS)
    heads = v.integer("num_heads", default=12, high=MAX_HEADS)
    patch = v.integer("patch_size", default=14, high=1024)
    temporal = v.integer("temporal_patch_size", default=2, high=64)
    merge = v.integer("spatial_merge_size", default=2, high=64)
    channels = v.integer("in_channels", default=3, high=64)
    newer = v.has("projection_intermediate_size") or f.kind.startswith("glm5")
    bias = v.flag("attention_bias", default=newer)
    context = v.integer("projection_intermediate_size", default=inner)
    norms = 2 * width
    attention = 4 * width * width + (3 * width if bias else 0)
    if newer:
        feed = 3 * width * inner + (2 * inner + width if bias else 0)
        block = attention + (width if bias else 0) + feed + norms + 2 * (width // heads)
        positions = 0
    else:
        # its blocks are as wide inside as the merger's output
        block = attention + 3 * width * out + norms
        positions = (v.integer("image_size", default=336, high=100_000) // patch) ** 2 * width + width
    patches = channels * temporal * patch * patch * width + width
    down = merge * merge * width * out + out
    merger = out * out + 2 * out + 3 * out * context
    return patches + positions + depth * block + width + down + merger


def llava_vision(f: Fields, hidden: int, *, newline: bool) -> int:
    """CLIP or Pixtral, and LLaVA's projector; 1.6 has a newline vector."""
    v = f.tower("vision_config", "clip_vision_model")
    if v is None:
        return 0
    kind = v.text("model_type", default="clip_vision_model")
    if kind not in ("clip_vision_model", "pixtral"):
        f.problem("vision_config.model_type", f"{shown(kind)} is not a tower that is known here")
    tower = pixtral_tower(v) if kind == "pixtral" else clip_tower(v)
    bias = 2 * hidden if f.flag("multimodal_projector_bias", default=True) else 0
    return tower + v.integer("hidden_size", default=1024) * hidden + hidden * hidden + bias + (hidden if newline else 0)


def clip_tower(v: Fields) -> int:
    """CLIP: a class token, learned positions, biases, a norm before the blocks and after them."""
    width = v.integer("hidden_size", default=1024)
    inner = v.integer("intermediate_size", default=4096)
    layers = v.integer("num_hidden_layers", default=24, high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    image = v.integer("image_size", default=336, high=100_000)
    positions = (image // patch) ** 2 + 1
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    channels = v.integer("num_channels", default=3, high=64)
    return channels * patch * patch * width + width + positions * width + layers * block + 4 * width


def internvl_vision(f: Fields, hidden: int) -> int:
    """InternViT (layer scales, learned positions, a class token) and its projector."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", high=MAX_LAYERS)
    patch = _side(v, "patch_size", 14)
    image = _side(v, "image_size", 448)
    qkv = 3 * width if v.flag("attention_bias", "qkv_bias") else 0
    normed = 2 * width if v.flag("use_qk_norm", "qk_normalization") else 0
    norms = 2 * width if v.text("norm_type", default="layer_norm") == "rms_norm" else 4 * width
    positions = ((image // patch) ** 2 + 1) * width if v.flag("use_absolute_position_embeddings", default=True) else 0
    block = 4 * width * width + width + qkv + normed + 2 * width * inner + inner + width + norms + 2 * width
    last = 0 if v.flag("use_mean_pooling", default=True) else 2 * width
    merged = round(1 / f.number("downsample_ratio", 0.5, 0.01, 1)) ** 2 * width
    projector = 2 * merged + merged * hidden + hidden + hidden * hidden + hidden
    channels = v.integer("num_channels", default=3, high=64)
    return channels * patch * patch * width + width + width + positions + layers * block + last + projector


def _side(v: Fields, name: str, default: int) -> int:
    """One side of a size that is a number or a pair."""
    pair = v.integers(name, low=1, high=100_000) if isinstance(v.find(name)[1], list) else None
    return pair[0] if pair else v.integer(name, default=default, high=100_000)


def muse_vision(f: Fields, hidden: int) -> int:
    """Muse Glimmer's tower (biases, layer norms, learned positions), its adapter and projection."""
    v = f.tower("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", default=1536)
    inner = v.integer("intermediate_size", default=8960)
    layers = v.integer("num_hidden_layers", default=50, high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    temporal = v.integer("patch_temporal", default=2, high=64)
    rows = v.integer("pos_emb_height", default=32, high=4096) * v.integer("pos_emb_width", default=32, high=4096)
    out = f.integer("out_hidden_size", default=6144)
    between = f.integer("projector_hidden_size", default=4096)
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    tower = temporal * 3 * patch * patch * width + rows * width + layers * block + 4 * width
    return tower + out * between + between * between + between * hidden


def gemma4_embedder(f: Fields, hidden: int) -> int:
    """The encoder-free vision embedder of Gemma 4 12B (`gemma4_unified`), and its audio projection."""
    total = 0
    v = f.tower("vision_config", optional=True)
    if v is not None:
        side = v.integer("patch_size", default=16, high=1024) * v.integer("pooling_kernel_size", default=3, high=64)
        pixels = 3 * side * side
        width = v.integer("mm_embed_dim", default=3840)
        rows = v.integer("mm_posemb_size", default=1120)
        total += 2 * pixels + pixels * width + width + 4 * width + 2 * rows * width
        total += v.integer("output_proj_dims", default=width) * hidden
    a = f.tower("audio_config", optional=True)
    if a is not None:
        total += a.integer("audio_embed_dim", "output_proj_dims", default=640) * hidden
    return total
