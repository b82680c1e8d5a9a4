"""Inputs to start from, and the words to put into them: all taken from what the repository holds."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kcluster.catalog.engines import flag_table
from kcluster.catalog.models import find_model, model_ids, read_row
from kcluster.diagnostics import CODES
from kcluster.rules.pages import page_of
from kcluster.spec.schema import CONSTRUCTORS, every_block
from kcluster.syntax.tokens import SIGNS, lex

ROOT: Final = Path(__file__).resolve().parents[2]
UNITS: Final = ("GB", "GiB", "GbE", "GB/s", "s", "ms", "tok/s", "%", "K", "k", "M", "TFLOPS")
SHELL: Final = (
    "vllm serve",
    "$",
    "${",
    "<<EOF",
    "&&",
    "\\\n",
    "docker run",
    "image:",
    "command:",
    "args:",
    "- >-",
    "- |",
)
CARDS: Final = ("rtx-5090", "h100", "h200-sxm", "b300", "l4", "mi300x", "rtx-pro-6000", "a100")
COMMANDS: Final = (
    "vllm serve Qwen/Qwen3-32B-FP8 -tp 2 --max-model-len 32k --gpu-memory-utilization 0.92",
    "export TP=4\nvllm serve meta-llama/Llama-3.3-70B-Instruct --tensor-parallel-size ${TP:-2} \\\n  --kv-cache-dtype fp8",
    "docker run --rm --gpus '\"device=0,1\"' -e HF_TOKEN=x -p 8000:8000 --ipc=host vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-32B",
    "python -m vllm.entrypoints.openai.api_server --model=x --served-model-name a b --speculative-config '{\"method\": \"mtp\"}'",
    "X=(--port 8000 \"--host\" '0.0.0.0')\nfor i in 0 1; do vllm serve m \"${X[@]}\" & done",
    "services:\n  a:\n    image: vllm/vllm-openai:v0.10.1\n    command: [\"--model\", \"Qwen/Qwen3-8B\", \"-tp\", \"2\"]\n    environment:\n"
    "      - A=b\n    deploy: {resources: {reservations: {devices: [{count: 2}]}}}\n",
    "apiVersion: apps/v1\nkind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - name: v\n        image: vllm/vllm-openai\n"
    "        command: [sh, -c]\n        args:\n        - >-\n          vllm serve Qwen/Qwen3-8B\n          --port 8000\n",
    "[Service]\nEnvironment=\"A=b c\" D=e\nExecStart=/usr/bin/vllm serve Qwen/Qwen3-8B \\\n  --port 80%%\n",
    "from vllm import LLM\nllm = LLM(model=\"Qwen/Qwen3-8B\", tensor_parallel_size=2, max_model_len=8 * 1024)\n",
    "cat <<'EOF' | bash\nvllm serve a --port 1\nEOF\nif [ $A = b ]; then vllm serve c; fi",
)  # fmt: skip


def lint() -> Iterator[bytes]:
    """Real specs, the examples of the rules' pages, the tests' cases."""
    for path in sorted((ROOT / "specs").rglob("*.kcluster")):
        yield path.read_bytes()
    for code in sorted(CODES):
        page = page_of(code)
        if page is not None:
            yield from (example.text.replace("<U+200B>", "\u200b").encode() for example in page.examples)
    for path in sorted((ROOT / "tests" / "rules" / "cases").glob("*.kct")):
        yield from (chunk.encode() for chunk in re.split(r"^---.*\n", path.read_text("utf-8"), flags=re.MULTILINE))


def command() -> Iterator[bytes]:
    yield from (text.encode() for text in COMMANDS)


def config() -> Iterator[bytes]:
    """The catalog's rows, which have a config.json's fields."""
    for model in model_ids():
        match = find_model(model)
        assert match is not None
        yield json.dumps(read_row(match.row)).encode()


def words(name: str) -> list[str]:
    """What the language of a drive is made of."""
    if name == "config":
        return sorted({word for seed in config() for word in re.findall(r'"[^"\\]{1,60}"', seed.decode())})
    if name == "command":
        table = flag_table("vllm", (0, 33))
        assert table is not None
        return sorted({*table.flags, *SHELL})
    found = {*SIGNS.values(), *UNITS, *CARDS, "import", "auto", "on", "off", 'env("A")', "# kcluster: ignore[KC201] x"}
    for path, block in every_block():
        found.update(path)
        for attribute in block.attributes:
            found.update((attribute.name, *attribute.choices))
    for row in CONSTRUCTORS:
        found.update((f"{row.name}(", *(argument.name for argument in row.arguments)))
    return sorted(found)


def dictionary(name: str) -> str:
    """The words in libFuzzer's form."""
    lines = []
    for word in words(name):
        escaped = "".join(
            c if " " <= c <= "~" and c not in '"\\' else f"\\x{byte:02x}" for c in word for byte in c.encode()[:1]
        )
        lines.append(f'"{escaped}"')
    return "\n".join(lines) + "\n"


class Mutator:
    """Mistakes of tokens, which bytes at random seldom are: exchanged, doubled, lost, taken from other seeds or the dictionary."""

    def __init__(self, name: str, seeds: list[bytes]) -> None:
        texts = [seed.decode("utf-8", "replace") for seed in seeds]
        self.foreign = sorted({token.text for text in texts for token in lex(text) if token.type != "COMMENT"})
        self.lines = sorted({line for text in texts for line in text.splitlines(keepends=True)})
        self.known = words(name)

    def __call__(self, data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        text = data.decode("utf-8", "replace")
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            text = self._once(text, rng)
        return text.encode("utf-8", "replace")[:most]

    def _once(self, text: str, rng: random.Random) -> str:
        tokens = [token.text for token in lex(text)]
        if not tokens:
            return rng.choice(self.lines)
        at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
        act = rng.randrange(8)
        if act == 0:
            del tokens[at]
        elif act == 1:
            tokens.insert(at, tokens[other])
        elif act == 2:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        elif act == 3:
            tokens[at] = rng.choice(self.foreign)
        elif act == 4:
            tokens[at] = rng.choice(self.known)
        elif act == 5:
            tokens.insert(at, " " + rng.choice(self.known) + " ")
        elif act == 6:
            lines = text.splitlines(keepends=True)
            lines.insert(rng.randrange(len(lines) + 1), rng.choice(self.lines))
            return "".join(lines)
        else:
            first, last = sorted((at, other))
            return "".join(tokens[:first] + tokens[first:last][: rng.randrange(20)] + tokens[last:])
        return "".join(tokens)


SEEDS: Final = {"language": lint, "lint": lint, "command": command, "config": config}
