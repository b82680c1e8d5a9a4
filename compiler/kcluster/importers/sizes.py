"""What the name of a model says of its size, where nothing else is known of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from kcluster.catalog.formats import WEIGHT_FORMATS, checkpoint_suffix
from kcluster.importers.machines import Hardware, card_of, degree
from kcluster.importers.models import WEIGHTS, identify
from kcluster.importers.words import Launch, Problem
from kcluster.units import GIB, derive

_BILLIONS: Final = re.compile(r"(?<![A-Za-z0-9.])(\d{1,4}(?:\.\d{1,2})?)[bB](?![A-Za-z0-9])")
_PACKED: Final = re.compile(r"\dbit|int\d|fp\d|gguf|exl|quant|awq|gptq|bnb|[wq]\d", re.IGNORECASE)
"""What names say of formats, also of such as are not known here."""
_ROUNDED: Final = 0.93
"""Names round: this much of what one says is held against the card."""
_SHARE: Final = "0.92"
"""Of the card that the engine takes where the command does not say."""


def too_large(launch: Launch, hardware: Hardware) -> Iterator[Problem]:
    """Weights of a model that is not known, by the billions in its name, where they alone exceed the cards."""
    card, model = card_of(hardware), launch.model
    if card is None or model is None or model.unset or identify(launch).match is not None:
        return
    name = model.text.rstrip("/").rpartition("/")[2]
    billions = max((float(found) for found in _BILLIONS.findall(name)), default=0.0)
    share = launch.setting("--gpu-memory-utilization")
    used = share.text if share is not None else _SHARE
    if (
        not billions
        or launch.setting("--cpu-offload-gb") is not None
        or not re.fullmatch(r"0?\.\d{1,4}|1(\.0*)?", used)
    ):
        return
    quantization = launch.setting("--quantization")
    said = checkpoint_suffix(name)[1] or (WEIGHTS.get(quantization.text) if quantization is not None else None)
    if said is None and (quantization is not None or _PACKED.search(name)):
        return
    form = WEIGHT_FORMATS[said or "bf16"]
    ranks = degree(launch, "--tensor-parallel-size") * degree(launch, "--pipeline-parallel-size")
    weights = derive(
        "memory.weights_by_name", "bytes", "billions * 1e9 * bytes_per_parameter / ranks",
        billions=billions, bytes_per_parameter=form.bytes_per_parameter, ranks=ranks,
    )  # fmt: skip
    usable = derive("memory.usable", "bytes", "memory * share", memory=card.memory, share=float(used))
    if weights.value * _ROUNDED > usable.value:
        yield Problem(
            "KC201",
            f"`{name}` says {billions:g} billion parameters: {weights.value / GIB:.1f} GiB of {form.name} weights a card, and "
            f"{usable.value / GIB:.1f} GiB of {card.name} are usable",
            model.span,
            "warning",
            note="by the name alone: the model is not known here",
            help="more cards, or a checkpoint in fewer bits",
        )
