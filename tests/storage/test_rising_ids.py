"""Ids that rise although the database has gone back to an earlier state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from typing import Any, cast

from twisted.logger import ILogObserver, globalLogPublisher

from bbs.board.messages import expiry, messages
from bbs.board.messages.tables import Delivery, MessageRow
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.delivery.feed import Cursor
from bbs.rules.auth import Caller
from bbs.storage import rising_ids
from bbs.storage.database import read_only
from bbs.storage.partitions import NARROWEST, bounds_of
from bbs.storage.rising_ids import LEAP
from tests.database_case import OnMySQL, RulesCase, on_both_databases

NOW = 1_800_000_000.0  # In the year 2027.


class GoingBack(RulesCase):
    """A test with a database that may go back."""

    def setUp(self) -> None:
        super().setUp()
        # Other tests get another database of MySQL's: this one's ids and partitions stay.
        self.addCleanup(setattr, OnMySQL, "shared_url", None)
        self.ann, self.bob = self.people("ann", "bob")
        self.befriend(self.ann, self.bob)

    def send(self, text: str = "hello") -> int:
        id: int = self.call(messages.send, self.ann, "bob", text).event.id
        return id

    def post(self) -> int:
        found: Any = self.call(posts.post, self.ann, "hello").event["post"]
        return int(found)

    def begin_era(self, now: float = NOW, known: Mapping[str, int] | None = None) -> int:
        return self.call(rising_ids.begin_era, now, known or {})

    def go_back(self) -> None:
        """Forget all messages and posts, as if a backup from before them had been loaded."""
        for table in (Delivery, MessageRow, PostRow):
            table.delete().execute()
        database: Any = self.database.peewee
        for table in (MessageRow, PostRow):
            name = table._meta.table_name
            if self.on_mysql:
                with closing(database.connection_apart()) as apart, apart.cursor() as cursor:
                    cursor.execute(f"ALTER TABLE `{name}` AUTO_INCREMENT = 1")
            else:
                database.execute_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))

    def listen_to_log(self) -> list[str]:
        logged: list[str] = []

        def note(event: Any) -> None:
            logged.append(str(event.get("log_format")))

        globalLogPublisher.addObserver(cast("ILogObserver", note))
        self.addCleanup(globalLogPublisher.removeObserver, cast("ILogObserver", note))
        return logged


@on_both_databases
class Eras(GoingBack):
    def test_all_ids_leap(self) -> None:
        """To the time in microseconds, which JavaScript can read."""
        before = self.send(), self.post()
        era = self.begin_era()
        self.assertEqual(era, round(NOW * 10**6))
        after = self.send(), self.post()
        self.assertEqual((after, max(before) < 100), ((era, era), True))
        self.assertEqual((self.person("carol").id, era < 2**53), (era, True))
        self.assertEqual(self.send(), era + 1)

    def test_another_era(self) -> None:
        first, sent = self.begin_era(), self.send()
        self.assertGreater(self.begin_era(NOW + 1), first)
        self.assertEqual(self.send(), sent + 10**6)

    def test_a_clock_that_is_behind(self) -> None:
        sent = self.send()
        era = self.begin_era(now=0.0)
        self.assertGreaterEqual(era, sent + LEAP)
        self.assertEqual(self.begin_era(now=0.0, known={"message": era + 7}), era + 7 + LEAP)
        self.assertEqual(self.send(), era + 7 + LEAP)

    def test_a_clock_that_is_far_ahead(self) -> None:
        self.begin_era(now=1e12)
        self.assertLess(self.send(), 2**53)

    def test_one_of_several_begins_it(self) -> None:
        era = self.begin_era()
        self.assertEqual(self.call(rising_ids.begin_era, NOW + 9, {}, 0), era)
        self.assertGreater(self.call(rising_ids.begin_era, NOW + 9, {}, era), era)

    def test_what_was_given(self) -> None:
        given = self.call(rising_ids.given)
        self.assertEqual(given["user"], self.bob.id)
        sent = self.send()
        for table in (Delivery, MessageRow):
            table.delete().execute()
        self.assertEqual(self.call(rising_ids.given)["message"], sent)

    def test_partitions_stay_narrow(self) -> None:
        """Those of the gap are no measure for the next ones."""
        self.send()
        eras = [self.begin_era(NOW), self.begin_era(NOW)]
        if not self.on_mysql:
            return
        for table in (MessageRow, Delivery):
            bounds = bounds_of(table) or ()
            made = [each for era in eras for each in (era, era + NARROWEST)]
            self.assertEqual([*bounds[-4:]], made)
        self.send()
        width = 0
        for _ in range(5):
            change = self.call(expiry.PARTITIONS.next_change, self.now - 1000)
            if change is None:
                break
            self.assertFalse(change.drops)
            width = change.bound - (bounds_of(MessageRow) or ())[-1]
            self.assertLessEqual(width, 8 * NARROWEST)
            expiry.PARTITIONS.carry_out(change)
        self.assertIsNone(change)

    def test_no_sweep_looks_through_the_gap(self) -> None:
        """A user who came after a restore has an id far above those of before."""
        self.begin_era()
        carol = self.person("carol")
        starts = 0
        start: int | None = 0
        while start is not None:
            start = self.call(expiry.release_readers, 1, start)
            starts += 1
        self.assertLess(starts, 5)
        self.assertGreater(carol.id, LEAP)


@on_both_databases
class GivenAgain(GoingBack):
    def test_it_is_done_again_with_a_higher_one(self) -> None:
        """Nobody is told of a message with an id that is dropped by who has seen a higher one."""
        logged = self.listen_to_log()
        sent = [self.send() for _ in range(3)]
        self.go_back()
        again = self.send("later")
        self.assertGreater(again, sent[-1])
        found = self.call(messages.fetch, [self.cursor(self.bob, sent[-1])])
        self.assertEqual([each.id for each in next(iter(found.values()))], [again])
        self.assertEqual(self.send(), again + 1)
        self.assertEqual(len([line for line in logged if "gone back" in line]), 1)
        self.assertGreaterEqual(self.call(rising_ids.era), 10**6)

    def test_anything_else(self) -> None:
        """Every table whose ids servers or clients keep is held to it."""
        before = self.post()
        self.go_back()
        self.assertGreater(self.post(), before)

    def test_what_models_insert(self) -> None:
        def insert() -> int:
            id: int = PostRow.create(text="hello", author=self.ann.id).id
            return id

        before = [self.call(insert), self.call(insert)]
        self.go_back()
        self.assertGreater(self.call(insert), before[-1])

    def test_an_id_that_is_only_known_from_others(self) -> None:
        self.database.note_ids(0, {"message": 2000})
        self.assertGreater(self.send(), 2000)

    def test_ids_of_a_row_that_was_undone(self) -> None:
        """They are not known to be stored, and may be given again."""

        def insert() -> int:
            PostRow.create(text="hello", author=self.ann.id)
            raise ValueError("no")

        self.failureResultOf(self.database.run(insert), ValueError)
        self.go_back()
        self.call(posts.post, self.ann, "hello")
        self.assertEqual(self.call(rising_ids.era), 0)

    def test_rows_are_read_anew(self) -> None:
        """A post that was gone is there again."""
        post = self.post()
        row = PostRow.get(PostRow.id == post)
        read = posts.encoded_in_feeds
        PostRow.delete().where(PostRow.id == post).execute()
        self.assertEqual(self.call(read_only(lambda: dict(read([post])))), {post: b""})
        row.save(force_insert=True)
        self.database.note_ids(self.begin_era(), {})
        self.assertIn(b"hello", self.call(read_only(lambda: dict(read([post]))))[post])

    @staticmethod
    def cursor(reader: Caller, last: int) -> Any:
        return Cursor(reader.id, last)


del GoingBack
