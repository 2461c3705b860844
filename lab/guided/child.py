"""One target, in a process of its own: `python -m lab.guided.child NAME ARGUMENT …`, with
arguments of libFuzzer.

libFuzzer ends the process: with 0 when the time or the runs are over, else at the first input that
fails, which it writes down.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

from lab.guided.targets import TARGETS

FOLLOWED: Mapping[str, Sequence[str]] = {
    "line": ("bbs.protocols.line.connection", "bbs.protocols.commands", "bbs.protocols.telnet"),
    "stomp": ("bbs.protocols.stomp.frames",),
    "telnet": (
        "bbs.protocols.telnet",
        "bbs.faces.telnet.peer",
        "bbs.ui.gateway.editor",
        "bbs.ui.gateway.keyboard",
    ),
    "proxy": ("bbs.protocols.proxy_protocol",),
    "http": (
        "bbs.web.actions",
        "bbs.web.auth",
        "bbs.web.http_limits",
        "bbs.web.resources",
        "bbs.web.stream",
        "twisted.web.http",
    ),
    "cursors": ("bbs.rules.pagination", "bbs.commands.common", "bbs.protocols.commands"),
}
"""Whose coverage guides each target: what is imported for it beside is most of bbs, and to follow
that takes a minute before the first input."""


def functions(module: ModuleType) -> Iterator[FunctionType]:
    """The functions and methods that a module defines."""
    kinds = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and each.__module__ == module.__name__
    ]
    for owner in (module, *kinds):
        for each in vars(owner).values():
            found = each.fget if isinstance(each, property) else getattr(each, "__func__", each)
            if inspect.isfunction(found) and found.__module__ == module.__name__:
                yield found


def main(name: str, arguments: list[str]) -> None:
    target: Any = TARGETS[name]()
    for module in FOLLOWED[name]:
        for function in functions(import_module(module)):
            atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
