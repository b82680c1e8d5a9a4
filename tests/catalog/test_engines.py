"""The flag tables: equal to what was read from the engines, and judged as the engines' parsers would."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kcluster.catalog.engines import engine_versions, flag_table
from tests.support.needed import SHARED, with_shared


def table(*version: int):
    found = flag_table("vllm", version)
    assert found is not None
    return found


def kinds(version: tuple[int, ...], flag: str, value: object = True) -> list[str]:
    return [problem.kind for problem in table(*version).judge(flag, value)]  # type: ignore[arg-type]


def test_versions_with_a_table() -> None:
    assert engine_versions("vllm") == ((0, 11), (0, 32), (0, 33))
    assert engine_versions("unheard") == ()
    assert flag_table("unheard", (1, 0)) is None
    assert flag_table("../engines/vllm", (0, 33)) is None


@pytest.mark.parametrize(
    "version",
    [
        pytest.param(version, marks=with_shared(f"vllm_flags_{version}.json"))
        for version in ("0.11.0", "0.32.0", "0.33.0")
    ],
)
def test_table_holds_what_was_read_from_the_engine(version: str) -> None:
    read = {
        f["flag"]: f
        for f in json.loads((SHARED / f"vllm_flags_{version}.json").read_text())["flags"]
        if f["flag"].startswith("--")
    }
    ours = table(*(int(part) for part in version.split("."))).flags
    assert set(ours) == set(read)
    for name, flag in read.items():
        assert set(flag["aliases"]) <= set(ours[name].aliases), name
        assert set(ours[name].aliases) - set(flag["aliases"]) <= {f"--no-{name[2:]}"}, name
        assert ours[name].choices == (
            tuple(str(c) for c in flag["choices"] if c is not None) if flag["choices"] else None
        )
        assert ours[name].deprecated == flag["deprecated"]
        assert ours[name].takes_value == (flag["nargs"] != 0)


def test_spellings_that_the_parser_takes() -> None:
    new = table(0, 33)
    for text in ("--tensor-parallel-size", "--tensor_parallel_size", "--tensor-parallel", "-tp"):
        match = new.match(text)
        assert match and match.canonical == "--tensor-parallel-size", text
    assert new.find("--tensor") is not None
    off = new.match("--disable-prefix-caching")
    assert off and off.negated and off.canonical == "--no-enable-prefix-caching"
    on = new.match("--enable-custom-all-reduce")
    assert on and on.negated and on.canonical == "--no-disable-custom-all-reduce"
    dotted = new.match("--eplb-config.step_interval")
    assert dotted and dotted.canonical == "--eplb-config.step_interval"
    assert new.match("--port.x") is None  # a number has no keys
    assert new.match("-O2") and not new.judge("-O2")
    assert table(0, 32).match("--disable-prefix-caching") is None  # an error there: only the --no- form


@pytest.mark.parametrize(
    ("version", "flag", "value", "expected"),
    [
        ((0, 33), "--max-model-len", "32K", []),
        ((0, 33), "--max-model-len", "auto", []),
        ((0, 11), "--max-model-len", "auto", ["value"]),
        ((0, 33), "--max-model-len", "1.5K", ["value"]),  # binary suffixes take whole numbers only
        ((0, 33), "--max-model-len", "1.5k", []),
        ((0, 33), "--tensor-parallel-size", "two", ["value"]),
        ((0, 33), "--tensor-parallel-size", True, ["value"]),
        ((0, 33), "--headless", True, []),
        ((0, 33), "--headless", False, ["value"]),
        ((0, 33), "--enforce-eager", False, []),
        ((0, 33), "--enforce-eager", "yes", ["value"]),
        ((0, 33), "--expert-parallel-size", 8, ["unknown"]),
        ((0, 33), "--enable", True, ["ambiguous"]),
        ((0, 33), "--swap-space", 4, ["unknown"]),
        ((0, 11), "--swap-space", 4, []),
        ((0, 11), "--nnodes", 2, ["unknown"]),
        ((0, 20), "--nnodes", 2, ["uncertain"]),
        ((0, 20), "--expert-parallel-size", 2, ["unknown"]),
        ((0, 20), "--kv-cache-dtype", "nvfp4", ["uncertain"]),
        ((0, 20), "--kv-cache-dtype", "fp8", []),
        ((0, 32), "--kv-cache-dtype", "int7", ["choice"]),
        ((0, 33), "--kv-cache-dtype", "int7", ["hint"]),
        ((0, 33, 1), "--nnodes", 2, []),
        ((0, 99), "--nnodes", 2, []),
        ((0, 33), "--served-model-name", ("a", "b"), []),
        ((0, 33), "--port", (1, 2), ["value"]),
        ((0, 33), "--allowed-origins", ("https://a",), []),
        ((0, 33), "--speculative-config", "{method: ngram}", ["value"]),
        ((0, 33), "--speculative-config", '{"method": "ngram"}', []),
        ((0, 33), "--kv-transfer-config", "8", ["value"]),  # JSON, but no object
        ((0, 33), "--kv-transfer-config", '{"kv_connector": "x"}', []),
        ((0, 33), "--mamba-cache-mode", "align", ["deprecated"]),
        ((0, 33), "--middleware", ("a.B", "c.D"), []),
    ],
)
def test_judgement(version: tuple[int, ...], flag: str, value: object, expected: list[str]) -> None:
    assert kinds(version, flag, value) == expected


def test_unknown_flags_name_the_nearest_and_what_replaced_them() -> None:
    (problem,) = table(0, 33).judge("--enable-prefix-cacheing")
    assert problem.nearest[0] == "--enable-prefix-caching"
    (problem,) = table(0, 33).judge("--cuda-graph-sizes", 8)
    assert problem.nearest == ("--cudagraph-capture-sizes",)
    assert "last seen in 0.11" in problem.message
    (problem,) = table(0, 11).judge("--nnodes", 2)
    assert "first seen in 0.32" in problem.message


def test_versions_between_tables_take_what_either_takes() -> None:
    between = table(0, 20)
    assert between.tables == ((0, 11), (0, 32)) and not between.exact
    assert set(between.flags) == set(table(0, 11).flags) | set(table(0, 32).flags)
    assert table(0, 33).exact and not table(0, 99).exact


@given(st.text(max_size=40), st.one_of(st.text(), st.booleans(), st.integers(), st.floats(), st.tuples(st.text())))
def test_no_flag_or_value_raises(flag: str, value: object) -> None:
    for version in ((0, 11), (0, 20), (0, 33)):
        table(*version).judge("--" + flag, value)  # type: ignore[arg-type]
        table(*version).judge(flag, value)  # type: ignore[arg-type]
