"""What a unit may not do, and what it must be let do for GPUs, RDMA and compilers at run time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import ServePlan

_COMMON: Final = """\
NoNewPrivileges=yes
UMask=0077
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
"""

_ENGINE: Final = """\
CapabilityBoundingSet=
# Models and caches lie where the user keeps them, so that only the system's own folders are closed.
ProtectSystem=full
# Interfaces are listed by netlink (gloo, RDMA).
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallFilter=~@clock @cpu-emulation @module @mount @obsolete @raw-io @reboot @swap
SystemCallErrorNumber=EPERM
# Not MemoryDenyWriteExecute: kernels are compiled at run time. Not RemoveIPC: it would take the shared memory of the user's
# other engines away when this one stops. Not PrivateDevices: it hides the cards.
"""

_ROUTER: Final = """\
ProtectSystem=strict
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectClock=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
"""


def engine_hardening(serve_plan: ServePlan) -> Iterator[str]:
    """For an engine and its Ray."""
    yield _COMMON
    yield _ENGINE
    if serve_plan.distribution == "ray":
        yield "# The engine and its Ray meet in /tmp.\nPrivateTmp=no\n"
    else:
        yield "PrivateTmp=yes\n"
    yield from _devices(serve_plan)


def amd(serve_plan: ServePlan) -> bool:
    """Whether the cards are AMD's."""
    return any(card.vendor.lower() == "amd" for node in serve_plan.serve.cluster.nodes for card in node.cards)


def _devices(serve_plan: ServePlan) -> Iterator[str]:
    yield "DevicePolicy=closed\n"
    yield from (
        f"DeviceAllow={name} rw\n" for name in (("char-kfd", "char-drm") if amd(serve_plan) else ("char-nvidia*",))
    )
    if any(node.network and node.network.rdma for node in serve_plan.serve.cluster.nodes):
        yield "DeviceAllow=char-infiniband* rw\nDeviceAllow=/dev/infiniband/rdma_cm rw\n"
    if amd(serve_plan):
        yield "SupplementaryGroups=render video\n"


def router_hardening(port: int) -> Iterator[str]:
    """For a router that listens on `port`."""
    yield _COMMON
    yield _ROUTER
    if port < 1024:
        yield "# The port is below 1024.\nAmbientCapabilities=CAP_NET_BIND_SERVICE\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\n"
    else:
        yield "CapabilityBoundingSet=\n"
