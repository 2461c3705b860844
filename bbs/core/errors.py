"""What a peer may be told went wrong.

A rule or a handler raises a `Refusal` where it finds that a request cannot be carried out. Its
class says in `text` what people read and in `code` what programs go by (`docs/protocol.md`,
section 3). Nothing else of an exception ever reaches a peer. Whoever finds the fault has its
refusal: those of the command table are there, those of accounts with the accounts. Here are the
base, and what several rooms raise.
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Any, ClassVar


def _kebab_case(name: str) -> str:
    """`not-in-lobby` for `NotInLobby`; a run of capitals is one word."""
    return re.sub("(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()


def _is_format(text: Any) -> bool:
    try:
        names = [name for _, name, _, _ in Formatter().parse(text)]
    except (TypeError, ValueError):
        return False
    return all(not name or name.isdigit() for name in names)


class Refusal(Exception):
    """A request that cannot be carried out, for a reason that its sender may know.

        class NotInLobby(Refusal):
            text = "You are in no lobby"

    `text` may hold `{}`, which the arguments of the exception fill. `code` is the name of the class
    in lower-case words joined by hyphens (`not-in-lobby`), unless the class gives another. A
    subclass that says nothing of its own is told in its base's words and by its base's code.

    `limit` says that the sender has as much as one may have: the security log is told of those.

    A subclass without any words is a TypeError where it is defined, and so is a refusal of no class
    of its own where it is made.
    """

    text: ClassVar[str] = ""
    code: ClassVar[str] = ""
    limit: ClassVar[bool] = False

    def __init__(self, *arguments: object) -> None:
        if not self.text:
            raise TypeError("a refusal needs a class of its own, with a text")
        super().__init__(*arguments)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not cls.text:
            raise TypeError(f"{cls.__qualname__} is a refusal without words: it needs a text")
        if not _is_format(cls.text):
            raise TypeError(
                f"the text of {cls.__qualname__} may have {{}} in it, and no other braces"
            )
        if "text" in cls.__dict__ and "code" not in cls.__dict__:
            cls.code = _kebab_case(cls.__name__)

    @property
    def message(self) -> str:
        """What people read."""
        return self.text.format(*self.args)


class NotLoggedIn(Refusal):
    """The token is missing, unknown, or its session has ended."""

    text = "Not login yet"


class WrongCredentials(Refusal):
    """No such user, or another password: the peer is not told which."""

    text = "No such user or password error"


class TooManyAttempts(Refusal):
    """A limit on attempts; it names the wait in whole seconds."""

    text = "Too many attempts, try again in {} s"


class TooManyConnections(Refusal):
    """A limit on connections, of this process or from the peer's address."""

    text = "Too many connections"


class RequestTimedOut(Refusal):
    """A connection asked nothing in time, or did not end the line that it began."""

    text = "Request timed out"


class Unavailable(Refusal):
    """The database is out of reach, or no app server could be had in time: nothing was done."""

    text = "Service unavailable, try again"


class Stopping(Unavailable):
    """This login server stops, and who waited there for a place has to ask another one, or this one
    when it is there again: nothing was done."""

    text = Unavailable.text
