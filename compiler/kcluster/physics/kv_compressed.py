"""The KV cache of DeepSeek V4: beside a window of the last tokens a layer keeps one entry for `compress_ratio` tokens, an index of
those entries where they are many, and the state of the entries that are not yet full. All are packed in 8 bits, whole on every
tensor-parallel rank, in pages rounded up to the kernel's step. Source: vLLM 0.32, `models/deepseek_v4` and `v1/core/kv_cache_utils.py`
(_get_packed_kv_cache_groups).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, Literal

from kcluster.physics.architecture import Architecture, GroupedAttention, Layer
from kcluster.physics.kv_layers import INDEX_SCALE_GROUP
from kcluster.values import frozen

COMPRESSED_BLOCK: Final = 256
"""Tokens of a block that its kernels take."""

_ENTRY_BYTES: Final = 584
"""One entry: 448 values of 8 bits, 64 rotary ones of 16, 8 bytes of scales."""
_WINDOW_BLOCK: Final = 64
_PAGE_STEP: Final = 576
_STATE_BYTES: Final = 4
_FEW: Final = 4
"""The ratio at which entries overlap, so that their states are twice as wide and span two of them."""


@frozen
class Pages:
    """Caches that share a block table: what tokens they keep (`span` of a window), tokens of a block, and (bytes, stage) of each page."""

    kind: Literal["full", "window"]
    span: int
    block: int
    pages: tuple[tuple[float, int], ...]

    def bytes(self, stage: int) -> float:
        return sum(size for size, held in self.pages if held == stage)


@lru_cache(maxsize=256)
def compressed(arch: Architecture) -> bool:
    """Whether this model keeps compressed entries."""
    return any(isinstance(m, GroupedAttention) and m.compress_ratio for layer in arch.kinds for m in layer.mixers)


def _page(content: float) -> float:
    return math.ceil(content / _PAGE_STEP) * _PAGE_STEP


def index_entry_bytes(mixer: GroupedAttention) -> float:
    """Bytes of one entry of the sparse index: 8 bits a value and a 32-bit scale for 128."""
    return mixer.index_dim + 4.0 * math.ceil(mixer.index_dim / INDEX_SCALE_GROUP)


def _caches(mixer: GroupedAttention, block: int) -> list[tuple[Literal["full", "window"], int, int, float]]:
    """(kind, span, tokens of a block, bytes of a page) of everything that one layer keeps."""
    ratio = mixer.compress_ratio
    found: list[tuple[Literal["full", "window"], int, int, float]] = []
    if ratio:
        found.append(("full", 0, block, _page(block // ratio * _ENTRY_BYTES)))
        if mixer.index_heads:
            found.append(("full", 0, block, _page(block // ratio * index_entry_bytes(mixer))))
    found.append(("window", mixer.window or 0, _WINDOW_BLOCK, _page(_WINDOW_BLOCK * _ENTRY_BYTES)))
    if ratio:
        overlap = 2 if ratio == _FEW else 1
        tokens = 4 if ratio == _FEW else 8
        widths = [mixer.head_dim, *([mixer.index_dim] if mixer.index_heads else [])]
        # an entry and its gate are gathered in 32 bits
        found += [
            ("window", overlap * ratio, tokens, _page(tokens * 2 * overlap * width * _STATE_BYTES)) for width in widths
        ]
    return found


def compressed_groups(layers: Iterable[tuple[Layer, int]], block: int) -> list[Pages]:
    """The caches of these layers (with their stages) in groups as the engine packs them: a block holds the widest group."""
    tables: dict[tuple[Literal["full", "window"], int, int], dict[float, list[int]]] = {}
    for layer, stage in layers:
        for mixer in layer.mixers:
            if isinstance(mixer, GroupedAttention):
                for kind, span, tokens, page in _caches(mixer, block):
                    tables.setdefault((kind, span, tokens), {}).setdefault(page, []).append(stage)
    repeats = _repeats([[len(stages) for stages in sizes.values()] for sizes in tables.values()])
    groups = []
    for (kind, span, tokens), sizes in tables.items():
        counts = {len(stages) for stages in sizes.values()}
        number = math.ceil(max(counts) / repeats) if repeats and len(counts) == 1 else 1
        groups += [
            Pages(
                kind,
                span,
                tokens,
                tuple((page, stage) for page, stages in sizes.items() for stage in stages[index::number]),
            )
            for index in range(number)
        ]
    return groups


def _repeats(tables: list[list[int]]) -> int:
    """Layers of each page size in a group: the number that pads the tables least whose page sizes are all as many, at least that of
    the largest with several sizes; 0 where there is no such table."""
    even = [counts for counts in tables if len(set(counts)) == 1]
    least = max((counts[0] for counts in even if len(counts) > 1), default=0)
    if not least:
        return 0
    numbers = [counts[0] for counts in even]
    return min(range(least, max(numbers) + 1), key=lambda size: (sum(-number % size for number in numbers), -size))


def compressed_read_bytes(mixer: GroupedAttention, context: float, picked: int) -> float:
    """Bytes that one sequence of `context` tokens reads in one layer for its next token: its window, and all entries, or the index of
    all and the `picked` best entries."""
    seen = min(context, mixer.window or context) * _ENTRY_BYTES
    if not mixer.compress_ratio:
        return seen
    entries = context / mixer.compress_ratio
    if mixer.index_heads:
        return seen + entries * index_entry_bytes(mixer) + min(entries, picked) * _ENTRY_BYTES
    return seen + entries * _ENTRY_BYTES
