"""An inner `architecture` block as an architecture: a decoder of equal layers, dense or with experts, with grouped or
latent attention."""

from __future__ import annotations

from kcluster.physics.architecture import (
    Architecture,
    DenseFfn,
    Ffn,
    GroupedAttention,
    LatentAttention,
    Layer,
    Mixer,
    MoeFfn,
)
from kcluster.spec.findings import Findings
from kcluster.spec.reader import Fields, missing

_NEEDS_EXPERTS = ("experts_per_token", "moe_intermediate", "shared_experts", "dense_layers")
_NEEDS_LATENT = ("q_lora_rank", "rope_head_dim", "nope_head_dim")


def build_architecture(fields: Fields, findings: Findings) -> Architecture | None:
    """The architecture that a block describes; None after a finding where its sizes do not make one."""
    required = [row.name for row in fields.schema.attributes if row.required]
    if any(fields.get(name) is None for name in required):
        return None
    mixer = _attention(fields, findings)
    ffns = _feed_forward(fields, findings)
    if mixer is None or ffns is None:
        return None
    dense, moe = ffns
    layers, leading = fields.value("layers"), fields.value("dense_layers") or 0
    norms = 2 * fields.value("hidden")
    if moe is None:
        built: tuple[Layer, ...] = (Layer((mixer,), dense, norms),) * layers
    else:
        built = (Layer((mixer,), dense, norms),) * leading + (Layer((mixer,), moe, norms),) * (layers - leading)
    return Architecture(
        model_type="",
        class_name="",
        hidden=fields.value("hidden"),
        vocab=fields.value("vocab"),
        layers=built,
        tied=bool(fields.value("tied")),
        max_positions=fields.value("max_positions"),
        final_norm_parameters=fields.value("hidden"),
    )


def _missing(fields: Fields, names: tuple[str, ...], because: str, findings: Findings) -> bool:
    lacking = [name for name in names if name not in fields.tried]
    for name in lacking:
        missing(fields, f"`architecture` has no `{name}`: {because}", findings)
    return bool(lacking) or any(fields.get(name) is None for name in names)


def _attention(fields: Fields, findings: Findings) -> Mixer | None:
    heads, hidden = fields.value("heads"), fields.value("hidden")
    if "kv_lora_rank" in fields.tried:
        needed = ("kv_lora_rank", "rope_head_dim", "nope_head_dim", "v_head_dim")
        if _missing(fields, needed, "latent attention has it", findings):
            return None
        return LatentAttention(
            heads,
            fields.value("q_lora_rank"),
            fields.value("kv_lora_rank"),
            fields.value("rope_head_dim"),
            fields.value("nope_head_dim"),
            fields.value("v_head_dim"),
        )
    stray = next((name for name in _NEEDS_LATENT if fields.get(name) is not None), None)
    if stray is not None:
        _missing(fields, ("kv_lora_rank",), f"`{stray}` belongs to latent attention, which has it", findings)
        return None
    kv_heads = fields.value("kv_heads") or heads
    if heads % kv_heads:
        at = fields.values["kv_heads"].origin.span
        findings.add("KC103", f"`kv_heads` must divide the {heads} heads, and {kv_heads} does not", fields.source, at)
        return None
    head_dim = fields.value("head_dim")
    if head_dim is None:
        if "head_dim" not in fields.tried and hidden % heads:
            message = f"`architecture` has no `head_dim`, and {heads} heads do not divide the width of {hidden}"
            missing(fields, message, findings)
            return None
        head_dim = max(1, hidden // heads)
    window = fields.value("sliding_window")
    return GroupedAttention(heads, kv_heads, head_dim, fields.value("v_head_dim") or head_dim, window=window)


def _feed_forward(fields: Fields, findings: Findings) -> tuple[Ffn | None, MoeFfn | None] | None:
    """The dense part and the experts; the dense one is None where no layer has it."""
    experts = fields.value("experts")
    leading = fields.value("dense_layers") or 0
    if "experts" not in fields.tried:
        stray = next((name for name in _NEEDS_EXPERTS if fields.value(name)), None)
        if stray is not None and _missing(fields, ("experts",), f"`{stray}` speaks of them", findings):
            return None
        if _missing(fields, ("intermediate",), "the width of the feed-forward part", findings):
            return None
        return DenseFfn(fields.value("intermediate")), None
    if experts is None or _missing(
        fields, ("experts_per_token", "moe_intermediate"), "a mixture of experts has it", findings
    ):
        return None
    if fields.value("experts_per_token") > experts:
        at = fields.values["experts_per_token"].origin.span
        findings.add("KC103", f"`experts_per_token` is more than the {experts} experts", fields.source, at)
        return None
    if leading > fields.value("layers"):
        at = fields.values["dense_layers"].origin.span
        findings.add("KC103", f"`dense_layers` is more than the {fields.value('layers')} layers", fields.source, at)
        return None
    if leading and _missing(fields, ("intermediate",), "the dense layers have it", findings):
        return None
    width = fields.value("moe_intermediate")
    shared = (fields.value("shared_experts") or 0) * width
    moe = MoeFfn(experts, fields.value("experts_per_token"), width, shared_intermediate=shared)
    return (DenseFfn(fields.value("intermediate")) if leading else None), moe
