"""Vision towers and projectors: their parameters from `vision_config`."""

from __future__ import annotations

from kcluster.catalog.families_fields import MAX_LAYERS, MAX_WIDTH, Fields


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


MOONVIT_PARAMETERS = 466_000_000


def kimi_vision(f: Fields) -> int:
    return 0
