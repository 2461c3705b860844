"""Of how many invitations somebody is told: `docs/protocol.md`, section 4, `invite`."""

from __future__ import annotations

from dataclasses import replace

from bbs.board import board
from bbs.board.groups import groups, ownership
from bbs.board.people import friendships, heard
from bbs.board.people.tables import Heard
from bbs.rules import accounts
from bbs.rules.auth import Caller
from bbs.storage.models import Place
from tests.database_case import RulesCase, on_both_databases


class HeardCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann = self.person("ann")

    def stranger(self, name: str, origin: str = "") -> Caller:
        """A new account, whose place was taken from there."""
        caller = self.person(name)
        Place.update(origin=origin).where(Place.user == caller.id).execute()
        return replace(caller, now=self.now)

    def delete(self, one: Caller) -> None:
        self.assertTrue(self.call(accounts.delete, one, board.forget))

    def is_told(self, inviter: Caller) -> bool:
        return self.call(friendships.invite, inviter, "ann") is not None

    def invitations(self) -> int:
        return len(self.call(friendships.invitations, self.ann)["invite"])


@on_both_databases
class OfAName(HeardCase):
    def test_who_deletes_the_account_and_comes_back_tells_nothing(self) -> None:
        told = []
        for _ in range(5):
            bob = self.stranger("bob")
            told.append(self.is_told(bob))
            self.assertEqual(self.invitations(), 1)
            self.delete(bob)
        self.assertEqual(told, [True, False, False, False, False])

    def test_an_hour_later(self) -> None:
        bob = self.stranger("bob")
        self.assertTrue(self.is_told(bob))
        self.delete(bob)
        self.clock.advance(heard.QUIET)
        self.assertTrue(self.is_told(self.stranger("bob")))

    def test_who_was_accepted_is_heard_again(self) -> None:
        bob = self.stranger("bob")
        self.assertTrue(self.is_told(bob))
        self.call(friendships.accept, self.ann, "bob")
        self.call(friendships.unfriend, self.ann, "bob")
        self.assertTrue(self.is_told(bob))


@on_both_databases
class OfANetwork(HeardCase):
    def test_accounts_without_end(self) -> None:
        told = 0
        for number in range(heard.MOST_FROM_A_NETWORK + 10):
            eve = self.stranger(f"eve{number}", "192.0.2.7")
            told += self.is_told(eve)
            self.assertEqual(self.invitations(), 1)
            self.delete(eve)
        self.assertEqual(told, heard.MOST_FROM_A_NETWORK)
        # Others are heard, and nobody else is spared.
        self.assertTrue(self.is_told(self.stranger("bob", "192.0.2.8")))
        self.assertTrue(self.is_told(self.stranger("cat")))
        self.person("dan")
        eve = self.stranger("eve", "192.0.2.7")
        self.assertIsNotNone(self.call(friendships.invite, eve, "dan"))

    def test_a_trusted_network_counts_for_none(self) -> None:
        told = [
            self.is_told(self.stranger(f"p{number}"))
            for number in range(heard.MOST_FROM_A_NETWORK + 5)
        ]
        self.assertTrue(all(told))

    def test_networks_without_end(self) -> None:
        told = 0
        for number in range(heard.MOST_IN_ALL + 5):
            eve = self.stranger(f"eve{number}", f"192.0.2.{number}")
            told += self.is_told(eve)
            self.delete(eve)
        self.assertEqual(told, heard.MOST_IN_ALL)

    def test_invitations_to_groups(self) -> None:
        told = 0
        for number in range(heard.MOST_FROM_A_NETWORK + 3):
            eve = self.stranger(f"eve{number}", "192.0.2.7")
            self.call(groups.create, eve, f"g{number}")
            told += self.call(ownership.invite, eve, f"g{number}", "ann") is not None
        self.assertEqual(told, heard.MOST_FROM_A_NETWORK)


@on_both_databases
class Forgetting(HeardCase):
    def test_after_an_hour(self) -> None:
        self.is_told(self.stranger("bob"))
        self.assertEqual(self.call(heard.forget, self.now + heard.QUIET - 1.0), 0)
        self.assertEqual(self.call(heard.forget, self.now + heard.QUIET + 1.0), 1)
        self.assertEqual(Heard.select().count(), 0)

    def test_the_boards_sweep(self) -> None:
        self.is_told(self.stranger("bob"))
        assert board.sweep is not None
        while self.call(board.sweep, self.now + heard.QUIET + 1.0):
            pass
        self.assertEqual(Heard.select().count(), 0)
