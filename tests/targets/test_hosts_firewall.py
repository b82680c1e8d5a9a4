"""The firewall list: read by nftables, compared with the plan's ports, and held against packets."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from kcluster.physics.cut import Cut
from kcluster.planner.types import EnginePorts, Plan
from kcluster.targets import emit
from kcluster.targets.ports import open_ports
from tests.support.compiled import tool
from tests.targets import factory

BEHIND_A_ROUTER = """
model m { id = "meta-llama/Llama-3.1-8B-Instruct" }
hardware h { nodes = 2, gpus = 2 * rtx-5090, hosts = ["10.0.0.11", "10.0.0.12"] }
sla s { concurrency = 16, context = 4K, prompt = 1K, completion = 200 }
serve chat {
  model = m, hardware = h, sla = s
  parallel { replicas = 2, tp = 2, pp = 1 }
  router nginx { host = "10.0.0.9", listen = 8080 }
}
"""


def lists(plan: Plan) -> dict[str, str]:
    return {a.path: a.text for a in emit(plan, ("hosts",)) if a.path.endswith(".nft")}


def private(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in network and mount namespaces of its own, in which it is root."""
    return subprocess.run(
        [tool("unshare", "util-linux"), "--user", "--map-root-user", "--net", "--mount", *command],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )  # fmt: skip


@pytest.fixture(autouse=True)
def nftables() -> None:
    tool("nft", "nftables")


def loaded(text: str, folder: Path) -> list[dict[str, Any]]:
    """The rules of a list as nftables understands it, loaded twice: the second time replaces the first."""
    (folder / "list.nft").write_text(text)
    done = private("bash", "-c", "nft -f list.nft && nft -f list.nft && nft -j list ruleset", folder=folder)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return [row["rule"] for row in json.loads(done.stdout)["nftables"] if "rule" in row]


def meaning(rules: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Port or range → who is accepted, in order, and whether the rest is dropped."""
    found: dict[str, list[str]] = {}
    for rule in rules:
        matches = {
            row["match"]["left"]["payload"]["field"]: row["match"]["right"]
            for row in rule["expr"]
            if "match" in row and "payload" in row["match"]["left"]
        }
        if "dport" not in matches:
            continue
        port = matches["dport"]
        name = "-".join(str(end) for end in port["range"]) if isinstance(port, dict) else str(port)
        verdict = "accept" if {"accept": None} in rule["expr"] else "drop"
        found.setdefault(name, []).append(f"{verdict} {matches['saddr']}" if "saddr" in matches else verdict)
    return found


PLANS = {
    "one box": factory.one_box(),
    "two replicas": factory.two_replicas(),
    "two nodes": factory.two_nodes(),
    "ray": factory.over_ray(),
    "experts": factory.expert_parallel(),
}


@pytest.mark.parametrize("name", PLANS)
def test_every_port_of_the_plan_is_in_its_host_s_list(name: str, tmp_path: Path) -> None:
    plan = PLANS[name]
    for path, text in lists(plan).items():
        host = path.split("/")[1]
        ports = [port for port in open_ports(plan) if port.host == host]
        found = meaning(loaded(text, tmp_path))
        assert set(found) == {port.text for port in ports if port.reached_from != "node"}
        for port in ports:
            if port.reached_from == "node":
                assert f"# {port.text} (" in text
            elif port.reached_from == "clients":
                assert found[port.text] == ["accept"]
            else:
                assert found[port.text][-1] == "drop"
                assert all(row.startswith("accept 10.0.0.") for row in found[port.text][:-1])
                assert not any(row.endswith(host) for row in found[port.text])


def test_engines_are_reached_by_their_router_alone_and_nodes_by_each_other(tmp_path: Path) -> None:
    import kcluster

    found = {a.path: a.text for a in kcluster.compile_(BEHIND_A_ROUTER, path="x.kcluster") if a.path.endswith(".nft")}
    assert set(found) == {f"nodes/10.0.0.{n}/firewall.nft" for n in (9, 11, 12)}
    assert meaning(loaded(found["nodes/10.0.0.9/firewall.nft"], tmp_path)) == {"8080": ["accept"]}
    for host in ("10.0.0.11", "10.0.0.12"):
        rules = meaning(loaded(found[f"nodes/{host}/firewall.nft"], tmp_path))
        assert rules == {"8000": ["accept 10.0.0.9", "drop"]}
    rules = meaning(loaded(lists(factory.two_nodes())["nodes/10.0.0.11/firewall.nft"], tmp_path))
    assert rules["29501"] == ["accept 10.0.0.12", "drop"]


def test_addresses_of_the_sixth_version_and_names(tmp_path: Path) -> None:
    six = factory.plan(
        factory.serve_plan(
            cut=Cut(tp=4, pp=2), hosts=("fd00::1", "fd00::2"), distribution="nnodes", ports=(EnginePorts(8000, 29501),)
        )
    )
    (text,) = (text for path, text in lists(six).items() if "fd00--1" in path)
    assert meaning(loaded(text, tmp_path))["29501"] == ["accept fd00::2", "drop"]
    named = factory.plan(
        factory.serve_plan(
            cut=Cut(tp=4, pp=2), hosts=("drop", "localhost"), distribution="nnodes", ports=(EnginePorts(8000, 29501),)
        )
    )
    text = lists(named)["nodes/drop/firewall.nft"]
    assert meaning(loaded(text, tmp_path))["29501"] == ["accept 127.0.0.1", "drop"]


PACKETS = """
set -e
trap 'kill $(jobs -p)' EXIT
ip link set lo up
ip link add name here type veth peer name there
unshare --net sleep 30 & other=$!
sleep 0.3
ip link set dev there netns $other
ip addr add 10.0.0.11/24 dev here && ip link set dev here up
inside() { nsenter --target $other --net "$@"; }
inside ip addr add 10.0.0.12/24 dev there
inside ip addr add 10.0.0.99/24 dev there
inside ip link set dev there up
python3 -c 'import socket, time
held = [socket.create_server(("0.0.0.0", port)) for port in (8000, 29501, 5555)]
time.sleep(20)' &
sleep 0.5
reach() {
  inside python3 - "$@" <<'PY'
import socket, sys
try:
    socket.create_connection(("10.0.0.11", int(sys.argv[2])), 1, (sys.argv[1], 0)).close()
    print(*sys.argv[1:], "open")
except OSError:
    print(*sys.argv[1:], "shut")
PY
}
reach 10.0.0.99 29501
nft -f list.nft
for port in 8000 29501 5555; do for source in 10.0.0.12 10.0.0.99; do reach $source $port; done; done
"""


def test_packets_pass_as_the_list_says(tmp_path: Path) -> None:
    tool("ip", "iproute2")
    (tmp_path / "list.nft").write_text(lists(factory.two_nodes())["nodes/10.0.0.11/firewall.nft"])
    done = private("bash", "-c", PACKETS, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "10.0.0.99 29501 open",  # before it was loaded
        "10.0.0.12 8000 open",
        "10.0.0.99 8000 open",  # clients, whom the spec does not name
        "10.0.0.12 29501 open",
        "10.0.0.99 29501 shut",
        "10.0.0.12 5555 open",  # not the plan's: left as it was
        "10.0.0.99 5555 open",
    ]
