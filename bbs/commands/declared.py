"""Compares what commands really answer with what they declare: the members of replies with
`Command.reply`, and refusals with `Command.refuses`.

Servers of tests do (`MemoryService`, and processes with `COMPARE` in their environment), and those
of `up --debug`. In production nothing is compared, and no command costs more.
"""

from __future__ import annotations

from collections.abc import Callable

from bbs.commands.context import AskLoginServer, Moved
from bbs.core.errors import (
    NotLoggedIn,
    Refusal,
    RequestTimedOut,
    TooManyAttempts,
    TooManyConnections,
    Unavailable,
)
from bbs.protocols.commands import Command, UnknownCommand, WrongUsage
from bbs.protocols.line import Reply
from bbs.protocols.reply_types import misfit
from bbs.rules.placement import TooManyPlaces

COMPARE = "TXBBS_COMPARE"
"""The variable by which a server makes an answer that is not declared an error. (`BBS_…` are keys
of the configuration.)"""

FRAMEWORK = (
    *(AskLoginServer, Moved, NotLoggedIn, RequestTimedOut, TooManyAttempts, TooManyConnections),
    *(TooManyPlaces, Unavailable, UnknownCommand, WrongUsage),
)
"""The refusals of the framework itself, which any command may answer."""

Tell = Callable[[str], object]
"""Called with one line about an answer that is not as it was declared."""


class Undeclared(Exception):
    """A command answered what it does not declare; one line for the author of the service."""


def fail(line: str) -> None:
    """Make an answer that is not declared an error of the server."""
    raise Undeclared(line)


def compare_reply(command: Command, reply: Reply, tell: Tell) -> Reply:
    """Return the `reply`, and `tell` how it differs from the record that `command` declares."""
    if command.reply is not None and reply.body.get("status") == 0:
        found = misfit(command.reply, reply.line)
        if found:
            record = command.reply.__qualname__
            tell(f"{command.name} answers what its record {record} does not describe: {found}")
    return reply


def compare_refusal(command: Command, refusal: Refusal, tell: Tell) -> None:
    """`tell` if `command` declares its refusals, and this one is none of them."""
    declared = command.refuses
    if declared is None or isinstance(refusal, (*FRAMEWORK, *declared)):
        return
    kind = type(refusal)
    tell(
        f"{command.name} refuses by {kind.__module__}.{kind.__qualname__}"
        f' ("{refusal.message}"), which is not in its refuses'
    )
