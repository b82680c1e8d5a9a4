"""At what rates a card runs a weight format: what share of its memory bandwidth reads it, in which arithmetic it multiplies."""

from __future__ import annotations

from typing import Final

from kcluster.physics.formats import WeightFormat
from kcluster.physics.hardware import Card
from kcluster.physics.time_constants import TimeConstants
from kcluster.units import Figure, derive, given
from kcluster.values import frozen

# Block-scaled GEMMs have kernels of their own on Hopper and Blackwell data-centre cards, a generic one elsewhere: 60 µs on an H100 and
# 300 µs on an L40S whatever the size (perf.md, section 4).
_TUNED_BLOCKS: Final = 0.2


@frozen(eq=False)
class Rates:
    """Rates of a format on a card.

    Bytes/s at which weights in 16 bits, in the format, and of experts are read, and the KV cache; FLOP/s in 16 bits, in the
    format's arithmetic and in experts, with many tokens. `emulated`: the card lacks the format's arithmetic and unpacks to 16 bits.
    `block_share`: of the fixed cost of block-scaled kernels that this card pays.
    """

    read_plain: Figure
    read_packed: Figure
    read_experts: Figure
    read_kv: Figure
    compute_plain: Figure
    compute_packed: Figure
    compute_experts: Figure
    emulated: bool
    block_share: float


def native(fmt: WeightFormat, card: Card) -> bool:
    """Whether a card multiplies in a format's own arithmetic. Weight-only formats never do; NVFP4 and MXFP4 are different
    formats to hardware."""
    if not fmt.quantized or fmt.weight_only:
        return False
    if fmt.arithmetic == "bf16" or card.rate(fmt.arithmetic) is None:
        return False
    if fmt.arithmetic == "fp4" and card.native:
        return ("mxfp4" if fmt.name.startswith("mxfp4") else "nvfp4") in card.native
    return True


_rates: dict[tuple[int, int, int, bool], tuple[WeightFormat, Card, TimeConstants, Rates]] = {}
_MOST_RATES: Final = 512


def rates(fmt: WeightFormat, card: Card, constants: TimeConstants, *, old: bool = False) -> Rates:
    """The rates of a format on a card; an Intel or AMD card reaches the share of its bandwidth that AMD cards were measured at.

    `old`: an engine of 2024, whose kernels for other cards than NVIDIA's were far behind.
    """
    key = (id(fmt), id(card), id(constants), old)
    known = _rates.get(key)
    if known is not None:
        return known[3]
    if len(_rates) >= _MOST_RATES:
        _rates.clear()
    found = _find_rates(fmt, card, constants, old)
    # the values are kept with the result, so that no other object can take their identity
    _rates[key] = (fmt, card, constants, found)
    return found


def _find_rates(fmt: WeightFormat, card: Card, constants: TimeConstants, old: bool) -> Rates:
    vendor = given("vendor", 1.0, "ratio", "NVIDIA")
    if card.vendor != "nvidia":
        vendor = constants.bandwidth_amd_old if old else constants.bandwidth_amd
    own = native(fmt, card)
    if not fmt.quantized:
        packed, compute = constants.bandwidth_16bit, constants.compute_16bit
    elif own:
        narrow = fmt.arithmetic == "fp4"
        packed = constants.bandwidth_fp4 if narrow else constants.bandwidth_8bit
        compute = constants.compute_fp4 if narrow else constants.compute_8bit
    else:
        packed = constants.bandwidth_4bit if fmt.bytes_per_parameter < 1 else constants.bandwidth_8bit
        compute = constants.compute_weight_only
    plain_rate = card.rate("bf16") or card.rate("fp16") or _unknown(card)
    packed_rate = (card.rate(fmt.arithmetic) if own else None) or plain_rate
    return Rates(
        read_plain=_read("16-bit weights", card, constants.bandwidth_16bit, vendor),
        read_packed=_read(f"{fmt.name} weights", card, packed, vendor),
        read_experts=_read("experts", card, constants.bandwidth_experts, vendor),
        read_kv=_read("KV", card, constants.bandwidth_kv, vendor),
        compute_plain=_compute("16-bit weights", plain_rate, constants.compute_16bit, vendor),
        compute_packed=_compute(f"{fmt.name} weights", packed_rate, compute, vendor),
        compute_experts=derive(
            "rate of arithmetic on experts",
            "flop/s",
            "rate * share",
            rate=_compute(f"{fmt.name} weights", packed_rate, compute, vendor),
            share=constants.compute_experts,
        ),
        block_share=_TUNED_BLOCKS if card.compute_capability and card.compute_capability[0] in (9, 10) else 1.0,
        emulated=fmt.quantized and not own and not fmt.weight_only,
    )


def _read(what: str, card: Card, efficiency: Figure, vendor: Figure) -> Figure:
    return derive(
        f"rate at which {what} are read",
        "bytes/s",
        "bandwidth * share * vendor",
        bandwidth=card.bandwidth,
        share=efficiency,
        vendor=vendor,
    )


def _compute(what: str, rate: Figure, efficiency: Figure, vendor: Figure) -> Figure:
    return derive(
        f"rate of arithmetic on {what}",
        "flop/s",
        "peak * share * vendor",
        peak=rate,
        share=efficiency,
        vendor=vendor,
    )


def _unknown(card: Card) -> Figure:
    """A tensor rate for a card that states none: as much arithmetic for its bandwidth as the least of the catalog's cards."""
    value = card.bandwidth.value * 60
    note = "not stated: 60 operations a byte of bandwidth, about the least of known cards"
    return given("card.flops.bf16", value, "flop/s", note).spread(0.5, 4.0)
