"""Several people at the same moment: on SQLite in two processes, on MySQL in as many threads as
are needed."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial
from typing import Any

import peewee

from bbs.board import inboxes, names
from bbs.board.groups import empty_groups, groups, ownership
from bbs.board.groups.tables import Group, GroupInvitation, Membership
from bbs.board.messages import expiry, messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import blocks, friendships
from bbs.board.people.tables import Block, Relationship
from bbs.board.posts import posts, threads, unread
from bbs.board.posts.tables import Contribution, PostRow
from bbs.board.quotas import Quotas
from bbs.board.service import forget_user
from bbs.core.values import DrainCause, LossCause, Tally
from bbs.delivery.feed import Cursor
from bbs.rules import accounts, auth, fleet_admin, fleet_transitions, membership, placement
from bbs.rules.auth import Caller
from bbs.rules.placement import Look
from bbs.storage.database import read_only, rows
from bbs.storage.models import Place, Server, Session, Suspension, User
from tests.board.scenarios.test_ids import ReservedIds, let_propose
from tests.database_case import SESSIONS, OnMySQL, RulesCase, on_both_databases
from tests.integration.contestants import (
    ROUNDS,
    SUCCESS,
    Call,
    Outcome,
    batches,
    contestants,
    each,
    once,
    patient,
)


class ContestCase(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.close_connection()
        self.database = patient(self.url)

    @property
    def many(self) -> int:
        """How many contestants make a crowd."""
        return 8 if self.on_mysql else 2

    def texts(self, outcomes: list[Outcome]) -> list[str]:
        return sorted(outcome.text for outcome in outcomes)

    def check_places(self) -> None:
        """Everybody with a session has a place and nobody else, and each server counts its own."""
        online = {session.user_id for session in Session.select()}
        self.assertEqual({place.user_id for place in Place.select()}, online)
        for server in Server.select():
            self.taken(server.id)


def read_posts(caller: Caller, times: int, call: Call) -> list[int]:
    """Read what is unread, so many times; the numbers of the posts."""
    seen = []
    for _ in range(times):
        found = call(unread.of_friends, caller).value
        if found.marks:
            call(unread.note, found.marks)
        seen += [each["post"] for each in found.part["post"]]
    return seen


def make_inbox(user: int) -> None:
    """`inboxes.make`, by a name that processes can pass to each other."""
    inboxes.make(user)


@on_both_databases
class Contests(ContestCase):
    """Exactly one of two wins, and the other is told why it did not."""

    def test_two_registrations(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name = f"user{number}"
                register = once(accounts.register, name, "hash", self.now, make_inbox)
                outcomes = together(register, register)
                self.assertEqual(self.texts(outcomes), [SUCCESS, f"{name} is already used"])
        self.assertEqual(User.select().count(), ROUNDS)
        self.assertEqual(Inbox.select().count(), ROUNDS)

    def test_two_registrations_of_names_that_look_alike(self) -> None:
        on_register = partial(names.on_register, settings=names.Board(lookalikes="refuse"))
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                some = [f"user-{'x' * number}", f"User-{'x' * number}"]
                outcomes = together(
                    *[once(accounts.register, each, "hash", self.now, on_register) for each in some]
                )
                second = some[outcomes[0].text == SUCCESS]
                refused = f"{second} looks like a name in use"
                self.assertEqual(self.texts(outcomes), sorted([SUCCESS, refused]))
        self.assertEqual(User.select().count(), ROUNDS)

    def test_two_who_invite_each_other(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                outcomes = together(
                    once(friendships.invite, ann, bob.name), once(friendships.invite, bob, ann.name)
                )
                first, second = (ann, bob) if outcomes[0].text == SUCCESS else (bob, ann)
                self.assertEqual(
                    self.texts(outcomes), sorted([SUCCESS, f"{first.name} has invited you"])
                )
                self.assertEqual(self.call(friendships.invitations, second)["invite"], [first.name])
                self.assertEqual(self.call(friendships.invitations, first)["invite"], [])

    def test_the_same_invitation_twice(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                invite = once(friendships.invite, ann, bob.name)
                self.assertEqual(self.texts(together(invite, invite)), ["Already invited", SUCCESS])
                self.assertEqual(self.call(friendships.invitations, bob)["invite"], [ann.name])

    def test_two_acceptances(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                self.call(friendships.invite, ann, bob.name)
                accept = once(friendships.accept, bob, ann.name)
                self.assertEqual(
                    self.texts(together(accept, accept)),
                    [SUCCESS, f"{ann.name} did not invite you"],
                )
                self.assertEqual(self.call(friendships.friends, ann)["friend"], [bob.name])
                self.assertEqual(self.call(friendships.friends, bob)["friend"], [ann.name])
        self.assertEqual(Relationship.select().count(), 2 * ROUNDS)

    def test_a_block_and_what_the_other_does(self) -> None:
        """Whoever of the two is first: in the end there is the block, and nothing else."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                kind = number % 3
                if kind == 1:
                    self.call(friendships.invite, ann, bob.name)
                if kind == 2:
                    self.befriend(ann, bob)
                deed = (
                    once(friendships.invite, bob, ann.name),
                    once(friendships.accept, bob, ann.name),
                    once(friendships.unfriend, bob, ann.name),
                )[kind]
                outcomes = together(once(blocks.block, ann, bob.name), deed)
                self.assertEqual(outcomes[0].text, SUCCESS)
                self.assertIn(
                    outcomes[1].text,
                    (
                        SUCCESS,
                        (
                            f"{ann.name} takes nothing from you",
                            f"{ann.name} did not invite you",
                            f"{ann.name} is not your friend",
                        )[kind],
                    ),
                )
                self.assertEqual(Relationship.select().count(), 0)
                self.assertEqual(self.call(blocks.blocks, ann)["block"], [bob.name])

    def test_nothing_comes_once_a_block_is_answered(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS // 5):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                self.befriend(ann, bob)
                block = (blocks.block, ann, bob.name)
                sends = [(messages.send, bob, ann.name, "hello")] * 20
                (_, *looks), sent = together(each(block, *[(count_for, ann.id)] * 20), each(*sends))
                self.assertEqual(len({look.value for look in looks}), 1)
                stored = [each.text for each in sent].count(SUCCESS)
                self.assertEqual(looks[-1].value, stored)

    def test_two_who_block_each_other(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                self.befriend(ann, bob)
                outcomes = together(
                    once(blocks.block, ann, bob.name), once(blocks.block, bob, ann.name)
                )
                self.assertEqual(self.texts(outcomes), [SUCCESS, SUCCESS])
                self.assertEqual(Relationship.select().count(), 0)
                self.assertEqual(self.call(blocks.blocks, bob)["block"], [ann.name])
        self.assertEqual(Block.select().count(), 2 * ROUNDS)

    def test_a_block_and_the_end_of_an_account(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                rules = (once(blocks.block, ann, bob.name), once(accounts.delete, bob))
                blocked, deleted = together(*rules)
                self.assertIn(blocked.text, (SUCCESS, f"{bob.name} does not exist"))
                self.assertEqual(deleted.text, SUCCESS)
                self.assertEqual(self.call(blocks.blocks, ann)["block"], [])

    def test_the_same_block_twice(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                block = once(blocks.block, ann, bob.name)
                self.assertEqual(self.texts(together(block, block)), [SUCCESS, SUCCESS])
                self.assertEqual(self.call(blocks.blocks, ann)["block"], [bob.name])

    def test_an_answer_and_another(self) -> None:
        """An invitation is accepted or declined, a friendship ends once, a group is left once."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                self.call(friendships.invite, ann, bob.name)
                rules = (friendships.accept, friendships.decline)
                outcomes = together(*[once(rule, bob, ann.name) for rule in rules])
                self.assertEqual(self.texts(outcomes), [SUCCESS, f"{ann.name} did not invite you"])
                accepted = outcomes[0].text == SUCCESS
                self.assertEqual(
                    self.call(friendships.friends, ann)["friend"], [bob.name] if accepted else []
                )
                if not accepted:
                    self.befriend(ann, bob)
                outcomes = together(
                    once(friendships.unfriend, ann, bob.name),
                    once(friendships.unfriend, bob, ann.name),
                )
                self.assertIn(SUCCESS, self.texts(outcomes))
                self.assertIn("is not your friend", " ".join(self.texts(outcomes)))
                self.call(groups.create, ann, f"group{number}")
                leave = once(groups.leave, ann, f"group{number}")
                self.assertEqual(
                    self.texts(together(leave, leave)),
                    [SUCCESS, f"You are not the member of group{number}"],
                )
        self.assertEqual(Relationship.select().count(), 0)

    def test_two_creations(self) -> None:
        ann, bob = self.people("ann", "bob")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name = f"group{number}"
                outcomes = together(once(groups.create, ann, name), once(groups.create, bob, name))
                self.assertEqual(self.texts(outcomes), [SUCCESS, f"{name} already exist"])
        joined = [*self.call(groups.joined, ann)["group"], *self.call(groups.joined, bob)["group"]]
        self.assertEqual(len(joined), ROUNDS)

    def test_two_joins(self) -> None:
        ann, bob = self.people("ann", "bob")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name = f"group{number}"
                self.call(groups.create, ann, name)
                join = once(groups.join, bob, name)
                self.assertEqual(
                    self.texts(together(join, join)), [f"Already a member of {name}", SUCCESS]
                )
        self.assertEqual(len(self.call(groups.joined, bob)["group"]), ROUNDS)

    def test_the_last_place_of_a_quota(self) -> None:
        """Of two who would have it, at every one of them, one does."""
        self.quotas = Quotas(friends=1, groups=1, members=2, inbox=5)
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS // 5):
                names = [f"{name}{number}" for name in ("ann", "bob", "cat")]
                ann, bob, cat = self.people(*names)
                for other in (bob, cat):
                    self.call(friendships.invite, ann, other.name)
                found = together(*[once(friendships.accept, each, ann.name) for each in (bob, cat)])
                self.assertEqual(self.texts(found), [SUCCESS, f"{ann.name} has too many friends"])
                creations = [once(groups.create, ann, f"{kind}{number}") for kind in "xy"]
                self.assertEqual(
                    self.texts(together(*creations)), [SUCCESS, "You have made too many groups"]
                )
                [group] = self.call(groups.joined, ann)["group"]
                joins = [once(groups.join, each, group) for each in (bob, cat)]
                self.assertEqual(
                    self.texts(together(*joins)), [SUCCESS, f"{group} has too many members"]
                )
                [friend] = self.call(friendships.friends, ann)["friend"]
                send = once(messages.send, ann, friend, "123")
                self.assertEqual(
                    self.texts(together(send, send)), [SUCCESS, f"{friend}'s inbox is full"]
                )

    def test_the_last_invitation_of_a_share(self) -> None:
        """Of two who would have it, one does: of those who were declined, and to groups."""
        dan = self.person("dan")
        names = [f"user{number}" for number in range(friendships.SHARE_OF_INVITATIONS + 1)]
        several = self.people(*names)
        for who in several:
            self.call(friendships.invite, who, "dan")
        self.call(friendships.decline_all, dan)
        for who in several[2:]:
            self.call(friendships.invite, who, "dan")
        with contestants(self.database, 2) as together:
            found = together(*[once(friendships.invite, who, "dan") for who in several[:2]])
            self.assertEqual(self.texts(found), [SUCCESS, "dan has too many invitations"])
            ann = several[0]
            for number in range(friendships.SHARE_OF_INVITATIONS + 1):
                self.call(groups.create, ann, f"group{number}")
                if number > 1:
                    self.call(ownership.invite, ann, f"group{number}", "dan")
            invite = [once(ownership.invite, ann, f"group{number}", "dan") for number in range(2)]
            found = together(*invite)
            self.assertEqual(self.texts(found), [SUCCESS, "dan has too many invitations"])

    def test_two_who_seize_the_lease(self) -> None:
        peers = [membership.Member(str(number), "") for number in range(3)]
        for member in peers:
            self.call(membership.enroll, member)
        self.call(membership.observe, peers[0], Tally())
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS):
                lapsed = self.call(membership.observe, peers[2], Tally()).lease
                outcomes = together(
                    *[once(membership.take_lease, each, lapsed) for each in peers[:2]]
                )
                self.assertEqual(sorted(outcome.value for outcome in outcomes), [False, True])

    def test_two_who_find_the_lease_free(self) -> None:
        peers = [membership.Member(str(number), "") for number in range(2)]
        for member in peers:
            self.call(membership.enroll, member)
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS):
                outcomes = together(
                    *[once(membership.observe, member, Tally()) for member in peers]
                )
                [holder] = {outcome.value.lease.holder for outcome in outcomes}
                self.call(membership.resign, peers[int(holder)])


@on_both_databases
class Owners(ContestCase):
    """Commands about one group at the same moment: in the end its owner is a member, or nobody."""

    def make(self, number: int) -> tuple[str, list[Caller]]:
        """A group and its members, of whom the first is the owner."""
        name = f"group{number}"
        people = self.people(*[f"{name}-{who}" for who in ("ann", "bob", "cat")])
        self.call(groups.create, people[0], name)
        for who in people[1:]:
            self.call(groups.join, who, name)
        return name, people

    def check(self, name: str, owner: Caller | None) -> None:
        row: Any = Group.get(Group.name == name)
        self.assertEqual(row.creator_id, owner and owner.id)
        if owner is not None:
            self.assertTrue(self.call(groups.find_membership, row.id, owner.id))

    def test_who_is_given_a_group_and_removed_from_it(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, _] = self.make(number)
                given, kicked = together(
                    once(ownership.give, ann, name, bob.name),
                    once(ownership.kick, ann, name, bob.name),
                )
                if given.text == SUCCESS:
                    self.assertEqual(kicked.text, f"You do not own {name}")
                else:
                    text = f"{bob.name} is not a member of {name}"
                    self.assertEqual((given.text, kicked.text), (text, SUCCESS))
                self.check(name, bob if given.text == SUCCESS else ann)

    def test_who_is_given_a_group_and_leaves(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, _] = self.make(number)
                given, left = together(
                    once(ownership.give, ann, name, bob.name), once(groups.leave, bob, name)
                )
                self.assertEqual(left.text, SUCCESS)
                self.assertIn(given.text, (SUCCESS, f"{bob.name} is not a member of {name}"))
                self.check(name, ann)

    def test_an_owner_and_an_heir_who_go(self) -> None:
        """By leaving the group, or with their accounts."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, cat] = self.make(number)
                ways = [(number + turn) // (1 + turn) % 2 for turn in range(2)]
                goings = [
                    once(accounts.delete, who, forget_user)
                    if way
                    else once(groups.leave, who, name)
                    for who, way in zip((ann, bob), ways, strict=True)
                ]
                self.assertEqual(self.texts(together(*goings)), [SUCCESS, SUCCESS])
                self.check(name, cat)

    def test_the_last_two_leave(self) -> None:
        """One of them is the last, and takes the group along."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, cat] = self.make(number)
                self.call(groups.leave, cat, name)
                found = together(once(groups.leave, ann, name), once(groups.leave, bob, name))
                self.assertEqual(self.texts(found), [SUCCESS, SUCCESS])
                self.assertEqual(Group.select().count(), 0)

    def test_the_last_one_leaves_while_somebody_comes_or_writes(self) -> None:
        """Nobody is in a group that has ended, and nothing of it is left."""
        dan = self.person("dan")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, cat] = self.make(number)
                for each in (bob, cat):
                    self.call(groups.leave, each, name)
                deed = (
                    once(groups.join, dan, name),
                    once(threads.post_in_group, ann, name, "hello"),
                    once(ownership.invite, ann, name, "dan"),
                )[number % 3]
                left, done = together(once(groups.leave, ann, name), deed)
                self.assertEqual(left.text, SUCCESS)
                is_there = Group.select().where(Group.name == name).exists()
                stays = done.text == SUCCESS and number % 3 < 2
                self.assertEqual(is_there, stays, done.text)
                Group.delete().where(Group.name == name).execute()
        for model in (Membership, GroupInvitation, Contribution):
            self.assertEqual(model.select().count(), 0)

    def test_owners_who_are_each_others_heirs(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.people(f"ann{number}", f"bob{number}")
                for one, other in ((ann, bob), (bob, ann)):
                    self.call(groups.create, one, f"of-{one.name}")
                    self.call(groups.join, other, f"of-{one.name}")
                goings = [once(accounts.delete, who, forget_user) for who in (ann, bob)]
                self.assertEqual(self.texts(together(*goings)), [SUCCESS, SUCCESS])
                while Group.select().where(Group.empty_since.is_null()).count():
                    self.call(empty_groups.forget_empty, self.now)
                self.assertEqual(self.call(empty_groups.forget_empty, self.now), 0)
                while Group.select().count():
                    self.call(empty_groups.forget_empty, self.now + empty_groups.KEPT)

    def test_the_last_group_of_a_quota(self) -> None:
        self.quotas = Quotas(groups=1)
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, _] = self.make(number)
                given, made = together(
                    once(ownership.give, ann, name, bob.name),
                    once(groups.create, bob, f"of-{bob.name}"),
                )
                texts = [f"{bob.name} has too many groups", "You have made too many groups"]
                self.assertIn([given.text, made.text], ([texts[0], SUCCESS], [SUCCESS, texts[1]]))

    def test_a_group_that_is_closed_and_joined(self) -> None:
        dan = self.person("dan")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, *_] = self.make(number)
                closed, joined = together(
                    once(ownership.close_group, ann, name), once(groups.join, dan, name)
                )
                self.assertEqual(closed.text, SUCCESS)
                self.assertIn(joined.text, (SUCCESS, f"{name} is private"))

    def test_a_group_that_is_deleted_meanwhile(self) -> None:
        """Nothing is left of it, whatever else is done there."""
        dan = self.person("dan")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name, [ann, bob, _] = self.make(number)
                deed = (
                    once(groups.join, dan, name),
                    once(groups.leave, bob, name),
                    once(ownership.invite, ann, name, "dan"),
                    once(ownership.give, ann, name, bob.name),
                    once(groups.leave, ann, name),
                )[number % 5]
                deleted, done = together(once(ownership.delete, ann, name), deed)
                if deleted.text != SUCCESS:
                    self.assertEqual(deleted.text, f"You do not own {name}")
                    self.assertEqual(done.text, SUCCESS)
                    Group.delete().where(Group.name == name).execute()
                self.assertEqual(Group.select().where(Group.name == name).count(), 0)
        self.assertEqual(Membership.select().count(), 0)
        self.assertEqual(GroupInvitation.select().count(), 0)


@on_both_databases
class Threads(ContestCase):
    """Posts are read, deleted and replied to at the same moment."""

    def friends_of(self, number: int) -> list[Caller]:
        ann, bob = self.people(f"ann{number}", f"bob{number}")
        self.befriend(ann, bob)
        return [ann, bob]

    def check_counts(self) -> None:
        """What is counted is what is there."""
        for post in PostRow.select():
            replies = Contribution.select().where(Contribution.thread == post.id).count()
            self.assertEqual(post.replies, replies)
        written = Inbox.select(peewee.fn.SUM(Inbox.posts)).scalar()
        self.assertEqual(written, PostRow.select().count())

    def test_one_reader_at_two_terminals(self) -> None:
        """Nothing is missed, and nothing is unread in the end."""
        with contestants(self.database, 3) as together:
            for number in range(ROUNDS):
                ann, bob = self.friends_of(number)
                writes = each(*[(posts.post, ann, "hello")] * 10)
                _, *seen = together(writes, *[partial(read_posts, bob, 10)] * 2)
                found = self.call(unread.of_friends, bob)
                if found.marks:
                    self.call(unread.note, found.marks)
                rest = [post["post"] for post in found.part["post"]]
                stored = {row.id for row in PostRow.select().where(PostRow.author == ann.id)}
                self.assertEqual({*rest}.union(*seen), stored)
                self.assertFalse({*rest}.intersection(*seen))
                self.assertEqual(self.call(unread.count, bob.id, 1)[0], 0)

    def test_a_reply_to_what_is_being_deleted(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.friends_of(number)
                post = str(self.call(posts.post, ann, "hello").number)
                deleted, replied = together(
                    once(threads.delete_post, ann, post), once(threads.reply, bob, post, "hi")
                )
                self.assertEqual(deleted.text, SUCCESS)
                self.assertIn(replied.text, (SUCCESS, "No such post"))
                self.check_counts()
                self.assertEqual(self.call(unread.count, bob.id, 1)[0], 0)

    def test_a_flood_of_several_in_a_group(self) -> None:
        """They make room for each other, and nobody else does."""
        self.quotas = Quotas(posts=20)
        people = self.people("dan", "eve", "fay")
        dan, *flooders = people
        self.call(groups.create, dan, "crowd")
        for who in flooders:
            self.call(groups.join, who, "crowd")
        first = [self.call(threads.post_in_group, dan, "crowd", "mine").number for _ in range(5)]
        with contestants(self.database, 2) as together:
            programmes = [
                each(*[(threads.post_in_group, who, "crowd", "dot")] * 20) for who in flooders
            ]
            for outcomes in together(*programmes):
                self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
        left = [post for (post,) in rows(Contribution.select(Contribution.post))]
        self.assertEqual(len(left), 20)
        self.assertEqual(sorted(left)[:5], first)

    def test_who_posts_and_is_blocked(self) -> None:
        """Whoever blocked somebody finds nothing of theirs unread."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann, bob = self.friends_of(number)
                post = str(self.call(posts.post, ann, "hello").number)
                deed = (
                    once(posts.post, bob, "hi"),
                    once(threads.reply, bob, post, "hi"),
                )[number % 2]
                blocked, posted = together(once(blocks.block, ann, bob.name), deed)
                self.assertEqual(blocked.text, SUCCESS)
                refusals = ("No such post", f"{ann.name} does not accept messages from you")
                self.assertIn(posted.text, (SUCCESS, *refusals))
                self.check_counts()
                self.refused("No such post", threads.reply, bob, post, "again")
                if number % 2 == 0:
                    self.assertEqual(self.call(unread.count, ann.id, 1)[0], 0)


@on_both_databases
class Sessions(ContestCase):
    """Who has a session has a place, whatever happens together."""

    def log_in_again(self, name: str, number: int) -> Any:
        token_digest = auth.digest(f"token {number}")
        verified = f"hash of {name}"
        look = Look(new=True)
        return once(accounts.log_in, name, verified, token_digest, None, self.now, look)

    def test_two_logins(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name = f"user{number}"
                self.account(name)
                outcomes = together(
                    *[self.log_in_again(name, 2 * number + side) for side in range(2)]
                )
                self.assertEqual(self.texts(outcomes), [SUCCESS, SUCCESS])
                self.assertEqual(len({outcome.value.seat for outcome in outcomes}), 1)
        self.assertEqual(self.taken(self.server), ROUNDS)
        self.check_places()

    def test_login_and_logout(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann = self.person(f"user{number}")
                outcomes = together(
                    self.log_in_again(ann.name, number), once(accounts.log_out, ann)
                )
                self.assertEqual(self.texts(outcomes), [SUCCESS, SUCCESS])
                self.check_places()

    def test_login_and_the_end_of_a_stale_session(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                self.account(f"user{number}")
                self.log_in(f"user{number}")
                self.clock.advance(2 * SESSIONS.ttl)
                outcomes = together(
                    self.log_in_again(f"user{number}", number),
                    once(accounts.end_stale_sessions, SESSIONS, self.now),
                )
                self.assertEqual(self.texts(outcomes), [SUCCESS, SUCCESS])
                self.check_places()

    def test_locate_and_logout(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann = self.person(f"user{number}")
                Server.update(taken=0).execute()
                Place.update(server=None).execute()
                outcomes = together(
                    once(placement.take, ann.id, Look(new=True)), once(accounts.log_out, ann)
                )
                self.assertIn(outcomes[0].text, (SUCCESS, "Not login yet"))
                self.assertEqual(outcomes[1].text, SUCCESS)
                self.check_places()

    def test_login_and_a_new_password(self) -> None:
        """Nobody is in by the old one who came after the change; the place stays."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                name = f"user{number}"
                ann = self.person(name)
                change = once(accounts.change_password, ann, f"hash of {name}", "new")
                outcomes = together(self.log_in_again(name, number), change)
                self.assertIn(outcomes[0].text, (SUCCESS, "No such user or password error"))
                self.assertEqual(outcomes[1].text, SUCCESS)
                digests = [row.digest for row in Session.select().where(Session.user == ann.id)]
                self.assertEqual(digests, [ann.session])
                self.check_places()

    def test_login_and_a_suspension(self) -> None:
        """Who suspends somebody, and ends the sessions in the same transaction, leaves none."""
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann = self.person(f"user{number}")
                outcomes = together(self.log_in_again(ann.name, number), once(suspend, ann))
                self.assertIn(outcomes[0].text, (SUCCESS, "This account is suspended"))
                self.assertEqual(outcomes[1].text, SUCCESS)
                self.assertEqual(Session.select().count() + self.taken(self.server), 0)

    def test_login_and_delete(self) -> None:
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                ann = self.person(f"user{number}")
                outcomes = together(self.log_in_again(ann.name, number), once(accounts.delete, ann))
                self.assertIn(outcomes[0].text, (SUCCESS, "No such user or password error"))
                self.assertEqual(outcomes[1].text, SUCCESS)
                self.assertEqual(Session.select().count() + self.taken(self.server), 0)


def suspend(caller: Caller) -> None:
    """Operators want somebody out."""
    Suspension.insert(user=caller.id, since=caller.now).execute()
    accounts.log_out(caller)


@on_both_databases
class Capacity(ContestCase):
    """No server ever takes more people than it may, and `taken` is the count of its places."""

    def setUp(self) -> None:
        super().setUp()
        Server.delete().execute()

    def users(self, count: int) -> list[int]:
        for number in range(count):
            self.account(f"user{number}")
        return [user.id for user in User.select().order_by(User.id)]

    def controller(self) -> membership.Member:
        """Who keeps the fleet."""
        one = membership.Member("1", "")
        self.call(membership.enroll, one)
        self.call(membership.observe, one, Tally())
        return one

    def test_a_crowd_that_comes_and_goes(self) -> None:
        crowd, takes = 16 if self.on_mysql else 2, 4 * ROUNDS
        capacities = (3, 5, 2) if self.on_mysql else (1, 2, 1)
        servers = [self.ready_server(capacity=capacity) for capacity in capacities]
        users = self.users(crowd * 5)
        programmes = []
        for number in range(crowd):
            own = users[number::crowd]
            calls: list[tuple[Any, ...]] = []
            for take in range(takes):
                user = own[take % len(own)]
                calls.append((placement.enter, user, Look(new=True)))
                calls.append((overfull,))
                if take % 3:
                    calls.append((placement.give_back, own[(take + 2) % len(own)]))
            programmes.append(each(*calls))
        with contestants(self.database, crowd) as together:
            outcomes = [one for programme in together(*programmes) for one in programme]
        self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
        overfilled = [one.value for one in outcomes if isinstance(one.value, list)]
        self.assertEqual((len(overfilled), any(overfilled)), (crowd * takes, False))
        seats = [one.value.seat for one in outcomes if isinstance(one.value, placement.Search)]
        self.assertEqual(len(seats), crowd * takes)
        self.assertTrue(0 < seats.count(None) < len(seats))
        for server in servers:
            self.taken(server)

    def test_places_are_full_to_the_last(self) -> None:
        users = self.users(2 * self.many)
        with contestants(self.database, self.many) as together:
            for _ in range(ROUNDS // 5):
                servers = [self.ready_server(capacity=self.many // 2) for _ in range(2)]
                half = len(users) // 2
                outcomes = together(
                    *[
                        each(*[(placement.enter, user, Look(new=True)) for user in pair])
                        for pair in zip(users[:half], users[half:], strict=True)
                    ]
                )
                seats = [one.value.seat for programme in outcomes for one in programme]
                self.assertEqual(seats.count(None), len(users) - 2 * (self.many // 2))
                for server in servers:
                    self.assertEqual(self.taken(server), self.many // 2)
                Place.delete().execute()
                Server.delete().execute()

    def test_several_newcomers_and_one_unused_place(self) -> None:
        """Login servers that saw the same; and the user comes back at that moment."""
        old, *users = self.users(self.many)
        with contestants(self.database, self.many) as together:
            for _ in range(ROUNDS):
                Place.delete().execute()
                Server.delete().execute()
                server = self.ready_server(capacity=1)
                self.call(placement.enter, old, Look(new=True, origin="192.0.2.1"))
                asked = Place.get(Place.user == old).asked
                unused = placement.UnusedPlace(old, server, asked, "192.0.2.1", self.now)
                look = Look(new=True, origin="198.51.100.1", instead=unused)
                newcomers = [once(placement.enter, user, look) for user in users]
                outcomes = together(*newcomers, once(placement.ask, old))
                self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
                seats = [outcome.value.seat for outcome in outcomes[:-1]]
                self.assertEqual(self.taken(server), 1)
                held = Place.get(Place.server == server).user_id
                self.assertEqual(len(seats) - seats.count(None), held != old)
                self.assertEqual(Place.get(Place.user == old).away, held != old)

    def test_several_of_one_network(self) -> None:
        """At the same moment it may get a few places too many, but no further ones."""
        users = self.users(2 * self.many)
        self.ready_server(capacity=100)
        look = Look(new=True, origin="192.0.2.1", most=2)
        with contestants(self.database, self.many) as together:
            half = len(users) // 2
            outcomes = together(
                *[
                    each(*[(placement.enter, user, look) for user in pair])
                    for pair in zip(users[:half], users[half:], strict=True)
                ]
            )
        seats = [one.value.seat for programme in outcomes for one in programme]
        self.assertIn(len(seats) - seats.count(None), range(2, self.many + 2))
        self.account("another")
        another = User.get(User.name == "another").id
        self.assertIsNone(self.call(placement.enter, another, look).seat)

    def test_a_server_is_lost_while_people_come_and_go(self) -> None:
        users = self.users(20)
        one, two = membership.Member("1", ""), membership.Member("2", "")
        self.call(membership.enroll, one)
        self.call(membership.enroll, two)
        self.call(membership.observe, one, Tally())
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS // 5):
                old = self.ready_server(capacity=20)
                for user in users[:10]:
                    self.call(placement.enter, user, Look(new=True))
                new = self.ready_server(capacity=15)
                comings_and_goings = [
                    call
                    for staying, leaving in zip(users[10:], users[:10], strict=True)
                    for call in (
                        (placement.enter, staying, Look(new=True)),
                        (placement.give_back, leaving),
                    )
                ]
                outcomes = together(
                    each(
                        (fleet_transitions.lose, one, old, LossCause.SILENT, "test", 0.0),
                        *[(fleet_transitions.settle, one)] * 10,
                    ),
                    each(*comings_and_goings),
                )
                texts = {outcome.text for programme in outcomes for outcome in programme}
                self.assertEqual(texts, {SUCCESS})
                self.assertEqual(self.taken(old), 0)
                self.assertLessEqual(self.taken(new), 15)
                Place.delete().execute()
                Server.delete().execute()

    def test_a_server_drains_while_people_leave(self) -> None:
        users = self.users(20)
        one = self.controller()
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS // 5):
                old = self.ready_server(capacity=20)
                for user in users:
                    self.call(placement.enter, user, Look(new=True))
                new = self.ready_server(capacity=20)
                self.call(fleet_admin.ask_drain, old)
                outcomes = together(
                    each(
                        (fleet_transitions.drain, one, old, DrainCause.OPERATOR, "test", 0, 0.0),
                        (fleet_transitions.move_off, one, old),
                    ),
                    each(*[(placement.give_back, user) for user in reversed(users[::2])]),
                )
                texts = {outcome.text for programme in outcomes for outcome in programme}
                self.assertEqual(texts, {SUCCESS})
                self.assertEqual((self.taken(old), self.taken(new)), (0, 10))
                Place.delete().execute()
                Server.delete().execute()

    def test_a_server_is_given_up_while_people_leave_and_come(self) -> None:
        """A few of its people move at once; whoever keeps it after all has it as it is then."""
        users = self.users(20)
        one = self.controller()
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS // 5):
                old = self.ready_server(capacity=20)
                for user in users[:10]:
                    self.call(placement.enter, user, Look(new=True))
                new = self.ready_server(capacity=20)
                some = (fleet_transitions.move_some_off, one, old, 2, 0.0)
                outcomes = together(
                    each(
                        (
                            fleet_transitions.drain,
                            one,
                            old,
                            DrainCause.CONSOLIDATION,
                            "test",
                            20,
                            0.0,
                        ),
                        *[some] * 6,
                        (fleet_transitions.keep, one, old, 0.0),
                    ),
                    each(
                        *[(placement.give_back, user) for user in reversed(users[:10:2])],
                        *[(placement.enter, user, Look(new=True)) for user in users[10:]],
                    ),
                )
                texts = {outcome.text for programme in outcomes for outcome in programme}
                self.assertEqual(texts, {SUCCESS})
                for server in (old, new):
                    there = Place.select().where(Place.server == server).count()
                    self.assertEqual(self.taken(server), there)
                self.assertEqual(self.taken(old) + self.taken(new), 15)
                Place.delete().execute()
                Server.delete().execute()

    def test_the_lease_is_taken_while_people_come_and_go(self) -> None:
        users = self.users(20)
        one, two = self.controller(), membership.Member("2", "")
        self.call(membership.enroll, two)
        with contestants(self.database, 2) as together:
            for turn in range(ROUNDS // 2):
                servers = [self.ready_server(capacity=10) for _ in range(5)]
                for user in users[:10]:
                    self.call(placement.enter, user, Look(new=True))
                lapsed = self.call(membership.seen_lease, membership.FLEET_LEASE)
                outcomes = together(
                    once(membership.take_lease, (one, two)[turn % 2], lapsed),
                    each(
                        *[(placement.enter, user, Look(new=True)) for user in users[10:]],
                        *[(placement.give_back, user) for user in users[:10]],
                    ),
                )
                self.assertEqual(outcomes[0], Outcome(SUCCESS, True))
                self.assertEqual({outcome.text for outcome in outcomes[1]}, {SUCCESS})
                self.assertEqual(sum(self.taken(server) for server in servers), 10)
                Place.delete().execute()
                Server.delete().execute()

    def test_who_waits_online_is_settled_once(self) -> None:
        """By whoever comes first: the controller, or the user who asks where to go."""
        one = self.controller()
        users = self.users(10)
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS // 5):
                for user in users:
                    Place.insert(user=user, server=None).execute()
                servers = [self.ready_server(capacity=10) for _ in range(2)]
                locating = [(placement.take, user, Look(new=True)) for user in reversed(users)]
                outcomes = together(each(*locating), each(*[(fleet_transitions.settle, one)] * 5))
                texts = {outcome.text for programme in outcomes for outcome in programme}
                self.assertEqual(texts, {SUCCESS})
                self.assertEqual(sum(self.taken(server) for server in servers), 10)
                Place.delete().execute()
                Server.delete().execute()

    def test_never_above_the_maximum(self) -> None:
        """The controller and an operator launch at the same moment."""
        one = self.controller()
        with contestants(self.database, 2) as together:
            for _ in range(ROUNDS):
                launching = once(fleet_transitions.add_launches, one, 2, "test", 1, 3, self.now)
                together(launching, asking)
                self.assertEqual(Server.select().count(), 3)
                Server.delete().execute()


@read_only
def overfull() -> list[str]:
    """The servers that have taken too many."""
    return [
        server.id
        for server in Server.select()
        if not 0 <= server.taken <= server.capacity
        or Place.select().where(Place.server == server).count() > server.capacity
    ]


def asking(call: Call) -> None:
    """An operator asks for launches until there are as many as may be."""
    try:
        for _ in range(2):
            call(fleet_admin.ask_launch, 1, 3, 0.0)
    except fleet_admin.FleetFull:
        pass


@on_both_databases
class Messages(ContestCase):
    """A reader who follows a cursor misses nothing, as ids are committed in their order."""

    def test_many_senders_to_one_reader(self) -> None:
        senders = self.many if self.on_mysql else 1
        count = 60
        reader = self.person("reader")
        writers = self.people(*[f"writer{number}" for number in range(senders)])
        for writer in writers:
            self.befriend(writer, reader)
        programmes = [
            each(*[(messages.send, writer, "reader", f"{number}") for number in range(count)])
            for writer in writers
        ]
        with contestants(self.database, senders + 1) as together:
            sent, (read,) = [], [None]
            *sent, read = together(*programmes, Following(reader, senders * count))
        stored = [outcome.value.event.id for one in sent for outcome in one]
        self.assertEqual(len(stored), senders * count)
        self.assertEqual(read, sorted(stored))

    def test_the_last_room_of_a_share(self) -> None:
        """Of two messages of the same sender that would have it, one does."""
        self.quotas = Quotas(inbox=400 * 2**10)
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS // 2):
                ann, bob, cat = self.people(*(f"{name}{number}" for name in ("ann", "bob", "cat")))
                for who in (ann, cat):
                    self.befriend(who, bob)
                self.call(messages.send, ann, bob.name, "x" * 60_000)
                send = once(messages.send, ann, bob.name, "y" * 40_000)
                full = f"{bob.name}'s inbox is full"
                self.assertEqual(self.texts(together(send, send)), [SUCCESS, full])
                other = once(messages.send, cat, bob.name, "z" * 40_000)
                self.assertEqual(self.texts(together(other, send)), [SUCCESS, full])

    def test_groups_that_overlap(self) -> None:
        """Nobody waits for another for ever, and every member reads every message in order."""
        members = self.people(*[f"member{number}" for number in range(self.many)])
        for number, creator in enumerate(members[:2]):
            self.call(groups.create, creator, f"group{number}")
            for member in members:
                if member is not creator:
                    self.call(groups.join, member, f"group{number}")
        self.befriend(members[0], members[1])
        programmes = [
            each(
                *[
                    (messages.send_group, member, f"group{(number + turn) % 2}", str(turn))
                    for turn in range(20)
                ]
            )
            for number, member in enumerate(members)
        ]
        with contestants(self.database, self.many) as together:
            outcomes = [one for programme in together(*programmes) for one in programme]
        self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
        ids = sorted(outcome.value.event.id for outcome in outcomes)
        for member in members:
            self.assertEqual(Following(member, len(ids))(self.outcome), ids)
        self.assertEqual(Delivery.select().count(), len(ids) * self.many)

    def test_batches_that_overlap(self) -> None:
        """Each message names the one before it of each reader, whoever has stored that."""
        people = self.people(*[f"user{number}" for number in range(8)])
        self.call(groups.create, people[0], "crowd")
        for number, person in enumerate(people):
            for other in people[:number]:
                self.befriend(person, other)
            if number:
                self.call(groups.join, person, "crowd")
        programmes = [
            batches(*[self.letters(people, first, turn) for turn in range(10)])
            for first in range(self.many)
        ]
        with contestants(self.database, self.many) as together:
            outcomes = [one for programme in together(*programmes) for one in programme]
        self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
        sent = [outcome.value for outcome in outcomes]
        for person in people:
            delivered = Delivery.select(Delivery.message).where(Delivery.user == person.id)
            ids = [number for (number,) in rows(delivered.order_by(Delivery.message))]
            before = dict(zip(ids, [0, *ids], strict=False))
            told = {
                each.event.id: each.after[person.id] for each in sent if person.id in each.after
            }
            self.assertEqual(told, before)
            self.assertEqual(Inbox.get(Inbox.user == person.id).waiting, len(ids))

    def letters(self, people: list[Caller], first: int, turn: int) -> list[tuple[Any, ...]]:
        """Sixteen messages to friends, and some to a group between them."""
        wanted: list[tuple[Any, ...]] = []
        for number in range(16):
            sender = people[(first + number) % 8]
            reader = people[(first + number + 1 + (number + turn) % 7) % 8]
            wanted.append((messages.send, sender, reader.name, "x"))
            if number % 4 == turn % 4:
                wanted.append((messages.send_group, sender, "crowd", "y"))
        return wanted

    def test_sending_to_somebody_who_deletes_the_account(self) -> None:
        ann = self.person("ann")
        with contestants(self.database, 2) as together:
            for number in range(ROUNDS):
                bob = self.person(f"bob{number}")
                self.befriend(ann, bob)
                outcomes = together(
                    once(messages.send, ann, bob.name, "hello"),
                    once(accounts.delete, bob, forget_user),
                )
                self.assertIn(
                    outcomes[0].text,
                    (
                        SUCCESS,
                        "No such user exist",
                        f"{bob.name} is not your friend",
                        f"{bob.name} is not online",
                    ),
                )
                self.assertEqual(outcomes[1].text, SUCCESS)
                removed = outcomes[1].value
                while not removed:
                    removed = self.call(accounts.delete, bob, forget_user, begun=True)
                self.assertEqual(Delivery.select().count(), 0)

    def test_noting_what_was_delivered_while_more_comes(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        sending = each(*[(messages.send, ann, "bob", str(number)) for number in range(ROUNDS)])
        noting = each(
            *[
                (messages.note_delivered, [Cursor(each.id, number) for each in order])
                for number in range(ROUNDS)
                for order in ((ann, bob), (bob, ann))
            ]
        )
        with contestants(self.database, 2) as together:
            outcomes = [one for programme in together(sending, noting) for one in programme]
        self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
        self.assertEqual(Inbox.get(Inbox.user == bob.id).delivered, ROUNDS - 1)

    def outcome(self, rule: Any, *arguments: Any) -> Outcome:
        return Outcome(SUCCESS, self.call(rule, *arguments))


class MessagesByReservedIds(OnMySQL, Messages):
    """The same where each sender's server has reserved a block of ids, and proposes these."""

    def setUp(self) -> None:
        super().setUp()
        let_propose(self, ReservedIds(50, threading.get_ident))


class Following:
    """A reader who follows the cursor until `count` messages were read; gives their ids."""

    def __init__(self, reader: Caller, count: int) -> None:
        self.reader = reader
        self.count = count

    def __call__(self, call: Call) -> list[int]:
        cursor = Cursor(self.reader.id, 0)
        read: list[int] = []
        looks = 0
        while len(read) < self.count and looks < 100_000:
            looks += 1
            for event in call(messages.fetch, [cursor]).value[cursor]:
                read.append(event.id)
                cursor = replace(cursor, last=read[-1])
        return read


def count_for(user: int) -> int:
    """How many messages there are for a user."""
    return Delivery.select().where(Delivery.user == user).count()


def note_what_is_there(user: int) -> None:
    """A user has been sent all that there is."""
    last = Delivery.select(peewee.fn.MAX(Delivery.message)).where(Delivery.user == user).scalar()
    if last is not None:
        messages.note_delivered([Cursor(user, last)])


@on_both_databases
class Counters(ContestCase):
    """What is counted is what is there, whoever comes at the same time."""

    def test_messages_and_posts_of_a_crowd(self) -> None:
        self.quotas = Quotas(posts=20)
        people = self.people(*(f"user{number}" for number in range(self.many)))
        self.call(groups.create, people[0], "crowd")
        for person in people[1:]:
            self.befriend(people[0], person)
            self.call(groups.join, person, "crowd")
        programmes = []
        for number, person in enumerate(people):
            friend = people[0].name if number else people[1].name
            work: list[tuple[Any, ...]] = []
            for turn in range(ROUNDS // 2):
                work.append((messages.send, person, friend, "ü" * (turn + 1)))
                work.append((messages.mail, person, friend, "z" * (turn + 1)))
                work.append((friendships.set_status, people[0], *([f"{number}"] * (turn % 2))))
                work.append((messages.send_group, person, "crowd", "x" * (turn + 1)))
                work.append((posts.post, person, "ü" * turn))
                work.append((posts.post, people[0], "y"))
                if turn % 5 == 4:
                    work.append((note_what_is_there, person.id))
                if number == 0 and turn % 10 == 9:
                    work.append((expiry.expire, self.now + 1, 20))
            programmes.append(each(*work))
        with contestants(self.database, self.many) as together:
            for outcomes in together(*programmes):
                self.assertEqual({outcome.text for outcome in outcomes}, {SUCCESS})
        for person in people:
            inbox = Inbox.get(Inbox.user == person.id)
            waits = (
                MessageRow.select()
                .join(Delivery)
                .where((Delivery.user == person.id) & (MessageRow.id > inbox.delivered))
            )
            self.assertEqual(inbox.waiting, sum(len(one.text.encode()) for one in waits))
            own = PostRow.select().where(PostRow.author == person.id)
            sizes = [len(one.text.encode()) for one in own]
            self.assertEqual((inbox.posts, inbox.post_bytes), (len(sizes), sum(sizes)))
            self.assertLessEqual(len(sizes), 20)
