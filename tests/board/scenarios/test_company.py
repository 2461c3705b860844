"""Calls in the company of others at the same moment: what one does, has or lacks is not felt by
another."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import peewee
from twisted.internet.defer import Deferred

from bbs.board.groups import groups
from bbs.board.groups.tables import Group
from bbs.board.messages import messages
from bbs.board.messages.tables import Inbox
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.core.errors import Refusal
from bbs.core.threads import ILanes
from bbs.framework import Part
from bbs.framework.fast import rows, statement
from bbs.storage.database import Database
from bbs.storage.models import User
from bbs.storage.transactions import EachAlone
from tests.board.costs import CountedLanes
from tests.database_case import RulesCase, on_every_driver


class Refused(Refusal):
    text = "Refused"


@statement
def _find(name: str) -> peewee.Select:
    return User.select(User.id).where(User.name == name)


@on_every_driver
class Company(RulesCase):
    def setUp(self) -> None:
        self.lanes = CountedLanes()
        super().setUp()

    def open_database(self, workers: ILanes | None = None) -> Database:
        return super().open_database(workers or self.lanes)

    def together(self, *calls: Sequence[Any]) -> list[Deferred[Any]]:
        """Call rules at the same moment, each with its arguments."""
        with self.lanes.together():
            return [self.database.run(rule, *arguments) for rule, *arguments in calls]

    def groups(self) -> list[str]:
        return [name for (name,) in rows(Group.select(Group.name).order_by(Group.id))]

    def test_a_value_that_cannot_be_written(self) -> None:
        """It is none of UTF-8, and so a bug of whoever wrote the rule."""
        ran: list[None] = []

        def refused() -> None:
            Group.insert(name="go", channel="").execute()
            raise Refused()

        def lost_a_race() -> str:
            ran.append(None)
            Group.insert(name=f"chess {len(ran)}", channel="").execute()
            if len(ran) == 1:
                raise peewee.IntegrityError("somebody else has it")
            return "stored"

        failed, first, second = self.together((_find, "\ud800"), (refused,), (lost_a_race,))
        failed.addErrback(lambda failure: self.assertFalse(failure.check(Refusal)))
        self.failureResultOf(first, Refused)
        self.assertEqual(self.successResultOf(second), "stored")
        self.assertEqual(len(self.groups()), 1)

    def test_a_change_that_begins_with_a_comment(self) -> None:
        insertion = "INSERT INTO chat_group (name, channel) VALUES ('go', '')"
        for sql in (insertion, f"/* a\n comment */ {insertion}", f"-- a comment\n{insertion}"):

            def refused(sql: str) -> None:
                self.database.peewee.execute_sql(sql)
                raise Refused()

            first, second = self.together((refused, sql), (lambda: "done",))
            self.failureResultOf(first, Refused)
            self.assertEqual(self.successResultOf(second), "done")
            self.assertEqual(self.groups(), [], sql)

    def test_a_short_list_of_posts_beside_a_long_one(self) -> None:
        ann, bob, cat, dan = self.people("ann", "bob", "cat", "dan")
        self.befriend(ann, bob)
        self.befriend(cat, dan)
        for author, text, count in ((bob, "short", 50), (dan, "x" * 60_000, 30), (bob, "new", 1)):
            PostRow.insert_many([{"author": author.id, "text": text}] * count).execute()
        short: Part
        short, long = map(
            self.successResultOf,
            self.together((posts.friends_posts, ann), (posts.friends_posts, cat)),
        )
        self.assertEqual((len(short["post"]), short.last), (51, None))
        self.assertIsNotNone(long.last)
        self.assertEqual(long["post"], self.call(posts.friends_posts, cat)["post"])

    def test_a_full_inbox_in_a_group(self) -> None:
        people = self.people(*(f"player{number}" for number in range(8)))
        self.call(groups.create, people[0], "chess")
        for member in people[1:]:
            self.call(groups.join, member, "chess")
        full = people[7]
        Inbox.update(waiting=full.quotas.inbox).where(Inbox.user == full.id).execute()
        ran: list[None] = []

        def innocent() -> None:
            ran.append(None)
            Group.insert(name=f"group {len(ran)}", channel="").execute()

        senders = [(messages.send_group, sender, "chess", "e4") for sender in people[:4]]
        answers = self.together(*[(innocent,)] * 6, *senders)
        sent = [*map(self.successResultOf, answers)][6:]
        self.assertEqual(len(ran), 6)
        readers = [person.id for person in people[:7]]
        self.assertEqual([sorted(each.after) for each in sent], [readers] * 4)
        for before, behind in pairwise(sent):
            self.assertEqual(set(behind.after.values()), {before.event.id})
        self.assertEqual([(each.readers, each.tried) for each in sent], [(7, 8)] * 4)
        waiting = dict(rows(Inbox.select(Inbox.user, Inbox.waiting)))
        expected = dict.fromkeys(readers, 8) | {full.id: full.quotas.inbox}
        self.assertEqual(waiting, expected)

    def test_many_groups(self) -> None:
        """Each reader is told from where, however many there are together."""
        people = self.people(*(f"player{number}" for number in range(120)))
        for number in range(12):
            creator, *others = people[10 * number : 10 * number + 10]
            self.call(groups.create, creator, f"group{number}")
            for member in others:
                self.call(groups.join, member, f"group{number}")
        answers = self.together(
            *[(messages.send_group, people[10 * n], f"group{n}", "hi") for n in range(12)]
        )
        self.assertEqual([len(self.successResultOf(each).after) for each in answers], [10] * 12)

    def test_calls_that_a_rule_gives_back(self) -> None:
        """They are made one by one, and none of them twice."""
        carried_out: list[list[str]] = []

        def add(names: list[str]) -> list[str]:
            carried_out.append(names)
            if len(names) > 1:
                raise EachAlone()
            Group.insert(name=names[0], channel="").execute()
            return names

        class Adding:
            def __call__(self, name: str) -> str:
                return add([name])[0]

            def each(self, calls: list[tuple[str]]) -> list[str]:
                return add([name for (name,) in calls])

        rule = Adding()
        names = ["go", "chess", "draughts"]
        answers = self.together(*[(rule, name) for name in names])
        self.assertEqual([*map(self.successResultOf, answers)], names)
        self.assertEqual(carried_out, [names, *[[name] for name in names]])
        self.assertEqual(self.groups(), names)
