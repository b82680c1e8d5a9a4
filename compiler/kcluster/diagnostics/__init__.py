"""Diagnostics as values: what is wrong, where, with which figures, and what to write instead.

Nothing here renders, prints or knows a terminal. Stages return tuples of `Diagnostic`; they raise for no mistake
of a user.
"""

from kcluster.diagnostics.codes import CODES, Code, code_of
from kcluster.diagnostics.types import Diagnostic, Edit, Fix, Label, Safety, Severity, at_worst, in_order

__all__ = [
    "CODES",
    "Code",
    "Diagnostic",
    "Edit",
    "Fix",
    "Label",
    "Safety",
    "Severity",
    "at_worst",
    "code_of",
    "in_order",
]
