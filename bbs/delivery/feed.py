"""The feed of a service: the durable events that it keeps for listeners."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from bbs.protocols.line.interfaces import encode
from bbs.rules.auth import Caller
from bbs.storage.partitions import PartitionedTables

BATCH = 100
"""Events that one fetch brings a reader; another fetch follows while there are more."""

FETCHED_BYTES = 2**20
"""Bytes that one fetch should bring all of its readers together, beside one event for each. A
connection that does not read takes some 64 KiB: what else is fetched for it is fetched again."""


@dataclass(frozen=True)
class Cursor:
    """A reader (the id of a user), and the id of the last event seen."""

    user: int
    last: int


@dataclass(frozen=True)
class Mailbox:
    """Where a user's listening begins, behind `cursor`, and the channels to hear.

    `resumes`: listening begins at an id that the client gave, and not behind the last event that
    was sent. `channels`, in addition to the user's own, carry hints at the user's events.
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
        """The event on the wire, encoded once for all readers."""
        return encode(self.members)


class FirstEvents(list[Stored]):
    """The first events of a reader, who has more of them: a `fetch` returns it in place of `BATCH`
    events that would be too long."""


@dataclass(frozen=True)
class Feed:
    """The durable events of a service, by three rules, each run in one transaction.

    `open(caller, after)` says where listening begins: behind the event with the id `after`, or,
    for None, behind the last that was sent. `fetch(cursors)` returns for each cursor the events
    behind it, oldest first, `BATCH` at most. If events may be long, it finds out how long they are,
    reads as many as `FETCHED_BYTES` for all cursors together, and returns `FirstEvents` where there
    are more. `note(cursors)` stores how far each reader was sent events.

    Until a listener has all that there was, each 16 KiB or 100 events cost the user as much as a
    command. A user who cannot pay waits for the rest.

    Ids rise in the order in which a reader's events are committed. A rule that stores an event
    tells a channel of it afterwards (`Ask.tell`): an event with an `id`, a whole number, is a hint
    that the feed has news, and is read there. If it also carries the id of each reader's event
    before it, readers who have just been sent that one need no fetch.

    `expire(before)`, if there is one, removes what was stored before this time (seconds since the
    epoch) and returns how much it was; it is called every minute until that is 0, for what is older
    than `[messages] message_retention`.

    `channels(users)`, if there is one, returns the channels of each user, as `Mailbox` has them.
    Servers compare them now and then with what connections of these users hear, as a hint that
    somebody hears a channel no longer (`Ask.unhear_for`) may be lost.

    `events`, if given, are the names of its events: then `Ask.tell` refuses any other event that
    has an `id`, as it would be looked for here in vain.

    `partitions`, if given, are its tables of which MySQL drops many rows at once, as soon as all of
    a partition are older than `message_retention`.
    """

    open: Callable[[Caller, int | None], Mailbox]
    fetch: Callable[[Sequence[Cursor]], Mapping[Cursor, Sequence[Stored]]]
    note: Callable[[Sequence[Cursor]], None]
    expire: Callable[[float], int] | None = None
    channels: Callable[[Sequence[int]], Mapping[int, Sequence[str]]] | None = None
    events: Sequence[str] | None = None
    partitions: PartitionedTables | None = None
