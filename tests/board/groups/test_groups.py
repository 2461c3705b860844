"""Groups: `docs/protocol.md`, section 3, from `create-group` to `join-group`,
`leave-group` and `list-member`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.groups import empty_groups, groups, ownership
from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.messages import history, messages
from bbs.board.messages.tables import Delivery
from bbs.board.posts import threads, unread
from bbs.board.posts.tables import RemovedPost
from bbs.rules import accounts, auth
from bbs.rules.pagination import Page
from bbs.storage.models import User
from bbs.testing import MemoryService
from tests.database_case import SESSIONS, RulesCase, on_both_databases
from tests.rules.crowds import add

LONGEST = "\N{GRINNING FACE}" * 100


@on_both_databases
class Creating(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann = self.person("ann")

    def test_the_creator_is_a_member(self) -> None:
        channel = self.call(groups.create, self.ann, "chess")
        self.assertRegex(channel, r"\Agroup\.[0-9a-f]{32}\Z")
        group = Group.get()
        self.assertEqual((group.name, f"group.{group.channel}"), ("chess", channel))
        self.assertEqual(self.call(groups.joined, self.ann)["group"], ["chess"])

    def test_names_that_no_group_may_have(self) -> None:
        for name in ("a" * 101, LONGEST + "a", "a\0b", "a\tb", "a\x7f", "\x1b[1m", "a\x85"):
            self.refused("Invalid group", groups.create, self.ann, name)
        self.assertEqual(Group.select().count(), 0)

    def test_an_invalid_name_comes_before_one_in_use(self) -> None:
        Group.insert(name="a\tb", channel="").execute()
        self.refused("Invalid group", groups.create, self.ann, "a\tb")

    def test_a_name_in_use(self) -> None:
        bob = self.person("bob")
        for name in ("chess", "a" * 100, LONGEST, "{}"):
            self.call(groups.create, self.ann, name)
            for caller in (self.ann, bob):
                self.refused(f"{name} already exist", groups.create, caller, name)
        self.assertEqual(self.call(groups.joined, bob)["group"], [])

    def test_names_compare_byte_for_byte(self) -> None:
        names = ["chess", "Chess", "chéss", "chess."]
        for name in names:
            self.call(groups.create, self.ann, name)
        self.assertEqual(self.call(groups.all_groups, self.ann)["group"], names)

    def test_it_may_be_called_as_a_user_is(self) -> None:
        self.call(groups.create, self.ann, "ann")
        self.assertEqual(self.call(groups.joined, self.ann)["group"], ["ann"])


@on_both_databases
class Joining(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")
        self.channel = self.call(groups.create, self.ann, "chess")

    def test_success(self) -> None:
        self.assertEqual(self.call(groups.join, self.bob, "chess").channel, self.channel)
        self.assertEqual(self.call(groups.joined, self.bob)["group"], ["chess"])
        self.assertEqual(self.call(groups.channels, self.bob.id), [self.channel])

    def test_no_such_group(self) -> None:
        for name in ("go", "Chess", "a" * 60_000):
            self.refused(f"{name} does not exist", groups.join, self.bob, name)

    def test_a_member(self) -> None:
        self.refused("Already a member of chess", groups.join, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")
        self.refused("Already a member of chess", groups.join, self.bob, "chess")
        self.assertEqual(Membership.select().count(), 2)

    def test_a_group_outlives_its_creator(self) -> None:
        self.call(accounts.delete, self.ann)
        self.refused("chess already exist", groups.create, self.bob, "chess")
        self.call(groups.join, self.bob, "chess")
        self.assertEqual(self.call(groups.all_groups, self.bob)["group"], ["chess"])


class FullDisk(SynchronousTestCase):
    def test_nobody_makes_a_group_while_the_disk_is_nearly_full(self) -> None:
        service = MemoryService(board)
        self.addCleanup(service.close)
        service.start()
        token = service.people("ann")["ann"]
        ann = service.at_home(token)
        service.database.disk_is_low = True
        refused = ann.ask(f"create-group {token} chess")
        self.assertEqual(refused["code"], "disk-full")
        self.assertEqual(ann.ask(f"list-group {token}")["group"], [])
        service.database.disk_is_low = False
        self.assertEqual(ann.ask(f"create-group {token} chess")["status"], 0)


@on_both_databases
class Leaving(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")
        self.channel = self.call(groups.create, self.ann, "chess")
        self.call(groups.join, self.bob, "chess")

    def test_success(self) -> None:
        self.assertEqual(self.call(groups.leave, self.bob, "chess").channel, self.channel)
        self.assertEqual(self.call(groups.joined, self.bob)["group"], [])
        self.assertEqual(self.call(groups.channels, self.bob.id), [])
        not_member = "You are not the member of chess"
        self.refused(not_member, messages.send_group, self.bob, "chess", "e4")
        self.call(messages.send_group, self.ann, "chess", "e4")
        readers = [*Delivery.select(Delivery.user).tuples()]
        self.assertEqual(readers, [(self.ann.id,)])

    def test_others_stay(self) -> None:
        for name in ("go", "bridge"):
            self.call(groups.create, self.bob, name)
        self.call(groups.leave, self.bob, "go")
        self.assertEqual(self.call(groups.joined, self.bob)["group"], ["chess", "bridge"])
        self.assertEqual(self.call(groups.joined, self.ann)["group"], ["chess"])

    def test_who_is_none(self) -> None:
        for name in ("go", "Chess", "a" * 60_000):
            self.refused(f"You are not the member of {name}", groups.leave, self.bob, name)
        self.call(groups.leave, self.bob, "chess")
        self.refused("You are not the member of chess", groups.leave, self.bob, "chess")

    def test_twice_at_once(self) -> None:
        """The other was faster, after this one had asked."""
        token = self.log_in("bob")
        bob = self.call(auth.identify, token, SESSIONS, self.now, groups.named, ("chess",))
        self.call(groups.leave, self.bob, "chess")
        self.refused("You are not the member of chess", groups.leave, bob, "chess")

    def test_the_last_member_takes_an_empty_group_along(self) -> None:
        for each in (self.ann, self.bob):
            self.call(groups.leave, each, "chess")
        self.assertEqual(self.call(groups.all_groups, self.ann)["group"], [])
        self.refused("chess does not exist", groups.join, self.bob, "chess")
        self.call(groups.create, self.bob, "chess")
        self.assertEqual(self.call(groups.members, self.bob, "chess")["member"], ["bob"])

    def test_a_new_group_of_that_name_has_nothing_of_the_first(self) -> None:
        self.call(messages.send_group, self.ann, "chess", "e4")
        [before] = self.call(groups.channels, self.ann.id)
        for each in (self.ann, self.bob):
            self.call(groups.leave, each, "chess")
        self.assertNotEqual(self.call(groups.create, self.ann, "chess"), before)
        self.assertEqual(self.call(history.of_group, self.ann, "chess")["history"], [])

    def test_invitations_to_it_go_too(self) -> None:
        self.person("cat")
        self.call(ownership.close_group, self.ann, "chess")
        self.call(ownership.invite, self.ann, "chess", "cat")
        for each in (self.bob, self.ann):
            self.call(groups.leave, each, "chess")
        self.assertEqual(GroupInvitation.select().count(), 0)

    def test_one_with_posts_outlives_its_last_member(self) -> None:
        post = self.call(threads.post_in_group, self.ann, "chess", "e4").number
        for each in (self.ann, self.bob):
            self.call(groups.leave, each, "chess")
        self.refused("chess already exist", groups.create, self.bob, "chess")
        self.call(groups.join, self.bob, "chess")
        shown = self.call(unread.of_group, self.bob, "chess").part["post"]
        self.assertEqual([each["post"] for each in shown], [post])

    def test_one_whose_posts_are_gone_ends(self) -> None:
        post = self.call(threads.post_in_group, self.ann, "chess", "e4").number
        self.call(threads.delete_post, self.ann, str(post))
        for each in (self.ann, self.bob):
            self.call(groups.leave, each, "chess")
        self.assertEqual([Group.select().count(), RemovedPost.select().count()], [0, 0])

    def test_one_with_much_to_remove_goes_in_parts(self) -> None:
        group = Group.get().id
        gone = range(1, groups.REMOVED_AT_ONCE + 2)
        add(
            RemovedPost, [(group, number) for number in gone], RemovedPost.group, RemovedPost.number
        )
        self.assertIsNone(self.call(groups.leave, self.ann, "chess").rest)
        self.assertEqual(self.call(groups.leave, self.bob, "chess").rest, group)
        self.refused("chess is private", groups.join, self.ann, "chess")
        self.assertTrue(self.call(groups.remove, group))
        self.assertEqual([Group.select().count(), RemovedPost.select().count()], [0, 0])

    def test_it_stays_for_a_day_after_the_last_members_account(self) -> None:
        """With the posts of the account it is empty; who joins it in time keeps it."""
        self.call(threads.post_in_group, self.bob, "chess", "e4")
        self.call(groups.leave, self.bob, "chess")
        self.call(groups.create, self.bob, "go")
        self.call(groups.create, self.bob, "shogi")
        for each in (self.ann, self.bob):
            begun = False
            while not self.call(accounts.delete, each, board.on_delete, begun=begun):
                begun = True
        cat = self.person("cat")
        self.assertEqual(self.call(groups.all_groups, cat)["group"], ["chess", "go", "shogi"])
        self.assertEqual(self.sweep(self.now), 0)
        self.call(groups.join, cat, "go")
        self.assertEqual(self.sweep(self.now + empty_groups.KEPT - 1), 0)
        self.assertEqual(self.sweep(self.now + empty_groups.KEPT), 2)
        self.assertEqual(self.call(groups.all_groups, cat)["group"], ["go"])

    def test_the_day_begins_anew_once_somebody_was_there(self) -> None:
        self.call(groups.leave, self.bob, "chess")
        User.delete().where(User.id == self.ann.id).execute()
        self.sweep(self.now)
        self.call(groups.join, self.bob, "chess")
        self.sweep(self.now + empty_groups.KEPT)
        User.delete().where(User.id == self.bob.id).execute()
        self.assertEqual(self.sweep(self.now + empty_groups.KEPT), 0)
        self.assertEqual(self.sweep(self.now + 2 * empty_groups.KEPT - 1), 0)
        self.assertEqual(self.sweep(self.now + 2 * empty_groups.KEPT), 1)

    def test_those_that_an_older_server_left_go(self) -> None:
        """Not those with members, nor those with posts; also across the gap of a restore."""
        self.call(groups.create, self.ann, "go")
        self.call(threads.post_in_group, self.ann, "go", "9x9")
        self.call(groups.leave, self.ann, "go")
        far = Group.select().get().id + 10**15
        left = [(far + number * 10**4, f"old {number}", "") for number in range(3)]
        add(Group, left, Group.id, Group.name, Group.channel)
        self.assertEqual(self.sweep(self.now), 0)
        self.assertEqual(self.sweep(self.now + empty_groups.KEPT), 3)
        self.assertEqual(self.sweep(self.now + 2 * empty_groups.KEPT), 0)
        self.assertEqual(self.call(groups.all_groups, self.ann)["group"], ["chess", "go"])

    def sweep(self, now: float) -> int:
        """Have all groups looked through; returns how many were removed."""
        return sum(self.call(empty_groups.forget_empty, now) for _ in range(10))

    def test_who_comes_again_comes_last(self) -> None:
        self.call(groups.leave, self.ann, "chess")
        self.call(groups.join, self.ann, "chess")
        self.assertEqual(self.call(groups.members, self.bob, "chess")["member"], ["bob", "ann"])


@on_both_databases
class Members(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.dan, self.bob = self.people("ann", "dan", "bob")
        for name in ("go", "chess"):
            self.call(groups.create, self.bob, name)
        for each in (self.dan, self.ann):
            self.call(groups.join, each, "chess")

    def test_in_the_order_joined_and_in_parts(self) -> None:
        self.assertEqual(
            self.call(groups.members, self.ann, "chess")["member"], ["bob", "dan", "ann"]
        )
        self.assertEqual(self.call(groups.members, self.bob, "go")["member"], ["bob"])
        dans = Membership.get(Membership.user == self.dan.id).id
        rest = self.call(groups.members.part, self.ann, Page(dans), "chess")
        self.assertEqual(rest["member"], ["ann"])

    def test_for_members_alone(self) -> None:
        for name in ("go", "Chess", "a" * 60_000):
            self.refused(f"You are not the member of {name}", groups.members, self.ann, name)
        self.call(groups.leave, self.dan, "chess")
        self.refused("You are not the member of chess", groups.members, self.dan, "chess")

    def test_who_deletes_the_account_is_none(self) -> None:
        self.call(accounts.delete, self.dan)
        self.assertEqual(self.call(groups.members, self.ann, "chess")["member"], ["bob", "ann"])


@on_both_databases
class Lists(RulesCase):
    def test_all_groups_oldest_first(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.assertEqual(self.call(groups.all_groups, ann)["group"], [])
        for creator, name in ((ann, "go"), (bob, "chess"), (ann, "bridge")):
            self.call(groups.create, creator, name)
        for caller in (ann, bob):
            self.assertEqual(
                self.call(groups.all_groups, caller)["group"], ["go", "chess", "bridge"]
            )

    def test_ones_own_in_the_order_joined(self) -> None:
        ann, bob = self.people("ann", "bob")
        for name in ("go", "chess", "bridge"):
            self.call(groups.create, ann, name)
        for name in ("bridge", "go"):
            self.call(groups.join, bob, name)
        self.assertEqual(self.call(groups.joined, bob)["group"], ["bridge", "go"])
        self.assertEqual(self.call(groups.joined, ann)["group"], ["go", "chess", "bridge"])
        self.assertEqual(len(set(self.call(groups.channels, ann.id))), 3)
