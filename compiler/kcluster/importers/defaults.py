"""What an engine takes where a command says nothing: a spec leaves the same to the planner, which would choose better."""

from __future__ import annotations

import re
from collections.abc import Iterator

from kcluster.importers.models import Identified
from kcluster.importers.words import Launch, count_of, size_of
from kcluster.importers.writing import Line
from kcluster.physics.architecture import GroupedAttention
from kcluster.physics.hardware import Card


def version_of(launch: Launch, version: str = "") -> tuple[int, ...] | None:
    """The engine's version: as asked, else of the image's tag; None where neither says it."""
    numbers = re.findall(r"[0-9]{1,4}", version or launch.version)
    return tuple(int(number) for number in numbers[:3]) if numbers else None


def cut_defaults(launch: Launch, model: Identified) -> Iterator[Line]:
    """Axes of the cut that are open in a spec and one (or off) for the engine, where the model has a choice in them."""
    if model.match is None:
        return
    architecture = model.match.architecture
    setting = launch.setting("--tensor-parallel-size")
    tp = (count_of(setting.text) if setting is not None else None) or 1
    if architecture.moe is not None:
        if launch.setting("--data-parallel-size") is None:
            yield Line("dp", "1", launch.span)
        if tp > 1 and launch.setting("--enable-expert-parallel") is None:
            yield Line("ep", "off", launch.span)
    attention = architecture.attention
    copies = attention is not None and (not isinstance(attention, GroupedAttention) or tp > attention.kv_heads)
    if tp > 1 and copies and launch.setting("--decode-context-parallel-size") is None:
        yield Line("dcp", "1", launch.span)


def limit_defaults(launch: Launch, model: Identified, card: Card | None, version: str) -> Iterator[Line]:
    """Sequences and tokens of a step by the engine's tiers, where the command leaves them out and the card is known."""
    from kcluster.catalog.engines import engine_versions
    from kcluster.physics.capacity import default_limits
    from kcluster.physics.cut import EngineVersion

    if card is None or model.match is None:
        return
    given = {flag: _number(launch, flag) for flag in ("--max-model-len", "--max-num-seqs", "--max-num-batched-tokens")}
    if any(launch.setting(flag) is not None and value is None for flag, value in given.items()):
        return
    sequences, tokens = default_limits(
        model.match.architecture,
        card,
        EngineVersion("vllm", version_of(launch, version) or engine_versions("vllm")[-1]),
        max_model_len=given["--max-model-len"],
        max_num_seqs=given["--max-num-seqs"],
        max_num_batched_tokens=given["--max-num-batched-tokens"],
    )
    if given["--max-num-seqs"] is None:
        yield Line("max_num_seqs", str(sequences), launch.span)
    if given["--max-num-batched-tokens"] is None:
        yield Line("max_num_batched_tokens", str(tokens), launch.span)


def _number(launch: Launch, flag: str) -> int | None:
    """A count as flags write it; None for anything else."""
    setting = launch.setting(flag)
    return size_of(setting.text) if setting is not None else None
