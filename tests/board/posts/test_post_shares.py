"""Whose posts go when a group has too many: `docs/protocol.md`, section 3."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import service
from bbs.board.groups import groups
from bbs.board.groups.tables import Group
from bbs.board.messages.tables import Inbox
from bbs.board.posts import post_shares, threads, unread, user_stats
from bbs.board.posts.tables import Contribution, PostRow, RemovedPost
from bbs.board.quotas import Quotas
from bbs.rules import accounts
from bbs.rules.auth import Caller
from bbs.storage.database import rows
from tests.database_case import RulesCase, on_both_databases
from tests.rules.crowds import add


def expected(before: Sequence[str], most: int) -> list[str]:
    """Which of the posts stay, of which the writers are given: the rule in its own words."""
    kept = [*enumerate(before)]
    while len(kept) > most:
        counts = Counter(writer for _, writer in kept)
        highest = max(counts.values())
        kept.remove(next(each for each in kept if counts[each[1]] == highest))
    return [f"{writer} {number}" for number, writer in kept]


class SharesCase(RulesCase):
    quotas = Quotas(posts=10)

    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat, self.dan = self.people("ann", "bob", "cat", "dan")
        self.call(groups.create, self.ann, "go")
        for each in (self.bob, self.cat):
            self.call(groups.join, each, "go")
        self.count = 0

    def post(self, writer: Caller) -> int:
        """Post in the group; the number of the post."""
        text = f"{writer.name} {self.count}"
        self.count += 1
        return int(self.call(threads.post_in_group, writer, "go", text).number)

    def kept(self) -> list[str]:
        texts = PostRow.select(PostRow.text).join(Contribution).order_by(PostRow.id)
        return [str(text) for (text,) in rows(texts)]

    def news(self, reader: Caller) -> list[dict[str, Any]]:
        """The groups in which there is something unread."""
        new: Any = self.call(user_stats.summary, reader)["new"]
        found: list[dict[str, Any]] = new["groups"]
        return found

    def fill(self, writer: Caller, number: int) -> None:
        """Store so many posts of somebody's in the group."""
        group = Group.get()
        last = PostRow.select(peewee.fn.MAX(PostRow.id)).scalar() or 0
        add(PostRow, [("x",)] * number, PostRow.text)
        ids = [post for (post,) in rows(PostRow.select(PostRow.id).where(PostRow.id > last))]
        first = group.posts + 1
        places = [
            (post, writer.id, group.id, first + turn) for turn, post in enumerate(sorted(ids))
        ]
        where = (Contribution.post, Contribution.writer, Contribution.group, Contribution.number)
        add(Contribution, places, *where)
        Group.update(posts=group.posts + number).execute()
        more = {"posts": Inbox.posts + number, "post_bytes": Inbox.post_bytes + number}
        Inbox.update(more).where(Inbox.user == writer.id).execute()


@on_both_databases
class Shares(SharesCase):
    def test_a_flood_costs_nobody_else_a_post(self) -> None:
        for each in (self.ann, self.cat, self.ann):
            self.post(each)
        for _ in range(50):
            self.post(self.bob)
        own = [f"bob {number}" for number in range(46, 53)]
        self.assertEqual(self.kept(), ["ann 0", "cat 1", "ann 2", *own])

    def test_who_has_all_makes_room_for_others(self) -> None:
        for _ in range(20):
            self.post(self.bob)
        for _ in range(5):
            self.post(self.ann)
        own = [f"bob {number}" for number in range(15, 20)]
        self.assertEqual(self.kept(), own + [f"ann {number}" for number in range(20, 25)])

    def test_equal_shares_lose_the_oldest(self) -> None:
        for each in (self.ann, self.bob) * 6:
            self.post(each)
        shares = [f"{name} {number}" for number, name in enumerate(["ann", "bob"] * 6)]
        self.assertEqual(self.kept(), shares[2:])

    def test_whatever_comes(self) -> None:
        chance = random.Random(3)
        people = [self.ann, self.bob, self.cat]
        for _ in range(40):
            kept = self.kept()
            writer = chance.choices(people, [1, 5, 2])[0]
            self.post(writer)
            after = [*(text.split()[0] for text in kept), writer.name]
            texts = [*kept, f"{writer.name} {self.count - 1}"]
            stay = [texts[int(each.split()[1])] for each in expected(after, 10)]
            self.assertEqual(self.kept(), stay)

    def test_who_has_left_counts_like_the_others(self) -> None:
        for each in (self.ann, *[self.bob] * 9):
            self.post(each)
        self.call(groups.leave, self.bob, "go")
        for _ in range(3):
            self.post(self.cat)
        self.assertEqual(self.kept()[:2], ["ann 0", "bob 4"])
        self.assertEqual(len(self.kept()), 10)

    def test_who_has_deleted_the_account_counts_no_more(self) -> None:
        for each in (self.ann, *[self.bob] * 9):
            self.post(each)
        while not self.call(accounts.delete, self.bob, service.forget_user, begun=True):
            pass
        for _ in range(9):
            self.post(self.cat)
        self.assertEqual(self.kept(), ["ann 0", *(f"cat {number}" for number in range(10, 19))])

    def test_unread_is_what_is_there(self) -> None:
        """Also of posts far before the last numbers, and behind one's own."""
        self.call(groups.join, self.dan, "go")
        for each in (self.ann, self.dan, self.ann, self.ann):
            self.post(each)
        for _ in range(30):
            self.post(self.bob)
            for reader, own in ((self.dan, "dan"), (self.cat, "cat")):
                [told] = self.news(reader)
                others = [text for text in self.kept() if not text.startswith(own)]
                self.assertEqual(told, {"group": "go", "posts": len(others)})
        found: Any = self.call(unread.of_group, self.cat, "go").part["post"]
        self.assertEqual([each["message"] for each in found], self.kept())
        self.assertLessEqual(RemovedPost.select().count(), 10)

    def test_one_of_before_that_is_deleted(self) -> None:
        first = self.post(self.ann)
        self.post(self.ann)
        for _ in range(20):
            self.post(self.bob)
        self.call(threads.delete_post, self.ann, str(first))
        [told] = self.news(self.cat)
        self.assertEqual(told["posts"], len(self.kept()))
        self.post(self.bob)
        self.assertLessEqual(RemovedPost.select().count(), 10)


@on_both_databases
class Many(SharesCase):
    quotas = Quotas(posts=4000)

    def test_not_each_post_counts_all(self) -> None:
        """One in ten, where the group keeps 4,000: each pays for 400."""
        self.fill(self.ann, 2000)
        self.fill(self.bob, 2400)
        asked: list[str] = []
        self.database.peewee.query_hooks.append(lambda event: asked.append(event.sql))
        for _ in range(50):
            self.post(self.cat)
        self.database.peewee.query_hooks.clear()
        counted = [each for each in asked if "GROUP BY" in each and "contribution" in each]
        self.assertEqual(len(counted), 5)
        left = Counter(writer for (writer,) in rows(Contribution.select(Contribution.writer)))
        people = (self.ann, self.bob, self.cat)
        self.assertEqual([left[each.id] for each in people], [1975, 1975, 50])

    def test_so_many_at_a_time(self) -> None:
        """An operator has lowered the quota: the next posts go on."""
        self.fill(self.bob, 3 * post_shares.REMOVED_AT_ONCE)
        few = replace(self.ann, quotas=Quotas(posts=100))
        left = []
        for _ in range(5):
            self.call(threads.post_in_group, few, "go", "hello")
            left.append(Contribution.select().count())
        self.assertEqual(left, [513, 258, 100, 100, 100])


class Levels(SynchronousTestCase):
    def test_each_way_to_share(self) -> None:
        chance = random.Random(5)
        for _ in range(200):
            counts = [chance.randrange(1, 9) for _ in range(chance.randrange(1, 7))]
            over = chance.randrange(1, sum(counts) + 1)
            level, rest = post_shares.levelled(counts, over)
            gone = sum(max(0, count - level) for count in counts)
            self.assertEqual(gone + rest, over, counts)
            self.assertLess(rest, max(1, sum(count >= level for count in counts)), counts)
