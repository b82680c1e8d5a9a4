"""Parameters of a config.json as its class in transformers has them, built on torch's meta device.

Run by the Python of the engine's own environment. It reads one config.json a line on standard input and answers with one JSON object a
line: `{"parameters": N}`, or `{"refused": "…"}` where the class does not take the config. A line that is a model type is answered with
the config that its class makes by itself, null where there is no class.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from typing import Any

CORRECTIONS = ("correction_bias", "expert_bias", "e_score")
"""Buffers that published files hold and readers count: corrections of a router."""


def counted(config: dict[str, Any]) -> dict[str, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    try:
        made = CONFIG_MAPPING[config["model_type"]].from_dict(config)
        several = type(made) in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        with torch.device("meta"):
            model = (AutoModelForImageTextToText if several else AutoModelForCausalLM).from_config(made)
        model.tie_weights()
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"[:300]}
    weights = {id(weight): weight.numel() for weight in model.parameters()}
    extra = sum(b.numel() for name, b in model.named_buffers() if any(word in name for word in CORRECTIONS))
    return {"parameters": sum(weights.values()) + extra}


def defaults(kind: str) -> dict[str, Any] | None:
    """The config that a class makes by itself, of five layers where it takes a number."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if kind not in CONFIG_MAPPING:
        return None
    inner = {"text_config": {"num_hidden_layers": 5}}
    towers = [{"vision_config": {name: 2}} for name in ("depth", "num_hidden_layers")]
    for sizes in ({"num_hidden_layers": 5}, *({**inner, **tower} for tower in towers), inner, {}):
        try:
            made = CONFIG_MAPPING[kind](**sizes).to_dict()
        except Exception:  # classes differ in what they take
            continue
        found = {**json.loads(json.dumps(made, default=str)), "model_type": kind}
        if "parameters" in counted(found):
            return found
    return None


def main() -> None:
    warnings.filterwarnings("ignore")
    logging.disable()
    for line in sys.stdin:
        asked = json.loads(line)
        answer: Any = defaults(asked) if isinstance(asked, str) else counted(asked)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
