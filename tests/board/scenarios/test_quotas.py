"""Quotas: `docs/protocol.md`, section 3. What is too much is refused in words, and nothing of it is
carried out."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board, inboxes
from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages import expiry, messages
from bbs.board.messages.errors import InboxFull
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import friendships
from bbs.board.people.tables import Relationship
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.board.quotas import Quotas
from bbs.config import Configuration, Limits
from bbs.config.settings import keys_of
from bbs.core.former import Quotas as Former
from bbs.delivery.feed import Cursor, Stored
from bbs.rules import accounts, auth
from bbs.rules.auth import Costs, costs_of
from bbs.storage.database import rows
from bbs.testing import MemoryService, rules
from tests.board.crowds import relate
from tests.board.posts.test_posts import TEXTS
from tests.database_case import RulesCase, on_both_databases
from tests.rules.crowds import add, crowd

ROUNDS = int(os.environ.get("BBS_TEST_ROUNDS", "1"))
"""How often what is drawn at random is drawn. `make soak` takes more."""


@on_both_databases
class Friends(RulesCase):
    quotas = Quotas(friends=2)

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat, self.dan = self.people("ann", "bob", "cat", "dan")

    def test_the_list_of_who_invites_is_full(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.cat, self.ann)
        self.refused("You have too many friends", friendships.invite, self.ann, "dan")
        self.assertEqual(self.call(friendships.invitations, self.dan), {"invite": []})

    def test_the_list_of_who_is_invited_is_full(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.cat, self.ann)
        self.refused("ann has too many friends", friendships.invite, self.dan, "ann")

    def test_one_became_full_before_the_other_accepts(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.invite, self.dan, "ann")
        self.befriend(self.ann, self.cat)
        self.call(friendships.accept, self.ann, "dan")
        self.refused("ann has too many friends", friendships.accept, self.bob, "ann")
        # The invitation stands: there may be room one day.
        self.assertEqual(self.call(friendships.invitations, self.bob), {"invite": ["ann"]})
        self.call(accounts.delete, self.cat)
        self.call(friendships.accept, self.bob, "ann")
        self.assertEqual(self.call(friendships.friends, self.ann), {"friend": ["dan", "bob"]})

    def test_who_accepts_is_full(self) -> None:
        self.call(friendships.invite, self.bob, "ann")
        self.befriend(self.ann, self.cat)
        self.befriend(self.ann, self.dan)
        self.refused("You have too many friends", friendships.accept, self.ann, "bob")

    def test_what_older_clients_are_told_comes_first(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.ann, self.cat)
        self.refused("nobody does not exist", friendships.invite, self.ann, "nobody")
        self.refused("bob is already your friend", friendships.invite, self.ann, "bob")
        self.refused("dan did not invite you", friendships.accept, self.ann, "dan")

    def test_none_at_all(self) -> None:
        ann = replace(self.ann, quotas=Quotas(friends=0))
        self.refused("You have too many friends", friendships.invite, ann, "bob")

    def test_invitations_under_way(self) -> None:
        relate(self.ann.id, Relationship.INVITED, crowd(98), Relationship.INVITED_BY)
        self.ann = replace(self.ann, quotas=Quotas())
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.invite, self.ann, "cat")
        self.refused("You have too many invitations under way", friendships.invite, self.ann, "dan")
        self.call(friendships.invite, self.dan, "ann")  # Only those of one's own count.
        self.call(friendships.accept, self.bob, "ann")
        self.call(friendships.accept, self.ann, "dan")
        self.assertEqual(self.call(friendships.friends, self.ann), {"friend": ["bob", "dan"]})


@on_both_databases
class Groups(RulesCase):
    quotas = Quotas(groups=2, members=2)

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")

    def test_groups_that_one_made(self) -> None:
        self.call(groups.create, self.ann, "go")
        self.call(groups.create, self.bob, "bridge")
        self.call(groups.join, self.ann, "bridge")  # What others made does not count.
        self.call(groups.create, self.ann, "chess")
        self.refused("go already exist", groups.create, self.ann, "go")
        self.refused("Invalid group", groups.create, self.ann, "\x07")
        self.refused("You have made too many groups", groups.create, self.ann, "whist")
        self.assertEqual(Group.select().count(), 3)
        self.call(groups.create, self.bob, "whist")

    def test_groups_outlive_their_creator(self) -> None:
        self.call(groups.create, self.ann, "go")
        self.call(groups.join, self.bob, "go")
        self.call(accounts.delete, self.ann)
        self.assertEqual(self.call(groups.all_groups, self.bob), {"group": ["go"]})
        self.assertIsNone(Group.get().creator)

    def test_members(self) -> None:
        self.call(groups.create, self.ann, "go")
        self.call(groups.join, self.bob, "go")
        self.refused("Already a member of go", groups.join, self.bob, "go")
        self.refused("go has too many members", groups.join, self.cat, "go")
        self.assertEqual(Membership.select().count(), 2)
        self.call(accounts.delete, self.bob)
        self.call(groups.join, self.cat, "go")

    def test_none_at_all(self) -> None:
        ann = replace(self.ann, quotas=Quotas(groups=0))
        self.refused("You have made too many groups", groups.create, ann, "go")

    def test_groups_that_one_is_in(self) -> None:
        names = [(f"one of many {number}", "") for number in range(998)]
        add(Group, names, Group.name, Group.channel)
        mine = [(group, self.ann.id) for group in Group.select(Group.id)]
        add(Membership, mine, Membership.group, Membership.user)
        self.call(groups.create, self.ann, "go")
        self.call(groups.create, self.cat, "whist")
        self.call(groups.create, self.bob, "bridge")
        self.call(groups.join, self.ann, "bridge")
        too_many = "You are in too many groups"
        self.refused(too_many, groups.create, self.ann, "chess")
        self.refused(too_many, groups.join, self.ann, "whist")
        # What older clients are told comes first.
        self.refused("go already exist", groups.create, self.ann, "go")
        self.refused("Already a member of go", groups.join, self.ann, "go")
        self.refused("bridge has too many members", groups.join, self.cat, "bridge")
        self.call(groups.join, self.bob, "whist")


class InboxCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")
        self.befriend(self.ann, self.bob)


@on_both_databases
class Inboxes(InboxCase):
    quotas = Quotas(inbox=10)

    def test_bytes_and_not_characters(self) -> None:
        self.call(messages.send, self.ann, "bob", "ünï")
        self.assertEqual(self.waiting_bytes(self.bob), 5)
        self.refused("bob's inbox is full", messages.send, self.ann, "bob", "\N{GRINNING FACE}" * 2)
        self.call(messages.send, self.ann, "bob", "\N{GRINNING FACE}!")
        self.assertEqual(self.waiting_bytes(self.bob), 10)

    def test_nothing_of_a_refused_one_stays(self) -> None:
        self.call(messages.send, self.ann, "bob", "12345678")
        self.refused("bob's inbox is full", messages.send, self.ann, "bob", "123")
        self.assertEqual((MessageRow.select().count(), Delivery.select().count()), (1, 1))
        self.assertEqual(self.waiting_bytes(self.bob), 8)
        self.call(messages.send, self.bob, "ann", "as before")

    def test_a_full_one_costs_others_nothing(self) -> None:
        """Nothing is written: on MySQL all who share the transaction would begin anew."""
        self.call(messages.send, self.ann, "bob", "12345678")
        said: list[str] = []
        self.database.peewee.query_hooks.append(lambda event: said.append(event.sql))
        self.refused("bob's inbox is full", messages.send, self.ann, "bob", "ü!")
        self.database.peewee.query_hooks.clear()
        self.assertTrue(said)
        self.assertEqual([each for each in said if not each.startswith("SELECT")], [])

    def test_somebody_else_filled_it_meanwhile(self) -> None:
        """Behind the look with which the command began: nothing of it stays."""
        token = self.log_in("ann")
        sessions = auth.Sessions(rules.SESSIONS.ttl, self.quotas)
        ann = self.call(auth.identify, token, sessions, self.now, messages.addressee, ("bob",))
        self.call(messages.send, self.ann, "bob", "12345678")
        self.refused("bob's inbox is full", messages.send, ann, "bob", "123")
        self.assertEqual((MessageRow.select().count(), Delivery.select().count()), (1, 1))
        self.assertEqual(self.waiting_bytes(self.bob), 8)

    def test_there_is_room_again_behind_what_was_delivered(self) -> None:
        first = self.call(messages.send, self.ann, "bob", "123").event.id
        self.call(messages.send, self.ann, "bob", "4567890")
        self.refused("bob's inbox is full", messages.send, self.ann, "bob", "1")
        self.call(messages.note_delivered, [Cursor(self.bob.id, first)])
        self.assertEqual(self.waiting_bytes(self.bob), 7)
        self.call(messages.send, self.ann, "bob", "123")

    def test_of_a_group_everybody_else_gets_it(self) -> None:
        self.call(groups.create, self.cat, "go")
        for each in (self.ann, self.bob):
            self.call(groups.join, each, "go")
        self.call(messages.send, self.ann, "bob", "12345678")
        sent = self.call(messages.send_group, self.ann, "go", "hello")
        self.assertEqual(sent.after, {self.ann.id: 0, self.cat.id: 0})
        self.assertEqual(sent.readers, 2)
        self.assertEqual(
            [self.waiting_bytes(each) for each in (self.ann, self.bob, self.cat)], [5, 8, 5]
        )
        self.call(messages.send_group, self.ann, "go", "hi")
        self.assertEqual(
            [self.waiting_bytes(each) for each in (self.ann, self.bob, self.cat)], [7, 10, 7]
        )
        sent = self.call(messages.send_group, self.ann, "go", "x" * 11)
        self.assertEqual((sent.after, sent.readers, sent.tried), ({}, 0, 3))

    def test_nothing_stays_of_what_is_for_nobody(self) -> None:
        self.call(groups.create, self.ann, "go")
        self.call(messages.send_group, self.ann, "go", "12345678")
        self.call(messages.send_group, self.ann, "go", "123")
        self.assertEqual((MessageRow.select().count(), Delivery.select().count()), (1, 1))
        self.assertEqual(self.waiting_bytes(self.ann), 8)

    def test_a_large_group(self) -> None:
        """More than one statement serves."""
        self.call(groups.create, self.ann, "go")
        crowd = self.people(*(f"user{number}" for number in range(inboxes.RAISED_AT_ONCE + 2)))
        for each in crowd:
            self.call(groups.join, each, "go")
        self.assertEqual(self.call(messages.send_group, self.ann, "go", "x").readers, 67)
        self.assertEqual({self.waiting_bytes(each) for each in (self.ann, *crowd)}, {1})

    def test_what_servers_of_version_1_did_heals(self) -> None:
        """They neither add nor take away; whoever has read all has nothing that waits."""
        last = self.call(messages.send, self.ann, "bob", "123").event.id
        Inbox.update(waiting=7).where(Inbox.user == self.bob.id).execute()
        self.call(messages.note_delivered, [Cursor(self.bob.id, last)])
        self.assertEqual(self.waiting_bytes(self.bob), 0)


@on_both_databases
class WhatWaitsNeverDrifts(InboxCase):
    """Whatever comes, in whatever order: what is counted is what is there."""

    def test_at_random(self) -> None:
        for seed in range(2 * ROUNDS):
            self.at_random(random.Random(seed))

    def at_random(self, chance: random.Random) -> None:
        name = f"group-{chance.random()}"
        people = [self.ann, self.bob, self.cat]
        self.call(groups.create, self.ann, name)
        self.call(groups.join, self.bob, name)
        for _ in range(60):
            now = self.now
            quotas = Quotas(inbox=chance.choice([30, 200, 10**6]))
            ann, bob = (replace(each, now=now, quotas=quotas) for each in people[:2])
            text = "ü" * chance.randrange(1, 20) + "x" * chance.randrange(5)
            done = chance.randrange(6)
            if done < 2:
                self.maybe(messages.send, *chance.choice([(ann, "bob"), (bob, "ann")]), text)
            elif done < 4:
                self.maybe(messages.send_group, ann, name, text)
            elif done == 4:
                self.note(chance)
            else:
                before, most = now - chance.randrange(30), chance.randrange(1, 5)
                readers = chance.choice([1, 2, 3, expiry.EXPIRED_AT_ONCE])
                for _ in range(chance.randrange(1, 5)):
                    self.call(expiry.expire, before, most, readers)
            self.clock.advance(chance.randrange(3))
            for each in people:
                self.waiting_bytes(each)

    def maybe(self, rule: Callable[..., object], *arguments: object) -> None:
        """Call a rule that may refuse."""
        done: Deferred[object] = self.database.run(rule, *arguments)
        done.addErrback(lambda failure: failure.trap(InboxFull))
        self.successResultOf(done)

    def note(self, chance: random.Random) -> None:
        """Some readers have been sent some of what there is for them."""
        cursors = []
        for user in {each.id for each in (self.ann, self.bob) if chance.random() < 0.7}:
            theirs = Delivery.select(Delivery.message).where(Delivery.user == user)
            there = [number for (number,) in rows(theirs)]
            if there:
                cursors.append(Cursor(user, chance.choice(there)))
        self.call(messages.note_delivered, cursors)


@on_both_databases
class Posts(RulesCase):
    quotas = Quotas(posts=3)

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")
        self.befriend(self.ann, self.bob)

    def kept(self, author: auth.Caller) -> list[str]:
        """An author's posts; fails unless they are what is counted."""
        texts = [each.text for each in PostRow.select().where(PostRow.author == author.id)]
        inbox = Inbox.get(Inbox.user == author.id)
        size = sum(len(text.encode()) for text in texts)
        self.assertEqual((inbox.posts, inbox.post_bytes), (len(texts), size))
        return texts

    def test_the_oldest_go(self) -> None:
        for number in range(5):
            self.call(posts.post, self.ann, f"ü{number}")
            self.call(posts.post, self.bob, "another's")
        self.assertEqual(self.kept(self.ann), ["ü2", "ü3", "ü4"])
        self.assertEqual(len(self.kept(self.bob)), 3)

    def test_fewer_are_allowed_than_there_are(self) -> None:
        many = replace(self.ann, quotas=Quotas(posts=100))
        for number in range(50):
            self.call(posts.post, many, str(number))
        self.call(posts.post, self.ann, "50")
        self.assertEqual(self.kept(self.ann), ["48", "49", "50"])

    def test_so_many_at_a_time(self) -> None:
        add(PostRow, [(self.ann.id, "x")] * 1050, PostRow.author, PostRow.text)
        Inbox.update(posts=1050, post_bytes=1050).where(Inbox.user == self.ann.id).execute()
        left = []
        for text in ("1", "2", "3", "4"):
            self.call(posts.post, self.ann, text)
            left.append(len(self.kept(self.ann)))
        self.assertEqual(left, [551, 52, 3, 3])
        self.assertEqual(self.kept(self.ann), ["2", "3", "4"])

    def test_by_bytes(self) -> None:
        self.patch(posts, "MOST_BYTES", 10)
        ann = replace(self.ann, quotas=Quotas())
        for text in ("123", "456", "üü", "78"):
            self.call(posts.post, ann, text)
        self.assertEqual(self.kept(ann), ["456", "üü", "78"])
        self.call(posts.post, ann, "123456789")
        self.assertEqual(self.kept(ann), ["123456789"])

    def test_the_last_one_stays(self) -> None:
        self.patch(posts, "MOST_BYTES", 10)
        ann = replace(self.ann, quotas=Quotas())
        self.call(posts.post, ann, "12345678901")
        self.call(posts.post, ann, "12345678902")
        self.assertEqual(self.kept(ann), ["12345678902"])

    def test_any_text(self) -> None:
        many = replace(self.ann, quotas=Quotas(posts=2))
        for text in TEXTS:
            self.call(posts.post, many, text)
            self.assertEqual(self.kept(self.ann)[-1], text)
        self.assertEqual(self.kept(self.ann), TEXTS[-2:])

    def test_another_post_came_between(self) -> None:
        """What the command saw when it began may be less than is there, or more."""
        token = self.log_in("ann")
        sessions = auth.Sessions(rules.SESSIONS.ttl, self.quotas)
        many = replace(self.ann, quotas=Quotas(posts=100))
        for number in range(20):
            self.call(posts.post, many, str(number))
        question = auth.asked_by(posts.post)
        early = self.call(auth.identify, token, sessions, self.now, question)
        self.call(posts.post, self.ann, "20")
        self.call(posts.post, early, "21")
        self.assertEqual(self.kept(self.ann), ["19", "20", "21"])


@on_both_databases
class Sending(InboxCase):
    """What is kept of the messages that one has sent; each of these texts counts 420 bytes."""

    quotas = Quotas(stored=3 * 420)
    text = "x" * 97

    def send(self, number: int, to: str = "bob") -> int:
        found: int = self.call(messages.send, self.ann, to, f"{number:03}{self.text}").event.id
        return found

    def receive(self, *numbers: int) -> None:
        """Have bob receive everything up to the last of these."""
        self.call(messages.note_delivered, [Cursor(self.bob.id, number) for number in numbers])

    def kept(self) -> list[int]:
        """The numbers of ann's messages; fails unless what counts is what is there."""
        own = MessageRow.select().where(MessageRow.sent_by == self.ann.id).order_by(MessageRow.id)
        readers = Delivery.select().count()
        text = sum(len(each.text.encode()) for each in own)
        counted = Inbox.get(Inbox.user == self.ann.id).sent
        self.assertEqual(counted, text + 256 * len(own) + 64 * readers)
        return [int(each.text[:3]) for each in own]

    def test_the_oldest_go_that_were_received(self) -> None:
        for number in range(6):
            self.receive(self.send(number))
        self.assertEqual(self.kept(), [3, 4, 5])

    def test_what_nobody_received_stays(self) -> None:
        self.befriend(self.ann, self.cat)
        self.send(0, "cat")
        for number in range(1, 5):
            self.receive(self.send(number))
        self.assertEqual(self.kept(), [0, 3, 4])
        cursor = Cursor(self.cat.id, 0)
        self.assertEqual(len(self.call(messages.fetch, [cursor])[cursor]), 1)

    def test_if_none_can_go_it_is_refused(self) -> None:
        numbers = [self.send(number) for number in range(3)]
        too_much = "Too many of your messages wait for their readers"
        self.refused(too_much, messages.send, self.ann, "bob", self.text)
        self.assertEqual(self.kept(), [0, 1, 2])
        self.call(messages.send, self.bob, "ann", "of one's own")
        self.receive(numbers[0])
        self.assertEqual(self.waiting_bytes(self.bob), 200)
        Delivery.delete().where(Delivery.user == self.ann.id).execute()
        self.send(3)
        self.assertEqual(self.kept(), [1, 2, 3])

    def test_one_reader_who_receives_nothing_locks_nobody_out(self) -> None:
        self.befriend(self.ann, self.cat)
        self.ann = replace(self.ann, quotas=Quotas(stored=200 * 420))
        for number in range(64):
            self.send(number, "cat")
        for number in range(64, 300):
            self.receive(self.send(number))
        kept = self.kept()
        self.assertEqual((len(kept), kept[:64]), (200, [*range(64)]))

    def test_one_that_is_longer_than_all(self) -> None:
        self.receive(self.send(0))
        self.call(messages.send, self.ann, "bob", "001" + "x" * 2000)
        self.assertEqual(self.kept(), [1])

    def test_a_group_and_its_readers(self) -> None:
        self.call(groups.create, self.ann, "go")
        self.call(groups.join, self.bob, "go")
        for number in range(4):
            sent = self.call(messages.send_group, self.ann, "go", f"{number:03}{self.text}")
            self.receive(sent.event.id)
            self.call(messages.note_delivered, [Cursor(self.ann.id, sent.event.id)])
        # With two readers each of them counts 484 bytes.
        self.assertEqual(self.kept(), [2, 3])

    def test_a_group_without_readers(self) -> None:
        self.call(groups.create, self.ann, "go")
        Inbox.update(waiting=self.quotas.inbox).execute()
        self.call(messages.send_group, self.ann, "go", self.text)
        self.assertEqual(self.kept(), [])

    def test_what_has_expired_counts_no_longer(self) -> None:
        self.receive(self.send(0), self.send(1))
        self.call(expiry.expire, self.now + 1)
        self.assertEqual(self.kept(), [])

    def test_what_servers_of_before_stored(self) -> None:
        """It counts nothing, and goes first: it is the oldest."""
        self.receive(self.send(0))
        MessageRow.update(size=None).execute()
        Inbox.update(sent=0).execute()
        for number in range(1, 5):
            self.receive(self.send(number))
        self.assertEqual(self.kept(), [2, 3, 4])

    def test_many_short_ones_for_a_long_one(self) -> None:
        """As many as one message adds are removed, however short they are."""
        self.ann = replace(self.ann, quotas=Quotas(stored=600 * 321))
        text = "x" * 60_000
        whose = (self.ann.id, "ann", "bob", False, "x", 0.0, 321)
        people = (MessageRow.sent_by, MessageRow.sender, MessageRow.target, MessageRow.to_group)
        others = (MessageRow.text, MessageRow.stored, MessageRow.size)
        add(MessageRow, [whose] * 600, *people, *others)
        Inbox.update(sent=600 * 321).where(Inbox.user == self.ann.id).execute()
        for _ in range(3):
            self.receive(self.call(messages.send, self.ann, "bob", text).event.id)
            sent = Inbox.get(Inbox.user == self.ann.id).sent
            self.assertLessEqual(sent, 600 * 321)

    def test_near_a_large_quota_each_message_counts(self) -> None:
        """Also those that would not be counted as one of many."""
        quota = 2**25
        self.addCleanup(messages._near.clear)
        self.ann = replace(self.ann, quotas=Quotas(stored=quota))
        Inbox.update(sent=quota - 600).where(Inbox.user == self.ann.id).execute()
        self.draw(1.0)
        self.send(0)
        self.assertEqual(self.counted(), quota - 600)
        self.draw(0.0)
        Inbox.update(sent=quota - messages.SAMPLE - 600).execute()
        self.send(1)
        self.draw(1.0)
        self.send(2)
        self.assertEqual(self.counted(), quota - 600 + 420)
        for _ in range(2):
            too_much = "Too many of your messages wait for their readers"
            self.refused(too_much, messages.send, self.ann, "bob", self.text)
        Inbox.update(sent=0).execute()
        self.send(3)
        self.send(4)
        self.assertEqual(self.counted(), 420)

    def counted(self) -> int:
        found: int = Inbox.get(Inbox.user == self.ann.id).sent
        return found

    def draw(self, number: float) -> None:
        self.patch(messages.random, "random", lambda: number)

    def test_several_at_once(self) -> None:
        for number in range(3):
            self.receive(self.send(number))
        question = auth.asked_by(messages.send)
        sessions = auth.Sessions(rules.SESSIONS.ttl, self.quotas)
        token = self.log_in("ann")
        early = self.call(auth.identify, token, sessions, self.now, question, ("bob",))
        self.receive(self.send(3))
        self.ann = early
        self.receive(self.send(4))
        self.assertEqual(self.kept(), [2, 3, 4])


class Configured(SynchronousTestCase):
    """What operators say of it reaches the rules, and what is refused has a code."""

    def test_every_one_of_them(self) -> None:
        limits = Quotas(friends=1, groups=1, members=1, inbox=5, posts=2, stored=330)
        service = MemoryService(board, config=Configuration(limits=limits))
        self.addCleanup(service.close)
        ann, bob, cat = service.people("ann", "bob", "cat").values()
        peer = service.at_home(ann)
        for line in (
            f"invite {ann} bob",
            f"accept-invite {bob} ann",
            f"create-group {ann} go",
            f"send {ann} bob hello",
            *(f"post {ann} {number}" for number in range(3)),
        ):
            self.assertEqual(peer.ask(line), {"status": 0, "message": "Success!"}, line)
        for line, message, code in (
            (f"invite {ann} cat", "You have too many friends", "too-many-friends"),
            (f"invite {cat} ann", "ann has too many friends", "has-too-many-friends"),
            (f"create-group {ann} chess", "You have made too many groups", "too-many-groups"),
            (f"join-group {bob} go", "go has too many members", "group-full"),
            (f"send {ann} bob !", "bob's inbox is full", "inbox-full"),
        ):
            refused = {"status": 1, "message": message, "code": code}
            self.assertEqual(peer.ask(line), refused)
        read = peer.ask(f"receive-post {bob}")["post"]
        self.assertEqual([each["message"] for each in read], ["1", "2"])

    def test_what_is_not_said(self) -> None:
        """The board's keys of `[limits]` and their defaults are those that every service had."""
        former = Former()
        ours = Quotas()
        kept: Any = {
            each.name: getattr(ours, each.name, posts.MOST_BYTES) for each in fields(former)
        }
        self.assertEqual(former, Former(**kept))
        self.assertEqual(Former(), Former(1000, 100, 1000, 16 * 2**20, 10_000, 16 * 2**20))

    def test_in_the_order_in_which_operators_read_them(self) -> None:
        self.assertEqual([*keys_of(Quotas)], [*keys_of(Limits)])
        self.assertFalse(any(key.former for key in keys_of(Quotas).values()))


class Prices(SynchronousTestCase):
    def test_messages_by_their_readers(self) -> None:
        self.assertEqual(costs_of(messages.send), Costs(1.0, 1, by_text=True))
        price = costs_of(messages.send_group).deliveries
        assert callable(price)
        event = Stored(1, {})
        self.assertEqual(price(messages.Sent("channel", event, {}, 500, 500)), 500)

    def test_what_was_tried_in_vain(self) -> None:
        price = costs_of(messages.send_group).deliveries
        assert callable(price)
        for tried, costs in ((500, 500), (1, 1), (0, 1)):
            sent = messages.Sent("channel", Stored(1, {}), {}, 0, tried)
            self.assertEqual(price(sent), costs)
