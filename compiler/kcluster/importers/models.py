"""Which model of the catalog a command's path or name stands for, and in which format it is."""

from __future__ import annotations

import re
from typing import Final

from kcluster.catalog.formats import WEIGHT_FORMATS, checkpoint_suffix, format_of_checkpoint
from kcluster.catalog.models import ModelMatch, find_model, known_format
from kcluster.importers.words import Launch
from kcluster.values import frozen

WEIGHTS: Final = {
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


_NEUTRAL: Final = re.compile(r"(?:[-_](?:4bit|8bit|mtp|abliterated|uncensored|heretic|dflash))+$", re.IGNORECASE)
"""What the names of re-uploads end in that says nothing of the architecture."""

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
    asked = _FAMILY.get(WEIGHTS.get(setting.text, ""), "")
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
    if launch.own is not None:
        return _with_format(launch, Identified(launch.own.id, launch.own), _last(text), named=text == launch.own.id)
    direct = find_model(text) if text else None
    if direct is not None:
        return _with_format(launch, Identified(text, direct), _last(text), named=True)
    found = _by_path(launch, text) or (_by_path(launch, launch.outside) if launch.outside else None)
    if found is not None:
        return found
    served = launch.setting("--served-model-name")
    for word in served.values if served is not None else ():
        match = find_model(word.text) or find_model(f"RedHatAI/{word.text}")
        if match is not None:
            note = f"{text} is taken as {match.id} because it is served as {word.text}"
            name = _last(text) if checkpoint_suffix(_last(text))[1] is not None else word.text.rpartition("/")[2]
            return _with_format(launch, Identified(match.id, match, note=note), name, named=False)
    return Identified(text, None)


def _last(text: str) -> str:
    return text.rstrip("/").rpartition("/")[2].split(" ")[0].rstrip(">")


def _by_path(launch: Launch, path: str) -> Identified | None:
    """The model that the end of a path names."""
    plain = path.strip("<>").split(" ")[0].rstrip("/").replace("___", ".")  # ModelScope writes `___` for a dot
    parts = [part for part in plain.split("/") if part not in ("", ".", "..")]
    cached = next((part for part in reversed(parts) if part.startswith("models--")), "")
    if cached:
        parts = cached.split("--")[1:]
    if not parts:
        return None
    name = _NEUTRAL.sub("", parts[-1]) or parts[-1]
    tries = [f"{parts[-2]}/{name}"] if len(parts) > 1 else []
    for attempt in (*tries, f"RedHatAI/{name}", f"RedHatAI/{_NEUTRAL.sub('', checkpoint_suffix(name)[0])}"):
        match = find_model(attempt)
        if match is not None:
            own = f"{match.id.partition('/')[0]}/{name}"
            exact = attempt if attempt in tries else own if find_model(own) else match.id
            text = launch.model.text if launch.model is not None else path
            note = f"{text} is taken as {exact} by its name; if it is another model, say so in `id`"
            return _with_format(launch, Identified(exact, match, note=note), name, named=False)
    return None


def _with_format(launch: Launch, found: Identified, name: str, *, named: bool) -> Identified:
    """With the format of the weights: of the checkpoint's name, else of `--quantization`.

    Args:
        named: whether `found.id` is the checkpoint, whose format its name says in a spec too.
    """
    said = known_format(found.id) or checkpoint_suffix(name)[1]
    if not named and said is None and found.match is not None and not name.lower().endswith("bf16"):
        # a copy at another place, of a model that is published packed
        said = format_of_checkpoint(found.match.quantization, found.match.id)
    if name.lower().endswith(".gguf"):
        kind = re.search(r"(q\d(?:_[01k](?:_[sml])?)?)\.gguf$", name.lower())
        packed = f"gguf-{kind[1]}" if kind else ""
        said = packed if packed in WEIGHT_FORMATS else "fp16" if "f16" in name.lower() else said
    setting = launch.setting("--quantization")
    if named or said:
        known = said or (found.match is not None and found.match.quantization)
        if known or setting is None:
            packed = _possible(said or "", found)
            return Identified(found.id, found.match, "" if named and packed == (said or "") else packed, found.note)
    asked = WEIGHTS.get(setting.text, "") if setting is not None else ""
    return Identified(found.id, found.match, _possible(asked, found), found.note, bool(asked))


def _possible(weights: str, found: Identified) -> str:
    """A grouped format that only a name says, with groups of 32 where the model's widths do not divide by 128: it could not have
    been packed otherwise."""
    packed = WEIGHT_FORMATS.get(weights)
    if packed is None or packed.group != 128 or found.match is None or known_format(found.id) is not None:
        return weights
    widths = {layer.ffn.intermediate for layer in found.match.architecture.kinds if layer.ffn is not None}
    smaller = f"{weights}-g32"
    return smaller if any(width % 128 for width in widths) and smaller in WEIGHT_FORMATS else weights
