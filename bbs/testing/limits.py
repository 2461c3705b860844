"""What a service declares of its limits: what each command costs, how much of each key of
`[limits]` one person can have, and what bounds each table.

    class Limits(TestCase):
        def test_everything_is_declared(self) -> None:
            self.assertEqual(undeclared_limits(SERVICE), {})

A service need not declare any of it. `docs/limits.md` has the tables of the board.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bbs.commands.common import all_commands
from bbs.commands.dispatch import costs_of_command
from bbs.commands.service import Service
from bbs.config import Limits
from bbs.config.settings import keys_of
from bbs.core.values import Bound
from bbs.protocols.commands import Command
from bbs.protocols.reply_types import Form, members, parse
from bbs.rules.auth import Price
from bbs.storage.models import MODELS

ACCOUNT = "account"
"""A bound of each account needs no share, as nobody else fills it."""

GROWS = "grows"

_GROWING = (Form.ANY, Form.LIST, Form.TUPLE, Form.MAPPING)


class Limit(NamedTuple):
    """A row of a table in `docs/limits.md`: the `cells` behind the name of `what`, and what is
    `missing`, which says how it is declared; "" if nothing is."""

    what: str
    cells: Sequence[str]
    missing: str = ""


def undeclared_limits(service: Service) -> Mapping[str, str]:
    """What `service` does not declare, for each command, key of `[limits]` and table that lacks
    something: what that is, and where to say it.

    A command lacks something unless the price of its rule (`bbs.framework.limits.costs`) grows with
    what it returns, by a function whose docstring says by what, or its `bounded` says why it costs
    the same whatever is stored. If the reply of the command has a list, the price in commands must
    grow. A key lacks its `share` (`bbs.framework.setting`), a table the `bound` of its `Meta`, a
    `bbs.framework.limits.Bound`.
    """
    parts = (
        ("the command", limits_of_commands(service)),
        ("[limits]", limits_of_keys(service.limits or Limits)),
        ("the table", limits_of_tables(service)),
    )
    return {
        f"{kind} {limit.what}": limit.missing
        for kind, limits in parts
        for limit in limits
        if limit.missing
    }


def limits_of_commands(service: Service) -> Iterator[Limit]:
    """Each command of `service`: its price in commands and in deliveries, and what that grows by,
    or why it does not."""
    for command in all_commands(service):
        costs = costs_of_command(command)
        said = [text for text in map(_grows_by, (costs.commands, costs.deliveries)) if text]
        deliveries = _in_words(costs.deliveries)
        if costs.by_text:
            deliveries += ", and 1 for each KiB of the text"
        why = "; ".join([*said, *filter(None, [command.bounded])])
        missing = _missing_of(command, costs.commands, costs.deliveries)
        yield Limit(command.name, (_in_words(costs.commands), deliveries, why), missing)


def _missing_of(command: Command, commands: Price, deliveries: Price) -> str:
    growing = [price for price in (commands, deliveries) if callable(price)]
    if not all(map(_grows_by, growing)):
        return "its price is a function without a docstring that says what it grows by"
    if callable(commands):
        return "its price grows, and bounded= says that it does not" if command.bounded else ""
    if command.bounded:
        return ""
    if command.reply is not None and _can_grow(command.reply):
        return (
            "its reply has a list, and it costs the same however long that is: price its rule with"
            " @costs(commands=…), or say why it cannot grow with bounded="
        )
    if not growing:
        return (
            "it costs the same whatever is stored, and nothing says why: price its rule with"
            " @costs(…), or say why it cannot grow with bounded="
        )
    return ""


def _can_grow(kind: Any) -> bool:
    """Whether values of a type of a reply's member can be long: texts are as long as a line."""
    form, parts = parse(kind)
    if form is Form.RECORD:
        parts = [member.kind for member in members(kind)]
    return form in _GROWING or any(map(_can_grow, parts))


def _grows_by(price: Price) -> str:
    """What a price says that it grows by; "" for a fixed one."""
    text = inspect.getdoc(price) if callable(price) else None
    return (text or "").partition("\n\n")[0].replace("\n", " ").rstrip(".")


def _in_words(price: Price) -> str:
    return GROWS if callable(price) else f"{price:g}"


def limits_of_keys(section: type[Any] = Limits) -> Iterator[Limit]:
    """Each key of `[limits]`, or of another `section`: its default, and how much of it one person
    or address can have."""
    for name, key in keys_of(section).items():
        if key.former:
            continue
        missing = "nothing says how much of it one person or address can have: setting(…, share=…)"
        default = getattr(section(), name)
        shown = ", ".join(map(str, default)) if isinstance(default, tuple) else f"{default}"
        yield Limit(name, (shown, key.share), "" if key.share else missing)


def limits_of_tables(service: Service) -> Iterator[Limit]:
    """Each table of `service` and of the framework: its rows at most, of what each, and how much of
    these one person can fill."""
    for table in (*MODELS, *service.schema.all_models):
        meta: Any = table._meta
        bound: Bound | None = getattr(meta, "bound", None)
        if bound is None:
            missing = 'nothing bounds its rows: class Meta: bound = Bound("…", of="…")'
            yield Limit(meta.table_name, ("", "", ""), missing)
            continue
        own = bound.of == ACCOUNT and not bound.share
        share = "all: they are its own" if own else bound.share
        missing = "its bound is of several people: Bound(…, share=…) says what one can fill"
        cells = bound.rows, bound.of, share
        yield Limit(meta.table_name, cells, "" if share else missing)
