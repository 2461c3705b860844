"""The public names, for services, commands and providers of other people.

Everything else in the package is private and may change. Each name is loaded on first use, so that
a plugin with commands does not load the daemons.

    from bbs.framework import CommandTable, Refusal, Role, Service, Table, User, read_only
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bbs.cli import command_line
    from bbs.cli.subcommands import Operator, run_rule
    from bbs.commands.context import Ask, success
    from bbs.commands.extensions import Every, Extension, Subcommand
    from bbs.commands.service import Service
    from bbs.config import Configuration, setting
    from bbs.core.confusables import skeletons
    from bbs.core.errors import Refusal
    from bbs.core.values import NAME_LENGTH, Bound, Counter, Instance, Quotas
    from bbs.daemons.plugin import app_server, fleet_controller, login_server, telnet_gateway
    from bbs.delivery.broadcast import Broadcast
    from bbs.delivery.feed import (
        BATCH,
        FETCHED_BYTES,
        Cursor,
        Feed,
        FirstEvents,
        Mailbox,
        Stored,
    )
    from bbs.protocols.arguments import ArgumentKind
    from bbs.protocols.commands import Command, CommandTable, Role, WrongUsage
    from bbs.protocols.events import Event
    from bbs.protocols.forms import Line, Listing
    from bbs.protocols.line import EncodedList, Reply, encode_entry
    from bbs.protocols.presentation import ChatEvent, Choices, Legacy, Notice, Presentation, Talk
    from bbs.rules.accounts import new_channel
    from bbs.rules.auth import Caller, asks, costs, question, stores_text
    from bbs.rules.background import tell_soon
    from bbs.rules.keys import service_key
    from bbs.rules.names import as_stored, contains, is_valid_name, normalized
    from bbs.rules.pagination import ListCall, Page, Part, paged, price_of
    from bbs.rules.presence import is_here, last_use
    from bbs.rules.service_admin import (
        ActResult,
        ListRow,
        OperatorAct,
        OperatorColumn,
        OperatorField,
        OperatorList,
    )
    from bbs.scaling.interfaces import (
        IKeepsWarm,
        IProvider,
        LaunchFailed,
        LaunchRefused,
        ProviderUnavailable,
    )
    from bbs.scaling.providers import LaunchKit, Provider
    from bbs.storage.database import (
        bulk,
        byte_length,
        cached_rows,
        for_update,
        gathered,
        has_round_trips,
        last_key,
        long_read,
        read_only,
        rows,
    )
    from bbs.storage.migrations import Migrator
    from bbs.storage.models import Place, RisingIdField, Table, User
    from bbs.storage.partitions import PartitionedTables
    from bbs.storage.statements import by_index, statement, together
    from bbs.storage.transactions import EachAlone

_WHERE = {
    "bbs.cli": "command_line",
    "bbs.cli.subcommands": "Operator run_rule",
    "bbs.commands.context": "Ask success",
    "bbs.commands.extensions": "Every Extension Subcommand",
    "bbs.commands.service": "Service",
    "bbs.config": "Configuration setting",
    "bbs.core.confusables": "skeletons",
    "bbs.core.errors": "Refusal",
    "bbs.core.values": "NAME_LENGTH Bound Counter Instance Quotas",
    "bbs.daemons.plugin": "app_server fleet_controller login_server telnet_gateway",
    "bbs.delivery.broadcast": "Broadcast",
    "bbs.delivery.feed": "BATCH FETCHED_BYTES Cursor Feed FirstEvents Mailbox Stored",
    "bbs.protocols.arguments": "ArgumentKind",
    "bbs.protocols.commands": "Command CommandTable Role WrongUsage",
    "bbs.protocols.events": "Event",
    "bbs.protocols.forms": "Line Listing",
    "bbs.protocols.line": "EncodedList Reply encode_entry",
    "bbs.protocols.presentation": "ChatEvent Choices Legacy Notice Presentation Talk",
    "bbs.rules.accounts": "new_channel",
    "bbs.rules.background": "tell_soon",
    "bbs.rules.auth": "Caller asks costs question stores_text",
    "bbs.rules.keys": "service_key",
    "bbs.rules.names": "as_stored contains is_valid_name normalized",
    "bbs.rules.pagination": "ListCall Page Part paged price_of",
    "bbs.rules.presence": "is_here last_use",
    "bbs.rules.service_admin": (
        "ActResult ListRow OperatorAct OperatorColumn OperatorField OperatorList"
    ),
    "bbs.scaling.interfaces": "IKeepsWarm IProvider LaunchFailed LaunchRefused ProviderUnavailable",
    "bbs.scaling.providers": "LaunchKit Provider",
    "bbs.storage.database": (
        "bulk byte_length cached_rows for_update gathered has_round_trips last_key"
        " long_read read_only rows"
    ),
    "bbs.storage.migrations": "Migrator",
    "bbs.storage.models": "Place RisingIdField Table User",
    "bbs.storage.partitions": "PartitionedTables",
    "bbs.storage.statements": "by_index statement together",
    "bbs.storage.transactions": "EachAlone",
}

_MODULES = {name: module for module, names in _WHERE.items() for name in names.split()}

__all__ = [
    "BATCH",
    "FETCHED_BYTES",
    "NAME_LENGTH",
    "ActResult",
    "ArgumentKind",
    "Ask",
    "Bound",
    "Broadcast",
    "Caller",
    "ChatEvent",
    "Choices",
    "Command",
    "CommandTable",
    "Configuration",
    "Counter",
    "Cursor",
    "EachAlone",
    "EncodedList",
    "Event",
    "Every",
    "Extension",
    "Feed",
    "FirstEvents",
    "IKeepsWarm",
    "IProvider",
    "Instance",
    "LaunchFailed",
    "LaunchKit",
    "LaunchRefused",
    "Legacy",
    "Line",
    "ListCall",
    "ListRow",
    "Listing",
    "Mailbox",
    "Migrator",
    "Notice",
    "Operator",
    "OperatorAct",
    "OperatorColumn",
    "OperatorField",
    "OperatorList",
    "Page",
    "Part",
    "PartitionedTables",
    "Place",
    "Presentation",
    "Provider",
    "ProviderUnavailable",
    "Quotas",
    "Refusal",
    "Reply",
    "RisingIdField",
    "Role",
    "Service",
    "Stored",
    "Subcommand",
    "Table",
    "Talk",
    "User",
    "WrongUsage",
    "app_server",
    "as_stored",
    "asks",
    "bulk",
    "by_index",
    "byte_length",
    "cached_rows",
    "command_line",
    "contains",
    "costs",
    "encode_entry",
    "fleet_controller",
    "for_update",
    "gathered",
    "has_round_trips",
    "is_here",
    "is_valid_name",
    "last_key",
    "last_use",
    "login_server",
    "long_read",
    "new_channel",
    "normalized",
    "paged",
    "price_of",
    "question",
    "read_only",
    "rows",
    "run_rule",
    "service_key",
    "setting",
    "skeletons",
    "statement",
    "stores_text",
    "success",
    "tell_soon",
    "telnet_gateway",
    "together",
]


def __getattr__(name: str) -> object:
    try:
        module = _MODULES[name]
    except KeyError:
        raise AttributeError(f"bbs.framework has no {name}") from None
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
