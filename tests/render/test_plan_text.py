"""The plan for people."""

from __future__ import annotations

import re

from kcluster.physics.cut import Cut
from kcluster.render.plan_text import plan_text
from kcluster.render.plan_words import shape, tokens
from tests.planner.planner_cases import LLAMA_70B, planned

SPEC = f"""
model m {{ id = "{LLAMA_70B}", weights = fp8 }}
hardware box {{ gpus = 4 * rtx-5090, bus = pcie(5, x16, p2p = off), hosts = ["10.0.0.11"] }}
sla agents {{
  concurrency = 12, context = 8K, prompt = 2K, completion = 500
  tokens_per_second >= 1
  throughput >= 100000
}}
serve chat {{ parallel {{ tp = 4 }} }}
"""


def test_what_a_person_reads() -> None:
    text = plan_text(planned(SPEC))
    lines = text.splitlines()
    assert lines[0].startswith("chat   Llama-3.3-70B-Instruct fp8 · 1 replica of tp 4 on 4 × RTX 5090 (PCIe 5 x16")
    assert lines[0].endswith("· vLLM 0.33")
    assert re.search(
        r"^GPU memory 31\.4 GiB +weights [\d.]+ █+  KV [\d.]+ ▓+  engine [\d.]+ ▒+  left [\d.]+ ░+$", text, re.M
    )
    assert re.search(r"^KV +[\d,]+ tokens: [\d,]+ requests of 8K, [\d,]+ typical ones \(2K \+ 500\)$", text, re.M)
    assert re.search(r"^a token at 12 users +[\d.]+ ms \([\d.]+–[\d.]+\): .*weights .*bound by", text, re.M)
    assert re.search(r"^links +all-reduce over PCIe 5 x16, host-staged: [\d.]+ of [\d.]+ GB/s$", text, re.M)
    assert re.search(r"^tokens_per_second +≥ 1\.0 tok/s +[\d.]+ tok/s \([\d.]+–[\d.]+\) +yes$", text, re.M)
    assert re.search(r"^throughput +≥ 100,000 tok/s .* no$", text, re.M)
    assert "chosen over:" in text


def test_the_least_hardware_where_a_bound_is_missed() -> None:
    """No number of these cards gives 100,000 tokens a second to twelve; a few more give a bit more than one box."""
    assert re.search(r"^least hardware +none: 32 such nodes would not do either$", plan_text(planned(SPEC)), re.M)
    reachable = plan_text(planned(SPEC.replace("100000", "350")))
    assert re.search(r"^least hardware +\d+ × .*RTX 5090, \d+ replicas? of tp ", reachable, re.M)
    met = plan_text(planned(SPEC.replace("100000", "1")))
    assert "least hardware" not in met


def test_the_parts_of_a_token_add_up() -> None:
    text = plan_text(planned(SPEC))
    found = re.search(r"^a token at 12 users +([\d.]+) ms \([^)]*\): (.*) ms   bound by", text, re.M)
    assert found
    parts = [float(number) for number in re.findall(r" ([\d.]+)(?= ·|$)", found[2])]
    assert abs(sum(parts) - float(found[1])) <= 0.06 * float(found[1])


def test_every_candidate_with_its_reason() -> None:
    spec = SPEC.replace("parallel { tp = 4 }", "")
    plan = planned(spec)
    text = plan_text(plan, everything=True)
    rows = [line for line in text.splitlines() if re.match(r"^\d+ ", line)]
    assert len(rows) == 1 + len(plan.serves[0].alternatives)
    assert rows[0].rstrip().endswith("chosen")
    assert any("KC301" in row for row in rows)  # tp 3


def test_what_does_not_start_says_so_first() -> None:
    text = plan_text(planned(SPEC.replace("tp = 4", "tp = 3")))
    lines = text.splitlines()
    assert lines[1] == "does not start"
    assert lines[2].startswith("KC301  64 attention heads do not divide by tp 3")


def test_colour_only_where_asked() -> None:
    assert "\x1b" not in plan_text(planned(SPEC))
    assert "\x1b[31mno\x1b[0m" in plan_text(planned(SPEC), color=True)


def test_runners_up_wrap_at_the_width() -> None:
    spec = SPEC.replace("parallel { tp = 4 }", "")
    text = plan_text(planned(spec), width=60)
    listed = text[text.index("chosen over:") :].splitlines()
    assert len(listed) > 2
    assert all(line.startswith("  ") for line in listed[1:-1])


def test_words() -> None:
    assert shape(Cut()) == "tp 1"
    assert shape(Cut(tp=4, pp=2)) == "tp 4 × pp 2"
    assert shape(Cut(pp=5)) == "pp 5"
    assert shape(Cut(tp=2, dp=4, ep=True, dcp=2)) == "tp 2 × dp 4, experts over 8, dcp 2"
    assert (tokens(8192), tokens(2000), tokens(500), tokens(131072)) == ("8K", "2,000", "500", "128K")


def test_names_that_are_not_the_catalog_s_own() -> None:
    """A re-upload and a family are never taken in silence; an id and a spelling of it need no word."""
    text = plan_text(planned(SPEC.replace(LLAMA_70B, "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic")))
    assert f"\nnames                 RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic taken as {LLAMA_70B} (" in text
    family = plan_text(planned(SPEC.replace("4 * rtx-5090, bus = pcie(5, x16, p2p = off)", "4 * rtx-pro-6000")))
    assert "\nnames                 rtx-pro-6000 taken as rtx-pro-6000-blackwell-ws, the commonest" in family
    assert "\nnames" not in plan_text(planned(SPEC.replace("rtx-5090", '"RTX 5090"')))
