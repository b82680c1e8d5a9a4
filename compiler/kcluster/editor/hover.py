"""What an editor shows when one points at a place: what the language says of it, what the catalog knows, and the figures of
the plan that it moves, with their derivation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.editor.completion import described, flag_detail
from kcluster.editor.decided import FIGURES, chosen_value, derivation, plan_page, serves_of
from kcluster.editor.names import definition, known_names, name_at
from kcluster.editor.tree import Spot, spot_at
from kcluster.planner.types import Plan
from kcluster.source import Span
from kcluster.spec.schema import AttributeSchema, constructor
from kcluster.syntax.ast import CallNode, File, StringNode, WordNode
from kcluster.units import GB, human
from kcluster.values import frozen

LINES: Final = 18
"""Lines of a derivation that a hover shows; `plan --why` has the whole."""
SERVES: Final = 2
"""Serves whose figures are shown where a block concerns several."""


@frozen
class Hover:
    """Markdown, and the place that it is about."""

    text: str
    span: Span


def hover(file: File, plan: Plan | None, offset: int, files: tuple[File, ...] = ()) -> Hover | None:
    """What to show at an offset; None where nothing is known."""
    spot = spot_at(file, offset)
    if spot.attribute is not None:
        return _attribute(file, plan, spot) if spot.on_key else _value(file, plan, spot, offset, files or (file,))
    if spot.blocks and (spot.on_word or spot.label is not None):
        return _block(file, plan, spot)
    return None


def _block(file: File, plan: Plan | None, spot: Spot) -> Hover | None:
    block, schema = spot.blocks[-1], spot.schema
    if schema is None:
        return None
    parts = [f"**{schema.word}**: {schema.doc}"]
    if plan is not None and block.keyword.text == "serve":
        parts += [_code(plan_page(plan, serve)) for serve in serves_of(plan, file, spot.blocks)]
    return Hover("\n\n".join(parts), block.head)


def _attribute(file: File, plan: Plan | None, spot: Spot) -> Hover | None:
    attribute, row = spot.attribute, spot.row
    assert attribute is not None
    if row is None:
        return _flag(plan, file, spot)
    parts = [f"**{row.name}**: {row.doc}", described(row)]
    parts += _figures(file, plan, spot, row)
    return Hover("\n\n".join(parts), attribute.key.span)


def _figures(file: File, plan: Plan | None, spot: Spot, row: AttributeSchema) -> Iterator[str]:
    """The value that the plan has, and the derivations of what the attribute moves."""
    if plan is None:
        return
    word = spot.blocks[-1].keyword.text if spot.blocks else ""
    serves = serves_of(plan, file, spot.blocks)
    for serve in serves[:SERVES]:
        value = chosen_value(serve, word, row.name)
        if value:
            yield f"`{serve.name}` runs with {value}"
        for figure in FIGURES.get((word, row.name), ()):
            text = derivation(plan, serve, figure)
            if text:
                yield _code(_short(text, figure))
    if len(serves) > SERVES and (word, row.name) in FIGURES:
        yield f"and {len(serves) - SERVES} more serves"


def _short(text: str, figure: str) -> str:
    lines = text.rstrip().splitlines()
    if len(lines) <= LINES:
        return "\n".join(lines)
    return "\n".join([*lines[:LINES], f"… kcluster plan --why {figure}"])


def _flag(plan: Plan | None, file: File, spot: Spot) -> Hover | None:
    """A flag in `args`, as the table of the version has it."""
    attribute = spot.attribute
    assert attribute is not None
    if len(spot.blocks) < 2 or spot.blocks[-1].keyword.text != "args":
        return None
    from kcluster.catalog.engines import engine_versions, flag_table

    engine, version = _engine(plan, file, spot)
    versions = engine_versions(engine)
    table = flag_table(engine, version or versions[-1]) if versions else None
    found = table.find(attribute.key.text) if table is not None else None
    if table is None or found is None:
        return None
    since = ".".join(map(str, found.since))
    parts = [
        f"**{found.name}**: {flag_detail(found.choices, found.type, found.default)}",
        f"in the table of {engine} since {since}" + (", deprecated" if found.deprecated else ""),
    ]
    return Hover("\n\n".join(parts), attribute.key.span)


def _engine(plan: Plan | None, file: File, spot: Spot) -> tuple[str, tuple[int, ...] | None]:
    for serve in serves_of(plan, file, spot.blocks):
        return serve.serve.engine.name.value, serve.serve.engine.version.value
    labels = spot.blocks[-2].labels
    return (labels[0].text if labels else "vllm"), None


def _value(file: File, plan: Plan | None, spot: Spot, offset: int, files: tuple[File, ...]) -> Hover | None:
    row, leaf = spot.row, spot.leaf
    if row is None:
        return None
    if row.kind == "reference":
        return _reference(file, plan, offset, files)
    if row.kind == "cards" and leaf is not None:
        return _card(leaf, files)
    if row.text == "model id" and leaf is not None:
        return _model(leaf)
    call = next((node for node in reversed(spot.values) if isinstance(node, CallNode)), None)
    if call is not None and row.kind in ("bus", "network"):
        made = constructor(call.name.text, row.kind)
        if made is not None:
            arguments = "\n".join(f"- `{one.name}`: {one.doc}" for one in made.arguments)
            return Hover(f"**{made.name}**: {made.doc}\n\n{arguments}", call.span)
    return _attribute(file, plan, spot)


def _reference(file: File, plan: Plan | None, offset: int, files: tuple[File, ...]) -> Hover | None:
    found = name_at(file, offset)
    where = definition(found.name, files) if found is not None else None
    if found is None or where is None or where.block is None:
        return None
    return Hover(_code(where.source.slice(where.block), "kcluster"), found.span)


def _card(leaf: WordNode | StringNode, files: tuple[File, ...]) -> Hover | None:
    from kcluster.catalog.gpus import find_gpu

    if leaf.text in known_names("gpu", files):
        return Hover(f"**{leaf.text}**: a card of this spec", leaf.span)
    found = find_gpu(leaf.text)
    if found is None:
        return None
    card = found.card
    rates = ", ".join(f"{name} {human(figure.value, figure.unit)}" for name, figure in card.flops)
    lines = [
        f"**{card.name}**" + (f" ({found.note})" if found.note else ""),
        f"- memory {human(card.memory.value, card.memory.unit)}, {human(card.bandwidth.value, card.bandwidth.unit)}",
        f"- {rates}",
        f"\n{found.source}",
    ]
    return Hover("\n".join(lines), leaf.span)


def _model(leaf: WordNode | StringNode) -> Hover | None:
    from kcluster.catalog.formats import WEIGHT_FORMATS
    from kcluster.catalog.models import find_model
    from kcluster.physics.parameters import parameters
    from kcluster.physics.weights import weight_bytes

    found = find_model(leaf.text)
    if found is None:
        return None
    arch = found.architecture
    counted = parameters(arch)
    weights = ", ".join(
        f"{form} {weight_bytes(arch, WEIGHT_FORMATS[form]).value / GB:.1f} GB" for form in ("bf16", "fp8")
    )
    total, active = (f"{figure.value / 1e9:,.1f} billion" for figure in (counted.total, counted.active))
    lines = [
        f"**{found.id}** {arch.class_name or arch.model_type}" + (f" ({found.note})" if found.note else ""),
        f"- {total} parameters" + (f", {active} active" if active != total else "") + f", {len(arch.layers)} layers",
        f"- weights: {weights}",
    ]
    if arch.max_positions:
        lines.append(f"- longest context {arch.max_positions:,} tokens")
    return Hover("\n".join([*lines, f"\n{found.source}"]), leaf.span)


def _code(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.rstrip()}\n```"
