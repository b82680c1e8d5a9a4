"""No string attribute lets through what could become a command, a directive or a path out: for every one of the schema."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from kcluster.spec.schema import SPEC, BlockSchema, every_block
from kcluster.spec.schema_types import AttributeSchema
from kcluster.spec.text import TEXT, printable, refusal
from tests.spec.resolving import resolved, strings_in

CANARY = "pwned"
HOSTILE = [
    f'"; touch {CANARY}; echo "',
    f"$(touch {CANARY})",
    f"`touch {CANARY}`",
    f"x\n  ExecStartPre=/bin/touch {CANARY}",
    f"x\r\nHost: {CANARY}",
    f"x; return 301 http://{CANARY}/",
    f"{{{{ {CANARY} }}}}",
    f"%i %h {CANARY}",
    f"x'; {CANARY} '",
    f"a\\\nb {CANARY}",
    f"x\x00{CANARY}",
    f"x\u202e{CANARY}",
    f"x\u200b{CANARY}",
    f"x\u2028{CANARY}",
    f"x\x7f{CANARY}",
    f"../../{CANARY}",
    f"/etc/../{CANARY}",
    f"--{CANARY} x",
    f"-{CANARY}",
    f"{CANARY} | sh",
    f"$HOME/{CANARY}",
    f"~/{CANARY} &",
    CANARY + "x" * 5000,
    "",
    " ",
]
INVISIBLE = [text for text in HOSTILE if not printable(text)]

BASE = {
    "model": "model m {{ {0} }}",
    "hardware": "hardware h {{ {0} }}",
    "sla": "sla s {{ {0} }}",
    "serve": "serve c {{ {0} }}",
}
NEEDED = {
    "model": {"id": '"Qwen/Qwen3-8B"'},
    "hardware": {"gpus": "1 * l4"},
    "sla": {},
    "serve": {"model": "m", "hardware": "h", "sla": "s"},
}
LABELS = {"none": "", "name": " n", "kind": "", "kind and name": " nginx n"}


def text_with(path: tuple[str, ...], line: str) -> str:
    """A whole spec in which a line stands in the block at a path."""
    blocks = dict(every_block())
    body = line
    for depth in range(len(path) - 1, 0, -1):
        schema = blocks[path[: depth + 1]]
        if path[:depth] == ("hardware",) and path[depth] == "node":
            body += "\n gpus = 1 * l4"
        body = f"{schema.word}{LABELS[schema.label]} {{\n{body}\n}}"
    written = []
    for word, frame in BASE.items():
        own = path[0] == word
        key = line.split()[0] if own and len(path) == 1 else ""
        needed = "\n".join(f"{name} = {value}" for name, value in NEEDED[word].items() if name != key)
        written.append(frame.format(f"{needed}\n{body}\n" if own else f"{needed}\n"))
    if path[0] not in BASE:
        schema = blocks[path[:1]]
        written.append(f"{schema.word}{LABELS[schema.label]} {{\n{body}\n}}")
    return "\n".join(written) + "\n"


def attributes() -> Iterator[tuple[tuple[str, ...], AttributeSchema]]:
    for path, block in every_block():
        if path:
            for row in block.attributes:
                yield path, row


STRINGS = [(path, row) for path, row in attributes() if row.kind in ("string", "strings")]
OTHERS = [(path, row) for path, row in attributes() if row.kind not in ("string", "strings")]
ENTRIES = [(path, block) for path, block in every_block() if block.entries is not None]


def quoted(text: str) -> str:
    """A string of the language: JSON's escapes."""
    return json.dumps(text, ensure_ascii=True)


def refused(path: tuple[str, ...], row: AttributeSchema, value: str, hostile: str) -> None:
    line_text = f"{row.name} {row.bound or '='} {value}"
    text = text_with(path, line_text)
    found = resolved(text)
    errors = [finding for finding in found.found if finding.severity == "error"]
    assert errors, f"{' '.join(path)} {row.name} takes {hostile!r}"
    line = found.source.position(text.index(f"\n{line_text}") + 1).line
    assert any(found.source.position(e.span.start).line == line for e in errors), found.report()
    for error in errors:
        for shown in (error.message, error.label, *error.help, *error.notes):
            assert printable(shown), "a message repeats what cannot be seen"
    if found.spec is not None and hostile.strip():
        assert not any(hostile in text for text in strings_in(found.spec)), "it is in the spec all the same"


@pytest.mark.parametrize(
    ("path", "row"), STRINGS, ids=lambda x: x.name if isinstance(x, AttributeSchema) else " ".join(x)
)
def test_hostile_strings_are_refused(path: tuple[str, ...], row: AttributeSchema) -> None:
    for hostile in HOSTILE if row.text not in ("argument", "file") else INVISIBLE:
        value = f"[{quoted(hostile)}]" if row.kind == "strings" else quoted(hostile)
        refused(path, row, value, hostile)


@pytest.mark.parametrize(
    ("path", "row"), OTHERS, ids=lambda x: x.name if isinstance(x, AttributeSchema) else " ".join(x)
)
def test_hostile_strings_where_none_belongs(path: tuple[str, ...], row: AttributeSchema) -> None:
    """Numbers, words, references, cards and calls given as strings."""
    for hostile in HOSTILE[:8] + HOSTILE[-2:]:
        refused(path, row, quoted(hostile), hostile)


@pytest.mark.parametrize(
    ("path", "block"), ENTRIES, ids=lambda x: x.word if isinstance(x, BlockSchema) else " ".join(x)
)
def test_hostile_keys_and_values_of_free_blocks(path: tuple[str, ...], block: BlockSchema) -> None:
    assert block.entries is not None
    for hostile in HOSTILE:
        if refusal(hostile, block.entries.key) is None:
            assert hostile == f"-{CANARY}", hostile  # a short flag is one
            continue
        found = resolved(text_with(path, f"{quoted(hostile)} = on"))
        assert {"KC103", "KC102", "KC003"} & set(found.codes), hostile
    for hostile in INVISIBLE:
        key = {"flag": '"--seed"', "variable": "NAME", "label": '"zone"'}[block.entries.key_name]
        found = resolved(text_with(path, f"{key} = {quoted(hostile)}"))
        assert {"KC103", "KC003"} & set(found.codes), hostile
        assert found.spec is not None
        assert not any(hostile in text for text in strings_in(found.spec))


def test_arguments_keep_what_is_only_odd() -> None:
    """A flag's value may be JSON: targets quote it."""
    value = '{"method": "ngram", "a": "$(x) `y` ; %"}'
    found = resolved(text_with(("serve", "engine", "args"), f'"--speculative-config" = {quoted(value)}'))
    assert found.found == (), found.report()
    ((flag, read),) = found.serve.engine.args
    assert (flag.value, read.value) == ("--speculative-config", value)


@pytest.mark.parametrize(
    "word", [block.word for path, block in every_block() if len(path) == 1 and block.label.endswith("name")]
)
def test_hostile_names_of_blocks(word: str) -> None:
    for hostile in HOSTILE:
        kind = "nginx " if word == "router" else ""
        found = resolved(f"{word} {kind}{quoted(hostile)} {{ }}\n")
        assert {"KC103", "KC003"} & set(found.codes), hostile
        assert found.spec is not None
        assert not any(CANARY in text for text in strings_in(found.spec))


def test_hostile_words_are_no_labels_kinds_or_keys() -> None:
    for hostile in HOSTILE:
        text = quoted(hostile)
        for spec in (
            text_with(("serve",), f"engine {text} {{ }}"),
            text_with(("serve",), f"router {text} {{ }}"),
            text_with(("serve",), f"route {text} {{ }}"),
            text_with(("hardware",), f"bus = pcie({text}, x16)"),
            text_with(("hardware",), f"network = infiniband({text})"),
            text_with(("hardware",), f"node {text} {{ gpus = 1 * l4 }}"),
            text_with(("serve", "route"), f'header = ["X-A", {text}]'),
            text_with(("serve", "route"), f'header = [{text}, "a"]'),
            text_with(("serve", "engine"), f"api_key = env({text})"),
        ):
            found = resolved(spec)
            assert any(finding.severity == "error" for finding in found.found), spec
            assert found.spec is not None
            assert not any(CANARY in text for text in strings_in(found.spec)), spec


GOOD = {
    "model id": ["meta-llama/Llama-3.3-70B-Instruct", "gpt2", "/models/llama-3", "Qwen/Qwen2.5-7B_x"],
    "revision": ["main", "v1.0", "refs/pr/3", "0123abc"],
    "file": ["config.json", "../a b/config.json", "/models/x/config.json", "modèle.json"],
    "path": ["/models", "/srv/models/llama-3.1/", "/a.b/c_d/e@f"],
    "host": ["10.0.0.11", "node-1", "node1.cluster.local", "fd00::1", "::1", "localhost", "a" * 63 + ".b"],
    "address": ["10.0.0.5:9090", "http://grafana.local:3000", "https://g.example/", "[fd00::1]:9090", "host"],
    "interface": ["eth0", "enp1s0f0", "bond0.100", "ib0"],
    "user": ["vllm", "_svc-1"],
    "environment name": ["HF_TOKEN", "_x1", "http_proxy"],
    "key variable": ["VLLM_API_KEY", "_X1"],
    "card": ["rtx-5090", "RTX 5090", "H100 80GB (SXM)"],
    "flag": ["--any-flag", "--compilation-config.level", "-O3", "-tp", "--enable_x"],
    "image": ["vllm/vllm-openai:v0.33.0", "registry.local:5000/a/b", "ubuntu", "x@sha256:" + "a" * 64],
    "header name": ["X-Model"],
    "header value": ["small", "a/b:1@c+d"],
    "url path": ["/small", "/v1/small/"],
    "model name": ["llama", "meta-llama/Llama-3", "qwen:7b"],
    "label": ["llm", "a-1"],
    "subdomain": ["models", "models.claim-1"],
    "label key": ["nvidia.com/gpu.product", "zone"],
    "label value": ["NVIDIA-H100", "a_b.c"],
    "name": ["llama-70b", "405b", "_x", "a.b"],
    "argument": ["", "any thing; $x", "{}"],
}  # fmt: skip
BAD = {
    "model id": ["a/b/c", "/a/../b", "a b", "http://x", "./x", "a/..", "/models/my model"],
    "revision": ["a..b", "-x", "a b"],
    "path": ["relative", "/a/..", "/./a", "//a", "/a b"],
    "host": ["10.0.0.256", "10.0.0", "1.2.3.4.5", "010.0.0.1", "-a", "a_b", "a..b", "fe80::1%eth0", "[::1]", "a" * 64, "host:80"],
    "address": ["user@host", "http://h/path", "ftp://h", "h:0", "h:70000", "h:80?x"],
    "interface": ["eth0;", "a" * 16, "eth 0"],
    "user": ["Root", "1a", "a b"],
    "environment name": ["A-B", "1A", "A B", "A=B", "args", "UID"],
    "key variable": ["A-B", "1A", "run", "aB", "SECONDS"],
    "flag": ["seed", "---x", "-1", "--a=b", "--a b", "--", "-"],
    "image": ["A", "a//b", "a:b c", "x@sha256:abc", "a b"],
    "header name": ["X_Model", "X:", "1X"],
    "header value": ["a b", "a;", "$x"],
    "url path": ["small", "/a/../b", "/a b", "/", "/a;b"],
    "model name": ["a b", "/a", "a/../b", "a'"],
    "label": ["A", "a_b", "-a", "a" * 64],
    "label key": ["/x", "a b", "A.B/x y"],
    "label value": ["-a", "a b"],
    "name": ["a b", "-a", ".", "a/b", "a" * 64],
}  # fmt: skip


def test_every_kind_of_text_is_tried() -> None:
    assert set(GOOD) == set(TEXT)
    used = {row.text for _, block in every_block() for row in block.attributes if row.text}
    used |= {block.entries.text for _, block in every_block() if block.entries} | {
        "name",
        "flag",
        "card",
        "environment name",
        "key variable",
    }
    used |= {block.entries.key for _, block in every_block() if block.entries} | {"header name", "header value"}
    assert used == set(TEXT)


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in GOOD.items() for text in texts])
def test_allowed(kind: str, text: str) -> None:
    assert refusal(text, kind) is None


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD.items() for text in texts])
def test_refused(kind: str, text: str) -> None:
    reason = refusal(text, kind)
    assert reason is not None
    assert reason.startswith(("must be ", "may have at most ", "holds a control"))


def test_the_table_is_whole() -> None:
    """Every string attribute names its allow-list, every reference a block that there is."""
    words = {block.word for block in SPEC.blocks}
    for path, block in every_block():
        for row in block.attributes:
            assert row.doc, (path, row.name)
            if row.kind in ("string", "strings"):
                assert row.text in TEXT, (path, row.name)
            if row.kind == "reference":
                assert row.target in words
            if row.kind == "choice":
                assert row.choices or row.catalog
            if row.kind == "secret":
                assert refusal(row.variable, "key variable") is None
            assert not (row.required and row.default), (path, row.name)
