"""Quoting, shown by executing it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml as pyyaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.targets.shell import one_line, quote, required, variable_name
from kcluster.targets.yaml import document, scalar
from tests.targets.run import HOSTILE


def expanded(words: list[str], folder: Path) -> list[str]:
    """What bash makes of words."""
    script = "printf '%s\\0' " + " ".join(words)
    ended = subprocess.run(["bash", "-c", script], capture_output=True, check=True, cwd=folder, timeout=60)
    return ended.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def test_every_hostile_text_stays_one_word(tmp_path: Path) -> None:
    assert expanded([quote(text) for text in HOSTILE], tmp_path) == list(HOSTILE)
    assert list(tmp_path.iterdir()) == []


def test_comments_end_with_their_line(tmp_path: Path) -> None:
    script = "".join(f"# {one_line(text)}\n" for text in HOSTILE)
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, timeout=60)
    assert list(tmp_path.iterdir()) == []
    assert all("\n" not in one_line(text) and "\u202e" not in one_line(text) for text in HOSTILE)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1, max_size=20))
def test_any_text_stays_one_word(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    folder = tmp_path_factory.getbasetemp()
    assert expanded([quote(text) for text in texts], folder) == texts


def test_what_bash_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
    for name in ("A-B", "1A", "", "A B", "A$(x)", "É"):
        assert not variable_name(name)
        with pytest.raises(ValueError, match="variable"):
            required(name, "something")


def test_hostile_yaml_scalars_are_text() -> None:
    words = (
        *HOSTILE,
        "yes",
        "on",
        "null",
        "1e3",
        "0o17",
        "*x",
        "&a",
        "!!python/object:os.system",
        "2001-01-01",
        "- a",
        "",
        "a: b",
    )
    for text in words:
        assert pyyaml.safe_load(scalar(text)) == text
        assert pyyaml.safe_load(document({"key": text, "list": [text, {"inner": text}]})) == {
            "key": text,
            "list": [text, {"inner": text}],
        }


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.recursive(
    SCALARS | TEXTS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4) | st.lists(VALUES, min_size=1, max_size=4))
def test_any_value_comes_back_from_yaml(value: object) -> None:
    assert pyyaml.safe_load(document(value) or "{}") == value  # type: ignore[arg-type]
