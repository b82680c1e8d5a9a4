"""SARIF 2.1.0 (OASIS standard), as code scanning services read it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import quote

from kcluster.diagnostics import CODES, Diagnostic, Fix
from kcluster.render.places import as_json, explanation, fingerprints, region, url
from kcluster.source import Source, Span
from kcluster.version import VERSION

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_FINGERPRINT: Final = "kclusterFinding/v1"


def render(diagnostics: Sequence[Diagnostic], *, color: bool, width: int) -> str:
    """Every finding, suppressed ones with their reason."""
    return as_json(sarif_object(diagnostics))


def sarif_object(diagnostics: Sequence[Diagnostic]) -> dict[str, Any]:
    """The log: one run, with the rules that it mentions."""
    codes = sorted({found.code for found in diagnostics})
    run = {
        "tool": {"driver": {"name": "kcluster", "version": VERSION, "rules": [_rule(code) for code in codes]}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The folder that kcluster was run in."}}},
        "results": [_result(found, mark, codes.index(found.code)) for found, mark in fingerprints(diagnostics)],
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(code: str) -> dict[str, Any]:
    known = CODES[code]
    summary = known.summary[0].upper() + known.summary[1:] + "."
    page = url(code)
    rule: dict[str, Any] = {
        "id": code,
        "name": known.name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": summary},
        "help": {
            "text": f"{summary} `kcluster explain {code}` prints the page of this rule.",
            "markdown": f"{summary} `kcluster explain {code}` prints the page of this rule, [{page}]({page}).",
        },
        "defaultConfiguration": {"level": known.severity},
    }
    if "://" in page:
        rule["helpUri"] = page
    return rule


def _result(found: Diagnostic, fingerprint: str, rule: int) -> dict[str, Any]:
    more = explanation(found)
    result: dict[str, Any] = {
        "ruleId": found.code,
        "ruleIndex": rule,
        "level": found.severity,
        "message": {"text": f"{found.message}\n{more}" if more else found.message},
        "locations": [{"physicalLocation": _physical(found.source, found.span)}],
        "partialFingerprints": {_FINGERPRINT: fingerprint},
    }
    if found.labels:
        result["relatedLocations"] = [
            {
                "id": number,
                "physicalLocation": _physical(label.source or found.source, label.span),
                "message": {"text": label.text},
            }
            for number, label in enumerate(found.labels)
        ]
    fixes = [_fix(found.source, fix) for fix in found.fixes if fix.edits and fix.safety != "display"]
    if fixes:
        result["fixes"] = fixes
    if found.suppressed:
        result["suppressions"] = [{"kind": "inSource", "status": "accepted", "justification": found.suppressed}]
    return result


def _fix(source: Source, fix: Fix) -> dict[str, Any]:
    replacements = [
        {"deletedRegion": _region(source, edit.span), "insertedContent": {"text": edit.text}} for edit in fix.edits
    ]
    change = {"artifactLocation": _artifact(source), "replacements": replacements}
    return {"description": {"text": fix.message}, "artifactChanges": [change]}


def _physical(source: Source, span: Span) -> dict[str, Any]:
    return {"artifactLocation": _artifact(source), "region": _region(source, span)}


def _artifact(source: Source) -> dict[str, Any]:
    return {"uri": quote(source.path, errors="surrogateescape"), "uriBaseId": "SRCROOT"}


def _region(source: Source, span: Span) -> dict[str, Any]:
    line, column, end_line, end_column = region(source, span)
    return {"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column}
