"""Imports: blocks of other files, and what becomes of files that are not there, not inside, or in a circle."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kcluster.source import Source
from kcluster.spec.resolve import resolve
from kcluster.syntax.parser import parse
from tests.spec.resolving import SHORT, Resolved, resolved

MODEL, HARDWARE, SLA = SHORT.splitlines(keepends=True)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def main(root: Path, text: str, folder: str = "") -> Resolved:
    return resolved(text, folder=root / folder, path=f"{folder}/main.kcluster".lstrip("/"))


def test_blocks_of_other_files(tmp_path: Path) -> None:
    write(tmp_path, {"shared/models.kcluster": MODEL, "hardware.kcluster": HARDWARE})
    found = main(tmp_path, f'import "shared/models.kcluster"\nimport "./hardware.kcluster"\n{SLA}')
    assert found.found == (), found.report()
    assert found.spec is not None
    assert [source.path for source in found.spec.sources] == [
        "main.kcluster",
        "shared/models.kcluster",
        "hardware.kcluster",
    ]
    assert found.serve.implied
    assert found.serve.model.source.path == "shared/models.kcluster"
    assert found.serve.model.id.origin.source.path == "shared/models.kcluster"


def test_paths_start_from_the_importing_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            ".git/x": "",
            "specs/x": "",
            "a/b/one.kcluster": 'import "../two.kcluster"\n' + MODEL,
            "a/two.kcluster": HARDWARE,
        },
    )
    found = main(tmp_path, f'import "../a/b/one.kcluster"\n{SLA}', folder="specs")
    assert found.found == (), found.report()
    assert found.spec is not None
    assert [source.path for source in found.spec.sources] == [
        "specs/main.kcluster",
        "a/b/one.kcluster",
        "a/two.kcluster",
    ]


def test_findings_name_their_file(tmp_path: Path) -> None:
    write(tmp_path, {"lib.kcluster": MODEL.replace("id =", "idd =") + "hardware { { }\n"})
    found = main(tmp_path, 'import "lib.kcluster"\n' + HARDWARE + SLA)
    assert {finding.source.path for finding in found.found} == {"lib.kcluster"}
    assert "KC102" in found.codes and any(code < "KC100" for code in found.codes), found.report()


def test_a_file_imported_twice_counts_once(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "one.kcluster": 'import "base.kcluster"\n' + MODEL,
            "two.kcluster": 'import "./base.kcluster"\n' + HARDWARE,
            "base.kcluster": SLA,
        },
    )
    found = main(tmp_path, 'import "one.kcluster"\nimport "two.kcluster"\nimport "one.kcluster"\n')
    assert found.found == (), found.report()
    assert found.serve.sla is not None


def test_same_name_in_two_files(tmp_path: Path) -> None:
    write(tmp_path, {"lib.kcluster": MODEL})
    found = main(tmp_path, f'import "lib.kcluster"\n{SHORT}')
    only = found.only()
    assert only.code == "KC104" and only.source.path == "main.kcluster"
    (label,) = only.labels
    assert label.source is not None and label.source.path == "lib.kcluster"


def test_unused_blocks_of_imported_files_are_no_finding(tmp_path: Path) -> None:
    write(tmp_path, {"lib.kcluster": MODEL + MODEL.replace("llama {", "other {")})
    text = f'import "lib.kcluster"\n{HARDWARE}{SLA}serve c {{ model = llama, hardware = box, sla = team }}\n'
    assert main(tmp_path, text).found == ()


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("missing.kcluster", "does not exist"),
        ("libb.kcluster", "does not exist"),
        ("folder", "folder"),
        ("lib.kcluster/x", "does not exist"),
        ("../outside.kcluster", "out of the project"),
        ("/etc/passwd", "out of the project"),
        ("link.kcluster", "out of the project"),
        ("linked/outside.kcluster", "out of the project"),
        ("fifo", "regular"),
        ("", "must be"),
        ("\\u202ex", "invisible"),
        ("big.kcluster", "larger"),
        ("x" * 2000, "characters"),
        ("x" * 300, "cannot be read"),
    ],
)
def test_files_that_cannot_be_had(tmp_path: Path, path: str, words: str) -> None:
    root = tmp_path / "project"
    write(
        tmp_path,
        {"outside.kcluster": MODEL, "project/kcluster.toml": "", "project/lib.kcluster": MODEL, "project/folder/x": ""},
    )
    (root / "link.kcluster").symlink_to(tmp_path / "outside.kcluster")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "fifo")
    (root / "big.kcluster").write_bytes(b"#" * (2**20 + 1))
    found = main(root, f'import "{path}"\n{SHORT}')
    only = found.only()
    assert (only.code, words in only.message) == ("KC109", True), found.report()
    assert found.text(only) == f'"{path}"'
    assert len(found.spec.serves if found.spec else ()) == 1
    if path == "libb.kcluster":
        assert "`lib.kcluster`" in only.help[0]


def test_circles(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "main.kcluster": "",
            "a.kcluster": 'import "b.kcluster"\n' + MODEL,
            "b.kcluster": 'import "a.kcluster"\n' + HARDWARE,
            "self.kcluster": 'import "self.kcluster"\n',
        },
    )
    found = main(tmp_path, f'import "a.kcluster"\n{SLA}')
    only = found.only()
    assert only.code == "KC109" and only.source.path == "b.kcluster"
    assert "a.kcluster → b.kcluster → a.kcluster" in only.message
    assert found.serve.implied
    assert "imports itself" in main(tmp_path, f'import "self.kcluster"\n{SHORT}').only().message
    assert "imports itself" in main(tmp_path, f'import "main.kcluster"\n{SHORT}').only().message


def test_deep_chains_end(tmp_path: Path) -> None:
    write(tmp_path, {f"{n}.kcluster": f'import "{n + 1}.kcluster"\n' for n in range(60)})
    found = main(tmp_path, f'import "0.kcluster"\n{SHORT}')
    assert found.only().code == "KC007"
    write(tmp_path, {f"w/{n}.kcluster": "" for n in range(300)})
    wide = "".join(f'import "w/{n}.kcluster"\n' for n in range(300))
    assert set(main(tmp_path, wide + SHORT).codes) == {"KC007"}


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "lib.kcluster").write_bytes(b"model x {\xff\xfe}\n")
    assert "KC004" in main(tmp_path, f'import "lib.kcluster"\n{SHORT}').codes


def test_given_reader_in_place_of_the_disk() -> None:
    files = {"lib/models.kcluster": MODEL.encode(), "lib/base.kcluster": HARDWARE.encode()}
    text = f'import "lib/models.kcluster"\nimport "lib/base.kcluster"\n{SLA}'
    file, _ = parse(Source("main.kcluster", text))
    spec, found = resolve(file, read=files.__getitem__)
    assert found == () and spec is not None and len(spec.serves) == 1
    _, found = resolve(parse(Source("main.kcluster", 'import "../x.kcluster"\n' + SHORT))[0], read=files.__getitem__)
    assert [finding.code for finding in found] == ["KC109"]
    _, found = resolve(parse(Source("main.kcluster", 'import "y.kcluster"\n' + SHORT))[0], read=files.__getitem__)
    assert [finding.code for finding in found] == ["KC109"]


def test_root_can_be_said(tmp_path: Path) -> None:
    write(tmp_path, {"top.kcluster": MODEL, "specs/x": ""})
    text = 'import "../top.kcluster"\n' + HARDWARE + SLA
    assert main(tmp_path, text, folder="specs").codes == ["KC109"]
    assert resolved(text, folder=tmp_path / "specs", path="specs/main.kcluster", root=tmp_path).found == ()
