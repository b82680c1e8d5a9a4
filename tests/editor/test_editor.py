"""What an editor asks: places in unfinished texts, completions, names, hover, hints and actions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcluster.editor.actions import actions, all_fixed, whole
from kcluster.editor.completion import Proposal, complete
from kcluster.editor.cursor import cursor_at
from kcluster.editor.decided import FIGURES, hints
from kcluster.editor.hover import hover
from kcluster.editor.names import definition, name_at, rename, uses
from kcluster.editor.outline import outline
from kcluster.fixes import apply_edits
from kcluster.pipeline import Checked, check_source
from kcluster.render.why import figures_of
from kcluster.source import Source, Span
from kcluster.spec.schema import every_block
from kcluster.syntax.parser import parse

RECIPE = (Path(__file__).parents[2] / "specs" / "recipe-a.kcluster").read_text()


@pytest.fixture(scope="module")
def checked() -> Checked:
    return check_source(Source("recipe-a.kcluster", RECIPE))


def at(text: str) -> tuple[str, int]:
    """A text with its cursor, written as ‸."""
    offset = text.index("‸")
    return text.replace("‸", ""), offset


def proposed(text: str, versions: Mapping[str, tuple[int, ...]] = MappingProxyType({})) -> tuple[Proposal, ...]:
    text, offset = at(text)
    return complete(cursor_at(text, offset), (parse(Source("t", text))[0],), versions)


def labels(text: str) -> list[str]:
    return [one.label for one in proposed(text)]


def test_a_cursor_knows_its_blocks_and_its_statement() -> None:
    text, offset = at('serve a {\n engine vllm {\n  port = 1\n  api_key = env("X‸")\n }\n}')
    cursor = cursor_at(text, offset)
    assert [(frame.word, frame.labels) for frame in cursor.frames] == [
        ("", ()),
        ("serve", ("a",)),
        ("engine", ("vllm",)),
    ]
    assert (cursor.key, cursor.calls, cursor.prefix, cursor.quoted) == ("api_key", ("env",), "X", True)
    assert cursor.frame.keys == ["port", "api_key"]


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        ("‸", ["model", "hardware", "serve", "import"], ["tp", "parallel"]),
        ("model a {\n  id = \"x\"\n  ‸\n}", ["checkpoint", "weights", "draft"], ["id", "model"]),
        ("sla a { con‸ }", ["concurrency", "context"], ["ttft"]),
        ("sla a {\n ttft ‸\n}", [], ["ttft"]),
        ("serve a {\n  engine ‸\n}", ["vllm", "sglang"], ["port"]),
        ("model m { }\nmodel n { }\nserve a { model = ‸ }", ["m", "n", "auto"], ["a"]),
        ("gpu mine { }\nhardware a { gpus = 4 * ‸ }", ["mine", "rtx-5090", "h100"], ["auto"]),
        ("hardware a { bus = ‸ }", ["pcie", "nvlink"], ["ethernet"]),
        ("hardware a { bus = pcie(5, ‸) }", ["x16", "p2p", "groups"], ["generation", "pcie"]),
        ("hardware a { bus = pcie(5, p2p = ‸) }", ["on", "off"], ["x16"]),
        ("hardware a { network = infiniband(‸) }", ["ndr", "hdr"], ["x16"]),
        ("sla a { context = 8‸ }", ["K", "k", "M"], ["GB"]),
        ("sla a { ttft <= 3 ‸ }", ["s", "ms"], ["K"]),
        ('model a { id = "Qwen/Qwen3-32‸" }', ["Qwen/Qwen3-32B"], ["meta-llama/Llama-3.3-70B-Instruct"]),
        ("serve a { engine vllm { prefix_caching = ‸ } }", ["on", "off", "auto"], []),
        ("serve a { engine vllm { version = ‸ } }", ["0.33", "0.11"], []),
        ('serve a { engine vllm { args { "--max-num-b‸" } } }', ["--max-num-batched-tokens"], ["--port"]),
        ("# kcluster: ignore[KC20‸", ["KC201", "KC207"], ["KC501"]),
        ("# just a word ‸", [], ["model"]),
        ("nonsense {\n ‸\n}", [], ["id"]),
    ],
)  # fmt: skip
def test_completions_fit_the_place(text: str, there: list[str], absent: list[str]) -> None:
    found = labels(text)
    assert [one for one in there if one not in found] == []
    assert [one for one in absent if one in found] == []


def test_the_flags_are_those_of_the_version_asked_for() -> None:
    text = 'serve a { engine vllm { args { "--‸" } } }'
    new, old = ({one.label for one in proposed(text, {"vllm": version})} for version in ((0, 33), (0, 11)))
    assert new - old and old - new
    assert {one.label for one in proposed(text, {"sglang": (0, 5)})} == new, "the version of another engine in the spec"
    assert '"--enable-eplb" = on' in {
        one.text for one in proposed('serve a { engine vllm { args { "--enable-epl‸" } } }')
    }


def test_every_attribute_proposed_in_a_block_is_known_there() -> None:
    """What is put in, with any value, is never an unknown name (KC101) or a wrong operator."""
    for path, block in every_block():
        if block.entries is not None:
            continue
        head = "".join(f"{word} {_label(word)}{{ " for word in path)
        found = proposed(head + "‸" + " }" * len(path))
        names = [one for one in found if one.kind == "attribute"]
        assert len(names) == len(block.attributes)
        for one in names:
            findings = check_source(Source("t", f"{head}{one.text}auto{' }' * len(path)}")).diagnostics
            assert not [d for d in findings if d.code == "KC101" or "takes `" in d.message], (path, one.text)


def _label(word: str) -> str:
    return {"engine": "vllm ", "router": "nginx ", "parallel": "", "tls": "", "monitor": "", "kubernetes": ""}.get(
        word, ""
    )


def test_the_text_put_in_replaces_what_was_typed() -> None:
    text, offset = at("serve a { engine vllm { max_num_s‸ } }")
    cursor = cursor_at(text, offset)
    (one,) = complete(cursor, (parse(Source("t", text))[0],))
    assert text[: one.span.start] + one.text + text[one.span.end :] == "serve a { engine vllm { max_num_seqs =  } }"


def test_a_name_is_found_from_its_use_and_renamed_everywhere(checked: Checked) -> None:
    file, offset = checked.file, RECIPE.index("= agents") + 3
    found = name_at(file, offset)
    assert found is not None
    assert not found.defines
    where = definition(found.name, (file,))
    assert where is not None
    assert RECIPE[where.span.start :].startswith("agents {")
    assert len(uses(found.name, (file,))) == 2
    edits = rename(found.name, "405b", (file,))
    assert not isinstance(edits, str)
    changed = apply_edits(RECIPE, edits[file.source])
    assert 'sla "405b" {' in changed
    assert 'sla      = "405b"' in changed
    after = check_source(Source("t", changed))
    assert [d.code for d in after.diagnostics] == [d.code for d in checked.diagnostics]


def test_a_rename_that_would_clash_is_refused() -> None:
    file = parse(Source("t", "sla a { }\nsla b { }\nserve s { sla = a }"))[0]
    found = name_at(file, file.source.text.index("= a") + 2)
    assert found is not None
    assert rename(found.name, "b", (file,)) == "there is a sla named `b` already"
    assert rename(found.name, "", (file,)) == "a name has at least one character"
    assert str(rename(found.name, "two words", (file,))).startswith("a name must be ")


def test_cards_of_the_catalog_have_no_definition(checked: Checked) -> None:
    found = name_at(checked.file, RECIPE.index("rtx-5090\n") + 1)
    assert found is not None
    assert rename(found.name, "mine", (checked.file,)) == "`rtx-5090` is defined in none of these files"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("serve chat", "GPU memory 31.4 GiB"),
        ("max_num_seqs", "`chat` runs with 64"),
        ("gpu_memory_utilization", "memory.usable_gib"),
        ("throughput  >=", "performance.output_tokens_per_second"),
        ("rtx-5090\n", "1792 GB/s"),
        ("meta-llama/", "70.6 billion parameters"),
        ("pcie(", "whether cards read each other's memory"),
        ("llama-70b\n", "model llama-70b {"),
        ("sla agents", "the load, and the bounds"),
    ],
)
def test_hover_says_what_the_place_means(checked: Checked, word: str, says: str) -> None:
    found = hover(checked.file, checked.plan, RECIPE.index(word) + 1)
    assert found is not None
    assert says in found.text


def test_the_figures_behind_attributes_are_figures_of_a_plan(checked: Checked) -> None:
    """A name that no plan has would show nothing, in silence. Every attribute named is one of its block's."""
    assert checked.plan is not None
    known = figures_of(checked.plan.serves[0].chosen)
    blocks = {path[-1]: block for path, block in every_block() if path}
    for (word, attribute), names in FIGURES.items():
        assert blocks[word].attribute(attribute) is not None, (word, attribute)
        assert [name for name in names if name not in known] == []


def test_hover_over_a_flag_shows_its_row() -> None:
    text = 'serve a { engine vllm { args { "--max-num-seqs" = 3 } } }'
    found = hover(parse(Source("t", text))[0], None, text.index("--max") + 2)
    assert found is not None
    assert "**--max-num-seqs**: int" in found.text


def test_nothing_is_said_of_a_comment(checked: Checked) -> None:
    assert hover(checked.file, checked.plan, 3) is None


def test_hints_say_the_cut_and_what_auto_became() -> None:
    text = RECIPE.replace("parallel { tp = 4 }", "parallel { tp = 4, pp = auto, dp = auto }")
    checked = check_source(Source("t", text))
    shown = {text[: one.offset].rpartition("\n")[2].strip(): one.text for one in hints(checked.file, checked.plan)}
    assert checked.plan is not None
    budget = checked.plan.serves[0].chosen.memory
    assert budget is not None
    head = shown["serve chat"]
    assert head.startswith(" tp 4: KV ")
    assert f"holds {budget.max_concurrency.value:.1f} × 8K" in head
    assert shown["parallel { tp = 4, pp = auto"] == " → 1"
    assert shown["parallel { tp = 4, pp = auto, dp = auto"] == " → 1"


def test_actions_are_the_fixes_and_ignoring(checked: Checked) -> None:
    source, line = checked.source, RECIPE.index("max_num_seqs")
    found = actions(checked.diagnostics, source, Span(line, line))
    assert [one.title for one in found] == ["write `48` (check what it changes)", "ignore KC207 here"]
    ignored = apply_edits(RECIPE, found[1].edits)
    after = check_source(Source("t", ignored)).diagnostics
    assert [d.suppressed for d in after if d.code == "KC207"] == ["why this is fine"]


def test_all_safe_fixes_are_one_edit() -> None:
    text = RECIPE.replace("throughput  >=", "throughput  =").replace("p2p = off", "p2p = false")
    source = Source("t", text)
    edit = all_fixed(source, lambda new: check_source(Source("t", new)).diagnostics)
    assert edit is not None
    assert "throughput  >= 400" in apply_edits(text, (edit,))
    assert all_fixed(Source("t", RECIPE), lambda new: check_source(Source("t", new)).diagnostics) is None


@given(st.text('ab{}=\n "é𝄞', max_size=30), st.text('ab{}=\n "é𝄞', max_size=30))
def test_whole_gives_an_edit_that_makes_the_text(old: str, new: str) -> None:
    edit = whole(Source("t", old), new)
    assert (old if edit is None else old[: edit.span.start] + edit.text + old[edit.span.end :]) == new


def test_the_outline_is_nested(checked: Checked) -> None:
    entries = outline(checked.file)
    assert [(one.word, one.name) for one in entries][-1] == ("serve", "chat")
    assert [one.word for one in entries[-1].inner] == ["parallel", "engine", "router"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_place_of_a_broken_text_fails(data: st.DataObject) -> None:
    """Half a spec, a character put in anywhere, a cursor anywhere: every question has an answer."""
    cut = data.draw(st.integers(0, len(RECIPE)))
    put = data.draw(st.sampled_from(['"', "{", "}", "(", "]", "=", "#", "é", "\n", "--", "§", ""]))
    text = RECIPE[:cut] + put + (RECIPE[cut:] if data.draw(st.booleans()) else "")
    offset = data.draw(st.integers(max(0, cut - 3), min(len(text), cut + 3)))
    file = parse(Source("t", text))[0]
    cursor = cursor_at(text, offset)
    for one in complete(cursor, (file,)):
        assert 0 <= one.span.start <= offset <= one.span.end <= len(text) or one.kind == "unit"
    hover(file, None, offset)
    found = name_at(file, offset)
    if found is not None:
        rename(found.name, "new", (file,))
