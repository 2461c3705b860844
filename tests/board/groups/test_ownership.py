"""What only owners of groups may do: `docs/protocol.md`, section 3, from `groups` to
`delete-group`; and who becomes the owner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bbs.board import board
from bbs.board.groups import groups, ownership
from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.messages import history, messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks, friendships
from bbs.board.posts import posts
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost
from bbs.board.quotas import Quotas
from bbs.core.values import Rate
from bbs.rules import accounts, auth
from bbs.rules.auth import Caller, asked_by
from bbs.rules.pagination import Page
from bbs.storage.database import rows
from bbs.storage.models import User
from tests.database_case import SESSIONS, RulesCase, on_both_databases
from tests.rules.crowds import crowd


class OwnershipCase(RulesCase):
    """ann owns chess, in which bob is; cat and dan are in no group."""

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat, self.dan = self.people("ann", "bob", "cat", "dan")
        self.channel = self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")

    def owner(self, name: str = "chess") -> str | None:
        owner: Any = Group.get(Group.name == name).creator
        return owner and str(owner.name)

    def members(self, name: str = "chess") -> list[str]:
        members = Membership.select().join(Group).where(Group.name == name)
        return [each.user.name for each in members.order_by(Membership.id)]

    def described(self, caller: Caller) -> dict[str, dict[str, Any]]:
        entries = self.call(groups.described, caller)["group"]
        return {entry["group"]: entry for entry in entries}

    def asking(self, name: str, rule: Callable[..., object], *arguments: str) -> Caller:
        """Somebody whose command has found what it asks first, and does not go on yet."""
        first = asked_by(rule)
        assert first is not None
        asked = arguments[: first.length]
        return self.call(auth.identify, self.log_in(name), SESSIONS, self.now, first, asked)

    def post(self, writer: Caller, text: str, group: str = "chess") -> int:
        """Store a post of a group, as `post-group` does."""
        row = Group.get(Group.name == group)
        number = row.posts + 1
        Group.update(posts=number).where(Group.id == row.id).execute()
        post: int = PostRow.insert(author=None, text=text, stored=self.now).execute()
        Contribution.insert(post=post, writer=writer.id, group=row.id, number=number).execute()
        size = len(text.encode())
        more = {"posts": Inbox.posts + 1, "post_bytes": Inbox.post_bytes + size}
        Inbox.update(more).where(Inbox.user == writer.id).execute()
        return post


COMMANDS: tuple[tuple[Callable[..., object], tuple[str, ...]], ...] = (
    (ownership.set_topic, ("Openings",)),
    (ownership.close_group, ()),
    (ownership.open_group, ()),
    (ownership.invite, ("cat",)),
    (ownership.kick, ("bob",)),
    (ownership.give, ("bob",)),
    (ownership.delete, ()),
)


@on_both_databases
class Owners(OwnershipCase):
    def test_no_such_group(self) -> None:
        for rule, more in COMMANDS:
            self.refused("No such group exist", rule, self.ann, "go", *more)

    def test_others(self) -> None:
        """Whoever is named, and whether they are members or not."""
        for rule, more in COMMANDS:
            for caller in (self.bob, self.cat):
                self.refused("You do not own chess", rule, caller, "chess", *more)
        for rule in (ownership.invite, ownership.kick, ownership.give):
            self.refused("You do not own chess", rule, self.bob, "chess", "nobody")
            self.refused("No such group exist", rule, self.bob, "go", "nobody")
            self.refused("nobody does not exist", rule, self.ann, "chess", "nobody")

    def test_a_group_of_nobody(self) -> None:
        Group.update(creator=None, private=True).execute()
        for rule, more in COMMANDS:
            self.refused("You do not own chess", rule, self.ann, "chess", *more)
        self.call(groups.join, self.cat, "chess")
        entry = self.described(self.cat)["chess"]
        self.assertEqual((entry["owner"], entry["private"]), (None, False))

    def test_two_commands_at_once(self) -> None:
        """Another connection of the owner was faster, after this one had asked."""
        for rule, more in COMMANDS:
            asking = self.asking("ann", rule, "chess", *more)
            self.call(ownership.give, self.ann, "chess", "bob")
            self.refused("You do not own chess", rule, asking, "chess", *more)
            self.call(ownership.give, self.bob, "chess", "ann")

    def test_a_group_that_was_deleted_meanwhile(self) -> None:
        for rule, more in COMMANDS:
            asking = self.asking("ann", rule, "chess", *more)
            self.call(ownership.delete, self.ann, "chess")
            self.refused("No such group exist", rule, asking, "chess", *more)
            self.call(groups.create, self.ann, "chess")
            self.call(groups.join, self.bob, "chess")


@on_both_databases
class Topics(OwnershipCase):
    def test_the_rest_of_the_line(self) -> None:
        told = self.call(ownership.set_topic, self.ann, "chess", " Openings, and  ends ")
        self.assertEqual(told.channel, self.channel)
        expected = {"event": "topic", "group": "chess", "topic": " Openings, and  ends "}
        text = "ann set the topic of chess:  Openings, and  ends "
        self.assertEqual(told.event, {**expected, "id": "ann", "time": self.now, "text": text})
        self.assertEqual(told.price(), 2)
        self.assertEqual(self.described(self.cat)["chess"]["topic"], " Openings, and  ends ")

    def test_an_empty_one_removes_it(self) -> None:
        self.call(ownership.set_topic, self.ann, "chess", "Openings")
        told = self.call(ownership.set_topic, self.ann, "chess")
        self.assertEqual(told.event["topic"], None)
        self.assertEqual(told.event["text"], "ann removed the topic of chess")
        self.assertEqual(self.described(self.cat)["chess"]["topic"], None)

    def test_how_long_it_may_be(self) -> None:
        longest = "\N{GRINNING FACE}" * 200
        self.call(ownership.set_topic, self.ann, "chess", longest)
        too_long = "A topic has at most 200 characters"
        self.refused(too_long, ownership.set_topic, self.ann, "chess", longest + "!")
        self.assertEqual(self.described(self.ann)["chess"]["topic"], longest)


@on_both_databases
class Private(OwnershipCase):
    def setUp(self) -> None:
        super().setUp()
        self.call(ownership.close_group, self.ann, "chess")

    def test_nobody_joins(self) -> None:
        self.refused("chess is private", groups.join, self.cat, "chess")
        self.refused("Already a member of chess", groups.join, self.bob, "chess")
        self.assertEqual(self.members(), ["ann", "bob"])
        self.call(ownership.close_group, self.ann, "chess")  # As it is already.
        self.call(ownership.open_group, self.ann, "chess")
        self.call(groups.join, self.cat, "chess")

    def test_who_asked_before_it_was_closed(self) -> None:
        self.call(ownership.open_group, self.ann, "chess")
        asking = self.asking("cat", groups.join, "chess")
        self.call(ownership.close_group, self.ann, "chess")
        self.refused("chess is private", groups.join, asking, "chess")

    def test_who_is_invited_joins_once(self) -> None:
        self.call(ownership.invite, self.ann, "chess", "cat")
        self.refused("chess is private", groups.join, self.dan, "chess")
        self.call(groups.join, self.cat, "chess")
        self.assertEqual(GroupInvitation.select().count(), 0)
        self.call(groups.leave, self.cat, "chess")
        self.refused("chess is private", groups.join, self.cat, "chess")

    def test_an_invitation_is_used_up_by_joining_an_open_group(self) -> None:
        self.call(ownership.invite, self.ann, "chess", "cat")
        self.call(ownership.open_group, self.ann, "chess")
        self.call(groups.join, self.cat, "chess")
        self.call(ownership.close_group, self.ann, "chess")
        self.call(groups.leave, self.cat, "chess")
        self.refused("chess is private", groups.join, self.cat, "chess")

    def test_a_full_group_uses_no_invitation(self) -> None:
        self.call(ownership.invite, self.ann, "chess", "cat")
        cat = replace(self.cat, quotas=Quotas(members=2))
        self.refused("chess has too many members", groups.join, cat, "chess")
        self.call(groups.join, self.cat, "chess")

    def test_the_owner_may_always_join(self) -> None:
        """A server of 0.3.0 lets an owner leave, who stays the owner."""
        Membership.delete().where(Membership.user == self.ann.id).execute()
        self.call(groups.join, self.ann, "chess")
        self.assertEqual(self.members(), ["bob", "ann"])


@on_both_databases
class Inviting(OwnershipCase):
    def test_success(self) -> None:
        told = self.call(ownership.invite, self.ann, "chess", "cat")
        assert told is not None
        self.assertEqual(told.channel, self.cat.channel)
        expected = {"event": "invite", "from": "ann", "group": "chess"}
        self.assertEqual(told.event, {**expected, "text": "ann invites you to chess"})
        self.assertTrue(self.described(self.cat)["chess"]["invited"])
        self.assertNotIn("invited", self.described(self.dan)["chess"])

    def test_whom_one_cannot_invite(self) -> None:
        self.refused("You cannot invite yourself", ownership.invite, self.ann, "chess", "ann")
        is_member = "bob is already a member of chess"
        self.refused(is_member, ownership.invite, self.ann, "chess", "bob")
        self.call(ownership.invite, self.ann, "chess", "cat")
        self.refused("Already invited", ownership.invite, self.ann, "chess", "cat")
        self.call(blocks.block, self.dan, "ann")
        blocked = "dan does not accept messages from you"
        self.refused(blocked, ownership.invite, self.ann, "chess", "dan")
        self.call(blocks.unblock, self.dan, "ann")
        self.call(blocks.block, self.ann, "dan")
        self.refused("You have blocked dan", ownership.invite, self.ann, "chess", "dan")

    def test_told_once_an_hour(self) -> None:
        """With the invitations to be friends, and of any group."""
        self.call(groups.create, self.ann, "go")
        self.assertIsNotNone(self.call(ownership.invite, self.ann, "chess", "cat"))
        self.assertIsNone(self.call(ownership.invite, self.ann, "go", "cat"))
        self.assertIsNone(self.call(friendships.invite, self.ann, "cat"))
        self.assertTrue(self.described(self.cat)["go"]["invited"])
        self.call(groups.join, self.cat, "go")
        self.call(groups.leave, self.cat, "go")
        later = replace(self.ann, now=self.now + 3601)
        self.assertIsNotNone(self.call(ownership.invite, later, "go", "cat"))

    def test_the_rate_of_invitations(self) -> None:
        ann = replace(self.ann, quotas=Quotas(invitations=Rate(2, 60.0)))
        self.call(ownership.invite, ann, "chess", "cat")
        self.call(friendships.invite, ann, "bob")
        too_many = "You have invited too many people, try again later"
        self.refused(too_many, ownership.invite, ann, "chess", "dan")
        self.refused(too_many, friendships.invite, ann, "dan")
        self.assertEqual(GroupInvitation.select().count(), 1)
        self.call(ownership.invite, replace(ann, now=ann.now + 61), "chess", "dan")

    def test_each_counts_for_the_rate(self) -> None:
        """Also those to the same person, who is told of the first."""
        ann = replace(self.ann, quotas=Quotas(invitations=Rate(3, 60.0)))
        for number in range(3):
            self.call(groups.create, self.ann, f"go{number}")
            self.call(ownership.invite, ann, f"go{number}", "cat")
        too_many = "You have invited too many people, try again later"
        self.refused(too_many, ownership.invite, ann, "chess", "cat")
        self.assertEqual(GroupInvitation.select().count(), 3)

    def invited(self, user: int, by: int, number: int) -> None:
        """Store invitations of `user` by the same person to so many groups."""
        names = [f"of {by}, {each}" for each in range(number)]
        Group.insert_many([{"name": name, "channel": name} for name in names]).execute()
        found = [each.id for each in Group.select().where(Group.name.in_(names))]
        GroupInvitation.insert_many(
            [{"group": group, "user": user, "by": by} for group in found]
        ).execute()

    def test_how_many_of_one_wait_for_the_same_person(self) -> None:
        self.invited(self.cat.id, self.ann.id, 24)
        self.invited(self.dan.id, self.bob.id, 25)
        self.call(groups.create, self.ann, "go")
        self.call(ownership.invite, self.ann, "chess", "cat")
        full = "cat has too many invitations"
        self.refused(full, ownership.invite, self.ann, "go", "cat")
        self.call(ownership.invite, self.ann, "go", "dan")
        self.call(groups.create, self.bob, "bridge")
        self.call(ownership.invite, self.bob, "bridge", "cat")
        self.call(groups.join, self.cat, "chess")
        self.call(ownership.invite, self.ann, "go", "cat")

    def test_how_many_wait_for_the_same_person(self) -> None:
        for by in crowd(4):
            self.invited(self.cat.id, by, 24)
        self.invited(self.cat.id, self.dan.id, 3)
        self.call(ownership.invite, self.ann, "chess", "cat")
        self.call(groups.create, self.ann, "go")
        self.refused("cat has too many invitations", ownership.invite, self.ann, "go", "cat")

    def test_as_many_as_there_may_be_members(self) -> None:
        group = Group.get().id
        some = [{"group": group, "user": user} for user in crowd(3)]
        GroupInvitation.insert_many(some).execute()
        ann = replace(self.ann, quotas=Quotas(members=3))
        full = "chess has too many invitations"
        self.refused(full, ownership.invite, ann, "chess", "cat")
        self.call(ownership.invite, replace(ann, quotas=Quotas(members=4)), "chess", "cat")

    def test_what_goes_with_an_account(self) -> None:
        self.call(ownership.invite, self.ann, "chess", "cat")
        self.call(ownership.invite, self.ann, "chess", "dan")
        self.call(accounts.delete, self.cat, board.on_delete)
        self.call(accounts.delete, self.ann, board.on_delete)
        self.assertEqual([each.user_id for each in GroupInvitation], [self.dan.id])


@on_both_databases
class Kicking(OwnershipCase):
    def test_success(self) -> None:
        told = self.call(ownership.kick, self.ann, "chess", "bob")
        self.assertEqual((told.channel, told.of_kicked), (self.channel, self.bob.channel))
        expected = {"event": "left", "group": "chess", "id": "bob", "by": "ann", "time": self.now}
        self.assertEqual(told.event, {**expected, "text": "ann removed bob from chess"})
        self.assertEqual(self.members(), ["ann"])
        self.assertEqual(self.call(groups.channels, self.bob.id), [])
        self.refused("You are not the member of chess", groups.members, self.bob, "chess")
        self.refused("You are not the member of chess", history.of_group, self.bob, "chess")

    def test_who_comes_again(self) -> None:
        self.call(ownership.kick, self.ann, "chess", "bob")
        self.call(groups.join, self.bob, "chess")
        self.call(ownership.close_group, self.ann, "chess")
        self.call(ownership.kick, self.ann, "chess", "bob")
        self.refused("chess is private", groups.join, self.bob, "chess")

    def test_who_is_no_member(self) -> None:
        self.refused("cat is not a member of chess", ownership.kick, self.ann, "chess", "cat")
        themselves = "You cannot remove yourself, leave the group"
        self.refused(themselves, ownership.kick, self.ann, "chess", "ann")

    def test_who_left_at_that_moment(self) -> None:
        asking = self.asking("ann", ownership.kick, "chess", "bob")
        self.call(groups.leave, self.bob, "chess")
        self.refused("bob is not a member of chess", ownership.kick, asking, "chess", "bob")

    def test_who_writes_at_that_moment(self) -> None:
        """Nobody reads what is said by somebody who is no longer there."""
        asking = self.asking("bob", messages.send_group, "chess", "e4")
        self.call(ownership.kick, self.ann, "chess", "bob")
        gone = "You are not the member of chess"
        self.refused(gone, messages.send_group, asking, "chess", "e4")
        self.assertEqual(MessageRow.select().count(), 0)

    def test_what_was_sent_before_is_still_read(self) -> None:
        self.call(messages.send_group, self.ann, "chess", "e4")
        self.call(ownership.kick, self.ann, "chess", "bob")
        self.call(messages.send_group, self.ann, "chess", "e5")
        readers = [reader for (reader,) in rows(Delivery.select(Delivery.user))]
        self.assertCountEqual(readers, [self.ann.id, self.bob.id, self.ann.id])


@on_both_databases
class Giving(OwnershipCase):
    def test_success(self) -> None:
        self.call(ownership.give, self.ann, "chess", "bob")
        self.assertEqual(self.owner(), "bob")
        self.assertEqual(self.members(), ["ann", "bob"])
        self.refused("You do not own chess", ownership.give, self.ann, "chess", "ann")
        self.call(ownership.kick, self.bob, "chess", "ann")

    def test_to_whom_it_cannot_be_given(self) -> None:
        self.refused("cat is not a member of chess", ownership.give, self.ann, "chess", "cat")
        self.refused("You own chess already", ownership.give, self.ann, "chess", "ann")

    def test_who_left_at_that_moment(self) -> None:
        asking = self.asking("ann", ownership.give, "chess", "bob")
        self.call(groups.leave, self.bob, "chess")
        self.refused("bob is not a member of chess", ownership.give, asking, "chess", "bob")
        self.assertEqual(self.owner(), "ann")

    def test_groups_that_were_given_count(self) -> None:
        """Else one would make any number, and give them away."""
        ann = replace(self.ann, quotas=Quotas(groups=1))
        bob = replace(self.bob, quotas=Quotas(groups=1))
        self.refused("You have made too many groups", groups.create, ann, "go")
        self.call(ownership.give, ann, "chess", "bob")
        self.refused("You have made too many groups", groups.create, bob, "go")
        self.call(groups.create, ann, "go")
        self.call(groups.join, self.bob, "go")
        self.refused("bob has too many groups", ownership.give, ann, "go", "bob")

    def test_by_operators(self) -> None:
        group = Group.get().id
        self.assertFalse(self.call(groups.give, group, self.cat.id))
        self.assertFalse(self.call(groups.give, group + 1, self.bob.id))
        self.assertEqual(self.owner(), "ann")
        self.assertTrue(self.call(groups.give, group, self.bob.id))
        self.assertEqual(self.owner(), "bob")


@on_both_databases
class PassingOn(OwnershipCase):
    """The member who joined first of those who are left becomes the owner."""

    def test_who_leaves(self) -> None:
        self.call(groups.join, self.cat, "chess")
        self.call(groups.leave, self.bob, "chess")
        self.call(groups.join, self.bob, "chess")
        self.call(groups.leave, self.ann, "chess")
        self.assertEqual(self.owner(), "cat")
        self.call(groups.leave, self.bob, "chess")
        self.assertEqual(self.owner(), "cat")

    def test_a_block_ends_an_invitation(self) -> None:
        self.call(ownership.close_group, self.ann, "chess")
        self.call(ownership.invite, self.ann, "chess", "cat")
        self.call(blocks.block, self.ann, "cat")
        self.refused("chess is private", groups.join, self.cat, "chess")

    def test_the_last_one(self) -> None:
        self.post(self.ann, "hello")
        self.call(ownership.close_group, self.ann, "chess")
        self.call(groups.leave, self.bob, "chess")
        self.call(groups.leave, self.ann, "chess")
        self.assertIsNone(self.owner())
        self.assertTrue(self.described(self.cat)["chess"]["private"])
        # Its posts were for its members.
        self.refused("chess is private", groups.join, self.cat, "chess")

    def test_who_deletes_the_account(self) -> None:
        self.call(groups.create, self.ann, "go")
        self.call(groups.create, self.bob, "bridge")
        self.call(groups.join, self.ann, "bridge")
        self.assertTrue(self.call(accounts.delete, self.ann, board.on_delete))
        owners = {str(each.name): self.owner(str(each.name)) for each in Group}
        self.assertEqual(owners, {"chess": "bob", "go": None, "bridge": "bob"})
        self.assertEqual(self.members(), ["bob"])

    def test_who_owns_many(self) -> None:
        """They are passed on in several transactions, and the account goes in the last one."""
        size = groups.PASSED_ON_AT_ONCE
        names = [f"group{number}" for number in range(size)]
        Group.insert_many(
            [{"name": name, "channel": name, "creator": self.ann.id} for name in names]
        ).execute()
        of_bob = [{"group": each.id, "user": self.bob.id} for each in Group if each.name in names]
        Membership.insert_many(of_bob).execute()
        parts: list[bool] = []
        while not parts or not parts[-1]:
            begun = bool(parts)
            parts.append(self.call(accounts.delete, self.ann, board.on_delete, begun=begun))
        self.assertEqual(parts, [False, True])
        self.assertEqual(Group.select().where(Group.creator == self.bob.id).count(), size + 1)

    def test_a_group_of_a_thousand(self) -> None:
        Membership.insert_many(
            [{"group": Group.get().id, "user": user} for user in crowd(998)]
        ).execute()
        self.call(ownership.close_group, self.ann, "chess")
        self.refused("chess is private", groups.join, self.cat, "chess")
        self.assertEqual(self.described(self.cat)["chess"]["members"], 1000)
        self.assertTrue(self.call(accounts.delete, self.ann, board.on_delete))
        self.assertEqual(self.owner(), "bob")
        self.assertEqual(len(self.members()), 999)
        self.refused("chess is private", groups.join, self.cat, "chess")


@on_both_databases
class Deleting(OwnershipCase):
    def remove(self, group: int) -> int:
        """Remove what is left of a group; returns in how many transactions."""
        count = 1
        while not self.call(groups.remove, group):
            count += 1
        return count

    def test_success(self) -> None:
        self.call(ownership.invite, self.ann, "chess", "cat")
        told = self.call(ownership.delete, self.ann, "chess")
        expected = {"event": "left", "group": "chess", "id": None, "by": "ann"}
        more = {"time": self.now, "text": "ann deleted chess", "you_left": "chess"}
        self.assertEqual(told.event, {**expected, **more})
        self.assertEqual((told.channel, told.members, told.rest), (self.channel, 2, None))
        for model in (Group, Membership, GroupInvitation):
            self.assertEqual(model.select().count(), 0)
        self.assertEqual(self.call(groups.joined, self.bob)["group"], [])

    def test_a_new_group_of_that_name(self) -> None:
        """It is another: with another channel, and without the messages of the first."""
        self.call(messages.send_group, self.ann, "chess", "e4")
        self.call(ownership.delete, self.ann, "chess")
        self.assertNotEqual(self.call(groups.create, self.bob, "chess"), self.channel)
        self.assertEqual(self.call(history.of_group, self.bob, "chess")["history"], [])
        self.assertEqual(MessageRow.select().count(), 1)

    def test_its_posts(self) -> None:
        self.call(groups.create, self.ann, "go")
        kept = [
            self.post(self.ann, "elsewhere", "go"),
            PostRow.insert(author=self.ann.id, text="in a feed").execute(),
        ]
        size = posts.POSTS_AT_ONCE
        for number in range(size + 1):
            self.post((self.ann, self.bob)[number % 2], f"number {number}")
        RemovedPost.insert(group=Group.get(Group.name == "chess").id, number=7).execute()
        told = self.call(ownership.delete, self.ann, "chess")
        assert told.rest is not None
        # What is left is a group without members, which nobody else joins.
        self.assertEqual(self.members(), [])
        self.refused("chess is private", groups.join, self.cat, "chess")
        self.assertEqual(self.remove(told.rest), 3)
        self.assertEqual([each.id for each in PostRow.select().order_by(PostRow.id)], sorted(kept))
        self.assertEqual((Contribution.select().count(), RemovedPost.select().count()), (1, 0))
        counted = [(each.posts, each.post_bytes) for each in Inbox.select().order_by(Inbox.user)]
        self.assertEqual(counted[:2], [(1, len("elsewhere")), (0, 0)])
        self.assertEqual([each.name for each in Group], ["go"])

    def test_after_an_interruption_the_owner_deletes_it_again(self) -> None:
        self.post(self.bob, "hello")
        self.assertIsNotNone(self.call(ownership.delete, self.ann, "chess").rest)
        self.assertEqual(self.owner(), "ann")
        again = self.call(ownership.delete, self.ann, "chess")
        assert again.rest is not None
        self.remove(again.rest)
        self.assertEqual((Group.select().count(), PostRow.select().count()), (0, 0))

    def test_a_post_that_comes_meanwhile(self) -> None:
        """Its writer had asked before: it goes with the others."""
        self.post(self.bob, "hello")
        told = self.call(ownership.delete, self.ann, "chess")
        assert told.rest is not None
        self.assertFalse(self.call(groups.remove, told.rest))
        self.post(self.bob, "again")
        self.assertFalse(self.call(groups.remove, told.rest))
        self.assertTrue(self.call(groups.remove, told.rest))
        self.assertEqual((Group.select().count(), PostRow.select().count()), (0, 0))

    def test_a_group_of_a_thousand(self) -> None:
        group = Group.get().id
        some = [{"group": group, "user": user} for user in crowd(1998)]
        Membership.insert_many(some[:998]).execute()
        GroupInvitation.insert_many(some[998:]).execute()
        told = self.call(ownership.delete, self.ann, "chess")
        self.assertEqual((told.members, told.rest), (1000, group))
        self.assertEqual(self.remove(group), 1)
        for model in (Group, Membership, GroupInvitation):
            self.assertEqual(model.select().count(), 0)

    def test_numbers_of_removed_posts(self) -> None:
        """Those go in parts, too."""
        group = Group.get().id
        size = groups.REMOVED_AT_ONCE
        gaps = [{"group": group, "number": number} for number in range(2 * size + 1)]
        RemovedPost.insert_many(gaps).execute()
        self.assertEqual(self.remove(group), 3)
        self.assertEqual(RemovedPost.select().count(), 0)


@on_both_databases
class Described(OwnershipCase):
    def test_ones_own_come_first(self) -> None:
        self.call(groups.create, self.cat, "go")
        self.call(groups.create, self.cat, "bridge")
        self.call(groups.join, self.bob, "bridge")
        entries = self.call(groups.described, self.bob)["group"]
        names = [entry["group"] for entry in entries]
        self.assertEqual(names, ["chess", "bridge", "go"])
        self.assertEqual([entry["member"] for entry in entries], [True, True, False])
        self.assertEqual(
            entries[0],
            {
                "group": "chess",
                "topic": None,
                "members": 2,
                "private": False,
                "owner": "ann",
                "member": True,
            },
        )

    def test_private_ones_are_there(self) -> None:
        self.call(ownership.close_group, self.ann, "chess")
        self.assertIs(self.described(self.cat)["chess"]["private"], True)
        self.assertIs(self.described(self.bob)["chess"]["private"], True)

    def test_in_parts(self) -> None:
        size = groups.MOST_DESCRIBED
        names = [f"group{number}" for number in range(2 * size)]
        Group.insert_many([{"name": name, "channel": name} for name in names]).execute()
        for each in Group.select().where(Group.name.in_(names[::2])).order_by(Group.id):
            Membership.insert(group=each.id, user=self.cat.id).execute()
        found: list[str] = []
        last, parts = None, 0
        while last or not parts:
            part = self.call(groups.described.part, self.cat, Page(last))
            found += [entry["group"] for entry in part["group"]]
            last, parts = part.last, parts + 1
        self.assertEqual(found, [*names[::2], "chess", *names[1::2]])
        self.assertEqual(parts, 3)

    def test_nobody_has_any(self) -> None:
        Group.delete().execute()
        self.assertEqual(self.call(groups.described, self.ann), {"group": []})


@on_both_databases
class Upgraded(OwnershipCase):
    """A group of an older version has its creator as owner, or nobody."""

    def test_who_owns_it(self) -> None:
        Group.insert(name="go", channel="go", creator=self.bob.id).execute()
        Group.insert(name="bridge", channel="bridge").execute()
        found = self.described(self.cat)
        self.assertEqual([found[name]["owner"] for name in ("go", "bridge")], ["bob", None])
        for name in ("go", "bridge"):
            self.call(groups.join, self.cat, name)
        self.call(ownership.set_topic, self.bob, "go", "Joseki")
        self.assertEqual(User.select().count(), 4)
