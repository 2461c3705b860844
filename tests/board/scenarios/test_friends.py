"""Friendships: `docs/protocol.md`, section 3, from `invite` to `list-friend`."""

from __future__ import annotations

from dataclasses import replace

from bbs.board.people import blocks, friendships, heard, relationships
from bbs.board.people.errors import HasTooManyInvitations
from bbs.board.people.tables import Relationship
from bbs.board.quotas import Quotas
from bbs.core.values import Rate
from bbs.rules import accounts, auth
from bbs.rules.auth import Caller
from tests.board.crowds import relate
from tests.database_case import SESSIONS, RulesCase, on_both_databases
from tests.rules.crowds import crowd


@on_both_databases
class Inviting(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")

    def test_success(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.assertEqual(self.call(friendships.invitations, self.bob)["invite"], ["ann"])
        self.assertEqual(self.call(friendships.invitations, self.ann)["invite"], [])
        for one in (self.ann, self.bob):
            self.assertEqual(self.call(friendships.friends, one)["friend"], [])

    def test_nobody(self) -> None:
        for name in ("eve", "Bob", "bob.", "b" * 60_000):
            self.refused(f"{name} does not exist", friendships.invite, self.ann, name)

    def test_oneself(self) -> None:
        self.refused("You cannot invite yourself", friendships.invite, self.ann, "ann")

    def test_a_friend(self) -> None:
        self.befriend(self.ann, self.bob)
        self.refused("bob is already your friend", friendships.invite, self.ann, "bob")
        self.refused("ann is already your friend", friendships.invite, self.bob, "ann")

    def test_told_once_an_hour(self) -> None:
        """Whatever became of the invitation, and through whichever server it came."""

        def invite_again(seconds: float) -> object:
            self.call(blocks.block, self.ann, "bob")
            self.call(blocks.unblock, self.ann, "bob")
            later = replace(self.ann, now=self.ann.now + seconds)
            told = self.call(friendships.invite, later, "bob")
            self.assertEqual(self.call(friendships.invitations, self.bob)["invite"], ["ann"])
            return told

        self.assertIsNotNone(self.call(friendships.invite, self.ann, "bob"))
        self.assertIsNone(invite_again(1))
        self.assertIsNone(invite_again(3599))
        self.assertIsNotNone(invite_again(3601))
        self.assertIsNone(invite_again(3700))
        # A clock that was set back leaves nobody untold for years.
        self.assertIsNotNone(invite_again(-1e6))
        # Others tell the same person, and the same person others.
        self.call(friendships.decline, self.bob, "ann")
        self.assertIsNotNone(self.call(friendships.invite, self.person("cat"), "bob"))
        self.assertIsNotNone(self.call(friendships.invite, self.ann, "cat"))

    def test_told_again_after_a_friendship(self) -> None:
        self.befriend(self.ann, self.bob)
        self.call(friendships.unfriend, self.bob, "ann")
        self.assertIsNotNone(self.call(friendships.invite, self.ann, "bob"))

    def test_how_many_one_may_invite(self) -> None:
        ann = replace(self.ann, quotas=Quotas(invitations=Rate(3, 60.0)))
        self.people("cat", "dan", "eve", "fay")
        for name in ("bob", "cat", "dan"):
            self.call(friendships.invite, ann, name)
        too_many = "You have invited too many people, try again later"
        self.refused(too_many, friendships.invite, ann, "eve")
        self.call(friendships.decline, self.bob, "ann")
        self.refused(too_many, friendships.invite, ann, "bob")
        self.refused(too_many, friendships.invite, replace(ann, now=ann.now + 59), "eve")
        self.call(friendships.invite, replace(ann, now=ann.now + 61), "eve")
        self.call(friendships.invite, self.bob, "eve")  # Only those of one's own count.

    def invite_again(self, inviter: Caller, name: str) -> object:
        """Take an invitation back, and invite once more."""
        self.call(blocks.block, inviter, name)
        self.call(blocks.unblock, inviter, name)
        return self.call(friendships.invite, inviter, name)

    def test_one_that_is_repeated_counts(self) -> None:
        """Though nobody is told of it."""
        ann = replace(self.ann, quotas=Quotas(invitations=Rate(3, 60.0)))
        self.person("cat")
        self.assertIsNotNone(self.call(friendships.invite, ann, "bob"))
        for _ in range(2):
            self.assertIsNone(self.invite_again(ann, "bob"))
        too_many = "You have invited too many people, try again later"
        self.refused(too_many, friendships.invite, ann, "cat")
        self.refused(too_many, friendships.invite, replace(ann, now=ann.now + 59), "cat")
        later = replace(ann, now=ann.now + 61)
        self.call(friendships.invite, later, "cat")
        # Whoever repeats it now and then is not refused for all that was long ago.
        for number in range(1, 6):
            later = replace(ann, now=ann.now + 61 + 55 * number)
            self.assertIsNone(self.invite_again(later, "bob"))

    def test_one_that_was_declined_counts_from_then_on(self) -> None:
        ann = replace(self.ann, quotas=Quotas(invitations=Rate(1, 60.0)))
        self.person("cat")
        self.call(friendships.invite, ann, "bob")
        self.call(friendships.decline, replace(self.bob, now=ann.now + 50), "ann")
        too_many = "You have invited too many people, try again later"
        self.refused(too_many, friendships.invite, replace(ann, now=ann.now + 109), "cat")
        self.call(friendships.invite, replace(ann, now=ann.now + 111), "cat")

    def test_who_was_declined_twice(self) -> None:
        """Invites a third time, and is accepted."""
        for _ in range(2):
            self.call(friendships.invite, self.ann, "bob")
            self.call(friendships.decline, self.bob, "ann")
        self.call(friendships.invite, self.ann, "bob")
        self.assertIsNotNone(self.call(friendships.accept, self.bob, "ann"))

    def test_who_was_declined_three_times(self) -> None:
        for _ in range(3):
            self.call(friendships.invite, self.ann, "bob")
            self.call(friendships.decline, self.bob, "ann")
        full = "bob has too many invitations"
        self.refused(full, friendships.invite, self.ann, "bob")
        self.call(friendships.invite, self.person("cat"), "bob")
        self.call(friendships.forget_told, self.now + 86_399)
        self.refused(full, friendships.invite, replace(self.ann, now=self.now + 86_399), "bob")
        self.call(friendships.forget_told, self.now + 86_401)
        self.call(friendships.invite, replace(self.ann, now=self.now + 86_401), "bob")

    def test_who_was_declined_long_after_the_invitation(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        later = self.now + 86_000
        self.call(friendships.decline, replace(self.bob, now=later), "ann")
        self.assertEqual(self.call(friendships.forget_told, later + 86_399), 0)
        self.assertEqual(self.call(friendships.forget_told, later + 86_401), 1)

    def test_an_accepted_one_is_declined_no_more(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.decline, self.bob, "ann")
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.accept, self.bob, "ann")
        for _ in range(2):
            self.call(friendships.unfriend, self.bob, "ann")
            self.call(friendships.invite, self.ann, "bob")
            self.call(friendships.decline, self.bob, "ann")
            self.call(friendships.invite, self.ann, "bob")
            self.call(friendships.accept, self.bob, "ann")

    def test_many_who_were_declined_take_a_quarter(self) -> None:
        """Who declines all has room for others, and again after the next time."""
        most = friendships.MOST_INVITATIONS
        many = self.people(*(f"user{number}" for number in range(most)))
        for each in many:
            self.call(friendships.invite, each, "bob")
        full = "bob has too many invitations"
        self.refused(full, friendships.invite, self.ann, "bob")
        accepted = []
        for _ in range(10):
            self.call(friendships.decline_all, self.bob)
            for each in many:
                done = self.database.run(friendships.invite, each, "bob")
                done.addErrback(lambda failure: failure.trap(HasTooManyInvitations))
                self.successResultOf(done)
            accepted.append(len(self.call(friendships.invitations, self.bob)["invite"]))
            self.call(friendships.invite, self.ann, "bob")
            self.call(friendships.accept, self.bob, "ann")
            self.call(friendships.unfriend, self.bob, "ann")
        self.assertEqual(accepted, [*[25] * 8, 0, 0])

    def test_how_many_wait_for_one(self) -> None:
        relate(self.bob.id, Relationship.INVITED_BY, crowd(99), Relationship.INVITED)
        self.call(friendships.invite, self.ann, "bob")
        cat = self.person("cat")
        self.refused("bob has too many invitations", friendships.invite, cat, "bob")
        self.call(friendships.invite, self.bob, "cat")
        self.call(friendships.decline, self.bob, "ann")
        self.call(friendships.decline, cat, "bob")
        self.call(friendships.invite, cat, "bob")

    def test_when_people_were_told_is_forgotten(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.assertEqual(self.call(friendships.forget_told, self.now + 86_399), 0)
        self.assertEqual(self.call(friendships.forget_told, self.now + 86_401), 1)
        self.assertEqual(self.call(friendships.forget_told, self.now + 86_401), 0)
        self.call(heard.forget, self.now + 86_401)
        self.call(friendships.decline, self.bob, "ann")
        self.assertIsNotNone(self.call(friendships.invite, self.ann, "bob"))

    def test_twice(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.refused("Already invited", friendships.invite, self.ann, "bob")
        self.assertEqual(self.call(friendships.invitations, self.bob)["invite"], ["ann"])

    def test_who_has_invited(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.refused("ann has invited you", friendships.invite, self.bob, "ann")
        self.assertEqual(self.call(friendships.invitations, self.ann)["invite"], [])

    def test_names_that_differ_a_little_are_others(self) -> None:
        others = [self.person(name) for name in ("Bob", "böb")]
        self.call(friendships.invite, self.ann, "Bob")
        invited = [
            self.call(friendships.invitations, other)["invite"] for other in (self.bob, *others)
        ]
        self.assertEqual(invited, [[], ["ann"], []])


@on_both_databases
class Accepting(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")

    def test_success(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.accept, self.bob, "ann")
        self.assertEqual(self.call(friendships.friends, self.ann)["friend"], ["bob"])
        self.assertEqual(self.call(friendships.friends, self.bob)["friend"], ["ann"])
        for one in (self.ann, self.bob):
            self.assertEqual(self.call(friendships.invitations, one)["invite"], [])
        self.assertEqual(Relationship.select().count(), 2)

    def test_without_an_invitation(self) -> None:
        self.refused("eve did not invite you", friendships.accept, self.ann, "eve")
        self.refused("bob did not invite you", friendships.accept, self.ann, "bob")
        self.refused("ann did not invite you", friendships.accept, self.ann, "ann")

    def test_ones_own_invitation(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.refused("bob did not invite you", friendships.accept, self.ann, "bob")
        self.assertEqual(self.call(friendships.invitations, self.bob)["invite"], ["ann"])

    def test_twice(self) -> None:
        self.befriend(self.ann, self.bob)
        self.refused("ann did not invite you", friendships.accept, self.bob, "ann")
        self.assertEqual(self.call(friendships.friends, self.bob)["friend"], ["ann"])

    def test_only_the_one_that_is_named(self) -> None:
        eve = self.person("eve")
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.invite, eve, "bob")
        self.call(friendships.invite, self.ann, "eve")
        self.call(friendships.accept, self.bob, "ann")
        self.assertEqual(self.call(friendships.invitations, self.bob)["invite"], ["eve"])
        self.assertEqual(self.call(friendships.invitations, eve)["invite"], ["ann"])

    def test_from_somebody_who_deleted_the_account(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.call(accounts.delete, self.ann)
        self.refused("ann did not invite you", friendships.accept, self.bob, "ann")


@on_both_databases
class Lists(RulesCase):
    """The oldest first, whatever the names and whoever was there first."""

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.dan, self.bob, self.eve, self.cat = self.people(
            "ann", "dan", "bob", "eve", "cat"
        )

    def test_invitations(self) -> None:
        for other in (self.eve, self.bob, self.cat, self.dan):
            self.call(friendships.invite, other, "ann")
        self.assertEqual(
            self.call(friendships.invitations, self.ann)["invite"], ["eve", "bob", "cat", "dan"]
        )

    def test_friends_in_the_order_of_acceptance(self) -> None:
        for other in (self.bob, self.cat, self.dan):
            self.call(friendships.invite, other, "ann")
        self.call(friendships.invite, self.ann, "eve")
        self.call(friendships.accept, self.ann, "dan")
        self.call(friendships.accept, self.eve, "ann")
        self.call(friendships.accept, self.ann, "bob")
        self.assertEqual(self.call(friendships.friends, self.ann)["friend"], ["dan", "eve", "bob"])
        self.assertEqual(self.call(friendships.invitations, self.ann)["invite"], ["cat"])

    def test_how_people_stand_to_each_other(self) -> None:
        """What rules ask first: the same whether it is asked alone or with who is asking."""
        self.befriend(self.ann, self.bob)
        self.call(friendships.invite, self.ann, "cat")
        self.log_out(self.bob)
        token = self.log_in("ann")
        for other, stands, online in (
            (self.bob, Relationship.FRIEND, None),
            (self.cat, Relationship.INVITED, self.cat.id),
            (self.dan, None, self.dan.id),
            (self.ann, None, self.ann.id),
        ):
            server = other.server if online else None
            expected = [(other.id, other.channel, stands, online, None, server, None)]
            self.assertEqual(self.call(relationships.correspondent, self.ann, other.name), expected)
            ann = self.call(
                auth.identify, token, SESSIONS, self.now, relationships.correspondent, (other.name,)
            )
            self.assertEqual(replace(ann, quotas=self.quotas), self.ann)
            assert ann.answer is not None
            self.assertEqual(ann.answer.rows, expected)
        self.assertEqual(self.call(relationships.correspondent, self.ann, "nobody"), [(None,) * 7])
