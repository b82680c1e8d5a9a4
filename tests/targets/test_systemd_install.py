"""The script that installs units, run as root of a mount namespace of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.compiled import tool, two_replicas, written
from tests.support.fronted import SYSTEM_PATH

NAMESPACE = """
set -e
keep=$FOLDER/keep
mkdir "$keep"
mount -t tmpfs kcluster "$keep"
cp /etc/passwd /etc/group /etc/nsswitch.conf "$keep/"
mount -t tmpfs kcluster /opt
mount --bind "$keep" /etc
mkdir -p /etc/systemd/system /etc/kcluster
chmod 700 /etc/kcluster
"""
FAKES = {
    "systemctl": 'echo "systemctl $*"',
    "useradd": 'echo "useradd ${*: -1}"; echo "kcluster:x:0:0::/:/bin/sh" >>/etc/passwd',
    "runuser": 'shift 3; exec "$@"',
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tool("unshare", "util-linux")
    spec = two_replicas(8000, 'router nginx { api_key = env("CLIENT_KEY") }', engine='api_key = env("KEY")')
    written(spec.replace("  sla = s\n", "  sla = s\n  runtime = systemd\n"), tmp_path / "out")
    (tmp_path / "bin").mkdir()
    for name, text in {**FAKES, "vllm": "", "curl": "", "nginx": ""}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return tmp_path


def run(folder: Path, before: str, after: str = "") -> subprocess.CompletedProcess[str]:
    """What a person does before, the script, and a look at what it left."""
    install = f"bash {folder}/out/nodes/127.0.0.1/install.sh"
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c", f"{NAMESPACE}\n{before}\n{install}\n{after}"],
        capture_output=True, text=True, check=False, timeout=120, env={"PATH": f"{folder}/bin:{SYSTEM_PATH}", "FOLDER": str(folder)},
    )  # fmt: skip


SETTLED = """
umask 077
echo KEY=a >/etc/kcluster/chat.env
printf 'CLIENT_KEY=b\\nKEY=a\\n' >/etc/kcluster/nginx.env
echo "PATH=$FOLDER/bin:/usr/bin:/bin" >/etc/kcluster/host.env
"""


def test_it_says_all_that_is_missing_and_installs_nothing(folder: Path) -> None:
    done = run(folder, "", "")
    assert done.returncode == 1
    said = done.stderr
    assert "/etc/kcluster/chat.env lacks KEY" in said and "/etc/kcluster/nginx.env lacks CLIENT_KEY" in said
    assert "kcluster finds no vllm" in said and "nothing was installed" in said
    assert "systemctl" not in done.stdout


def test_what_others_can_read_is_refused(folder: Path) -> None:
    done = run(folder, f"{SETTLED} chmod 640 /etc/kcluster/chat.env")
    assert done.returncode == 1
    assert "/etc/kcluster/chat.env is readable by others" in done.stderr


LOOK = """
stat -c '%a %U %n' /opt/kcluster/test/nodes/127.0.0.1/serve-chat-0.sh /etc/systemd/system/*.service
cmp "$FOLDER/out/nodes/127.0.0.1/systemd/kcluster-nginx.service" /etc/systemd/system/kcluster-nginx.service
echo again
echo old >/opt/kcluster/test/mark
"""


def test_installed_twice_it_keeps_what_was_there(folder: Path) -> None:
    units = [f"kcluster-{stem}.service" for stem in ("serve-chat-0", "serve-chat-1", "nginx")]
    install = f"bash {folder}/out/nodes/127.0.0.1/install.sh"
    left = (
        "sed s/chat/gone/ /etc/systemd/system/kcluster-serve-chat-0.service >/etc/systemd/system/kcluster-gone.service"
    )
    done = run(
        folder,
        SETTLED,
        f"{LOOK}\n{left}\n{install} | tail -n 2\ncat /opt/kcluster/test.old/mark\n! test -e /opt/kcluster/test/mark\n"
        "bash /opt/kcluster/test/nodes/127.0.0.1/install.sh | tail -n 1",
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.split("again\n")
    rows = first.splitlines()
    assert rows[:3] == ["useradd kcluster", "systemctl daemon-reload", f"systemctl enable {' '.join(units)}"]
    assert rows[3] == f"installed in /opt/kcluster/test; start, in this order: systemctl start {' '.join(units)}"
    assert rows[4].startswith("755 root ") and [row.split()[0] for row in rows[5:]] == ["644"] * 3
    assert "no longer in the plan: systemctl disable --now kcluster-gone.service" in second
    assert second.splitlines()[-3:-1] == [rows[3], "old"] and second.splitlines()[-1] == rows[3]


def test_another_folder_s_unit_is_not_overwritten(folder: Path) -> None:
    other = "printf '[Service]\\nWorkingDirectory=/opt/kcluster/other\\n' >/etc/systemd/system/kcluster-nginx.service"
    done = run(folder, f"{SETTLED}{other}")
    assert done.returncode == 1 and "kcluster-nginx.service is of another folder" in done.stderr
