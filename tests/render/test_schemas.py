"""What machines read is held against what was published for it: SARIF's schema, JUnit's, GitLab's description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import xmlschema

from kcluster.diagnostics import Diagnostic
from kcluster.pipeline import decode_and_check
from kcluster.render import render

from ..front.inprocess import MISSPELT, SOUND, WARNED, Cli
from .edges import EDGES
from .test_formats import FOUND

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "tests" / "data" / "schemas"
SPECS = sorted((ROOT / "specs").rglob("*.kcluster"))

SARIF = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "sarif-2.1.0.json").read_text("utf-8")))
JUNIT = xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")
GITLAB = jsonschema.Draft202012Validator(
    {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["description", "check_name", "fingerprint", "severity", "location"],
            "additionalProperties": False,
            "properties": {
                "description": {"type": "string", "minLength": 1},
                "check_name": {"type": "string", "minLength": 1},
                "fingerprint": {"type": "string", "minLength": 1},
                "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
                "location": {
                    "type": "object",
                    "required": ["path", "lines"],
                    "additionalProperties": False,
                    "properties": {
                        "path": {"type": "string", "pattern": "^(?!\\./|/)."},
                        "lines": {
                            "type": "object",
                            "required": ["begin"],
                            "additionalProperties": False,
                            "properties": {
                                "begin": {"type": "integer", "minimum": 1},
                                "end": {"type": "integer", "minimum": 1},
                            },
                        },
                    },
                },
            },
        },
    }
)
"""Written out from GitLab's description of a code quality report, which has no schema: paths relative and without `./`."""


def valid(format_: str, text: str) -> Any:
    """What a text of that format holds, once it was held against its schema."""
    if format_ == "junit":
        errors = [f"{one.path}: {one.reason}" for one in JUNIT.iter_errors(text)]
        assert not errors, errors
        return text
    validator = SARIF if format_ == "sarif" else GITLAB
    found = json.loads(text)
    errors = [f"{one.json_path}: {one.message}" for one in validator.iter_errors(found)]
    assert not errors, errors
    return found


def references_hold(log: dict[str, Any]) -> None:
    """What no schema says: indices lead to their rules, base identifiers are declared, places lie the right way round."""
    (run,) = log["runs"]
    rules = run["tool"]["driver"]["rules"]
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        for place in (*result["locations"], *result.get("relatedLocations", ())):
            physical = place["physicalLocation"]
            assert physical["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
            region = physical["region"]
            start, end = (region["startLine"], region["startColumn"]), (region["endLine"], region["endColumn"])
            assert start <= end
        marks = result["partialFingerprints"]
        assert all(isinstance(mark, str) and mark for mark in marks.values())


@pytest.fixture(scope="module")
def every() -> tuple[Diagnostic, ...]:
    """The findings of all real specs, as one run over many files gives them."""
    return tuple(
        one
        for path in SPECS
        for one in decode_and_check(
            path.read_bytes(), path.relative_to(ROOT).as_posix(), folder=path.parent
        ).diagnostics
    )


@pytest.mark.parametrize("format_", ["sarif", "junit", "gitlab"])
def test_findings_of_all_specs(format_: str, every: tuple[Diagnostic, ...]) -> None:
    assert len({one.source.path for one in every}) > 4 and len(every) > 10
    found = valid(format_, render(format_, every))
    if format_ == "sarif":
        references_hold(found)
        assert len(found["runs"][0]["results"]) == len(every)


@pytest.mark.parametrize("format_", ["sarif", "junit", "gitlab"])
@pytest.mark.parametrize(
    "found", [(), FOUND, [one for edge in EDGES.values() for one in edge]], ids=["none", "all parts", "edges"]
)
def test_findings_made_by_hand(format_: str, found: list[Diagnostic]) -> None:
    log = valid(format_, render(format_, found))
    if format_ == "sarif":
        references_hold(log)


def test_the_schemas_refuse_what_is_wrong() -> None:
    log = json.loads(render("sarif", FOUND))
    log["runs"][0]["results"][0]["level"] = "fatal"
    log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startLine"] = 0
    assert len(list(SARIF.iter_errors(log))) == 2
    assert list(
        JUNIT.iter_errors(render("junit", FOUND).replace("<failure", "<failed").replace("</failure", "</failed"))
    )
    issues = json.loads(render("gitlab", FOUND))
    issues[0]["location"]["path"] = "./a"
    assert len(list(GITLAB.iter_errors(issues))) == 1


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    (tmp_path / "kcluster.toml").write_text("")
    return Cli(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("format_", ["sarif", "junit", "gitlab"])
def test_runs_with_suppressed_and_known_findings(cli: Cli, format_: str) -> None:
    suppressed = WARNED.replace("sla team", "# kcluster: ignore[KC203] the queue is meant\nsla team")
    cli.write(sound=SOUND, misspelt=MISSPELT, warned=WARNED, suppressed=suppressed)
    assert cli.run("lint", "--format", format_, "--no-cache") == 1
    first = valid(format_, cli.out)
    if format_ == "sarif":
        references_hold(first)
        paths = {
            one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in first["runs"][0]["results"]
        }
        assert {"misspelt.kcluster", "warned.kcluster", "suppressed.kcluster"} <= paths
        assert sum("suppressions" in one for one in first["runs"][0]["results"]) == 1
    cli.run("lint", "--baseline", "known.json", "--write-baseline", "--no-cache")
    assert cli.run("lint", "--baseline", "known.json", "--format", format_, "--no-cache") == 0
    second = valid(format_, cli.out)
    if format_ == "sarif":
        # What is known is not reported again; what is suppressed stays, marked.
        assert all("suppressions" in one for one in second["runs"][0]["results"])
        assert len(second["runs"][0]["results"]) == 1
    elif format_ == "gitlab":
        assert second == []
