"""What an instance costs, for orientation: `ec2_prices.json` beside this says as of when."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


def price(kind: str, region: str) -> float | None:
    """US dollars for an hour of an instance type on demand; None for what the table lacks."""
    found: float | None = table()["regions"].get(region, {}).get(kind)
    return found


@cache
def table() -> Any:
    """The whole table: `date`, `source`, `unit`, and `regions` with a price for each type."""
    return json.loads(files("bbs.scaling.ec2").joinpath("prices.json").read_text("utf-8"))
