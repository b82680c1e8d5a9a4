"""Vision towers and projectors: their parameters from `vision_config`."""

from __future__ import annotations

from kcluster.catalog.families_fields import MAX_HEADS, MAX_LAYERS, MAX_WIDTH, Fields


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
    return embeddings + layers * block + 2 * width


def gemma3_vision(f: Fields, hidden: int) -> int:
    """SigLIP, and the projector of Gemma 3: one matrix and a norm."""
    v = f.table("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    return siglip_tower(v) + width * hidden + width


def qwen2_vision(f: Fields) -> int:
    """Qwen2-VL: `embed_dim` wide blocks with biases and layer norms, an MLP of `mlp_ratio`, a merger to `hidden_size`."""
    v = f.table("vision_config")
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
    v = f.table("vision_config")
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
    v = f.table("vision_config")
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
    deep = len(v.integers("deepstack_visual_indexes", high=MAX_LAYERS) or ())
    patches = channels * temporal * patch * patch * width + width
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    projector = merge * merge + merge + merge * out + out
    return patches + rows * width + depth * block + 2 * width + projector + deep * (2 * merge + projector)


def pixtral_vision(f: Fields, hidden: int) -> int:
    """Pixtral (RMS norms, gated, no biases) and Mistral 3's projector: a norm, a patch merger, two matrices."""
    v = f.table("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size")
    inner = v.integer("intermediate_size")
    layers = v.integer("num_hidden_layers", high=MAX_LAYERS)
    patch = v.integer("patch_size", high=1024)
    channels = v.integer("num_channels", default=3, high=64)
    heads = v.integer("num_attention_heads", high=10_000)
    head = v.integer("head_dim", default=max(1, width // heads))
    block = 4 * width * heads * head + 3 * width * inner + 2 * width
    tower = channels * patch * patch * width + width + layers * block
    merge = f.integer("spatial_merge_size", default=2, high=64)
    bias = 2 * hidden if f.flag("multimodal_projector_bias") else 0
    return tower + width + merge**2 * width * width + width * hidden + hidden * hidden + bias


def llama4_vision(f: Fields, hidden: int) -> int:
    """Llama 4: a ViT with biases and layer norms, a class token, learned positions, a pixel-shuffle MLP, one projector."""
    v = f.table("vision_config")
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
    """Kimi K2.5's MoonViT (`vt_…` fields in the published config): learned positions, blocks with biases and layer norms, and a
    projector over merged patches."""
    v = f.table("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", "vt_hidden_size", default=1152)
    inner = v.integer("intermediate_size", "vt_intermediate_size", default=4304)
    layers = v.integer("num_hidden_layers", "vt_num_hidden_layers", default=27, high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    rows = v.integer("pos_emb_height", "init_pos_emb_height", default=64, high=4096)
    columns = v.integer("pos_emb_width", "init_pos_emb_width", default=64, high=4096)
    kernel = v.integers("merge_kernel_size", low=1, high=64) or (2, 2)
    merged = kernel[0] * kernel[-1] * width
    hidden = f.integer("hidden_size")
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
    tower = 3 * patch * patch * width + width + rows * columns * width + layers * block + 2 * width
    return tower + 2 * width + merged * merged + merged + merged * hidden + hidden


def mllama_vision(f: Fields, hidden: int) -> int:
    """Llama 3.2 Vision's tile encoder: local and global blocks without attention biases, gates, tile and aspect-ratio embeddings."""
    v = f.table("vision_config")
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
    tower = 3 * patch * patch * width + width + positions + aspect + (local + over) * block + 2 * over + 4 * width
    return tower + out * hidden + hidden


def gemma4_vision(f: Fields, hidden: int) -> int:
    """Gemma 4's tower: two position tables, gated blocks with four norms and head-size norms on q and k; one projection."""
    v = f.table("vision_config")
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
    a = f.table("audio_config")
    if a is None:
        return 0
    width = a.integer("hidden_size")
    layers = a.integer("num_hidden_layers", high=MAX_LAYERS)
    heads = a.integer("num_attention_heads", high=MAX_HEADS)
    kernel = a.integer("conv_kernel_size", default=5, high=1024)
    channels = a.integers("subsampling_conv_channels", low=1, high=100_000) or (128, 32)
    out = a.integer("output_proj_dims", default=width)
    first, second = channels[0], channels[-1]
    front = 9 * first + first + 9 * first * second + second + first // 4 * second * width
    feed = 8 * width * width + 2 * width
    convolution = 3 * width * width + kernel * width + 2 * width
    mixing = 5 * width * width + width // heads
    return front + layers * (2 * feed + convolution + mixing + 3 * width) + width * out + out + out * hidden


def minimax_m3_vision(f: Fields, hidden: int) -> int:
    """MiniMax M3's tower (biases, layer norms, a norm before) and its two projectors."""
    v = f.table("vision_config")
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
    v = f.table("vision_config")
    if v is None:
        return 0
    width = v.integer("hidden_size", "width", default=1536)
    inner = v.integer("intermediate_size", default=int(width * v.number("mlp_ratio", 8960 / 1536, 0.1, 100)))
    layers = v.integer("num_hidden_layers", "layers", default=47, high=MAX_LAYERS)
    patch = v.integer("patch_size", default=14, high=1024)
    image = v.integer("image_size", default=728, high=100_000)
    block = 4 * width * width + 4 * width + 2 * width * inner + inner + width + 6 * width
    embeddings = 3 * patch * patch * width + (image // patch) ** 2 * width + 2 * width
    down = 9 * width * 2 * width + 2 * width + 9 * 2 * width * 4 * width + 4 * width
    bias = hidden if f.flag("projector_bias") else 0
    return embeddings + layers * block + down + 4 * width * hidden + bias
