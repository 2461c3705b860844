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
            case ["check", path] if not path.startswith("-"):
                # The environment counts as it does for a server: this is what one would get.
                return _check(path, program)
            case ["keys"]:
                print(described(load(None, {})))
            case _:
                print(USAGE.format(program.name), file=sys.stderr)
                return 2
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _check(path: str, program: Program) -> int:
    # Here, as the other action needs nothing of what servers are made of.
    from bbs.daemons.config_check import problems

    config = load(path)
    found = [*problems(config, program.name)]
    for problem in found:
        print(f"{path}: {problem}", file=sys.stderr)
    if found:
        return 1
    for key, value, source in masked(config):
        print(f"{key} = {value}  # {source}")
    return 0
