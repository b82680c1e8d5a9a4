"""From a spec's text to its plan: ports, distribution, several serves, and text that means nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcluster.planner.types import ServePlan
from tests.planner.planner_cases import DEEPSEEK_V3, LLAMA_8B, LLAMA_70B, LLAMA_405B, planned

EIGHT = f'model m {{ id = "{LLAMA_8B}", weights = bf16 }}\n'
SLA = "sla s { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }\n"


def one(text: str) -> ServePlan:
    (serve,) = planned(text).serves
    return serve


def test_a_single_node_needs_nothing_between_nodes() -> None:
    serve = one(EIGHT + SLA + "hardware h { gpus = 4 * rtx-4090 }\nserve x { parallel { tp = 1 } }")
    assert serve.distribution == "single"
    assert [ports.http for ports in serve.ports] == [8000, 8001, 8002, 8003]
    assert all(ports.master == ports.dp_rpc == 0 for ports in serve.ports)


def test_a_written_port_counts_up_on_each_node() -> None:
    serve = one(
        EIGHT
        + SLA
        + """hardware h { nodes = 2, gpus = 2 * rtx-4090, network = ethernet(10GbE) }
        serve x { parallel { tp = 1, replicas = 4 } engine vllm { port = 9000 } }"""
    )
    assert [(engine.nodes, ports.http) for engine, ports in zip(serve.chosen.placement, serve.ports, strict=True)] == [
        ((0,), 9000),
        ((0,), 9001),
        ((1,), 9000),
        ((1,), 9001),
    ]


BIG = f'model m {{ id = "{LLAMA_405B}", weights = fp8 }}\n'
RACK = "hardware h { nodes = 2, gpus = 4 * rtx-pro-6000, network = roce(100GbE) }\n"


@pytest.mark.parametrize(
    "engine, distribution",
    [
        ('version = "0.33"', "nnodes"),
        ('version = "0.32"', "nnodes"),
        ('version = "0.11"', "ray"),
        ('version = "0.33", executor = ray', "ray"),
        ('version = "0.33", executor = mp', "nnodes"),
    ],
)
def test_an_engine_over_nodes_takes_the_way_that_its_version_has(engine: str, distribution: str) -> None:
    serve = one(f"{BIG}{SLA}{RACK}serve x {{ engine vllm {{ {engine} }} }}")
    assert serve.chosen.placement[0].nodes == (0, 1)
    assert serve.distribution == distribution
    assert (serve.ports[0].master == 29501) == (distribution == "nnodes")


def test_data_parallel_ranks_over_nodes_have_a_port_of_their_own() -> None:
    serve = one(
        f'model m {{ id = "{DEEPSEEK_V3}", weights = fp8-block }}\n{SLA}'
        "hardware h { nodes = 2, gpus = 8 * h200, network = 8 * infiniband(ndr) }\n"
        "serve x { parallel { tp = 1, pp = 1, dp = 16, ep = on } }"
    )
    assert serve.distribution == "dp"
    assert serve.ports[0].dp_rpc == 29550
    assert len(serve.chosen.placement[0].ranks) == 16


def test_unequal_nodes_need_ray() -> None:
    serve = one(
        f'model m {{ id = "{LLAMA_70B}", weights = fp8 }}\n'
        "sla s { concurrency = 4, context = 4K, prompt = 1K, completion = 300 }\n"
        "hardware h { network = ethernet(25GbE), node a { gpus = 3 * l4 }, node b { gpus = 2 * l4 } }\n"
        "serve x { parallel { tp = 1, pp = 5 } }"
    )
    assert serve.distribution == "ray"


def test_two_serves_on_one_node_get_other_ports() -> None:
    plan = planned(
        EIGHT
        + SLA
        + """hardware h { gpus = 4 * rtx-4090 }
        serve a { model = m, hardware = h, sla = s, gpus = [0, 1] }
        serve b { model = m, hardware = h, sla = s, gpus = [2, 3] }"""
    )
    ports = [item.http for serve in plan.serves for item in serve.ports]
    assert len(ports) == len(set(ports)) > 1


def test_serves_that_share_cards_waste_nothing() -> None:
    plan = planned(
        EIGHT
        + SLA
        + """hardware h { gpus = 1 * h100-sxm }
        serve a { model = m, hardware = h, sla = s, gpus = [0], engine vllm { gpu_memory_utilization = 0.5 } }
        serve b { model = m, hardware = h, sla = s, gpus = [0], engine vllm { gpu_memory_utilization = 0.4 } }"""
    )
    for serve in plan.serves:
        assert "KC205" not in {violation.code for violation in serve.chosen.violations}


def test_what_is_emitted_is_what_was_modelled() -> None:
    """Raw flags count where no attribute is written; an attribute beats them."""
    serve = one(
        EIGHT
        + SLA
        + """hardware h { gpus = 1 * h100-sxm }
        serve x { engine vllm {
          max_num_seqs = 24
          args { "--max-num-seqs" = 99, "--max-model-len" = "16K", "--enforce-eager" = on, "--block-size" = 32 }
        } }"""
    )
    limits = serve.chosen.limits
    assert (limits.max_num_seqs, limits.max_model_len, limits.eager, limits.block_size) == (24, 16384, True, 32)


def test_a_drafter_is_in_the_budget() -> None:
    draft = f'draft {{ method = draft, id = "{LLAMA_8B}", tokens = 4 }}'
    hardware = "hardware h { gpus = 4 * h100-sxm }\nserve x { parallel { tp = 4 } }"
    plain = one(f'model m {{ id = "{LLAMA_70B}", weights = fp8 }}\n{SLA}{hardware}')
    drafted = one(f'model m {{ id = "{LLAMA_70B}", weights = fp8, {draft} }}\n{SLA}{hardware}')
    assert plain.chosen.memory and drafted.chosen.memory
    more = drafted.chosen.memory.weights.value - plain.chosen.memory.weights.value
    assert more > 3e9  # 8e9 parameters of 16 bits over four cards: 4 GB
    assert drafted.chosen.limits.speculative_tokens == 4


COUNTS = st.one_of(st.integers(0, 9), st.sampled_from([16, 64, 1000, 10**6, 10**9]))
PINS = st.fixed_dictionaries(
    {},
    optional={
        "tp": COUNTS,
        "pp": COUNTS,
        "dp": COUNTS,
        "dcp": COUNTS,
        "replicas": COUNTS,
        "ep": st.sampled_from(["on", "off"]),
        "eplb": st.sampled_from(["on", "off"]),
    },
)
LIMITS = st.fixed_dictionaries(
    {},
    optional={
        "max_model_len": COUNTS,
        "max_num_seqs": COUNTS,
        "max_num_batched_tokens": COUNTS,
        "gpu_memory_utilization": st.sampled_from(["0.01", "0.5", "1", "0.99"]),
        "kv_cache": st.sampled_from(["fp8", "fp16", "nvfp4", "auto"]),
        "chunked_prefill": st.sampled_from(["on", "off"]),
        "executor": st.sampled_from(["mp", "ray"]),
        "version": st.sampled_from(['"0.11"', '"0.33"', '"0.20"']),
    },
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    model=st.sampled_from([LLAMA_8B, LLAMA_70B, DEEPSEEK_V3, "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b"]),
    pins=PINS,
    limits=LIMITS,
    hardware=st.sampled_from(
        [
            "gpus = 1 * l4",
            "gpus = 3 * rtx-5090, reserved = 40GB",
            "nodes = 2, gpus = 4 * h100-sxm",
            "nodes = 3, gpus = 2 * mi300x, network = ethernet(1GbE)",
            "node a { gpus = 2 * rtx-4090 }, node b { gpus = 1 * a100-sxm-80gb }",
        ]
    ),
    sla=st.sampled_from(
        [
            "concurrency = 1, context = 1, prompt = 1, completion = 1",
            "concurrency = 1000000, context = 10000000, prompt = 9000000, completion = 1, ttft <= 1ms, throughput >= 1000000",
            "concurrency = 8, context = 2K, prompt = 8K, completion = 8K, answer <= 1s, survive_loss = host",
        ]
    ),
)
def test_nothing_that_a_spec_can_say_raises(
    model: str, pins: dict[str, object], limits: dict[str, object], hardware: str, sla: str
) -> None:
    from kcluster.source import Source
    from kcluster.spec.resolve import resolve
    from kcluster.syntax.parser import parse

    text = f"""
    model m {{ id = "{model}" }}
    hardware h {{ {hardware} }}
    sla s {{ {sla} }}
    serve x {{
      parallel {{ {", ".join(f"{name} = {value}" for name, value in pins.items())} }}
      engine vllm {{ {", ".join(f"{name} = {value}" for name, value in limits.items())} }}
    }}
    """
    file, _ = parse(Source("nonsense.kcluster", text))
    spec, _ = resolve(file, folder=None)
    if spec is None:
        return
    from kcluster.planner.plan import plan
    from kcluster.render.plan_json import plan_object
    from kcluster.render.plan_text import plan_text

    made = plan(spec)
    assert plan_text(made, everything=True)
    assert plan_object(made, ())["serves"]
