"""What the author of a service needs first.

Each name is loaded on first use, so that a plugin with commands does not load the daemons.

    from bbs.framework import CommandTable, Refusal, Role, Service, Table, User, read_only

Other modules have what some services need later: `bbs.framework.fast` what a busy one does to be
quick, `bbs.framework.feeds` events that must not be lost, `bbs.framework.limits` what one person
may use up, `bbs.framework.names` the forms of names, `bbs.operators` what operators see and do, and
`bbs.providers` other ways to start app servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.cli import command_line
    from bbs.commands.context import Ask, success
    from bbs.commands.extensions import Every, Extension
    from bbs.commands.service import Service
    from bbs.config import Kind, setting
    from bbs.core.errors import Refusal
    from bbs.core.values import NAME_LENGTH
    from bbs.daemons.plugin import app_server, fleet_controller, login_server, telnet_gateway

    # The old places of names, for type checkers.
    from bbs.framework.fast import *  # noqa: F403
    from bbs.framework.feeds import *  # noqa: F403
    from bbs.framework.limits import *  # noqa: F403
    from bbs.framework.names import *  # noqa: F403
    from bbs.operators import *  # noqa: F403
    from bbs.protocols.arguments import ArgumentKind
    from bbs.protocols.commands import Command, CommandTable, Role, WrongUsage
    from bbs.protocols.events import Event
    from bbs.protocols.forms import Line, Listing
    from bbs.protocols.line import Reply
    from bbs.protocols.presentation import ChatEvent, Choices, Legacy, Notice, Presentation, Talk
    from bbs.providers import *  # noqa: F403
    from bbs.rules.accounts import new_channel
    from bbs.rules.auth import Caller
    from bbs.rules.background import tell_soon
    from bbs.rules.keys import service_key
    from bbs.rules.names import is_valid_name
    from bbs.rules.pagination import Page, Part, paged
    from bbs.rules.presence import is_here, last_use
    from bbs.rules.settings import settings
    from bbs.rules.timers import at, cancel
    from bbs.storage.database import for_update, read_only
    from bbs.storage.migrations import Migrator
    from bbs.storage.models import Place, RisingIdField, Table, User

__all__ = [
    "NAME_LENGTH",
    "ArgumentKind",
    "Ask",
    "Caller",
    "ChatEvent",
    "Choices",
    "Command",
    "CommandTable",
    "Event",
    "Every",
    "Extension",
    "Kind",
    "Legacy",
    "Line",
    "Listing",
    "Migrator",
    "Notice",
    "Page",
    "Part",
    "Place",
    "Presentation",
    "Refusal",
    "Reply",
    "RisingIdField",
    "Role",
    "Service",
    "Table",
    "Talk",
    "User",
    "WrongUsage",
    "app_server",
    "at",
    "cancel",
    "command_line",
    "fleet_controller",
    "for_update",
    "is_here",
    "is_valid_name",
    "last_use",
    "login_server",
    "new_channel",
    "paged",
    "read_only",
    "service_key",
    "setting",
    "settings",
    "success",
    "tell_soon",
    "telnet_gateway",
]

_HOMES = {
    "bbs.cli": "command_line",
    "bbs.commands.context": "Ask success",
    "bbs.commands.extensions": "Every Extension",
    "bbs.commands.service": "Service",
    "bbs.config": "Kind setting",
    "bbs.core.errors": "Refusal",
    "bbs.core.values": "NAME_LENGTH",
    "bbs.daemons.plugin": "app_server fleet_controller login_server telnet_gateway",
    "bbs.protocols.arguments": "ArgumentKind",
    "bbs.protocols.commands": "Command CommandTable Role WrongUsage",
    "bbs.protocols.events": "Event",
    "bbs.protocols.forms": "Line Listing",
    "bbs.protocols.line": "Reply",
    "bbs.protocols.presentation": "ChatEvent Choices Legacy Notice Presentation Talk",
    "bbs.rules.accounts": "new_channel",
    "bbs.rules.auth": "Caller",
    "bbs.rules.background": "tell_soon",
    "bbs.rules.keys": "service_key",
    "bbs.rules.names": "is_valid_name",
    "bbs.rules.pagination": "Page Part paged",
    "bbs.rules.presence": "is_here last_use",
    "bbs.rules.settings": "settings",
    "bbs.rules.timers": "at cancel",
    "bbs.storage.database": "for_update read_only",
    "bbs.storage.migrations": "Migrator",
    "bbs.storage.models": "Place RisingIdField Table User",
}

_MOVED = {
    "bbs.framework.fast": (
        "EachAlone EncodedList ListCall asks bulk by_index byte_length cached_rows "
        "encode_entry gathered has_round_trips last_key long_read question rows statement "
        "together"
    ),
    "bbs.framework.feeds": (
        "BATCH FETCHED_BYTES Broadcast Cursor Feed FirstEvents Mailbox PartitionedTables Stored"
    ),
    "bbs.framework.limits": "Bound Quotas costs price_of stores_text",
    "bbs.framework.names": "as_stored normalized skeletons",
    "bbs.operators": (
        "ActResult Configuration Counter ListRow Operator OperatorAct OperatorColumn "
        "OperatorField OperatorList Subcommand contains run_rule"
    ),
    "bbs.providers": (
        "IKeepsWarm IProvider Instance LaunchFailed LaunchKit LaunchRefused Provider "
        "ProviderUnavailable"
    ),
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES, _MOVED)
