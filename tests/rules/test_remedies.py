"""Every remedy that a finding names is written into the spec as it stands: the finding goes, and no error comes in its place.

A figure that is said to be the most is: one more, and a finding is back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from attrs import define, evolve

from kcluster.units import KIB

from .conftest import Check

SHAPE = re.compile(r"(?:(\d+) replicas of )?tp (\d+)(?: × pp (\d+))?(?: × dp (\d+))?(?: with dcp (\d+))?( with ep)?")


@define(frozen=True)
class Setting:
    """One spec: its model and format, cards, and what is written in three of its blocks."""

    model: str
    weights: str
    cards: int
    card: str
    nodes: int = 1
    sla: tuple[tuple[str, Any], ...] = ()
    parallel: tuple[tuple[str, Any], ...] = ()
    engine: tuple[tuple[str, Any], ...] = ()

    def text(self) -> str:
        def block(head: str, values: tuple[tuple[str, Any], ...]) -> str:
            return f"{head} {{\n" + "".join(f"  {name} = {value}\n" for name, value in values) + "}\n" if values else ""

        hosts = ", ".join(f'"10.0.0.{number + 1}"' for number in range(self.nodes))
        network = "  network = roce(400GbE)\n" if self.nodes > 1 else ""
        weights = f"  weights = {self.weights}\n" if self.weights else ""
        sla = (*{"concurrency": 2, "context": "8K", "prompt": "2K", "completion": 500, **dict(self.sla)}.items(),)
        return (
            f'model m {{\n  id = "{self.model}"\n{weights}}}\n'
            f"hardware h {{\n  nodes = {self.nodes}\n  gpus = {self.cards} * {self.card}\n  hosts = [{hosts}]\n{network}}}\n"
            f"{block('sla s', sla)}serve chat {{\n{block('parallel', self.parallel)}{block('engine vllm', self.engine)}}}\n"
        )

    def changed(self, block: str, **values: Any) -> Setting:
        """With these values written in a block; None leaves one out."""
        found = {**dict(getattr(self, block)), **values}
        return evolve(self, **{block: tuple((name, value) for name, value in found.items() if value is not None)})

    def cut(self, words: str) -> Setting:
        """With the cut that a remedy says, and its KV format."""
        match = SHAPE.search(words)
        assert match is not None, words
        replicas, tp, pp, dp, dcp = (int(number or 1) for number in match.groups()[:5])
        ep = "on" if match[6] else "off"
        found = evolve(
            self, parallel=(("replicas", replicas), ("tp", tp), ("pp", pp), ("dp", dp), ("dcp", dcp), ("ep", ep))
        )
        cache = re.search(r"kv_cache = (\w+)", words)
        return found.changed("engine", kv_cache=cache[1]) if cache else found


def length(text: str) -> int:
    text = text.replace(",", "")
    return int(text[:-1]) * KIB if text.endswith("K") else int(text)


def numbers(words: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", re.split(r" on these| divides| shares", words)[0])]


def remedied(setting: Setting, help_: str) -> Iterator[tuple[Setting, Setting | None]]:
    """The spec with a remedy written into it, and with one more of it where it is said to be the most."""
    if help_.startswith("the least hardware"):
        match = re.search(r": (?:(\d+) nodes of )?(\d+) × \S+, as (.*)$", help_)
        assert match is not None
        yield evolve(setting, nodes=int(match[1] or 1), cards=int(match[2])).cut(match[3]), None
    elif re.match(r"(fits these cards|holds them|meets every bound on these cards): (?!`)", help_):
        yield setting.cut(help_), None
    elif match := re.search(r"`weights = ([\w-]+)`", help_):
        yield evolve(setting, weights=match[1]), None
    elif "kv_cache = fp8" in help_ and help_.startswith(("fits", "holds them")):
        yield setting.changed("engine", kv_cache="fp8"), None
    elif lengths := dict(re.findall(r"`(max_model_len|context) = (\w+)`", help_)):
        most = re.search(r"\(([\d,]+) tokens at most\)", help_)
        written, beyond = setting, setting
        for name, value in lengths.items():
            block = "engine" if name == "max_model_len" else "sla"
            written = written.changed(block, **{name: length(value)})
            beyond = beyond.changed(block, **{name: length(most[1] if most else value) + 1})
        yield written, None if "or a shorter" in help_ else beyond
    elif match := re.match(r"`(tp|dcp|pp)` of (?!at most)(.*)", help_):
        for number in numbers(match[2]):
            yield setting.changed("parallel", **{match[1]: number}), None
    elif match := re.match(r"`pp` of at most (\d+)", help_):
        yield setting.changed("parallel", pp=int(match[1])), setting.changed("parallel", pp=int(match[1]) + 1)
    elif match := re.match(r"`pp = (\d+)` with `tp = 1`", help_):
        yield setting.changed("parallel", pp=int(match[1]), tp=1), None
    elif match := re.match(r"`(layers|replicas) = (\S.*?)`", help_):
        yield setting.changed("parallel", **{match[1]: match[2]}), None
    elif match := re.match(r"`max_num_seqs = (\d+)` is", help_):
        yield setting.changed("engine", max_num_seqs=int(match[1])), None
    elif help_.startswith("left out"):
        yield setting.changed("engine", max_num_seqs=None), None
    elif help_.startswith("`ep = on`"):
        yield setting.changed("parallel", ep="on"), None
    elif names := re.findall(r"`(\w+)`", help_) if help_.startswith("leave ") else []:
        for block in ("engine", "parallel"):
            setting = setting.changed(block, **{name: None for name in names if name in dict(getattr(setting, block))})
        yield setting, None
    elif help_.startswith("`kv_cache = auto`"):
        for value in re.findall(r"`(?:kv_cache = )?(\w+)`", help_):
            yield setting.changed("engine", kv_cache=value), None


LLAMA, LLAMA_70B, QWEN = "meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.3-70B-Instruct", "Qwen/Qwen3-30B-A3B"
HYBRID, LATENT, GEMMA = "Qwen/Qwen3-Next-80B-A3B-Instruct", "deepseek-ai/DeepSeek-V2-Lite", "google/gemma-3-27b-it"


def written(**values: Any) -> tuple[tuple[str, Any], ...]:
    return tuple(values.items())


CASES = (
    ("KC201", Setting(LLAMA_70B, "bf16", 2, "l40s")),
    ("KC201", Setting(LLAMA_70B, "bf16", 8, "l40s", parallel=written(tp=2, pp=1))),
    ("KC201", Setting(LLAMA_70B, "fp8", 2, "rtx-4090")),
    ("KC201", Setting(HYBRID, "bf16", 4, "l40s", parallel=written(tp=2, pp=1, dp=1, ep="off"))),
    ("KC201", Setting(LLAMA, "bf16", 1, "rtx-3090", engine=written(gpu_memory_utilization=0.5))),
    ("KC202", Setting(LLAMA, "bf16", 1, "rtx-4090", engine=written(max_model_len="128K"))),
    ("KC202", Setting(LLAMA, "bf16", 1, "rtx-4090", sla=written(context="96K"), engine=written(max_model_len="128K"))),
    ("KC202", Setting(GEMMA, "bf16", 1, "rtx-pro-6000", sla=written(context="128K"), engine=written(gpu_memory_utilization=0.6))),
    ("KC202", Setting(LATENT, "bf16", 1, "rtx-pro-6000", sla=written(context="160K"), engine=written(gpu_memory_utilization=0.36))),
    ("KC202", Setting(QWEN, "bf16", 2, "l40s", sla=written(context="40K"), parallel=written(tp=2), engine=written(gpu_memory_utilization=0.66))),
    ("KC203", Setting(LLAMA, "bf16", 2, "l40s", sla=written(concurrency=40, context="16K"), parallel=written(replicas=1, tp=1))),
    ("KC203", Setting(QWEN, "bf16", 8, "h100", sla=written(concurrency=64, context="32K"), parallel=written(replicas=1, tp=2, pp=1, dp=1))),
    ("KC203", Setting(LLAMA, "bf16", 1, "h100", sla=written(concurrency=24, context="32K"))),
    ("KC204", Setting(LLAMA, "bf16", 2, "l4", sla=written(concurrency=40, context="4K"), parallel=written(replicas=1, tp=1, pp=1))),
    ("KC205", Setting(LLAMA, "bf16", 1, "l40s", engine=written(gpu_memory_utilization=0.6))),
    ("KC205", Setting(LLAMA, "bf16", 1, "l40s", engine=written(gpu_memory_utilization=1.0))),
    ("KC206", Setting("microsoft/phi-4", "bf16", 2, "h100", sla=written(context="32K"), engine=written(max_model_len="32K"))),
    ("KC206", Setting("microsoft/phi-4", "bf16", 2, "h100", sla=written(context="32K"), engine=written(max_model_len="8K"))),
    ("KC206", Setting(LLAMA, "bf16", 1, "h100", sla=written(context="16K"), engine=written(max_model_len="8K"))),
    ("KC206", Setting(LLAMA, "bf16", 1, "rtx-4090", sla=written(context="96K"), engine=written(max_model_len="8K"))),
    ("KC207", Setting(LLAMA, "bf16", 1, "l40s", engine=written(max_num_seqs=1024))),
    ("KC207", Setting(LLAMA, "bf16", 1, "l40s", sla=written(concurrency=100), engine=written(max_num_seqs=8))),
    ("KC207", Setting(HYBRID, "bf16", 4, "h100", engine=written(max_num_seqs=1024))),
    ("KC208", Setting(LLAMA, "bf16", 2, "l4", parallel=written(tp=1, pp=2, layers="[25, 7]"))),
    ("KC208", Setting(LLAMA_70B, "bf16", 5, "rtx-5090", sla=written(concurrency=1), parallel=written(tp=1, pp=5))),
    ("KC209", Setting(LLAMA, "bf16", 1, "l40s", engine=written(max_num_seqs=16, max_num_batched_tokens=8))),
    ("KC209", Setting(LLAMA, "bf16", 1, "l40s", engine=written(max_num_batched_tokens=131072))),
    ("KC301", Setting("Qwen/Qwen2.5-7B-Instruct", "bf16", 3, "l40s", parallel=written(tp=3))),
    ("KC301", Setting(LLAMA_70B, "bf16", 6, "h100", parallel=written(tp=6))),
    ("KC301", Setting(LLAMA, "bf16", 7, "l40s", parallel=written(tp=7))),
    ("KC302", Setting("microsoft/phi-4", "bf16", 8, "l40s", parallel=written(tp=4))),
    ("KC302", Setting(QWEN, "bf16", 8, "h100", parallel=written(tp=8))),
    ("KC302", Setting(QWEN, "bf16", 8, "h100", parallel=written(tp=8, ep="off"))),
    ("KC303", Setting(LLAMA, "bf16", 2, "l40s", parallel=written(tp=4))),
    ("KC303", Setting(LLAMA, "bf16", 4, "l40s", parallel=written(tp=2, pp=1, replicas=1))),
    ("KC304", Setting(LLAMA, "bf16", 3, "l40s", parallel=written(tp=1, pp=3))),
    ("KC304", Setting("Qwen/Qwen2.5-0.5B", "bf16", 32, "l4", parallel=written(tp=1, pp=32))),
    ("KC305", Setting(LLAMA, "bf16", 2, "l40s", parallel=written(ep="on"))),
    ("KC306", Setting("Qwen/Qwen3-235B-A22B", "fp8-block", 8, "h200", parallel=written(tp=8, ep="off"))),
    ("KC306", Setting("Qwen/Qwen2.5-72B", "awq-int4", 8, "l40s", parallel=written(tp=4))),
    ("KC307", Setting(LLAMA, "bf16", 4, "l40s", parallel=written(tp=4, dcp=2))),
    ("KC307", Setting(GEMMA, "bf16", 4, "h100", parallel=written(tp=4, dcp=2))),
    ("KC308", Setting(LLAMA, "bf16", 4, "h100", parallel=written(pp=4))),
    ("KC309", Setting("openai/gpt-oss-20b", "", 8, "h100", parallel=written(tp=1, dp=7, ep="off"))),
    ("KC805", Setting(LLAMA, "bf16", 1, "h100", engine=written(kv_cache="fp16"))),
)  # fmt: skip


@pytest.mark.parametrize(("code", "setting"), CASES, ids=[f"{code}-{number}" for number, (code, _) in enumerate(CASES)])
def test_what_a_finding_tells_to_write_mends_it(code: str, setting: Setting, check: Check) -> None:
    before = check(setting.text()).diagnostics
    told = [one for one in before if one.code == code]
    assert told, [(one.code, one.message) for one in before]
    known = {one.code for one in before if one.severity == "error"}
    applied = 0
    for help_ in told[0].help:
        for mended, beyond in remedied(setting, help_):
            applied += 1
            after = check(mended.text()).diagnostics
            left = [one.message for one in after if one.code == code and one.severity == told[0].severity]
            new = [one.message for one in after if one.severity == "error" and one.code not in known]
            # What could not be judged before, because nothing started, may now be too long or too many.
            assert not left and (not new or "KC201" in known), (help_, left, new)
            if beyond is not None:
                worse = [
                    one.code
                    for one in check(beyond.text()).diagnostics
                    if one.severity == "error" or one.code in (code, "KC202")
                ]
                assert worse, (help_, beyond.text())
    assert applied, told[0].help
