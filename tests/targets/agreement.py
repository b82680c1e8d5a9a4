"""Reads the artifacts of a folder back and holds each of them against `plan.toml`, with none of the product's own code."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from tests.targets import checker

Files = dict[str, str]
Server = tuple[str, int]

ROUTERS = ("nginx", "haproxy", "vllm-router")


def disagreements(files: Files) -> list[str]:
    """Everything that some file says otherwise than `plan.toml`; empty where all agree."""
    plan = tomllib.loads(files["plan.toml"])
    found = [*_hashes(files, plan), *_cards(plan)]
    for serve in plan["serves"]:
        if serve["engine"]["name"] == "vllm":
            found += _processes(files, serve)
            found += _meetings(files, serve, plan["ports"])
            found += _environment(files, serve)
        found += _rays(files, serve)
        found += _units(files, serve)
        found += _containers(files, serve)
        found += _pods(files, serve)
    found += [*_routers(files, plan), *_ports(files, plan), *_scraped(files, plan), *_ready(files, plan)]
    return found


def _hashes(files: Files, plan: dict[str, Any]) -> Iterator[str]:
    listed = {row["path"]: row["sha256"] for row in plan["files"]}
    there = {path: hashlib.sha256(text.encode()).hexdigest() for path, text in files.items() if path != "plan.toml"}
    if listed != there:
        yield "files and hashes are not those of the folder"


def _cards(plan: dict[str, Any]) -> Iterator[str]:
    """Cards by placement and by processes are the same ones, and none is given twice (but where serves share them)."""
    for serve in plan["serves"]:
        cut = serve["parallel"]
        placed = [(row["host"], gpu) for row in serve["placement"] for gpu in row["gpus"]]
        if len(placed) != len(set(placed)):
            yield f"{serve['name']}: a card is placed twice"
        if len(placed) != cut["replicas"] * cut["tp"] * cut["pp"] * cut["dp"]:
            yield f"{serve['name']}: {len(placed)} cards placed, the cut has another number"
        if serve["distribution"] != "ray" and serve["runtime"] != "kubernetes":
            used = [(process["host"], gpu) for process in serve["processes"] for gpu in process["gpus"]]
            if sorted(used) != sorted(placed):
                yield f"{serve['name']}: processes use other cards than are placed"
        ranks = sorted((row["replica"], row["rank"], row["stage"]) for row in serve["placement"])
        wanted = {
            (replica, rank, stage)
            for replica in range(cut["replicas"]) for rank in range(cut["dp"]) for stage in range(cut["pp"])
        }  # fmt: skip
        if set(ranks) != wanted:
            yield f"{serve['name']}: ranks and stages are not those of the cut"


def _version(serve: dict[str, Any]) -> tuple[int, ...]:
    return tuple(int(part) for part in serve["engine"]["version"].split("."))


def _of_cut(serve: dict[str, Any], flags: dict[str, Any], where: str) -> Iterator[str]:
    """What every process of a serve says alike."""
    cut, limits = serve["parallel"], serve["limits"]
    pairs = {
        "tensor_parallel_size": cut["tp"],
        "pipeline_parallel_size": cut["pp"],
        "data_parallel_size": cut["dp"],
        "decode_context_parallel_size": cut["dcp"],
        "max_model_len": limits["max_model_len"],
        "max_num_seqs": limits["max_num_seqs"],
        "max_num_batched_tokens": limits["max_num_batched_tokens"],
        "gpu_memory_utilization": limits["gpu_memory_utilization"],
    }
    for name, wanted in pairs.items():
        said = flags.get(name, 1)
        if float(said) != float(wanted):
            yield f"{where}: {name} is {said}, the plan has {wanted}"
    if ("enable_expert_parallel" in flags) != (cut["ep"] > 1):
        yield f"{where}: expert parallel, and the plan not, or the reverse"
    if [*flags["served_model_name"]] != serve["model"]["served_names"]:
        yield f"{where}: other names are served"


def _processes(files: Files, serve: dict[str, Any]) -> Iterator[str]:
    heads = {process["replica"]: process for process in serve["processes"] if process["node_rank"] == 0}
    for process in serve["processes"]:
        where = process["file"]
        script, config = files[where], files[where.removesuffix(".sh") + ".yaml"]
        flags = checker.read(checker.config_argv(config), _version(serve))
        yield from _of_cut(serve, flags, where)
        if process.get("port") is not None:
            if flags["port"] != process["port"]:
                yield f"{where}: port {flags['port']}, the plan has {process['port']}"
        elif "headless" not in flags:
            yield f"{where}: answers, and has no port in the plan"
        if serve["distribution"] == "nnodes":
            if flags["node_rank"] != process["node_rank"]:
                yield f"{where}: node rank {flags['node_rank']}"
            if flags["master_addr"] != heads[process["replica"]]["host"]:
                yield f"{where}: the nodes meet at {flags['master_addr']}"
        first = flags.get("data_parallel_start_rank", flags.get("data_parallel_rank"))
        if first is not None and first != process["ranks"][0]:
            yield f"{where}: first rank {first}, the plan has {process['ranks'][0]}"
        if "data_parallel_size_local" in flags and flags["data_parallel_size_local"] != len(process["ranks"]):
            yield f"{where}: {flags['data_parallel_size_local']} ranks on the node"
        seen = re.findall(r"^export (?:CUDA|HIP)_VISIBLE_DEVICES=([\d,]+)$", script, re.MULTILINE)
        cards = process["gpus"]
        if serve["runtime"] == "compose" and "export CUDA" in script:
            cards = [sorted(cards).index(card) for card in cards]
        if serve["distribution"] != "ray" and seen != [",".join(str(card) for card in cards)]:
            yield f"{where}: sees cards {seen}, the plan has {process['gpus']}"


def _flags(files: Files, process: dict[str, Any], serve: dict[str, Any]) -> dict[str, Any]:
    config = files[process["file"].removesuffix(".sh") + ".yaml"]
    return checker.read(checker.config_argv(config), _version(serve))


EVERYWHERE = ("0.0.0.0", "::")


def _meetings(files: Files, serve: dict[str, Any], ports: list[dict[str, Any]]) -> Iterator[str]:
    """Servers listen where the plan says that they are reached, and the nodes of an engine meet at its first one, at the port
    that the plan opens there."""
    if serve["runtime"] == "kubernetes":
        return
    own = {
        (row["host"], row["port"], row["what"]): row["reached_from"] for row in ports if row["serve"] == serve["name"]
    }
    heads = {process["replica"]: process["host"] for process in serve["processes"] if process["node_rank"] == 0}
    for process in serve["processes"]:
        where, flags, host = process["file"], _flags(files, process, serve), process["host"]
        if process.get("port"):
            reached = own.get((host, str(process["port"]), "engine"))
            wanted = ("127.0.0.1",) if reached == "node" else (host, *EVERYWHERE)
            if flags["host"] not in wanted:
                yield f"{where}: listens on {flags['host']}, and is reached from {reached}"
        for port, address, what in (
            ("master_port", "master_addr", "nodes of one engine meet"),
            ("data_parallel_rpc_port", "data_parallel_address", "ranks of one engine meet"),
        ):
            if port not in flags or (what.startswith("ranks") and serve["distribution"] != "dp"):
                continue
            head = heads[process["replica"]]
            if flags[address] != head or (head, str(flags[port]), what) not in own:
                yield f"{where}: meets the others at {flags[address]}:{flags[port]}, which the plan does not open"


EXPORT = re.compile(r"^export (\w+)=(\S+)$", re.MULTILINE)


def _environment(files: Files, serve: dict[str, Any]) -> Iterator[str]:
    """Every node of an engine says its own address, the others' interface and the same of all else."""
    if serve["runtime"] == "kubernetes":
        return
    alike: dict[str, dict[str, str]] = {}
    for process in serve["processes"]:
        found = dict(EXPORT.findall(files[process["file"]]))
        ours = {"VLLM_HOST_IP": process["host"]} if process["node_rank"] or len(_hosts_of(serve, process)) > 1 else {}
        for name, value in ours.items():
            if found.pop(name, None) != value:
                yield f"{process['file']}: {name} is not {value}"
        if "VLLM_API_KEY" in found and not process.get("port"):
            yield f"{process['file']}: answers nobody, and is given a key"
        if process.get("port") and int(found.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE", 75)) <= 60:
            yield f"{process['file']}: idle connections end before the router's 60 s"
        of_servers = ("VLLM_API_KEY", "VLLM_HTTP_TIMEOUT_KEEP_ALIVE", "VLLM_ENGINE_READY_TIMEOUT_S")
        for name in ("CUDA_VISIBLE_DEVICES", *of_servers):
            found.pop(name, None)
        alike[process["file"]] = found
    first = next(iter(alike.values()), {})
    for file, found in alike.items():
        if found != first:
            yield f"{file}: another environment than the first node's: {sorted(set(found.items()) ^ set(first.items()))}"


def _hosts_of(serve: dict[str, Any], process: dict[str, Any]) -> set[str]:
    return {other["host"] for other in serve["processes"] if other["replica"] == process["replica"]}


def _rays(files: Files, serve: dict[str, Any]) -> Iterator[str]:
    if serve["distribution"] != "ray" or serve["runtime"] == "kubernetes":
        return
    placed: dict[str, int] = {}
    for row in serve["placement"]:
        placed[row["host"]] = placed.get(row["host"], 0) + len(row["gpus"])
    found: dict[str, int] = {}
    for path, text in files.items():
        mine = f"for serve {serve['name']}, replica" in text
        if mine and "/ray-" in path and path.endswith(".sh"):
            (cards,) = re.findall(r"--num-gpus=(\d+)$", text, re.MULTILINE)
            (host,) = re.findall(r"^# Ray (?:head|worker) on (\S+) for serve", text, re.MULTILINE)
            found[host] = found.get(host, 0) + int(cards)
    if found != placed:
        yield f"{serve['name']}: Ray has cards {found}, the plan {placed}"


def _units(files: Files, serve: dict[str, Any]) -> Iterator[str]:
    if serve["runtime"] != "systemd":
        return
    for process in serve["processes"]:
        folder, _, script = process["file"].rpartition("/")
        unit = f"{folder}/systemd/kcluster-{script.removesuffix('.sh')}.service"
        if unit not in files:
            yield f"{unit} is missing"
        elif f'/{process["file"]}"\n' not in files[unit]:
            yield f"{unit} does not start {process['file']}"


def _containers(files: Files, serve: dict[str, Any]) -> Iterator[str]:
    if serve["runtime"] != "compose":
        return
    services = yaml.safe_load(files["compose/compose.yaml"])["services"]
    by_script = {body["entrypoint"][1]: body for body in services.values()}
    for process in serve["processes"]:
        body = by_script.get(f"/kcluster/{process['file']}")
        if body is None:
            yield f"{process['file']} has no container"
            continue
        (device,) = body["deploy"]["resources"]["reservations"]["devices"]
        if sorted(int(card) for card in device["device_ids"]) != sorted(process["gpus"]):
            yield f"{process['file']}: its container has cards {device['device_ids']}"


def _pods(files: Files, serve: dict[str, Any]) -> Iterator[str]:
    if serve["runtime"] != "kubernetes":
        return
    cut = serve["parallel"]
    paths = [
        path for path, text in files.items() if path.endswith("engine.yaml") and f"of serve {serve['name']}.\n" in text
    ]
    if len(paths) != 1:
        yield f"{serve['name']} has no pods"
        return
    work = next(
        one for one in yaml.safe_load_all(files[paths[0]]) if one["kind"] in ("Deployment", "LeaderWorkerSet")
    )["spec"]  # fmt: skip
    group = work.get("leaderWorkerTemplate")
    templates = [group["leaderTemplate"], group["workerTemplate"]] if group else [work["template"]]
    size = group["size"] if group else 1
    cards = 0
    for number, template in enumerate(templates):
        (container,) = template["spec"]["containers"]
        own = next(count for name, count in container["resources"]["limits"].items() if name.endswith("/gpu"))
        cards += own * (1 if number == 0 else size - 1)
        words = [re.sub(r"\$\(LWS_WORKER_INDEX\)", str(number), word) for word in container["args"]]
        yield from _of_cut(serve, checker.read(["serve", *words], _version(serve)), f"{paths[0]} pod {number}")
    if (work["replicas"], cards) != (cut["replicas"], cut["tp"] * cut["pp"] * cut["dp"]):
        yield f"{paths[0]}: {work['replicas']} replicas of {cards} cards"


def _servers(plan: dict[str, Any], names: list[str]) -> set[Server]:
    return {
        (process["host"], process["port"])
        for serve in plan["serves"]
        if serve["name"] in names
        for process in serve["processes"]
        if process.get("port")
    }


def _endpoint(text: str) -> Server:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _routers(files: Files, plan: dict[str, Any]) -> Iterator[str]:
    """Each router sends to exactly the servers of its serves."""
    patterns = {
        "nginx": r"^        server (\S+) max_fails",
        "haproxy": r"^    server \S+ (\S+) check",
        "vllm-router": r"^  (\S+:\d+) # ",
    }
    endings = {"nginx": ".conf", "haproxy": ".cfg", "vllm-router": ".sh"}
    fronts = [row for row in plan["ports"] if row["what"] in ROUTERS]
    seen: list[set[Server]] = []
    for kind in ROUTERS:
        for path, text in files.items():
            if re.fullmatch(rf"router/{kind}(-[^/]+)?{re.escape(endings[kind])}", path):
                sent = {_endpoint(one) for one in re.findall(patterns[kind], text, re.MULTILINE)}
                seen.append(sent)
    wanted = []
    for row in fronts:
        servers = _servers(plan, row["serve"].split(" "))
        wanted.append(
            ({(row["host"], port) if host == row["host"] else (host, port) for host, port in servers}, row["host"])
        )
    for servers, router in wanted:
        local = {(("127.0.0.1" if host == router else host), port) for host, port in servers}
        if not any(local == sent or servers == sent for sent in seen):
            yield f"the router on {router} does not send to {sorted(servers)}"
    if len(seen) != len(wanted):
        yield f"{len(seen)} routers are written, the plan has {len(wanted)}"


def _ports(files: Files, plan: dict[str, Any]) -> Iterator[str]:
    """The firewall of a host names exactly its ports that others reach, and the runbook all of them."""
    hosts = {row["host"] for row in plan["ports"]}
    lists = {path: text for path, text in files.items() if path.endswith("firewall.nft")}
    if len(lists) != len(hosts):
        yield f"{len(lists)} firewalls for {len(hosts)} hosts"
    for text in lists.values():
        (host,) = re.findall(r"Who may reach the ports of (\S+)\.$", text, re.MULTILINE)
        opened = set(re.findall(r"tcp dport (\S+) ", text))
        wanted = {row["port"] for row in plan["ports"] if row["host"] == host and row["reached_from"] != "node"}
        if opened != wanted:
            yield f"the firewall of {host} has ports {sorted(opened)}, the plan {sorted(wanted)}"
    listed: set[tuple[str, int]] = set()
    for host, first, last in re.findall(r"^\| `([^`]+)` \| (\d+)(?:-(\d+))? \| ", files["README.md"], re.MULTILINE):
        listed |= {(host, port) for port in range(int(first), int(last or first) + 1)}
    for row in plan["ports"]:
        first, _, last = row["port"].partition("-")
        if not {(row["host"], port) for port in range(int(first), int(last or first) + 1)} <= listed:
            yield f"the runbook does not name port {row['port']} of {row['host']}"


def _scraped(files: Files, plan: dict[str, Any]) -> Iterator[str]:
    if "monitoring/prometheus.yml" not in files:
        return
    jobs = yaml.safe_load(files["monitoring/prometheus.yml"])["scrape_configs"]
    found: set[tuple[str, str, int]] = set()
    for group in next(job for job in jobs if job["job_name"] == "kcluster")["static_configs"]:
        for target in group["targets"]:
            found.add((group["labels"]["serve"], group["labels"]["host"], _endpoint(target)[1]))
    wanted = {
        (serve["name"], process["host"], process["port"])
        for serve in plan["serves"] for process in serve["processes"]
        if process.get("port")
    }  # fmt: skip
    if found != wanted:
        yield f"Prometheus scrapes {sorted(found ^ wanted)} otherwise than the plan has"


def _ready(files: Files, plan: dict[str, Any]) -> Iterator[str]:
    for serve in plan["serves"]:
        for process in serve["processes"]:
            if process.get("port"):
                folder, _, script = process["file"].rpartition("/")
                path = f"{folder}/ready-{script.removeprefix('serve-')}"
                (port,) = re.findall(r"^url='?http://\S*?:(\d+)'?$", files[path], re.MULTILINE)
                if int(port) != process["port"]:
                    yield f"{path} asks port {port}, the plan has {process['port']}"
