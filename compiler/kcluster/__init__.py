"""kcluster: a compiler and linter for LLM inference clusters.

The public functions are bound when they are first used, so that importing the package costs nothing:

    check(text)     every finding of a spec
    plan(text)      the plan of a spec
    compile_(text)  the artifacts of a spec
    format_(text)   a spec in canonical layout
    load(path)      a spec from a file, with everything known of it
"""

from __future__ import annotations

from kcluster.version import VERSION as __version__

TYPE_CHECKING = False  # as checkers read it, without the cost of importing typing
if TYPE_CHECKING:
    from typing import Any

    from kcluster.api import Checked, check, compile_, format_, load, plan

__all__ = ["Checked", "__version__", "check", "compile_", "format_", "load", "plan"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from kcluster import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
