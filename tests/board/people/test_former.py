"""Blocks outlive the account that was blocked: `docs/protocol.md`, section 3, blocks."""

from __future__ import annotations

from typing import Any

from bbs.board import board
from bbs.board.messages import messages
from bbs.board.people import blocks, former, friendships
from bbs.board.people.tables import Block, FormerBlock
from bbs.board.posts import user_stats
from bbs.framework import Page, service_key
from bbs.rules import accounts
from bbs.rules.auth import Caller
from bbs.storage.models import User
from tests.database_case import RulesCase, on_both_databases
from tests.rules.crowds import add, crowd

TAKEN_APART, COMPOSED = "a\N{COMBINING DIAERESIS}nn", "änn"


class FormerCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")

    def delete(self, one: Caller) -> None:
        """Delete an account as the server does."""
        done = self.call(accounts.delete, one, board.forget)
        while not done:
            done = self.call(accounts.delete, one, board.forget, begun=True)

    def again(self, one: Caller) -> Caller:
        """Delete an account, and make one of the same name."""
        self.delete(one)
        return self.person(one.name)

    def blocked(self, one: Caller) -> list[str]:
        return list(self.call(blocks.blocks, one)["block"])

    def sweep(self, now: float) -> int:
        removed = 0
        while found := self.call(former.forget, now):
            removed += found
        return removed


@on_both_databases
class Outliving(FormerCase):
    def test_who_comes_back_under_the_name_is_blocked(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        bob = self.again(self.bob)
        self.refused("ann takes nothing from you", friendships.invite, bob, "ann")
        self.refused("ann takes nothing from you", messages.send, bob, "ann", "hello")
        self.refused("You have blocked bob", friendships.invite, self.ann, "bob")
        self.assertEqual(self.blocked(self.ann), ["bob"])
        # It is the same the next time, and for nobody else.
        bob = self.again(bob)
        self.refused("ann takes nothing from you", friendships.invite, bob, "ann")
        self.call(friendships.invite, bob, "cat")

    def test_a_name_in_any_form(self) -> None:
        person = self.person(COMPOSED)
        User.update(name=TAKEN_APART).where(User.id == person.id).execute()
        self.call(blocks.block, self.ann, TAKEN_APART)
        self.delete(person)
        self.assertEqual(self.blocked(self.ann), [COMPOSED])
        again = self.person(TAKEN_APART)
        self.assertEqual(again.name, COMPOSED)
        self.refused("ann takes nothing from you", friendships.invite, again, "ann")

    def test_nobody_is_blocked_for_the_looks_of_a_name(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        for name in ("Bob", "b\N{CYRILLIC SMALL LETTER O}b", "bobb"):
            self.call(friendships.invite, self.person(name), "ann")

    def test_all_who_had_blocked(self) -> None:
        """Of more than one transaction keeps, none is lost."""
        owners = crowd(2 * former.KEPT_AT_ONCE + 10)
        add(Block, [(owner, self.bob.id) for owner in owners], Block.user, Block.other)
        bob = self.again(self.bob)
        blocked = {each.user.id for each in Block.select().where(Block.other == bob.id)}
        self.assertEqual(blocked, {*owners})
        self.assertEqual(FormerBlock.select().count(), 0)

    def test_a_block_holds_while_the_account_ends_in_parts(self) -> None:
        """An end that was interrupted leaves the account, and its blocks."""
        owners = crowd(former.KEPT_AT_ONCE)
        add(Block, [(owner, self.bob.id) for owner in owners], Block.user, Block.other)
        self.call(blocks.block, self.ann, "bob")
        self.assertFalse(self.call(accounts.delete, self.bob, board.forget))
        bob = self.caller(self.log_in("bob"))
        self.refused("ann takes nothing from you", friendships.invite, bob, "ann")
        self.again(bob)
        self.assertEqual(Block.select().count(), len(owners) + 1)

    def test_what_the_table_tells(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.call(blocks.block, self.cat, "bob")
        self.delete(self.bob)
        one, other = FormerBlock.select()
        for each in (one, other):
            self.assertNotIn("bob", f"{each.digest} {each.sealed}")
            self.assertNotIn(b"bob".hex(), each.sealed)
        self.assertNotEqual(one.sealed, other.sealed)

    def test_a_long_name(self) -> None:
        name = "\N{GRINNING FACE}" * 100
        person = self.person(name)
        self.call(blocks.block, self.ann, name)
        self.again(person)
        self.assertEqual(self.blocked(self.ann), [name])


@on_both_databases
class Lifting(FormerCase):
    def test_whose_account_is_gone(self) -> None:
        for name in ("cat", "bob"):
            self.call(blocks.block, self.ann, name)
        self.delete(self.cat)
        # Those who are there come first.
        self.assertEqual(self.blocked(self.ann), ["bob", "cat"])
        self.call(blocks.unblock, self.ann, "cat")
        self.refused("cat does not exist", blocks.unblock, self.ann, "cat")
        self.assertEqual(self.blocked(self.ann), ["bob"])
        self.call(friendships.invite, self.person("cat"), "ann")

    def test_a_name_in_any_form(self) -> None:
        self.call(blocks.block, self.ann, self.person(COMPOSED).name)
        self.delete(self.caller(self.log_in(COMPOSED)))
        self.call(blocks.unblock, self.ann, TAKEN_APART)
        self.assertEqual(self.blocked(self.ann), [])

    def test_only_ones_own(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        self.refused("bob does not exist", blocks.unblock, self.cat, "bob")
        self.refused("eve does not exist", blocks.unblock, self.ann, "eve")
        self.assertEqual((self.blocked(self.ann), self.blocked(self.cat)), (["bob"], []))

    def test_what_an_older_server_left(self) -> None:
        """It makes the account anew, and knows of no former one."""
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        self.call(accounts.register, "bob", "", self.now)
        self.call(blocks.unblock, self.ann, "bob")
        self.refused("bob is not blocked", blocks.unblock, self.ann, "bob")

    def test_the_owner_leaves(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        self.delete(self.ann)
        self.assertEqual(FormerBlock.select().count(), 0)

    def test_in_parts(self) -> None:
        names = [f"p{number}" for number in range(7)]
        people = self.people(*names)
        for name in names:
            self.call(blocks.block, self.ann, name)
        for each in people[:4]:
            self.delete(each)
        found: list[Any] = []
        last = None
        while True:
            part = self.call(blocks.blocks.part, self.ann, Page(last, 2))
            found += part["block"]
            # As a cursor brings it back.
            last = [*part.last] if isinstance(part.last, tuple) else part.last
            if last is None:
                break
        self.assertEqual(found, [*names[4:], *names[:4]])

    def test_they_count(self) -> None:
        people = crowd(blocks.MOST_BLOCKED - 1)
        add(Block, [(self.ann.id, each) for each in people], Block.user, Block.other)
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        self.refused("You have blocked too many", blocks.block, self.ann, "cat")
        of_ann = self.call(user_stats.of_person, self.ann.id)
        self.assertEqual(of_ann["blocked"], blocks.MOST_BLOCKED)
        self.call(blocks.unblock, self.ann, "bob")
        self.call(blocks.block, self.ann, "cat")


@on_both_databases
class Forgetting(FormerCase):
    def test_after_a_year(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        self.assertEqual(self.sweep(self.now), 0)
        self.assertEqual(self.sweep(self.now + former.YEAR - 1.0), 0)
        self.assertEqual(self.blocked(self.ann), ["bob"])
        self.assertEqual(self.sweep(self.now + former.YEAR + 1.0), 1)
        self.assertEqual(self.blocked(self.ann), [])
        self.call(friendships.invite, self.person("bob"), "ann")

    def test_the_year_begins_with_the_first_sweep(self) -> None:
        """No clock but the sweeps' decides."""
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        self.assertEqual(self.sweep(self.now + 2 * former.YEAR), 0)
        self.assertEqual(self.sweep(self.now + 4 * former.YEAR), 1)

    def test_many(self) -> None:
        owners = crowd(3 * former.KEPT_AT_ONCE)
        add(Block, [(owner, self.bob.id) for owner in owners], Block.user, Block.other)
        self.delete(self.bob)
        for _ in range(4):
            self.sweep(self.now)
        self.assertEqual(self.sweep(self.now + former.YEAR + 1.0), len(owners))
        self.assertEqual(FormerBlock.select().count(), 0)

    def test_the_boards_sweep(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.delete(self.bob)
        assert board.sweep is not None
        for now in (self.now, self.now + former.YEAR + 1.0):
            while self.call(board.sweep, now):
                pass
        self.assertEqual(FormerBlock.select().count(), 0)


@on_both_databases
class Keys(RulesCase):
    def test_one_for_each_purpose(self) -> None:
        one = self.call(service_key, "one")
        self.assertEqual(len(one), 32)
        self.assertEqual(self.call(service_key, "one"), one)
        self.assertNotEqual(self.call(service_key, "other"), one)
