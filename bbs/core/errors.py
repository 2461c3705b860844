"""Refusals: the errors that a peer is told.

A rule or a handler raises a `Refusal` if a request cannot be carried out. Its class has a `text`
for people and a `code` for programs (`docs/protocol.md`, section 3). Nothing else of an exception
ever reaches a peer. Each package defines its own refusals; this module has their base, and those
that several packages raise.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Any, ClassVar


def _is_format(text: Any) -> bool:
    try:
        return all(not name or name.isdigit() for _, name, _, _ in Formatter().parse(text))
    except (TypeError, ValueError):
        return False


class Refusal(Exception):
    """A request that cannot be carried out, for a reason that its sender may know.

        class NotInLobby(Refusal):
            text = "You are in no lobby"

    `text` may hold `{}`, which the arguments of the exception fill. `code` is the name of the class
    in lower-case words joined by hyphens (`not-in-lobby`), unless the class defines another. A
    subclass without a `text` has the text and the code of its base.

    `shown` is what people read in place of the text, if a command declares that it refuses so
    (`Command.refuses`): `{}` stands there for the command's first argument, `{PARAMETER}` for that
    of this name. Programs and scripts read the text.

    `limit` says that the sender has reached a limit: the security log records these.

    :raises TypeError: a class without any `text` is defined, or `Refusal` itself is raised.
    """

    text: ClassVar[str] = ""
    code: ClassVar[str] = ""
    shown: ClassVar[str] = ""
    limit: ClassVar[bool] = False

    def __init__(self, *arguments: object) -> None:
        if not self.text:
            raise TypeError("derive a class from Refusal and give it a text")
        super().__init__(*arguments)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.text:
            raise TypeError(f"{cls.__qualname__} is a Refusal and needs a text")
        if not _is_format(cls.text):
            raise TypeError(f"the text of {cls.__qualname__} may have no braces but {{}}")
        if "text" in cls.__dict__ and "code" not in cls.__dict__:
            # `not-in-lobby` for `NotInLobby`; a run of capitals is one word.
            words = re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", cls.__name__)
            cls.code = words.lower()

    @property
    def message(self) -> str:
        """The text for people.

        :raises TypeError: it was raised without an argument that the text needs.
        """
        try:
            return self.text.format(*self.args)
        except IndexError:
            given = f"with {len(self.args)} arguments, for the text {self.text!r}"
            kind = type(self).__qualname__
            raise TypeError(f"{kind} was raised {given}{_where(self)}") from None


def _where(error: BaseException) -> str:
    """Where `error` was raised, in words; "" if it was not."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return "" if frame is None else f", at {frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}"


class NotLoggedIn(Refusal):
    text = "Not login yet"  # The token is missing or unknown, or its session has ended.


class WrongCredentials(Refusal):
    text = "No such user or password error"  # The peer is not told which.


class TooManyAttempts(Refusal):
    text = "Too many attempts, try again in {} s"  # Whole seconds.


class TooManyConnections(Refusal):
    text = "Too many connections"  # Of this process, or of the peer's address.


class RequestTimedOut(Refusal):
    text = "Request timed out"  # A connection sent no request, or no whole line.


class Unavailable(Refusal):
    """The database is away, or no app server was found in time: nothing was done."""

    text = "Service unavailable, try again"


class TookTooLong(Unavailable):
    """A rule took too long, and was given up: nothing was done."""

    code = Unavailable.code  # Clients send the line again, as the next time may be quicker.
    text = "That took too long and was not done, try again"


class DiskFull(Unavailable):
    """The database is full or could not write: nothing was done, and reading and deleting go on."""

    text = "The disk is nearly full, try again later"


class Stopping(Unavailable):
    """This login server stops. A user who waited there for a place has to ask another login server,
    or this one after its restart."""

    text = Unavailable.text
