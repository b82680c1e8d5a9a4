"""The engine asked in one process: what its command line accepts, and how it lays out the KV cache.

Run by the Python of the engine's own environment: `oracle.py FOLDER`. It reads one JSON object a line on standard input and
answers one on standard output. No weights are loaded and no device is used: models are built on torch's meta device, by the
engine's own classes.

A question: `{"model": {…config.json…}, "flags": […], "kv_bytes": N}`. Without `kv_bytes` only the configuration is checked. With
`"like_gpu": true` what the CPU platform changes is put back to what GPUs have: two batches in flight, blocks that are
multiples of 16, the model's own type of recurrent state, and Hopper's kernel for sparse latent attention.
"""

from __future__ import annotations

import gc
import hashlib
import importlib.machinery
import json
import os
import sys
import traceback
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "OMP_NUM_THREADS": "1",
    "VLLM_HOST_IP": "127.0.0.1",
}


class Refused(Exception):
    """The engine does not take this command line."""


class Group:
    """A group of ranks as models see it while they are built: its size and this rank's place. Nothing is communicated."""

    def __init__(self, size: int, rank: int) -> None:
        self.world_size, self.rank_in_group, self.rank, self.local_rank = size, rank, rank, rank
        self.ranks = list(range(size))
        self.device_group = self.cpu_group = self
        self.device_communicator = None
        self.is_first_rank, self.is_last_rank = rank == 0, rank == size - 1
        self.first_rank, self.last_rank = 0, size - 1

    def size(self) -> int:
        return self.world_size


class AnyName(type):
    """A class with every attribute that is asked for."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class Absent(types.ModuleType):
    """A package that is not installed, for modules that import names of it and call none while a model is built."""

    __path__: typing.ClassVar[list[str]] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return AnyName(name, (), {})


ABSENT = {
    # Vision models import its transforms; its public builds want a GPU.
    "torchvision": ("", ".transforms", ".transforms.v2", ".transforms.v2.functional", ".transforms.functional", ".io"),
    # Not started here: what is asked is whether a configuration for it holds.
    "ray": (
        "",
        ".actor",
        ".exceptions",
        ".util",
        ".util.placement_group",
        ".util.scheduling_strategies",
        "._private",
        "._private.state",
        ".types",
    ),
}


def stand_in_for(package: str) -> None:
    """A package that is imported and not called on the way to a configuration and to models."""
    for name in ABSENT[package]:
        module = Absent(f"{package}{name}")
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        sys.modules[module.__name__] = module


class Engine:
    """The engine's own parser, configuration, model classes and KV planning."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        sys.argv = ["vllm", "serve"]
        from vllm.entrypoints.launchers.cli_args import make_arg_parser
        from vllm.model_executor.models import registry
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        # Each class is else looked at in a process of its own, to keep CUDA out of this one.
        registry._run_in_subprocess = lambda look: look()  # type: ignore[assignment]
        for package in ABSENT:
            stand_in_for(package)
        sys.modules["ray"].is_initialized = lambda: False  # type: ignore[attr-defined]
        self.parser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve", exit_on_error=False))
        self.parser.error = self._refuse

    @staticmethod
    def _refuse(message: str) -> None:
        raise Refused(message)

    def model_folder(self, model: dict[str, Any]) -> str:
        text = json.dumps(model, sort_keys=True)
        place = self.folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        place.mkdir(exist_ok=True)
        (place / "config.json").write_text(text)
        return str(place)

    def configure(self, model: dict[str, Any], flags: list[str]) -> Any:
        """The engine's whole configuration.

        Raises:
            Refused: by argparse; ValueError and others by the checks behind it.
        """
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.usage.usage_lib import UsageContext

        arguments = self.parser.parse_args([self.model_folder(model), "--skip-tokenizer-init", *flags])
        arguments.model = arguments.model_tag
        return AsyncEngineArgs.from_cli_args(arguments).create_engine_config(UsageContext.OPENAI_API_SERVER)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        with as_on_gpu(question.get("like_gpu", False)) as patched:
            config = self.configure(question["model"], question["flags"])
            found = {
                "max_model_len": config.model_config.max_model_len,
                "max_num_seqs": config.scheduler_config.max_num_seqs,
                "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
                "block_size": config.cache_config.block_size,
                "latent": config.model_config.use_mla,
                "in_flight": config.max_in_flight_tokens,
            }
            if "kv_bytes" in question:
                if question.get("like_gpu"):
                    # The platform has set both, whatever was asked for.
                    config.scheduler_config.async_scheduling = "--no-async-scheduling" not in question["flags"]
                    config.cache_config.block_size = question["block_size"]
                    patched.batches_overlap()
                found |= self.plan_kv(config, question["kv_bytes"])
        return found

    def plan_kv(self, config: Any, kv_bytes: int) -> dict[str, Any]:
        from vllm.v1.core import kv_cache_utils as planning

        stages = config.parallel_config.pipeline_parallel_size
        specs = [self.kv_specs(config, stage) for stage in range(stages)]
        config.cache_config.kv_cache_layout = "LBHNC"
        length = config.model_config.max_model_len
        found: dict[str, Any] = {"in_flight": config.max_in_flight_tokens, "block_size": config.cache_config.block_size}
        try:
            plans = planning.get_kv_cache_configs(config, specs, [kv_bytes] * stages)
        except ValueError as error:
            return found | {"starts": False, "message": str(error)}
        tokens, concurrency = planning.get_kv_cache_capacity(config, planning.generate_scheduler_kv_cache_config(plans))
        # The longest request that this memory would hold, by the search behind the engine's own message.
        config.model_config.max_model_len = 2**27
        usable = [kv_bytes - planning._pool_bytes_per_block(config, plan.kv_cache_groups) for plan in plans]
        longest = min(
            planning._estimate_max_model_len_from_groups(config, plan.kv_cache_groups, bytes_left)
            for plan, bytes_left in zip(plans, usable, strict=True)
        )
        config.model_config.max_model_len = length
        return found | {
            "starts": True,
            "blocks": plans[0].num_blocks,
            "tokens": tokens,
            "concurrency": concurrency,
            "longest": longest,
            "groups": [
                [type(group.kv_cache_spec).__name__, group.kv_cache_spec.block_size, len(group.layer_names)]
                for group in plans[0].kv_cache_groups
            ],
        }

    def kv_specs(self, config: Any, stage: int) -> dict[str, Any]:
        """What each layer of a stage keeps, as its own module says, on the first rank of that stage."""
        import torch
        from vllm.config import get_layers_from_vllm_config, set_current_vllm_config
        from vllm.model_executor.layers.attention_layer_base import AttentionLayerBase
        from vllm.model_executor.model_loader.utils import initialize_model
        from vllm.platforms import current_platform
        from vllm.utils.torch_utils import set_default_torch_dtype
        from vllm.v1.kv_cache_interface import AttentionSpec

        put_on_rank(config.parallel_config, stage)
        config.compilation_config.static_forward_context.clear()
        with set_current_vllm_config(config):
            with torch.device("meta"), set_default_torch_dtype(config.model_config.dtype):
                models = [initialize_model(vllm_config=config)]
                drafts = config.speculative_config
                if drafts is not None and stage == config.parallel_config.pipeline_parallel_size - 1:
                    models.append(initialize_model(vllm_config=config, model_config=drafts.draft_model_config))
            current_platform.update_block_size_for_backend(config)
            found = {}
            for name, layer in get_layers_from_vllm_config(config, AttentionLayerBase).items():
                if getattr(layer, "kv_sharing_target_layer_name", None):
                    continue
                spec = layer.get_kv_cache_spec(config)
                if spec is None:
                    continue
                if isinstance(spec, AttentionSpec):
                    spec = layer.get_attn_backend().customize_spec(spec)
                found[name] = spec
        del models
        gc.collect()
        return found


def put_on_rank(parallel: Any, stage: int) -> None:
    """Make this process the first rank of a stage, in groups of the sizes that the configuration says."""
    from vllm.distributed import parallel_state as state

    tp, pp, dp = parallel.tensor_parallel_size, parallel.pipeline_parallel_size, parallel.data_parallel_size
    state._WORLD = Group(tp * pp, stage * tp)
    state._TP, state._PP, state._DP = Group(tp, 0), Group(pp, stage), Group(dp, 0)
    state._DCP, state._PCP = Group(parallel.decode_context_parallel_size, 0), Group(1, 0)
    state._EP, state._EPLB = Group(tp * dp, 0), Group(1, 0)


class as_on_gpu:
    """What the CPU platform decides by its kind of processor, as it is on GPUs."""

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self.undo: list[Callable[[], None]] = []

    def _set(self, holder: Any, name: str, value: Any) -> None:
        before = holder.__dict__[name]
        self.undo.append(lambda: setattr(holder, name, before))
        setattr(holder, name, value)

    def _sparse_kernel(self) -> None:
        """Sparse latent attention by the kernel of Hopper, which is imported and not called; its scratch space is another's."""
        from vllm.platforms.cpu import CpuPlatform
        from vllm.v1.attention.backends.mla import flashmla_sparse as sparse

        pick = CpuPlatform.get_attn_backend_cls
        kernel = f"{sparse.__name__}.FlashMLASparseBackend"
        scratch = types.SimpleNamespace(get_simultaneous=lambda *sizes: None)

        def picked(backend: Any, attn_selector_config: Any, num_heads: int | None = None) -> str:
            return kernel if attn_selector_config.use_sparse else pick(backend, attn_selector_config, num_heads)

        self._set(CpuPlatform, "get_attn_backend_cls", staticmethod(picked))
        self._set(sparse, "current_workspace_manager", lambda: scratch)

    def batches_overlap(self) -> None:
        """As with the newer model runner, which needs Triton: one batch more in flight than there are stages."""
        from vllm.config import VllmConfig

        self._set(VllmConfig, "use_v2_model_runner", property(lambda config: True))

    def __enter__(self) -> as_on_gpu:
        if self.wanted:
            import torch
            from vllm.v1.attention.backend import MultipleOf
            from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

            self._set(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
            sizes = staticmethod(lambda spec=None: [MultipleOf(16)])
            self._set(CPUAttentionBackend, "get_supported_kernel_block_sizes", sizes)
            self._sparse_kernel()
        return self

    def __exit__(self, *_: object) -> None:
        while self.undo:
            self.undo.pop()()


def main(folder: Path) -> None:
    os.environ.update(ENVIRONMENT)
    # What the engine prints goes to standard error; the answers alone to standard output.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    engine = Engine(folder)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            found = {"accepted": True, **engine.answer(question)}
        except (Exception, SystemExit) as error:
            if not isinstance(error, Refused) and traceback.extract_tb(error.__traceback__)[-1].filename == __file__:
                raise  # a fault of this file is no refusal of the engine's
            found = {"accepted": False, "kind": type(error).__name__, "message": str(error)}
            if not isinstance(error, Refused | ValueError | NotImplementedError):
                found["trace"] = traceback.format_exc()
        answers.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
