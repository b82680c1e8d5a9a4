"""GPUs by name, and what a row becomes."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from kcluster.catalog.gpus import find_gpu, gpu_families, gpu_ids, gpu_row, nearest_gpus
from kcluster.units import GB, GIB

DATA = Path(__file__).parents[2] / "compiler/kcluster/catalog/data/gpus.toml"


@pytest.mark.parametrize(
    ("name", "identifier", "note"),
    [
        ("rtx-5090", "rtx-5090", ""),
        ("rtx5090", "rtx-5090", ""),
        ("RTX 5090", "rtx-5090", ""),
        ("NVIDIA GeForce RTX 5090", "rtx-5090", ""),
        ("5090", "rtx-5090", "taken as rtx-5090"),
        ("rtx-pro-6000", "rtx-pro-6000-blackwell-ws", "taken as rtx-pro-6000-blackwell-ws, the commonest RTX PRO 6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", "rtx-pro-6000-blackwell-server", ""),
        ("h100", "h100-sxm", "taken as h100-sxm, the commonest H100"),
        ("h100-pcie", "h100-pcie", ""),
        ("NVIDIA H100 80GB HBM3", "h100-sxm", "taken as h100-sxm"),
        ("a100", "a100-80gb-sxm", "taken as a100-80gb-sxm, the commonest A100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm", "taken as a100-80gb-sxm"),
        ("h200", "h200-sxm", "taken as h200-sxm, the commonest H200"),
        ("AMD Instinct MI300X", "mi300x", ""),
    ],
)
def test_names(name: str, identifier: str, note: str) -> None:
    match = find_gpu(name)
    assert match is not None
    assert (match.id, match.card.id, match.note) == (identifier, identifier, note)
    assert "read 2026-11-23" in match.source


@pytest.mark.parametrize("name", ["", "x", "families", "rtx-9999", "nvidia", "geforce", "gpu'); drop", "\u202e"])
def test_unknown_names_find_nothing(name: str) -> None:
    assert find_gpu(name) is None


def test_nearest_names() -> None:
    assert nearest_gpus("rtx-509")[0] == "rtx-5090"
    assert nearest_gpus("h10")[0] in ("h100", "h100-sxm", "h100-pcie")
    assert nearest_gpus("zzzz") == ()


def test_lazy_rows_are_the_files_rows() -> None:
    whole = tomllib.loads(DATA.read_text(encoding="utf-8"))
    assert gpu_ids() == tuple(name for name in whole if name != "families")
    for identifier in gpu_ids():
        assert gpu_row(identifier) == whole[identifier]


def test_every_row_becomes_a_card() -> None:
    assert len(gpu_ids()) >= 57
    for identifier in gpu_ids():
        match = find_gpu(identifier)
        assert match is not None
        card = match.card
        low, high = card.memory.range()
        assert 0 < low <= card.memory.value <= high
        assert card.bandwidth.value > 100 * GB
        assert card.rate("bf16") is not None or card.rate("fp16") is not None
        assert card.memory.source
        row = gpu_row(identifier)
        assert row is not None and (row.get("sources") or row.get("unread_sources"))


def test_families_point_at_rows() -> None:
    assert set(gpu_families().values()) <= set(gpu_ids())


def test_visible_memory_never_the_marketing_figure() -> None:
    # the driver's total, from logs: 31.36 of 32 GiB, 22.03 of 24 on an L4 with ECC
    for identifier, gib in (
        ("rtx-5090", 31.36),
        ("l4", 22.03),
        ("h100-sxm", 79.11),
        ("rtx-pro-6000-blackwell-ws", 94.97),
    ):
        match = find_gpu(identifier)
        assert match is not None
        assert match.card.memory.value == pytest.approx(gib * GIB)
        assert match.card.memory.low is None


def test_an_estimate_says_so_and_has_a_range() -> None:
    match = find_gpu("l40")
    assert match is not None
    memory = match.card.memory
    assert memory.source.startswith("estimated: no log found")
    assert memory.low is not None and memory.high is not None
    # like cards with ECC show 0.9125 to 0.928 of 48 GiB
    assert memory.low < 48 * 0.9125 * GIB
    assert memory.high > 48 * 0.928 * GIB


def test_a_board_of_two_devices_gives_one() -> None:
    match = find_gpu("mi250x")
    assert match is not None
    assert match.card.memory.value < 64.5 * GIB
    assert match.card.bandwidth.value == pytest.approx(3277 * GB / 2)
    assert "2 devices" in match.card.notes


def test_forms_and_links() -> None:
    sxm, consumer, oam, bridge = (find_gpu(name) for name in ("h100-sxm", "rtx-5090", "mi300x", "rtx-a6000"))
    assert sxm and consumer and oam and bridge
    assert (sxm.card.form, sxm.card.gpu_link, sxm.card.gpu_link_generation, sxm.card.gpu_link_switched) == (
        "sxm",
        "nvlink",
        4,
        True,
    )
    assert sxm.card.gpu_link_bandwidth is not None and sxm.card.gpu_link_bandwidth.value == 450 * GB
    assert (consumer.card.consumer, consumer.card.peer_to_peer, consumer.card.gpu_link) == (True, False, None)
    assert (oam.card.form, oam.card.gpu_link, oam.card.compute_capability) == ("oam", "xgmi", None)
    assert (bridge.card.gpu_link, bridge.card.gpu_link_generation) == ("nvlink-bridge", 3)
