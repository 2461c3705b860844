from __future__ import annotations

from pathlib import Path

from tests.paths import CHECKOUT

EXAMPLES = CHECKOUT / "examples"


def examples() -> list[Path]:
    """The folders of the examples that are there."""
    return sorted(each.parent for each in EXAMPLES.glob("*/pyproject.toml"))
