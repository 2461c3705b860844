"""One target, in a process of its own: `python -m tests.load.guided.child NAME ARGUMENT …`, with
arguments of libFuzzer.

libFuzzer ends the process: with 0 when the time or the runs are over, else at the first input that
fails, which it writes down.
"""

from __future__ import annotations

import sys
from typing import Any

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

FOLLOWED = {
    "line": ["bbs.protocols.line", "bbs.protocols.commands", "bbs.protocols.telnet"],
    "stomp": ["bbs.protocols.stomp.frames"],
    "telnet": ["bbs.protocols.telnet", "bbs.ui.gateway.keyboard", "bbs.ui.gateway.peer"],
    "proxy": ["bbs.protocols.proxy_protocol"],
    "http": ["bbs.web", "twisted.web.http"],
    "cursors": ["bbs.rules.pagination", "bbs.commands.common", "bbs.commands.dispatch"],
}
"""Whose coverage guides each target. To follow all modules of bbs takes most of a minute."""

with atheris.instrument_imports(include=FOLLOWED[sys.argv[1]], enable_loader_override=False):
    from tests.load.guided.targets import TARGETS


def main(name: str, arguments: list[str]) -> None:
    target: Any = TARGETS[name]()
    atheris.Setup([sys.argv[0], *arguments], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
