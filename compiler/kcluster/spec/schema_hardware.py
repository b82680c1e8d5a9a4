"""The table of `hardware` and `gpu` blocks, and of the constructors of buses and networks."""

from __future__ import annotations

from typing import Final

from kcluster.spec.schema_types import (
    MAX_BYTES,
    MAX_GPUS_PER_NODE,
    MAX_NODES,
    MAX_RATE,
    A,
    AttributeSchema,
    BlockSchema,
    ConstructorSchema,
    count,
    text,
)

_GPUS: Final = A("gpus", "cards", "the cards of a node: `4 * rtx-5090`", required=True, high=MAX_GPUS_PER_NODE)
_BUS: Final = A("bus", "bus", "how the cards of a node reach each other", default="by the card's form")

NODE: Final = BlockSchema(
    "node",
    "one node of a cluster whose nodes differ",
    (
        A("gpus", "cards", "the cards of this node", high=MAX_GPUS_PER_NODE, default="the hardware's"),
        _BUS,
        text("host", "host", "address on the network"),
    ),
    label="name",
    repeat=True,
)

HARDWARE: Final = BlockSchema(
    "hardware",
    "machines with their cards, buses and network",
    (
        count("nodes", "machines alike", high=MAX_NODES, default="as many as hosts, else 1"),
        _GPUS,
        _BUS,
        A("network", "network", "what joins the nodes, one link a node shared by its cards"),
        A(
            "hosts",
            "strings",
            "addresses of the nodes on the network",
            text="host",
            low=1,
            high=MAX_NODES,
            default="node0, node1, …",
        ),
        text("interface", "interface", "network interface that collectives use"),
        text("user", "user", "user that services run as"),
        text("model_path", "path", "folder on every node that holds the models"),
        A("storage", "bytes/s", "rate at which a node reads a model", above=True, high=MAX_RATE),
        A("reserved", "bytes", "memory that others hold on each card", high=MAX_BYTES, default="0"),
    ),
    (NODE,),
    label="name",
    repeat=True,
)

GPU: Final = BlockSchema(
    "gpu",
    "a card that the catalog lacks",
    (
        A("memory", "bytes", "what the driver reports as total", required=True, above=True, high=MAX_BYTES),
        A("bandwidth", "bytes/s", "memory bandwidth", required=True, above=True, high=MAX_RATE),
        A("bf16", "flop/s", "dense bf16 rate in TFLOPS", required=True, above=True, high=1e18),
        A("fp8", "flop/s", "dense fp8 rate in TFLOPS", above=True, high=1e18, default="none"),
        A("fp4", "flop/s", "dense fp4 rate in TFLOPS", above=True, high=1e18, default="none"),
        A("compute_capability", "capability", "of an NVIDIA card, such as 8.9"),
        A("bus", "bus", "its slot or links", default="pcie(4, x16)"),
    ),
    label="name",
    repeat=True,
)


def _generation() -> AttributeSchema:
    return A("generation", "count", "generation of the link", low=1, high=99, required=True)


_SHARED: Final = (
    A("p2p", "boolean", "whether cards read each other's memory", default="by the card"),
    A("shared_lanes", "count", "cards that share one link's lanes", low=1, high=MAX_GPUS_PER_NODE, default="1"),
    A("groups", "groups", "cards behind one socket or switch: `[[0, 1], [2, 3]]`", high=MAX_GPUS_PER_NODE - 1),
)
_RATE: Final = A("rate", "bytes/s", "line rate: `100GbE` or `100 Gb/s`", required=True, above=True, high=MAX_RATE)

CONSTRUCTORS: Final = (
    ConstructorSchema(
        "pcie",
        "bus",
        "PCI Express",
        (_generation(), A("lanes", "lanes", "`x16`, `x8`, `x4`", default="x16"), *_SHARED),
        2,
    ),
    ConstructorSchema("nvlink", "bus", "NVLink through switches, all cards of a node", (_generation(), *_SHARED), 1),
    ConstructorSchema(
        "nvlink-bridge",
        "bus",
        "NVLink bridges between some cards, PCIe between the others",
        (
            _generation(),
            A("pairs", "groups", "cards joined by a bridge: `[[0, 1], [2, 3]]`", high=MAX_GPUS_PER_NODE - 1),
            *_SHARED,
        ),
        1,
    ),
    ConstructorSchema("xgmi", "bus", "AMD's Infinity Fabric between all cards of a node", (_generation(), *_SHARED), 1),
    ConstructorSchema("ethernet", "network", "Ethernet by sockets", (_RATE,), 1),
    ConstructorSchema("roce", "network", "RDMA over Ethernet", (_RATE,), 1),
    ConstructorSchema(
        "infiniband",
        "network",
        "InfiniBand",
        (
            A(
                "speed",
                "link speed",
                "`edr`, `hdr`, `ndr` or `xdr`",
                required=True,
                choices=("edr", "hdr", "ndr", "xdr"),
            ),
        ),
        1,
    ),
)
