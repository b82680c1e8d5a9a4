"""The firewall list of a host: its fixed ports and who may reach them, as a table of nftables of its own.

It speaks of the plan's ports only. What comes to other ports, and whether a port is opened that another table closes, stays
the host's business: an `accept` here ends this table's say, a `drop` is final.
"""

from __future__ import annotations

from collections.abc import Iterator

from kcluster.planner.types import Plan
from kcluster.targets.header import comment_header
from kcluster.targets.hosts.folders import host_folders, on_hosts, stack_name
from kcluster.targets.ports import OpenPort, open_ports
from kcluster.targets.routing import front_of
from kcluster.targets.shell import one_line
from kcluster.targets.types import Artifact


def firewalls(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/firewall.nft` of every host that has a port of the plan."""
    elsewhere = {serve.name for serve in plan.serves if not on_hosts(serve)}
    ports = tuple(port for port in open_ports(plan) if not set(port.serve.split(" ")) <= elsewhere)
    return tuple(
        Artifact(f"{folder}/firewall.nft", "".join(_list(plan, host, folder, own)))
        for host, folder in host_folders(plan).items()
        if (own := tuple(port for port in ports if port.host == host))
    )


def table_name(plan: Plan) -> str:
    """The name of the plan's table: letters, digits and `_`."""
    return "kcluster_" + "".join(c if c.isalnum() else "_" for c in stack_name(plan))


def _list(plan: Plan, host: str, folder: str, ports: tuple[OpenPort, ...]) -> Iterator[str]:
    table = table_name(plan)
    yield "#!/usr/sbin/nft -f\n"
    yield comment_header(plan, f"Who may reach the ports of {host}")
    yield f"# Load: nft -f {folder}/firewall.nft (again after every compile). See: nft list table inet {table}.\n"
    yield f"# Take away: nft delete table inet {table}. For the next boot: include it in /etc/nftables.conf.\n"
    yield "# Other ports are left as they are, and what another table drops stays dropped: open these there too.\n"
    yield "\n# Declared and deleted first, so that loading replaces the whole table at once.\n"
    yield f"table inet {table}\ndelete table inet {table}\n\n"
    yield f"table inet {table} {{\n  chain input {{\n"
    yield "    type filter hook input priority filter; policy accept;\n"
    yield '    iif "lo" accept\n'
    yield "    ct state established,related accept\n"
    yield from _loopback(port for port in ports if port.reached_from == "node")
    grouped: dict[tuple[int, int], list[OpenPort]] = {}
    for port in ports:
        if port.reached_from != "node":
            grouped.setdefault((port.first, port.last), []).append(port)
    for group in grouped.values():
        yield from _rules(plan, group)
    peers = [peer for port in ports if port.reached_from == "nodes" for peer in _peers(plan, port)]
    if peers:
        yield "\n    # Engines that span hosts also use ports that the system picks (NCCL, gloo): let no filter close TCP between\n"
        yield f"    # this host and {_names(peers)}, and keep others out of their network: these ports ask for no password.\n"
    yield "  }\n}\n"


def _loopback(ports: Iterator[OpenPort]) -> Iterator[str]:
    for port in ports:
        yield f"\n    # {port.text} ({one_line(port.what)} of {one_line(port.serve)}) listens on loopback: nothing to open.\n"


def _rules(plan: Plan, group: list[OpenPort]) -> Iterator[str]:
    port = group[0]
    what = ", ".join(dict.fromkeys(f"{one_line(p.what)} of {one_line(p.serve)}" for p in group))
    if any(one.reached_from == "clients" for one in group):
        yield f"\n    # {what}: for clients, whom the spec does not name\n    tcp dport {port.text} accept\n"
        return
    hosts = [host for one in group for host in _sources(plan, one) if host != port.host]
    yield f"\n    # {what}: from {_names(hosts) or 'this host alone'}\n"
    for host in dict.fromkeys(hosts):
        yield f"    tcp dport {port.text} {_source(host)} accept\n"
    yield f"    tcp dport {port.text} drop\n"


def _names(hosts: list[str]) -> str:
    return one_line(", ".join(dict.fromkeys(hosts)))


def _source(host: str) -> str:
    """The match of one host; a name is looked up when the file is loaded, and loading fails where it has no address."""
    from ipaddress import ip_address

    try:
        address = ip_address(host)
    except ValueError:
        return f'ip saddr "{host}"'
    return f"{'ip6' if address.version == 6 else 'ip'} saddr {address}"


def _sources(plan: Plan, port: OpenPort) -> list[str]:
    """The hosts from which a port is reached."""
    if port.reached_from == "nodes":
        return _peers(plan, port)
    fronts = (front_of(plan, serve) for serve in plan.serves if serve.name == port.serve)
    return [front.host for front in fronts if front is not None]


def _peers(plan: Plan, port: OpenPort) -> list[str]:
    """The other hosts of the engines that this port's host is part of."""
    return [
        serve.hosts[node]
        for serve in plan.serves
        if serve.name == port.serve
        for engine in serve.chosen.placement
        if port.host in (serve.hosts[node] for node in engine.nodes)
        for node in engine.nodes
        if serve.hosts[node] != port.host
    ]
