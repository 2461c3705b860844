"""Partitions of messages: made before they are needed, and dropped when all in them is old."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import peewee

from bbs.board import inboxes
from bbs.board.messages import expiry, messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.delivery.feed import Cursor
from bbs.rules.auth import Caller
from bbs.storage import partitions
from bbs.storage.database import rows
from bbs.storage.engines import connect_to
from bbs.storage.partitions import GROWTH, NARROWEST, SHARES, Change, bounds_of, partition_clause
from tests.database_case import OnMySQL, RulesCase
from tests.storage.processes import PATIENCE

TABLES = expiry.PARTITIONS.tables
DAY = 86400.0


class PartitionsCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")
        self.befriend(self.ann, self.bob)

    def next_change(self, before: float) -> Change | None:
        return self.call(expiry.PARTITIONS.next_change, before)

    def expire(self, before: float) -> Sequence[Change]:
        """Do what housekeeping does; returns the changes."""
        changes = []
        while change := self.next_change(before):
            if change.drops:
                self.release(change.bound)
            expiry.PARTITIONS.carry_out(change)
            changes.append(change)
        while self.call(expiry.expire, before):
            pass
        return changes

    def release(self, bound: int) -> None:
        for rule in expiry.PARTITIONS.release:
            start: int | None = 0
            while start is not None:
                start = self.call(rule, bound, start)

    def store(
        self, number: int, stored: float, size: int | None = None, reader: Caller | None = None
    ) -> None:
        """A message of ann's to bob, or to another, which counts for both."""
        user, text = (reader or self.bob).id, "12"
        with self.database.peewee.atomic():
            MessageRow.insert(
                id=number,
                sender="ann",
                target="bob",
                to_group=False,
                text=text,
                stored=stored,
                sent_by=self.ann.id,
                sent_to=user,
                size=size,
            ).execute()
            Delivery.insert(user=user, message=number).execute()
            waits = Inbox.update(waiting=Inbox.waiting + len(text))
            waits.where(Inbox.user == user).execute()
            if size:
                sent = Inbox.update(sent=Inbox.sent + size)
                sent.where(Inbox.user == self.ann.id).execute()

    def inbox(self, caller: Caller) -> Inbox:
        found: Inbox = Inbox.get(Inbox.user == caller.id)
        return found

    def numbers(self) -> tuple[list[int], list[int]]:
        """The ids of messages and of deliveries."""
        kept = [each.id for each in MessageRow.select(MessageRow.id).order_by(MessageRow.id)]
        return kept, [number for (number,) in rows(Delivery.select(Delivery.message))]


class OnSQLite(PartitionsCase):
    def test_there_are_none(self) -> None:
        self.store(NARROWEST, 10.0)
        self.store(2 * NARROWEST, 20.0)
        self.assertIsNone(bounds_of(MessageRow))
        self.assertEqual(self.expire(15.0), [])
        self.assertEqual(self.numbers(), ([2 * NARROWEST], [2 * NARROWEST]))


class OnMySQLCase(OnMySQL, PartitionsCase):
    """With partitions that end before `BOUND` and `2 * BOUND`, and nothing in them."""

    BOUND = NARROWEST

    def setUp(self) -> None:
        super().setUp()
        # On a busy machine a change of a table takes longer than a command.
        self.database.peewee.connect_params.update(read_timeout=PATIENCE, write_timeout=PATIENCE)
        self.database.peewee.close()
        self.database.peewee.connect()
        self.divide(self.BOUND, 2 * self.BOUND)
        self.addCleanup(self.divide, self.BOUND)

    def divide(self, *bounds: int) -> None:
        execute: Any = self.database.peewee.execute_sql
        for table in TABLES:
            table.delete().execute()
            name = table._meta.table_name
            execute(f"ALTER TABLE {name} {partition_clause(table, bounds)}")
        execute("ALTER TABLE message AUTO_INCREMENT = 1")

    def bounds(self) -> Sequence[int]:
        """Those of both tables, which are the same."""
        deliveries, kept = map(bounds_of, TABLES)
        self.assertEqual(deliveries, kept)
        return kept or ()


class Making(OnMySQLCase):
    def setUp(self) -> None:
        super().setUp()
        self.assertIsNone(self.next_change(0.0))
        self.store(1, 1.0)

    def test_nothing_to_do(self) -> None:
        self.store(self.BOUND - 1, 10.0)
        self.assertEqual((self.expire(0.0), self.bounds()), ([], [self.BOUND, 2 * self.BOUND]))

    def test_one_is_ahead(self) -> None:
        self.store(self.BOUND, 10.0)
        self.assertEqual(self.expire(0.0), [Change(3 * self.BOUND)])
        self.assertEqual(self.bounds(), [self.BOUND, 2 * self.BOUND, 3 * self.BOUND])
        self.store(self.BOUND + 1, 20.0)
        self.assertEqual(self.expire(0.0), [])

    def test_as_wide_as_a_share_of_the_time_needs(self) -> None:
        """As many ids as came, in a quarter of the time for which messages are kept."""
        self.store(self.BOUND + 1, 1.0 + DAY)
        width = round(10 * DAY / SHARES / DAY * self.BOUND)
        self.assertEqual(self.expire(1.0 - 9 * DAY), [Change(2 * self.BOUND + width)])

    def test_not_much_wider_than_the_last_one(self) -> None:
        self.store(self.BOUND + 1, 60.0)
        self.assertEqual(self.expire(60.0 - 30 * DAY), [Change((2 + GROWTH) * self.BOUND)])

    def test_ids_that_nobody_expected(self) -> None:
        for number in (5 * self.BOUND, 5 * self.BOUND + 1):
            self.store(number, 10.0)
        self.assertEqual(self.expire(5.0)[-1], Change(7 * self.BOUND + 1))
        self.assertEqual(self.numbers(), ([5 * self.BOUND, 5 * self.BOUND + 1],) * 2)
        self.assertEqual(self.bounds(), [6 * self.BOUND + 1, 7 * self.BOUND + 1])

    def test_by_two_at_once_and_cut_off(self) -> None:
        self.store(self.BOUND, 10.0)
        change = self.next_change(0.0)
        assert change is not None
        deliveries = partitions.PartitionedTables(TABLES[:1], MessageRow.stored)
        deliveries.carry_out(change)
        expiry.PARTITIONS.carry_out(change)
        expiry.PARTITIONS.carry_out(change)
        self.assertEqual(self.bounds(), [self.BOUND, 2 * self.BOUND, change.bound])

    def test_a_transaction_that_keeps_the_table(self) -> None:
        """It is waited for, and not for long; Galera ends it."""
        self.store(self.BOUND, 10.0)
        other: Any = connect_to(self.url)
        other.connect()
        self.addCleanup(other.close)
        other.execute_sql("BEGIN")
        other.execute_sql("SELECT COUNT(*) FROM message").fetchall()
        if self.database.server and self.database.server.is_galera:
            changes = self.expire(0.0)
            error = self.assertRaises(peewee.OperationalError, other.execute_sql, "SELECT 1")
            self.assertEqual(error.args[0], 1213)
        else:
            error = self.assertRaises(peewee.OperationalError, self.expire, 0.0)
            self.assertEqual(error.args[0], 1205)
            other.execute_sql("ROLLBACK")
            changes = self.expire(0.0)
        self.assertEqual(changes, [Change(3 * self.BOUND)])
        self.assertEqual(self.bounds(), [self.BOUND, 2 * self.BOUND, 3 * self.BOUND])


class Dropping(OnMySQLCase):
    def setUp(self) -> None:
        super().setUp()
        self.store(1, 10.0, size=300)
        self.store(2, 20.0)
        self.store(self.BOUND, 30.0, size=500)

    def test_what_is_old_goes_with_its_partition(self) -> None:
        self.assertNotIn(Change(self.BOUND, drops=True), self.expire(20.0))
        self.assertEqual(self.numbers(), ([1, 2, self.BOUND],) * 2)
        self.assertEqual(self.expire(20.5), [Change(self.BOUND, drops=True)])
        self.assertEqual(self.numbers(), ([self.BOUND],) * 2)
        self.assertEqual(self.bounds(), [2 * self.BOUND, 3 * self.BOUND])
        self.assertEqual(self.expire(20.5), [])

    def test_one_by_one_in_the_partition_that_is_written_to(self) -> None:
        self.store(self.BOUND + 1, 40.0)
        self.assertIn(Change(self.BOUND, drops=True), self.expire(35.0))
        self.assertEqual(self.numbers(), ([self.BOUND + 1],) * 2)

    def test_everything_is_old(self) -> None:
        """The partition that is written to stays, and with it the highest id."""
        self.expire(50.0)
        self.assertEqual(self.numbers(), ([], []))
        sent = self.call(messages.send, self.ann, "bob", "new")
        self.assertGreater(sent.event.id, self.BOUND)
        self.assertEqual(self.expire(50.0), [])

    def test_what_waited_waits_no_longer(self) -> None:
        self.assertEqual((self.waiting_bytes(self.bob), self.inbox(self.bob).delivered), (6, 0))
        self.expire(25.0)
        self.assertEqual(
            (self.waiting_bytes(self.bob), self.inbox(self.bob).delivered), (2, 131071)
        )
        cursor = Cursor(self.bob.id, 0)
        [event] = self.call(messages.fetch, [cursor])[cursor]
        self.assertEqual(event.id, self.BOUND)

    def test_it_counts_for_its_sender_no_longer(self) -> None:
        self.assertEqual(self.inbox(self.ann).sent, 800)
        self.expire(25.0)
        self.assertEqual(self.inbox(self.ann).sent, 500)

    def test_in_small_transactions(self) -> None:
        """As many messages as one may change, or as it may look through."""
        self.patch(expiry, "RELEASED_AT_ONCE", 2)
        self.patch(expiry, "LOOKED_THROUGH", 1000)
        for number in (3, 4, 5, 3000):
            self.store(number, 20.0, size=40)
        start: int | None = 0
        found = []
        while start is not None:
            found.append((start, self.inbox(self.ann).sent))
            start = self.call(expiry.release_senders, self.BOUND, start)
        self.assertEqual(found, [(0, 960), (4, 620), (6, 540), (4000, 500)])

    def test_begun_anew_after_an_interruption(self) -> None:
        """Nothing is taken off twice."""
        for _ in range(2):
            self.release(self.BOUND)
            self.assertEqual(self.inbox(self.ann).sent, 500)
            self.assertEqual(self.waiting_bytes(self.bob), 2)

    def test_readers_in_small_transactions(self) -> None:
        cat, dan = self.people("cat", "dan")
        self.patch(inboxes, "AT_ONCE", 1)
        self.patch(expiry, "LOOKED_THROUGH", 2)
        for number, each in ((40, cat), (50, dan)):
            self.store(number, 20.0, reader=each)
        start: int | None = self.ann.id
        found = []
        while start is not None:
            found.append([self.inbox(each).waiting for each in (self.bob, cat, dan)])
            start = self.call(expiry.release_readers, self.BOUND, start)
        released = [waiting for waiting, _ in groupby(found)]
        self.assertEqual(released, [[6, 2, 2], [2, 2, 2], [2, 0, 2], [2, 0, 0]])

    def test_cut_off_between_two_tables(self) -> None:
        deliveries = partitions.PartitionedTables(TABLES[:1], MessageRow.stored)
        deliveries.carry_out(Change(self.BOUND, drops=True))
        self.assertEqual(self.numbers(), ([1, 2, self.BOUND], [self.BOUND]))
        self.expire(25.0)
        self.assertEqual(self.numbers(), ([self.BOUND],) * 2)

    def test_room_for_a_sender_takes_deliveries_too(self) -> None:
        """No foreign key does that."""
        Inbox.update(delivered=self.BOUND, waiting=0).where(Inbox.user == self.bob.id).execute()
        self.call(expiry.remove, [1])
        self.assertEqual(self.numbers(), ([2, self.BOUND],) * 2)
