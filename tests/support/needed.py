"""What tests need from outside the repository: programs, which CI must have, and the shared data, which lie only beside a developer's
checkout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final, NoReturn

import pytest

SHARED: Final = Path(__file__).resolve().parents[3] / "shared" / "data"


def absent(what: str) -> NoReturn:
    """End a test for want of a program: in CI it fails, elsewhere it is skipped with the reason."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


def with_shared(name: str) -> pytest.MarkDecorator:
    """A mark: the test is skipped where the shared data do not have this file or folder beside the checkout."""
    return pytest.mark.skipif(not (SHARED / name).exists(), reason=f"../shared/data/{name} is not beside this checkout")
