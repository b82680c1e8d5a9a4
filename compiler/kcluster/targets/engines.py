"""Engines as targets speak of them: their names, and what each has no counterpart for."""

from __future__ import annotations

from typing import Final

ENGINE_NAMES: Final = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM", "triton": "Triton"}


def health_path(engine: str) -> str:
    """Where a server says that it is up."""
    return "/health/ready" if engine == "triton" else "/health"
