"""Trees of code of several versions, and how processes run them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from zipfile import ZipFile

from tests.cloud.cloud import USER_DATA
from tests.paths import CHECKOUT

BEFORE = "0.2.0"
"""The version before this one."""

WHEELS = CHECKOUT / "tests/fixtures/versions"


def unpack(folder: Path, version: str = BEFORE) -> Path:
    """The tree of `version`, made in `folder`."""
    tree = folder / f"bbs-{version}"
    with ZipFile(WHEELS / f"bbs-{version}-py3-none-any.whl") as wheel:
        wheel.extractall(tree)
    return tree


def environ(tree: Path) -> Mapping[str, str]:
    """What has this Python run the code of `tree`, with the packages that are installed."""
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [path for path in inherited if path and Path(path) != CHECKOUT]
    return {"PYTHONPATH": os.pathsep.join([str(tree), *others])}


def user_data() -> str:
    """That of the tests' cloud, as both versions fill it in: `BEFORE` knows nothing of traces, and
    refuses a field that it does not know."""
    lines = USER_DATA.read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if "${traceparent}" not in line)
