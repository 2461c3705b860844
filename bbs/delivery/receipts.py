"""What the readers of one app server have been sent, and that it is written down."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import islice
from typing import Any

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from bbs.delivery.feed import Cursor, Feed
from bbs.errors import Unavailable
from bbs.storage.database import Database

NOTE_DELAY = 0.1
"""Seconds in which receipts are gathered before they are written down together."""

LOOKED_AT = 64
"""Readers who are looked at each time, beside as many as were noted: so those are found who have
gone since theirs was noted, before others take their place."""

_log = Logger()


class Receipts:
    """The last event that each reader was sent, until it is written down and the reader is gone.

    :param retry_delay: seconds after which a database that was away is tried again.
    :param listens: says whether a user listens.
    """

    def __init__(
        self,
        database: Database,
        feed: Feed | None,
        reactor: Any,
        retry_delay: float,
        listens: Callable[[int], bool],
    ) -> None:
        self._database = database
        self._feed = feed
        self._reactor = reactor
        self._retry_delay = retry_delay
        self._listens = listens
        self._sent: OrderedDict[int, int] = OrderedDict()
        self._unnoted: set[int] = set()
        self._next_note: Any = None
        self._one_at_a_time = DeferredLock()
        self._stopped = False

    def last(self, user: int) -> int:
        """The id of the last event that `user` is known to have been sent; 0 for none."""
        return self._sent.get(user, 0)

    def add(self, cursor: Cursor) -> None:
        """A reader was sent an event."""
        if cursor.last > self.last(cursor.user):
            self._sent[cursor.user] = cursor.last
            self._unnoted.add(cursor.user)
            self._note_in(NOTE_DELAY)

    def stop(self) -> Deferred[None]:
        """Write down the last ones; fires when that is done, or cannot be."""
        self._stopped = True
        if self._next_note is not None:
            self._next_note.cancel()
            self._next_note = None
        return Deferred.fromCoroutine(self._note())

    def _note_in(self, seconds: float) -> None:
        if self._next_note is None and not self._stopped:
            self._next_note = self._reactor.callLater(seconds, self._time_to_note)

    def _time_to_note(self) -> None:
        self._next_note = None
        Deferred.fromCoroutine(self._note()).addErrback(
            lambda failure: _log.failure("receipts were not written down", failure=failure)
        )

    async def _note(self) -> None:
        # One after the other: of two at a time, the first would forget what the second is to note.
        await self._one_at_a_time.acquire()
        try:
            await self._note_what_is_new()
        finally:
            self._one_at_a_time.release()

    async def _note_what_is_new(self) -> None:
        users, self._unnoted = self._unnoted, set()
        if not users or self._feed is None:
            return
        try:
            await self._database.run(
                self._feed.note, [Cursor(user, self._sent[user]) for user in users]
            )
        except Unavailable:
            self._unnoted |= users
            self._note_in(self._retry_delay)
        else:
            for user in users - self._unnoted:
                if not self._listens(user):
                    del self._sent[user]
            self._forget_some(len(users) + LOOKED_AT)

    def _forget_some(self, count: int) -> None:
        """Look at `count` readers, in turn, and forget those who listen no more."""
        for user in [*islice(self._sent, count)]:
            if user in self._unnoted or self._listens(user):
                self._sent.move_to_end(user)
            else:
                del self._sent[user]
