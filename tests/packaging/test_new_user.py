"""A new user's path: the lines that the README gives, run as they stand, in a clean environment with the wheel beside them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.compiled import tool

ROOT = Path(__file__).parent.parent.parent
PATH = re.compile(r"<!-- path: .+? -->\n```sh\n(.*?)```", re.DOTALL)

pytestmark = pytest.mark.packaging


def steps() -> list[str]:
    """The lines of the README's block, without what it says beside them."""
    (block,) = PATH.findall((ROOT / "README.md").read_text("utf-8"))
    return [re.sub(r"\s+# .*$", "", line) for line in block.splitlines() if line.strip()]


def test_the_readme_names_every_step_of_a_new_users_path(built: tuple[Path, Path], tmp_path: Path) -> None:
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    shutil.copy(built[0], work)
    # Nothing of this environment: the programs of the system, an empty home, and no kcluster on the path.
    kept = {
        key: value
        for key, value in os.environ.items()
        if key.startswith(("PIP_", "SSL_", "REQUESTS_")) or "proxy" in key.lower()
    }
    env = {
        **kept,
        "PATH": f"{Path(shutil.which('python3') or '/usr/bin/python3').parent}:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(home),
    }
    env["PATH"] = ":".join(part for part in env["PATH"].split(":") if not (Path(part) / "kcluster").exists())
    env["PATH"] = f"{_python(tmp_path)}:{env['PATH']}"
    tool("nginx", "nginx-light")
    lines = steps()
    assert len(lines) >= 8
    # One shell, so that what a line sets holds for the next; each line's output is kept with its exit code.
    script = "".join(f"{{ {line}\n}} >out.{number} 2>&1; echo $? >code.{number}\n" for number, line in enumerate(lines))
    subprocess.run(["bash", "-c", script], cwd=work, env=env, check=False, timeout=600)
    done = [
        ((work / f"code.{number}").read_text().strip(), (work / f"out.{number}").read_text(), line)
        for number, line in enumerate(lines)
    ]
    for code, output, line in done:
        failing = line.startswith("kcluster lint --gpus")
        assert code == ("1" if failing else "0"), f"{line}\n{output}"
    said = {line.split()[0] + " " + line.split()[1]: output for _, output, line in done}
    # The finding that is read, with what would help; its page; the fix; the files; and NGINX's own word on them.
    command = next(output for _, output, line in done if line.startswith("kcluster lint --gpus"))
    assert "error[KC202]" in command and "--max-model-len" in command
    assert "KV cache" in said["kcluster explain"]
    fixed = next(output for _, output, line in done if "--fix" in line)
    assert "fixed 2 findings" in fixed and "error" not in fixed.replace("0 errors", "")
    assert (work / "out/README.md").is_file()
    assert "test is successful" in done[-1][1]


def _python(folder: Path) -> Path:
    """A folder with a `python3` that is this one's interpreter, outside any virtual environment."""
    import sys

    place = folder / "python"
    place.mkdir()
    (place / "python3").symlink_to(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    return place
