"""How much of an inbox one sender may have: `docs/protocol.md`, section 3."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import peewee
from twisted.internet.defer import Deferred

from bbs.board.groups import groups
from bbs.board.messages import expiry, messages
from bbs.board.messages.errors import InboxFull
from bbs.board.messages.tables import Delivery, Inbox, InboxShare, MessageRow
from bbs.board.people import blocks
from bbs.board.quotas import Quotas
from bbs.core.threads import ILanes
from bbs.delivery.feed import Cursor
from bbs.framework.fast import byte_length
from bbs.rules.auth import Caller
from bbs.storage.database import Database, rows
from tests.board.costs import CountedLanes
from tests.database_case import RulesCase, on_both_databases

ROUNDS = int(os.environ.get("BBS_TEST_ROUNDS", "1"))
"""How often what is drawn at random is drawn. `make soak` takes more."""

INBOX = 400 * 2**10
SHARE = INBOX // 4

LONG = 10_000
"""Bytes of a text, of which ten are nearly a share."""


class SharesCase(RulesCase):
    quotas = Quotas(inbox=INBOX)

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")
        for each in (self.ann, self.cat):
            self.befriend(each, self.bob)

    def send(self, sender: Caller, size: int = LONG) -> int:
        """Send a text of so many bytes to bob; the message's id."""
        return int(self.call(messages.send, sender, "bob", "x" * size).event.id)

    def is_refused(self, sender: Caller, size: int = LONG) -> None:
        self.refused("bob's inbox is full", messages.send, sender, "bob", "x" * size)

    def deliver(self, last: int, reader: Caller | None = None) -> None:
        self.call(messages.note_delivered, [Cursor((reader or self.bob).id, last)])

    def waiting(self, reader: Caller) -> dict[str, int]:
        """The bytes that wait, by sender; fails unless their sum is what is counted."""
        inbox = Inbox.get(Inbox.user == reader.id)
        size = peewee.fn.SUM(byte_length(MessageRow.text))
        found = MessageRow.select(MessageRow.sender, size).join(Delivery)
        found = found.where((Delivery.user == reader.id) & (MessageRow.id > inbox.delivered))
        sums = {sender: int(size) for sender, size in rows(found.group_by(MessageRow.sender))}
        self.assertEqual(inbox.waiting, sum(sums.values()))
        return sums


@on_both_databases
class Shares(SharesCase):
    def test_one_sender_has_a_quarter_and_others_have_room(self) -> None:
        for _ in range(10):
            self.send(self.ann)
        self.is_refused(self.ann)
        self.send(self.ann, SHARE - 10 * LONG)
        self.is_refused(self.ann, 1)
        for _ in range(5):
            self.send(self.cat)
        self.assertEqual(self.waiting(self.bob), {"ann": SHARE, "cat": 5 * LONG})

    def test_by_mail_as_well(self) -> None:
        self.log_out(self.bob)
        for _ in range(10):
            self.call(messages.mail, self.ann, "bob", "x" * LONG)
        full = "bob's inbox is full"
        self.refused(full, messages.mail, self.ann, "bob", "x" * LONG)
        self.call(messages.mail, self.cat, "bob", "hello")

    def test_what_is_refused_costs_others_nothing(self) -> None:
        """Nothing is written: on MySQL all who share the transaction would begin anew."""
        for _ in range(10):
            self.send(self.ann)
        said: list[str] = []
        self.database.peewee.query_hooks.append(lambda event: said.append(event.sql))
        self.is_refused(self.ann)
        self.database.peewee.query_hooks.clear()
        self.assertEqual([each for each in said if not each.startswith("SELECT")], [])

    def test_an_inbox_with_little_in_it_knows_no_senders(self) -> None:
        for _ in range(5):
            self.send(self.ann)
        self.assertEqual(InboxShare.select().count(), 0)

    def test_once_all_is_delivered_there_is_room_again(self) -> None:
        numbers = [self.send(self.ann) for _ in range(10)]
        self.deliver(numbers[-1])
        self.assertEqual(InboxShare.select().count(), 0)
        for _ in range(10):
            self.send(self.ann)
        self.is_refused(self.ann)

    def test_what_is_delivered_in_part(self) -> None:
        """Whoever had a whole share has it anew once the reader has received all of it."""
        numbers = [self.send(self.ann) for _ in range(10)]
        self.deliver(numbers[5])
        last = self.send(self.ann)
        self.is_refused(self.ann)
        self.send(self.cat)
        self.deliver(last)
        for _ in range(9):
            self.send(self.ann)

    def test_one_of_a_group_fills_nobodys_inbox(self) -> None:
        dan = self.person("dan")
        self.call(groups.create, self.ann, "go")
        for each in (self.bob, dan):
            self.call(groups.join, each, "go")
        readers = []
        for _ in range(12):
            sent = self.call(messages.send_group, self.ann, "go", "x" * LONG)
            readers.append(sent.readers)
        self.assertEqual(readers, [3] * 10 + [0] * 2)
        sent = self.call(messages.send_group, dan, "go", "hello")
        self.assertEqual(sent.readers, 3)
        for each in (self.ann, self.bob, dan):
            self.assertEqual(self.waiting(each), {"ann": 10 * LONG, "dan": 5})
        # Messages to the person count with those to the group.
        self.is_refused(self.ann)
        self.assertEqual(MessageRow.select().count(), 11)

    def test_many_of_a_group_leave_room_to_friends(self) -> None:
        """Blocked or not, they send by turns what their shares allow."""
        self.call(groups.create, self.bob, "go")
        crowd = self.people(*(f"of{number}" for number in range(12)))
        for each in crowd:
            self.call(groups.join, each, "go")
            self.call(blocks.block, self.bob, each.name)
            for size in (LONG, 900, 90, 9):
                for _ in range(12):
                    self.call(messages.send_group, each, "go", "x" * size)
        waiting = sum(self.waiting(self.bob).values())
        self.assertTrue(INBOX - SHARE - 9 < waiting <= INBOX - SHARE, waiting)
        for _ in range(5):
            self.send(self.ann)
        self.is_refused(self.ann)
        self.send(self.cat)

    def test_what_has_expired_counts_no_more(self) -> None:
        for _ in range(10):
            self.send(self.ann)
        cat = replace(self.cat, now=self.now + 100)
        for _ in range(5):
            self.send(cat)
        self.is_refused(self.ann)
        self.call(expiry.expire, self.now + 50)
        self.assertEqual(self.waiting(self.bob), {"cat": 5 * LONG})
        later = replace(self.ann, now=self.now + 100)
        for _ in range(5):
            self.send(later)

    def test_the_longest_line_fits_into_a_small_inbox(self) -> None:
        quotas = Quotas(inbox=2**16)
        ann, cat = (replace(each, quotas=quotas) for each in (self.ann, self.cat))
        self.send(ann, 2**16 - 10)
        self.send(cat, 10)
        self.is_refused(cat, 1)


@on_both_databases
class Together(SharesCase):
    """Messages that come at the same moment, and share a transaction."""

    def setUp(self) -> None:
        self.lanes = CountedLanes()
        super().setUp()

    def open_database(self, workers: ILanes | None = None) -> Database:
        return super().open_database(workers or self.lanes)

    def test_each_is_decided_by_those_before_it(self) -> None:
        with self.lanes.together():
            several = [
                self.database.run(messages.send, self.ann, "bob", f"{number:02}" * (LONG // 2))
                for number in range(12)
            ]
            other = self.database.run(messages.send, self.cat, "bob", "hello")
        for done in several[:10]:
            self.successResultOf(done)
        for done in several[10:]:
            self.failureResultOf(done, InboxFull)
        self.successResultOf(other)
        self.assertEqual(self.waiting(self.bob), {"ann": 10 * LONG, "cat": 5})


@on_both_databases
class AtRandom(SharesCase):
    """Whatever comes, in whatever order: nobody has more than a share, and nobody is refused who
    has little."""

    def test_at_random(self) -> None:
        for seed in range(2 * ROUNDS):
            self.at_random(random.Random(seed), f"group{seed}")

    def at_random(self, chance: random.Random, group: str) -> None:
        self.call(groups.create, self.ann, group)
        for each in (self.bob, self.cat):
            self.call(groups.join, each, group)
        for _ in range(80):
            sender = replace(chance.choice([self.ann, self.cat]), now=self.now)
            text = "x" * chance.randrange(1, 2 * LONG)
            done = chance.randrange(8)
            if done < 4:
                self.tried(sender, text)
            elif done < 6:
                self.call(messages.send_group, sender, group, text)
            elif done == 6:
                theirs = rows(Delivery.select(Delivery.message).where(Delivery.user == self.bob.id))
                if theirs:
                    self.deliver(chance.choice(theirs)[0])
            else:
                self.call(expiry.expire, self.now - chance.randrange(5, 60), 3)
            self.clock.advance(chance.randrange(3))
            for reader in (self.ann, self.bob, self.cat):
                for sender_name, size in self.waiting(reader).items():
                    self.assertLessEqual(size, SHARE, sender_name)

    def tried(self, sender: Caller, text: str) -> None:
        before = self.waiting(self.bob)
        done: Deferred[object] = self.database.run(messages.send, sender, "bob", text)
        refused: list[object] = []
        done.addErrback(lambda failure: refused.append(failure.trap(InboxFull)))
        self.successResultOf(done)
        if refused and not InboxShare.select().where(InboxShare.sender == sender.id).exists():
            self.assertGreater(sum(before.values()) + len(text), INBOX)
