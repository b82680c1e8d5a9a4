"""Every spec of specs/ is linted, planned and compiled; those under bad/ are refused for what their first lines say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion

import kcluster
from kcluster.pipeline import Checked
from kcluster.render import render
from kcluster.render.plan_text import plan_text
from kcluster.syntax.formatter import format_source
from kcluster.targets import emit

ROOT = Path(__file__).parent.parent
GOOD = sorted((ROOT / "specs").glob("*.kcluster"))
BAD = sorted((ROOT / "specs/bad").glob("*.kcluster"))


def checked(path: Path) -> Checked:
    from kcluster.pipeline import decode_and_check

    return decode_and_check(path.read_bytes(), path.relative_to(ROOT).as_posix(), folder=path.parent)


def name(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("path", GOOD, ids=name)
def test_a_good_spec_compiles(path: Path, snapshot: SnapshotAssertion) -> None:
    found = checked(path)
    assert found.plan is not None and not found.errors
    artifacts = {artifact.path: artifact for artifact in emit(found.plan)}
    assert "plan.toml" in artifacts and "README.md" in artifacts
    assert [path for path in artifacts if re.fullmatch(r"nodes/[^/]+/serve-.+\.sh", path)]
    again = emit(checked(path).plan)  # type: ignore[arg-type]
    assert tuple(artifacts.values()) == again, "compiled twice, the bytes are the same"
    findings = render("concise", found.diagnostics)
    assert f"{findings}\n{plan_text(found.plan, everything=False, color=False, width=110)}" == snapshot


@pytest.mark.parametrize("path", BAD, ids=name)
def test_a_bad_spec_is_refused_for_what_it_says(path: Path) -> None:
    expected = set(re.findall(r"KC\d{3}", path.read_text().split("\nmodel")[0]))
    assert expected, "its first lines name the code"
    assert {finding.code for finding in checked(path).errors} == expected


@pytest.mark.parametrize("path", [*GOOD, *BAD], ids=name)
def test_specs_are_in_canonical_layout(path: Path) -> None:
    found = checked(path)
    assert format_source(found.source) == found.source.text


def parallel(spec: str) -> dict[str, int]:
    cut = kcluster.plan((ROOT / f"specs/{spec}.kcluster").read_text()).serves[0].chosen.cut
    return {"replicas": cut.replicas, "tp": cut.tp, "pp": cut.pp, "dp": cut.dp, "ep": cut.ep_size}


def test_the_cuts_that_the_field_would_choose() -> None:
    """What each recipe is there to show; the reasons are in the comment at its head."""
    for spec in ("recipe-b", "recipe-b-25gbe", "recipe-b-10gbe"):
        assert parallel(spec) == {"replicas": 1, "tp": 4, "pp": 2, "dp": 1, "ep": 1}, spec
    two = parallel("two-boxes")
    assert two["replicas"] >= 2 and two["pp"] == 1
    assert parallel("five-gpus")["pp"] == 5
    big = parallel("llama-405b-bf16-2x8-h100")
    assert (big["tp"], big["pp"]) == (8, 2)
    assert parallel("deepseek-8x-h200")["ep"] == 8
    qwen = parallel("qwen3-235b-fp8-8x-h100")
    assert qwen["ep"] > 1 or qwen["tp"] < 8
    eight = parallel("eight-5090")
    assert eight["replicas"] >= 2 and eight["tp"] <= 4


def test_speed_falls_as_users_come() -> None:
    speeds = []
    for spec in ("recipe-a-1", "recipe-a-8", "recipe-a"):
        timed = kcluster.plan((ROOT / f"specs/{spec}.kcluster").read_text()).serves[0].chosen.performance
        assert timed is not None
        speeds.append(timed.tokens_per_second.value)
    assert speeds == sorted(speeds, reverse=True)


def test_time_moves_with_the_link() -> None:
    seconds = []
    for spec in ("recipe-b", "recipe-b-25gbe", "recipe-b-10gbe"):
        chosen = kcluster.plan((ROOT / f"specs/{spec}.kcluster").read_text()).serves[0].chosen
        assert chosen.communication is not None
        seconds.append(chosen.communication.pipeline_seconds_per_step.value)
    assert seconds == sorted(seconds) and seconds[0] < seconds[-1]


def test_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    outputs = []
    for seed in ("0", "1", "4711"):
        folder = tmp_path / seed
        subprocess.run(
            [sys.executable, "-m", "kcluster", "compile", "specs/two-boxes.kcluster", "-o", str(folder)],
            cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "compiler")},
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        outputs.append([(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files])
    assert outputs[0] == outputs[1] == outputs[2]
