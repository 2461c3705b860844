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

Answer = Reply | Refusal

Answered = Callable[[Command, Answer], object]
"""Called with each answer of a command."""


class Undeclared(Exception):
    """A command answered what it does not declare; a line for the author of the service."""


def telling(tell: Callable[[str], object]) -> Answered:
    """Compare each answer at once, and `tell` the difference in a line."""

    def answered(command: Command, answer: Answer) -> None:
        if line := difference(command, answer):
            tell(line)

    return answered


def fail(line: str) -> None:
    """Make an answer that is not declared an error of the server."""
    raise Undeclared(line)


def difference(command: Command, answer: Answer) -> str:
    """Say how an answer differs from what the command declares; "" if it does not."""
    if isinstance(answer, Refusal):
        return _difference_of_refusal(command, answer)
    if command.reply is None or answer.body.get("status") != 0:
        return ""
    found, record = misfit(command.reply, answer.line), command.reply.__qualname__
    text = f"{command.name} answers what its record {record} does not describe: {found}"
    return text if found else ""


def _difference_of_refusal(command: Command, refusal: Refusal) -> str:
    declared = command.refuses
    if declared is None or isinstance(refusal, (*FRAMEWORK, *declared)):
        return ""
    kind = type(refusal)
    return (
        f"{command.name} refuses by {kind.__module__}.{kind.__qualname__}"
        f' ("{refusal.message}"), which is not in its refuses'
    )
