"""The commands that every service has, and the whole table of a service's commands."""

from __future__ import annotations

import secrets
from functools import partial

from bbs.commands import accounts, common
from bbs.commands.common import Pagination, listening
from bbs.commands.service import Service, ServiceUnusable
from bbs.core.plugins import plugins
from bbs.protocols.commands import CommandTable


def all_commands(service: Service, secret: bytes | None = None) -> CommandTable:
    """Make the table of all commands of `service`, whichever server serves them: those of every
    service, its own, and those of the plugins in the entry-point group `NAME.commands`, each of
    which names a `CommandTable`.

    All servers of the service share `secret`, so each takes the cursors of the others. Without it
    cursors are for this table alone.

    :raises ServiceUnusable: one of its own has a name that is taken.
    :raises PluginUnusable: a plugin does not import, names no table, or takes a name again.
    """
    parts = (accounts.commands, *service.commands, listening(service.feed), common.commands)
    table = CommandTable()
    lists = Pagination(secrets.token_bytes() if secret is None else secret)
    try:
        for part in parts:
            _declare(table, lists, part)
        table.declare(lists.more())
    except ValueError as error:
        raise ServiceUnusable(f"the service {service.name}: {error}") from error
    for plugin in plugins(f"{service.name}.commands"):
        plugin.use(partial(_include, table, lists))
    return table


def _include(table: CommandTable, lists: Pagination, added: object) -> None:
    if not isinstance(added, CommandTable):
        raise TypeError("it is no CommandTable")
    _declare(table, lists, added)


def _declare(table: CommandTable, lists: Pagination, added: CommandTable) -> None:
    for command in added:
        table.declare(lists.known(command))
