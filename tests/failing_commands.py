"""Commands that fail, as those of a service with a bug or without its database do."""

from __future__ import annotations

from bbs.core.errors import Unavailable
from bbs.framework import Caller, Command, CommandTable, Role, read_only


@read_only
def divide(caller: Caller) -> None:
    """A bug."""
    _ = 1 // 0


@read_only
def look_in_vain(caller: Caller) -> None:
    """What becomes of any rule whose database is away."""
    raise Unavailable()


FAILING = CommandTable(
    Command("divide <user>", Role.EITHER, rule=divide),
    Command("look <user>", Role.APP, rule=look_in_vain),
)
