"""Which friends are there, and their statuses: `docs/protocol.md`, section 3, `who` and
`set-status`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bbs.board.people import friendships
from bbs.board.people.tables import Relationship, Status
from bbs.protocols.line import encode_entry
from bbs.rules import auth
from bbs.rules.auth import Caller
from bbs.rules.pagination import Page
from bbs.storage.models import Place, Session, User
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
        entries: list[Any] = self.call(friendships.who, caller)["friend"]
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
                [
                    ("id", "dan"),
                    ("online", True),
                    ("last", 990.5),
                    ("state", "here"),
                    ("status", ""),
                ],
                [
                    ("id", "bob"),
                    ("online", True),
                    ("last", None),
                    ("state", "away"),
                    ("status", ""),
                ],
                [
                    ("id", "cat"),
                    ("online", False),
                    ("last", 1000.0),
                    ("state", "out"),
                    ("status", ""),
                ],
            ],
        )

    def state(self, seen: float | None, used: float | None) -> str:
        """The state of bob, who has a session, at a time when it was last used and he last seen so
        many seconds ago."""
        now = self.now
        self.see(self.bob, None if seen is None else now - seen)
        Session.update(used=0.0 if used is None else now - used).where(
            Session.user == self.bob.id
        ).execute()
        [entry] = self.who(replace(self.ann, now=now))
        self.assertTrue(entry["online"])
        state: str = entry["state"]
        return state

    def test_here_and_away(self) -> None:
        self.befriend(self.ann, self.bob)
        for seen, used, state in (
            (0.0, None, "here"),
            (299.0, None, "here"),
            (301.0, None, "away"),
            (None, None, "away"),
            (None, 0.0, "here"),
            (9999.0, 119.0, "here"),
            (9999.0, 121.0, "away"),
            # A listener's session is noted ahead of time.
            (9999.0, -30.0, "here"),
            # By a clock that was set back since.
            (-9999.0, -9999.0, "away"),
        ):
            self.assertEqual(self.state(seen, used), state, (seen, used))

    def test_one_of_several_sessions_in_use(self) -> None:
        self.befriend(self.ann, self.bob)
        self.log_in("bob")
        self.see(self.bob, None)
        sessions = [each.digest for each in Session.select().where(Session.user == self.bob.id)]
        for digest, used in zip(sessions, (self.now, 0.0), strict=True):
            Session.update(used=used).where(Session.digest == digest).execute()
        self.assertEqual([each["state"] for each in self.who(self.ann)], ["here"])

    def test_in_parts(self) -> None:
        """Each once, whatever a part ends with."""
        self.befriend_all()
        self.log_out(self.bob)
        self.befriend(self.ann, self.person("fay"))
        whole = [("dan", True), ("cat", True), ("fay", True), ("bob", False)]
        for most in range(1, 6):
            found, page = [], Page(most=most)
            while True:
                part = self.call(friendships.who.part, self.ann, page)
                self.assertLessEqual(len(part["friend"]), most)
                found += [(each["id"], each["online"]) for each in part["friend"]]
                if part.last is None:
                    break
                page = Page([*part.last], most)  # As a cursor keeps it.
            self.assertEqual(found, whole)

    def test_a_long_list_is_priced_by_what_is_sent(self) -> None:
        self.befriend(self.ann, self.bob)
        self.call(friendships.set_status, self.bob, "é" * 100)
        part = self.call(friendships.who.part, self.ann, Page())
        self.assertGreaterEqual(part.size, len(encode_entry(part["friend"][0])))
        self.assertLess(part.size, 2 * len(encode_entry(part["friend"][0])))

    def test_a_friend_of_old_is_none(self) -> None:
        self.befriend(self.ann, self.bob)
        Relationship.delete().execute()
        self.assertEqual(self.who(self.ann), [])


@on_both_databases
class Statuses(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")
        for other in (self.bob, self.cat):
            self.befriend(self.ann, other)

    def status(self, of: Caller, to: Caller) -> str:
        entries = {each["id"]: each for each in self.call(friendships.who, to)["friend"]}
        status: str = entries[of.name]["status"]
        return status

    def told(self, text: str = "") -> list[str]:
        """The channels that are told of a new status of ann's."""
        return [
            channel for channel, _ in self.call(friendships.set_status, self.ann, text).channels
        ]

    def test_friends_see_it(self) -> None:
        ann = replace(self.ann, now=1764086400.25)
        new = self.call(friendships.set_status, ann, "at the beach")
        self.assertEqual(
            new.event,
            {
                "event": "status",
                "from": "ann",
                "status": "at the beach",
                "text": "ann's status: at the beach",
                "time": 1764086400.25,
            },
        )
        self.assertEqual(
            new.channels, [(each.channel, self.ann.server) for each in (self.bob, self.cat)]
        )
        self.assertEqual(self.status(self.ann, self.bob), "at the beach")
        self.log_out(self.ann)
        self.assertEqual(self.status(self.ann, self.bob), "at the beach")
        self.assertEqual(self.status(self.bob, self.ann), "")

    def test_another_and_none(self) -> None:
        self.assertEqual(self.told(), [])  # There was none.
        self.assertEqual(len(self.told("at work")), 2)
        self.assertEqual(self.told(" at work "), [])  # It is the same.
        self.assertEqual(len(self.told("at lunch")), 2)
        self.assertEqual(self.status(self.ann, self.bob), "at lunch")
        new = self.call(friendships.set_status, self.ann)
        self.assertEqual((new.event["status"], len(new.channels)), ("", 2))
        self.assertEqual(self.status(self.ann, self.bob), "")
        self.assertEqual(Status.select().count(), 0)

    def test_what_it_may_be(self) -> None:
        for text in ("\N{GRINNING FACE}" * 100, "\N{WOMAN}\N{ZERO WIDTH JOINER}\N{ROCKET}", "a  b"):
            self.call(friendships.set_status, self.ann, text)
            self.assertEqual(self.status(self.ann, self.bob), text)
        for text in ("x" * 101, "a\x1b[2Jb", "a\tb", "a\x85b", "a\u2028b"):
            why = "A status has 100 characters at most, and no control characters"
            self.refused(why, friendships.set_status, self.ann, text)
        self.assertEqual(self.status(self.ann, self.bob), "a  b")

    def test_friends_who_are_there_are_told(self) -> None:
        self.befriend(self.bob, self.cat)
        self.log_out(self.bob)
        other = self.ready_server(1000, port=22224)
        Place.update(server=other).where(Place.user == self.cat.id).execute()
        new = self.call(friendships.set_status, self.ann, "hello")
        self.assertEqual(new.channels, [(self.cat.channel, other)])

    def test_only_so_many_are_told(self) -> None:
        self.patch(friendships, "MOST_TOLD", 1)
        self.assertEqual(len(self.told("hello")), 1)

    def test_each_who_is_told_costs_a_delivery(self) -> None:
        costs = auth.costs_of(friendships.set_status)
        assert callable(costs.deliveries)
        self.assertEqual(costs.deliveries(self.call(friendships.set_status, self.ann, "hello")), 2)

    def test_it_goes_with_the_account(self) -> None:
        self.told("hello")
        User.delete().where(User.id == self.ann.id).execute()
        self.assertEqual(Status.select().count(), 0)
