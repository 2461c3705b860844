"""Posts and replies of people whom the reader has blocked: `docs/protocol.md`, blocks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages import messages
from bbs.board.people import blocks
from bbs.board.posts import threads, unread, user_stats
from bbs.config import App, Configuration, Limits
from bbs.testing import MemoryService, Peer
from bbs.testing.service import ALL_AT_ONCE
from tests.board.posts.test_threads import ThreadsCase
from tests.database_case import on_both_databases


class UnseenCase(ThreadsCase):
    """ann has blocked cat. Both are friends of bob's, and all three are in the group."""

    def setUp(self) -> None:
        super().setUp()
        self.befriend(self.bob, self.cat)
        self.group_of(self.bob, self.ann, self.cat)
        self.call(blocks.block, self.ann, "cat")


@on_both_databases
class InAFriendsFeed(UnseenCase):
    def setUp(self) -> None:
        super().setUp()
        self.first = self.post(self.bob)
        self.of_ann = self.reply(self.ann, self.first)
        self.of_cat = self.reply(self.cat, self.first)

    def test_a_thread(self) -> None:
        last = self.reply(self.bob, self.first)
        [first, *replies] = self.thread(self.ann, self.first)
        self.assertEqual(first["replies"], 2)
        self.assertEqual([each["post"] for each in replies], [self.of_ann, last])
        # Nothing changes for the others.
        shown = [self.first, self.of_ann, self.of_cat, last]
        for each in (self.bob, self.cat):
            self.assertEqual(self.numbers(each, self.first), shown)
            self.assertEqual(self.thread(each, self.first)[0]["replies"], 3)

    def test_what_is_unread(self) -> None:
        self.assertEqual(self.unread(self.bob), [self.of_ann, self.of_cat])
        self.assertEqual(self.new(self.ann)["posts"], 1)
        [entry] = self.read(unread.of_friends, self.ann)
        self.assertEqual((entry["post"], entry["replies"]), (self.first, 1))
        self.assertEqual((self.unread(self.ann), self.new(self.ann)["posts"]), ([], 0))
        of_cat, of_bob = self.reply(self.cat, self.first), self.reply(self.bob, self.first)
        self.assertEqual(self.new(self.ann)["posts"], 1)
        self.assertEqual(self.unread(self.ann), [of_bob])
        self.assertEqual(self.unread(self.bob), [of_cat])

    def test_what_a_login_says(self) -> None:
        said = self.call(user_stats.on_login, self.ann.id, None)
        self.assertEqual(said["waiting"], {**said["waiting"], "posts": 1})  # type: ignore[dict-item]

    def test_of_many(self) -> None:
        """Too many to be found by one statement."""
        self.patch(unread, "MOST_IDS", 1)
        self.assertEqual(self.unread(self.ann), [self.first])
        self.reply(self.cat, self.first)
        self.assertEqual(self.unread(self.ann), [])

    def test_several_readers_at_once(self) -> None:
        several = [(each,) for each in (self.ann, self.bob, self.cat)]
        found = [
            [(entry["post"], entry["replies"]) for entry in each.part["post"]]
            for each in self.call(unread.of_friends.each, several)  # type: ignore[attr-defined]
        ]
        of_bob = [(self.of_ann, 0), (self.of_cat, 0)]
        self.assertEqual(found, [[(self.first, 1)], of_bob, [(self.first, 2)]])

    def test_after_an_end_of_the_block(self) -> None:
        self.call(blocks.unblock, self.ann, "cat")
        self.assertEqual(self.numbers(self.ann, self.first), [self.first, self.of_ann, self.of_cat])
        self.assertEqual(self.unread(self.ann), [self.first, self.of_cat])


@on_both_databases
class OfOnesOwn(UnseenCase):
    def test_replies_are_counted_without_theirs(self) -> None:
        """cat has replied before the block."""
        self.call(blocks.unblock, self.ann, "cat")
        self.befriend(self.ann, self.cat)
        first = self.post(self.ann)
        for each in (self.cat, self.bob, self.cat):
            self.reply(each, first)
        self.call(blocks.block, self.ann, "cat")
        [own] = self.call(threads.own_posts, self.ann)["post"]
        self.assertEqual((own["post"], own["replies"]), (first, 1))


@on_both_databases
class InAGroup(UnseenCase):
    def test_posts(self) -> None:
        of_cat, of_bob = self.post_in(self.cat), self.post_in(self.bob)
        self.reply(self.cat, of_bob)
        by_bob = self.reply(self.bob, of_cat)
        self.assertEqual(self.new(self.ann)["groups"], [{"group": "go", "posts": 2}])
        found = self.read(unread.of_group, self.ann, "go")
        self.assertEqual([each["post"] for each in found], [of_bob, by_bob])
        self.assertEqual([each["replies"] for each in found], [0, 0])
        self.assertEqual(self.new(self.ann)["groups"], [])
        self.post_in(self.cat)
        self.assertEqual((self.new(self.ann)["groups"], self.in_group(self.ann)), ([], []))

    def test_of_many(self) -> None:
        self.post_in(self.cat)
        of_bob = self.post_in(self.bob)
        self.patch(unread, "MOST_IDS", 1)
        self.assertEqual(self.in_group(self.ann), [of_bob])

    def test_several_readers_at_once(self) -> None:
        of_bob = self.post_in(self.bob)
        of_cat = self.reply(self.cat, of_bob)
        several = [(each, "go") for each in (self.ann, self.bob, self.cat)]
        found = [
            [(entry["post"], entry["replies"]) for entry in each.part["post"]]
            for each in self.call(unread.of_group.each, several)  # type: ignore[attr-defined]
        ]
        self.assertEqual(found, [[(of_bob, 0)], [(of_cat, 0)], [(of_bob, 1)]])

    def test_a_thread_that_they_began(self) -> None:
        first = self.post_in(self.cat)
        reply = self.reply(self.bob, first)
        [began, answer] = self.thread(self.ann, first)
        self.assertEqual(began, {"post": first, "deleted": True})
        self.assertEqual((answer["post"], answer["to"]), (reply, first))
        self.assertEqual(self.numbers(self.bob, first), [first, reply])

    def test_messages_are_for_the_group(self) -> None:
        sent = self.call(messages.send_group, self.cat, "go", "e4")
        self.assertIn(self.ann.id, sent.after or {})


class Events(SynchronousTestCase):
    def setUp(self) -> None:
        # The three are at two app servers.
        limits = Limits(logins=ALL_AT_ONCE, commands=ALL_AT_ONCE, deliveries=ALL_AT_ONCE)
        config = Configuration(limits=limits, app=App(capacity=2))
        self.service = MemoryService(board, config=config)
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob", "cat"))
        for one, other in (("ann", "bob"), ("bob", "cat")):
            self.ask(f"invite {one} {other}")
            self.ask(f"accept-invite {other} {one}")
        self.ask("create-group bob go")
        for name in ("ann", "cat"):
            self.ask(f"join-group {name} go")
        self.ask("block ann cat")
        self.ears = {name: self.listening(name) for name in self.tokens}

    def ask(self, line: str) -> dict[str, object]:
        command, name, *rest = line.split(" ", 2)
        token = self.tokens[name]
        reply = self.service.at_home(token).ask(" ".join([command, token, *rest]))
        self.assertEqual(reply["status"], 0, reply)
        return reply

    def listening(self, name: str) -> Peer:
        peer = self.service.listening(self.tokens[name])
        peer.ask("events")
        return peer

    def heard(self) -> dict[str, list[object]]:
        self.service.settle()
        kinds = ("post", "reply", "message")
        return {
            name: [each["event"] for each in peer.events() if each["event"] in kinds]
            for name, peer in self.ears.items()
        }

    def test_a_reply_in_a_friends_feed(self) -> None:
        self.ask("post bob hello")
        first = self.ask("my-posts bob")["post"][0]["post"]  # type: ignore[index]
        self.ask(f"reply ann {first} hi")
        self.heard()
        self.ask(f"reply cat {first} you again")
        self.assertEqual(self.heard(), {"ann": [], "bob": ["reply"], "cat": []})
        self.ask(f"reply bob {first} hush")
        self.assertEqual(self.heard(), {"ann": ["reply"], "bob": [], "cat": ["reply"]})

    def test_in_a_group(self) -> None:
        first = self.ask("post-group cat go hello")["post"]
        self.assertEqual(self.heard(), {"ann": [], "bob": ["post"], "cat": ["post"]})
        self.ask(f"reply bob {first} hi")
        self.assertEqual(self.heard(), {name: ["reply"] for name in self.tokens})
        self.ask(f"reply cat {first} hi")
        self.assertEqual(self.heard(), {"ann": [], "bob": ["reply"], "cat": ["reply"]})
        # The conversation of the group is for all of them.
        self.ask("send-group cat go e4")
        self.assertEqual(self.heard()["ann"], ["message"])


@on_both_databases
class OfMany(UnseenCase):
    """No reply reads without end what blocked people wrote."""

    def test_the_first_of_each_group(self) -> None:
        self.patch(user_stats, "MOST_IN_GROUPS", 12)
        for _ in range(10):
            self.post_in(self.cat)
        self.assertEqual(self.new(self.ann)["groups"], [])
        for _ in range(3):
            self.post_in(self.bob)
        [group] = self.new(self.ann)["groups"]
        self.assertEqual(group["posts"], 2)
        self.assertEqual(len(self.in_group(self.ann)), 3)

    def test_the_shortest_threads(self) -> None:
        most = self.some_looked_through()
        short, long = self.post_in(self.bob), self.post_in(self.bob)
        self.reply(self.cat, short)
        for _ in range(most):
            self.reply(self.cat, long)
        found = {each["post"]: each for each in self.read(unread.of_group, self.ann, "go")}
        self.assertEqual((found[short]["replies"], found[long]["replies"]), (0, most))
        self.assertEqual(self.numbers(self.ann, long), [long])

    def some_looked_through(self) -> int:
        self.patch(blocks, "MOST_LOOKED_THROUGH", 8)
        return 8
