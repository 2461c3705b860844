"""What operators see of people, and do to them: `bbs user`, and the page."""

from __future__ import annotations

from bbs.board import board
from bbs.board.groups import groups
from bbs.board.messages import messages
from bbs.board.people import friendships
from bbs.board.posts import posts
from bbs.core.errors import NotLoggedIn
from bbs.rules import accounts, auth, fleet_admin, fleet_transitions, user_admin
from bbs.rules.fleet_admin import By, OperatorAction
from bbs.rules.user_admin import ActionResult, NoSuchPerson, Suspended
from bbs.storage.models import Action, OutboxEntry, Place, Suspension, User
from tests.database_case import SESSIONS, RulesCase, on_both_databases


class PeopleCase(RulesCase):
    @property
    def by(self) -> By:
        return By("liz", "bbs user", self.now)

    def names(self, *arguments: str, **options: object) -> list[str]:
        found = self.call(user_admin.search, self.now, *arguments, **options)  # type: ignore[arg-type]
        return [each.name for each in found.people]

    def shown(self, name: str) -> user_admin.Person:
        return self.call(user_admin.show, self.now, name, board.person)

    def nobody(self, rule: object, *arguments: object) -> None:
        self.failureResultOf(self.database.run(rule, *arguments), NoSuchPerson)  # type: ignore

    def deeds(self) -> list[OperatorAction]:
        return self.call(fleet_admin.actions, 99)

    def channels(self) -> list[str]:
        return [channel for _, channel, _ in self.call(fleet_transitions.notices)]

    def is_out(self, token: str) -> None:
        """Check that a session has ended."""
        self.failureResultOf(
            self.database.run(auth.identify, token, SESSIONS, self.now), NotLoggedIn
        )


@on_both_databases
class Looking(PeopleCase):
    def test_who_there_is(self) -> None:
        for name in ("bob", "Ann", "änn", "ann"):
            self.account(name)
        self.assertEqual(self.names(), ["Ann", "ann", "bob", "änn"])

    def test_a_text_within_names(self) -> None:
        for name in ("Joann", "ann", "ANNA", "bob", "a%b", "a_b", "änn", "ÄNN"):
            self.account(name)
        self.assertEqual(self.names("ann"), ["ANNA", "Joann", "ann"])
        self.assertEqual(self.names("ANN"), ["ANNA", "Joann", "ann"])
        self.assertEqual(self.names("%"), ["a%b"])
        self.assertEqual(self.names("_"), ["a_b"])
        # On SQLite only ASCII's letters are the same in both sizes.
        self.assertIn("änn", self.names("änn"))
        self.assertIn("ÄNN", self.names("ÄNN"))
        self.assertIn("änn", self.names("a\N{COMBINING DIAERESIS}nn"))
        for nothing in ("zzz", "a" * 5000, "\0", "\udcff", "' OR 1=1 --"):
            self.assertEqual(self.names(nothing), [])

    def test_in_parts(self) -> None:
        for number in range(5):
            self.account(f"p{number}")
        first = self.call(user_admin.search, self.now, limit=2)
        self.assertEqual(([each.name for each in first.people], first.more), (["p0", "p1"], "p1"))
        self.assertEqual(self.names(behind="p1", limit=2), ["p2", "p3"])
        last = self.call(user_admin.search, self.now, behind="p3", limit=2)
        self.assertEqual(([each.name for each in last.people], last.more), (["p4"], None))
        self.assertIsNone(self.call(user_admin.search, self.now, limit=5).more)

    def test_who_is_online(self) -> None:
        for name in ("ann", "bob", "carol"):
            self.account(name)
        self.log_in("bob")
        self.log_in("bob")
        self.log_in("carol")
        Place.update(server=None, away=True).where(Place.user == self.user("carol")).execute()
        self.assertEqual(self.names(online=True), ["bob", "carol"])
        self.assertEqual(self.names("o", online=True), ["bob", "carol"])
        self.assertEqual(self.names("b", online=True), ["bob"])
        bob, carol, ann = map(self.shown, ("bob", "carol", "ann"))
        self.assertEqual((bob.state, bob.server, bob.sessions), ("online", self.server, 2))
        self.assertEqual(bob.address, "host:22223")
        self.assertEqual((carol.state, carol.server, carol.address), ("away", None, None))
        self.assertEqual((ann.state, ann.online, ann.sessions), ("offline", False, 0))
        Place.update(away=False).where(Place.user == self.user("carol")).execute()
        self.assertEqual(self.shown("carol").state, "waiting")

    def user(self, name: str) -> int:
        number: int = User.get(User.name == name).id
        return number

    def test_one_person(self) -> None:
        self.account("ann")
        User.update(created=5.0, seen=7.5).execute()
        ann = self.shown("ann")
        self.assertEqual((ann.name, ann.created, ann.seen), ("ann", 5.0, 7.5))
        self.assertIsNone(ann.suspended)
        for name in ("bob", "", "ann ", "a" * 60_000, "\udcff"):
            self.nobody(user_admin.show, self.now, name)

    def test_a_name_that_is_typed_in_another_form(self) -> None:
        self.account("änn")
        self.assertEqual(self.shown("a\N{COMBINING DIAERESIS}nn").name, "änn")

    def test_a_service_that_counts_nothing(self) -> None:
        self.account("ann")
        self.assertEqual(self.call(user_admin.show, self.now, "ann").counts, {})


@on_both_databases
class InNumbers(PeopleCase):
    def test_nothing(self) -> None:
        self.account("ann")
        counts = self.shown("ann").counts or {}
        self.assertEqual({*counts.values()}, {0})

    def test_what_somebody_does(self) -> None:
        ann, bob, _, dave = self.people("ann", "bob", "carol", "dave")
        self.befriend(ann, bob)
        self.call(friendships.invite, ann, "carol")
        self.call(friendships.invite, dave, "ann")
        self.call(posts.post, ann, "hello")
        self.call(groups.create, ann, "chess")
        self.call(messages.send, ann, "bob", "secret")
        self.call(messages.send, ann, "bob", "words")
        self.call(messages.send, bob, "ann", "äh")
        self.call(messages.send_group, ann, "chess", "e4")
        counts = self.shown("ann").counts or {}
        self.assertEqual((counts["friends"], counts["posts"], counts["groups"]), (1, 1, 1))
        self.assertEqual((counts["invitations"], counts["invited"]), (1, 1))
        self.assertEqual(counts["messages_received"], 2)
        self.assertEqual(counts["waiting_bytes"], len("äh".encode()) + len(b"e4"))
        self.assertEqual((self.shown("bob").counts or {})["messages_received"], 2)


@on_both_databases
class Doing(PeopleCase):
    def somebody(self) -> tuple[str, str]:
        """A token of somebody called ann, and her channel."""
        self.account("ann")
        token = self.log_in("ann")
        self.seen = self.now
        self.clock.advance(5)
        return token, User.get(User.name == "ann").channel

    def was_recorded(self, action: str, detail: str | None, channel: str | None) -> None:
        """Check what is recorded, and who is to be told."""
        [deed] = self.deeds()
        self.assertEqual((deed.operator, deed.address, deed.at), ("liz", "bbs user", self.now))
        self.assertEqual((deed.action, deed.person, deed.target), (action, "ann", ""))
        self.assertEqual(deed.detail, detail)
        self.assertEqual(self.channels(), [channel] if channel else [])

    def has_left(self, token: str) -> None:
        self.assertEqual({user.seen for user in User.select()} - {self.seen}, set())
        self.is_out(token)
        self.assertEqual(Place.select().count(), 0)
        self.assertEqual(self.taken(self.server), 0)

    def test_another_password(self) -> None:
        token, channel = self.somebody()
        self.assertEqual(
            self.call(user_admin.set_password, self.by, "ann", "new"), ActionResult("ann", 1)
        )
        self.assertEqual(self.call(accounts.credentials, "ann").password_hash, "new")
        self.has_left(token)
        self.was_recorded("password", None, channel)

    def test_a_suspension(self) -> None:
        token, channel = self.somebody()
        self.assertEqual(self.call(user_admin.suspend, self.by, "ann"), ActionResult("ann", 1))
        self.has_left(token)
        self.was_recorded("suspend", "until resumed", channel)
        ann = self.shown("ann")
        self.assertEqual(ann.suspended, Suspended(self.now, None, ""))
        self.assertEqual(ann.state, "suspended")

    def test_a_suspension_for_a_while(self) -> None:
        _, channel = self.somebody()
        self.call(user_admin.suspend, self.by, "ann", self.now + 60, "spam")
        self.was_recorded("suspend", "until 1970-01-12T13:47:45Z: spam", channel)
        until = Suspended(self.now, self.now + 60, "spam")
        self.assertEqual(self.shown("ann").suspended, until)
        self.clock.advance(60)
        self.assertIsNone(self.shown("ann").suspended)
        self.failureResultOf(
            self.database.run(user_admin.resume, self.by, "ann"), user_admin.NotSuspended
        )

    def test_a_second_suspension_takes_the_place_of_the_first(self) -> None:
        self.somebody()
        self.call(user_admin.suspend, self.by, "ann", self.now + 60, "spam")
        self.clock.advance(5)
        self.call(user_admin.suspend, self.by, "ann", None, "more spam")
        self.assertEqual(self.shown("ann").suspended, Suspended(self.now, None, "more spam"))
        self.assertEqual(Suspension.select().count(), 1)
        self.assertEqual(len(self.deeds()), 2)

    def test_a_long_reason(self) -> None:
        self.somebody()
        self.call(user_admin.suspend, self.by, "ann", self.now + 60, "ä" * 1000)
        [suspended] = [self.shown("ann").suspended]
        self.assertEqual(suspended and suspended.reason, "ä" * 200)
        self.assertRegex(self.deeds()[0].detail or "", "ä{200}$")

    def test_the_end_of_a_suspension(self) -> None:
        self.account("ann")
        self.call(user_admin.suspend, self.by, "ann")
        Action.delete().execute()
        OutboxEntry.delete().execute()
        self.assertEqual(self.call(user_admin.resume, self.by, "ann"), ActionResult("ann", 0))
        self.was_recorded("resume", None, None)
        self.assertEqual(Suspension.select().count(), 0)
        self.failureResultOf(
            self.database.run(user_admin.resume, self.by, "ann"), user_admin.NotSuspended
        )
        self.assertEqual(len(self.deeds()), 1)

    def test_a_kick(self) -> None:
        token, channel = self.somebody()
        other, self.seen = self.log_in("ann"), self.now
        self.assertEqual(self.call(user_admin.kick, self.by, "ann"), ActionResult("ann", 2))
        self.has_left(token)
        self.is_out(other)
        self.was_recorded("kick", None, channel)
        self.log_in("ann")

    def test_somebody_else_stays(self) -> None:
        self.somebody()
        bob = self.person("bob")
        self.call(user_admin.kick, self.by, "ann")
        self.assertEqual(self.taken(self.server), 1)
        self.assertEqual(self.shown("bob").sessions, 1)
        self.assertEqual(bob.name, "bob")

    def test_a_deletion(self) -> None:
        token, channel = self.somebody()
        done = self.call(user_admin.delete, self.by, "ann", board.on_delete)
        self.assertEqual(done, (ActionResult("ann", 1), None))
        self.has_left(token)
        self.assertEqual(User.select().count(), 0)
        self.was_recorded("delete", None, channel)

    def test_a_deletion_in_parts(self) -> None:
        token, channel = self.somebody()
        left = [3, 2, 1, 0]
        done, user = self.call(user_admin.delete, self.by, "ann", lambda user: left.pop(0))
        assert user is not None
        self.assertEqual(done, ActionResult("ann", 1))
        self.has_left(token)
        # Whoever comes back meanwhile is out again.
        again = self.log_in("ann")
        self.assertFalse(self.call(user_admin.go_on_deleting, user, lambda user: left.pop(0)))
        self.is_out(again)
        self.assertFalse(self.call(user_admin.go_on_deleting, user, lambda user: left.pop(0)))
        self.assertTrue(self.call(user_admin.go_on_deleting, user, lambda user: left.pop(0)))
        self.assertEqual((User.select().count(), left), (0, []))
        self.was_recorded("delete", None, channel)

    def test_a_deletion_is_no_sign_of_life(self) -> None:
        """Should it end half-way."""
        self.somebody()
        User.update(seen=None).execute()
        self.call(user_admin.delete, self.by, "ann", lambda user: 1)
        self.assertIsNone(User.get().seen)

    def test_a_name_that_is_somebody_elses_by_then(self) -> None:
        """Of a deletion in parts only the first goes by the name."""
        self.somebody()
        _, user = self.call(user_admin.delete, self.by, "ann", lambda user: 1)
        assert user is not None
        User.delete().execute()
        self.account("ann")
        self.assertTrue(self.call(user_admin.go_on_deleting, user, lambda user: 1))
        self.assertEqual(User.select().count(), 1)

    def test_nobody(self) -> None:
        self.account("ann")
        for name in ("bob", "", "Ann", "ann ", "\udcff"):
            self.nobody(user_admin.set_password, self.by, name, "hash")
            self.nobody(user_admin.suspend, self.by, name)
            self.nobody(user_admin.resume, self.by, name)
            self.nobody(user_admin.kick, self.by, name)
            self.nobody(user_admin.delete, self.by, name)
        self.assertEqual((self.deeds(), self.channels()), ([], []))
        self.assertEqual(User.select().count(), 1)


@on_both_databases
class Telling(PeopleCase):
    def test_the_oldest_first_and_few(self) -> None:
        for number in range(fleet_transitions.NOTICES_AT_ONCE + 1):
            OutboxEntry.insert(channel=f"c{number}").execute()
        found = self.call(fleet_transitions.notices)
        self.assertEqual(len(found), fleet_transitions.NOTICES_AT_ONCE)
        self.assertEqual(found[0][1], "c0")
        self.call(fleet_transitions.forget_notices, [id for id, *_ in found])
        self.assertEqual(self.channels(), [f"c{fleet_transitions.NOTICES_AT_ONCE}"])
        # Somebody else was quicker.
        self.call(fleet_transitions.forget_notices, [id for id, *_ in found])
