"""Which model of the catalog a command's path or name stands for, and in which format it is."""

from __future__ import annotations

import re
from typing import Final

from kcluster.catalog.formats import checkpoint_suffix
from kcluster.catalog.models import ModelMatch, find_model
from kcluster.importers.words import Launch
from kcluster.values import frozen

_WEIGHTS: Final = {
    "awq": "awq-int4",
    "awq_marlin": "awq-int4",
    "gptq": "gptq-int4",
    "gptq_marlin": "gptq-int4",
    "auto_round": "gptq-int4",
    "auto-round": "gptq-int4",
    "fp8": "fp8",
    "fbgemm_fp8": "fp8",
    "ptpc_fp8": "fp8",
    "bitsandbytes": "bnb-int4",
    "modelopt_fp4": "nvfp4",
    "mxfp4": "mxfp4",
    "gguf": "gguf-q4_k_m",
}
"""What `--quantization` says of the weights; a value that several formats have is not here."""


_FAMILY: Final = {
    "awq-int4": "awq",
    "gptq-int4": "gptq",
    "fp8": "fp8",
    "fp8-block": "fp8",
    "bnb-int4": "bitsandbytes",
    "nvfp4": "modelopt_fp4",
}


def contradiction(launch: Launch) -> str:
    """The method that a checkpoint's name says where `--quantization` says another; empty where they agree or one says nothing.

    `auto_round` and `compressed-tensors` pack what other names stand for, and contradict nothing.
    """
    setting = launch.setting("--quantization")
    if setting is None or launch.model is None or "round" in setting.text:
        return ""
    said = checkpoint_suffix(launch.model.text.rstrip("/").rpartition("/")[2])[1]
    asked = _FAMILY.get(_WEIGHTS.get(setting.text, ""), "")
    has = _FAMILY.get(said or "", "")
    return has if asked and has and asked != has else ""


@frozen
class Identified:
    """The model of a launch. `id` is what the catalog is asked for; `weights` the format where only the command says it.

    `match` is None where the catalog does not know it; `note` says how a name that is no id was understood."""

    id: str
    match: ModelMatch | None
    weights: str = ""
    note: str = ""
    quantization_used: bool = False


def identify(launch: Launch) -> Identified:
    """The model by its id, else by the end of its path, else by the name that it is served under."""
    text = launch.model.text if launch.model is not None else ""
    direct = find_model(text) if text else None
    if direct is not None:
        return _with_format(launch, Identified(text, direct), named=True)
    plain = text.strip("<>").split(" ")[0].rstrip("/")
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    served = launch.setting("--served-model-name")
    tries = ["/".join(parts[-2:])] if len(parts) > 1 else []
    tries += [f"RedHatAI/{parts[-1]}"] if parts else []
    for attempt in tries:
        match = find_model(attempt)
        if match is not None:
            name = parts[-1]
            own = f"{match.id.partition('/')[0]}/{name}"
            exact = attempt if attempt == tries[0] and len(parts) > 1 else own if find_model(own) else match.id
            note = f"{text} is taken as {exact} by its name; if it is another model, say so in `id`"
            return _with_format(launch, Identified(exact, match, note=note), named=False)
    for word in served.values if served is not None else ():
        match = find_model(word.text) or find_model(f"RedHatAI/{word.text}")
        if match is not None:
            note = f"{text} is taken as {match.id} because it is served as {word.text}"
            return _with_format(launch, Identified(match.id, match, note=note), named=False)
    return Identified(text, None)


def _with_format(launch: Launch, found: Identified, *, named: bool) -> Identified:
    text = launch.model.text.rstrip("/") if launch.model is not None else ""
    said = checkpoint_suffix(text.rpartition("/")[2].split(" ")[0].rstrip(">"))[1]
    if text.lower().endswith(".gguf"):
        kind = re.search(r"(q\d(?:_[01k](?:_[sml])?)?)\.gguf$", text.lower())
        from kcluster.catalog.formats import WEIGHT_FORMATS

        name = f"gguf-{kind[1]}" if kind else ""
        said = name if name in WEIGHT_FORMATS else "fp16" if "f16" in text.lower() else said
    setting = launch.setting("--quantization")
    if named or said:
        known = said or (found.match is not None and found.match.quantization)
        if known or setting is None:
            return Identified(found.id, found.match, "" if named else said or "", found.note)
    asked = _WEIGHTS.get(setting.text, "") if setting is not None else ""
    return Identified(found.id, found.match, asked, found.note, bool(asked))
