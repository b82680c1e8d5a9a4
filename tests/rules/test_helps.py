"""What a finding tells people to write makes the finding go away, and brings no error in its place."""

from __future__ import annotations

import re

import pytest

from kcluster.fixes import fix
from kcluster.pipeline import check_source
from kcluster.source import Source

from .conftest import Check, described

LENGTH = """\
model qwen { id = "Qwen/Qwen3-8B" }
hardware box { gpus = 1 * l4, hosts = ["10.0.0.1"] }
sla team { concurrency = 2, context = 40K, prompt = 2K, completion = 500 }
serve chat { engine vllm { api_key = env("KEY") } }
"""
BOTH = LENGTH.replace("vllm {", "vllm { max_model_len = 40K, ")
SEQUENCES = LENGTH.replace("context = 40K", "context = 8K").replace("vllm {", "vllm { max_num_seqs = 100_000, ")
COPIES = """\
model qwen { id = "Qwen/Qwen3-30B-A3B" }
hardware box { gpus = 8 * h100, hosts = ["10.0.0.1"] }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
serve chat {
  parallel { tp = 8 }
  engine vllm { api_key = env("KEY") }
}
"""
ONE = COPIES.replace("8 * h100", "4 * l40s").replace("30B-A3B", "8B").replace("tp = 8", "replicas = 1, tp = 4")
DCP = COPIES.replace("tp = 8", "tp = 8, dcp = 2")
LATENT = COPIES.replace("Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3").replace("h100", "h200")


@pytest.mark.parametrize(
    ("text", "code", "help_", "old", "new"),
    [
        (SEQUENCES, "KC201", "fits: `max_num_seqs = 781`", "max_num_seqs = 100_000", "max_num_seqs = 781"),
        (COPIES, "KC302", "`dcp` of 2 shares the copies", "tp = 8", "tp = 8, dcp = 2"),
        (LATENT, "KC302", "`dcp` of 2, 4 or 8 shares the latent", "tp = 8", "tp = 8, dcp = 8"),
        (DCP, "KC308", "leave `tp` and `dcp` out, and the planner cuts", "tp = 8, dcp = 2", ""),
        (ONE, "KC308", "leave `replicas` and `tp` out, and the planner cuts", "replicas = 1, tp = 4", ""),
        (COPIES, "KC308", "leave `tp` out, and the planner cuts", "tp = 8", ""),
    ],
)
def test_a_help_helps(text: str, code: str, help_: str, old: str, new: str, check: Check) -> None:
    before = check(text)
    told = [one for one in before.diagnostics if one.code == code]
    assert told and help_ in told[0].help, described(before)
    after = check(text.replace(old, new))
    assert not [one for one in after.diagnostics if one.code == code], described(after)
    assert not after.errors, described(after)


@pytest.mark.parametrize(
    ("text", "help_"),
    [
        (LENGTH, r"fits: `context = (\d+K)` \([\d,]+ tokens at most\)"),
        (BOTH, r"fits: `max_model_len = (\d+K)` and `context = \1` \([\d,]+ tokens at most\)"),
    ],
)
def test_the_longest_length_is_written_wherever_more_is_asked_for(text: str, help_: str, check: Check) -> None:
    """An error is mended although a warning comes in its place that could not be judged before: what does not start preempts
    nobody."""
    (told,) = [one for one in check(text).diagnostics if one.code == "KC202"]
    length = re.fullmatch(help_, told.help[0])
    assert length is not None, told.help
    found = fix(Source("t.kcluster", text), lambda t: check_source(Source("t.kcluster", t)).diagnostics, unsafe=True)
    assert found.text == text.replace("40K", length[1]) and found.rounds == 1
    assert not [one for one in found.left if one.severity == "error"]


def test_replicas_that_no_node_has_room_for_are_not_offered(check: Check) -> None:
    """Twelve cards hold three engines of four, and two nodes of six hold two."""
    text = COPIES.replace("8 * h100, hosts", "6 * h100, nodes = 2, network = infiniband(ndr), hosts").replace(
        '"10.0.0.1"', '"10.0.0.1", "10.0.0.2"'
    )
    tight = check(text.replace("tp = 8", "tp = 4, pp = 1, dp = 1, replicas = 2"))
    helps = [line for one in tight.diagnostics if one.code == "KC303" for line in one.help]
    assert helps == ["narrow the serve with `gpus = […]` so that another one can have them"], described(tight)
    roomy = check(text.replace("tp = 8", "tp = 2, pp = 1, dp = 1, replicas = 2"))
    helps = [line for one in roomy.diagnostics if one.code == "KC303" for line in one.help]
    assert helps == ["`replicas = 6` would use 12 cards"], described(roomy)
