"""From a Hugging Face config.json to what physics needs to know of a model. Unknown architectures fail closed."""

from __future__ import annotations

from collections.abc import Mapping

from kcluster.catalog.families_common import FAMILIES
from kcluster.catalog.families_fields import ConfigProblem, Fields, shown
from kcluster.physics.architecture import Architecture

__all__ = ["ConfigProblem", "read_config"]

_INNER = ("text_config", "llm_config", "language_config")


def read_config(config: object) -> tuple[Architecture | None, tuple[ConfigProblem, ...]]:
    """The architecture that a config.json describes.

    The language model's fields may stand in `text_config` (or `llm_config`, `language_config`); what it lacks is looked up
    around it. A `model_type` that no family here knows gives None and a problem: nothing is guessed.

    Returns:
        The architecture, or None with the problems by the dotted names of their fields.
    """
    # families register themselves when they are imported
    from kcluster.catalog import (  # noqa: F401
        families_dense,
        families_hybrid,
        families_kimi,
        families_latent,
        families_moe,
        families_multimodal,
        families_older,
        families_sparse,
        families_wrapped,
    )

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
    reader = FAMILIES.get(model_type)
    if reader is None:
        message = f"{shown(model_type)} is not an architecture that is known here" if model_type else "is missing"
        problems.append(ConfigProblem("model_type", message))
        return None, tuple(problems)
    architecture = reader(Fields(tables, problems, model_type))
    unique = tuple(dict.fromkeys(problems))
    return (None if unique else architecture), unique
