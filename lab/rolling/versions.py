"""Trees of code of several versions, and how processes run them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

from tests.paths import CHECKOUT

BEFORE = "0.3.0"
"""The version before this one."""

WHEELS = CHECKOUT / "tests/fixtures/versions"


def wheel_of(version: str) -> Path:
    """The wheel of `version`: `bbs-…` up to 0.3.0, then `txbbs-…`."""
    [wheel] = WHEELS.glob(f"*bbs-{version}-py3-none-any.whl")
    return wheel


def unpack(folder: Path, version: str = BEFORE) -> Path:
    """The tree of `version`, made in `folder`."""
    tree = folder / f"bbs-{version}"
    with ZipFile(wheel_of(version)) as wheel:
        wheel.extractall(tree)
    return tree


def environ(tree: Path) -> Mapping[str, str]:
    """What has this Python run the code of `tree`, with the packages that are installed."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in inherited if path and Path(path) != CHECKOUT]
    return {"PYTHONPATH": os.pathsep.join([str(tree), *others])}
