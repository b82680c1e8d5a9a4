"""Every finding of resolving: what draws it, where it points, and that one mistake draws one finding."""

from __future__ import annotations

import pytest

from kcluster.spec.types import Secret
from tests.spec.resolving import EXAMPLE, SHORT, applied, resolved

# (what is replaced in the example, by what, code, the text that the finding points at, a word of message or help)
ONE_MISTAKE = [
    # KC006 unknown units
    ("3s", "3sec", "KC006", "sec", "`s`"),
    ("8K", "8Q", "KC006", "Q", "tokens"),
    ("= 8080", "= 8080, max_body = 8 mb", "KC006", "mb", "`MB`"),
    ("= 12 ", "= 12 users", "KC006", "users", "count"),
    # KC007 beyond reason
    ("nodes = 1", "nodes = 10_000_000", "KC007", "10_000_000", "4,096"),
    ("4 * rtx", "1_000_000 * rtx", "KC007", "1_000_000", "64"),
    ("context     = 8K", "context     = 1000000000000000", "KC007", "1000000000000000", "100,000,000"),
    ("port                   = 8000", "max_num_batched_tokens = 999_999_999_999", "KC007", "999_999_999_999", "tokens"),
    # KC101 unknown block
    ("model llama-70b {", "modle llama-70b {", "KC101", "modle", "`model`"),
    ("engine vllm {", "enigne vllm {", "KC101", "enigne", "`engine`"),
    ("router nginx {", "proxy nginx {", "KC101", "proxy", "engine"),
    ("router nginx {", "nginx {", "KC101", "nginx", "`router nginx { … }`"),
    ("parallel {", "tp {", "KC101", "tp", "stand"),
    ("parallel { tp = 4, pp = 1, replicas = auto }", "sla { }", "KC101", "sla", "`serve`"),
    # KC102 unknown attribute
    ("concurrency = 12", "concurency = 12", "KC102", "concurency", "`concurrency`"),
    ("gpus  = 4", "gpu = 4", "KC102", "gpu", "`gpus`"),
    ("max_num_seqs           = 16", "max_seqs = 16", "KC102", "max_seqs", "max_num_seqs"),
    ("sla      = agents", "sla      = agents\n  max_model_len = 8K", "KC102", "max_model_len", "serve engine"),
    ("router nginx { listen = 8080 }", "router = nginx", "KC102", "router = nginx", "`router nginx { }`"),
    ("router nginx {", "engine = vllm\n  router nginx {", "KC102", "engine = vllm", "`engine` is a block"),
    ("max_num_seqs           = 16", "tensor_parallel_size = 4", "KC102", "tensor_parallel_size", "`tp` in `parallel`"),
    ("max_num_seqs           = 16", "kv_cache_dtype = fp8", "KC102", "kv_cache_dtype", "`kv_cache` in `engine`"),
    ("p2p = off", "pp2p = off", "KC102", "pp2p", "`p2p`"),
    # KC103 wrong kind
    ("3s", "2GB", "KC103", "2GB", "a time"),
    ("3s", "3", "KC103", "3", "with its unit"),
    ("= 12 ", "= 12.5 ", "KC103", "12.5", "whole"),
    ("= 12 ", "= many ", "KC103", "many", "count"),
    ("= 12 ", "= 8K ", "KC103", "8K", "plain count"),
    ('= 12 ', '= "12" ', "KC103", '"12"', "string"),
    ("nodes = 1", "nodes = 0", "KC103", "0", "at least 1"),
    ("0.92", "92", "KC103", "92", "between 0 and 1"),
    ("0.92", "0", "KC103", "0", "above 0"),
    ("0.92", "1.5", "KC103", "1.5", "between 0 and 1"),
    ("= 8000", "= 65536", "KC103", "65536", "65,535"),
    ("= 8080", "= 0", "KC103", "0", "at least 1"),
    ("= on", "= yes", "KC103", "yes", "`on`"),
    ("= on", "= 2", "KC103", "2", "`on`"),
    ("= fp8", "= fp9", "KC103", "fp9", "`fp8`"),
    ("= fp8", "= 8", "KC103", "8", "word"),
    ('["10.0.0.11"]', '["10.0.0.256"]', "KC103", '"10.0.0.256"', "address"),
    ('["10.0.0.11"]', "[]", "KC103", "[]", "empty"),
    ('["10.0.0.11"]', "[4]", "KC103", "4", "string"),
    ("4 * rtx-5090", "4", "KC103", "4", "not a number"),
    ("x16", "16", "KC103", "16", "`x16`"),
    ("x16", "x5", "KC103", "x5", "`x16`"),
    ("pcie(5, x16, p2p = off)", "pcie", "KC103", "pcie", "pcie(5, x16)"),
    ("pcie(5, x16, p2p = off)", "pcie(5, x16, on)", "KC103", "on", "p2p"),
    ("engine vllm", "engine vlm", "KC103", "vlm", "`vllm`"),
    ("router nginx", "router apache", "KC103", "apache", "haproxy"),
    ("model llama-70b {", "model llama-70b extra {", "KC103", "extra", "one name"),
    ('"0.33"', '"latest"', "KC103", '"latest"', "version"),
    ('"0.33"', '"v0.33"', "KC103", '"v0.33"', "without `v`"),
    ('env("VLLM_API_KEY")', "VLLM_API_KEY", "KC103", "VLLM_API_KEY", "environment variable"),
    ('env("VLLM_API_KEY")', 'env("VLLM-API-KEY")', "KC103", '"VLLM-API-KEY"', "environment variable"),
    ("model    = llama-70b", "model    = 70", "KC103", "70", "`model` block"),
    # KC104 given twice
    ("= 12 ", "= 12\n  concurrency = 13 ", "KC104", "concurrency = 13", "twice"),
    ("parallel {", "parallel { }\n  parallel {", "KC104", "parallel", "twice"),
    ("sla agents {", "sla agents { }\nsla agents {", "KC104", "sla agents", "twice"),
    ("sla agents {", 'model llama-70b { id = "Qwen/Qwen3-8B" }\nsla agents {', "KC104", "model llama-70b", "twice"),
    ('["10.0.0.11"]', '["10.0.0.11", "10.0.0.11"]', "KC104", '"10.0.0.11"', "twice"),
    ("p2p = off)", "p2p = off, p2p = on)", "KC104", "p2p = on", "twice"),
    ("router nginx", "router = off\n  router nginx", "KC104", "router nginx", "twice"),
    # KC105 missing
    ("gpus  = 4 * rtx-5090", "", "KC105", "hardware box", "`gpus`"),
    ("sla agents {", "sla {", "KC105", "sla", "needs a name"),
    ("pcie(5, x16, p2p = off)", "pcie(p2p = off)", "KC105", "pcie(p2p = off)", "generation"),
    ("listen = 8080", "listen = 8080, tls { certificate = \"/etc/tls/crt.pem\" }", "KC105", "tls", "`key`"),
    ("serve chat {", "serve {", "KC105", "serve", "needs a name"),
    # KC106 a reference to nothing
    ("model    = llama-70b", "model    = llama-80b", "KC106", "llama-80b", "`llama-70b`"),
    ("hardware = box", "hardware = boxes", "KC106", "boxes", "`box`"),
    ("sla      = agents", "sla      = gold", "KC106", "gold", "`agents`"),
    ("sla      = agents", "sla      = agents\n  gpus = [4]", "KC106", "[4]", "0 to 3"),
    ("sla      = agents", "sla      = agents\n  nodes = [1]", "KC106", "[1]", "node 0 only"),
    ("router nginx { listen = 8080 }", 'route edge { path = "/a" }', "KC106", "edge", "router"),
    ("p2p = off)", "groups = [[0, 1], [2, 4]])", "KC106", "pcie(5, x16, groups = [[0, 1], [2, 4]])", "0 to 3"),
    # KC107 not in the catalog
    ("rtx-5090 ", "rtx-5091 ", "KC107", "rtx-5091", "`rtx-5090`"),
    ("meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Lama-3.3-70B-Instruct", "KC107", '"meta-llama/Lama-3.3-70B-Instruct"', "Llama-3.3-70B"),
    ("pcie(5,", "pci(5,", "KC107", "pci", "`pcie`"),
    ("pcie(5,", "pcie(9,", "KC107", "pcie(9, x16, p2p = off)", "generation 9"),
    ("nodes = 1", "nodes = 1\n  network = infiniband(xyz)", "KC107", "xyz", "`ndr`"),
    ("nodes = 1", "nodes = 1\n  network = wifi(1 Gb/s)", "KC107", "wifi", "`ethernet`"),
    # KC108 never used
    ("sla agents {", "sla other { concurrency = 1 }\nsla agents {", "KC108", "sla other", "never used"),
    ("sla agents {", "router nginx edge { }\nsla agents {", "KC108", "router nginx edge", "never used"),
    ("sla agents {", "gpu big { memory = 96 GB, bandwidth = 1 TB/s, bf16 = 100 }\nsla agents {", "KC108", "gpu big", "never used"),
    # KC109 without a folder
    ("sla agents {", 'import "a.kcluster"\nsla agents {', "KC109", '"a.kcluster"', "no folder"),
    # KC110 bounds
    (">= 20", "= 20", "KC110", "=", "at least"),
    ("<= 3s", "= 3s", "KC110", "=", "at most"),
    ("<= 3s", ">= 3s", "KC110", ">=", "from above"),
    ("= 12 ", "<= 12 ", "KC110", "<=", "a value"),
    ("= fp8", ">= fp8", "KC110", ">=", "a value"),
    # KC703 secrets
    ('env("VLLM_API_KEY")', '"sk-1234"', "KC703", '"sk-1234"', "environment"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "code", "place", "word"), ONE_MISTAKE, ids=lambda text: str(text)[:30])
def test_one_mistake_is_one_finding(old: str, new: str, code: str, place: str, word: str) -> None:
    assert old in EXAMPLE
    found = resolved(EXAMPLE.replace(old, new, 1))
    only = found.only()
    assert only.code == code, found.report()
    assert found.text(only) == place
    assert word in " ".join((only.message, *only.help, *(fix.message for fix in only.fixes)))
    assert only.message[0] in "`abcdefghijklmnopqrstuvwxyz" and not only.message.endswith(".")


@pytest.mark.parametrize(("old", "new", "code", "place", "word"), ONE_MISTAKE, ids=lambda text: str(text)[:30])
def test_fixes_mend(old: str, new: str, code: str, place: str, word: str) -> None:
    """Where a fix is offered, the text with it made has no finding left."""
    text = EXAMPLE.replace(old, new, 1)
    for fix in resolved(text).only().fixes:
        mended = resolved(applied(text, fix))
        assert mended.found == (), mended.report()


def test_safe_fixes_only_where_one_thing_can_be_meant() -> None:
    def safety(old: str, new: str) -> list[str]:
        return [fix.safety for fix in resolved(EXAMPLE.replace(old, new, 1)).only().fixes]

    assert safety("<= 3s", "= 3s") == ["safe"]
    assert safety("<= 3s", ">= 3s") == ["unsafe"]
    assert safety("3s", "3sec") == ["safe"]
    assert safety("concurrency = 12", "concurency = 12") == ["safe"]
    assert safety("tp = 4", "ttp = 4") == ["unsafe"]
    assert safety('env("VLLM_API_KEY")', '"sk-1234"') == ["display"]
    assert safety("model    = llama-70b", "model    = llama-80b") == ["unsafe"]


def test_a_secret_is_not_repeated() -> None:
    only = resolved(EXAMPLE.replace('env("VLLM_API_KEY")', '"sk-1234"')).only()
    texts = (only.message, only.label, *only.notes, *only.help, *(fix.message for fix in only.fixes))
    assert not any("sk-1234" in text for text in texts)
    assert not any("sk-1234" in edit.text for fix in only.fixes for edit in fix.edits)


def test_the_rest_is_judged_with_what_was_meant() -> None:
    """A mistake whose meaning is plain is taken as meant; any other leaves the default."""
    serve = resolved(EXAMPLE.replace("3s", "3sec").replace("= fp8", "= fp9").replace("= 12 ", "= many ")).serve
    assert serve.sla is not None
    ttft = serve.sla.bound("ttft")
    assert ttft is not None and ttft.value.value == 3.0
    assert serve.model.weights.value.name == "fp8"
    assert serve.sla.concurrency.value == 8 and not serve.sla.concurrency.written
    leaked = resolved(EXAMPLE.replace('env("VLLM_API_KEY")', '"sk-1234"')).serve
    assert leaked.engine.api_key is not None and leaked.engine.api_key.value == Secret("VLLM_API_KEY")
    misspelt = resolved(EXAMPLE.replace("gpus  = 4", "gpu = 4").replace("max_num_seqs", "max_num_seq")).serve
    assert misspelt.hardware.gpus == 4
    assert misspelt.engine.max_num_seqs is not None and misspelt.engine.max_num_seqs.value == 16


def test_many_mistakes_are_all_found() -> None:
    text = (
        EXAMPLE.replace("= fp8", "= fp9")
        .replace("nodes = 1", "nodes = 0")
        .replace("concurrency = 12", "concurrency <= 12")
        .replace("3s", "3sec")
        .replace("tp = 4", "tp = 4, tpp = 1")
        .replace("0.92", "1.5")
        .replace("listen = 8080", "listen = 80800")
    )
    found = resolved(text)
    assert found.codes == ["KC103", "KC103", "KC110", "KC006", "KC102", "KC103", "KC103"], found.report()
    assert found.spec is not None and len(found.spec.serves) == 1


def test_a_broken_block_draws_no_second_finding() -> None:
    """A serve of a model that cannot be built is dropped without a word of its own."""
    for old, new in (
        ("meta-llama/Llama-3.3-70B-Instruct", "nobody/nothing-1B"),
        ("rtx-5090 ", "voodoo-2 "),
        ("pcie(5,", "pcie(99,"),
    ):
        found = resolved(EXAMPLE.replace(old, new, 1))
        assert found.only().code == "KC107"
        assert found.spec is not None and found.spec.serves == ()


def test_the_other_serve_is_still_planned() -> None:
    text = (
        EXAMPLE
        + 'model other { id = "nobody/nothing-1B" }\nserve second { model = other, hardware = box, sla = agents }\n'
    )
    found = resolved(text)
    assert found.codes == ["KC107"]
    assert found.spec is not None and [serve.name for serve in found.spec.serves] == ["chat"]


def test_labels_show_the_first_of_two() -> None:
    text = EXAMPLE.replace("= 12 ", "= 12\n  concurrency = 13 ")
    only = resolved(text).only()
    (label,) = only.labels
    assert text[label.span.start : label.span.end] == "12"


def test_misplaced_top_level_things() -> None:
    assert resolved("concurrency = 4\n" + SHORT).only().code == "KC102"
    assert resolved(SHORT + "vllm { }\n").only().code == "KC101"
    inner = resolved(SHORT.replace("concurrency = 8", 'import "x.kcluster"\n concurrency = 8'))
    assert inner.codes == ["KC101"], inner.report()


NOTHING = [
    ("", []),
    ("# only a comment\n", []),
    ('model a { id = "Qwen/Qwen3-8B" }\n', []),
    ("hardware box { gpus = 1 * l4 }\n", []),
    (SHORT.replace("sla team", "# sla team"), [("KC105", "note")]),
    (SHORT + 'model b { id = "Qwen/Qwen3-8B" }\n', [("KC105", "warning")]),
]


@pytest.mark.parametrize(("text", "expected"), NOTHING)
def test_files_that_serve_nothing(text: str, expected: list[tuple[str, str]]) -> None:
    """A file may be there for others to import: it is never wrong for serving nothing."""
    found = resolved(text)
    assert [(finding.code, finding.severity) for finding in found.found] == expected, found.report()
    assert found.spec is not None and found.spec.serves == ()


def test_the_only_one_need_not_be_named() -> None:
    text = EXAMPLE.replace("  model    = llama-70b\n  hardware = box\n  sla      = agents\n", "")
    assert resolved(text).found == ()
    two = resolved(text.replace("sla agents {", "sla b { }\nsla agents {"))
    only = two.only()
    assert (only.code, two.text(only)) == ("KC105", "serve chat")
    assert "`agents`" in only.help[0] and "`b`" in only.help[0]
    no_sla = resolved(
        text.replace("sla agents {", "serve other { gpus = [0], model = llama-70b }\n#").split("serve chat")[0] + ""
    )
    assert no_sla.spec is not None
    assert [serve.sla for serve in no_sla.spec.serves] == [None]


def test_syntax_errors_do_not_cascade() -> None:
    """What is lost to a syntax error is not also reported as missing or as a reference to nothing."""
    for old, new in (
        ("model llama-70b {", "model llama-70b = {"),
        ("gpus  = 4 * rtx-5090", "gpus  = 4 * * rtx-5090"),
        ("hardware box {", "hardware box"),
        ("sla agents {", "sla agents { {"),
        ("model    = llama-70b", "model    = = llama-70b"),
        ('id         = "meta-llama/Llama-3.3-70B-Instruct"', 'id  "meta-llama/Llama-3.3-70B-Instruct"'),
    ):
        found = resolved(EXAMPLE.replace(old, new, 1))
        assert found.codes and all(code < "KC100" for code in found.codes), found.report()


def test_a_reference_to_nothing_is_found_beside_a_syntax_error() -> None:
    found = resolved(EXAMPLE.replace("nodes = 1", "nodes = = 1").replace("sla      = agents", "sla      = gold"))
    assert "KC106" in found.codes, found.report()


def test_hostile_sizes_end() -> None:
    """Blocks, findings and nodes have limits, each with one finding."""
    blocks = resolved("".join(f"sla s{number} {{ }}\n" for number in range(1100)))
    assert blocks.only().code == "KC007" and "1,000 `sla` blocks" in blocks.only().message
    assert blocks.spec is not None and len(blocks.spec.slas) == 1000
    many = resolved("sla s {\n" + "".join(f"banana{number} = 1\n" for number in range(1500)) + "}\n")
    assert len(many.found) == 1001 and many.codes.count("KC007") == 1
    nodes = resolved("".join(f"hardware h{number} {{ nodes = 4096, gpus = 1 * l4 }}\n" for number in range(6)))
    assert nodes.codes == ["KC007", "KC007"] and "16,384" in nodes.found[0].message
    text = SHORT.replace("gpus = 2", "nodes = 4096, gpus = 64")
    serves = "".join(
        f"serve s{n} {{ model = llama, hardware = box, sla = team, nodes = [0..4095] }}\n" for n in range(4)
    )
    claimed = resolved(text + serves)
    assert "KC007" in claimed.codes and claimed.spec is not None and len(claimed.spec.serves) == 2


def test_what_a_serve_refers_to_is_used_although_the_serve_gave_way() -> None:
    text = SHORT.replace("hardware", 'model other { id = "Qwen/Qwen3-4B" }\nhardware', 1)
    found = resolved(text + "serve c { model = llama }\nserve c { model = other }\n")
    assert found.codes == ["KC104"], found.report()
