"""Lists that come in parts: one reply is made of them, of a bounded size, by all faces."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import count, cycle

from bbs.board import BBSClient, Post, Reply
from bbs.client import Incomplete
from bbs.client.client import MOST_BYTES, MOST_PARTS, PARTS_PATIENCE, ReplyParts
from bbs.client.replies import MOST_VALUES
from bbs.testing import Link
from bbs.ui.gateway import connection
from bbs.ui.output import JSONFormat
from bbs.ui.script import Script
from tests.client.case import APP_1, APP_2, LOGIN, ClientTestCase, failure
from tests.client.parts_server import Answer, PartsServer
from tests.ui.gateway.case import GatewayCase
from tests.ui.test_script import ScriptTestCase

NAMES = [f"friend{number}" for number in range(10)]
POSTS = [{"id": "bob", "message": f"post {number}", "post": number} for number in range(10)]


class Case(ClientTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log_in("ann")
        self.server = PartsServer(self.network)
        self.server.has("list-friend", "friend", NAMES)
        self.server.has("receive-post", "post", POSTS)
        self.server.has("list-group", "score", NAMES)

    def reply(self, line: str) -> Reply:
        return self.result(self.client.request(line))

    def lacking(self, meddle: Mapping[str, object], at: int = 1) -> Reply:
        """The reply with the friends, where further part number `at` is this instead."""

        def instead(line: str, part: Answer) -> Answer:
            return meddle if line.endswith(f":{3 * at}") else part

        self.server.asked.clear()
        self.server.meddle = instead
        reply = self.reply("list-friend ann")
        self.assertTrue(reply.ok)
        self.assertEqual(reply.members["friend"], NAMES[: 3 * at])
        self.assertTrue(reply.has_more)
        return reply


class WholeTests(Case):
    def test_names_are_followed_by_more_names(self) -> None:
        reply = self.reply("list-friend ann")
        self.assertEqual(reply.members, {"status": 0, "friend": NAMES})
        asked = [f"more token1 list-friend:{number}" for number in (3, 6, 9)]
        self.assertEqual(self.server.asked, asked)
        self.assertEqual(self.network.requests[-1], (APP_1, asked[-1]))

    def test_before_posts_are_older_ones(self) -> None:
        self.assertEqual(self.reply("receive-post ann").members, {"status": 0, "post": POSTS})

    def test_a_list_may_have_any_name(self) -> None:
        self.assertEqual(self.reply("list-group ann").members, {"status": 0, "score": NAMES})

    def test_what_is_beside_the_list_stays(self) -> None:
        self.server.meddle = lambda line, part: {**part, "of": 10}
        reply = self.reply("list-friend ann")
        self.assertEqual(reply.members, {"status": 0, "friend": NAMES, "of": 10})

    def test_methods_have_all_of_it(self) -> None:
        self.assertEqual(self.result(self.client.list_friend("ann")), tuple(NAMES))
        posts = self.result(self.client.receive_post("ann"))
        self.assertEqual(posts, tuple(Post("bob", f"post {number}") for number in range(10)))

    def test_one_part_is_one_request(self) -> None:
        self.server.has("list-friend", "friend", NAMES[:3])
        self.assertEqual(self.reply("list-friend ann").members["friend"], NAMES[:3])
        self.assertEqual(self.server.asked, [])

    def test_a_first_part_may_be_enough(self) -> None:
        reply = self.result(self.client.request("list-friend ann", whole=False))
        self.assertEqual(reply.members["friend"], NAMES[:3])
        self.assertEqual(reply.cursor, "list-friend:3")
        self.assertEqual(self.server.asked, [])

    def test_other_requests_go_on_meanwhile(self) -> None:
        done: list[str] = []
        several = {
            "list-friend ann": "friends",
            "receive-post ann": "posts",
            "invite ann bob": "no",
        }
        for line, what in several.items():
            asking = self.client.request(line)
            asking.addCallback(lambda _, what: done.append(what), what)
        self.network.flush()
        self.assertEqual(done, ["no", "friends", "posts"])

    def test_a_lost_part_is_asked_for_again(self) -> None:
        lost: list[str] = []

        def meddle(line: str, part: Answer) -> Answer:
            if line.endswith(":6") and not lost:
                lost.append(line)
                self.clock.callLater(0, self.network.cut, APP_1)
            return part

        self.server.meddle = meddle
        asking = self.client.request("list-friend ann")
        self.network.advance(1.0)
        self.assertEqual(self.successResultOf(asking).members["friend"], NAMES)
        self.assertEqual(self.server.asked.count(lost[0]), 2)

    def test_a_user_who_is_moved_meanwhile_gets_the_rest_there(self) -> None:
        self.launch()
        moved = failure("moved", app_server=APP_2.as_json())

        def meddle(line: str, part: Answer) -> Answer:
            if line.endswith(":6") and self.network.requests[-1][0] == APP_1:
                return moved
            return part

        self.server.meddle = meddle
        self.assertEqual(self.reply("list-friend ann").members["friend"], NAMES)
        self.assertEqual(self.network.requests[-1][0], APP_2)

    def test_a_member_that_is_no_cursor_means_nothing(self) -> None:
        others: list[object] = [None, 1, True, [], ["x"], {}, ""]
        for more in others:
            answer = {"status": 0, "friend": NAMES[:3], "more": more}
            self.answer("list-friend", answer)
            reply = self.reply("list-friend ann")
            self.assertEqual(reply.members, answer)
            self.assertFalse(reply.has_more)

    def test_a_login_is_one_whatever_is_beside_it(self) -> None:
        app_server = APP_1.as_json()
        login = {"status": 0, "token": "t", "app_server": app_server, "more": "x", "a": []}
        self.answer("login dan", login)
        self.reply("login dan 1")
        self.assertEqual(self.client.users, ("ann", "dan"))


class LackingTests(Case):
    def test_a_part_that_is_refused(self) -> None:
        reply = self.lacking(failure("not-logged-in"), at=2)
        self.assertEqual(reply.members["more"], "list-friend:6")
        self.assertEqual(reply.lacking, "Not login yet")

    def test_a_part_that_nobody_has(self) -> None:
        def meddle(line: str, part: Answer) -> Answer:
            if line.endswith(":6"):
                self.clock.callLater(0, self.network.unplug, APP_1)
                self.clock.callLater(0, self.network.unplug, LOGIN)
            return part

        self.server.meddle = meddle
        asking = self.client.request("list-friend ann")
        self.network.advance(200.0)
        reply = self.successResultOf(asking)
        self.assertEqual(reply.members["friend"], NAMES[:6])
        self.assertEqual(reply.lacking, f"cannot reach {LOGIN}: connection refused")

    def test_methods_fail(self) -> None:
        self.lacking(failure("not-logged-in"))
        asking = self.client.list_friend("ann")
        problem = "The list did not come whole: Not login yet"
        self.assertEqual(self.problem(asking, Incomplete), problem)

    def test_parts_of_another_kind(self) -> None:
        wrong: list[Mapping[str, object]] = [
            {"status": 0},
            {"status": 0, "friend": "bob"},
            {"status": 0, "friend": {"bob": 1}},
            {"status": 0, "group": ["bob"]},
            {"status": 0, "friend": ["bob"], "group": ["bob"]},
        ]
        for part in wrong:
            for at in (1, 2):
                reply = self.lacking(part, at)
                self.assertEqual(reply.lacking, "the server answered with something else")
                self.assertEqual(reply.members["more"], f"list-friend:{3 * at}")

    def test_cursors_that_are_none(self) -> None:
        for more in (1, ["x"], "a b", "x\n", "é", "x" * 1001):
            reply = self.lacking_after({"status": 0, "friend": NAMES[3:6], "more": more})
            self.assertEqual(reply.members["friend"], NAMES[:6])
            self.assertEqual(reply.lacking, "the server answered with something else")
            self.assertEqual(len(self.server.asked), 1)

    def lacking_after(self, last: Answer) -> Reply:
        """The reply with the friends, where the second part is `last`."""
        self.server.asked.clear()
        self.server.meddle = lambda line, part: last if line.startswith("more ") else part
        reply = self.reply("list-friend ann")
        self.assertTrue(reply.has_more)
        return reply

    def test_a_first_one_that_is_none(self) -> None:
        self.server.meddle = lambda line, part: {**part, "more": "two words"}
        reply = self.reply("list-friend ann")
        self.assertTrue(reply.has_more)
        self.assertEqual((self.server.asked, reply.members["friend"]), ([], NAMES[:3]))

    def test_a_server_that_repeats_itself(self) -> None:
        self.repeats("a")
        self.repeats("a", "b", "c")

    def repeats(self, *cursors: str) -> None:
        self.server.going_on = cycle(
            {"status": 0, "friend": ["x"], "more": cursor} for cursor in cursors
        )
        reply = self.reply("list-friend ann")
        self.assertEqual(reply.lacking, "the server repeats itself")
        self.assertEqual(reply.members["friend"], ["x"] * (len(cursors) + 1))

    def endless(self, **members: object) -> Iterator[Answer]:
        """The parts of a list that has no end."""
        return ({"status": 0, "friend": [], "more": f"c{n}", **members} for n in count(1))

    def test_a_list_without_an_end_has_so_many_parts(self) -> None:
        answers = map(Reply, self.endless())
        parts = ReplyParts(next(answers), MOST_BYTES)
        while parts.cursor is not None:
            parts.add(next(answers))
        reply = parts.together
        self.assertEqual(reply.lacking, f"there are over {MOST_PARTS} parts")
        self.assertEqual(reply.members["more"], f"c{MOST_PARTS}")

    def test_it_has_so_many_bytes(self) -> None:
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint, most=10_000)
        self.log_in("ann")
        self.server.going_on = self.endless(friend=["x" * 1000])
        reply = self.reply("list-friend ann")
        self.assertEqual(len(reply.names("friend")), 9)
        self.assertEqual(reply.members["more"], "c9")
        self.assertEqual(reply.lacking, "there are over 0.00954 MiB")

    def test_it_has_so_many_values(self) -> None:
        self.log_in("ann")
        self.server.going_on = self.endless(friend=[[]] * (MOST_VALUES // 5))
        reply = self.reply("list-friend ann")
        self.assertEqual(reply.lacking, f"there are over {MOST_VALUES:,} values")
        self.assertEqual(reply.members["more"], "c2")

    def test_it_takes_so_long(self) -> None:
        held: list[Link] = []
        to_clients = self.network.to_clients

        def slowly(link: Link, line: str) -> str | None:
            passed = to_clients(link, line)
            if passed is None or "friend" not in passed:
                return passed
            self.clock.callLater(20.0, link.tell, passed)
            held.append(link)
            return None

        self.network.to_clients = slowly
        asking = self.client.request("list-friend ann")
        self.server.has("list-friend", "friend", NAMES * 10)
        self.network.advance(PARTS_PATIENCE + 100.0)
        reply = self.successResultOf(asking)
        self.assertEqual(reply.lacking, "it took over 300 s")
        self.assertGreater(len(reply.names("friend")), 30)


class ScriptTests(ScriptTestCase):
    def test_all_of_it_is_printed(self) -> None:
        server = PartsServer(self.network)
        server.has("list-friend", "friend", NAMES)
        server.has("receive-post", "post", POSTS)
        self.type("register ann 1", "login ann 1")
        self.assertEqual(self.type("list-friend ann"), NAMES)
        self.assertEqual(
            self.type("receive-post ann"), [f"bob: post {number}" for number in range(10)]
        )

    def test_what_is_lacking_is_said_where_it_would_be(self) -> None:
        server = PartsServer(self.network)
        server.has("list-friend", "friend", NAMES)
        server.has("receive-post", "post", POSTS)
        server.meddle = lambda line, part: (
            {"status": 1, "message": "No\x1bsuch" + "!" * 999} if "more " in line else part
        )
        self.type("register ann 1", "login ann 1")
        words = f"No\\x1bsuch{'!' * 193}"
        self.assertEqual(
            self.type("list-friend ann"), [*NAMES[:3], f"(others are not shown: {words[:203]})"]
        )
        first, *posts = self.type("receive-post ann")
        self.assertTrue(first.startswith("(older ones are not shown: No\\x1bsuch!"))
        self.assertEqual(posts, [f"bob: post {number}" for number in (7, 8, 9)])


class ProgramTests(ScriptTestCase):
    def script(self, client: BBSClient) -> Script:
        return Script(
            self.clock,
            client,
            self,
            form=JSONFormat(),
        )

    def test_one_command_is_one_line(self) -> None:
        server = PartsServer(self.network)
        server.has("list-friend", "friend", NAMES)
        self.type("register ann 1", "login ann 1")
        (line,) = self.type("list-friend ann")
        self.assertEqual(json.loads(line), {"status": 0, "friend": NAMES})
        server.meddle = lambda line, part: failure("unavailable") if line.endswith(":6") else part
        (line,) = self.type("list-friend ann")
        expected = {"status": 0, "friend": NAMES[:6], "more": "list-friend:6"}
        self.assertEqual(json.loads(line), expected)


class VisitTests(GatewayCase):
    def test_people_see_all_of_it(self) -> None:
        server = PartsServer(self.network)
        server.has("list-friend", "friend", NAMES)
        nc = self.pipe("login ann 1", "list-friend")
        self.assertIn("".join(f"{name}\n" for name in NAMES), nc.text)

    def test_of_much_a_part(self) -> None:
        server = PartsServer(self.network)
        names = [f"friend-{number:06}{'x' * 100_000}" for number in range(100)]
        server.has("list-friend", "friend", names)
        nc = self.pipe("login ann 1")
        nc.forget()
        nc.send("list-friend\n")
        text = nc.text
        self.assertIn("(others are not shown: there are over 4 MiB)\n", text)
        self.assertLess(len(text), connection.MOST_BYTES)
        self.assertGreater(len(text), connection.MOST_BYTES * 0.9)

    def test_what_is_known_for_completion_is_a_part(self) -> None:
        server = PartsServer(self.network)
        server.has("list-group", "group", NAMES)
        self.pipe("login ann 1")
        self.assertEqual(server.asked, [])
