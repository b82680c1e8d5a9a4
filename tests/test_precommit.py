"""The hooks for pre-commit, run by the real pre-commit on a sample repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
HOOKS = ROOT / ".pre-commit-hooks.yaml"

GOOD = """model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware box { gpus = 1 * l40s }
sla team { concurrency = 8, context = 8K, prompt = 2K, completion = 500 }
"""


def test_both_names_hold_the_same() -> None:
    twin = ROOT / "pre-commit-hooks.yaml"
    assert HOOKS.read_bytes() == twin.read_bytes()
    assert not HOOKS.is_symlink(), "a link is a text file where links are off"


def test_hooks_name_commands_and_options_that_there_are() -> None:
    import argparse
    from importlib import import_module

    hooks = yaml.safe_load(HOOKS.read_text())
    assert [hook["id"] for hook in hooks] == ["kcluster-lint", "kcluster-fmt", "kcluster-compile-check"]
    for hook in hooks:
        program, command, *options = hook["entry"].split()
        assert program == "kcluster" and hook["language"] == "python" and hook["require_serial"]
        parser = argparse.ArgumentParser()
        import_module(f"kcluster.cli.{command}_command").configure(parser)
        parser.parse_args([*options, "a.kcluster"])


class Sample:
    """A git repository with specs, and pre-commit's hooks of this checkout run on it.

    The hooks come from a small repository that holds the two manifests of this one and a package whose `kcluster` is this
    checkout's: building an environment for the real one would fetch its dependencies from a registry.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sample"
        self.folder.mkdir()
        self.hooks = folder / "hooks"
        self.hooks.mkdir()
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PRE_COMMIT_HOME": str(folder / "pre-commit"),
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            # What the package is built with, and what the command runs with, is this environment's.
            "PYTHONPATH": os.pathsep.join([str(ROOT / "compiler"), *_site_packages()]),
        }  # fmt: skip
        for name in (HOOKS.name, "pre-commit-hooks.yaml"):
            shutil.copy(ROOT / name, self.hooks / name)
        (self.hooks / "pyproject.toml").write_text(
            '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
            '[project]\nname = "kcluster-hooks"\nversion = "1"\n[project.scripts]\nkcluster = "kcluster.__main__:main"\n'
            '[tool.hatch.build.targets.wheel]\ninclude = ["pre-commit-hooks.yaml"]\n'
        )
        for place in (self.folder, self.hooks):
            self.git("init", "-q", ".", at=place)
        self.commit(self.hooks)

    def git(self, *arguments: str, at: Path) -> None:
        subprocess.run(["git", *arguments], cwd=at, env=self.env, check=True, capture_output=True)

    def commit(self, place: Path) -> None:
        self.git("add", "-A", at=place)
        self.git("commit", "-qm", "x", "--allow-empty", at=place)

    def write(self, name: str, text: str) -> None:
        place = self.folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def try_repo(self, hook: str) -> tuple[int, str]:
        self.commit(self.folder)
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", "try-repo", str(self.hooks), hook, "--all-files", "--verbose", "--color", "never"],
            cwd=self.folder, env=self.env, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr


def _site_packages() -> list[str]:
    return [path for path in sys.path if path.endswith("site-packages")]


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return Sample(tmp_path_factory.mktemp("hooks"))


@pytest.mark.packaging
def test_lint(sample: Sample) -> None:
    sample.write("kcluster.toml", '[compile]\noutput = "deploy/{name}"\n')
    sample.write("a.kcluster", GOOD)
    sample.write("notes.txt", "no spec\n")
    code, text = sample.try_repo("kcluster-lint")
    assert code == 0 and "Passed" in text and "in 1 file" in text, text
    sample.write("sub/b.kcluster", GOOD.replace("concurrency", "concurency"))
    code, text = sample.try_repo("kcluster-lint")
    assert code == 1 and "sub/b.kcluster:3:12" in text and "KC102" in text and "in 2 files" in text, text
    (sample.folder / "sub/b.kcluster").unlink()


@pytest.mark.packaging
def test_fmt(sample: Sample) -> None:
    sample.write("a.kcluster", GOOD.replace(" = ", "="))
    code, text = sample.try_repo("kcluster-fmt")
    assert code == 1 and "files were modified by this hook" in text and "formatted a.kcluster" in text, text
    assert (sample.folder / "a.kcluster").read_text() == GOOD
    code, text = sample.try_repo("kcluster-fmt")
    assert code == 0 and "Passed" in text, text


@pytest.mark.packaging
def test_compile_check(sample: Sample) -> None:
    sample.write("a.kcluster", GOOD)
    sample.write("kcluster.toml", '[compile]\noutput = "deploy/{name}"\n')
    code, text = sample.try_repo("kcluster-compile-check")
    assert code == 1 and "plan.toml" in text, text
    subprocess.run(
        [sys.executable, "-m", "kcluster", "compile", "a.kcluster"], cwd=sample.folder, env=sample.env, check=True
    )
    code, text = sample.try_repo("kcluster-compile-check")
    assert code == 0 and "deploy/a is what the spec says" in text, text
    plan = sample.folder / "deploy/a/plan.toml"
    plan.write_text(plan.read_text() + "\n# changed by hand\n")
    code, text = sample.try_repo("kcluster-compile-check")
    assert code == 1 and "changed by hand" in text, text
    sample.write("kcluster.toml", "")
    code, text = sample.try_repo("kcluster-compile-check")
    assert code == 1 and "where to?" in text, text
