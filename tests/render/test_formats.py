"""The formats for machines, each held against what its readers expect."""

from __future__ import annotations

import json
import re
from typing import Any
from xml.etree import ElementTree

import jsonschema
import pytest

from kcluster.diagnostics import CODES, Diagnostic, Edit, Fix, Label
from kcluster.render import FORMATS, render
from kcluster.render.places import fingerprints, url
from kcluster.source import Source, Span

from .building import at, finding

A = Source("specs/a b.kcluster", 'serve x {\n  name = "é😀", tp = 3\n  pp = 2\n}\n')
B = Source("specs/base.kcluster", "gpu x {\n  memory = 96GB\n}\n")

FOUND = [
    finding(
        A,
        at(A, "tp = 3"),
        "3 does not divide 64",
        Label(at(A, "pp = 2"), "two stages"),
        Label(at(B, "96GB"), "each, 100 % used", B),
        code="KC301",
        message="tp does not divide the heads: 64, 3",
        notes=("first", "second"),
        help=("tp = 2", "tp = 4"),
        fixes=(Fix("write 4", (Edit(Span(at(A, "3\n").start, at(A, "3\n").start + 1), "4"),), "unsafe"),),
        figure="parallel.tp",
    ),
    finding(A, Span(at(A, "serve").start, at(A, "}").end), code="KC203", severity="warning", message="tight"),
    finding(B, Span(len(B.text), len(B.text)), code="KC706", severity="note", message="unwatched"),
    finding(A, at(A, "pp = 2"), code="KC308", severity="note", message="more than needed", suppressed="we know"),
]


def test_every_format_takes_everything_and_nothing() -> None:
    for name in FORMATS:
        assert render(name, FOUND)
        assert render(name, FOUND) == render(name, FOUND, color=False, width=100)
        render(name, ())


@pytest.mark.parametrize("name", ["json", "sarif", "github", "gitlab", "junit"])
def test_formats_for_machines_know_no_terminal(name: str) -> None:
    assert render(name, FOUND, color=True, width=40) == render(name, FOUND)


def test_concise() -> None:
    assert render("concise", FOUND) == (
        "specs/a b.kcluster:2:16: error[KC301] tp does not divide the heads: 64, 3\n"
        "specs/a b.kcluster:1:1: warning[KC203] tight\n"
        "specs/base.kcluster:4:1: note[KC706] unwatched\n"
    )
    assert render("concise", [finding(A, at(A, "tp"), message="two\nlines\x1b[2J")]) == (
        "specs/a b.kcluster:2:16: error[KC001] two lines<U+001B>[2J\n"
    )
    assert "\x1b[1;31merror[KC301]\x1b[0m" in render("concise", FOUND, color=True)


def test_json() -> None:
    first, second, third, last = json.loads(render("json", FOUND))
    assert first == {
        "code": "KC301",
        "name": "heads-not-divisible",
        "severity": "error",
        "message": "tp does not divide the heads: 64, 3",
        "path": "specs/a b.kcluster",
        "span": {"start": {"line": 2, "column": 16}, "end": {"line": 2, "column": 22}},
        "label": "3 does not divide 64",
        "labels": [
            {
                "path": "specs/a b.kcluster",
                "span": {"start": {"line": 3, "column": 3}, "end": {"line": 3, "column": 9}},
                "text": "two stages",
            },
            {
                "path": "specs/base.kcluster",
                "span": {"start": {"line": 2, "column": 12}, "end": {"line": 2, "column": 16}},
                "text": "each, 100 % used",
            },
        ],
        "notes": ["first", "second"],
        "help": "tp = 2\ntp = 4",
        "fixes": [
            {
                "safety": "unsafe",
                "message": "write 4",
                "edits": [
                    {"span": {"start": {"line": 2, "column": 21}, "end": {"line": 2, "column": 22}}, "text": "4"}
                ],
            }
        ],
        "figure": "parallel.tp",
        "url": "docs/rules/KC301.md",
        "suppressed": None,
    }
    assert second["span"] == {"start": {"line": 1, "column": 1}, "end": {"line": 4, "column": 2}}
    assert (second["help"], second["notes"], second["fixes"]) == (None, [], [])
    assert third["span"]["start"] == {"line": 4, "column": 1}
    assert last["suppressed"] == "we know"
    assert render("json", ()) == "[]\n"


def test_json_against_its_schema() -> None:
    from importlib.resources import files

    schema = json.loads((files("kcluster") / "schemas" / "lint.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(render("json", FOUND)))


def closed(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


MESSAGE = closed({"text": {"type": "string", "minLength": 1}, "markdown": {"type": "string"}}, "text")
REGION = closed(
    {key: {"type": "integer", "minimum": 1} for key in ("startLine", "startColumn", "endLine", "endColumn")},
    "startLine",
)
ARTIFACT = closed({"uri": {"type": "string", "pattern": r"^[^\s\\]+$"}, "uriBaseId": {"const": "SRCROOT"}}, "uri")
PHYSICAL = closed({"artifactLocation": ARTIFACT, "region": REGION}, "artifactLocation", "region")
LEVEL = {"enum": ["none", "note", "warning", "error"]}
SARIF = closed(
    {
        "$schema": {"type": "string"},
        "version": {"const": "2.1.0"},
        "runs": {
            "type": "array",
            "items": closed(
                {
                    "tool": closed(
                        {
                            "driver": closed(
                                {
                                    "name": {"type": "string"},
                                    "version": {"type": "string"},
                                    "rules": {
                                        "type": "array",
                                        "uniqueItems": True,
                                        "items": closed(
                                            {
                                                "id": {"type": "string"},
                                                "name": {"type": "string"},
                                                "shortDescription": MESSAGE,
                                                "fullDescription": MESSAGE,
                                                "help": MESSAGE,
                                                "helpUri": {"type": "string", "pattern": "^https?://"},
                                                "defaultConfiguration": closed({"level": LEVEL}),
                                            },
                                            "id",
                                        ),
                                    },
                                },
                                "name",
                            )
                        },
                        "driver",
                    ),
                    "columnKind": {"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
                    "originalUriBaseIds": {"type": "object"},
                    "results": {
                        "type": "array",
                        "items": closed(
                            {
                                "ruleId": {"type": "string"},
                                "ruleIndex": {"type": "integer", "minimum": 0},
                                "level": LEVEL,
                                "message": MESSAGE,
                                "locations": {"type": "array", "items": closed({"physicalLocation": PHYSICAL})},
                                "relatedLocations": {
                                    "type": "array",
                                    "items": closed(
                                        {
                                            "id": {"type": "integer", "minimum": 0},
                                            "physicalLocation": PHYSICAL,
                                            "message": MESSAGE,
                                        }
                                    ),
                                },
                                "partialFingerprints": {"type": "object", "additionalProperties": {"type": "string"}},
                                "fixes": {
                                    "type": "array",
                                    "items": closed(
                                        {
                                            "description": MESSAGE,
                                            "artifactChanges": {
                                                "type": "array",
                                                "minItems": 1,
                                                "items": closed(
                                                    {
                                                        "artifactLocation": ARTIFACT,
                                                        "replacements": {
                                                            "type": "array",
                                                            "minItems": 1,
                                                            "items": closed(
                                                                {
                                                                    "deletedRegion": REGION,
                                                                    "insertedContent": closed(
                                                                        {"text": {"type": "string"}}
                                                                    ),
                                                                },
                                                                "deletedRegion",
                                                            ),
                                                        },
                                                    },
                                                    "artifactLocation",
                                                    "replacements",
                                                ),
                                            },
                                        },
                                        "artifactChanges",
                                    ),
                                },
                                "suppressions": {
                                    "type": "array",
                                    "items": closed(
                                        {
                                            "kind": {"enum": ["inSource", "external"]},
                                            "status": {"enum": ["accepted", "underReview", "rejected"]},
                                            "justification": {"type": "string"},
                                        },
                                        "kind",
                                    ),
                                },
                            },
                            "message",
                        ),
                    },
                },
                "tool",
            ),
        },
    },
    "version",
    "runs",
)
"""What of SARIF 2.1.0 is used here, written out from the standard (sections 3.13 to 3.58); anything else fails."""


def test_sarif_against_the_standard() -> None:
    for found in (FOUND, []):
        jsonschema.Draft202012Validator(SARIF).validate(json.loads(render("sarif", found)))


def test_sarif() -> None:
    (run,) = json.loads(render("sarif", FOUND))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == ["KC203", "KC301", "KC308", "KC706"]
    assert run["columnKind"] == "unicodeCodePoints"
    first, second, _, last = run["results"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert rules[result["ruleIndex"]]["name"] == CODES[result["ruleId"]].name
        assert "kcluster explain" in rules[result["ruleIndex"]]["help"]["text"]
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "specs/a%20b.kcluster"
    assert place["region"] == {"startLine": 2, "startColumn": 16, "endLine": 2, "endColumn": 22}
    assert first["message"]["text"].startswith("tp does not divide the heads: 64, 3\n3 does not divide 64\n")
    assert [related["message"]["text"] for related in first["relatedLocations"]] == ["two stages", "each, 100 % used"]
    assert first["relatedLocations"][1]["physicalLocation"]["artifactLocation"]["uri"] == "specs/base.kcluster"
    (change,) = first["fixes"][0]["artifactChanges"]
    assert change["replacements"] == [
        {
            "deletedRegion": {"startLine": 2, "startColumn": 21, "endLine": 2, "endColumn": 22},
            "insertedContent": {"text": "4"},
        }
    ]
    assert "fixes" not in second
    assert "suppressions" not in first
    assert last["suppressions"] == [{"kind": "inSource", "status": "accepted", "justification": "we know"}]


def test_fingerprints_survive_other_lines_and_figures() -> None:
    def mark(text: str, message: str) -> list[str]:
        source = Source("s", text)
        spans = [Span(match.start(), match.end()) for match in re.finditer("tp = 3", text)]
        return [
            one for _, one in fingerprints([finding(source, span, code="KC301", message=message) for span in spans])
        ]

    before = mark("a {\n  tp = 3\n}\n", "needs 40 GiB")
    assert before == mark("# new\n\na {\n    tp = 3\n}\n", "needs 41 GiB")
    twice = mark("  tp = 3\n  tp = 3\n", "")
    assert twice[0] == before[0]
    assert len(set(twice)) == 2
    assert before != mark("a {\n  tp = 3, pp = 1\n}\n", "")


def test_github() -> None:
    lines = render("github", FOUND).splitlines()
    assert lines[0] == (
        "::error file=specs/a b.kcluster,line=2,endLine=2,col=16,endColumn=22,title=KC301 heads-not-divisible"
        "::tp does not divide the heads: 64, 3%0A3 does not divide 64%0Aspecs/a b.kcluster:3:3: two stages"
        "%0Aspecs/base.kcluster:2:12: each, 100 %25 used%0Afirst%0Asecond%0Ahelp: tp = 2%0Ahelp: tp = 4"
    )
    # columns only where they lie on one line
    assert lines[1] == "::warning file=specs/a b.kcluster,line=1,endLine=4,title=KC203 peak-does-not-fit::tight"
    assert lines[2].startswith("::notice file=specs/base.kcluster,line=4,")
    assert len(lines) == 3
    odd = Source("a,b:c%.kcluster", "x\n")
    assert render("github", [finding(odd, Span(0, 1), message="a\r\nb")]) == (
        "::error file=a%2Cb%3Ac%25.kcluster,line=1,endLine=1,col=1,endColumn=2,title=KC001 unexpected-token::a%0Ab\n"
    )


def test_gitlab() -> None:
    issues = json.loads(render("gitlab", FOUND))
    assert [(issue["check_name"], issue["severity"], issue["location"]) for issue in issues] == [
        ("KC301", "critical", {"path": "specs/a b.kcluster", "lines": {"begin": 2, "end": 2}}),
        ("KC203", "major", {"path": "specs/a b.kcluster", "lines": {"begin": 1, "end": 4}}),
        ("KC706", "info", {"path": "specs/base.kcluster", "lines": {"begin": 4, "end": 4}}),
    ]
    assert len({issue["fingerprint"] for issue in issues}) == 3
    assert json.loads(render("gitlab", ())) == []


def test_junit() -> None:
    tree = ElementTree.fromstring(render("junit", FOUND))
    (suite,) = tree
    for node in (tree, suite):
        assert {key: node.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
            "tests": "4",
            "failures": "1",
            "errors": "0",
            # Readers know this one on suites alone.
            "skipped": "1" if node is suite else None,
        }
    first, second, _, last = suite
    assert first.get("classname") == "specs/a b.kcluster"
    assert first.get("name") == "KC301 at 2:16"
    failure = first.find("failure")
    assert failure is not None
    assert failure.get("message") == "tp does not divide the heads: 64, 3"
    assert failure.text is not None
    assert failure.text.startswith("specs/a b.kcluster:2:16: error[KC301] tp does not")
    assert second.find("failure") is None
    assert second.find("system-out") is not None
    skipped = last.find("skipped")
    assert skipped is not None
    assert skipped.get("message") == "we know"
    empty = ElementTree.fromstring(render("junit", ()))
    assert empty.get("tests") == "1"
    assert [node.tag for node in empty[0]] == ["testcase"]


def test_nothing_that_a_spec_holds_breaks_a_format() -> None:
    source = Source('p"<&>]]>\x00.kcluster', 'x = "\x00\x1b]]><&\u202e\ud800\ufffe"\n')
    hostile: list[Diagnostic] = [
        finding(
            source,
            at(source, "x"),
            source.text,
            Label(at(source, "="), source.text),
            message=source.text,
            notes=(source.text,),
        )
    ]
    ElementTree.fromstring(render("junit", hostile))
    for name in ("json", "sarif", "gitlab"):
        text = render(name, hostile)
        json.loads(text)
        text.encode("utf-8")
    assert render("github", hostile).count("\n") == 1
    for name in ("pretty", "concise", "junit"):
        assert all(character.isprintable() or character == "\n" for character in render(name, hostile))


def test_the_address_of_a_page() -> None:
    assert url("KC202") == "docs/rules/KC202.md"
