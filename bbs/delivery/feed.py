"""A service's feed: the durable events that it keeps for listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bbs.protocols.line.interfaces import encode
from bbs.rules.auth import Caller

BATCH = 100
"""Events that one look brings a reader; there is another look while there are more."""


@dataclass(frozen=True)
class Cursor:
    """A reader (the id of a user), and the id of the last event seen."""

    user: int
    last: int


@dataclass(frozen=True)
class Mailbox:
    """Where a user's listening begins, and what it must hear.

    `resumes`: at an id that the client gave, and not behind what is known to have been sent.
    `channels` are those beside the user's own, on which the user's events are hinted at.
    """

    cursor: Cursor
    resumes: bool
    channels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stored:
    """A durable event: `members` as they go over the wire, `id` among them."""

    id: int
    members: Mapping[str, object]

    @cached_property
    def line(self) -> bytes:
        """The event on the wire: made once, however many read it."""
        return encode(self.members)


@dataclass(frozen=True)
class Feed:
    """The durable events of a service, by three rules, each run in one transaction.

    `open(caller, after)` says where listening begins: behind the event with the id `after`, or,
    for None, behind the last that was sent. `fetch(cursors)` gives for each cursor the events
    behind it, oldest first, `BATCH` at the most. `note(cursors)` keeps what was sent.

    Ids rise in the order in which a reader's events are committed. Whoever stores an event tells a
    channel of it afterwards (`Ask.tell`): an event that has an `id`, a whole number, is taken for a
    hint that the feed has news, and is read there. With the id that was each reader's before it,
    readers who have just been sent that one need no look.

    `expire(before)`, if there is one, removes what was stored before (seconds since the epoch) and
    returns how much it was; it is called every minute until that is 0, for what is older than
    `[messages] message_retention`.
    """

    open: Callable[[Caller, int | None], Mailbox]
    fetch: Callable[[Sequence[Cursor]], Mapping[Cursor, Sequence[Stored]]]
    note: Callable[[Sequence[Cursor]], None]
    expire: Callable[[float], int] | None = None
