"""`bbs config check FILE` says what is wrong, or prints every key, its value and its source;
`bbs config keys` prints every key with its default and what it is for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bbs.cli import Program
from bbs.config import ConfigError, described, load, masked, read
from bbs.ui.output import visible

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
                return _check(path, program)
            case ["keys"]:
                print(described(load(None, {}, settings=program.settings)))
            case _:
                print(USAGE.format(program.name), file=sys.stderr)
                return 2
    except ConfigError as error:
        for problem in error.problems:
            print(visible(problem), file=sys.stderr)
        return 1
    return 0


def _check(path: str, program: Program) -> int:
    # Imported here, as the other action needs none of the servers' modules.
    from bbs.daemons.config_check import problems

    checked = read(path, settings=program.settings)  # with the environment, as for a server
    # A wrong key has its default meanwhile, and the file has no problem that follows from it.
    others = [
        f"{path}: {problem}"
        for problem in problems(checked.config, program.name)
        if not any(key in problem for key in checked.wrong)
    ]
    if found := [*checked.problems, *others]:
        raise ConfigError(*found)
    for key, value, source in masked(checked.config):
        print(f"{key} = {value}  # {source}")
    return 0
