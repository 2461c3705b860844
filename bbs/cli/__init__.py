"""The `bbs` command: each of its parts is imported when it is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

PARTS = {
    "up": ("bbs.cli.up", "run the whole service here"),
    "client": ("bbs.cli.client", "talk to a service"),
    "fleet": ("bbs.cli.fleet", "show the app servers, launch one, drain one"),
    "db": ("bbs.cli.db", "upgrade the database's schema, or show its version"),
    "config": ("bbs.cli.config", "check a configuration file"),
}

INTERRUPTED = 130
"""128 + SIGINT: what a shell has for a command that Ctrl-C ended."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run with `argv`, or the process's arguments; returns the exit code (2 for wrong usage)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] in (["--help"], ["-h"]):
        print(_usage())
        return 0
    if not arguments or arguments[0] not in PARTS:
        print(_usage(), file=sys.stderr)
        return 2
    module, _ = PARTS[arguments[0]]
    try:
        code: int = import_module(module).main(arguments[1:])
    except KeyboardInterrupt:  # before the part itself knows what to do about Ctrl-C
        return INTERRUPTED
    return code


def _usage() -> str:
    parts = "\n".join(f"  {name:8} {help}" for name, (_, help) in PARTS.items())
    return f"usage: bbs COMMAND [...]\n\n{parts}\n\nbbs COMMAND --help says more."


def port(text: str) -> int:
    """The type of an argument that is a port."""
    if text.isascii() and text.isdigit() and 0 < int(text) < 65536:
        return int(text)
    raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
