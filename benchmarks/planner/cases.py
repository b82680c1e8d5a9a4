"""The cases that planners were compared on: a model on some cards, 2,000 tokens in and 500 out, the cut open."""

from __future__ import annotations

from typing import Final

from attrs import frozen

LLAMA_70B: Final = "meta-llama/Llama-3.1-70B-Instruct"
LLAMA_405B: Final = "meta-llama/Llama-3.1-405B-Instruct"


@frozen
class Case:
    """`other`: what aiconfigurator 0.12.0 answered on 2026-11-23, and `seconds` that it took. `command`: its arguments
    where its own files can say the case at all (empty where they cannot)."""

    name: str
    model: str
    weights: str
    gpus: str
    nodes: int
    network: str
    concurrency: int
    bounds: str
    other: str
    seconds: str
    command: tuple[str, ...] = ()
    against: str = ""
    """A cut whose rejection is shown in any case: the one that the other planner takes."""

    @property
    def spec(self) -> str:
        network = f"network = {self.network}" if self.network else ""
        return f"""
model m {{ id = "{self.model}", weights = {self.weights} }}
hardware h {{ nodes = {self.nodes}, gpus = {self.gpus} {", " + network if network else ""} }}
sla s {{ concurrency = {self.concurrency}, context = 2560, prompt = 2000, completion = 500 {", " + self.bounds if self.bounds else ""} }}
serve x {{ model = m, hardware = h, sla = s }}
"""


def _stock(model: str, gpus: int, system: str, tpot: int) -> tuple[str, ...]:
    return (
        "cli", "default", "--model-path", model, "--total-gpus", str(gpus), "--system", system, "--backend", "vllm",
        "--isl", "2000", "--osl", "500", "--ttft", "2000", "--tpot", str(tpot),
    )  # fmt: skip


CASES: Final = (
    Case("70B FP8, 4 × RTX 5090", LLAMA_70B, "fp8", "4 * rtx-5090", 1, "", 32, "", "unsupported", "3",
         _stock("nvidia/Llama-3.1-70B-Instruct-FP8", 4, "rtx_5090", 30)),
    Case("70B FP8, 4 × L40S", LLAMA_70B, "fp8", "4 * l40s", 1, "", 16, "itl <= 30ms",
         "2 × tp 2; misses its own bound (85 ms)", "7.7", _stock("nvidia/Llama-3.1-70B-Instruct-FP8", 4, "l40s", 30)),
    Case("70B FP8, 4 × RTX PRO 6000", LLAMA_70B, "fp8", "4 * rtx-pro-6000", 1, "", 64, "itl <= 60ms", "2 × tp 2", "11",
         _stock("nvidia/Llama-3.1-70B-Instruct-FP8", 4, "rtx_pro_6000_server", 60)),
    Case("405B bf16, 8 × RTX PRO 6000", LLAMA_405B, "bf16", "8 * rtx-pro-6000", 1, "", 8, "", "does not fit", "12",
         _stock("meta-llama/Meta-Llama-3.1-405B", 8, "rtx_pro_6000_server", 200)),
    Case("405B FP8, 2 × 4 RTX PRO 6000, 10 GbE", LLAMA_405B, "fp8", "4 * rtx-pro-6000", 2, "ethernet(10GbE)", 32, "itl <= 300ms",
         "tp 8 across the nodes (tp 4 × pp 2 where told to try pp)", "6", against="1 replica of tp 8",),
    Case("405B FP8, 2 × 4 RTX PRO 6000, 100 GbE", LLAMA_405B, "fp8", "4 * rtx-pro-6000", 2, "roce(100GbE)", 32, "itl <= 300ms",
         "tp 8 across the nodes (tp 4 × pp 2 where told to try pp)", "6", against="1 replica of tp 8",),
    Case("405B bf16, 2 × 8 H100", LLAMA_405B, "bf16", "8 * h100-sxm", 2, "8 * infiniband(ndr)", 16, "",
         "none fits (tp 8 × pp 2 where told to try pp)", "11", _stock("meta-llama/Meta-Llama-3.1-405B", 16, "h100_sxm", 200)),
    Case("Qwen3-235B FP8, 8 × H200", "Qwen/Qwen3-235B-A22B", "fp8-block", "8 * h200-sxm", 1, "", 64, "itl <= 30ms", "2 × tp 4, ep 4", "92"),
    Case("Qwen3-235B FP8, 8 × H100", "Qwen/Qwen3-235B-A22B", "fp8-block", "8 * h100-sxm", 1, "", 64, "itl <= 30ms", "2 × tp 4", "81"),
    Case("DeepSeek-V3, 8 × H200", "deepseek-ai/DeepSeek-V3", "fp8-block", "8 * h200-sxm", 1, "", 64, "itl <= 30ms", "dp 8, experts sliced over 8", "83"),
)  # fmt: skip
