"""Threads: replies, posts of groups, and their removal (`docs/protocol.md`, section 3)."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board, service, walks
from bbs.board.groups import groups, ownership
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages.tables import Inbox
from bbs.board.people import blocks, friendships
from bbs.board.people.tables import Relationship
from bbs.board.posts import errors, posts, threads, unread, user_stats
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost, ThreadReader
from bbs.board.quotas import Quotas
from bbs.framework import Caller, Page, read_only
from bbs.framework.fast import rows
from bbs.rules import accounts
from bbs.storage.models import User
from bbs.testing import MemoryService, Peer
from tests.database_case import RulesCase, on_both_databases
from tests.memory_service import POLICY, configuration


class ThreadsCase(RulesCase):
    quotas = Quotas()

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = (
            replace(each, quotas=self.quotas) for each in self.people("ann", "bob", "cat")
        )
        self.befriend(self.ann, self.bob)

    def post(self, author: Caller, text: str = "hello") -> int:
        return int(self.call(posts.post, author, text).number)

    def reply(self, author: Caller, post: int, text: str = "hi") -> int:
        return int(self.call(threads.reply, author, str(post), text).number)

    def post_in(self, author: Caller, group: str = "go", text: str = "hello") -> int:
        return int(self.call(threads.post_in_group, author, group, text).number)

    def delete(self, caller: Caller, post: int) -> None:
        self.call(threads.delete_post, caller, str(post))

    def group_of(self, *members: Caller) -> None:
        first, *others = members
        self.call(groups.create, first, "go")
        for each in others:
            self.call(groups.join, each, "go")

    def thread(self, caller: Caller, post: int) -> list[Any]:
        return list(self.call(threads.thread, caller, str(post))["post"])

    def numbers(self, caller: Caller, post: int) -> list[int]:
        return [each["post"] for each in self.thread(caller, post)]

    def own(self, caller: Caller) -> list[int]:
        return [each["post"] for each in self.call(threads.own_posts, caller)["post"]]

    def unread(self, caller: Caller) -> list[int]:
        return [each["post"] for each in self.read(unread.of_friends, caller)]

    def in_group(self, caller: Caller, group: str = "go") -> list[int]:
        return [each["post"] for each in self.read(unread.of_group, caller, group)]

    def read(self, rule: Any, *arguments: Any) -> list[Any]:
        """The unread posts that a rule finds, which are read then."""
        found = self.call(rule, *arguments)
        if found.marks:
            self.call(unread.note, found.marks)
        return list(found.part["post"])

    def new(self, caller: Caller) -> Any:
        return self.call(user_stats.summary, caller)["new"]

    def check_counts(self) -> None:
        """Fail unless what is counted is what is there."""
        for inbox in Inbox.select():
            user = inbox.user.id
            feed = rows(PostRow.select(PostRow.text).where(PostRow.author == user))
            other = Contribution.select(PostRow.text).join(PostRow)
            texts = [*feed, *rows(other.where(Contribution.writer == user))]
            sizes = [len(text.encode()) for (text,) in texts]
            self.assertEqual((inbox.posts, inbox.post_bytes), (len(sizes), sum(sizes)))
        for post in PostRow.select():
            replies = Contribution.select().where(Contribution.thread == post.id).count()
            self.assertEqual(post.replies, replies)


@on_both_databases
class Replies(ThreadsCase):
    def test_a_thread(self) -> None:
        first = self.post(replace(self.ann, now=5.0), "hello")
        second = self.reply(replace(self.bob, now=6.0), first, "hi")
        third = self.reply(replace(self.ann, now=7.0), second, "how are you?")
        expected = [
            {"post": first, "id": "ann", "message": "hello", "time": 5.0, "to": None, "replies": 2},
            {"post": second, "id": "bob", "message": "hi", "time": 6.0, "to": first, "replies": 0},
            {
                "post": third,
                "id": "ann",
                "message": "how are you?",
                "time": 7.0,
                "to": first,
                "replies": 0,
            },
        ]
        for number in (first, second, third):
            self.assertEqual(self.thread(self.bob, number), expected)
        self.check_counts()

    def test_what_is_no_post_that_one_may_read(self) -> None:
        number = self.post(self.ann)
        reply = self.reply(self.bob, number)
        for name in (str(number), str(reply), "0", "-1", "x", "", "9" * 18, "9" * 40, "²", "٣"):
            for rule, arguments in (
                (threads.reply, ("text",)),
                (threads.thread, ()),
                (threads.delete_post, ()),
            ):
                self.refused("No such post", rule, self.cat, name, *arguments)

    def test_friends_of_the_one_in_whose_feed_it_is_read_replies(self) -> None:
        self.befriend(self.bob, self.cat)
        number = self.post(self.ann)
        reply = self.reply(self.bob, number)
        self.refused("No such post", threads.thread, self.cat, str(reply))
        self.assertEqual(self.unread(self.cat), [])
        self.befriend(self.ann, self.cat)
        self.assertEqual(self.numbers(self.cat, reply), [number, reply])

    def test_a_former_friend_reads_own_replies_only(self) -> None:
        number = self.post(self.ann)
        reply = self.reply(self.bob, number)
        self.call(friendships.unfriend, self.ann, "bob")
        self.refused("No such post", threads.reply, self.bob, str(number), "x")
        self.reply(self.ann, number)
        self.assertEqual((self.unread(self.bob), self.new(self.bob)["posts"]), ([], 0))
        self.assertEqual(self.own(self.bob), [reply])
        # Not by their own reply either.
        self.refused("No such post", threads.thread, self.bob, str(reply))
        self.refused("No such post", threads.reply, self.bob, str(reply), "x")
        self.delete(self.bob, reply)
        self.check_counts()

    def test_to_somebody_who_has_blocked(self) -> None:
        self.befriend(self.ann, self.cat)
        self.group_of(self.ann, self.bob, self.cat)
        in_feed = self.reply(self.cat, self.post(self.ann))
        in_group = self.post_in(self.cat)
        self.call(blocks.block, self.cat, "bob")
        for number in (in_feed, in_group):
            text = "cat does not accept messages from you"
            self.refused(text, threads.reply, self.bob, str(number), "x")

    def test_to_one_that_goes_meanwhile(self) -> None:
        number = self.post(self.ann)
        find = threads._find_readable

        def late(*arguments: Any) -> Any:
            found = find(*arguments)
            posts.remove([number])
            return found

        self.patch(threads, "_find_readable", late)
        self.refused("No such post", threads.reply, self.bob, str(number), "hi")

    def test_one_that_is_blocked_meanwhile(self) -> None:
        number = self.post(self.ann)
        store = posts.store

        def late(*arguments: Any, **named: Any) -> Any:
            blocks.block(self.ann, "bob")
            return store(*arguments, **named)

        self.patch(posts, "store", late)
        self.refused("No such post", threads.reply, self.bob, str(number), "hi")
        self.assertEqual(PostRow.select().count(), 1)

    def test_in_a_thread_whose_first_post_is_gone(self) -> None:
        number = self.post(self.ann)
        reply = self.reply(self.bob, number)
        self.delete(self.ann, number)
        self.refused("No such post", threads.reply, self.bob, str(reply), "hi")

    def test_who_is_told(self) -> None:
        self.befriend(self.ann, self.cat)
        number = self.post(self.ann)
        self.reply(self.bob, number)
        told = self.call(threads.reply, self.ann, str(number), "x" * 300)
        self.assertEqual([channel for channel, _ in told.told], [self.bob.channel])
        self.assertEqual((told.event["event"], told.event["to"]), ("reply", number))
        self.assertEqual(told.event["text"], "x" * 199 + "…")

    def test_many_feeds_give_as_many_as_fit(self) -> None:
        self.patch(unread, "LEAST", 2)
        self.patch(unread, "PAGE", Page(most=30))
        friends_of_ann = self.people(*(f"friend{number}" for number in range(12)))
        for number, friend in enumerate(friends_of_ann):
            self.befriend(self.ann, friend)
            PostRow.insert_many(
                [{"author": friend.id, "text": "x"} for _ in range(30 if number == 0 else 2)]
            ).execute()
        written = [number for (number,) in rows(PostRow.select(PostRow.id).order_by(PostRow.id))]
        self.assertEqual(self.new(self.ann)["posts"], len(written))
        read: list[int] = []
        while found := self.unread(self.ann):
            self.assertGreater(len(found), 20)
            read += found
        self.assertEqual(read, written)

    def test_as_many_as_fit_into_a_reply(self) -> None:
        self.befriend(self.ann, self.cat)
        texts = [str(number) * 65_000 for number in range(9)] * 2
        written = [self.post(self.ann, text) for text in texts]
        first = self.post(self.bob)
        replies = [self.reply(self.ann, first, text) for text in texts]
        for reader, numbers in ((self.cat, written), (self.bob, written + replies)):
            counts = []
            while found := self.unread(reader):
                self.assertEqual(found, numbers[: len(found)])
                del numbers[: len(found)]
                counts.append(len(found))
            self.assertEqual(numbers, [])
            self.assertEqual(counts[0], 16)

    def test_they_are_as_in_their_threads(self) -> None:
        """Though servers remember what does not change of them."""
        first = self.post(self.ann, "hello")
        for number in range(3):
            self.reply(self.ann, first, f"“{number}”")
            self.call(posts.friends_posts, self.bob)
            Relationship.update(read=0).execute()
            [entry] = self.read(unread.of_friends, self.bob)
            self.assertEqual(entry, self.thread(self.bob, first)[0])
        self.reply(self.bob, first)
        ThreadReader.update(read=0).execute()
        found = self.read(unread.of_friends, self.bob)
        self.assertEqual(found, self.thread(self.bob, first)[1:4])

    def test_what_was_posted_before_a_friendship_is_read(self) -> None:
        for author in (self.ann, self.cat):
            self.post(author)
        self.befriend(self.ann, self.cat)
        for reader in (self.ann, self.cat):
            self.assertEqual((self.unread(reader), self.new(reader)["posts"]), ([], 0))
        self.assertEqual(len(self.call(posts.friends_posts, self.cat)["post"]), 1)
        later = self.post(self.ann), self.post(self.cat)
        self.assertEqual(self.unread(self.cat), [later[0]])
        self.assertEqual(self.unread(self.ann), [later[1]])

    def test_no_more_are_counted_than_are_told(self) -> None:
        self.patch(user_stats, "MOST_COUNTED", 3)
        for _ in range(5):
            self.post(self.ann)
        self.assertEqual(self.new(self.bob)["posts"], 3)

    def test_an_author_and_a_thread_of_the_same_number(self) -> None:
        """What is read of one is not read of the other."""
        self.befriend(self.bob, self.cat)
        PostRow.insert(id=self.ann.id, author=self.bob.id, text="first").execute()
        self.reply(self.cat, self.ann.id, "one")
        self.reply(self.bob, self.ann.id, "two")
        self.post(self.ann)
        for _ in range(2):
            self.assertEqual(len(self.unread(self.bob)), 2 - 2 * _)
        self.assertEqual((len(self.unread(self.cat)), self.unread(self.cat)), (2, []))

    def test_own_replies_behind_the_last_of_another_are_read(self) -> None:
        """Nobody looks behind them again, though they are among many."""
        for most in (unread.MOST_IDS, 1):
            self.patch(unread, "MOST_IDS", most)
            firsts = [self.post(self.ann) for _ in range(3)]
            for first in firsts:
                self.reply(self.ann, first)
            others = [self.reply(self.bob, first) for first in firsts[1:]]
            own = [self.reply(self.ann, first) for first in firsts]
            self.assertEqual(self.unread(self.ann), others)
            self.assertEqual(self.unread(self.ann), [])
            anns = ThreadReader.select(ThreadReader.read).where(
                (ThreadReader.user == self.ann.id) & ThreadReader.thread.in_(firsts)
            )
            self.assertEqual([read for (read,) in rows(anns.order_by(ThreadReader.thread))], own)
            self.assertIsNone(self.call(unread.of_friends, self.ann).marks)
            late = self.reply(self.bob, firsts[0])
            self.assertEqual(self.unread(self.ann), [late])

    def test_the_oldest_threads_are_no_longer_followed(self) -> None:
        self.patch(threads, "MOST_FOLLOWED", 2)
        numbers = [self.post(self.ann) for _ in range(4)]
        for number in numbers:
            self.reply(self.bob, number)
        for user in (self.ann.id, self.bob.id):
            own = ThreadReader.select(ThreadReader.thread).where(ThreadReader.user == user)
            self.assertEqual(sorted(thread for (thread,) in rows(own)), numbers[2:])


@on_both_databases
class InGroups(ThreadsCase):
    def test_members_read_them(self) -> None:
        self.group_of(self.ann, self.bob)
        number = self.post_in(self.ann)
        self.refused("You are not the member of go", unread.of_group, self.cat, "go")
        self.refused("No such group exist", unread.of_group, self.cat, "chess")
        self.refused("You are not the member of go", threads.post_in_group, self.cat, "go", "x")
        self.refused("No such group exist", threads.post_in_group, self.cat, "chess", "x")
        self.assertEqual(self.new(self.bob)["groups"], [{"group": "go", "posts": 1}])
        self.assertEqual(self.new(self.ann)["groups"], [])
        reply = self.reply(self.bob, number)
        self.assertEqual(self.in_group(self.bob), [number])
        self.assertEqual(self.in_group(self.bob), [])
        self.assertEqual(self.in_group(self.ann), [reply])
        self.assertEqual(self.unread(self.bob), [])
        self.assertEqual(self.call(posts.friends_posts, self.bob)["post"], [])

    def test_own_ones_are_never_unread(self) -> None:
        self.group_of(self.ann, self.bob)
        others = []
        for _ in range(2):
            others.append(self.post_in(self.bob))
            self.post_in(self.ann)
        self.assertEqual(self.new(self.ann)["groups"], [{"group": "go", "posts": 2}])
        self.delete(self.ann, self.post_in(self.ann))
        self.assertEqual(self.new(self.ann)["groups"], [{"group": "go", "posts": 2}])
        self.assertEqual(self.in_group(self.ann), others)
        self.assertEqual((self.new(self.ann)["groups"], self.in_group(self.ann)), ([], []))
        own = self.post_in(self.ann)
        self.assertEqual(self.new(self.ann)["groups"], [])
        self.assertEqual(self.in_group(self.bob)[-1], own)

    def test_many_own_ones_before_one_of_another(self) -> None:
        self.patch(unread, "PAGE", Page(most=2))
        self.group_of(self.ann, self.bob)
        self.post_in(self.bob)
        for _ in range(5):
            self.post_in(self.ann)
        number = self.post_in(self.bob)
        self.patch(unread, "MOST_IDS", 2)
        self.assertEqual(self.in_group(self.ann)[-1], number)
        self.assertEqual(self.in_group(self.ann), [])

    def test_long_own_ones_before_one_of_another(self) -> None:
        self.group_of(self.ann, self.bob)
        others = [self.post_in(self.bob)]
        for _ in range(30):
            self.post_in(self.ann, text="x" * 65_000)
        others.append(self.post_in(self.bob))
        self.assertEqual((self.in_group(self.ann), self.in_group(self.ann)), (others, []))

    def test_they_are_as_in_their_threads(self) -> None:
        self.group_of(self.ann, self.bob)
        first = self.post_in(self.ann)
        self.reply(self.ann, first)
        for name in ("go", "100%d"):
            Group.update(name=name).execute()
            Membership.update(read=0).execute()
            found = self.read(unread.of_group, self.bob, name)
            self.assertEqual(found, self.thread(self.bob, first))

    def test_as_many_as_fit_into_a_reply(self) -> None:
        self.patch(unread, "PAGE", Page(most=2))
        self.group_of(self.ann, self.bob)
        numbers = [self.post_in(self.ann) for _ in range(4)]
        self.post_in(self.bob)
        self.assertEqual(self.in_group(self.bob), numbers[:2])
        self.assertEqual(self.new(self.bob)["groups"], [{"group": "go", "posts": 2}])
        self.assertEqual(self.in_group(self.bob), numbers[2:])
        self.assertEqual(self.new(self.bob)["groups"], [])

    def test_somebody_who_joins_reads_all(self) -> None:
        self.group_of(self.ann)
        numbers = [self.post_in(self.ann) for _ in range(3)]
        self.call(groups.join, self.bob, "go")
        self.assertEqual(self.in_group(self.bob), numbers)

    def test_deleted_ones_are_not_counted(self) -> None:
        self.group_of(self.ann, self.bob)
        numbers = [self.post_in(self.ann) for _ in range(4)]
        self.delete(self.ann, numbers[1])
        self.assertEqual(self.new(self.bob)["groups"], [{"group": "go", "posts": 3}])
        self.assertEqual(self.in_group(self.bob), [numbers[0], *numbers[2:]])
        self.assertEqual(self.new(self.bob)["groups"], [])
        self.check_counts()

    def test_the_owner_deletes_and_others_do_not(self) -> None:
        self.group_of(self.ann, self.bob, self.cat)
        number = self.post_in(self.bob)
        reply = self.reply(self.cat, number)
        self.refused("Not your post", threads.delete_post, self.cat, str(number))
        self.delete(self.ann, number)
        self.assertEqual(self.thread(self.cat, number)[0], {"post": number, "deleted": True})
        self.assertEqual(self.numbers(self.cat, reply), [number, reply])
        self.assertEqual(self.in_group(self.ann), [reply])
        self.refused("No such post", threads.reply, self.cat, str(number), "x")
        self.delete(self.cat, reply)
        self.refused("No such post", threads.thread, self.cat, str(number))
        self.check_counts()

    def test_a_member_who_is_removed_reads_nothing(self) -> None:
        self.group_of(self.ann, self.bob)
        number = self.post_in(self.ann)
        own = self.post_in(self.bob)
        self.call(ownership.kick, self.ann, "go", "bob")
        self.refused("You are not the member of go", unread.of_group, self.bob, "go")
        self.refused("No such post", threads.thread, self.bob, str(number))
        for post in (number, own):
            self.refused("No such post", threads.reply, self.bob, str(post), "x")
        self.refused("No such post", threads.thread, self.bob, str(own))
        self.delete(self.bob, own)

    def test_a_member_who_is_removed_meanwhile(self) -> None:
        self.group_of(self.ann, self.bob)
        store = posts.store

        def late(*arguments: Any, **named: Any) -> Any:
            ownership.kick(self.ann, "go", "bob")
            return store(*arguments, **named)

        self.patch(posts, "store", late)
        self.refused("You are not the member of go", threads.post_in_group, self.bob, "go", "x")
        self.assertEqual(PostRow.select().count(), 0)

    def test_with_the_group_all_of_them_go(self) -> None:
        self.group_of(self.ann, self.bob)
        self.reply(self.bob, self.post_in(self.ann))
        removal = self.call(ownership.delete, self.ann, "go")
        while removal.rest is not None and not self.call(groups.remove, removal.rest):
            pass
        self.assertEqual((PostRow.select().count(), Group.select().count()), (0, 0))
        self.check_counts()


@on_both_databases
class Meanwhile(ThreadsCase):
    """What else is done while somebody reads."""

    def test_a_deletion_under_a_reader_who_pages(self) -> None:
        """Of the last one that was read, and of one that is still to come."""
        for rule, is_backwards in ((threads.thread, False), (threads.own_posts, True)):
            first = self.post(self.ann)
            numbers = [first, *(self.reply(self.ann, first) for _ in range(7))]
            if is_backwards:
                numbers.reverse()
            arguments = () if is_backwards else (str(first),)
            part = self.call(rule.part, self.ann, Page(most=3), *arguments)
            self.assertEqual([each["post"] for each in part["post"]], numbers[:3])
            for gone in (numbers[2], numbers[4]):
                self.delete(self.ann, gone)
            rest = self.call(rule.part, self.ann, Page(part.last), *arguments)
            read = [each["post"] for each in rest["post"]]
            self.assertEqual(read[: len(numbers) - 4], [numbers[3], *numbers[5:]])


@on_both_databases
class Kept(ThreadsCase):
    quotas = Quotas(posts=4)

    def test_the_oldest_of_a_writer_go_wherever_they_are(self) -> None:
        self.group_of(self.ann, self.bob)
        in_group, in_feed = self.post_in(self.ann), self.post(self.ann)
        reply = self.reply(self.ann, self.post(self.bob))
        others = [self.post(self.ann), self.post(self.ann)]
        self.assertEqual(self.own(self.ann), [*reversed(others), reply, in_feed])
        self.assertEqual(self.in_group(self.bob), [])
        self.assertEqual(self.new(self.bob)["groups"], [])
        self.post(self.ann)
        self.assertNotIn(in_feed, self.own(self.ann))
        self.assertNotIn(in_group, self.own(self.ann))
        self.check_counts()

    def test_the_oldest_of_a_group_go(self) -> None:
        self.group_of(self.ann, self.bob, self.cat)
        numbers = [self.post_in(each) for each in (self.ann, self.bob, self.cat) * 3]
        self.assertEqual(self.new(self.ann)["groups"], [{"group": "go", "posts": 3}])
        self.assertEqual(self.in_group(self.ann), [numbers[-4], *numbers[-2:]])
        self.assertEqual(RemovedPost.select().count(), 0)
        self.check_counts()

    def test_whoever_deletes_the_account_leaves_none(self) -> None:
        self.group_of(self.bob, self.ann)
        number = self.post(self.bob)
        self.reply(self.ann, number)
        self.post_in(self.ann)
        own = self.post(self.ann)
        answer = self.reply(self.bob, own)
        while self.call(service.forget_user, self.ann.id):
            pass
        self.call(accounts.delete, self.ann, service.forget_user)
        self.assertEqual({each.id for each in PostRow.select()}, {number, answer})
        self.assertEqual(self.own(self.bob), [answer, number])
        self.refused("No such post", threads.thread, self.cat, str(answer))
        self.check_counts()

    def test_what_an_older_server_leaves_of_an_account(self) -> None:
        """It removes the user, and with that where the posts were."""
        self.group_of(self.bob, self.ann, self.cat)
        first = self.post(self.bob)
        kept = [first, self.post_in(self.bob), self.reply(self.bob, first)]
        self.post(self.ann)
        left = [self.reply(self.ann, first), self.post_in(self.ann), self.post_in(self.ann)]
        User.delete().where(User.id == self.ann.id).execute()
        self.assertEqual({each.id for each in PostRow.select()}, {*kept, *left})
        # Who reads all that there is has read what is gone.
        self.assertEqual(self.new(self.cat)["groups"], [{"group": "go", "posts": 1}])
        self.assertEqual((self.in_group(self.cat), self.new(self.cat)["groups"]), ([kept[1]], []))
        self.patch(walks, "IDS_AT_ONCE", 4)
        self.patch(posts, "LENGTHS", (1, 2))
        minutes = range(max(left) // 4 + 3)  # One more at the end of each walk.
        removed = [
            self.call(service.sweep, 60.0 * (1000 * len(minutes) + each)) for each in minutes
        ]
        self.assertLessEqual(max(removed), 2)
        while sum(self.call(service.sweep, 60.0 * each) for each in minutes):
            pass
        self.assertEqual({each.id for each in PostRow.select()}, {*kept})


@on_both_databases
class AtRandom(ThreadsCase):
    """Whatever people do in whatever order, counts are what lists have, and nothing is missed."""

    quotas = Quotas(posts=12)

    def test_unread_is_what_was_not_read(self) -> None:
        people = [self.ann, self.bob, self.cat]
        self.befriend(self.ann, self.cat)
        self.group_of(*people)
        chance = random.Random(7)
        read: dict[str, set[int]] = {each.name: set() for each in people}
        for _ in range(120):
            one = chance.choice(people)
            everything = [number for (number,) in rows(PostRow.select(PostRow.id))]
            what = chance.randrange(6)
            if what == 0:
                self.post(one)
            elif what == 1:
                self.post_in(one)
            elif what == 2 and everything:
                self.tried(threads.reply, one, str(chance.choice(everything)), "hi")
            elif what == 3 and everything:
                self.tried(threads.delete_post, one, str(chance.choice(everything)))
            else:
                new = self.new(one)
                found = self.unread(one)
                in_group = self.in_group(one)
                self.assertEqual(new["posts"], len(found))
                self.assertEqual(
                    sum(each["posts"] for each in new["groups"]), len(in_group), (new, in_group)
                )
                for numbers in (found, in_group):
                    self.assertEqual(numbers, sorted(numbers))
                    self.assertFalse(read[one.name] & {*numbers})
                    read[one.name] |= {*numbers}
            self.check_counts()

    def tried(self, rule: Any, *arguments: Any) -> None:
        outcome = self.database.run(rule, *arguments)
        outcome.addErrback(lambda failure: failure.trap(errors.NoSuchPost, errors.NotYourPost))
        self.successResultOf(outcome)


@on_both_databases
class AtRandomOneByOne(AtRandom):
    """Where there is more than is found at once."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(unread, "MOST_IDS", 2)


@on_both_databases
class SeveralReaders(ThreadsCase):
    """They get at once what each would get alone."""

    def setUp(self) -> None:
        super().setUp()
        self.befriend(self.ann, self.cat)
        self.befriend(self.bob, self.cat)
        self.people_here = [self.ann, self.bob, self.cat]
        self.group_of(*self.people_here)
        for each in self.people_here:
            first = self.post(each)
            self.reply(self.bob, first)
            self.reply(self.cat, self.post_in(each))
        self.in_group(self.bob)
        self.post_in(self.ann)
        self.unread(self.ann)
        self.post(self.cat)

    def check(self) -> None:
        rules: Any = ((unread.of_friends,), (unread.of_group, "go"))
        for rule, *arguments in rules:
            alone = [self.call(rule, each, *arguments) for each in self.people_here]
            # Each has two terminals.
            calls = [(each, *arguments) for each in self.people_here] * 2
            self.assertEqual(self.call(read_only(partial(rule.each, calls))), alone * 2)
            several = [each.marks for each in alone if each.marks]
            self.call(unread.note.each, [(marks,) for marks in several * 2])
        for each in self.people_here:
            self.assertEqual((self.unread(each), self.in_group(each)), ([], []))

    def test_at_once(self) -> None:
        self.check()

    def test_another_terminal_is_further(self) -> None:
        before = self.call(unread.of_friends, self.ann), self.call(unread.of_group, self.ann, "go")
        later = self.post(self.bob), self.post_in(self.bob)
        self.assertEqual((self.unread(self.ann)[-1], self.in_group(self.ann)[-1]), later)
        for found in before:
            assert found.marks
            self.call(unread.note, found.marks)
        self.assertEqual((self.unread(self.ann), self.in_group(self.ann)), ([], []))
        new = self.new(self.ann)
        self.assertEqual((new["posts"], new["groups"]), (0, []))


class ToldElsewhere(SynchronousTestCase):
    def test_when_nobody_listens_here(self) -> None:
        """Whether anybody may hear of a post is known without their names; elsewhere they do."""
        service = MemoryService(board, config=configuration(POLICY))
        self.addCleanup(service.close)
        tokens = service.people(*(f"of{number}" for number in range(4)), "far")
        self.assertNotEqual(service.serving(tokens["of0"]).id, service.serving(tokens["far"]).id)
        writer, reader = service.at_home(tokens["of0"]), service.at_home(tokens["far"])
        writer.ask(f"invite {tokens['of0']} far")
        reader.ask(f"accept-invite {tokens['far']} of0")
        reader.ask("events")
        reader.ask(f"listen {tokens['far']}")
        writer.ask(f"post {tokens['of0']} hello")
        self.assertEqual([each["event"] for each in reader.events()], ["post"])


class Told(SynchronousTestCase):
    """Who hears of posts at once: those who may read them, listen, and have asked for events."""

    def setUp(self) -> None:
        self.service = MemoryService(board)
        self.addCleanup(self.service.close)
        self.tokens = self.service.people("ann", "bob", "cat")
        self.peers = {name: self.service.at_home(token) for name, token in self.tokens.items()}
        self.older = self.service.at_home(self.tokens["bob"])
        for name, peer in self.peers.items():
            peer.ask("events")
            self.listen(peer, name)
        self.listen(self.older, "bob")
        self.ask("ann", "invite bob")
        self.ask("bob", "accept-invite ann")
        self.heard()

    def listen(self, peer: Peer, name: str) -> None:
        peer.ask(f"listen {self.tokens[name]}")

    def ask(self, name: str, line: str) -> Any:
        command, _, rest = line.partition(" ")
        reply = self.peers[name].ask(f"{command} {self.tokens[name]} {rest}".rstrip())
        self.assertEqual(reply["status"], 0, reply)
        return reply

    def heard(self) -> dict[str, list[tuple[object, ...]]]:
        """What each has heard since: the name of an event, who it is from, and which post."""
        return {
            name: [(each["event"], each.get("from"), each.get("post")) for each in peer.heard()]
            for name, peer in self.peers.items()
        }

    def test_in_a_feed(self) -> None:
        self.assertEqual(self.ask("ann", "post hello"), {"status": 0, "message": "Success!"})
        self.assertEqual(self.heard(), {"ann": [], "bob": [("post", "ann", 1)], "cat": []})
        self.ask("bob", "reply 1 hi")
        self.assertEqual(self.heard(), {"ann": [("reply", "bob", 2)], "bob": [], "cat": []})
        self.ask("bob", "delete-post 2")
        self.assertEqual(self.heard(), {"ann": [("deleted", None, 2)], "bob": [], "cat": []})
        self.ask("ann", "delete-post 1")
        self.assertEqual(self.heard()["bob"], [("deleted", None, 1)])
        self.assertEqual(self.older.heard(), [])

    def test_in_a_group(self) -> None:
        self.ask("ann", "create-group go")
        self.ask("cat", "join-group go")
        self.heard()
        self.ask("ann", "post-group go hello")
        self.assertEqual(self.heard()["cat"], [("post", "ann", 1)])
        self.ask("cat", "reply 1 hi")
        self.assertEqual(self.heard(), {"ann": [("reply", "cat", 2)], "bob": [], "cat": []})
        self.ask("ann", "delete-post 2")
        self.assertEqual(self.heard(), {"ann": [], "bob": [], "cat": [("deleted", None, 2)]})
        self.ask("ann", "delete-post 1")
        self.assertEqual(self.peers["cat"].heard()[0]["by"], "ann")

    def test_that_a_post_is_gone_is_told_to_those_who_saw_it(self) -> None:
        self.ask("ann", "create-group go")
        for name in ("bob", "cat"):
            self.ask(name, "join-group go")
        self.ask("bob", "block cat")
        self.heard()
        for number in (1, 2):
            self.ask("cat", "post-group go hello")
            self.heard()
            self.ask("cat" if number == 1 else "ann", f"delete-post {number}")
            told = self.heard()
            self.assertEqual(told.pop("bob"), [])
            self.assertIn([("deleted", None, number)], [*told.values()])

    def test_other_connections_of_the_writer(self) -> None:
        self.ask("ann", "create-group go")
        other = self.service.at_home(self.tokens["ann"])
        other.ask("events")
        self.listen(other, "ann")
        self.ask("ann", "post-group go hello")
        self.assertEqual(self.heard()["ann"], [])
        self.assertEqual([each["post"] for each in other.heard()], [1])

    def test_a_former_friend_hears_nothing(self) -> None:
        self.ask("ann", "post hello")
        self.ask("bob", "reply 1 hi")
        self.ask("ann", "unfriend bob")
        self.heard()
        self.ask("ann", "reply 1 again")
        self.ask("ann", "post more")
        self.assertEqual(self.heard()["bob"], [])

    def test_at_a_login(self) -> None:
        self.ask("ann", "post hello")
        waiting = self.service.peer().ask("login bob pw")["waiting"]
        self.assertEqual(waiting["posts"], 1)
        self.ask("bob", "posts")
        waiting = self.service.peer().ask("login bob pw")["waiting"]
        self.assertEqual(waiting["posts"], 0)
