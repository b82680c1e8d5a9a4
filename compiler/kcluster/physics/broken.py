"""What a constraint says where it does not hold."""

from __future__ import annotations

from kcluster.units import Figure
from kcluster.values import frozen


@frozen
class Broken:
    """A constraint that does not hold. `subject` names the attribute (`tp`, `pp`, `max_model_len`, …), `because` says why in a
    clause with its figures; `fatal` where the engine would not start or not run."""

    code: str
    subject: str
    because: str
    fatal: bool
    figures: tuple[Figure, ...] = ()
