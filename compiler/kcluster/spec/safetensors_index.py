"""Exact bytes of a checkpoint: from a safetensors index, a safetensors file, or a folder of them.

A safetensors file begins with the length of its header (8 bytes, little end first) and the header, JSON that gives each
tensor's range of bytes; only that is read. An index (`model.safetensors.index.json`) states the sum as `metadata.total_size`.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final

from kcluster.diagnostics.wording import shown
from kcluster.spec.files import MAX_INDEX_BYTES, Files, Unreadable
from kcluster.spec.findings import Findings
from kcluster.spec.types import Origin, Value

_INDEX: Final = "model.safetensors.index.json"
_SUFFIX: Final = ".safetensors"
_MAX_SHARDS: Final = 4096
_MAX_HEADER_BYTES: Final = 100 * 10**6  # the format's own limit
_MAX_TOTAL: Final = 10**15


def exact_bytes(index: Value[str], files: Files, base: str, findings: Findings) -> Value[int] | None:
    """The bytes of all tensors of what `index` names; None after a finding.

    Args:
        base: the folder that the path starts from.
    """
    path = files.join(base, index.value)
    source, span = index.origin.source, index.origin.span
    try:
        total = _total(path, files)
    except Unreadable as error:
        code = "KC106" if str(error) == "does not exist" else "KC103"
        findings.add(code, f"the index `{shown(index.value)}` {error}", source, span)
        return None
    origin = Origin("spec", source, span, f"the sum of all tensors in {files.display(path)}")
    return Value(total, origin, index.attribute)


def _total(path: str, files: Files) -> int:
    place = files.place(path)
    if files.read is None and files.reads and os.path.isdir(place):
        files.untold()
        return _folder(place, path, files)
    if path.endswith(_SUFFIX) and files.read is None and files.reads:
        files.untold()
        return _shard(place)
    return _index(files.bytes_of(path, MAX_INDEX_BYTES))


def _folder(place: str, path: str, files: Files) -> int:
    try:
        names = sorted(os.listdir(place))
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    if _INDEX in names:
        return _index(files.bytes_of(files.join(path, _INDEX), MAX_INDEX_BYTES))
    shards = [name for name in names if name.endswith(_SUFFIX)]
    if not shards:
        raise Unreadable("is a folder without safetensors files")
    if len(shards) > _MAX_SHARDS:
        raise Unreadable(f"is a folder of more than {_MAX_SHARDS:,} safetensors files")
    return sum(_shard(os.path.join(place, name)) for name in shards)


def _index(data: bytes) -> int:
    table = _json(data, "is not a safetensors index: it is not JSON")
    metadata = table.get("metadata") if isinstance(table, dict) else None
    total = metadata.get("total_size") if isinstance(metadata, dict) else None
    if isinstance(total, float) and total.is_integer():
        total = int(total)
    if isinstance(total, bool) or not isinstance(total, int) or not 0 < total <= _MAX_TOTAL:
        raise Unreadable("is not a safetensors index: `metadata.total_size` is no number of bytes")
    return total


def _shard(place: str) -> int:
    """The end of the last tensor in one file's data."""
    try:
        if not stat.S_ISREG(os.stat(place).st_mode):
            raise Unreadable("is not a regular file")
        with open(place, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _MAX_HEADER_BYTES:
                raise Unreadable("is not a safetensors file: its header has no sensible length")
            data = file.read(length)
    except FileNotFoundError:
        raise Unreadable("does not exist") from None
    except OSError as error:
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    header = _json(data, "is not a safetensors file: its header is not JSON")
    if not isinstance(header, dict):
        raise Unreadable("is not a safetensors file: its header is no table")
    return sum(_tensor(entry) for name, entry in header.items() if name != "__metadata__")


def _tensor(entry: Any) -> int:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or not all(isinstance(offset, int) and 0 <= offset <= _MAX_TOTAL for offset in offsets)
        or offsets[0] > offsets[1]
    ):
        raise Unreadable("is not a safetensors file: a tensor has no range of bytes")
    return int(offsets[1] - offsets[0])


def _json(data: bytes, complaint: str) -> Any:
    import json

    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable(complaint) from None
