"""Parameters by part, exact to the unit where a family's tensors are known."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from kcluster.physics.architecture import Architecture, Layer, MoeFfn
from kcluster.physics.tensors import Part, Tensor, embedding_tensor, head_tensor, layer_kinds, layer_tensors
from kcluster.units import Figure, Unit, derive, given
from kcluster.values import frozen


@frozen
class Parameters:
    """Parameters of a model.

    `total` counts the language model and, where it has them, vision tower and multi-token-prediction layers; it is the sum of
    `embedding` (with the output head), `attention` (all token mixers), `mlp` (dense and shared experts), `experts` (routed)
    and `other` (norms, routers, vision, MTP).
    `active` are those of the language model that one token passes: experts_per_token of its experts, embeddings included.
    `components` has language_model, vision and mtp, and what published checkpoints store besides: stored_head (a tied head
    stored again), stored_mtp_embedding (embedding and head with the MTP module), block_scales (of a 128 × 128 FP8
    checkpoint). Only what is there is listed.
    """

    total: Figure
    active: Figure
    embedding: Figure
    attention: Figure
    mlp: Figure
    experts: Figure
    other: Figure
    components: tuple[tuple[str, Figure], ...]

    def component(self, name: str) -> Figure | None:
        return next((figure for key, figure in self.components if key == name), None)


def add(name: str, unit: Unit, terms: Iterable[tuple[str, Figure]]) -> Figure:
    """The sum of named figures; equal names are numbered."""
    inputs: dict[str, Figure] = {}
    for key, figure in terms:
        unique, number = key, 2
        while unique in inputs:
            unique, number = f"{key}_{number}", number + 1
        inputs[unique] = figure
    if not inputs:
        return given(name, 0, unit)
    return derive(name, unit, " + ".join(inputs), source="", **inputs)


def _identifier(name: str) -> str:
    return name.replace(".", "_")


def tensor_parameters(tensor: Tensor) -> Figure:
    """The elements of one tensor; the source of the figure is its shape in the words of a config."""
    if tensor.columns == 1 and tensor.copies == 1:
        return given(tensor.name, tensor.rows, "parameters", tensor.shape)
    formula = "rows * columns" if tensor.copies == 1 else "copies * rows * columns"
    sizes = {"rows": tensor.rows, "columns": tensor.columns}
    if tensor.copies > 1:
        sizes["copies"] = tensor.copies
    return derive(tensor.name, "parameters", formula, source=tensor.shape, **sizes)


@lru_cache(maxsize=4096)
def _layer_part(layer: Layer, hidden: int, part: Part) -> Figure | None:
    tensors = [tensor for tensor in layer_tensors(layer, hidden) if tensor.part == part]
    if not tensors:
        return None
    return add(f"{part} of a layer", "parameters", ((_identifier(t.name), tensor_parameters(t)) for t in tensors))


def _layers_part(name: str, layers: tuple[Layer, ...], hidden: int, *parts: Part) -> Figure:
    """One part over all layers: per kind of layer, its number times what one has."""
    terms = []
    for part in parts:
        for layer, count in layer_kinds(layers):
            each = _layer_part(layer, hidden, part)
            if each is not None:
                terms.append(
                    (part, derive(f"{part} of {count} layers", "parameters", "layers * each", layers=count, each=each))
                )
    return add(name, "parameters", terms)


def _inactive(layers: tuple[Layer, ...], hidden: int) -> Figure:
    """Parameters of routed experts that one token does not pass."""
    terms = []
    for layer, count in layer_kinds(layers):
        if isinstance(layer.ffn, MoeFfn):
            each = _layer_part(layer, hidden, "experts")
            assert each is not None
            figure = derive(
                "experts not taken",
                "parameters",
                "layers * each * (experts - experts_per_token) / experts",
                layers=count,
                each=each,
                experts=layer.ffn.experts,
                experts_per_token=layer.ffn.experts_per_token,
            )
            terms.append(("experts", figure))
    return add("experts not taken", "parameters", terms)


def block_scales(tensors: Iterable[Tensor], block: tuple[int, int]) -> int:
    """Scales of the blocks of these linear weights: ceil(rows / block rows) × ceil(columns / block columns) a matrix."""
    return sum(
        -(-tensor.rows // block[0]) * -(-tensor.columns // block[1]) * tensor.copies
        for tensor in tensors
        if tensor.linear
    )


def _block_scales(arch: Architecture) -> Figure:
    layers = arch.layers + (arch.mtp_layers if arch.mtp_layers else ())
    terms = [
        (
            "scales",
            derive(
                "scales",
                "parameters",
                "layers * each",
                layers=count,
                each=block_scales(layer_tensors(layer, arch.hidden), (128, 128)),
            ),
        )
        for layer, count in layer_kinds(layers)
    ]
    return add("parameters.block_scales", "parameters", terms)


@lru_cache(maxsize=256)
def parameters(arch: Architecture) -> Parameters:
    """Parameters of a model by part (unit: parameters). Sums follow research of published checkpoints: exact where the
    family's tensors are known; where `stated_total` stands in, `total` carries a range of ±2 %."""
    hidden = arch.hidden
    rows = tensor_parameters(embedding_tensor(arch))
    terms = [("embedding", rows)]
    if not arch.tied:
        terms.append(("head", tensor_parameters(head_tensor(arch))))
    if arch.head_bias:
        terms.append(("head_bias", given("head bias", arch.vocab, "parameters", "vocab")))
    if arch.learned_positions:
        terms.append(
            ("positions", given("positions", arch.learned_positions * hidden, "parameters", "positions × hidden"))
        )
    embedding = add("parameters.embedding", "parameters", terms)
    attention = _layers_part("parameters.attention", arch.layers, hidden, "attention")
    mlp = _layers_part("parameters.mlp", arch.layers, hidden, "mlp")
    experts = _layers_part("parameters.experts", arch.layers, hidden, "experts")
    rest = _layers_part("norms, routers and others of layers", arch.layers, hidden, "norm", "router", "other")
    small = [("layers", rest), ("final_norm", given("final norm", arch.final_norm_parameters, "parameters"))]
    if arch.other_parameters:
        small.append(("further", given("further tensors", arch.other_parameters, "parameters")))
    own = add("parameters of norms and routers", "parameters", small)
    language = derive(
        "parameters.language_model",
        "parameters",
        "embedding + attention + mlp + experts + norms_and_routers",
        embedding=embedding,
        attention=attention,
        mlp=mlp,
        experts=experts,
        norms_and_routers=own,
    )
    components = [("language_model", language)]
    beside = [("norms_and_routers", own)]
    if arch.vision_parameters:
        vision = given("parameters.vision", arch.vision_parameters, "parameters", "vision tower and projector")
        components.append(("vision", vision))
        beside.append(("vision", vision))
    if arch.mtp_layers:
        mtp = add(
            "parameters.mtp",
            "parameters",
            [
                *(
                    (part, _layers_part(f"mtp.{part}", arch.mtp_layers, hidden, part))
                    for part in ("attention", "mlp", "experts", "router", "norm")
                ),
                ("projections", given("projections and norms", arch.mtp_extra_parameters, "parameters")),
            ],
        )
        components.append(("mtp", mtp))
        beside.append(("mtp", mtp))
    other = add("parameters.other", "parameters", beside)
    total = derive(
        "parameters.total",
        "parameters",
        "embedding + attention + mlp + experts + other",
        embedding=embedding,
        attention=attention,
        mlp=mlp,
        experts=experts,
        other=other,
    )
    active = derive(
        "parameters.active",
        "parameters",
        "language_model - not_taken",
        language_model=language,
        not_taken=_inactive(arch.layers, hidden),
    )
    if arch.stored_head:
        components.append(("stored_head", tensor_parameters(head_tensor(arch))))
    if arch.stored_mtp_embedding:
        components.append(
            ("stored_mtp_embedding", derive("stored with MTP", "parameters", "2 * embedding", embedding=rows))
        )
    components.append(("block_scales", _block_scales(arch)))
    if arch.stated_total is not None:
        total = given("parameters.total", arch.stated_total, "parameters", "stated by the publisher").spread(0.98, 1.02)
    return Parameters(total, active, embedding, attention, mlp, experts, other, tuple(components))
