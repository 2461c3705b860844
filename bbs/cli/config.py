"""`bbs config check FILE`: says what is wrong, or prints every key, its value and its source."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bbs.cli import Program
from bbs.config import ConfigError, load, masked

USAGE = "usage: {} config check FILE"


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs config`; returns the exit code.

    The environment counts as it does for a server, so what is printed is what a server would get.
    """
    if list(argv) in (["--help"], ["-h"]):
        print(USAGE.format(program.name))
        return 0
    if len(argv) != 2 or argv[0] != "check":
        print(USAGE.format(program.name), file=sys.stderr)
        return 2
    try:
        config = load(argv[1])
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    for key, value, source in masked(config):
        print(f"{key} = {value}  # {source}")
    return 0
