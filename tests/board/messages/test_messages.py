"""Messages: `docs/protocol.md`, section 3, `send` and `send-group`, and section 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bbs.board import board
from bbs.board.groups import groups
from bbs.board.messages import expiry, history, messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks
from bbs.board.posts import user_stats
from bbs.delivery.feed import Cursor, Mailbox, Stored
from bbs.delivery.listeners import is_more
from bbs.rules import accounts, auth
from bbs.storage.models import Server
from tests.board.posts.test_posts import TEXTS
from tests.database_case import RulesCase, on_both_databases
from tests.rules.crowds import add, crowd


class MessagesCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.eve = self.people("ann", "bob", "eve")
        self.befriend(self.ann, self.bob)

    def after(self, caller: auth.Caller, last: int = 0) -> Sequence[Stored]:
        """What a reader is sent who has seen `last`."""
        cursor = Cursor(caller.id, last)
        return self.call(messages.fetch, [cursor])[cursor]

    def texts(self, caller: auth.Caller, last: int = 0) -> list[object]:
        return [event.members["message"] for event in self.after(caller, last)]

    def go_offline(self, caller: auth.Caller) -> None:
        self.call(accounts.log_out, caller)


@on_both_databases
class Sending(MessagesCase):
    def test_success(self) -> None:
        ann = replace(self.ann, now=1764086400.2512345)
        stored = self.call(messages.send, ann, "bob", "hello")
        number = MessageRow.get().id
        event = Stored(
            number,
            {
                "event": "message",
                "id": number,
                "time": 1764086400.2512345,
                "from": "ann",
                "to": "bob",
                "message": "hello",
            },
        )
        self.assertEqual(stored, messages.Sent(self.bob.channel, event, {self.bob.id: 0}))
        self.assertEqual(self.after(self.bob), [event])
        self.assertEqual(self.after(self.ann), [])

    def test_what_came_before_it(self) -> None:
        """Each reader's own last message, whoever sent it; 0 before the first."""
        self.befriend(self.eve, self.bob)
        first = self.call(messages.send, self.ann, "bob", "1")
        other = self.call(messages.send, self.eve, "bob", "2")
        self.call(messages.send, self.bob, "ann", "3")
        last = self.call(messages.send, self.ann, "bob", "4")
        self.assertEqual(
            [sent.after for sent in (first, other, last)],
            [{self.bob.id: 0}, {self.bob.id: first.event.id}, {self.bob.id: other.event.id}],
        )

    def test_nobody(self) -> None:
        for name in ("dan", "Bob", "b" * 60_000):
            self.refused("No such user exist", messages.send, self.ann, name, "hello")

    def test_to_somebody_who_is_no_friend(self) -> None:
        self.refused("eve is not your friend", messages.send, self.ann, "eve", "hello")
        self.refused("ann is not your friend", messages.send, self.ann, "ann", "hello")
        self.go_offline(self.eve)
        self.refused("eve is not your friend", messages.send, self.ann, "eve", "hello")

    def test_to_a_friend_who_is_offline(self) -> None:
        self.go_offline(self.bob)
        self.refused("bob is not online", messages.send, self.ann, "bob", "hello")
        self.assertEqual(MessageRow.select().count(), 0)

    def test_to_a_friend_whose_server_is_gone(self) -> None:
        """Online all the same: a new place is being found."""
        Server.delete().execute()
        self.call(messages.send, self.ann, "bob", "hello")
        self.assertEqual(self.texts(self.bob), ["hello"])

    def test_texts_arrive_as_they_are(self) -> None:
        for text in TEXTS:
            self.call(messages.send, self.ann, "bob", text)
        self.assertEqual(self.texts(self.bob), TEXTS)

    def test_a_sender_with_the_longest_name(self) -> None:
        long = self.person("\N{GRINNING FACE}" * 100)
        self.befriend(long, self.bob)
        self.call(messages.send, long, "bob", "hello")
        self.call(messages.send, self.bob, long.name, "hello yourself")
        self.assertEqual(self.after(self.bob)[0].members["from"], long.name)
        self.assertEqual(self.after(long)[0].members["to"], long.name)


@on_both_databases
class Mailing(MessagesCase):
    def missed(self, caller: auth.Caller) -> object:
        """The messages that wait for somebody who logs in."""
        waiting: Any = self.call(user_stats.on_login, caller.id, caller.now)["waiting"]
        return waiting["messages"]

    def test_to_a_friend_who_is_offline(self) -> None:
        self.go_offline(self.bob)
        stored = self.call(messages.mail, self.ann, "bob", "hello")
        self.assertEqual((stored.channel, stored.servers), (self.bob.channel, {None}))
        self.assertEqual(self.texts(self.bob), ["hello"])
        self.assertEqual(self.waiting_bytes(self.bob), 5)
        bob = self.caller(self.log_in("bob"))
        self.assertEqual(self.missed(bob), 1)
        mailbox = self.call(messages.open_mailbox, bob, None)
        self.assertEqual(self.texts(bob, mailbox.cursor.last), ["hello"])
        self.call(messages.note_delivered, [Cursor(bob.id, stored.event.id)])
        self.assertEqual(self.waiting_bytes(bob), 0)
        self.assertEqual(self.call(messages.open_mailbox, bob, None).cursor.last, stored.event.id)
        [shown] = self.call(history.history, bob, "ann")["history"]
        self.assertEqual(shown["message"], "hello")

    def test_to_a_friend_who_is_online(self) -> None:
        """As `send`."""
        stored = self.call(messages.mail, self.ann, "bob", "1")
        other = self.call(messages.send, self.ann, "bob", "2")
        self.assertEqual(other.after, {self.bob.id: stored.event.id})
        self.assertEqual(stored.servers, {self.bob.server})
        self.assertIsNotNone(self.bob.server)
        self.assertEqual(self.texts(self.bob), ["1", "2"])

    def test_refusals(self) -> None:
        self.refused("No such user exist", messages.mail, self.ann, "dan", "hello")
        self.refused("eve is not your friend", messages.mail, self.ann, "eve", "hello")
        self.go_offline(self.bob)
        Inbox.update(waiting=self.ann.quotas.inbox - 4).where(Inbox.user == self.bob.id).execute()
        self.refused("bob's inbox is full", messages.mail, self.ann, "bob", "hello")
        self.call(blocks.block, self.bob, "ann")
        self.refused("bob takes nothing from you", messages.mail, self.ann, "bob", "hello")
        self.assertEqual(MessageRow.select().count(), 0)

    def test_it_costs_as_much(self) -> None:
        self.assertEqual(auth.costs_of(messages.mail), auth.costs_of(messages.send))
        self.assertIs(auth.asked_by(messages.mail), auth.asked_by(messages.send))


@on_both_databases
class SendingToGroups(MessagesCase):
    def setUp(self) -> None:
        super().setUp()
        self.channel = self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")

    def test_every_member_gets_it_the_sender_too(self) -> None:
        ann = replace(self.ann, now=1764086401.5)
        stored = self.call(messages.send_group, ann, "chess", "e4")
        number = MessageRow.get().id
        event = Stored(
            number,
            {
                "event": "message",
                "id": number,
                "time": 1764086401.5,
                "from": "ann",
                "group": "chess",
                "message": "e4",
            },
        )
        after = {self.ann.id: 0, self.bob.id: 0}
        self.assertEqual(stored, messages.Sent(self.channel, event, after))
        self.assertEqual(self.after(self.ann), [event])
        self.assertEqual(self.after(self.bob), [event])
        self.assertEqual(self.after(self.eve), [])

    def test_no_such_group(self) -> None:
        for name in ("go", "Chess", "c" * 60_000):
            self.refused("No such group exist", messages.send_group, self.ann, name, "e4")

    def test_by_somebody_who_is_no_member(self) -> None:
        self.refused(
            "You are not the member of chess", messages.send_group, self.eve, "chess", "e4"
        )

    def test_who_is_offline_or_joins_later_does_not_get_it(self) -> None:
        self.go_offline(self.bob)
        self.call(messages.send_group, self.ann, "chess", "e4")
        self.call(groups.join, self.eve, "chess")
        bob = self.caller(self.log_in("bob"))
        self.call(messages.send_group, self.ann, "chess", "e5")
        self.assertEqual(self.texts(self.ann), ["e4", "e5"])
        self.assertEqual(self.texts(bob), ["e5"])
        self.assertEqual(self.texts(self.eve), ["e5"])

    def test_with_nobody_online(self) -> None:
        """The sender has gone offline meanwhile, and was the only one."""
        for member in (self.ann, self.bob):
            self.go_offline(member)
        self.call(messages.send_group, self.ann, "chess", "e4")
        self.assertEqual(Delivery.select().count(), 0)

    def test_two_groups(self) -> None:
        self.call(groups.create, self.ann, "go")
        for name in ("chess", "go", "chess"):
            self.call(messages.send_group, self.ann, name, f"to {name}")
        self.assertEqual(self.texts(self.ann), ["to chess", "to go", "to chess"])
        self.assertEqual(self.texts(self.bob), ["to chess", "to chess"])


@on_both_databases
class Reading(MessagesCase):
    def send(self, *texts: str) -> list[int]:
        """Send from ann to bob; returns the ids."""
        return [self.call(messages.send, self.ann, "bob", text).event.id for text in texts]

    def test_ids_rise(self) -> None:
        ids = self.send("1", "2", "3")
        self.assertEqual(ids, sorted(set(ids)))
        self.assertEqual([event.id for event in self.after(self.bob)], ids)

    def test_after_an_id(self) -> None:
        first, second, third = self.send("1", "2", "3")
        for last, texts in (
            (0, ["1", "2", "3"]),
            (first, ["2", "3"]),
            (second, ["3"]),
            (third, []),
            (2**63 - 1, []),
        ):
            self.assertEqual(self.texts(self.bob, last), texts)

    def test_a_batch_at_a_time(self) -> None:
        sent = [str(number) for number in range(messages.BATCH + 3)]
        self.send(*sent)
        first = self.after(self.bob)
        self.assertEqual(len(first), messages.BATCH)
        last = first[-1].id
        self.assertEqual([e.members["message"] for e in first] + self.texts(self.bob, last), sent)

    def test_many_readers_at_once(self) -> None:
        self.send("to bob")
        self.call(messages.send, self.bob, "ann", "to ann")
        cursors = [Cursor(each.id, 0) for each in (self.ann, self.bob, self.eve)]
        found = self.call(messages.fetch, cursors)
        texts = [[event.members["message"] for event in found[cursor]] for cursor in cursors]
        self.assertEqual(texts, [["to ann"], ["to bob"], []])
        self.assertEqual(self.call(messages.fetch, []), {})

    def test_long_ones_for_many_readers(self) -> None:
        """Each has one at least, and all together have a mebibyte more at most."""
        long = "x" * 60_000
        readers = crowd(60)
        numbers = range(1, 41)
        add(MessageRow, [(n, "ann", "bob", False, long, 1.0) for n in numbers], *messages.COLUMNS)
        whose = [(reader, number) for number in numbers for reader in readers[number % 3 :: 3]]
        add(Delivery, whose, Delivery.user, Delivery.message)
        cursors = {reader: Cursor(reader, 0) for reader in readers}
        got: dict[int, list[int]] = {reader: [] for reader in readers}
        while cursors:
            found = self.call(messages.fetch, [*cursors.values()])
            fetched = {event.id for events in found.values() for event in events}
            self.assertLessEqual(len(fetched), 2**20 // len(long) + 3)
            for reader, cursor in [*cursors.items()]:
                events = found[cursor]
                if is_more(events):
                    cursors[reader] = Cursor(reader, events[-1].id)
                else:
                    del cursors[reader]
                got[reader] += [event.id for event in events]
        for index, reader in enumerate(readers):
            self.assertEqual(got[reader], [n for n in numbers if n % 3 == index % 3])

    def test_a_mailbox_begins_behind_what_was_sent(self) -> None:
        first, second = self.send("1", "2")
        opened = self.call(messages.open_mailbox, self.bob, None)
        self.assertEqual(opened, Mailbox(Cursor(self.bob.id, 0), False, ()))
        self.call(messages.note_delivered, [Cursor(self.bob.id, first)])
        opened = self.call(messages.open_mailbox, self.bob, None)
        self.assertEqual(opened.cursor.last, first)
        self.call(messages.note_delivered, [Cursor(self.bob.id, second)])
        self.assertEqual(self.call(messages.open_mailbox, self.bob, None).cursor.last, second)

    def test_a_mailbox_at_an_id(self) -> None:
        self.send("1")
        self.call(messages.note_delivered, [Cursor(self.bob.id, 2**40)])
        for last in (0, 7, 2**63 - 1):
            opened = self.call(messages.open_mailbox, self.bob, last)
            cursor = Cursor(self.bob.id, last)
            self.assertEqual(opened, Mailbox(cursor, True, ()))

    def test_a_mailbox_knows_the_groups(self) -> None:
        channels = [self.call(groups.create, self.bob, name) for name in ("go", "chess")]
        opened = self.call(messages.open_mailbox, self.bob, None)
        self.assertEqual(sorted(opened.channels), sorted(channels))

    def test_what_was_delivered_only_rises(self) -> None:
        """Of two connections, the slower one takes nothing back."""
        for last in (5, 9, 7):
            self.call(messages.note_delivered, [Cursor(self.bob.id, last)])
        self.assertEqual(Inbox.get(Inbox.user == self.bob.id).delivered, 9)
        self.assertEqual(Inbox.get(Inbox.user == self.ann.id).delivered, 0)

    def test_noting_for_many_and_for_somebody_who_is_gone(self) -> None:
        self.call(accounts.delete, self.eve)
        people = (self.eve, self.bob, self.ann)
        self.call(messages.note_delivered, [Cursor(each.id, 4) for each in people])
        self.assertEqual([inbox.delivered for inbox in Inbox.select()], [4, 4])


@on_both_databases
class Expiring(MessagesCase):
    def test_old_ones_go_with_their_deliveries(self) -> None:
        for text in ("1", "2", "3"):
            caller = replace(self.ann, now=self.now)
            self.call(messages.send, caller, "bob", text)
            self.clock.advance(10)
        self.assertEqual(self.call(expiry.expire, self.now - 10), 2)
        self.assertEqual(self.texts(self.bob), ["3"])
        self.assertEqual((MessageRow.select().count(), Delivery.select().count()), (1, 1))
        self.assertEqual(self.call(expiry.expire, self.now - 10), 0)

    def test_the_sweep_is_many_small_transactions(self) -> None:
        for number in range(expiry.EXPIRED + 1):
            self.call(messages.send, self.ann, "bob", str(number))
        expire: Any = board.feed and board.feed.expire
        self.assertEqual(
            [self.call(expire, self.now + 1) for _ in range(3)], [expiry.EXPIRED, 1, 0]
        )

    def test_a_few_at_a_time(self) -> None:
        for text in ("1", "2", "3"):
            self.call(messages.send, self.ann, "bob", text)
        expired = [self.call(expiry.expire, self.now + 1, 2) for _ in range(3)]
        self.assertEqual(expired, [2, 1, 0])

    def test_few_readers_at_a_time(self) -> None:
        self.call(groups.create, self.ann, "trio")
        for each in (self.bob, self.eve):
            self.call(groups.join, each, "trio")
        self.call(messages.send, self.ann, "bob", "1")
        self.call(messages.send_group, self.ann, "trio", "22")
        self.call(messages.send, self.ann, "bob", "3")
        there = []
        while self.call(expiry.expire, self.now + 1, readers=2):
            there.append((MessageRow.select().count(), Delivery.select().count()))
        # Of the second, which has three readers, two lose it first.
        self.assertEqual(there, [(2, 4), (2, 2), (0, 0)])
        self.assertEqual([inbox.waiting for inbox in Inbox.select()], [0, 0, 0])

    def test_ids_never_come_back(self) -> None:
        """Or a reader who has seen the old one would take the new one for seen."""
        old = self.call(messages.send, self.ann, "bob", "1").event.id
        self.call(expiry.expire, self.now + 1)
        new = self.call(messages.send, self.ann, "bob", "2").event.id
        self.assertGreater(int(str(new)), int(str(old)))
