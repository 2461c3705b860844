"""What somebody reads in who does not type: long lists, conversations from before, attention."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import replace

from prompt_toolkit.data_structures import Size
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from bbs.board import Reply
from bbs.board.client import face
from bbs.board.posts.posts import post as publish
from bbs.client.catalog import CommandCatalog
from bbs.framework import Talk
from bbs.ui.chat import Partner
from bbs.ui.terminal.app import OLDER_BY_KEY
from bbs.ui.terminal.history import InputContext
from bbs.ui.terminal.interfaces import Fragments, IPager, IPrinter, More
from bbs.ui.terminal.scrollback import (
    MOST_CHARACTERS,
    MOST_HELD,
    PAUSE,
    TURN,
    ExternalPager,
    PagerFailed,
    Scrollback,
)
from bbs.ui.terminal.settings import Attention
from tests.client.case import failure
from tests.ui.terminal.test_app import FaceCase
from tests.ui.test_conversation import FRIEND

WINDOW = Size(6, 40)


@implementer(IPager)
class Book:
    """A pager of somebody's, that shows nothing."""

    command = "book"

    def __init__(self, answer: Deferred[None]) -> None:
        self.read: list[str] = []
        self.ended = False
        self.answer = answer

    def show(self, text: str) -> Deferred[None]:
        self.read.append(text)
        return self.answer

    def end(self) -> None:
        self.ended = True


class ReadingCase(FaceCase):
    """ann is here, and bob has posted `posts` times."""

    posts_of_bob = 12

    def setUp(self) -> None:
        super().setUp()
        self.typist.window = WINDOW
        for number in range(self.posts_of_bob):
            self.run_rule(publish, self.caller("bob"), f"post {number}")
        self.type("login ann 1")


def posts(*numbers: int) -> list[str]:
    return [f"bob: post {number}" for number in numbers]


class ScreenfulTests(ReadingCase):
    """Without a pager of one's own."""

    def test_a_screenful_at_a_time(self) -> None:
        self.assertEqual(self.type("receive-post"), posts(*range(5)))
        self.assertEqual(self.typist.asked, "-- more: 5 of 12 --")
        self.assertEqual(self.type(More.SCREEN), posts(*range(5, 10)))
        self.assertEqual(self.type(More.LINE), posts(10))
        self.assertEqual(self.typist.asked, "-- more: 11 of 12 --")
        self.assertEqual(self.type(More.SCREEN), posts(11))
        self.assertEqual(self.typist.asked, "line")

    def test_left(self) -> None:
        self.type("receive-post")
        self.assertEqual(self.type(More.LEAVE), [])
        self.assertEqual(self.typist.asked, "line")

    def test_unread_posts_that_are_left_come_first_the_next_time(self) -> None:
        self.type("posts")
        left = self.type(More.SCREEN) + self.type(More.LEAVE)
        self.assertIn("Lines that are not shown yet: 2. Type: posts", left)
        self.run_rule(publish, self.caller("bob"), "post 12")
        (shown,) = self.type("posts")
        self.assertEqual(
            [line[5:18] for line in shown.split("\n")],
            ["post 11: post", "post 12: post", "post 13: post"],
        )
        self.assertEqual(self.type("posts"), ["No new posts."])

    def test_a_list_that_can_be_asked_for_again_is_not_kept(self) -> None:
        self.type("receive-post")
        self.type(More.LEAVE)
        self.assertEqual(self.type("receive-post"), posts(*range(5)))

    def test_what_has_room_is_not_asked_about(self) -> None:
        self.typist.window = Size(13, 40)
        self.assertEqual(self.type("receive-post"), ["\n".join(posts(*range(12)))])
        self.typist.window = Size(12, 40)
        self.type("receive-post")
        self.assertEqual(self.typist.asked, "-- more: 11 of 12 --")

    def test_lines_that_are_wider_than_the_window(self) -> None:
        self.typist.window = Size(6, 8)
        self.assertEqual(self.type("receive-post"), posts(0, 1))

    def test_messages_wait_meanwhile(self) -> None:
        self.type("receive-post")
        self.typist.printed.clear()
        self.send("bob", "ann", "hello")
        self.network.advance(1.0)
        self.assertEqual(self.typist.printed, [])
        self.assertEqual(self.type(More.LEAVE), ["bob  hello"])

    def test_lines_behind_it_wait_meanwhile(self) -> None:
        self.type("receive-post\nping\nreceive-post")
        self.assertNotIn("Pong!", self.typist.printed)
        self.type(More.LEAVE)
        self.assertEqual(self.typist.printed[0], "Pong!")
        self.assertEqual(self.typist.asked, "-- more: 5 of 12 --")
        self.type(More.LEAVE)
        self.assertEqual(self.typist.asked, "line")

    def test_help_is_a_list_too(self) -> None:
        self.type("help")
        self.assertTrue(self.typist.asked.startswith("-- more: "))

    def test_not_where_a_password_is_being_typed(self) -> None:
        go_on = self.hold("receive-post")
        self.type("receive-post", "login bob")
        self.assertEqual(self.typist.asked, "Password for bob, once asked: ")
        go_on()
        self.network.advance(0.1)
        self.assertEqual((self.typist.asked, self.typist.set_asides), ("Password for bob: ", 0))
        self.assertIn("\n".join(posts(*range(12))), self.typist.printed)

    def test_the_client_ends_meanwhile(self) -> None:
        self.type("receive-post")
        self.face.leave()
        self.successResultOf(self.running)

    def test_a_terminal_without_a_window(self) -> None:
        self.typist.window = None
        self.assertEqual(self.type("receive-post"), ["\n".join(posts(*range(12)))])


class PagerTests(ReadingCase):
    def setUp(self) -> None:
        self.reading: Deferred[None] = Deferred()
        self.pager = self.book = Book(self.reading)
        super().setUp()

    def test_it_has_the_list_and_the_terminal(self) -> None:
        self.type("receive-post")
        self.assertEqual(self.book.read, ["\n".join(posts(*range(12))) + "\n"])
        self.assertTrue(self.typist.is_lent)
        self.send("bob", "ann", "hello")
        self.network.advance(1.0)
        self.reading.callback(None)
        self.network.advance(0.1)
        self.assertFalse(self.typist.is_lent)
        self.assertEqual(self.typist.printed, ["bob  hello"])
        self.assertEqual(self.typist.asked, "line")

    def test_short_lists_are_none(self) -> None:
        self.type("list-friend")
        self.assertEqual(self.book.read, [])

    def test_one_that_fails_is_told_of_once(self) -> None:
        self.book.answer = fail(PagerFailed("exit code 127"))
        said = "PAGER book: exit code 127. Lists are shown without it."
        self.assertEqual(self.type("receive-post"), [said, *posts(*range(5))])
        self.type(More.LEAVE)
        self.assertEqual(self.type("receive-post"), posts(*range(5)))
        self.assertEqual(len(self.book.read), 1)

    def test_it_ends_with_the_client(self) -> None:
        self.type("receive-post")
        self.face.leave()
        self.assertTrue(self.book.ended)
        self.reading.callback(None)
        self.successResultOf(self.running)


class BackTests(ReadingCase):
    posts_of_bob = 0

    def setUp(self) -> None:
        super().setUp()
        self.send("bob", "ann", *(f"number {number}." for number in range(120)))
        self.network.advance(1.0)

    def back(self) -> list[str]:
        """Page Up; what is in the window then."""
        self.face.look_back()
        self.network.flush()
        self.assertEqual(self.typist.asked, "view")
        return self.rows()

    def rows(self) -> list[str]:
        rows = self.typist.view.shown(*[WINDOW.columns, WINDOW.rows - 1])
        return ["".join(fragment[1] for fragment in row) for row in rows]

    def numbers(self, *numbers: int) -> list[str]:
        return [f"bob  number {number}." for number in numbers]

    def test_in_a_talk(self) -> None:
        self.type("talk bob")
        self.assertIn(OLDER_BY_KEY, self.typist.printed)
        self.assertEqual(self.back(), self.numbers(*range(111, 116)))
        self.assertEqual(self.asked("more"), [])
        for _ in range(12):
            self.typist.view.page(-1)
            self.network.flush()
        self.assertEqual(self.rows(), self.numbers(*range(63, 68)))
        self.assertEqual(len(self.asked("more")), 1)
        self.type(None)
        self.assertEqual(self.typist.asked, "line")

    def test_after_a_history(self) -> None:
        shown = self.type("history bob")
        self.assertEqual(shown[1:], self.numbers(*range(70, 120)))
        self.assertEqual(self.typist.asked, "line", "its end is what is wanted")
        self.assertEqual(self.back()[-1:], self.numbers(115))
        self.typist.view.search("number 2.", older=True)
        self.network.flush()
        self.assertIn("bob  number 2.", self.rows())

    def test_messages_wait_meanwhile(self) -> None:
        self.type("talk bob")
        self.back()
        self.typist.printed.clear()
        self.send("bob", "ann", "hello")
        self.network.advance(1.0)
        self.assertEqual(self.typist.printed, [])
        self.assertEqual(self.type(None), ["bob  hello"])

    def test_there_is_nothing(self) -> None:
        self.face.look_back()
        self.network.advance(0.1)
        words = "There is nothing to read back yet. Try: talk NAME, or history NAME"
        self.assertEqual(self.typist.printed[-1], words)
        self.type("history bob", "logout")
        self.face.look_back()
        self.network.advance(0.1)
        words = "There is nothing to read back yet. Try: talk NAME, or history NAME"
        self.assertEqual(self.typist.printed[-1], words)
        self.assertEqual(self.typist.asked, "line")

    def test_the_service_does_not_say_what_was_said(self) -> None:
        """Nothing is sent: without a command, the first word would be a name."""
        self.type("talk bob")
        vocabulary = self.client.vocabulary
        vocabulary.presentation = replace(face, talks=[Talk("friend", "send", "friend")])
        self.face.conversation.end_talk()
        self.type("talk bob")
        asked = [*self.network.requests]
        self.face.look_back()
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed[-1], "The service keeps nothing to read back.")
        self.assertEqual(self.network.requests, asked)

    def test_two_presses_are_one(self) -> None:
        self.type("talk bob")
        go_on = self.hold("history")
        self.face.look_back()
        self.face.look_back()
        self.network.flush()
        self.assertEqual(self.typist.asked, "line")
        go_on()
        self.network.flush()
        self.assertEqual(self.typist.asked, "view")
        self.type(None)
        self.assertEqual(self.typist.asked, "line")

    def test_it_cannot_be_had(self) -> None:
        self.type("history bob")
        self.answer("history", failure("unavailable"))
        self.face.look_back()
        self.network.advance(0.1)
        self.assertEqual(self.typist.printed[-1], "The service cannot answer now. Try again.")
        self.assertEqual(self.typist.asked, "line")


class AttentionCase(ReadingCase):
    posts_of_bob = 0

    def hear(self) -> tuple[int, bool]:
        """How often it rings at a message for ann, and whether the sender is highlighted."""
        bells, self.typist.styles = self.typist.bells, []
        self.send("bob", "ann", "hello")
        self.network.advance(0.1)
        highlighted = any("class:highlight" in style for style in self.typist.styles)
        return self.typist.bells - bells, highlighted


class OffTests(AttentionCase):
    attention = Attention.OFF

    def test_written_to(self) -> None:
        self.assertEqual(self.hear(), (0, False))


class HighlightTests(AttentionCase):
    attention = Attention.HIGHLIGHT

    def test_written_to(self) -> None:
        self.assertEqual(self.hear(), (0, True))


class BothTests(AttentionCase):
    attention = Attention.BOTH

    def test_not_by_whom_one_talks_with(self) -> None:
        self.type("talk bob")
        self.assertEqual(self.hear(), (0, False))
        self.type("end")
        self.assertEqual(self.hear(), (1, True))


class BellTests(AttentionCase):
    attention = Attention.BELL

    def test_written_to(self) -> None:
        self.assertEqual(self.hear(), (1, False))

    def test_named_in_a_group(self) -> None:
        self.register("eve")
        self.make_group("go", "eve")
        self.type("join-group go", "talk go")
        self.send_group("eve", "go", "e4")
        self.network.advance(0.1)
        self.assertEqual(self.typist.bells, 0)
        self.send_group("eve", "go", "ann, your turn")
        self.network.advance(0.1)
        self.assertEqual(self.typist.bells, 1)


class PlaceTests(ReadingCase):
    posts_of_bob = 0

    def test_said_and_commanded(self) -> None:
        talk = ("ann", Partner(FRIEND, "bob"))
        self.assertEqual(self.face.context("hello", False), InputContext())
        self.type("talk bob")
        self.assertEqual(self.face.context("hello", False), InputContext(talk, True))
        self.assertEqual(self.face.context("/ping", False), InputContext(talk))
        self.assertEqual(self.face.context("/ping", True), InputContext(talk, True))
        self.assertEqual(self.face.context("end", False), InputContext(talk))

    def test_before_the_talk_has_begun(self) -> None:
        self.hold("list-friend")
        self.type("talk bob")
        self.assertIsNone(self.face.conversation.talk)
        self.assertTrue(self.face.context("hello", False).said)
        self.assertFalse(self.face.context("/ping", False).said)
        self.face.interrupt()
        self.network.flush()
        self.assertFalse(self.face.context("hello", False).said)


class EndedPagerTests(SynchronousTestCase):
    def test_what_it_says(self) -> None:
        async def show(command: str) -> None:
            pager = ExternalPager(command, os.environ)
            verifyObject(IPager, pager)
            await pager.show("text").asFuture(asyncio.get_running_loop())

        asyncio.run(show("exec cat >/dev/null"))
        with self.assertRaisesRegex(PagerFailed, "exit code 3"):
            asyncio.run(show("cat >/dev/null; exit 3"))

    def test_ended_while_it_begins(self) -> None:
        """The client ends before it knows of the process that it has started."""

        async def scenario() -> None:
            pager = ExternalPager("exec sleep 100", os.environ)
            showing = pager.show("text").asFuture(asyncio.get_running_loop())
            await asyncio.sleep(0)
            pager.end()
            await asyncio.wait_for(showing, 50)

        asyncio.run(scenario())


@implementer(IPrinter)
class ScrollbackTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns: list[int] = []
        self.written: list[str] = []
        self.vocabulary = CommandCatalog(face)
        self.scrollback = Scrollback(self.clock, self.vocabulary, self)

    def print(self, lines: Sequence[Fragments]) -> None:
        self.turns.append(len(lines))
        self.written += [fragments[0][1] for fragments in lines]

    def add(self, *texts: str) -> None:
        for text in texts:
            self.scrollback.add([("", text)])

    def test_one_is_written_at_once(self) -> None:
        self.add("a")
        self.clock.advance(0)
        self.assertEqual(self.written, ["a"])
        self.clock.advance(PAUSE)
        self.add("b")
        self.clock.advance(0)
        self.assertEqual(self.written, ["a", "b"])

    def test_what_follows_waits_and_goes_together(self) -> None:
        self.add("a")
        self.clock.advance(0)
        self.add("b", "c")
        self.clock.advance(PAUSE / 2)
        self.assertEqual(self.turns, [1])
        self.clock.advance(PAUSE)
        self.assertEqual((self.turns, self.written), ([1, 2], ["a", "b", "c"]))

    def test_ten_thousand(self) -> None:
        self.add(*map(str, range(10_000)))
        for _ in range(10_000 // TURN):
            self.clock.advance(PAUSE)
        self.assertEqual(self.written, [str(number) for number in range(10_000)])
        self.assertEqual(set(self.turns), {TURN})
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_rest_at_the_end(self) -> None:
        self.scrollback.flush()
        self.add("a", "b")
        self.scrollback.flush()
        self.assertEqual(self.written, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_comes_while_somebody_reads_has_a_bound(self) -> None:
        send = {"usage": "send <user> <friend> <message>", "server": "app", "rest": True}
        history = {"usage": "history <user> <name>", "server": "app", "harmless": True}
        self.vocabulary.learn(Reply({"status": 0, "commands": [send, history]}), 0.0)
        self.scrollback.hold()
        self.add(*map(str, range(MOST_HELD + 3)))
        self.scrollback.release()
        self.scrollback.flush()
        self.assertEqual(
            self.written[0],
            "Earlier lines that are not shown here: 3. Try: history NAME",
        )
        self.assertEqual(self.written[1:], [str(number) for number in range(3, MOST_HELD + 3)])
        self.scrollback.hold()
        long = "x" * (MOST_CHARACTERS // 4)
        self.add("a", *[long] * 4)
        self.written.clear()
        self.scrollback.release()
        self.scrollback.flush()
        self.assertIn("not shown here: 1.", self.written[0])
        self.assertEqual(self.written[1:], [long] * 4)

    def test_so_has_what_waits_for_its_turn(self) -> None:
        long = "x" * (MOST_CHARACTERS // 4)
        self.add("a", "b", *[long] * 5)
        self.clock.pump([PAUSE] * 5)
        self.assertIn("not shown here: 3.", self.written[0])
        self.assertEqual(self.written[1:], [long] * 4)
        self.add("c")
        self.clock.advance(PAUSE)
        self.assertEqual(self.written[-1], "c")
