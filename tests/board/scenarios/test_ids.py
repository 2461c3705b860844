"""Ids of messages on a database that does not propose rising ones: they rise all the same, for each
reader, in each talk and in each group."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import Lock
from typing import Any
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bbs.board.groups import groups
from bbs.board.messages import expiry, history, messages
from bbs.board.messages.tables import Inbox, MessageRow
from bbs.board.posts import user_stats
from bbs.core.threads import ILanes
from bbs.delivery.feed import Cursor
from bbs.rules import accounts
from bbs.rules.auth import Caller
from bbs.rules.pagination import Page
from bbs.storage.database import Database
from bbs.storage.statements import statement
from tests.board.costs import CountedLanes
from tests.database_case import RulesCase, on_both_databases
from tests.integration.contestants import ROUNDS


@dataclass
class ReservedIds:
    """Proposes ids as a database of several servers, each of which takes its own from a block that
    it has reserved, like TiDB's. `server` tells which one is asked now."""

    size: int
    server: Callable[[], Hashable]
    _blocks: dict[Hashable, Iterator[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._starts = count(1, self.size)
        self._lock = Lock()

    def __call__(self) -> int:
        server = self.server()
        with self._lock:
            for number in self._blocks.get(server, ()):
                return number
            start = next(self._starts)
            self._blocks[server] = iter(range(start + 1, start + self.size))
            return start


def let_propose(test: SynchronousTestCase, propose: Callable[[], int]) -> None:
    """Let `propose` stand for what the database proposes as ids of messages."""
    defaults = mock.patch.dict(MessageRow._meta.defaults, {MessageRow.id: propose})
    defaults.start()
    test.addCleanup(defaults.stop)
    # Its plans are made anew, with the default.
    test.patch(messages, "_add", statement(messages._add.__wrapped__))  # type: ignore[attr-defined]


@on_both_databases
class TooLow(RulesCase):
    """Ids that are proposed are no higher than those of before."""

    def setUp(self) -> None:
        self.lanes = CountedLanes()
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")
        self.befriend(self.ann, self.bob)
        self.befriend(self.ann, self.cat)
        self.proposed = [500]
        let_propose(self, lambda: self.proposed.pop(0))
        self.first = self.send(self.ann, "bob", "first")

    def open_database(self, workers: ILanes | None = None) -> Database:
        return super().open_database(workers or self.lanes)

    def send(self, sender: Caller, name: str, text: str) -> int:
        sent: messages.Sent = self.call(messages.send, sender, name, text)
        return sent.event.id

    def texts(self, reader: Caller, after: int = 0) -> list[object]:
        cursor = Cursor(reader.id, after)
        found = self.call(messages.fetch, [cursor])[cursor]
        return [each.members["message"] for each in found]

    def test_as_proposed_if_it_rises(self) -> None:
        self.assertEqual(self.first, 500)
        self.proposed += [501, 600]
        self.assertEqual(self.send(self.ann, "bob", "second"), 501)
        self.assertEqual(self.send(self.ann, "cat", "third"), 600)

    def test_a_lower_one(self) -> None:
        self.proposed += [7]
        second = self.send(self.ann, "bob", "ü")
        self.assertGreater(second, 500)
        self.assertEqual(self.texts(self.bob, self.first), ["ü"])
        self.assertEqual([each.id for each in MessageRow.select()], [500, second])
        row = MessageRow.get_by_id(second)
        self.assertEqual((row.sender, row.target, row.text), ("ann", "bob", "ü"))
        self.assertEqual((row.sent_by, row.sent_to, row.size), (self.ann.id, self.bob.id, row.size))
        self.assertEqual(self.waiting_bytes(self.bob), len("firstü".encode()))

    def test_an_answer(self) -> None:
        """The history is in the order stored, though ann has received nothing before."""
        self.proposed += [7]
        self.send(self.bob, "ann", "answer")
        for caller, name in ((self.ann, "bob"), (self.bob, "ann")):
            said = self.call(history.history, caller, name)["history"]
            self.assertEqual([each["message"] for each in said], ["first", "answer"])

    def test_several_at_once(self) -> None:
        self.proposed += [501, 7, 8, 502]
        texts = ["1", "2", "3", "4"]
        names = ["bob", "cat", "bob", "bob"]
        with self.lanes.together():
            calls = [
                self.database.run(messages.send, self.ann, name, text)
                for name, text in zip(names, texts, strict=True)
            ]
        sent = [self.successResultOf(each) for each in calls]
        ids = [each.event.id for each in sent]
        self.assertEqual(ids, sorted({*ids}))
        self.assertGreater(ids[0], 500)
        self.assertEqual(self.texts(self.bob, self.first), ["1", "3", "4"])
        self.assertEqual([each.after.get(self.bob.id) for each in sent], [500, None, *ids[:3:2]])
        self.assertEqual(self.texts(self.cat), ["2"])

    def test_many_readers(self) -> None:
        self.patch(messages, "MOST_FOLLOWED", 2)
        self.call(groups.create, self.ann, "chess")
        for each in (self.bob, self.cat):
            self.call(groups.join, each, "chess")
        self.proposed += [7]
        sent = self.call(messages.send_group, self.ann, "chess", "e4")
        self.assertGreater(sent.event.id, 500)
        self.assertEqual(self.texts(self.bob, self.first), ["e4"])
        self.assertEqual(self.texts(self.cat), ["e4"])
        for each in (self.bob, self.cat):
            said = self.call(history.of_group, each, "chess")["history"]
            self.assertEqual([entry["message"] for entry in said], ["e4"])

    def test_one_that_another_message_has(self) -> None:
        """The message is stored with the next one."""
        self.proposed += [500, 501]
        self.assertEqual(self.send(self.ann, "bob", "second"), 501)
        self.assertEqual(self.texts(self.bob), ["first", "second"])

    def test_what_was_delivered_is_gone(self) -> None:
        """A database that begins anew once there are no messages: a terminal has seen higher
        ids."""
        self.call(messages.note_delivered, [Cursor(self.bob.id, 500)])
        self.call(expiry.expire, self.now + 1)
        self.assertEqual(MessageRow.select().count(), 0)
        self.proposed += [1]
        self.send(self.ann, "bob", "second")
        self.assertEqual(self.texts(self.bob, self.first), ["second"])


@dataclass
class Person:
    """What somebody has been sent, and what there is for them, in the order stored."""

    caller: Caller
    cursor: Cursor
    there: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)
    noted: int = 0  # Messages.
    last: int = 0  # The id of the last message.
    online: bool = True
    joined: int | None = None  # Messages in the group before.


@on_both_databases
class WhateverIsProposed(RulesCase):
    """People write to each other and to a group, by servers of a database with reserved ids."""

    def setUp(self) -> None:
        self.lanes = CountedLanes()
        super().setUp()

    def open_database(self, workers: ILanes | None = None) -> Database:
        return super().open_database(workers or self.lanes)

    def test_at_random(self) -> None:
        for seed in range(2 * ROUNDS):
            self.at_random(seed, random.Random(seed))

    def at_random(self, seed: int, chance: random.Random) -> None:
        servers = chance.choice([2, 3, 5])
        let_propose(
            self, ReservedIds(chance.choice([3, 20, 1000]), lambda: chance.randrange(servers))
        )
        self.chance, self.group = chance, f"group{seed}"
        callers = self.people(*(f"{name}{seed}" for name in ("ann", "bob", "cat", "dan")))
        self.persons = [Person(each, Cursor(each.id, 0)) for each in callers]
        self.said: list[tuple[Person, Person | None, str]] = []
        self.in_group: list[str] = []
        for number, caller in enumerate(callers):
            for other in callers[:number]:
                self.befriend(caller, other)
        self.call(groups.create, callers[0], self.group)
        self.persons[0].joined = 0
        acts = [self.write, self.write, self.write, self.read, self.come_or_go, self.join]
        for _ in range(80):
            chance.choice(acts)()
        for person in self.persons:
            self.read_all(person)
            self.check(person)
        MessageRow.delete().execute()  # The next ids begin anew.
        Inbox.update(delivered=0, waiting=0).execute()

    def write(self) -> None:
        """Some messages, at once."""
        if self.chance.random() < 0.5:
            senders = [each for each in self.persons if each.joined is not None]
            rule, to_group = messages.send_group, True
        else:
            senders, rule, to_group = self.persons, messages.mail, False
        letters: list[tuple[Person, Person | None, str]] = []
        for _ in range(self.chance.choice([1, 1, 2, 5])):
            sender = self.chance.choice(senders)
            friend = self.chance.choice([each for each in self.persons if each is not sender])
            text = str(len(self.said) + len(letters))
            letters.append((sender, None if to_group else friend, text))
        with self.lanes.together():
            calls = [
                self.database.run(
                    rule, sender.caller, reader.caller.name if reader else self.group, text
                )
                for sender, reader, text in letters
            ]
        for (sender, reader, text), call in zip(letters, calls, strict=True):
            self.note_sent(sender, reader, text, self.successResultOf(call))

    def note_sent(
        self, sender: Person, reader: Person | None, text: str, sent: messages.Sent
    ) -> None:
        members = [each for each in self.persons if each.online and each.joined is not None]
        readers = [reader] if reader else members
        if not readers:
            return  # Nothing is stored.
        self.assertEqual(sent.after, {each.caller.id: each.last for each in readers})
        self.said.append((sender, reader, text))
        if reader is None:
            self.in_group.append(text)
        for each in readers:
            self.assertGreater(sent.event.id, each.last)
            each.last = sent.event.id
            each.there.append(text)

    def read(self) -> None:
        person = self.chance.choice(self.persons)
        self.read_all(person)
        if self.chance.random() < 0.5:
            self.call(messages.note_delivered, [person.cursor])
            person.noted = len(person.read)
        new = self.call(user_stats.summary, person.caller)["new"]
        waiting: Any = new
        self.assertEqual(waiting["messages"], len(person.there) - person.noted)

    def read_all(self, person: Person) -> None:
        for event in self.call(messages.fetch, [person.cursor])[person.cursor]:
            person.read.append(str(event.members["message"]))
            person.cursor = Cursor(person.caller.id, event.id)
        self.assertEqual(person.read, person.there)

    def come_or_go(self) -> None:
        person = self.chance.choice(self.persons)
        if person.online:
            self.call(accounts.log_out, person.caller)
        else:
            self.log_in(person.caller.name)
        person.online = not person.online

    def join(self) -> None:
        person = self.chance.choice(self.persons)
        if person.joined is None:
            self.call(groups.join, person.caller, self.group)
            person.joined = len(self.in_group)

    def check(self, person: Person) -> None:
        """What was said is shown in the order stored: with each friend, and in the group since the
        person joined it."""
        for other in self.persons:
            if other is not person:
                texts = [
                    text
                    for sender, reader, text in self.said
                    if (sender, reader) in ((person, other), (other, person))
                ]
                self.assertEqual(self.history(person, other.caller.name), texts)
        if person.joined is not None:
            self.assertEqual(self.history(person, self.group), self.in_group[person.joined :])

    def history(self, person: Person, name: str) -> Sequence[str]:
        page = Page()
        found: list[str] = []
        while True:
            part = self.call(history.history.part, person.caller, page, name)
            found[:0] = [each["message"] for each in part["history"]]
            if part.last is None:
                return found
            page = Page([*part.last])
