"""What the findings of a spec say, in the words of a command: flags for attributes, nothing of the load that it does not have."""

from __future__ import annotations

import json
import re
from typing import Final

from kcluster.spec.flags import ENGINE, PARALLEL, SWITCHES

FLAG_OF: Final = {
    **{key: flag for flag, key in (*PARALLEL.items(), *ENGINE.items(), *SWITCHES.items())},
    "ep": "--enable-expert-parallel",
    "eplb": "--enable-eplb",
    "api_key": "--api-key",
}
"""The flag that says what an attribute says."""
_KEYS: Final = "|".join(sorted(FLAG_OF, key=len, reverse=True))
_SAID: Final = re.compile(rf"`?\b({_KEYS}) = ([\w.]+)`?")
_NAMED: Final = re.compile(rf"`({_KEYS})`")
_REPHRASED: Final = (
    (re.compile(r'^`api_key = env\("[^"]*"\)` in the engine$'), "`--api-key`, or `--host 127.0.0.1` behind a router that checks one"),
    (re.compile(r" \(`weights = [\w.-]+`\)"), ""),
    (re.compile(r", or say what else is on the card with `reserved`"), ""),
    (re.compile(r"`replicas = (\d+)` would use"), r"\1 such servers would use"),
    (
        re.compile(r'^a config\.json describes what the catalog lacks: .*'),
        "`kcluster import` writes a spec, in whose model `config = \"config.json\"` says what the catalog lacks",
    ),
)  # fmt: skip
_OF_THE_LOAD: Final = re.compile(r"\bSLA\b|^concurrency = ")


def phrased(text: str) -> str:
    """A sentence with flags where the spec has attributes; empty where it is about the load, of which a command says nothing."""
    if _OF_THE_LOAD.search(text):
        return ""
    for pattern, instead in _REPHRASED:
        text = pattern.sub(instead, text)
    text = _SAID.sub(lambda match: f"`{flag_text(match[1], match[2])}`", text)
    return _NAMED.sub(lambda match: f"`{FLAG_OF[match[1]]}`", text)


def flag_text(key: str, value: str) -> str:
    """An attribute or a raw flag with its value as words of a command."""
    flag = FLAG_OF.get(key, key)
    if value == "on":
        return flag
    return f"--no-{flag[2:]}" if value == "off" else f"{flag} {value_text(value)}"


def value_text(value: str) -> str:
    """A value of the language as one word of a shell."""
    from shlex import quote

    text = str(json.loads(value)) if value.startswith('"') else value.replace("_", "") if value[:1].isdigit() else value
    return quote({"bf16": "bfloat16", "fp16": "float16"}.get(text, text))
