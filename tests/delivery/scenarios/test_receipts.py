"""What is remembered of who was sent what, and for how long."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import Unavailable
from bbs.delivery.feed import Cursor, Feed
from bbs.delivery.listeners import CHECKED_AT_ONCE, NOTE_DELAY, Listeners, Receipts
from bbs.storage.database import Database

RETRY_DELAY = 5.0


class Noting:
    """A database that runs a rule at once, or is away."""

    def __init__(self) -> None:
        self.away = False

    def run(self, rule: Callable[..., object], *arguments: Any) -> Deferred[object]:
        return fail(Unavailable()) if self.away else succeed(rule(*arguments))


class Listening(set[int]):
    """Users who listen."""

    def listens(self, user: int) -> bool:
        return user in self


class Remembering(SynchronousTestCase):
    def setUp(self) -> None:
        self.noted: dict[int, int] = {}
        self.listening = Listening()
        self.clock = Clock()
        self.database = Noting()
        rule: Any = None
        self.receipts = Receipts(
            cast("Database", self.database),
            Feed(rule, rule, self.note),
            self.clock,
            RETRY_DELAY,
            cast("Listeners", self.listening),
        )

    def note(self, cursors: Sequence[Cursor]) -> None:
        self.noted |= {cursor.user: cursor.last for cursor in cursors}

    def send(self, user: int, last: int) -> None:
        self.receipts.add(Cursor(user, last))
        self.clock.advance(NOTE_DELAY)

    def test_who_went_before_it_was_noted(self) -> None:
        self.send(1, 7)
        self.assertEqual(self.noted, {1: 7})
        self.assertEqual(self.receipts.last(1), 0)

    def test_who_listens(self) -> None:
        self.listening.add(1)
        self.send(1, 7)
        self.send(2, 8)
        self.assertEqual(self.receipts.last(1), 7)

    def test_who_goes_later(self) -> None:
        """Everybody who was ever served would be too many to remember."""
        users = range(1, 10 * CHECKED_AT_ONCE)
        for user in users:
            self.listening.add(user)
            self.send(user, 7)
            if user % 3:
                self.listening.discard(user)
        for _ in range(10):
            self.send(0, self.receipts.last(0) + 1)
        remembered = {user for user in users if self.receipts.last(user)}
        self.assertEqual(remembered, self.listening)
        self.assertEqual(self.noted.keys() - {0}, set(users))

    def test_what_is_not_noted_is_remembered(self) -> None:
        self.database.away = True
        self.send(1, 7)
        self.send(2, 8)
        self.assertEqual((self.receipts.last(1), self.noted), (7, {}))
        self.database.away = False
        self.clock.advance(RETRY_DELAY)
        self.assertEqual(self.noted, {1: 7, 2: 8})
        self.assertEqual(self.receipts.last(1), 0)
