"""The service's commands, declared as anybody else's would be.

Somebody who adds commands names a `CommandTable` in the entry-point group `bbs.commands` of a
package of their own; `all_commands` includes it.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from bbs.board import commands
from bbs.commands import accounts, anywhere
from bbs.protocols.commands import CommandTable

GROUP = "bbs.commands"
"""The entry-point group."""


def all_commands() -> CommandTable:
    """Every command that this installation knows, whichever server serves it."""
    table = CommandTable()
    for part in (accounts.commands, commands.commands, anywhere.commands):
        table.include(part)
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        table.include(point.load())
    return table
