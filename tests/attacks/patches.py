"""Limits that have no key, taken out of a server of the harness's own.

`without/sitecustomize.py`, which Python finds by the path that these servers are started with,
calls `apply` before anything of the server runs, in its app servers too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

VARIABLE = "ATTACKS_WITHOUT"
"""The environment variable that names them, separated by commas."""


def apply() -> None:
    """Take out what the environment names."""
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        PATCHES[name]()


def _descriptors() -> None:
    """A server does not know how many descriptors it may have open."""
    from bbs.limits import connections

    admission: Any = connections.Admission
    begin = admission.__init__

    def unaware(self: Any, most: int, trusted: Any, descriptors: int | None = None) -> None:
        begin(self, most, trusted, None)

    admission.__init__ = unaware


PATCHES: Mapping[str, Callable[[], None]] = {"descriptors": _descriptors}
