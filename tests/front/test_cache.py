"""What is kept from one run to the next gives the same bytes, is given up when anything under it changes, and harms nobody."""

from __future__ import annotations

import hashlib
import os
import runpy
import shutil
import sys
from pathlib import Path

import pytest

from kcluster import cache as cache_module
from kcluster import reads
from kcluster.cache import Cache, folder_of, installation
from kcluster.cli.common import Input
from kcluster.cli.linting import judge, source_of
from kcluster.diagnostics.stored import dump, load
from kcluster.pipeline import decode_and_check
from kcluster.reads import Reads, digest, nearest_root, specs_below, still_true
from kcluster.render import FORMATS

from .inprocess import MISSPELT, SOUND, SPECS, Cli, command

CONFIG = '{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072, "tie_word_embeddings": false, "torch_dtype": "bfloat16"}'  # fmt: skip


def kept(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def asked(tmp_path: Path, cwd: Path, *arguments: str) -> tuple[int, bytes, bytes]:
    """The whole program, with the cache of this test."""
    done = command("lint", *arguments, cwd=cwd, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("format_", sorted(FORMATS))
def test_the_short_way_says_the_same_bytes(format_: str, tmp_path: Path) -> None:
    """Every spec, in every format: without a cache, filling it, from it, and from the findings of single specs."""
    cwd = SPECS.parent
    fresh = asked(tmp_path, cwd, "specs", "--format", format_, "--no-cache")
    assert not kept(tmp_path / "cache") and fresh[0] == 1
    first = asked(tmp_path, cwd, "specs", "--format", format_)
    assert kept(tmp_path / "cache")
    again = asked(tmp_path, cwd, "specs", "--format", format_)
    other = asked(tmp_path, cwd, "specs", "--format", format_, "--color", "never")  # another line, the same specs
    assert fresh == first == again == other


def test_findings_are_stored_whole() -> None:
    total = 0
    for path in [*SPECS.rglob("*.kcluster"), None]:
        data = MISSPELT.encode() + b"serve x { route = \x00 }" if path is None else path.read_bytes()
        one = Input("x.kcluster", data, SPECS)
        found = decode_and_check(data, one.path, folder=SPECS).diagnostics
        assert [repr(d) for d in judge(one).findings()] == [repr(d) for d in found]
        assert [repr(d) for d in load(dump(found, source_of(one)), source_of(one))] == [repr(d) for d in found]
        total += len(found)
    assert total > 10


def changes(cli: Cli, change: object, *, differs: bool = True) -> None:
    """A run, the same from the cache, a change on disk, and a run that must see it."""
    lines = ("lint", "--format", "concise", "a.kcluster")
    cli.run(*lines)
    before = cli.out
    cli.run(*lines)
    assert cli.out == before
    change()  # type: ignore[operator]
    cli.run(*lines)
    assert (cli.out != before) == differs
    seen = cli.out
    cli.run(*lines, "--no-cache")
    assert cli.out == seen


def through_main(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `cli.run` go the short way first, as the program does."""
    from kcluster.cli.recall import recall

    slow = cli.run

    def run(*arguments: str) -> int:
        cli.capture.readouterr()
        code = recall(arguments)
        if code is None:
            return slow(*arguments)
        cli.out, cli.err = cli.capture.readouterr()
        return code

    monkeypatch.setattr(cli, "run", run)


@pytest.fixture(params=["short", "long"])
def ways(request: pytest.FixtureRequest, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    if request.param == "short":
        through_main(cli, monkeypatch)
    return cli


def test_a_changed_spec_is_seen(ways: Cli) -> None:
    ways.write(a=SOUND)
    changes(ways, lambda: ways.write(a=MISSPELT))


def test_a_changed_spec_of_the_same_size_and_time_is_seen(ways: Cli) -> None:
    """Content counts, not what the disk says of it."""
    ways.write(a=MISSPELT)
    place = ways.folder / "a.kcluster"
    state = place.stat()

    def change() -> None:
        place.write_text(MISSPELT.replace("concurency", "concurrenc"))
        os.utime(place, ns=(state.st_atime_ns, state.st_mtime_ns))

    changes(ways, change)


def test_changed_settings_are_seen(ways: Cli) -> None:
    ways.write(a=MISSPELT)
    changes(ways, lambda: (ways.folder / "kcluster.toml").write_text('ignore = ["KC102"]'))


def test_new_settings_nearer_by_are_seen(ways: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = ways.folder / "deep"
    deep.mkdir()
    monkeypatch.chdir(deep)
    (deep / "a.kcluster").write_text(MISSPELT)
    changes(ways, lambda: (deep / "pyproject.toml").write_text('[tool.kcluster]\nignore = ["KC102"]'))


def test_a_changed_import_is_seen(ways: Cli) -> None:
    head, rest = SOUND.split("serve", 1)
    ways.write(a='import "library.kcluster"\nserve' + rest, library=head)
    changes(ways, lambda: ways.write(library=MISSPELT.split("serve", 1)[0]))


def test_an_import_that_appears_is_seen(ways: Cli) -> None:
    head, rest = SOUND.split("serve", 1)
    ways.write(a='import "library.kcluster"\nserve' + rest)
    changes(ways, lambda: ways.write(library=head))


def test_an_import_that_now_leads_out_of_the_project_is_seen(ways: Cli, tmp_path: Path) -> None:
    head, rest = SOUND.split("serve", 1)
    ways.write(a='import "library.kcluster"\nserve' + rest, library=head)
    (tmp_path / "outside.kcluster").write_text(head)

    def change() -> None:
        (ways.folder / "library.kcluster").unlink()
        (ways.folder / "library.kcluster").symlink_to(tmp_path / "outside.kcluster")

    changes(ways, change)


def test_a_changed_config_is_seen(ways: Cli) -> None:
    ways.write(a=SOUND.replace('id = "meta-llama/Llama-3.1-8B-Instruct"', 'config = "config.json"'))
    place = ways.folder / "config.json"
    place.write_text(CONFIG)
    changes(ways, lambda: place.write_text("{"))


def test_a_changed_index_is_seen(ways: Cli) -> None:
    ways.write(a=SOUND.replace('id = "meta', 'index = "weights", id = "meta'))
    (ways.folder / "weights").mkdir()
    place = ways.folder / "weights" / "model.safetensors.index.json"
    place.write_text('{"metadata": {"total_size": 16000000000}, "weight_map": {}}')
    changes(ways, lambda: place.write_text("{"))


def test_a_new_spec_in_a_folder_is_seen(ways: Cli) -> None:
    ways.write(a=MISSPELT)
    for _ in range(2):
        ways.run("lint", "--format", "concise", ".")
        assert "b.kcluster" not in ways.out
    ways.write(b=MISSPELT)
    ways.run("lint", "--format", "concise", ".")
    assert "b.kcluster" in ways.out


def test_another_installation_is_another_cache(ways: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    ways.write(a=MISSPELT)
    ways.run("lint", "a.kcluster")
    number = len(kept(ways.folder.parent / "cache"))
    monkeypatch.setattr(cache_module, "installation", lambda: "another")
    ways.run("lint", "a.kcluster")
    assert len(kept(ways.folder.parent / "cache")) == 2 * number


def test_the_installation_is_every_file_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site" / "kcluster"
    shutil.copytree(Path(cache_module.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(cache_module, "__file__", str(package / "cache.py"))
    before = installation()
    assert installation() == before
    row = package / "catalog" / "data" / "gpus.toml"
    state = row.stat()
    os.utime(row, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert installation() != before
    os.utime(row, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert installation() == before
    (package / "rules" / "new.py").write_text("")
    assert installation() != before


def test_nothing_is_kept_of_runs_with_an_effect(cli: Cli) -> None:
    cli.write(a=SOUND)
    for option in ("--no-cache", "--diff"):
        cli.run("lint", option, "a.kcluster")
        assert not kept(cli.folder.parent / "cache"), option


def test_broken_entries_count_as_absent(ways: Cli) -> None:
    ways.write(a=MISSPELT)
    ways.run("lint", "a.kcluster")
    before = ways.out
    entries = kept(ways.folder.parent / "cache")
    assert len(entries) == 2
    whole = [entry.read_bytes() for entry in entries]
    for damage in (
        lambda data: b"",
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: data + b"x",
        lambda data: data.replace(b"concurency", b"somethings"),
        lambda data: b"\x80\x04\x95" + data,
        lambda data: data.replace(b"kcluster cache", b"kcluster cacho"),
    ):
        for entry, data in zip(entries, whole, strict=True):
            entry.write_bytes(damage(data))
        assert ways.run("lint", "a.kcluster") == 1 and ways.out == before
        assert [entry.read_bytes() for entry in entries] == whole, "and are made anew"
    # One entry in another's place is not taken for it.
    entries[0].write_bytes(whole[1])
    entries[1].write_bytes(whole[0])
    assert ways.run("lint", "a.kcluster") == 1 and ways.out == before


def test_the_folder_is_private(cli: Cli) -> None:
    cli.write(a=SOUND)
    cli.run("lint", "a.kcluster")
    place = cli.folder.parent / "cache" / "kcluster"
    assert place.stat().st_mode & 0o777 == 0o700
    assert all(entry.stat().st_mode & 0o077 == 0 for entry in place.rglob("*"))
    number = len(kept(place))
    place.chmod(0o777)
    cli.write(a=MISSPELT)
    cli.run("lint", "a.kcluster")
    assert len(kept(place)) == number, "a folder that others can write to is not used"


def test_a_link_in_place_of_the_folder_is_not_followed(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    (tmp_path / "cache" / "kcluster").symlink_to(elsewhere)
    cli.write(a=SOUND)
    assert cli.run("lint", "a.kcluster") in (0, 1) and not kept(elsewhere)


def test_without_a_place_nothing_is_kept(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    assert folder_of({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == "/c/kcluster"
    assert folder_of({"HOME": "/h"}) == "/h/.cache/kcluster"
    assert folder_of({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == "/h/.cache/kcluster"
    assert folder_of({}) is None and folder_of({"HOME": ""}) is None
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/1/no-such-place")
    cli.write(a=SOUND)
    assert cli.run("lint", "a.kcluster") in (0, 1) and cli.err == ""


def test_it_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, and what is too large is not kept."""
    monkeypatch.setattr(cache_module, "MAX_BYTES", 16 * 10_000)
    folder = tmp_path / "kcluster"
    for number in range(300):
        store = Cache(str(folder))
        key = digest(str(number).encode())
        store.put(key, Reads(), b"x" * 1000)
        place = folder / key[0] / key[1:]
        os.utime(place, ns=(number, number))
        store.sweep()
    shelves = [sum(entry.stat().st_size for entry in shelf.iterdir()) for shelf in folder.iterdir()]
    assert max(shelves) <= 10_000 and sum(shelves) > 16 * 4_000
    store = Cache(str(folder))
    assert store.get(digest(b"299")) is not None and store.get(digest(b"0")) is None
    store.put(digest(b"large"), Reads(), b"x" * cache_module.MAX_ENTRY)
    assert store.get(digest(b"large")) is None


def test_facts(tmp_path: Path) -> None:
    place = tmp_path / "x"
    reads = Reads()
    place.write_bytes(b"1")
    reads.file(str(place), b"1")
    reads.file(str(tmp_path / "absent"), None)
    assert reads.told and still_true(reads.written())
    assert Reads.of(reads.written()).facts == reads.facts
    place.write_bytes(b"2")
    assert not still_true(reads.written())
    reads.file(str(place), b"2")
    assert not reads.told, "it changed while it was being read"
    assert still_true(b"") and not still_true(b"a\0b") and not still_true(b"a\0b\0c") and not still_true(b"\xff\0")


def test_roots_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "kcluster.toml").write_text("")
    for name in ("b.kcluster", "b/c.kcluster", "b/.d.kcluster", "b-c.kcluster", "e.txt"):
        (tmp_path / "a" / name).write_text("")
    assert nearest_root(str(tmp_path / "a" / "b")) == str(tmp_path / "a")
    assert nearest_root(str(tmp_path / "a" / "b" / "c.kcluster")) == str(tmp_path / "a")
    monkeypatch.chdir(tmp_path / "a")
    assert specs_below(".") == ["b/c.kcluster", "b-c.kcluster", "b.kcluster"]
    assert specs_below("b/") == ["b/c.kcluster"]


def test_names_of_bytes_are_the_same_where_the_interpreter_lacks_its_own_module(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "_blake2", None)
    other = runpy.run_path(reads.__file__)
    assert other["blake2b"] is hashlib.blake2b
    assert other["digest"](b"text") == digest(b"text")
