"""The project's settings hold for every command alike, and mistakes in them are findings."""

from __future__ import annotations

import pytest

from .inprocess import MISSPELT, SOUND, WARNED, Cli


def settings(cli: Cli, text: str) -> None:
    (cli.folder / "kcluster.toml").write_text(text)


def written(cli: Cli) -> list[str]:
    return sorted(path.relative_to(cli.folder).as_posix() for path in (cli.folder / "out").rglob("*.*"))


def test_a_warning_that_counts_as_an_error_stops_compile_and_plan(cli: Cli) -> None:
    cli.write(a=WARNED)
    assert cli.run("compile", "a.kcluster", "-o", "out") == 0 and "KC203" in cli.err and written(cli)
    settings(cli, '[severity]\nKC203 = "error"\n')
    assert cli.run("lint", "a.kcluster") == 1
    assert cli.run("plan", "a.kcluster") == 1 and "error[KC203]" in cli.err
    assert cli.run("compile", "a.kcluster", "-o", "other") == 1
    assert "error[KC203]" in cli.err and "nothing was written: 1 error\n" in cli.err
    assert not (cli.folder / "other").exists()


@pytest.mark.parametrize(
    "text",
    [
        'ignore = ["KC102"]\n',
        '[severity]\nKC102 = "warning"\n',
        '[severity]\nunknown-attribute = "off"\n',
        'select = ["KC2"]\n',
        '[per-file-ignores]\n"a.*" = ["unknown-attribute"]\n',
        '[per-file-ignores]\n"drafts/*" = ["KC1"]\n"*a.kcluster" = ["KC10"]\n',
    ],
)
def test_an_error_that_counts_for_nothing_stops_neither(cli: Cli, text: str) -> None:
    cli.write(a=MISSPELT)
    for command in (("lint",), ("plan",), ("compile", "-o", "out")):
        assert cli.run(command[0], "a.kcluster", *command[1:]) == 1, command
    assert not (cli.folder / "out").exists()
    settings(cli, text)
    for command in (("lint",), ("plan",), ("compile", "-o", "out")):
        assert cli.run(command[0], "a.kcluster", *command[1:]) == 0, (command, cli.out, cli.err)
        assert "error" not in cli.err
    assert "out/plan.toml" in written(cli)


def test_per_file_ignores_are_for_those_files(cli: Cli) -> None:
    (cli.folder / "drafts").mkdir()
    cli.write(a=MISSPELT)
    (cli.folder / "drafts" / "b.kcluster").write_text(MISSPELT)
    settings(cli, '[per-file-ignores]\n"drafts/*" = ["KC102"]\n')
    assert cli.run("lint", ".", "--format", "concise") == 1
    assert [line.partition(":")[0] for line in cli.out.splitlines()] == ["a.kcluster"]
    settings(cli, '[per-file-ignores]\n"b.kcluster" = ["KC1"]\n')
    assert cli.run("lint", "drafts") == 0, "a pattern without a / is of the name"
    (cli.folder / "drafts" / "b.kcluster").write_text("model llama { id = }\n")
    settings(cli, '[per-file-ignores]\n"b.kcluster" = ["KC0"]\n')
    assert cli.run("lint", "drafts") == 1, "what is not understood cannot be left out"


@pytest.mark.parametrize(
    ("text", "code", "place", "said"),
    [
        ('[per-file-ignore]\n"a" = ["KC1"]\n', "KC102", "1:2", "`per-file-ignores`"),
        ('per-file-ignores = ["KC1"]\n', "KC103", "1:1", "is a table"),
        ('[per-file-ignores]\n"a" = "KC1"\n', "KC103", "2:2", "list of strings"),
        ('[per-file-ignores]\n"a" = ["KC999"]\n', "KC106", "2:9", "no code"),
    ],
)
def test_mistakes_are_findings_of_every_command(cli: Cli, text: str, code: str, place: str, said: str) -> None:
    cli.write(a=SOUND)
    settings(cli, text)
    assert cli.run("lint", "a.kcluster") == 1
    assert code in cli.out and f"kcluster.toml:{place}" in cli.out and said in cli.out, cli.out
    lint = cli.out
    assert cli.run("plan", "a.kcluster") == 1 and f"kcluster.toml:{place}" in cli.err and said in cli.err
    assert cli.out.startswith("chat "), "the plan is shown all the same"
    assert cli.run("compile", "a.kcluster", "-o", "out") == 1
    assert f"kcluster.toml:{place}" in cli.err and cli.err.splitlines()[0] in lint
    assert not (cli.folder / "out").exists()


def test_targets_of_the_settings(cli: Cli) -> None:
    cli.write(a=SOUND)
    settings(cli, 'targets = ["vllm"]\n')
    assert cli.run("compile", "a.kcluster", "-o", "out") == 0
    by_settings = written(cli)
    assert cli.run("compile", "a.kcluster", "-o", "out", "--target", "vllm,monitoring", "--force") == 0
    assert set(by_settings) < set(written(cli)), "the command line wins"
    settings(cli, 'targets = ["vlm"]\n')
    assert cli.run("compile", "a.kcluster", "-o", "out") == 2
    assert cli.err == "kcluster: kcluster.toml: there is no target `vlm` (did you mean `vllm`?)\n"
