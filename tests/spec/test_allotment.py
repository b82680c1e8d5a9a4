"""Which cards a serve may use: pinned, dealt in file order, or claimed twice."""

from __future__ import annotations

import pytest

from kcluster.spec.types import Spec
from tests.spec.resolving import Resolved, resolved

HEAD = """\
model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware rack { nodes = %d, gpus = %d * l40s, network = roce(100GbE) }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
"""


def several(nodes: int, gpus: int, *serves: str) -> Resolved:
    blocks = [
        f"serve s{number} {{ model = llama, hardware = rack, sla = team\n{body}\n}}\n"
        for number, body in enumerate(serves)
    ]
    return resolved(HEAD % (nodes, gpus) + "".join(blocks))


def cards(spec: Spec | None) -> list[list[tuple[str, tuple[int, ...]]]]:
    assert spec is not None
    return [
        [(node.host, ids) for node, ids in zip(serve.cluster.nodes, serve.gpu_ids, strict=True)]
        for serve in spec.serves
    ]


def test_one_serve_has_all() -> None:
    found = several(2, 4, "")
    assert found.found == ()
    assert cards(found.spec) == [[("node0", (0, 1, 2, 3)), ("node1", (0, 1, 2, 3))]]


def test_pins() -> None:
    found = several(2, 4, "nodes = [1], gpus = [0..1, 3]")
    assert found.found == ()
    assert cards(found.spec) == [[("node1", (0, 1, 3))]]
    assert found.serve.cards_pinned
    assert cards(several(2, 4, "gpus = [2]").spec) == [[("node0", (2,)), ("node1", (2,))]]
    assert cards(several(3, 1, "nodes = [0, 2]").spec) == [[("node0", (0,)), ("node2", (0,))]]


@pytest.mark.parametrize(
    ("serves", "expected"),
    [
        # 8 cards for two: four each, in file order
        (("", ""), [[("node0", (0, 1, 2, 3))], [("node1", (0, 1, 2, 3))]]),
        # the second takes engines of two cards: 4 and 4
        (("", "parallel { tp = 2 }"), [[("node0", (0, 1, 2, 3))], [("node1", (0, 1, 2, 3))]]),
        # all axes pinned: 2 cards and no more, the rest to the other
        (
            ("parallel { tp = 2, pp = 1, replicas = 1 }", ""),
            [[("node0", (0, 1))], [("node0", (2, 3)), ("node1", (0, 1, 2, 3))]],
        ),
        # one pins node 0, the other gets what is left
        (("nodes = [0]", ""), [[("node0", (0, 1, 2, 3))], [("node1", (0, 1, 2, 3))]]),
        (("", "nodes = [0], gpus = [0]"), [[("node0", (1, 2, 3)), ("node1", (0, 1, 2, 3))], [("node0", (0,))]]),
        # three share eight: 3, 3, 2
        (
            ("", "", ""),
            [[("node0", (0, 1, 2))], [("node0", (3,)), ("node1", (0, 1))], [("node1", (2, 3))]],
        ),
        # a partition by hand counts as pipeline stages: one engine of 2 × 2, then shares of 4
        (("parallel { tp = 2, layers = [16, 16] }", ""), [[("node0", (0, 1, 2, 3))], [("node1", (0, 1, 2, 3))]]),
    ],
)
def test_dealing(serves: tuple[str, ...], expected: object) -> None:
    found = several(2, 4, *serves)
    assert found.found == (), found.report()
    assert cards(found.spec) == expected


def test_nothing_left() -> None:
    found = several(1, 2, "gpus = [0..1]", "")
    only = found.only()
    assert (only.code, found.text(only)) == ("KC112", "serve s1")
    assert "leave it none" in only.message
    assert found.spec is not None and [serve.name for serve in found.spec.serves] == ["s0"]
    crowd = several(1, 2, "", "", "")
    assert (crowd.only().code, crowd.text(crowd.only())) == ("KC112", "serve s2")
    wide = several(1, 4, "", "parallel { tp = 4 }")
    assert (wide.only().code, "needs 4 cards" in wide.only().message) == ("KC112", True)


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ("gpus = [0]", "gpus = [0]", "KC112"),
        ("gpus = [0]\nengine vllm { gpu_memory_utilization = 0.4 }", "gpus = [0]", "KC112"),
        (
            "gpus = [0]\nengine vllm { gpu_memory_utilization = 0.6 }",
            "gpus = [0]\nengine vllm { gpu_memory_utilization = 0.5 }",
            "KC112",
        ),
        (
            "gpus = [0]\nengine vllm { gpu_memory_utilization = 0.6 }",
            "gpus = [0]\nengine vllm { gpu_memory_utilization = 0.4 }",
            "",
        ),
        (
            "gpus = [0]\nengine vllm { gpu_memory_utilization = 45 % }",
            "nodes = [0]\nengine vllm { gpu_memory_utilization = 45 % }",
            "",
        ),
        ("gpus = [0]", "gpus = [1]", ""),
        ("nodes = [0]", "gpus = [1]", "KC112"),
    ],
)
def test_claimed_twice(first: str, second: str, code: str) -> None:
    found = several(1, 2, first, second)
    assert found.codes == ([code] if code else []), found.report()
    if code:
        only = found.only()
        assert only.source.position(only.span.start).line > found.source.text[
            : found.source.text.index("serve s1")
        ].count("\n")
        assert only.labels and "card" in only.message
    assert found.spec is not None and len(found.spec.serves) == 2, "both are still judged"


def test_three_on_one_card() -> None:
    third = "gpus = [0]\nengine vllm { gpu_memory_utilization = 0.3 }"
    assert several(1, 1, third, third, third).found == ()
    assert several(1, 1, third, third, third, third).codes == ["KC112"]


def test_indices_that_there_are_not() -> None:
    for body, place, known in (
        ("gpus = [4]", "[4]", "cards 0 to 3 a node"),
        ("nodes = [2]", "[2]", "nodes 0 to 1"),
        ("nodes = [0, 7..9]", "[0, 7..9]", "nodes 0 to 1"),
    ):
        found = several(2, 4, body)
        only = found.only()
        assert (only.code, found.text(only), known in only.message) == ("KC106", place, True)
    assert several(2, 4, "nodes = [3..1]").codes == ["KC103"]
    assert several(2, 4, "nodes = [0, 0]").codes == ["KC104"]
    assert several(2, 4, "nodes = [0..5000]").codes == ["KC007"]


def test_groups_keep_their_cards() -> None:
    """Groups are of the machine: seen by two of its cards they have the new indices."""
    text = HEAD.replace("gpus = %d * l40s", "gpus = %d * l40s, bus = pcie(4, x16, groups = [[0, 1], [2, 3]])") % (1, 4)
    found = resolved(text + "serve s { model = llama, hardware = rack, sla = team, gpus = [1..2] }\n")
    assert found.serve.cluster.nodes[0].bus.groups == ((0,), (1,))
    assert found.serve.gpu_ids == ((1, 2),)
    assert found.serve.hardware.nodes[0].bus.value.groups == ((0, 1), (2, 3))


def test_two_hardwares_do_not_share() -> None:
    text = HEAD % (1, 2) + "hardware other { gpus = 1 * l4 }\n"
    text += "serve a { model = llama, hardware = rack, sla = team }\nserve b { model = llama, hardware = other, sla = team }\n"
    found = resolved(text)
    assert found.found == ()
    assert cards(found.spec) == [[("node0", (0, 1))], [("node0", (0,))]]


def test_the_largest_cluster_is_dealt() -> None:
    found = several(4096, 64, "", "parallel { tp = 8 }", "")
    assert found.spec is not None
    assert sum(serve.cluster.gpus for serve in found.spec.serves) == 4096 * 64
