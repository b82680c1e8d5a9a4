"""What is open to others: doors, ports, secrets (KC701–KC703)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from kcluster.diagnostics import Diagnostic
from kcluster.planner.types import Plan
from kcluster.rules.finding import finding, gpus_of, head_of, place_of, written
from kcluster.rules.registry import rule
from kcluster.rules.words import quoted
from kcluster.spec.types import ArgumentValue, ServeSpec, Spec, Value

if TYPE_CHECKING:
    from kcluster.targets.routing import Backend, Front


def _loopback(host: str) -> bool:
    return host in ("localhost", "::1") or host.startswith("127.")


def _wildcard(host: str) -> bool:
    return host in ("0.0.0.0", "::", "")  # noqa: S104 - recognised, never chosen


def _public(host: str) -> bool:
    """Whether an address is one of the public internet; names are not known to be."""
    from ipaddress import ip_address

    try:
        return ip_address(host.strip("[]")).is_global
    except ValueError:
        return False


@rule("KC701", stage="plan")
def open_listener(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    An engine that listens beyond its own machine asks for a key, and a router asks for a key or speaks TLS.

    Why
    Whoever reaches the port may use the cards, read what others' prompts left in the prefix cache's timing, and with some routes of the engine
    pause it or change its weights. A listener without a key is open to the whole network that it is on.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm { host = "0.0.0.0" }   #! KC701
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        host    = "0.0.0.0"
        api_key = env("VLLM_API_KEY")
      }
    }
    ```

    Fix
    `api_key = env("NAME")` in the engine, which the router passes through; `tls { certificate = …, key = … }` in a router that others reach. Or
    listen on 127.0.0.1 behind a router on the same machine.

    Source
    vLLM listens on all interfaces when no host is given, and its `--api-key` guards `/v1` only (vLLM issue 18892 and pull request 29922), which is
    why the compiled routers pass nothing else.
    """
    from kcluster.targets.routing import backends, fronts

    told: set[str] = set()
    for front in fronts(plan):
        keyed = front.api_key is not None or all(route.serve.serve.engine.api_key is not None for route in front.routes)
        if not keyed and front.tls is None and not _loopback(front.host):
            told.update(route.serve.name for route in front.routes)
            yield _open_router(front)
    for serve in plan.serves:
        spec = serve.serve
        if spec.engine.api_key is not None or (spec.name in told and spec.engine.host is None):
            continue
        open_ones = [backend for backend in backends(plan, serve) if not _loopback(backend.bind)]
        if open_ones and not _raw_key(spec):
            yield _open_engine(spec, open_ones[0])


def _raw_key(serve: ServeSpec) -> bool:
    """Whether the key is given past the attribute: as a flag, or as the variable that the engine reads."""
    return any(name.value == "--api-key" for name, _ in serve.engine.args) or any(
        name.value == "VLLM_API_KEY" for name, _ in serve.engine.env
    )


def _open_router(front: Front) -> Diagnostic:
    route = front.routes[0]
    at = head_of(route.serve.serve)
    if front.spec is not None:
        at = (
            place_of(front.spec.listen)
            if front.spec.listen is not None and front.spec.listen.written
            else head_of(front.spec)
        )
    return finding(
        "KC701",
        f"the router listens on port {front.listen} without a key and without TLS",
        at,
        help=('`api_key = env("VLLM_API_KEY")` in the engine, or `tls { … }` in the router',),
    )


def _open_engine(serve: ServeSpec, backend: Backend) -> Diagnostic:
    at = written(serve, "host", "hosts") or head_of(serve)
    where = "all interfaces" if _wildcard(backend.bind) else f"`{backend.bind}`"
    return finding(
        "KC701",
        f"the engine of `{serve.name}` listens on {where}, port {backend.port}, without a key",
        at,
        help=('`api_key = env("VLLM_API_KEY")` in the engine',),
    )


@rule("KC702", stage="plan")
def open_port(plan: Plan) -> Iterator[Diagnostic]:
    """
    What it checks
    The ports that the nodes use among themselves (Ray's, the engine's torch store, NCCL and ZMQ sockets) and those of the metrics are on addresses of
    the cluster's own network, not of the public internet.

    Why
    These ports have no key worth the name: who reaches Ray's may run any program on every node, and who reaches the engine's sockets may
    send it pickled objects.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct" }
    hardware rack {
      nodes   = 2
      gpus    = 8 * h100-sxm
      network = 8 * infiniband(ndr)
      hosts   = ["8.8.4.4", "8.8.8.8"]   #! KC702
    }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve big {
      model = llama, hardware = rack, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-405B-Instruct" }
    hardware rack { nodes = 2, gpus = 8 * h100-sxm, network = 8 * infiniband(ndr), hosts = ["10.0.0.21", "10.0.0.22"] }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve big {
      model = llama, hardware = rack, sla = team
      engine vllm { api_key = env("VLLM_API_KEY") }
    }
    ```

    Fix
    Give the nodes' addresses on a private network in `hosts`, and let only the router have a public one.

    Source
    Ray's GCS listens on all interfaces at port 6379, and its token is not encrypted on the wire (Ray 2.60, security documentation); vLLM's security guide
    says that node-to-node traffic is unauthenticated.
    """
    for serve in plan.serves:
        spec = serve.serve
        public = [host for host in serve.hosts if _public(host)]
        if public and serve.distribution != "single":
            what = {"ray": "Ray's ports", "nnodes": "the engine's own ports", "dp": "the ports between ranks"}[
                serve.distribution
            ]
            yield finding(
                "KC702",
                f"{what} are on {quoted(public, 'and')}, which the whole internet reaches",
                written(spec, "hosts") or gpus_of(spec.hardware),
                help=("give `hosts` on a private network",),
            )
        for name, value in (("Prometheus", spec.monitor.prometheus), ("Grafana", spec.monitor.grafana)):
            host = _host_part(value.value) if value is not None and value.written else ""
            if value is not None and host and (_wildcard(host) or _public(host)):
                yield finding(
                    "KC702",
                    f"{name} listens on `{host}`, beyond the cluster's own network",
                    place_of(value),
                    help=('`"127.0.0.1:9090"`, or an address of the private network',),
                )


def _host_part(address: str) -> str:
    """The host of `host:port`, `[v6]:port` or an http address of one."""
    rest = address.partition("://")[2] or address
    if rest.startswith("["):
        return rest[1:].partition("]")[0]
    return rest.partition("/")[0].rpartition(":")[0] or rest.partition("/")[0]


_SECRET_WORDS: Final = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "PASSPHRASE", "CREDENTIAL", "CREDENTIALS", "APIKEY")


_KEY_BEFORE: Final = (
    "API",
    "ACCESS",
    "SECRET",
    "PRIVATE",
    "AUTH",
    "ENCRYPTION",
    "SIGNING",
    "LICENSE",
    "ADMIN",
    "MASTER",
)


@cache
def _secret_value() -> re.Pattern[str]:
    return re.compile(
        r"""\b(?:
            sk-[A-Za-z0-9_-]{16,} | hf_[A-Za-z0-9]{16,} | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,}
          | glpat-[A-Za-z0-9_-]{16,} | AKIA[0-9A-Z]{16} | xox[abprs]-[A-Za-z0-9-]{10,} | nvapi-[A-Za-z0-9_-]{16,}
          | eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+
        )
        | -----BEGIN\ [A-Z ]*PRIVATE\ KEY-----
        | ://[^/\s:@]+:[^/\s:@]+@""",
        re.VERBOSE,
    )


_OPAQUE: Final = r"(?=[^a-z]*[a-z])(?=[^A-Z]*[A-Z])(?=[^0-9]*[0-9])[A-Za-z0-9+_-]{40,}={0,2}"
"""Forty and more letters of base64 with all three kinds: longer than names, and no commit id, which has no capitals."""


def secret_reason(name: str, value: str) -> str:
    """Why a value looks like a secret, empty where it does not. `name` is the flag or variable that it is given to."""
    if _secret_value().search(value):
        return "has the form of a key"
    words = [word for word in re.split(r"[^A-Z0-9]+", name.upper()) if word]
    last = words[-1] if words else ""
    named = last in _SECRET_WORDS or (last == "KEY" and (len(words) == 1 or words[-2] in _KEY_BEFORE))
    stands = bool(value) and not value.startswith(("/", "$", "<", "env:", "file:")) and not value.isdigit()
    if named and stands and value.lower() not in ("true", "false", "on", "off", "none", "auto"):
        return "is named like a secret"
    return "is as long and random as a key" if re.fullmatch(_OPAQUE, value) else ""


@rule("KC703", stage="spec")
def secret_in_spec(spec: Spec) -> Iterator[Diagnostic]:
    """
    What it checks
    No value of `args` or `env` is a key, token or password: by its form (`sk-…`, `hf_…`, a private key, a password in a URL), by the name of the
    flag or variable that it is given to, or by being as long and random as one.

    Why
    A spec goes into git, into compiled files and into process lists, where everyone who may look at one of them reads it. A key that was committed
    once has to be replaced, not deleted.

    Example
    ```kcluster bad
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        env { HF_TOKEN = "hf_placeholderForThePage" }   #! KC703
      }
    }
    ```

    ```kcluster good
    model llama { id = "meta-llama/Llama-3.1-8B-Instruct" }
    hardware box { gpus = 1 * l40s }
    sla team { concurrency = 4, context = 8K, prompt = 2K, completion = 500 }
    serve chat {
      model = llama, hardware = box, sla = team
      engine vllm {
        api_key = env("VLLM_API_KEY")
        env { HF_HOME = "/models/hf" }
      }
    }
    ```

    Fix
    `api_key = env("NAME")` names the variable that will hold it; other secrets belong into the environment of the host (a file of mode 0600 that the
    unit reads), never into the spec.

    Source
    CWE-798, use of hard-coded credentials; CWE-214 for arguments that the process list shows.
    """
    for serve in spec.serves:
        engine = serve.engine
        given: list[tuple[Value[str], Value[str] | Value[ArgumentValue]]] = [*engine.env, *engine.args]
        for name, value in given:
            texts = value.value if isinstance(value.value, tuple) else (value.value,)
            reasons = [
                reason for text in texts if isinstance(text, str) and (reason := secret_reason(name.value, text))
            ]
            if reasons:
                yield finding(
                    "KC703",
                    f"the value of `{name.value}` {reasons[0]}, and a spec is no place for one",
                    place_of(value) if value.written else place_of(name),
                    help=('`api_key = env("NAME")`, or set the variable in the environment of the host',),
                )
