"""One tensor of a model: its shape, what it counts as, and how ranks cut it."""

from __future__ import annotations

from typing import Literal

from kcluster.values import frozen

Part = Literal["embedding", "head", "attention", "mlp", "experts", "router", "norm", "other", "vision", "mtp"]
Split = Literal["none", "rows", "columns", "kv", "expert_rows", "expert_columns", "expert"]


@frozen(cache_hash=True)
class Tensor:
    """One tensor, or `copies` equal ones.

    Attributes:
        shape: its rows and columns in the words of a config.
        part: what it counts as.
        split: along which side tensor parallel cuts it; "kv" by KV heads, of which a rank never holds less than one;
            "expert…" for tensors of routed experts, which go to ranks whole with expert parallel.
        units: what must stay whole when it is cut: heads, or 0 for single rows or columns.
        linear: a weight of a linear layer, which a quantized format packs; False stays in 16 bits.
        role: "attention", "latent" (attention), "ffn" or "experts": what a format that packs only some linear layers asks.
        bytes_each: of one value where no format changes it, 0 where the format says.
    """

    name: str
    shape: str
    rows: int
    columns: int = 1
    copies: int = 1
    part: Part = "attention"
    split: Split = "none"
    units: int = 0
    linear: bool = False
    role: Literal["attention", "latent", "ffn", "experts"] = "attention"
    bytes_each: int = 0

    @property
    def elements(self) -> int:
        return self.rows * self.columns * self.copies
