"""From a Hugging Face config.json to what physics needs to know of a model. Unknown architectures fail closed."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from kcluster.catalog.class_defaults import class_defaults
from kcluster.catalog.families_common import FAMILIES, Family
from kcluster.catalog.families_fields import ConfigProblem, Fields, shown
from kcluster.physics.architecture import Architecture

__all__ = ["ConfigProblem", "model_types", "read_config"]

# modules of families by how often their models are asked for; each registers its readers when it is imported
_MODULES = ("dense", "moe", "latent", "hybrid", "multimodal", "sparse", "kimi", "wrapped", "remote", "older")
_INNER = ("text_config", "llm_config", "language_config")


def family_of(model_type: str) -> Family | None:
    """The reader of a `model_type`; no more modules of families are imported than it takes to find it."""
    for name in _MODULES:
        if model_type in FAMILIES:
            break
        import_module(f"kcluster.catalog.families_{name}")
    return FAMILIES.get(model_type)


def model_types() -> tuple[str, ...]:
    """Every `model_type` that a family reads, sorted."""
    family_of("")
    return tuple(sorted(FAMILIES))


def read_config(config: object, *, untold: bool = True) -> tuple[Architecture | None, tuple[ConfigProblem, ...]]:
    """The architecture that a config.json describes.

    `untold`: whether a field that the config does not have is what its class takes.
    The language model's fields may stand in `text_config` (or `llm_config`, `language_config`); what it lacks is looked up
    around it. A `model_type` that no family here knows gives None and a problem: nothing is guessed.

    Returns:
        The architecture, or None with the problems by the dotted names of their fields.
    """
    problems: list[ConfigProblem] = []
    if not isinstance(config, Mapping):
        return None, (ConfigProblem("config.json", f"must be a table, not {shown(config)}"),)
    tables: list[tuple[str, Mapping[str, object]]] = [("", config)]
    for name in _INNER:
        inner = config.get(name)
        if isinstance(inner, Mapping):
            tables.insert(0, (f"{name}.", inner))
            break
        if inner is not None:
            problems.append(ConfigProblem(name, f"must be a table, not {shown(inner)}"))
    outer = Fields((("", config),), problems)
    model_type = outer.text("model_type")
    reader = family_of(model_type)
    if reader is None:
        message = f"{shown(model_type)} is not an architecture that is known here" if model_type else "is missing"
        problems.append(ConfigProblem("model_type", message))
        return None, tuple(problems)
    inner_type = (
        Fields(tables[:1], problems).text("model_type", default=f"{model_type}_text") if len(tables) > 1 else ""
    )
    classes = (inner_type, f"{inner_type}_model", model_type)
    defaults = next((found for found in map(class_defaults, classes) if found), {}) if untold else {}
    architecture = reader(Fields(tables, problems, model_type, defaults, nested=bool(inner_type), untold=untold))
    unique = tuple(dict.fromkeys(problems))
    return (None if unique else architecture), unique
