"""Compares what commands really answer and tell with what is declared: the members of replies with
`Command.reply`, refusals with `Command.refuses`, and events with the `Event`s of their service.

Servers of tests do (`MemoryService`, and processes with `COMPARE` in their environment), and those
of `up --debug`. In production nothing is compared, and no command costs more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

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
from bbs.protocols.events import Event
from bbs.protocols.line import Reply
from bbs.protocols.line.interfaces import encode
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

Events = Sequence[Event]

Answered = Callable[[Command | Events, Answer | Mapping[str, object]], object]
"""Called with each answer of a command, and with each event that the service or extension with
these events tells."""


class Undeclared(Exception):
    """A command answered what it does not declare; a line for the author of the service."""


def telling(tell: Callable[[str], object]) -> Answered:
    """Compare each answer at once, and `tell` the difference in a line."""

    def answered(declared: Command | Events, answer: Answer | Mapping[str, object]) -> None:
        if line := difference(declared, answer):
            tell(line)

    return answered


def fail(line: str) -> None:
    """Make an answer that is not declared an error of the server."""
    raise Undeclared(line)


def difference(declared: Command | Events, answer: Answer | Mapping[str, object]) -> str:
    """Say how an answer of a command, or an event, differs from what is declared; "" if it does
    not."""
    if isinstance(declared, Command):
        assert isinstance(answer, Reply | Refusal)
        return _difference_of_answer(declared, answer)
    assert isinstance(answer, Mapping)
    return _difference_of_event({each.name: each for each in declared}, answer)


def _difference_of_event(declared: Mapping[str, Event], told: Mapping[str, object]) -> str:
    name = str(told.get("event"))
    if name not in declared:
        return f"the event {name} is told and not declared: add Event({name!r}, …) to events"
    record = declared[name].record
    if record is None:
        return ""
    found = misfit(record, encode(told))
    text = f"the event {name} is not what its record {record.__qualname__} describes: {found}"
    return text if found else ""


def _difference_of_answer(command: Command, answer: Answer) -> str:
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
