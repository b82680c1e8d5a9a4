"""Rows cut out of the catalog's files, and the module in which a wheel brings them along parsed."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from types import ModuleType

import pytest

from kcluster.catalog import constants, gpus, links, models, rows


@pytest.fixture
def prebuilt(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A catalog with its prebuilt module, and without a TOML parser."""
    module = ModuleType("kcluster.catalog.prebuilt")
    exec(rows.dump(rows.DATA), module.__dict__)
    monkeypatch.setitem(sys.modules, "kcluster.catalog.prebuilt", module)
    caches = (
        rows._prebuilt, gpus._slices, gpus._families, gpus._row, gpus._find, links._slices, links._row,
        constants.memory_constants, constants.time_constants,
    )  # fmt: skip
    for cache in caches:
        cache.cache_clear()
    yield module
    for cache in caches:
        cache.cache_clear()


def test_every_text_stands_beside_what_it_says(prebuilt: ModuleType) -> None:
    assert len(prebuilt.PARSED) > 250
    for text, value in prebuilt.PARSED.items():
        assert value == tomllib.loads(text)


def test_readers_ask_for_nothing_else(prebuilt: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tomllib, "loads", lambda text: pytest.fail(f"parsed {text[:60]!r}"))
    for identifier in models.model_ids():
        assert models.find_model(identifier) is not None
    for identifier in (*gpus.gpu_ids(), *gpus.gpu_families()):
        assert gpus.find_gpu(identifier) is not None
    for identifier in links.link_ids():
        assert links.link_row(identifier) is not None
    assert constants.memory_constants().weights.value > 0
    assert constants.time_constants().tables


def test_a_text_that_is_not_there_word_for_word_is_parsed(prebuilt: ModuleType) -> None:
    text = rows.headed(rows.read("links.toml"))["pcie5-x16"]
    changed = text.replace("generation = 5", "generation = 7")
    assert changed != text
    assert (rows.parse(text)["generation"], rows.parse(changed)["generation"]) == (5, 7)
    with pytest.raises(tomllib.TOMLDecodeError):
        rows.parse("= 3")


def test_rows_put_together_are_the_file() -> None:
    text = rows.read("models/llama.toml")
    places = rows.entries(text)
    assert text.startswith("".join(text[start:end] for start, end in places)[:200], places[0][0])
    assert [start for start, _ in places[1:]] == [end for _, end in places[:-1]]
    assert places[-1][1] == len(text)
