"""`bbs config check FILE` says what is wrong, or prints every key, its value and its source;
`bbs config keys` prints every key with its default and what it is for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bbs.cli import Program
from bbs.config import ConfigError, described, load, masked

USAGE = "usage: {0} config check FILE\n       {0} config keys"


def main(argv: Sequence[str], program: Program) -> int:
    """Run with the arguments behind `bbs config`; returns the exit code."""
    try:
        match list(argv):
            case [*_, "--help" | "-h"]:
                print(USAGE.format(program.name))
            case [*_, "--version"]:
                print(program.version)
            case ["check", path]:
                # The environment counts as it does for a server: this is what one would get.
                for key, value, source in masked(load(path)):
                    print(f"{key} = {value}  # {source}")
            case ["keys"]:
                print(described(load(None, {})))
            case _:
                print(USAGE.format(program.name), file=sys.stderr)
                return 2
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
