"""Which friends are there: `docs/protocol.md`, section 3, `who`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bbs.board import friends
from bbs.board.models import Relationship
from bbs.rules.auth import Caller
from bbs.rules.pagination import Page
from bbs.storage.models import Place, User
from tests.database_case import RulesCase, on_both_databases


@on_both_databases
class Who(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat, self.dan, _ = self.people("ann", "bob", "cat", "dan", "eve")

    def befriend_all(self) -> None:
        for other in (self.dan, self.bob, self.cat):
            self.befriend(self.ann, other)

    def see(self, caller: Caller, when: float | None) -> None:
        User.update(seen=when).where(User.id == caller.id).execute()

    def who(self, caller: Caller) -> list[Any]:
        entries: list[Any] = self.call(friends.who, caller)["friend"]
        return entries

    def names(self, caller: Caller) -> list[tuple[str, bool]]:
        return [(each["id"], each["online"]) for each in self.who(caller)]

    def test_nobody(self) -> None:
        self.assertEqual(self.who(self.ann), [])

    def test_friends_alone(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.bob, self.cat)
        self.assertEqual(self.names(self.ann), [("bob", True)])

    def test_those_online_first(self) -> None:
        self.befriend_all()
        self.assertEqual(self.names(self.ann), [("dan", True), ("bob", True), ("cat", True)])
        self.log_out(self.dan)
        self.log_out(self.cat)
        self.assertEqual(self.names(self.ann), [("bob", True), ("dan", False), ("cat", False)])

    def test_who_has_no_place_on_a_server_is_online(self) -> None:
        self.befriend(self.ann, self.bob)
        Place.update(server=None).where(Place.user == self.bob.id).execute()
        self.assertEqual(self.names(self.ann), [("bob", True)])

    def test_when_they_were_last_there(self) -> None:
        self.befriend_all()
        self.log_out(self.cat)
        ann = replace(self.ann, now=1000.0)
        self.see(self.dan, 990.5)
        self.see(self.bob, None)
        # By a clock that has been set since, or another machine's.
        self.see(self.cat, 5000.0)
        entries = [[*each.items()] for each in self.who(ann)]
        self.assertEqual(
            entries,
            [
                [("id", "dan"), ("online", True), ("last", 990.5)],
                [("id", "bob"), ("online", True), ("last", None)],
                [("id", "cat"), ("online", False), ("last", 1000.0)],
            ],
        )

    def test_in_parts(self) -> None:
        """Each once, whatever a part ends with."""
        self.befriend_all()
        self.log_out(self.bob)
        self.befriend(self.ann, self.person("fay"))
        whole = [("dan", True), ("cat", True), ("fay", True), ("bob", False)]
        for most in range(1, 6):
            found, page = [], Page(most=most)
            while True:
                part = self.call(friends.who.part, self.ann, page)
                self.assertLessEqual(len(part["friend"]), most)
                found += [(each["id"], each["online"]) for each in part["friend"]]
                if part.last is None:
                    break
                page = Page([*part.last], most)  # As a cursor keeps it.
            self.assertEqual(found, whole)

    def test_a_friend_of_old_is_none(self) -> None:
        self.befriend(self.ann, self.bob)
        Relationship.delete().execute()
        self.assertEqual(self.who(self.ann), [])
