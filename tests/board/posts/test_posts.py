"""Posts: `docs/protocol.md`, section 3, `post` and `receive-post`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import peewee

from bbs.board.people import friendships
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.framework import read_only
from bbs.rules import auth
from tests.database_case import RulesCase, on_both_databases

TEXTS = [
    "hello",
    "  two  spaces  ",
    "NUL \0, escape \x1b[31m, newline \n, tab \t and delete \x7f",
    "%s {} ' \" \\ \\0 \\n ; -- /* */ ?",
    "ünïcödé, \N{GRINNING FACE}, a\N{COMBINING DIAERESIS}, \u202e, \ufeff, \U0010ffff",
    "\N{GRINNING FACE}" * 16_000,
    "x" * 65_536,
    "long enough for any MEDIUMTEXT " * 10_000,
]


@on_both_databases
class Posts(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.eve = self.people("ann", "bob", "eve")
        self.befriend(self.ann, self.bob)

    def read(self, caller: auth.Caller) -> list[tuple[str, str]]:
        return [
            (post["id"], post["message"]) for post in self.call(posts.friends_posts, caller)["post"]
        ]

    def test_friends_read_them_and_nobody_else(self) -> None:
        self.call(friendships.invite, self.ann, "eve")
        self.call(posts.post, replace(self.ann, now=1764086400.2512345), "hello")
        number, when = PostRow.get().id, 1764086400.2512345
        self.assertEqual(
            self.call(posts.friends_posts, self.bob)["post"],
            [{"id": "ann", "message": "hello", "post": number, "time": when}],
        )
        self.assertEqual(self.read(self.ann), [])
        self.assertEqual(self.read(self.eve), [])

    def test_when_one_of_before_was_stored_nobody_knows(self) -> None:
        self.call(posts.post, self.ann, "hello")
        PostRow.update(stored=None).execute()
        [post] = self.call(posts.friends_posts, self.bob)["post"]
        self.assertIsNone(post["time"])

    def test_oldest_first_whoever_wrote(self) -> None:
        self.befriend(self.eve, self.bob)
        for author, text in ((self.eve, "1"), (self.ann, "2"), (self.bob, "mine"), (self.eve, "3")):
            self.call(posts.post, author, text)
        self.assertEqual(self.read(self.bob), [("eve", "1"), ("ann", "2"), ("eve", "3")])

    def test_what_is_gone_is_not_shown_and_its_id_is_nobody_elses(self) -> None:
        for text in ("one", "two"):
            self.call(posts.post, self.ann, text)
        self.assertEqual(self.read(self.bob), [("ann", "one"), ("ann", "two")])
        newest = PostRow.select(peewee.fn.MAX(PostRow.id)).scalar()
        PostRow.delete().where(PostRow.id == newest).execute()
        self.assertEqual(self.read(self.bob), [("ann", "one")])
        self.call(posts.post, self.ann, "three")
        self.assertEqual(self.read(self.bob), [("ann", "one"), ("ann", "three")])

    def test_many_readers_at_once(self) -> None:
        """Each gets what each alone gets, also of what was read before."""
        self.befriend(self.eve, self.bob)
        callers = [self.ann, self.bob, self.eve]
        for round in range(3):
            self.call(posts.post, self.eve, f"of eve {round}")
            alone = [self.call(posts.friends_posts, caller)["post"] for caller in callers]
            every: Any = posts.friends_posts
            together = self.call(read_only(every.each), [(caller,) for caller in callers])
            self.assertEqual([part["post"] for part in together], alone)

    def test_earlier_ones_of_a_new_friend(self) -> None:
        self.call(posts.post, self.eve, "before")
        self.befriend(self.bob, self.eve)
        self.assertEqual(self.read(self.bob), [("eve", "before")])

    def test_texts_come_back_as_they_are(self) -> None:
        for text in TEXTS:
            self.call(posts.post, self.ann, text)
        self.assertEqual(self.read(self.bob), [("ann", text) for text in TEXTS])

    def test_the_same_text_twice_is_two_posts(self) -> None:
        for _ in range(2):
            self.call(posts.post, self.ann, "again")
        self.assertEqual(self.read(self.bob), [("ann", "again")] * 2)
