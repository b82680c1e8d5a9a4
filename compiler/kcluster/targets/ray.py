"""Ray for engines that ask for it: one Ray of its own for every engine, so that its cards are exactly the planned ones.

What the scripts must get right, and what was measured behind it (Ray 2.60 on two nodes):

- A plain `ray start` of these versions may run without authentication, or suddenly demand a token once one lies in the
  user's home: the mode is set, the same everywhere, and the token comes from a file of mode 0600.
- `ray start` returning says nothing: the head counts a worker's cards a second later. The engine waits for cards.
- A group that does not fit waits for ever without an error: every wait has a deadline.
- `ray stop` ends every Ray of the machine by name: here a node ends with the script that runs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from kcluster.planner.types import Plan, ServePlan
from kcluster.targets.header import comment_header
from kcluster.targets.layout import Process, node_folders, segment
from kcluster.targets.shell import SHEBANG, STRICT, command_needed, quote, required, stop_unless
from kcluster.targets.types import Artifact, target
from kcluster.targets.vllm.environment import Variable, is_address, node_variables
from kcluster.targets.vllm.files import exports
from kcluster.values import frozen

RAY_VERSION: Final = "2.60.0"
"""What the scripts were run with."""
FIRST_PORT: Final = 6379
PORTS_APART: Final = 20
FIRST_WORKER_PORT: Final = 20000
WORKER_PORTS: Final = 400
DEADLINE_SECONDS: Final = 900
PORT_FREE_SECONDS: Final = 180
OBJECT_STORE_BYTES: Final = 2**30

# Port option → its distance from the first port of a Ray.
_NODE_PORTS: Final = (
    ("node-manager-port", 1),
    ("object-manager-port", 2),
    ("dashboard-agent-grpc-port", 3),
    ("dashboard-agent-listen-port", 4),
    ("runtime-env-agent-port", 5),
    ("metrics-export-port", 6),
)
_HEAD_PORTS: Final = (("dashboard-port", 7),)
_CLIENT_PORT: Final = 8


@frozen
class RayNode:
    """One node of one engine's Ray. `path` is its script, without ending; `first_port` the base of its fixed ports and
    `worker_ports` the range of its workers."""

    serve: ServePlan
    replica: int
    node: int
    host: str
    path: str
    head: bool
    gpus: tuple[int, ...]
    first_port: int
    worker_ports: tuple[int, int]


@frozen
class RayCluster:
    """The Ray of one engine, its head first."""

    nodes: tuple[RayNode, ...]

    @property
    def head(self) -> RayNode:
        return self.nodes[0]

    @property
    def gpus(self) -> int:
        return sum(len(node.gpus) for node in self.nodes)

    @property
    def address(self) -> str:
        """`host:port` of its head."""
        host = f"[{self.head.host}]" if ":" in self.head.host else self.head.host
        return f"{host}:{self.head.first_port}"


def ray_clusters(plan: Plan) -> tuple[RayCluster, ...]:
    """Every Ray of the plan, by serve and replica. Two that share a node get different ports."""
    folders = node_folders(plan)
    used: dict[str, set[int]] = {}
    wanted = [
        (serve, replica, placement)
        for serve in plan.serves
        if serve.distribution == "ray"
        for replica, placement in enumerate(serve.chosen.placement)
    ]
    roles = [
        (serve.hosts[node], number == 0)
        for serve, _, placement in wanted
        for number, node in enumerate(placement.nodes)
    ]
    found = []
    for serve, replica, placement in wanted:
        hosts = [serve.hosts[node] for node in placement.nodes]
        slot = next(n for n in range(len(wanted) + 1) if all(n not in used.get(host, set()) for host in hosts))
        first = (
            serve.ports[replica].master
            if slot == 0 and serve.ports[replica].master
            else FIRST_PORT + slot * PORTS_APART
        )
        workers = FIRST_WORKER_PORT + slot * WORKER_PORTS
        nodes = []
        for number, (node, host) in enumerate(zip(placement.nodes, hosts, strict=True)):
            used.setdefault(host, set()).add(slot)
            stem = "ray-head" if number == 0 else "ray-worker"
            if roles.count((host, number == 0)) > 1:
                stem += f"-{segment(serve.name)}-{replica}"
            gpus = tuple(serve.serve.gpu_ids[node][place.gpu] for place in placement.places if place.node == node)
            nodes.append(
                RayNode(
                    serve=serve,
                    replica=replica,
                    node=node,
                    host=host,
                    path=f"{folders[host]}/{stem}",
                    head=number == 0,
                    gpus=gpus,
                    first_port=first,
                    worker_ports=(workers, workers + WORKER_PORTS - 1),
                )
            )
        found.append(RayCluster(tuple(nodes)))
    return tuple(found)


def ray_cluster_of(plan: Plan, process: Process) -> RayCluster:
    """The Ray that one engine process runs on."""
    return next(
        cluster
        for cluster in ray_clusters(plan)
        if cluster.head.serve is process.serve and cluster.head.replica == process.replica
    )


def fixed_ports(node: RayNode) -> tuple[tuple[str, int], ...]:
    """Every fixed port of a node by what it is for, in order; the workers' range is `node.worker_ports`."""
    own = tuple((name.removesuffix("-port"), node.first_port + offset) for name, offset in _NODE_PORTS)
    return (("gcs", node.first_port), *own, ("dashboard", node.first_port + 7)) if node.head else own


@target("ray")
def emit(plan: Plan) -> tuple[Artifact, ...]:
    """`nodes/<host>/ray-head.sh` and `ray-worker.sh` for every engine over Ray (not in Kubernetes)."""
    return tuple(
        Artifact(f"{node.path}.sh", _script(plan, cluster, node), executable=True)
        for cluster in ray_clusters(plan)
        if cluster.head.serve.serve.runtime.value != "kubernetes"
        for node in cluster.nodes
    )


def _script(plan: Plan, cluster: RayCluster, node: RayNode) -> str:
    kind = "head" if node.head else "worker"
    gpus = " ".join(str(gpu) for gpu in node.gpus)
    serve = node.serve
    what = f"Ray {kind} on {node.host} for serve {serve.name}, replica {node.replica}: GPU {gpus}; runs until stopped, hands its arguments to Ray"
    return "".join(
        (
            SHEBANG,
            comment_header(plan, what),
            STRICT,
            "\n",
            command_needed("ray", f"pip install 'ray=={RAY_VERSION}' where vllm is installed"),
            *_token(),
            "\n",
            *exports(_environment(cluster, node)),
            "\n",
            *_arguments(cluster, node),
            "\n",
            *(_run_head(node) if node.head else _run_worker(cluster, node)),
        )
    )


def _environment(cluster: RayCluster, node: RayNode) -> tuple[Variable, ...]:
    known = node_variables(node.serve, node.host, node.gpus, len(cluster.nodes))
    if any(variable.name == "VLLM_HOST_IP" for variable in known):
        return known
    alone = node.host if is_address(node.host) else "127.0.0.1"
    return (*known, Variable("VLLM_HOST_IP", alone, "the address of this node"))


def _token() -> Iterator[str]:
    yield "# Whoever reaches Ray's ports runs code on the nodes: the same token on all of them, in a file of mode 0600.\n"
    yield "#   (umask 077 && openssl rand -hex 32 >FILE), then copy it to every node\n"
    yield "# It is not encrypted on the wire: keep the nodes on a network of their own.\n"
    yield required("RAY_AUTH_TOKEN_PATH", "the file that holds the token")
    yield stop_unless("[[ -s $RAY_AUTH_TOKEN_PATH ]]", "RAY_AUTH_TOKEN_PATH names no file with a token")
    yield stop_unless(
        '[[ $(stat -L -c %a "$RAY_AUTH_TOKEN_PATH") =~ ^[46]00$ ]]', "the token is readable by others: chmod 600"
    )
    yield "unset RAY_AUTH_TOKEN\n"
    yield "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH\n"


def _arguments(cluster: RayCluster, node: RayNode) -> Iterator[str]:
    temp = f"/tmp/ray-{segment(node.serve.name)[:24]}-{node.replica}"  # noqa: S108 - Ray's own place, one for each Ray
    yield f'temp="${{KCLUSTER_RAY_DIR:-{temp}}}"\n'
    yield "args=(\n"
    if node.head:
        yield f"  --head --port={node.first_port}\n"
        yield "  --dashboard-host=127.0.0.1\n"
    else:
        yield f"  --address={quote(cluster.address)}\n"
    yield '  --node-ip-address="$VLLM_HOST_IP"\n'
    yield f"  --num-gpus={len(node.gpus)}\n"
    yield "  # the engine sends next to nothing through Ray's object store\n"
    yield f"  --object-store-memory={OBJECT_STORE_BYTES}\n"
    yield "  # fixed ports, for the firewall between the nodes\n"
    for name, offset in (*_NODE_PORTS, *(_HEAD_PORTS if node.head else ())):
        yield f"  --{name}={node.first_port + offset}\n"
    yield f"  --min-worker-port={node.worker_ports[0]} --max-worker-port={node.worker_ports[1]}\n"
    yield '  --temp-dir="$temp"\n'
    yield "  --disable-usage-stats --block\n"
    yield ")\n"
    if node.head:
        yield "# Only an install with Ray's client has this port, and refuses the option without.\n"
        yield 'if "$(dirname "$(command -v ray)")/python3" -c \'import grpc\' 2>/dev/null; then\n'
        yield f"  args+=(--ray-client-server-port={node.first_port + _CLIENT_PORT})\n"
        yield "fi\n"


def _free_ports(node: RayNode) -> Iterator[str]:
    """A function that waits until the node's own ports are free: a Ray that was killed leaves agents that hold theirs for
    up to a minute and a half."""
    ports = " ".join(str(port) for _, port in fixed_ports(node))
    yield "listens() {\n"
    yield '  timeout 3 bash -s -- "$1" "$2" 2>/dev/null <<\'PROBE\'\n'
    yield 'exec 3<>"/dev/tcp/$1/$2"\n'
    yield "PROBE\n"
    yield "}\n"
    yield "# What is left of a Ray that was killed holds its ports for a while.\n"
    yield "wait_for_free_ports() {\n"
    yield "  (($# == 0)) || return 0 # arguments of this script may name other ports\n"
    yield f"  local port deadline=$((SECONDS + {PORT_FREE_SECONDS}))\n"
    yield f"  for port in {ports}; do\n"
    yield '    while listens "$VLLM_HOST_IP" "$port"; do\n'
    yield "      if ((SECONDS >= deadline)); then\n"
    yield '        echo "port $port is taken (ss -ltnp says by what)" >&2\n'
    yield "        return 1\n"
    yield "      fi\n"
    yield "      sleep 1\n"
    yield "    done\n"
    yield "  done\n"
    yield "}\n\n"


def _run_head(node: RayNode) -> Iterator[str]:
    yield from _free_ports(node)
    yield 'wait_for_free_ports "$@"\n'
    yield "# With what a killed Ray noted here, a worker of it that is still seen would be taken for a running head.\n"
    yield 'rm -f "$temp/ray_current_cluster"\n'
    yield 'exec ray start "${args[@]}" "$@"\n'


def _run_worker(cluster: RayCluster, node: RayNode) -> Iterator[str]:
    yield from _free_ports(node)
    yield f"deadline_seconds=${{KCLUSTER_RAY_DEADLINE:-{DEADLINE_SECONDS}}}\n"
    yield "stopping='' child=''\n"
    yield "trap 'stopping=1; [[ -z $child ]] || kill -TERM \"$child\"' TERM INT\n\n"
    yield "# The head may come later than this node, or come back: join whenever it answers, give up where it never does.\n"
    yield "deadline=$((SECONDS + deadline_seconds))\n"
    yield "while [[ -z $stopping ]] && ((SECONDS < deadline)); do\n"
    yield f'  if listens {quote(cluster.head.host)} {cluster.head.first_port} && wait_for_free_ports "$@"; then\n'
    yield "    joined=$SECONDS\n"
    yield '    ray start "${args[@]}" "$@" &\n'
    yield "    child=$!\n"
    yield "    # A signal ends a wait early: wait until the node is really gone.\n"
    yield '    while kill -0 "$child" 2>/dev/null; do wait "$child" || true; done\n'
    yield "    child=\n"
    yield "    # A node that stayed for a while had joined: the time to give up starts again.\n"
    yield "    if ((SECONDS - joined >= 60)); then deadline=$((SECONDS + deadline_seconds)); fi\n"
    yield f"    echo {quote(f'left the Ray of {cluster.address}')} >&2\n"
    yield "  fi\n"
    yield "  sleep 2 &\n"
    yield "  wait $! || true\n"
    yield "done\n"
    yield "[[ -z $stopping ]] || exit 0\n"
    yield f'echo {quote(f"the Ray head at {cluster.address} did not take this node within")} "$deadline_seconds s" >&2\n'
    yield "exit 1\n"


def wait_lines(plan: Plan, process: Process) -> str:
    """Lines that hold an engine's script back until its Ray has the planned cards."""
    cluster = ray_cluster_of(plan, process)
    return "".join(
        (
            "\n",
            *_token(),
            f"export RAY_ADDRESS={quote(cluster.address)}\n\n",
            f"# {cluster.gpus} cards on {len(cluster.nodes)} nodes: a group that does not fit would wait for ever.\n",
            "ray_cards() {\n",
            '  timeout 40 ray status 2>/dev/null | awk \'$2 == "GPU" { split($1, used, "/"); found = int(used[2]) } END { print found + 0 }\'\n',
            "}\n",
            f"deadline=$((SECONDS + ${{KCLUSTER_RAY_DEADLINE:-{DEADLINE_SECONDS}}}))\n",
            f"until (($(ray_cards || echo 0) >= {cluster.gpus})); do\n",
            "  if ((SECONDS >= deadline)); then\n",
            f'    echo "Ray at $RAY_ADDRESS has $(ray_cards || echo 0) of {cluster.gpus} cards: is ray-worker.sh running everywhere?" >&2\n',
            "    exit 1\n",
            "  fi\n",
            "  sleep 2\n",
            "done\n",
        )
    )
