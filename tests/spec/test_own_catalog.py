"""A project's own catalog: its rows are taken first, its mistakes have places, and the cache knows that it was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import Checked, check_source
from kcluster.reads import Reads, still_true
from kcluster.source import Source

GPUS = """# our own boards
[rtx-5090-96gb]
name = "RTX 5090 96 GB"
aliases = ["5090-96"]
memory_gib = 94.5
bandwidth_gbs = 1792
tflops = { bf16 = 209.5, fp8 = 419 }
compute_capability = "12.0"
pcie_generation = 5
source = "nvidia-smi on box-3"
"""

LINKS = """[pcie5-x8]
bandwidth_gbs = 21.5
low_gbs = 20
high_gbs = 23
source = "p2pBandwidthLatencyTest on box-3"
"""

MODELS = """[[model]]
id = "acme/Support-8B"
aliases = ["acme/Support-8B-v2"]
source = "our training run 41"
config = "configs/support.json"

[[model]]
id = "acme/Tiny"
source = "a test"
[model.config]
model_type = "qwen3"
architectures = ["Qwen3ForCausalLM"]
hidden_size = 1024
num_hidden_layers = 28
num_attention_heads = 16
num_key_value_heads = 8
head_dim = 128
intermediate_size = 3072
vocab_size = 151936
max_position_embeddings = 40960
tie_word_embeddings = true
"""

CONFIG = """{"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,
"num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
"max_position_embeddings": 131072, "torch_dtype": "bfloat16"}"""

SPEC = """model m { id = "acme/Support-8B" }
hardware box {
  gpus = 2 * rtx-5090-96gb
  bus  = pcie(5, x8)
}
sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "kcluster.toml").write_text("")
    (tmp_path / "specs").mkdir()
    (tmp_path / "catalog" / "configs").mkdir(parents=True)
    for name, text in (
        ("gpus.toml", GPUS),
        ("links.toml", LINKS),
        ("models.toml", MODELS),
        ("configs/support.json", CONFIG),
    ):
        (tmp_path / "catalog" / name).write_text(text)
    return tmp_path


def check(project: Path, spec: str = SPEC, trace: Reads | None = None) -> Checked:
    return check_source(Source("specs/a.kcluster", spec), folder=project / "specs", trace=trace)


def errors(found: tuple[Diagnostic, ...]) -> list[tuple[str, str, str]]:
    return [(one.code, one.source.path, one.source.slice(one.span)) for one in found if one.severity == "error"]


def test_cards_models_and_measured_links_of_the_project(project: Path) -> None:
    checked = check(project)
    assert errors(checked.diagnostics) == []
    assert checked.plan is not None
    (serve,) = checked.plan.serves
    card = serve.serve.cluster.nodes[0].cards[0]
    assert (card.name, card.compute_capability) == ("RTX 5090 96 GB", (12, 0))
    assert card.memory.value == 94.5 * 2**30 and "box-3" in card.memory.source
    assert serve.serve.model.architecture.value.hidden == 4096
    bus = serve.serve.cluster.nodes[0].bus
    # 21.5 GB/s measured, in place of the 27.7 GB/s that 88 % of PCIe 5 x8 would be
    assert bus is not None and bus.bandwidth.value == 21.5e9 and bus.bandwidth.range() == (20e9, 23e9)


def test_aliases_and_inner_configs(project: Path) -> None:
    spec = SPEC.replace("acme/Support-8B", "acme/Tiny").replace("rtx-5090-96gb", "5090-96")
    spec = spec.replace("2 * 5090-96", "2 * rtx-5090-96gb")
    checked = check(project, spec)
    assert errors(checked.diagnostics) == [] and checked.plan is not None
    assert checked.plan.serves[0].serve.model.architecture.value.hidden == 1024
    named = check(project, SPEC.replace("Support-8B", "Support-8B-v2"))
    assert errors(named.diagnostics) == []


@pytest.mark.parametrize(
    ("file", "text", "code", "at"),
    [
        ("gpus.toml", GPUS.replace("bandwidth_gbs = 1792", 'bandwidth_gbs = "fast"'), "KC103", 'bandwidth_gbs = "fast"'),
        ("gpus.toml", GPUS.replace("bandwidth_gbs = 1792", "bandwith_gbs = 1792"), "KC102", "bandwith_gbs = 1792"),
        ("gpus.toml", GPUS.replace("bandwidth_gbs = 1792\n", ""), "KC105", "[rtx-5090-96gb]"),
        ("gpus.toml", GPUS.replace("memory_gib = 94.5", "memory_gib = "), "KC103", "memory_gib ="),
        ("gpus.toml", GPUS.replace("bf16 = 209.5", "bf17 = 209.5"), "KC103", "tflops = { bf17 = 209.5, fp8 = 419 }"),
        ("gpus.toml", GPUS + 'link = "nvlink"\n', "KC105", "[rtx-5090-96gb]"),
        ("links.toml", LINKS.replace("pcie5-x8", "pcie9-x8"), "KC102", "[pcie9-x8]"),
        ("links.toml", LINKS.replace("low_gbs = 20", "low_gbs = 22"), "KC103", "[pcie5-x8]"),
        ("models.toml", MODELS.replace("configs/support.json", "configs/gone.json"), "KC103", "[[model]]"),
        ("models.toml", MODELS.replace("configs/support.json", "../../../etc/passwd"), "KC103", "[[model]]"),
        ("models.toml", MODELS.replace('source = "our training run 41"\n', ""), "KC105", "[[model]]"),
        ("models.toml", '[model]\nid = "acme/Support-8B"\n', "KC102", "[model]"),
        ("models.toml", MODELS.replace("[[model]]", "[[models]]"), "KC102", "[[models]]"),
        ("gpus.toml", "[[gpu]]\n" + GPUS.partition("\n")[2], "KC103", "[[gpu]]"),
    ],
)  # fmt: skip
def test_mistakes_have_places(project: Path, file: str, text: str, code: str, at: str) -> None:
    (project / "catalog" / file).write_text(text)
    found = errors(check(project).diagnostics)
    # Each mistake once: that a name is not found because of it is no mistake of its own.
    assert found == [(code, f"catalog/{file}", at)]


def test_what_was_read_is_told_and_so_is_what_was_not_there(project: Path) -> None:
    trace = Reads()
    check(project, trace=trace)
    assert trace.told and still_true(trace.written())
    (project / "catalog" / "links.toml").write_text(LINKS.replace("21.5", "22.5"))
    assert not still_true(trace.written())
    for path in (project / "catalog").glob("*.toml"):
        path.unlink()
    trace = Reads()
    check(project, trace=trace)
    assert trace.told and still_true(trace.written())
    (project / "catalog" / "gpus.toml").write_text(GPUS)
    assert not still_true(trace.written())


def test_without_a_place_on_a_disk_nothing_is_read() -> None:
    found = check_source(Source("x", SPEC)).diagnostics
    assert {one.code for one in found if one.severity == "error"} == {"KC107"}


def test_the_guides_examples_are_right() -> None:
    import re

    from kcluster.catalog.own import read_gpus, read_links, read_models

    page = (Path(__file__).parents[2] / "docs" / "guides" / "own-catalog.md").read_text("utf-8")
    cards, models, links = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    assert read_gpus(cards)[1] == () and read_gpus(cards)[0]
    assert read_models(models, {"configs/support-8b.json": CONFIG}.get)[1] == ()
    assert read_links(links)[1] == () and list(read_links(links)[0]) == ["pcie5-x8"]


def test_a_misspelt_key_says_which_is_meant(project: Path) -> None:
    (project / "catalog" / "gpus.toml").write_text(GPUS.replace("memory_gib", "memory_gb"))
    (one,) = [one for one in check(project).diagnostics if one.severity == "error"]
    assert (one.message, one.help) == ("a row has no `memory_gb`", ("did you mean `memory_gib`?",))
