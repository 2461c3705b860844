"""Commands of one user, and the same among those of fifteen others at the same moment: what the
rules that take many do for each is what they do for one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages import messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks, friendships
from bbs.board.people.tables import Relationship
from bbs.board.posts import posts, unread
from bbs.board.posts.tables import Contribution, PostRow
from bbs.board.quotas import Quotas
from bbs.core.errors import Refusal
from bbs.core.threads import ILanes
from bbs.delivery.feed import Cursor
from bbs.rules import accounts, auth
from bbs.rules.auth import Caller
from bbs.rules.pagination import MOST_ENTRIES
from bbs.storage.database import Database, rows
from bbs.storage.models import Place, User
from bbs.testing import rules
from tests.board.costs import CountedLanes
from tests.board.crowds import relate
from tests.board.posts.test_posts import TEXTS
from tests.database_case import RulesCase, on_every_driver
from tests.rules.crowds import crowd

Call = tuple[Any, ...]

INNOCENTS = 15


class BulkCase(RulesCase):
    """A test of calls that are carried out one after the other, or `among` others together."""

    among: ClassVar[bool] = False

    def setUp(self) -> None:
        self.lanes = CountedLanes()
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")
        self.befriend(self.ann, self.bob)
        if self.among:
            self.others = self.people(*(f"other{number}" for number in range(INNOCENTS)))

    def open_database(self, workers: ILanes | None = None) -> Database:
        return super().open_database(workers or self.lanes)

    def innocent(self, number: int) -> Call:
        """The arguments of a call of one of the others."""
        raise NotImplementedError

    def check_innocents(self, results: Sequence[Any]) -> None:
        """Check what came of the calls of the others, whose results these are."""
        raise NotImplementedError

    def outcomes(self, rule: Callable[..., Any], *calls: Call) -> list[Any]:
        """The result of each call, or the text of its refusal."""
        own = [*calls]
        if self.among:
            innocent = [self.innocent(number) for number in range(INNOCENTS)]
            calls = (*innocent[:7], *calls, *innocent[7:])
        with self.lanes.together() if self.among else nullcontext():
            answers: list[Deferred[Any]] = [self.database.run(rule, *call) for call in calls]
        found = [self._settled(answer) for answer in answers]
        if not self.among:
            return found
        self.check_innocents([*found[:7], *found[7 + len(own) :]])
        return found[7 : 7 + len(own)]

    def _settled(self, answer: Deferred[Any]) -> Any:
        return self.successResultOf(answer.addErrback(_refusal))

    def limit(self, quotas: Quotas) -> None:
        """Let other quotas be in force, for everybody."""
        self.quotas = quotas
        people = (self.ann, self.bob, self.cat)
        self.ann, self.bob, self.cat = (replace(each, quotas=quotas) for each in people)
        if self.among:
            self.others = [replace(each, quotas=quotas) for each in self.others]

    def has_asked(self, caller: Caller, question: Any, *about: str) -> Caller:
        """Somebody whose rule has asked already, and has not carried on."""
        token = self.log_in(caller.name)
        sessions = auth.Sessions(rules.SESSIONS.ttl, self.quotas)
        return self.call(auth.identify, token, sessions, self.now, question, about)

    def read(self, reader: Caller) -> list[tuple[str, str]]:
        """The sender and the text of each message for somebody."""
        cursor = Cursor(reader.id, 0)
        found = self.call(messages.fetch, [cursor])[cursor]
        return [(str(each.members["from"]), str(each.members["message"])) for each in found]


def _refusal(failure: Failure) -> str:
    failure.trap(Refusal)
    refusal: Any = failure.value
    return str(refusal.message)


def for_one_and_for_many(case: type[BulkCase]) -> type[BulkCase]:
    """Run the tests of `case` also among others, and both on every database."""
    name = f"{case.__name__}AmongOthers"
    members = {"__module__": case.__module__, "__qualname__": name, "among": True}
    among: Any = type(name, (case,), members)
    setattr(sys.modules[case.__module__], name, among)
    for each in (case, among):
        on_every_driver(each)
    return case


@for_one_and_for_many
class Sending(BulkCase):
    quotas = Quotas(inbox=150)

    def setUp(self) -> None:
        super().setUp()
        if self.among:
            self.hub = self.person("hub")
            relate(
                self.hub.id,
                Relationship.FRIEND,
                [each.id for each in self.others],
                Relationship.FRIEND,
            )

    def innocent(self, number: int) -> Call:
        return (self.others[number], "hub", f"of {number:02}")

    def check_innocents(self, results: Sequence[messages.Sent]) -> None:
        self.assertEqual(
            [sent.event.members["from"] for sent in results], [each.name for each in self.others]
        )
        ids = [sent.event.id for sent in results]
        self.assertEqual(ids, sorted(set(ids)))
        before = self.delivered_before(self.hub, ids[0])
        self.assertEqual(
            [sent.after for sent in results], [{self.hub.id: last} for last in [before, *ids[:-1]]]
        )
        texts = [text for _, text in self.read(self.hub)][-INNOCENTS:]
        self.assertEqual(texts, [f"of {number:02}" for number in range(INNOCENTS)])
        self.assertEqual(self.waiting_bytes(self.hub), INNOCENTS * len(texts[0]))
        self.call(messages.note_delivered, [Cursor(self.hub.id, ids[-1])])

    def delivered_before(self, reader: Caller, number: int) -> int:
        before = (Delivery.user == reader.id) & (Delivery.message < number)
        found = rows(Delivery.select(Delivery.message).where(before))
        return max([each for (each,) in found], default=0)

    def send(self, *calls: Call) -> list[Any]:
        return self.outcomes(messages.send, *calls)

    def test_success(self) -> None:
        [sent] = self.send((self.ann, "bob", "hello"))
        self.assertEqual(self.read(self.bob), [("ann", "hello")])
        self.assertEqual((sent.after, sent.channel), ({self.bob.id: 0}, self.bob.channel))
        self.assertEqual(sent.event.members["to"], "bob")
        self.assertEqual(self.waiting_bytes(self.bob), 5)

    def test_several_to_one_reader(self) -> None:
        """They are in order, and each names the one before."""
        self.befriend(self.cat, self.bob)
        [first] = self.send((self.ann, "bob", "0"))
        sent = self.send(
            (self.ann, "bob", "1"),
            (self.cat, "bob", "2"),
            (self.ann, "bob", "3"),
            (self.bob, "ann", "4"),
            (self.ann, "bob", "5"),
        )
        ids = [each.event.id for each in sent]
        self.assertEqual(
            self.read(self.bob),
            [("ann", "0"), ("ann", "1"), ("cat", "2"), ("ann", "3"), ("ann", "5")],
        )
        self.assertEqual(
            [each.after for each in sent],
            [
                {self.bob.id: first.event.id},
                {self.bob.id: ids[0]},
                {self.bob.id: ids[1]},
                {self.ann.id: 0},
                {self.bob.id: ids[2]},
            ],
        )
        self.assertEqual((self.waiting_bytes(self.bob), self.waiting_bytes(self.ann)), (5, 1))

    def test_texts_arrive_as_they_are(self) -> None:
        self.limit(Quotas())
        self.send(*[(self.ann, "bob", text) for text in TEXTS])
        self.assertEqual(self.read(self.bob), [("ann", text) for text in TEXTS])

    def test_who_cannot_be_sent_to(self) -> None:
        """Each is told the own reason, in the wire's order, and nothing of it is stored."""
        self.call(blocks.block, self.cat, "ann")
        dan = self.person("dan")
        self.befriend(self.ann, dan)
        self.call(accounts.log_out, dan)
        found = self.send(
            (self.ann, "nobody", "x"),
            (self.ann, "Bob", "x"),
            (self.ann, "ann", "x"),
            (self.ann, "bob", "x"),
            (self.ann, "cat", "x"),
            (self.ann, "dan", "x"),
            (self.cat, "bob", "x"),
            (self.ann, "bob", "x" * 200),
        )
        self.assertEqual(found.pop(3).event.members["message"], "x")
        self.assertEqual(
            found,
            [
                "No such user exist",
                "No such user exist",
                "ann is not your friend",
                "cat takes nothing from you",
                "dan is not online",
                "bob is not your friend",
                "bob's inbox is full",
            ],
        )
        self.assertEqual(self.read(self.bob), [("ann", "x")])
        self.assertEqual(self.waiting_bytes(self.bob), 1)

    def test_names_that_differ_a_little(self) -> None:
        for name in ("Bob", "b\N{LATIN SMALL LETTER O WITH DIAERESIS}b", "BOB"):
            self.befriend(self.ann, self.person(name))
        names = ("BOB", "bob", "Bob", "b\N{LATIN SMALL LETTER O WITH DIAERESIS}b", "boB")
        *_, refused = self.send(*[(self.ann, name, f"to {name}") for name in names])
        self.assertEqual(refused, "No such user exist")
        for name in names[:-1]:
            reader = User.get(User.name == name)
            self.assertEqual(self.read(replace(self.bob, id=reader.id)), [("ann", f"to {name}")])

    # Somebody was faster, between the look and the lock.

    def overtaken(self, happens: Callable[[], object]) -> list[Any]:
        """The outcome for two who had looked when something happened."""
        ann = self.has_asked(self.ann, messages.addressee, "bob")
        happens()
        return self.send((ann, "bob", "hello"), (self.ann, "bob", "hello"))

    def test_a_block(self) -> None:
        found = self.overtaken(lambda: self.call(blocks.block, self.bob, "ann"))
        self.assertEqual(found, ["bob takes nothing from you"] * 2)
        self.nothing_is_stored()

    def nothing_is_stored(self) -> None:
        self.assertEqual(self.read(self.bob), [])
        self.assertEqual(MessageRow.select().where(MessageRow.sender == "ann").count(), 0)
        self.assertEqual(self.waiting_bytes(self.bob), 0)

    def test_an_ended_friendship(self) -> None:
        found = self.overtaken(lambda: self.call(friendships.unfriend, self.bob, "ann"))
        self.assertEqual(found, ["bob is not your friend"] * 2)
        self.nothing_is_stored()

    def test_a_block_of_ones_own(self) -> None:
        found = self.overtaken(lambda: self.call(blocks.block, self.ann, "bob"))
        self.assertEqual(found, ["You have blocked bob", "bob is not your friend"])
        self.nothing_is_stored()

    def test_a_reader_who_is_gone(self) -> None:
        found = self.overtaken(lambda: self.call(accounts.delete, self.bob))
        self.assertEqual(found, ["bob is not your friend", "No such user exist"])
        self.assertEqual(MessageRow.select().where(MessageRow.sender == "ann").count(), 0)

    def test_a_place_that_moved(self) -> None:
        """A reader who is being moved is online, and one who left since had been."""
        other = self.ready_server(capacity=10, port=22224)

        def move() -> None:
            Place.update(server=other).where(Place.user == self.bob.id).execute()

        first, second = self.overtaken(move)
        self.assertEqual(second.after, {self.bob.id: first.event.id})
        ann = self.has_asked(self.ann, messages.addressee, "bob")
        self.call(accounts.log_out, self.bob)
        first, second = self.send((ann, "bob", "bye"), (self.ann, "bob", "bye"))
        self.assertEqual(second, "bob is not online")
        self.assertEqual(first.event.members["message"], "bye")
        self.assertEqual([text for _, text in self.read(self.bob)], ["hello", "hello", "bye"])

    def test_an_inbox_that_was_filled(self) -> None:
        ann = self.has_asked(self.ann, messages.addressee, "bob")
        self.call(messages.send, self.ann, "bob", "x" * 100)
        self.assertEqual(self.send((ann, "bob", "y" * 51)), ["bob's inbox is full"])
        self.assertEqual(self.waiting_bytes(self.bob), 100)
        [sent] = self.send((ann, "bob", "y" * 50))
        self.assertEqual(self.waiting_bytes(self.bob), 150)
        self.assertEqual(sent.event.members["message"], "y" * 50)

    def test_room_for_one_of_two(self) -> None:
        """The earlier one has it."""
        self.befriend(self.cat, self.bob)
        first, second, third = self.send(
            (self.ann, "bob", "x" * 100), (self.cat, "bob", "y" * 100), (self.cat, "bob", "z")
        )
        self.assertEqual(second, "bob's inbox is full")
        self.assertEqual(self.read(self.bob), [("ann", "x" * 100), ("cat", "z")])
        self.assertEqual(third.after, {self.bob.id: first.event.id})
        self.assertEqual(self.waiting_bytes(self.bob), 101)


@for_one_and_for_many
class SendingToGroups(BulkCase):
    quotas = Quotas(inbox=200)

    def setUp(self) -> None:
        super().setUp()
        self.call(groups.create, self.ann, "chess")
        for each in (self.bob, self.cat):
            self.call(groups.join, each, "chess")
        if self.among:
            for number in range(0, INNOCENTS, 3):
                self.call(groups.create, self.others[number], f"group{number // 3}")
                for other in self.others[number + 1 : number + 3]:
                    self.call(groups.join, other, f"group{number // 3}")

    def innocent(self, number: int) -> Call:
        return (self.others[number], f"group{number // 3}", f"of {number:02}")

    def check_innocents(self, results: Sequence[messages.Sent]) -> None:
        for number, (other, sent) in enumerate(zip(self.others, results, strict=True)):
            first = number - number % 3
            self.assertEqual((sent.readers, sent.tried), (3, 3))
            self.assertEqual(sent.event.members["group"], f"group{number // 3}")
            self.assertEqual(
                [text for _, text in self.read(other)][-3:],
                [f"of {each:02}" for each in range(first, first + 3)],
            )
            if number % 3:
                before = results[number - 1].event.id
                # Among many readers, each looks in the database.
                self.assertIn(
                    sent.after, ({}, {each.id: before for each in self.others[first : first + 3]})
                )
            self.waiting_bytes(other)

    def send(self, *calls: Call) -> list[Any]:
        return self.outcomes(messages.send_group, *calls)

    def texts(self, reader: Caller) -> list[str]:
        return [text for _, text in self.read(reader)]

    def test_success(self) -> None:
        [sent] = self.send((self.ann, "chess", "e4"))
        for each in (self.ann, self.bob, self.cat):
            self.assertEqual(self.read(each), [("ann", "e4")])
            self.assertEqual(self.waiting_bytes(each), 2)
        self.assertEqual(sent.after, dict.fromkeys([self.ann.id, self.bob.id, self.cat.id], 0))

    def test_one_group_several_times(self) -> None:
        """The messages are in order, and each names the one before."""
        sent = self.send(*[(one, "chess", one.name) for one in (self.cat, self.ann, self.cat)])
        ids = [each.event.id for each in sent]
        everybody = [self.ann.id, self.bob.id, self.cat.id]
        self.assertEqual(
            [each.after for each in sent],
            [dict.fromkeys(everybody, last) for last in (0, *ids[:-1])],
        )
        self.assertEqual(self.texts(self.bob), ["cat", "ann", "cat"])

    def test_readers_of_several_groups(self) -> None:
        self.call(groups.create, self.bob, "go")
        self.call(groups.join, self.cat, "go")
        chess, go, again = self.send(
            (self.ann, "chess", "1"), (self.bob, "go", "2"), (self.bob, "chess", "3")
        )
        self.assertEqual(go.after, dict.fromkeys([self.bob.id, self.cat.id], chess.event.id))
        self.assertEqual(
            again.after,
            {self.ann.id: chess.event.id, self.bob.id: go.event.id, self.cat.id: go.event.id},
        )
        self.assertEqual(
            [self.texts(each) for each in (self.ann, self.bob)], [["1", "3"], ["1", "2", "3"]]
        )

    def test_to_oneself(self) -> None:
        self.call(groups.create, self.ann, "alone")
        first, second = self.send((self.ann, "alone", "1"), (self.ann, "alone", "2"))
        self.assertEqual((first.readers, second.after), (1, {self.ann.id: first.event.id}))
        self.assertEqual(self.texts(self.ann), ["1", "2"])

    def test_refusals(self) -> None:
        found = self.send(
            (self.ann, "nothing", "x"),
            (self.ann, "Chess", "x"),
            (self.ann, "chess", "x"),
            (self.person("dan"), "chess", "x"),
        )
        self.assertEqual(found.pop(2).readers, 3)
        self.assertEqual(
            found, ["No such group exist", "No such group exist", "You are not the member of chess"]
        )
        self.assertEqual(self.texts(self.ann), ["x"])

    def test_one_inbox_is_full(self) -> None:
        """Everybody else gets it."""
        self.call(messages.send, self.ann, "bob", "x" * 190)
        [small] = self.send((self.ann, "chess", "0123456789"))
        [large] = self.send((self.ann, "chess", "01234567890"))
        self.assertEqual([(each.readers, each.tried) for each in (small, large)], [(3, 3), (2, 3)])
        self.assertEqual({*large.after}, {self.ann.id, self.cat.id})
        self.assertEqual(self.waiting_bytes(self.bob), 200)
        self.assertEqual(self.waiting_bytes(self.cat), 21)
        self.assertEqual(len(self.texts(self.bob)), 2)

    def test_it_becomes_full_by_the_first_of_two(self) -> None:
        self.call(messages.send, self.ann, "bob", "x" * 100)
        first, second = self.send((self.ann, "chess", "y" * 60), (self.cat, "chess", "z" * 60))
        self.assertEqual([each.readers for each in (first, second)], [3, 2])
        self.assertEqual([self.waiting_bytes(each) for each in (self.ann, self.bob)], [120, 160])
        self.assertEqual(self.texts(self.cat), ["y" * 60, "z" * 60])

    def test_nobody_has_room(self) -> None:
        """The message is not kept."""
        [sent] = self.send((self.ann, "chess", "x" * 201))
        self.assertEqual((sent.readers, sent.tried, sent.after), (0, 3, {}))
        self.assertEqual(MessageRow.select().where(MessageRow.sender == "ann").count(), 0)
        self.assertEqual(self.waiting_bytes(self.ann), 0)

    def test_nobody_is_online(self) -> None:
        ann = self.has_asked(self.ann, groups.named, "chess")
        for each in (self.ann, self.bob, self.cat):
            self.call(accounts.log_out, each)
        [sent] = self.send((ann, "chess", "x"))
        self.assertEqual((sent.readers, sent.after), (0, {}))
        self.assertEqual(MessageRow.select().where(MessageRow.sender == "ann").count(), 0)
        self.assertEqual(Delivery.select().where(Delivery.user == self.ann.id).count(), 0)

    def test_members_who_leave_meanwhile(self) -> None:
        ann = self.has_asked(self.ann, groups.named, "chess")
        self.call(groups.leave, self.bob, "chess")
        [sent] = self.send((ann, "chess", "x"))
        self.assertEqual((sent.readers, self.texts(self.bob)), (2, []))

    def test_large_groups(self) -> None:
        """Of more readers than one statement serves, or than one call stores for."""
        members = crowd(120, self.server)
        for user in members:
            Inbox.insert(user=user).execute()
        group = groups.Group.get(groups.Group.name == "chess")
        groups.Membership.insert_many(
            [{"group": group, "user": user, "after": 0} for user in members]
        ).execute()
        sent = self.send(*[(self.ann, "chess", str(number)) for number in range(9)])
        self.assertEqual({each.readers for each in sent}, {123})
        ids = [each.event.id for each in sent]
        for user in (members[0], members[-1], self.cat.id):
            found = Delivery.select(Delivery.message).where(Delivery.user == user)
            self.assertEqual([number for (number,) in rows(found)], ids)
            self.assertEqual(Inbox.get(Inbox.user == user).waiting, 9)


@for_one_and_for_many
class Posting(BulkCase):
    quotas = Quotas(posts=3)

    def innocent(self, number: int) -> Call:
        return (self.others[number], f"of {number}")

    def check_innocents(self, results: Sequence[Any]) -> None:
        texts = [f"of {number}" for number in range(INNOCENTS)]
        self.assertEqual([each.event["text"] for each in results], texts)
        for text, other in zip(texts, self.others, strict=True):
            self.assertEqual(self.kept(other)[-1:], [text])

    def kept(self, author: Caller) -> list[str]:
        """An author's posts; fails unless they are what is counted."""
        found = PostRow.select().where(PostRow.author == author.id).order_by(PostRow.id)
        texts = [each.text for each in found]
        inbox = Inbox.get(Inbox.user == author.id)
        size = sum(len(text.encode()) for text in texts)
        self.assertEqual((inbox.posts, inbox.post_bytes), (len(texts), size))
        return texts

    def post(self, *calls: Call) -> None:
        told = self.outcomes(posts.post, *calls)
        self.assertEqual([each.event["from"] for each in told], [each[0].name for each in calls])
        self.assertEqual(len({each.number for each in told}), len(calls))

    def test_friends_read_them(self) -> None:
        self.post((replace(self.ann, now=1764086400.25), "hello"), (self.cat, "not for bob"))
        [post] = self.call(posts.friends_posts, self.bob)["post"]
        self.assertEqual(
            (post["id"], post["message"], post["time"]), ("ann", "hello", 1764086400.25)
        )

    def test_the_oldest_go(self) -> None:
        """Also if one user reaches the quota by several posts at once."""
        self.post(*[(author, f"ü{n}") for n in range(5) for author in (self.ann, self.bob)])
        self.assertEqual(self.kept(self.ann), ["ü2", "ü3", "ü4"])
        self.assertEqual(self.kept(self.bob), ["ü2", "ü3", "ü4"])
        self.post((self.ann, "last"), (self.cat, "first"))
        self.assertEqual(self.kept(self.ann), ["ü3", "ü4", "last"])
        self.assertEqual(self.kept(self.cat), ["first"])

    def test_by_bytes(self) -> None:
        self.patch(posts, "MOST_BYTES", 10)
        self.limit(Quotas())
        ann, bob = self.ann, self.bob
        self.post(*[(ann, text) for text in ("123", "456", "üü", "78")], (bob, "12345678901"))
        self.assertEqual(self.kept(ann), ["456", "üü", "78"])
        self.assertEqual(self.kept(bob), ["12345678901"])
        self.post((bob, "1"), (ann, "x" * 11), (ann, "y" * 12))
        self.assertEqual((self.kept(bob), self.kept(ann)), (["1"], ["y" * 12]))

    def test_any_text(self) -> None:
        self.limit(Quotas())
        self.post(*[(self.ann, text) for text in TEXTS])
        self.assertEqual(self.kept(self.ann), TEXTS)


@for_one_and_for_many
class Listing(BulkCase):
    """`list-friend`."""

    quotas = Quotas(friends=10**6)

    def setUp(self) -> None:
        super().setUp()
        if self.among:
            for number in range(INNOCENTS - 1):
                self.befriend(*self.others[number : number + 2])

    def innocent(self, number: int) -> Call:
        return (self.others[number],)

    def check_innocents(self, results: Sequence[Any]) -> None:
        names = [each.name for each in self.others]
        for number, found in enumerate(results):
            around = names[max(number - 1, 0) : number] + names[number + 1 : number + 2]
            self.assertEqual((found, found.last), ({"friend": around}, None))

    def listed(self, *callers: Caller) -> list[tuple[list[str], Any]]:
        """The names for each of the callers, and where the next part begins."""
        found = self.outcomes(friendships.friends, *[(caller,) for caller in callers])
        for part in found:
            self.assertEqual([*part], ["friend"])
            self.assertGreaterEqual(part.size, sum(len(name) for name in part["friend"]))
        return [(part["friend"], part.last) for part in found]

    def test_in_the_order_of_acceptance(self) -> None:
        names = [
            "dan",
            "Bob",
            "b\N{LATIN SMALL LETTER O WITH DIAERESIS}b",
            '"\\',
            "\N{GRINNING FACE}",
        ]
        for name in names:
            self.befriend(self.ann, self.person(name))
        self.call(friendships.invite, self.cat, "ann")
        found = self.listed(self.ann, self.cat, self.bob, self.ann)
        ann = (["bob", *names], None)
        self.assertEqual(found, [ann, ([], None), (["ann"], None), ann])

    def test_one_with_very_many(self) -> None:
        """A list with more than a reply has goes on where it ended."""
        for count in (MOST_ENTRIES - 1, 1, 1500):
            others = crowd(count)
            relate(self.ann.id, Relationship.FRIEND, others, Relationship.FRIEND)
            (names, last), bobs = self.listed(self.ann, self.bob)
            whole = self.call(friendships.friends, self.ann)
            self.assertEqual((names, last), (whole["friend"], whole.last))
            self.assertEqual(bobs, (["ann"], None))
            mine = Relationship.select().where(Relationship.user == self.ann.id)
            self.assertEqual(len(names), min(mine.count(), MOST_ENTRIES))
            self.assertEqual(last is None, mine.count() <= MOST_ENTRIES)
        rest = self.call(friendships.friends.part, self.ann, friendships.Page(last))
        self.assertEqual(len({*names, *rest["friend"]}), 2 * MOST_ENTRIES)

    def test_many_of_several(self) -> None:
        """More than one query finds for all together."""
        others = crowd(700)
        for one in (self.ann, self.bob, self.cat):
            relate(one.id, Relationship.FRIEND, others, Relationship.FRIEND)
        anns, bobs, cats = self.listed(self.ann, self.bob, self.cat)
        self.assertEqual((anns[0][0], bobs[0][0]), ("bob", "ann"))
        self.assertEqual((anns[0][1:], bobs[0][1:]), (cats[0], cats[0]))
        self.assertEqual([each[1] for each in (anns, bobs, cats)], [None] * 3)
        self.assertEqual(len(cats[0]), 700)


@for_one_and_for_many
class ReadingGroups(BulkCase):
    def setUp(self) -> None:
        super().setUp()
        self.call(groups.create, self.ann, "chess")
        for each in (self.bob, self.cat, *(self.others if self.among else ())):
            self.call(groups.join, each, "chess")

    def innocent(self, number: int) -> Call:
        return (self.others[number], "chess")

    def check_innocents(self, results: Sequence[unread.Unread]) -> None:
        """They have read everything."""
        self.assertEqual([len(each.part["post"]) for each in results], [0] * INNOCENTS)

    def publish(self, *texts: str) -> None:
        """Let cat have published these texts, which the others have read."""
        PostRow.insert_many([{"text": text, "stored": 1.0} for text in texts]).execute()
        found = rows(PostRow.select(PostRow.id).order_by(PostRow.id))
        own = {"writer": self.cat.id, "group": Group.get().id}
        Contribution.insert_many(
            [{**own, "post": post, "number": at + 1} for at, (post,) in enumerate(found)]
        ).execute()
        Group.update(posts=len(texts)).execute()
        self.has_read(len(texts), *(self.others if self.among else ()))

    def has_read(self, number: int, *people: Caller) -> None:
        own = Membership.user.in_([each.id for each in people])
        Membership.update(read=number).where(own).execute()

    def read_by(self, *readers: Caller) -> list[tuple[int, Any]]:
        """How many posts each is given at one moment, and the number of the last."""
        found = self.outcomes(unread.of_group, *[(each, "chess") for each in readers])
        return [
            (len(each.part["post"]), max(each.marks.groups.values(), default=0)) for each in found
        ]

    def test_one_with_more_than_a_reply_has_before_one_with_less(self) -> None:
        """More than is read for all together is before what is new for one."""
        long = ["y" * 60_000] * 20
        self.publish("x", *long, "z", "z")
        self.has_read(21, self.bob)
        self.assertEqual(self.read_by(self.ann, self.bob), [(18, 18), (2, 23)])
