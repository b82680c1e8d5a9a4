"""A compiled router run for real in front of two stand-in engines, by the script that was compiled beside it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from attrs import define, field

from tests.support.compiled import tool, two_replicas, written
from tests.support.processes import end, free_pair, free_port, listens, running, wait_for

STANDIN = Path(__file__).parent / "standin.py"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@define
class Fronted:
    """A router on `port` in front of stand-ins, replica n on `engine + n`. `env` is what its script is run with."""

    folder: Path
    stem: str
    port: int
    engine: int
    tls: ssl.SSLContext | None = None
    env: dict[str, str] = field(factory=dict)
    replicas: list[subprocess.Popen[bytes]] = field(factory=list)
    router: subprocess.Popen[bytes] | None = None

    def log(self, replica: int) -> Path:
        return self.folder / f"replica-{replica}.log"

    def start(self, replica: int) -> subprocess.Popen[bytes]:
        process = stand_in(self.engine + replica, self.log(replica))
        wait_for(lambda: listens(self.engine + replica), "a stand-in listens")
        return process

    @property
    def program(self) -> Path:
        return self.folder / f"out/router/{self.stem}.sh"

    def script(self, *arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", str(self.program), *arguments],
            env=dict(self.env if env is None else env), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip

    @property
    def router_log(self) -> str:
        return (self.folder / "router.log").read_text()


def stand_in(port: int, log: Path) -> subprocess.Popen[bytes]:
    """A stand-in engine as a process of its own session."""
    return subprocess.Popen(
        [sys.executable, str(STANDIN), str(port), str(log)], start_new_session=True, stdin=subprocess.DEVNULL
    )


def certificate(folder: Path) -> tuple[Path, Path, ssl.SSLContext]:
    """A certificate of this machine with its key, and a context of clients that trust it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    subprocess.run(
        [tool("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert),
         "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    key.chmod(0o600)
    context = ssl.create_default_context(cafile=str(cert))
    context.check_hostname = False
    return cert, key, context


@contextlib.contextmanager
def fronted(
    folder: Path, kind: str, *, tls: bool = False, router: str = "", spec: str = "", arguments: tuple[str, ...] = ("start",),
    **environment: str,
) -> Iterator[Fronted]:  # fmt: skip
    """The router of a spec of two replicas, running; `router` are further attributes of its block.

    With `spec`, that spec instead, in which `{engine}`, `{engine2}` and `{port}` stand for the ports.
    """
    folder.chmod(0o755)  # workers of a root NGINX are another user
    engine, port = free_pair(), free_port()
    context = None
    inner = f"listen = {port}\n{router}\n"
    if tls:
        cert, key, context = certificate(folder)
        inner += f'tls {{ certificate = "{cert}", key = "{key}" }}\n'
    text = spec.replace("{engine}", str(engine)).replace("{engine2}", str(engine + 1)).replace("{port}", str(port))
    written(text or two_replicas(engine, f"router {kind} {{ {inner} }}"), folder / "out")
    env = {
        "PATH": SYSTEM_PATH,
        "KCLUSTER_RUN_DIR": str(folder / "run"),
        "KCLUSTER_METRICS_PORT": str(free_port()),
        **environment,
    }
    case = Fronted(folder, kind, port, engine, context, env)
    with contextlib.ExitStack() as stack:
        for replica in (0, 1):
            case.replicas.append(case.start(replica))
        stack.callback(lambda: [end(process) for process in case.replicas])
        case.router = stack.enter_context(
            running(["bash", str(case.program), *arguments], folder / "router.log", env=env)
        )
        # Not that it listens: `nginx -t` in front of the start listens too, for a moment.
        wait_for(lambda: answers(port, context) or gone(case.router), f"{kind} answers")
        assert not gone(case.router), case.router_log
        yield case


def answers(port: int, tls: ssl.SSLContext | None) -> bool:
    """Whether something speaks HTTP on a port, whatever it says."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as plain:
            connection = tls.wrap_socket(plain, server_hostname="localhost") if tls else plain
            connection.sendall(b"GET /lb-health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return connection.recv(16).startswith(b"HTTP/1.1 ")
    except OSError:
        return False


def gone(process: subprocess.Popen[bytes] | None) -> bool:
    return process is None or process.poll() is not None
