"""The page of a plan: whole, self-contained, of the plan's own figures, and deaf to what a spec would make it do."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import check_source
from kcluster.planner.case import case_of
from kcluster.planner.judge import Judge
from kcluster.planner.remedies import sequences_of
from kcluster.planner.types import Plan
from kcluster.render.plan_html import Planned, plan_html
from kcluster.render.plan_html_axes import Scale, nice_step, scale
from kcluster.render.plan_html_markup import element, number
from kcluster.render.plan_html_plots import kv_curves, marks
from kcluster.render.plan_words import cut_words
from kcluster.source import Source, Span
from kcluster.units import human
from tests.planner.planner_cases import LLAMA_70B, LLAMA_405B, planned

ROOT = Path(__file__).parent.parent.parent
SPEC = f"""
model m {{ id = "{LLAMA_405B}", weights = fp8 }}
hardware h {{ nodes = 2, gpus = 4 * rtx-pro-6000, network = roce(100GbE), hosts = ["10.0.0.1", "10.0.0.2"] }}
sla s {{ concurrency = 8, context = 16K, prompt = 4K, completion = 1K, tokens_per_second >= 5, itl <= 300ms, throughput >= 30 }}
serve big {{ }}
"""
VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements in order with their attributes, and the text of each; a tag closed out of turn fails."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.texts.append((self.open[-1] if self.open else "", data))

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.elements if name == tag)

    def text(self) -> str:
        return " ".join(text for tag, text in self.texts if tag not in ("style", "script"))


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(SPEC)


@pytest.fixture(scope="module")
def page(plan: Plan) -> str:
    found = Diagnostic("KC303", "two cards are idle", plan.spec.source, Span(1, 6), "warning", help=("use them",))
    return plan_html([Planned("specs/big.kcluster", plan, (found,))])


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>\n<html lang=")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.partition("<body>")[2])
    assert "http" not in page.replace("http-equiv", "")
    for tag, attributes in parsed.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "image", "use"}, tag
        assert not {name for name in attributes if name in ("src", "srcset", "style") or name.startswith("on")}, (
            attributes
        )
        assert attributes.get("href", "#") == "#" or str(attributes["href"]).startswith("#")
    policies = [attributes["content"] for tag, attributes in parsed.elements if "http-equiv" in attributes]
    assert len(policies) == 1 and str(policies[0]).startswith("default-src 'none'; style-src 'sha256-")
    identifiers = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    assert "prefers-color-scheme: dark" in page


def test_every_plot_has_a_title_a_description_and_a_table(page: str) -> None:
    parsed = Page(page)
    plots = [attributes for tag, attributes in parsed.elements if tag == "svg"]
    identifiers = {attributes["id"] for _, attributes in parsed.elements if "id" in attributes}
    assert len(plots) == 5  # the field, memory, its stages, a token's time, the KV cache
    for attributes in plots:
        assert attributes["role"] == "img"
        assert set(str(attributes["aria-labelledby"]).split()) <= identifiers
    assert parsed.count("details") == 3 and parsed.count("caption") == parsed.count("table")
    for name in ("Memory of the fullest GPU", "Time of a token by cause", "Requests held at once by length"):
        assert name in parsed.text()


def test_every_candidate_is_there_with_its_reason(plan: Plan, page: str) -> None:
    (serve,) = plan.serves
    parsed = Page(page)
    text = parsed.text()
    for one in serve.alternatives:
        assert cut_words(one.candidate) in text
        assert one.because in text and one.code in text
    drawn = [str(attributes["class"]) for tag, attributes in parsed.elements if tag == "g" and "class" in attributes]
    timed = [mark for mark in marks(serve) if mark.candidate.performance is not None]
    for kind in ("chosen", "close", "rejected"):
        assert drawn.count(f"mark {kind}") == sum(1 for mark in timed if mark.kind == kind)
    assert drawn.count("mark chosen") == 1 and drawn.count("mark rejected") >= 3
    tips = [str(attributes["data-tip"]) for _, attributes in parsed.elements if "data-tip" in attributes]
    assert any("KC401" in tip and "all-reduces" in tip for tip in tips)


def test_figures_are_those_of_the_plan(plan: Plan, page: str) -> None:
    (serve,) = plan.serves
    text = Page(page).text()
    timed, budget, talk = serve.chosen.performance, serve.chosen.memory, serve.chosen.communication
    assert timed and budget and talk
    for figure in (timed.throughput, timed.itl, timed.ttft, budget.weights, budget.kv_cache, budget.activation):
        assert human(figure.value, figure.unit) in text
    for _, part in timed.step.parts:
        assert human(part.value, "s") in text
    for name, load, able in talk.links:
        assert name in text and human(load.value, "bytes/s") in text and human(able.value, "bytes/s") in text
    for verdict in serve.chosen.verdicts:
        assert verdict.bound.name in text
    assert "10.0.0.2 [0, 1, 2, 3]" in text
    assert "two cards are idle" in text and "help: use them" in text


def test_curves_ask_the_planner_and_fall_with_length(plan: Plan) -> None:
    (serve,) = plan.serves
    bf16, fp8 = kv_curves(serve)
    judge = Judge(case_of(serve.serve))
    for curve in (bf16, fp8):
        assert curve.points[0][0] == 512 and curve.points[-1][0] == serve.chosen.limits.max_model_len
        values = [held.value for _, held in curve.points]
        assert values == sorted(values, reverse=True)
        for length, held in curve.points:
            asked = sequences_of(judge, curve.candidate, length)
            assert asked is not None and held.value == asked.value
    # half the bytes hold twice the tokens, less what differs in the engine's own share
    assert fp8.points[-1][1].value == pytest.approx(2 * bf16.points[-1][1].value, rel=0.05)


def test_the_same_plan_gives_the_same_page(plan: Plan, page: str) -> None:
    found = Diagnostic("KC303", "two cards are idle", plan.spec.source, Span(1, 6), "warning", help=("use them",))
    assert plan_html([Planned("specs/big.kcluster", planned(SPEC), (found,))]) == page


HOSTILE = (
    "<script>alert(1)</script>",
    "'\" onmouseover='alert(1)",
    "</title></style></svg><img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp; ${x} {{y}}",
    "\u202egnp.exe",
    "]]><!--",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_text(plan: Plan, text: str) -> None:
    source = Source(f"specs/{text}.kcluster", "model m {}")
    found = Diagnostic(
        "KC101", f"no such {text}", source, Span(0, 5), "error", notes=(text,), help=(text,), suppressed=text
    )
    clean = Page(
        plan_html(
            [Planned("a", plan, (Diagnostic("KC101", "x", source, Span(0, 5), "error", notes=("x",), help=("x",)),))]
        )
    )
    page = Page(plan_html([Planned(text, plan, (found,))]))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in clean.elements]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    shown = text.replace("\u202e", "<U+202E>")
    assert f"no such {shown}" in page.text()


def test_hostile_text_of_a_spec_is_text() -> None:
    bad = '</h2><script>alert(1)</script>"'
    spec = SPEC.replace('"10.0.0.1"', f'"{bad[:-1]}"').replace(
        f'id = "{LLAMA_405B}"', f'id = "{LLAMA_405B}", checkpoint = "<img src=x>"'
    )
    checked = check_source(Source("x.kcluster", spec))
    page = Page(plan_html([Planned("x", checked.plan, checked.diagnostics)]))
    assert page.count("script") == 1 and page.count("img") == 0


def test_what_does_not_fit_and_what_has_no_plan() -> None:
    tight = planned(
        f'model m {{ id = "{LLAMA_70B}", weights = bf16 }}\nhardware h {{ gpus = 1 * rtx-5090 }}\nserve x {{ }}'
    )
    page = Page(plan_html([Planned("tight", tight, ()), Planned("none", None, ())]))
    assert "does not start" in page.text() and "There is no plan" in page.text()
    assert page.count("svg") >= 1
    assert not re.search(r"\b(nan|inf)\b", page.text().lower())


def test_ticks_are_round_and_inside() -> None:
    assert [nice_step(span) for span in (1, 9, 47, 103, 347)] == [0.2, 2, 10, 20, 100]
    linear = scale([3.0, 40.0], 0, 100)
    assert not linear.log and linear.low == 0 and linear.high >= 40 and linear.ticks()[0] == 0
    assert linear.at(linear.high) == 100
    wide = scale([0.5, 3000.0], 0, 100)
    assert wide.log and all(wide.low <= tick <= wide.high for tick in wide.ticks())
    assert Scale(512, 16384, 0, 100, True, 2).ticks() == (512, 1024, 2048, 4096, 8192, 16384)
    # log2(2048 / 512) = 2 of log2(16384 / 512) = 5 doublings
    assert Scale(512, 16384, 0, 100, True, 2).at(2048) == pytest.approx(40)
    assert scale([0.0, float("inf")], 0, 1).high > 0


def test_elements_escape_what_is_no_markup() -> None:
    assert element("td", "<b>", data_tip='"&') == '<td data-tip="&quot;&amp;">&lt;b&gt;</td>'
    assert element("td", element("b", "x"), "<") == "<td><b>x</b>&lt;</td>"
    assert (number(1.0), number(-0.001), number(2.346)) == ("1", "0", "2.35")


def test_the_command_writes_the_page() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kcluster", "plan", "--format", "html", "specs/recipe-a.kcluster", "specs/two-boxes.kcluster"],
        cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False, env={"PYTHONPATH": str(ROOT / "compiler")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    parsed = Page(done.stdout)
    links = [attributes["href"] for tag, attributes in parsed.elements if tag == "a"]
    articles = [attributes["id"] for tag, attributes in parsed.elements if tag == "article"]
    assert links == [f"#{name}" for name in articles] and len(articles) == 2
