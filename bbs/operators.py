"""For operators: subcommands, lists and counters on their page, and acts on rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bbs.core.lazy import lazy

if TYPE_CHECKING:
    from bbs.cli.subcommands import Operator, run_rule
    from bbs.commands.extensions import Subcommand
    from bbs.config import Configuration
    from bbs.core.values import Counter
    from bbs.rules.names import contains
    from bbs.rules.service_admin import (
        ActResult,
        ListRow,
        OperatorAct,
        OperatorColumn,
        OperatorField,
        OperatorList,
    )

__all__ = [
    "ActResult",
    "Configuration",
    "Counter",
    "ListRow",
    "Operator",
    "OperatorAct",
    "OperatorColumn",
    "OperatorField",
    "OperatorList",
    "Subcommand",
    "contains",
    "run_rule",
]

_HOMES = {
    "bbs.cli.subcommands": "Operator run_rule",
    "bbs.commands.extensions": "Subcommand",
    "bbs.config": "Configuration",
    "bbs.core.values": "Counter",
    "bbs.rules.names": "contains",
    "bbs.rules.service_admin": (
        "ActResult ListRow OperatorAct OperatorColumn OperatorField OperatorList"
    ),
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
