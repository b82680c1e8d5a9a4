"""What PyTorch's allocator gives a weight beyond its size.

From 10 MiB on a request is rounded up to 2 MiB, and a rest of at most 1 MiB stays with the block, so that it counts as allocated:
the line `Model loading took` of an engine holds it. Qwen2-7B's 28 layers hold 2 MiB each of it on one card, 0.75 at tp 2, which
is what the log has beside weights and rotary tables. Source: PyTorch, `c10/cuda/CUDACachingAllocator.cpp`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kcluster.units import MIB, Figure, derive

LARGE: Final = 10 * MIB
UNIT: Final = 2 * MIB
KEPT: Final = 1 * MIB

_FUSED: Final = {
    "q_proj": "qkv_proj",
    "k_proj": "qkv_proj",
    "v_proj": "qkv_proj",
    "q_a_proj": "qkv_a_proj",
    "kv_a_proj": "qkv_a_proj",
    "gate_proj": "gate_up_proj",
    "up_proj": "gate_up_proj",
}
"""Linear layers that an engine holds as one tensor."""


def fused(name: str) -> str:
    """The tensor in which an engine holds a linear layer of this name."""
    prefix, dot, last = name.rpartition(".")
    return prefix + dot + _FUSED.get(last, last)


def kept(size: float) -> bool:
    """Whether a tensor of so many bytes holds a rest of its block."""
    return size >= LARGE and 0 < -size % UNIT <= KEPT


def rests(sizes: Iterable[tuple[str, float]]) -> list[tuple[str, Figure]]:
    """Bytes that tensors, by name and size in bytes, hold beyond themselves; parts of one fused tensor are added up first."""
    whole: dict[str, float] = {}
    for name, size in sizes:
        whole[fused(name)] = whole.get(fused(name), 0.0) + size
    return [
        (
            name.replace(".", "_"),
            derive(
                f"rest of {name}'s block",
                "bytes",
                "ceil(size / unit) * unit - size",
                source="PyTorch's allocator: blocks of 2 MiB, of which a rest of at most 1 MiB is not given away",
                size=size,
                unit=UNIT,
            ),
        )
        for name, size in whole.items()
        if kept(size)
    ]
