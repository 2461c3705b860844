"""Ways out: `docs/protocol.md`, section 3, `unfriend`, `decline-invite` and blocks."""

from __future__ import annotations

from typing import Any

from bbs.board.groups import groups
from bbs.board.messages import messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks, friendships, relationships
from bbs.board.people.tables import Block, Relationship
from bbs.rules import accounts, auth
from bbs.rules.auth import Caller
from bbs.rules.pagination import Page
from bbs.storage.models import User
from tests.board.crowds import relate
from tests.database_case import SESSIONS, RulesCase, on_both_databases
from tests.rules.crowds import add, crowd

TAKEN_APART, COMPOSED = "a\N{COMBINING DIAERESIS}nn", "änn"


class WaysCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")

    def invitations(self, one: Caller) -> object:
        return self.call(friendships.invitations, one)["invite"]

    def friends(self, one: Caller) -> object:
        return self.call(friendships.friends, one)["friend"]

    def blocked(self, one: Caller) -> object:
        return self.call(blocks.blocks, one)["block"]


@on_both_databases
class Declining(WaysCase):
    def test_success(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.invite, self.cat, "bob")
        self.call(friendships.decline, self.bob, "ann")
        self.assertEqual(self.invitations(self.bob), ["cat"])
        self.refused("ann did not invite you", friendships.accept, self.bob, "ann")

    def test_either_may_invite_again(self) -> None:
        for inviter, other in ((self.ann, self.bob), (self.bob, self.ann)):
            self.call(friendships.invite, inviter, other.name)
            self.call(friendships.decline, other, inviter.name)
        self.assertEqual(Relationship.select().count(), 0)

    def test_without_an_invitation(self) -> None:
        for name in ("eve", "bob", "ann", "b" * 60_000):
            self.refused(f"{name} did not invite you", friendships.decline, self.ann, name)
        self.befriend(self.ann, self.bob)
        self.refused("bob did not invite you", friendships.decline, self.ann, "bob")
        self.assertEqual(self.friends(self.ann), ["bob"])

    def test_ones_own_invitation(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.refused("bob did not invite you", friendships.decline, self.ann, "bob")
        self.assertEqual(self.invitations(self.bob), ["ann"])

    def test_all_of_them(self) -> None:
        relate(self.bob.id, Relationship.INVITED_BY, crowd(300), Relationship.INVITED)
        self.befriend(self.bob, self.cat)
        self.call(friendships.invite, self.ann, "cat")
        self.call(friendships.invite, self.bob, "ann")
        self.call(friendships.decline_all, self.bob)
        self.assertEqual(self.invitations(self.bob), [])
        # Friendships, own invitations and those of others stay.
        self.assertEqual(self.friends(self.bob), ["cat"])
        self.assertEqual(self.invitations(self.cat), ["ann"])
        self.assertEqual(self.invitations(self.ann), ["bob"])
        self.assertEqual(Relationship.select().count(), 6)
        self.call(friendships.decline_all, self.bob)

    def test_a_name_in_any_form(self) -> None:
        self.call(friendships.invite, self.person(COMPOSED), "bob")
        self.call(friendships.decline, self.bob, TAKEN_APART)
        self.assertEqual(self.invitations(self.bob), [])


@on_both_databases
class Unfriending(WaysCase):
    def test_it_ends_for_both(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.ann, self.cat)
        self.call(friendships.unfriend, self.bob, "ann")
        self.assertEqual([self.friends(one) for one in (self.ann, self.bob)], [["cat"], []])
        for one, other in ((self.ann, "bob"), (self.bob, "ann")):
            self.refused(f"{other} is not your friend", messages.send, one, other, "hello")

    def test_friends_again(self) -> None:
        self.befriend(self.ann, self.bob)
        self.call(friendships.unfriend, self.ann, "bob")
        self.befriend(self.bob, self.ann)
        self.assertEqual(self.friends(self.ann), ["bob"])

    def test_who_is_none(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        for name in ("eve", "bob", "cat", "ann", "b" * 60_000):
            self.refused(f"{name} is not your friend", friendships.unfriend, self.ann, name)
        self.refused("ann is not your friend", friendships.unfriend, self.bob, "ann")
        self.assertEqual(self.invitations(self.bob), ["ann"])

    def test_a_name_in_any_form(self) -> None:
        self.befriend(self.ann, self.person(COMPOSED))
        self.call(friendships.unfriend, self.ann, TAKEN_APART)
        self.assertEqual(self.friends(self.ann), [])


@on_both_databases
class Blocking(WaysCase):
    def test_a_friend(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.ann, self.cat)
        self.call(blocks.block, self.ann, "bob")
        self.assertEqual([self.friends(one) for one in (self.ann, self.bob)], [["cat"], []])
        self.assertEqual((self.blocked(self.ann), self.blocked(self.bob)), (["bob"], []))

    def test_invitations_of_either(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        self.call(friendships.invite, self.cat, "ann")
        for name in ("bob", "cat"):
            self.call(blocks.block, self.ann, name)
        self.assertEqual(Relationship.select().count(), 0)

    def test_the_blocked_are_told_and_nothing_comes(self) -> None:
        self.befriend(self.ann, self.bob)
        self.call(blocks.block, self.ann, "bob")
        self.refused("ann takes nothing from you", friendships.invite, self.bob, "ann")
        self.refused("ann takes nothing from you", messages.send, self.bob, "ann", "hello")
        self.log_out(self.ann)
        self.refused("ann takes nothing from you", messages.send, self.bob, "ann", "hello")
        self.assertEqual((MessageRow.select().count(), Relationship.select().count()), (0, 0))

    def test_what_comes_before_it(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.refused("eve does not exist", friendships.invite, self.bob, "eve")
        self.refused("You cannot invite yourself", friendships.invite, self.bob, "bob")
        self.refused("No such user exist", messages.send, self.bob, "eve", "hello")
        self.refused("cat is not your friend", messages.send, self.bob, "cat", "hello")

    def test_who_blocks_must_unblock_first(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.refused("You have blocked bob", friendships.invite, self.ann, "bob")
        self.refused("bob is not your friend", messages.send, self.ann, "bob", "hello")
        self.refused("bob did not invite you", friendships.accept, self.ann, "bob")

    def test_each_other(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.call(blocks.block, self.bob, "ann")
        self.refused("bob takes nothing from you", friendships.invite, self.ann, "bob")
        self.call(blocks.unblock, self.bob, "ann")
        self.refused("You have blocked bob", friendships.invite, self.ann, "bob")
        self.call(blocks.unblock, self.ann, "bob")
        self.befriend(self.ann, self.bob)

    def test_twice(self) -> None:
        for _ in range(2):
            self.call(blocks.block, self.ann, "bob")
        self.assertEqual(Block.select().count(), 1)

    def test_what_a_server_of_before_let_begin_ends(self) -> None:
        """Such a server knows no blocks: a friendship may have come of it."""
        self.call(blocks.block, self.ann, "bob")
        for one, other in ((self.ann, self.bob), (self.bob, self.ann)):
            Relationship.insert(user=one.id, other=other.id, kind=Relationship.FRIEND).execute()
        self.refused("ann takes nothing from you", messages.send, self.bob, "ann", "hello")
        self.call(blocks.block, self.ann, "bob")
        self.assertEqual(self.friends(self.bob), [])

    def test_nobody_and_oneself(self) -> None:
        for name in ("eve", "Bob", "b" * 60_000):
            self.refused(f"{name} does not exist", blocks.block, self.ann, name)
            self.refused(f"{name} does not exist", blocks.unblock, self.ann, name)
        self.refused("You cannot block yourself", blocks.block, self.ann, "ann")
        self.refused("ann is not blocked", blocks.unblock, self.ann, "ann")
        self.assertEqual(Block.select().count(), 0)

    def test_a_name_in_any_form(self) -> None:
        self.person(COMPOSED)
        self.call(blocks.block, self.ann, TAKEN_APART)
        self.assertEqual(self.blocked(self.ann), [COMPOSED])
        self.call(blocks.unblock, self.ann, TAKEN_APART)
        self.assertEqual(self.blocked(self.ann), [])

    def test_unblocking(self) -> None:
        self.befriend(self.ann, self.bob)
        self.call(blocks.block, self.ann, "bob")
        self.call(blocks.unblock, self.ann, "bob")
        self.assertEqual(self.friends(self.ann), [])
        self.refused("ann is not your friend", messages.send, self.bob, "ann", "hello")
        self.refused("bob is not blocked", blocks.unblock, self.ann, "bob")
        self.befriend(self.bob, self.ann)

    def test_only_ones_own_are_unblocked(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        self.refused("ann is not blocked", blocks.unblock, self.bob, "ann")
        self.assertEqual(self.blocked(self.ann), ["bob"])

    def test_without_bound_nobody_blocks(self) -> None:
        others = [(self.ann.id, other) for other in crowd(999)]
        add(Block, others, Block.user, Block.other)
        self.befriend(self.ann, self.cat)
        self.call(blocks.block, self.ann, "bob")
        self.refused("You have blocked too many", blocks.block, self.ann, "cat")
        self.assertEqual(Block.select().count(), 1000)
        self.assertEqual(self.friends(self.ann), ["cat"])
        self.call(blocks.block, self.ann, "bob")
        self.call(blocks.block, self.bob, "cat")
        self.call(blocks.unblock, self.ann, "bob")
        self.call(blocks.block, self.ann, "cat")

    def test_in_the_order_blocked_and_in_parts(self) -> None:
        for name in ("cat", "bob"):
            self.call(blocks.block, self.ann, name)
        self.assertEqual(self.blocked(self.ann), ["cat", "bob"])
        first = Block.get(Block.other == self.cat.id).id
        self.assertEqual(self.call(blocks.blocks.part, self.ann, Page(first))["block"], ["bob"])

    def test_a_group_is_for_all_its_members(self) -> None:
        self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")
        self.call(blocks.block, self.ann, "bob")
        self.call(messages.send_group, self.bob, "chess", "e4")
        self.assertEqual(Delivery.select().where(Delivery.user == self.ann.id).count(), 1)

    def test_an_account_goes_with_its_blocks(self) -> None:
        names = [{"name": f"user{n}", "password_hash": "", "channel": ""} for n in range(1000)]
        User.insert_many([each | {"created": self.now} for each in names]).execute()
        others = User.select(User.id).where(User.name.startswith("user"))
        both = [{"user": self.ann.id, "other": other.id} for other in others]
        both += [{"user": other.id, "other": self.ann.id} for other in others]
        Block.insert_many(both).execute()
        self.call(blocks.block, self.bob, "cat")
        self.refused("You have blocked too many", blocks.block, self.ann, "bob")
        self.assertTrue(self.call(accounts.delete, self.ann))
        self.assertEqual(Block.select().count(), 1)
        # Who gets the name is somebody else.
        self.person("ann")
        self.call(friendships.invite, self.bob, "ann")

    def test_what_rules_ask_first_tells_of_it(self) -> None:
        self.call(blocks.block, self.ann, "bob")
        [(*_, bobs, _, anns)] = self.call(relationships.correspondent, self.ann, "bob")
        self.assertEqual((bobs is None, anns is None), (True, False))
        [(*_, anns, _, bobs)] = self.call(relationships.correspondent, self.bob, "ann")
        self.assertEqual((anns is None, bobs is None), (False, True))
        [(*_, cats, _, bobs)] = self.call(relationships.correspondent, self.bob, "cat")
        self.assertEqual((cats, bobs), (None, None))


@on_both_databases
class Overtaken(WaysCase):
    """Somebody else was faster, after a rule had asked and before it had the inboxes."""

    def has_asked(self, name: str, question: Any, about: str) -> Caller:
        """`name`, whose rule has asked already."""
        token = self.log_in(name)
        return self.call(auth.identify, token, SESSIONS, self.now, question, (about,))

    def test_invitations_by_a_block(self) -> None:
        bob = self.has_asked("bob", relationships.correspondent, "ann")
        ann = self.has_asked("ann", relationships.correspondent, "bob")
        self.call(blocks.block, self.ann, "bob")
        self.refused("ann takes nothing from you", friendships.invite, bob, "ann")
        self.refused("You have blocked bob", friendships.invite, ann, "bob")
        self.assertEqual(Relationship.select().count(), 0)

    def test_acceptances(self) -> None:
        self.call(friendships.invite, self.ann, "bob")
        bob = self.has_asked("bob", relationships.correspondent, "ann")
        self.call(blocks.block, self.ann, "bob")
        for rule in (friendships.accept, friendships.decline):
            self.refused("ann did not invite you", rule, bob, "ann")
        self.assertEqual(Relationship.select().count(), 0)

    def test_an_invitation_that_was_declined_and_answered_by_another(self) -> None:
        """What the caller has invited since is no invitation of the other's."""
        self.call(friendships.invite, self.ann, "bob")
        bob = self.has_asked("bob", relationships.correspondent, "ann")
        self.call(friendships.decline, self.bob, "ann")
        self.call(friendships.invite, self.bob, "ann")
        for rule in (friendships.accept, friendships.decline):
            self.refused("ann did not invite you", rule, bob, "ann")
        self.assertEqual(self.invitations(self.ann), ["bob"])

    def test_messages(self) -> None:
        self.befriend(self.ann, self.bob)
        bob = self.has_asked("bob", messages.addressee, "ann")
        self.call(friendships.unfriend, self.ann, "bob")
        self.refused("ann is not your friend", messages.send, bob, "ann", "hello")
        self.call(blocks.block, self.ann, "bob")
        self.refused("ann takes nothing from you", messages.send, bob, "ann", "hello")
        self.assertEqual(MessageRow.select().count(), 0)
        self.assertEqual(Inbox.get(Inbox.user == self.ann.id).waiting, 0)

    def test_the_same_done_twice(self) -> None:
        self.befriend(self.ann, self.bob)
        ann = self.has_asked("ann", relationships.correspondent, "bob")
        self.call(friendships.unfriend, self.ann, "bob")
        self.refused("bob is not your friend", friendships.unfriend, ann, "bob")
        self.call(blocks.block, self.ann, "bob")
        ann = self.has_asked("ann", relationships.correspondent, "bob")
        self.call(blocks.unblock, self.ann, "bob")
        self.refused("bob is not blocked", blocks.unblock, ann, "bob")
