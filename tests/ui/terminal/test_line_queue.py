"""Lines in their turn, output in turns, and keys that ask."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.board.client import face
from bbs.client import Reply
from bbs.client.catalog import Vocabulary
from bbs.ui.prompts import Asking, Press
from bbs.ui.terminal.interfaces import Fragments
from bbs.ui.terminal.keys import lines_of, unsent_question
from bbs.ui.terminal.line_queue import Line, Work
from bbs.ui.terminal.scrollback import MOST_CHARACTERS, MOST_HELD, PAUSE, TURN, Above


class WorkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.begun: list[str] = []
        self.answers: dict[str, Deferred[bool]] = {}
        self.overs = 0
        self.work = Work(self.carry_out, self.over)

    def carry_out(self, line: Line) -> Deferred[bool]:
        self.begun.append(line.text)
        return self.answers.get(line.text, succeed(True))

    def add(self, lines: Sequence[str]) -> None:
        self.work.add(map(Line, lines))

    def over(self) -> None:
        self.overs += 1

    def test_at_once_when_nothing_is_under_way(self) -> None:
        self.add(["a", "  ", "", "b"])
        self.assertEqual(self.begun, ["a", "b"])
        self.assertEqual((self.work.under_way, self.work.unsent), ("", 0))

    def test_one_after_the_other(self) -> None:
        self.answers["a"] = Deferred()
        self.add(["a", "b"])
        self.add(["c"])
        self.assertEqual((self.begun, self.work.under_way, self.work.unsent), (["a"], "a", 2))
        self.answers["a"].callback(True)
        self.assertEqual(self.begun, ["a", "b", "c"])

    def test_thousands_of_lines(self) -> None:
        self.add(["x"] * 10_000)
        self.assertEqual(len(self.begun), 10_000)

    def test_the_last(self) -> None:
        self.answers["exit"] = succeed(False)
        self.add(["exit", "b"])
        self.assertEqual((self.begun, self.overs, self.work.unsent), (["exit"], 1, 0))

    def test_given_up(self) -> None:
        self.answers["a"] = Deferred(lambda waiting: waiting.callback(True))
        self.add(["a", "b", "c"])
        self.assertEqual(self.work.give_up(), 2)
        self.assertEqual((self.begun, self.work.under_way), (["a"], ""))
        self.assertEqual(self.work.give_up(), 0)
        self.add(["d"])
        self.assertEqual(self.begun, ["a", "d"])

    def test_a_mistake_of_our_own_ends_nothing(self) -> None:
        self.answers["a"] = fail(ZeroDivisionError())
        self.add(["a", "b"])
        self.assertEqual((self.begun, self.overs), (["a", "b"], 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class AboveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.turns: list[int] = []
        self.written: list[str] = []
        self.vocabulary = Vocabulary(face)
        self.above = Above(self.clock, self.vocabulary, self.write)

    def write(self, lines: Sequence[Fragments]) -> None:
        self.turns.append(len(lines))
        self.written += [fragments[0][1] for fragments in lines]

    def add(self, *texts: str) -> None:
        for text in texts:
            self.above.add([("", text)])

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
        self.above.flush()
        self.add("a", "b")
        self.above.flush()
        self.assertEqual(self.written, ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_what_comes_while_somebody_reads_has_a_bound(self) -> None:
        send = {"usage": "send <user> <friend> <message>", "server": "app", "rest": True}
        history = {"usage": "history <user> <name>", "server": "app", "harmless": True}
        self.vocabulary.learn(Reply({"status": 0, "commands": [send, history]}), 0.0)
        self.above.hold()
        self.add(*map(str, range(MOST_HELD + 3)))
        self.above.let_go()
        self.above.flush()
        self.assertEqual(
            self.written[0],
            "3 came before these and are left out here; history NAME has messages.",
        )
        self.assertEqual(self.written[1:], [str(number) for number in range(3, MOST_HELD + 3)])
        self.above.hold()
        long = "x" * (MOST_CHARACTERS // 4)
        self.add("a", *[long] * 4)
        self.written.clear()
        self.above.let_go()
        self.above.flush()
        self.assertIn("1 came before these", self.written[0])
        self.assertEqual(self.written[1:], [long] * 4)


class AskingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[str] = []
        self.asking = Asking(self.said.append)

    def test_the_second_press_is_the_answer(self) -> None:
        press = Press("c-c", "half")
        self.assertFalse(self.asking.confirmed(press, "sure?"))
        self.assertTrue(self.asking.confirmed(press, "sure?"))
        self.assertFalse(self.asking.confirmed(press, "sure?"))
        self.assertEqual(self.said, ["sure?"] * 2)

    def test_another_line_is_asked_for_anew(self) -> None:
        self.asking.confirmed(Press("c-c", "half"), "sure?")
        self.assertFalse(self.asking.confirmed(Press("c-c", "half a line"), "sure?"))
        self.assertFalse(self.asking.confirmed(Press("c-d", "half a line"), "sure?"))
        self.assertFalse(self.asking.confirmed(Press("c-d", "half a line", "ping"), "sure?"))

    def test_once(self) -> None:
        for line in ("a", "a", "b"):
            self.asking.once(Press("x", line), line)
        self.assertEqual(self.said, ["a", "b"])

    def test_what_would_be_lost(self) -> None:
        self.assertEqual(unsent_question("", "", 0), "")
        self.assertEqual(
            unsent_question("half", "login ann", 2),
            "Ctrl-D again ends all the same: the line is not sent, what is under way may not be "
            "carried out, 2 lines behind it not sent.",
        )
        self.assertEqual(lines_of(1), "1 line")
