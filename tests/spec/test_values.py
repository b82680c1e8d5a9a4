"""Values by kind: units, words, lists, versions; what they become in base units."""

from __future__ import annotations

import pytest

from kcluster.diagnostics.wording import distance, listed, nearest, shown, suggestions
from kcluster.spec.quantities import UNITS, nearest_unit
from tests.spec.resolving import EXAMPLE, SHORT, Resolved, resolved


def sla(line: str) -> Resolved:
    return resolved(SHORT.replace("completion = 500", f"completion = 500, {line}"))


def hardware(line: str) -> Resolved:
    return resolved(SHORT.replace("2 * l40s", f"2 * l40s, {line}"))


def engine(line: str) -> Resolved:
    text = SHORT + f"serve c {{ model = llama, hardware = box, sla = team\nengine vllm {{ {line} }} }}\n"
    return resolved(text)


SIZES = [
    ("96GB", 96_000_000_000),
    ("96 GB", 96_000_000_000),
    ("31.4 GiB", 31.4 * 2**30),
    ("1 B", 1),
    ("2 kB", 2000),
    ("2 KB", 2000),
    ("2 KiB", 2048),
    ("3 MB", 3e6),
    ("3 MiB", 3 * 2**20),
    ("0.5 TB", 5e11),
    ("0.5 TiB", 2**39),
]


@pytest.mark.parametrize(("text", "value"), SIZES)
def test_sizes(text: str, value: float) -> None:
    found = hardware(f"reserved = {text}")
    assert found.found == (), found.report()
    assert found.serve.hardware.reserved is not None
    assert found.serve.hardware.reserved.value == pytest.approx(value, rel=1e-12)
    assert found.serve.cluster.reserved == found.serve.hardware.reserved.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 GB/s", 3e9),
        ("900 MB/s", 9e8),
        ("1 GiB/s", 2**30),
        ("25 Gb/s", 3.125e9),
        ("100GbE", 12.5e9),
        ("10 Gbps", 1.25e9),
    ],
)
def test_rates(text: str, value: float) -> None:
    read = hardware(f"storage = {text}").serve.hardware.storage
    assert read is not None and read.value == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("2s", 2.0), ("150ms", 0.15), ("150 ms", 0.15), ("2 min", 120.0), ("0.5 h", 1800.0), ("500 us", 5e-4)],
)
def test_times(text: str, value: float) -> None:
    found = sla(f"ttft <= {text}").serve.sla
    assert found is not None
    bound = found.bound("ttft")
    assert bound is not None and bound.value.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8k", 8000),
        ("8K", 8192),
        ("1m", 10**6),
        ("1M", 2**20),
        ("8192", 8192),
        ("1_000", 1000),
        ("25.6k", 25600),
        ("700 tokens", 700),
    ],
)
def test_tokens(text: str, value: int) -> None:
    read = engine(f"max_model_len = {text}").serve.engine.max_model_len
    assert read is not None and read.value == value and isinstance(read.value, int)


@pytest.mark.parametrize(("text", "value"), [("40 %", 0.4), ("0.4", 0.4), ("100 %", 1.0), ("0", 0.0), ("1", 1.0)])
def test_shares(text: str, value: float) -> None:
    found = sla(f"prefix_share = {text}").serve.sla
    assert found is not None and found.prefix_share.value == pytest.approx(value)


@pytest.mark.parametrize("text", ["20", "20 tok/s", "20 tokens/s", "20tok/s"])
def test_rates_of_tokens(text: str) -> None:
    found = sla(f"tokens_per_second >= {text}").serve.sla
    assert found is not None
    bound = found.bound("tokens_per_second")
    assert bound is not None and bound.value.value == 20.0


@pytest.mark.parametrize(
    ("attribute", "text", "words"),
    [
        ("ttft <=", "2GB", "a time such as `2s` or `150ms`, and `2GB` is a size"),
        ("ttft <=", "20 tok/s", "is a rate in tokens a second"),
        ("ttft <=", "40 %", "is a share"),
        ("ttft <=", "0s", "above 0"),
        ("ttft <=", "10000000s", "at most 1,000,000 s"),
        ("tokens_per_second >=", "20s", "is a time"),
        ("tokens_per_second >=", "20 tok", "not a number of tokens"),
        ("prefix_share =", "40", "between 0 and 1"),
        ("prefix_share =", "140 %", "at most 1"),
        ("prefix_share =", "1 GB", "is a size"),
        ("percentile =", "p51", "`p50`"),
        ("percentile =", "99", "word"),
        ("survive_loss =", "rack", "`replica` or `host`"),
        ("survive_loss =", "[host]", "a list"),
    ],
)
def test_wrong_kinds_say_what_is_expected(attribute: str, text: str, words: str) -> None:
    found = sla(f"{attribute} {text}")
    assert words in found.only().message, found.report()


def test_words_come_in_other_spellings() -> None:
    assert sla("percentile = P99").serve.sla is not None
    read = engine("dtype = bf16, kv_cache = fp8_e4m3").serve.engine
    assert read.dtype is not None and read.dtype.value == "bfloat16"
    assert read.kv_cache is not None and read.kv_cache.value == "fp8"
    kept = engine("kv_cache = auto").serve.engine.kv_cache
    assert kept is not None and kept.value == "auto"
    text = EXAMPLE.replace("listen = 8080", "listen = 8080, policy = least-connections")
    router = resolved(text).serve.router
    assert router is not None and router.policy is not None and router.policy.value == "least_conn"


def test_auto_is_no_value() -> None:
    for line in ("port", "prefix_caching", "host", "version", "max_model_len", "api_key", "executor"):
        read = engine(f"{line} = auto")
        assert read.found == (), read.report()
    assert engine("port = auto").serve.engine.port is None
    assert not engine("version = auto").serve.engine.version.written
    assert hardware("bus = auto").found == ()
    only = resolved(SHORT.replace("2 * l40s", "auto")).only()
    assert only.code == "KC103", "a card must be named"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (SHORT.replace('"meta-llama/Llama-3.1-8B-Instruct"', "auto"), "KC105"),
        (SHORT.replace('Instruct"', 'Instruct", config = auto'), ""),
        (SHORT.replace('Instruct"', 'Instruct"\ndraft { method = auto }'), "KC105"),
        (SHORT.replace('Instruct"', 'Instruct"\ndraft { method = eagle, id = auto }'), "KC105"),
        (SHORT + "serve c { model = auto, hardware = auto, sla = auto }\n", ""),
        (SHORT.replace("2 * l40s", "2 * l40s\nnode a { gpus = auto }"), ""),
    ],
)
def test_auto_is_as_if_left_out(text: str, code: str) -> None:
    """What is needed is then missing, and what is not is chosen; nothing is left unplanned in silence."""
    found = resolved(text)
    assert found.codes == ([code] if code else []), found.report()
    assert code or found.serve


@pytest.mark.parametrize(
    ("text", "near", "meant"),
    [
        ("weights = int4", "awq-int4", ""),
        ("weights = q4", "gguf-q4_0", ""),
        ("weights = nvpf4", "nvfp4", "nvfp4"),
        ("weights = aqw", "awq-int4", "awq-int4"),
    ],
)
def test_a_format_of_other_bits_is_not_what_was_meant(text: str, near: str, meant: str) -> None:
    """`int8` is one letter off `int4`, and a different checkpoint."""
    only = resolved(SHORT.replace('Instruct"', f'Instruct", {text}')).only()
    assert only.code == "KC103" and f"`{near}`" in only.help[0]
    assert [fix.edits[0].text for fix in only.fixes] == ([meant] if meant else [])


def test_a_word_is_offered_as_the_language_writes_it() -> None:
    only = engine("kv_cache = fp8_e5m2").only()
    assert only.help == ("did you mean `fp8`?",) and only.fixes[0].edits[0].text == "fp8"


@pytest.mark.parametrize("text", ["$MY_KEY", "${MY_KEY}"])
def test_a_variable_written_as_in_a_shell_is_no_secret(text: str) -> None:
    only = engine(f'api_key = "{text}"').only()
    assert only.code == "KC103" and only.fixes[0].edits[0].text == 'env("MY_KEY")' and only.fixes[0].safety == "safe"
    for literal in ("MY_KEY", "{MY_KEY}", "$my", "$MY_KEY}", "${MY_KEY", "sk-${MY_KEY}"):
        assert engine(f'api_key = "{literal}"').only().code == "KC703", literal


def test_a_flag_among_the_attributes_of_the_engine() -> None:
    assert engine("swap_space = 2").only().help == ("a flag of the engine goes into `args { … }`",)
    assert engine("tensor_parallel_size = 2").only().help == ("that is `tp` in `parallel`",)


def test_a_block_that_is_auto_is_left_out() -> None:
    only = resolved(SHORT + "serve c { engine = auto }\n").only()
    assert only.code == "KC102" and only.fixes[0].edits[0].text == ""


@pytest.mark.parametrize(
    ("text", "version"),
    [('"0.33"', (0, 33)), ("0.33", (0, 33)), ("0.10", (0, 10)), ('"0.33.1"', (0, 33, 1)), ('"1"', (1,)), ("9", (9,))],
)
def test_versions(text: str, version: tuple[int, ...]) -> None:
    found = engine(f"version = {text}")
    assert found.found == (), found.report()
    assert found.serve.engine.version.value == version


@pytest.mark.parametrize(
    "text", ['"0.33rc1"', '"latest"', "0.33 GB", '"1.2.3.4.5"', '"' + "9" * 50 + '"', "[1]", '"-1"']
)
def test_no_versions(text: str) -> None:
    assert engine(f"version = {text}").codes == ["KC103"]


def test_raw_arguments() -> None:
    line = 'args { "--seed" = 7, "--swap-space" = 4.5, "--enforce-eager" = on, "--enable-x" = off, "--a" = ["b", 1, on], --b = c, "--max-model-len" = 8K, "--size" = 1 GiB }'
    found = engine(line.replace(", --b = c", ""))
    assert found.found == (), found.report()
    assert [(flag.value, value.value) for flag, value in found.serve.engine.args] == [
        ("--seed", 7),
        ("--swap-space", 4.5),
        ("--enforce-eager", True),
        ("--enable-x", False),
        ("--a", ("b", 1, True)),
        ("--max-model-len", 8192),
        ("--size", 2**30),
    ]
    assert engine('args { "--a" = 1, "--a" = 2 }').codes == ["KC104"]
    assert engine('args { "--a" <= 1 }').codes == ["KC110"]
    assert engine('args { "seed" = 1 }').codes == ["KC103"]
    assert engine('args { "--a" = [] }').codes == ["KC103"]
    assert engine('args { "--a" = env("TOKEN") }').codes == ["KC103"]
    assert engine('args { "--a" = pcie(5) }').codes == ["KC103"]
    assert engine("args { tls { } }").codes == ["KC101"]


def test_environment() -> None:
    found = engine('env { NCCL_DEBUG = "INFO", "HF_HOME" = "/x y" }')
    assert [(name.value, value.value) for name, value in found.serve.engine.env] == [
        ("NCCL_DEBUG", "INFO"),
        ("HF_HOME", "/x y"),
    ]
    assert engine('env { NCCL-DEBUG = "INFO" }').codes == ["KC103"]
    assert engine("env { NCCL_DEBUG = 1 }").codes == ["KC103"]


def test_routes_and_routers() -> None:
    text = SHORT + (
        'router haproxy edge { listen = 443, host = "10.0.0.1", max_body = 64 MiB, timeout = 10 min, version = "2.8"\n'
        '  tls { certificate = "/etc/tls/a.pem", key = "/etc/tls/a.key" } }\n'
        "serve c { model = llama, hardware = box, sla = team\n"
        '  route edge { header = ["X-Model", "small"], path = "/small", model_name = "llama" } }\n'
    )
    found = resolved(text)
    assert found.found == (), found.report()
    assert found.spec is not None
    (router,) = found.spec.routers
    assert (router.kind.value, router.name) == ("haproxy", "edge")
    assert router.tls is not None and router.tls.certificate.value == "/etc/tls/a.pem"
    assert router.timeout is not None and router.timeout.value == 600.0
    assert router.max_body is not None and router.max_body.value == 64 * 2**20
    route = found.serve.route
    assert route is not None and route.router.value == "edge" and found.serve.router is None
    assert route.header is not None and route.header.value == ("X-Model", "small")
    both = resolved(text.replace("route edge", "router nginx { }\n  route edge"))
    assert both.codes == ["KC104"], both.report()


@pytest.mark.parametrize(
    ("line", "enabled"),
    [
        ("", True),
        ("monitor = off", False),
        ("monitor = on", True),
        ("monitor = none", False),
        ("monitor { kv_usage = 80 % }", True),
    ],
)
def test_monitor(line: str, enabled: bool) -> None:
    serve = f"serve c {{ model = llama, hardware = box, sla = team\n{line}\n}}\n"
    found = resolved(SHORT + serve)
    assert found.found == (), found.report()
    assert found.serve.monitor.enabled is enabled
    top = resolved(SHORT + line + "\nserve c { model = llama, hardware = box, sla = team }\n")
    assert top.found == (), top.report()
    assert top.serve.monitor.enabled is enabled
    if "kv_usage" in line:
        assert [(name, value.value) for name, value in found.serve.monitor.thresholds] == [("kv_usage", 0.8)]


def test_no_router() -> None:
    for line in ("router = off", "router = none", "router none { }"):
        found = resolved(SHORT + f"serve c {{ model = llama, hardware = box, sla = team\n{line} }}\n")
        assert found.found == (), found.report()
        assert found.serve.router is None and found.serve.router_off


def test_kubernetes() -> None:
    text = SHORT + (
        'serve c { model = llama, hardware = box, sla = team, runtime = kubernetes\n kubernetes { namespace = llm, image = "vllm/vllm-openai:v0.33.0",'
        ' claim = "models"\n node_selector { "nvidia.com/gpu.product" = "NVIDIA-L40S" } } }\n'
    )
    found = resolved(text)
    assert found.found == (), found.report()
    kubernetes = found.serve.kubernetes
    assert kubernetes is not None and kubernetes.namespace is not None and kubernetes.namespace.value == "llm"
    assert [(key.value, value.value) for key, value in kubernetes.node_selector] == [
        ("nvidia.com/gpu.product", "NVIDIA-L40S")
    ]


# Names


def test_distance() -> None:
    assert distance("gpus", "gpus") == 0
    assert distance("gpu", "gpus") == 1
    assert distance("modle", "model") == 1, "neighbours swapped"
    assert distance("kitten", "sitting") == 3
    assert distance("abc", "xyz", 1) == 2, "more than asked for"


def test_nearest() -> None:
    assert nearest("concurency", ("concurrency", "context")) == "concurrency"
    assert nearest("ttp", ("tp", "pp", "dp")) == "tp"
    assert nearest("xp", ("tp", "pp", "dp")) is None, "three are equally near"
    assert nearest("banana", ("model", "hardware")) is None
    assert suggestions("max_seqs", ("max_num_seqs", "max_model_len")) == ("max_num_seqs",)
    assert suggestions("max_num_sequences", ("max_num_seqs", "max_model_len", "max_num_batched_tokens")) == (
        "max_num_seqs",
    )
    assert listed(("a", "b", "c")) == "`a`, `b` or `c`"
    assert shown("a\x00b\u202ec") == "a\\u0000b\\u202ec"
    assert shown("x" * 50) == "x" * 40 + "…"


def test_units_are_told_apart() -> None:
    assert nearest_unit("sec", "seconds") == "s"
    assert nearest_unit("gb", "bytes") == "GB"
    assert nearest_unit("gb/s", "bytes/s") == "GB/s"
    assert nearest_unit("MS", "seconds") == "ms"
    assert nearest_unit("bananas", "seconds") is None
    assert UNITS["Gb/s"].factor * 8 == UNITS["GB/s"].factor == 1e9
    assert UNITS["K"].factor == 1024 and UNITS["k"].factor == 1000


@pytest.mark.parametrize(("text", "read"), [("1.2", None), ("92", 0.92), ("150", None)])
def test_a_share_above_one_is_read_in_per_cent_only_where_it_may_be_meant_so(text: str, read: float | None) -> None:
    found = engine(f"gpu_memory_utilization = {text}")
    assert found.codes == ["KC103"] and found.only().message.endswith(f"is a share between 0 and 1, not {text}")
    utilization = found.serve.engine.gpu_memory_utilization
    assert (utilization.value if utilization is not None else None) == read
    assert [fix.edits[0].text for fix in found.only().fixes] == ([f"{text} %"] if read else [])
