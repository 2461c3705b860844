"""Lines wait for their turn, and a pipe's are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from bbs.ui.gateway.keyboard import MOST_WAITING, Answer, InputQueue, LineCutter, Overlong
from bbs.ui.interfaces import PromptCancelled


class QueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.queue = InputQueue(1000)

    def test_lines_come_in_their_order(self) -> None:
        self.queue.add("one")
        waiting = [self.queue.next()]
        waiting.append(self.queue.next())
        self.assertNoResult(waiting[1])
        self.queue.add(b"two")
        self.assertEqual([self.successResultOf(each) for each in waiting], ["one", b"two"])

    def test_the_end_is_behind_the_last(self) -> None:
        self.queue.add("one")
        self.queue.end()
        self.assertEqual(self.successResultOf(self.queue.next()), "one")
        self.assertIsNone(self.successResultOf(self.queue.next()))

    def test_the_end_is_told_who_waits(self) -> None:
        waiting = self.queue.next()
        self.queue.end()
        self.assertIsNone(self.successResultOf(waiting))

    def test_held_it_gives_none_out(self) -> None:
        self.queue.hold(True)
        self.queue.add("one")
        waiting = self.queue.next()
        self.queue.end()
        self.assertNoResult(waiting)
        self.queue.hold(False)
        self.assertEqual(self.successResultOf(waiting), "one")

    def test_who_waits_may_give_up(self) -> None:
        waiting = self.queue.next()
        self.queue.give_up()
        self.failureResultOf(waiting, PromptCancelled)
        self.queue.give_up()
        waiting = self.queue.next()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.queue.add("one")
        self.assertEqual(self.successResultOf(self.queue.next()), "one")

    def test_answers_that_are_next_are_skipped(self) -> None:
        for line in (Answer("1"), Answer("2"), "ping", Answer("3")):
            self.queue.add(line)
        self.assertEqual(self.queue.skip_answers(), 2)
        self.assertEqual(self.queue.skip_answers(), 0)
        self.assertEqual(list(self.queue), ["ping", "3"])

    def test_many_lines_fill_it(self) -> None:
        room = []
        self.queue.on_room = lambda: room.append(self.queue.is_full)
        for _ in range(MOST_WAITING):
            self.assertFalse(self.queue.is_full)
            self.queue.add("")
        self.assertTrue(self.queue.is_full)
        self.queue.next()
        self.assertEqual(room, [False])

    def test_many_bytes_fill_it(self) -> None:
        self.queue.add(b"x" * 1000)
        self.assertFalse(self.queue.is_full)
        self.queue.add("x")
        self.assertTrue(self.queue.is_full)
        room = []
        self.queue.on_room = lambda: room.append(self.queue.is_full)
        self.queue.next()
        self.assertEqual(room, [False])
        self.queue.add(b"x" * 1000)
        self.assertTrue(self.queue.is_full)
        self.assertEqual(len(self.queue.clear()), 2)
        self.assertEqual(room, [False, False])


class CutterTests(SynchronousTestCase):
    def cut(self, *pieces: bytes) -> list[bytes]:
        cutter = LineCutter(5)
        return [line for piece in pieces for line in cutter.feed(piece)]

    def test_lines(self) -> None:
        self.assertEqual(self.cut(b"one\n\ntwo", b"\nthree"), [b"one", b"", b"two"])

    def test_a_line_may_be_as_long_as_it_may(self) -> None:
        self.assertEqual(self.cut(b"12345\n"), [b"12345"])

    def test_of_a_longer_one_nothing_is_left(self) -> None:
        self.assertEqual(self.cut(b"123456\nab\n"), [Overlong(b"12345"), b"ab"])
        found = self.cut(b"123", b"456", b"789", b"\nab\n")
        self.assertEqual(found, [Overlong(b"12345"), b"ab"])
        self.assertEqual([isinstance(each, Overlong) for each in found], [True, False])

    def test_it_is_told_as_soon_as_that_is_certain(self) -> None:
        self.assertEqual(self.cut(b"123456"), [Overlong(b"12345")])

    def test_what_was_begun_can_be_had(self) -> None:
        cutter = LineCutter(5)
        self.assertEqual(list(cutter.feed(b"a\nbc")), [b"a"])
        self.assertEqual(cutter.rest(), b"bc")
        self.assertEqual(cutter.rest(), b"")
        list(cutter.feed(b"123456"))
        self.assertEqual(cutter.rest(), b"")

    @given(st.text("ab\n", max_size=40), st.lists(st.integers(0, 40)))
    def test_cut_anywhere(self, text: str, cuts: list[int]) -> None:
        data = text.encode()
        edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        pieces = [data[start:end] for start, end in pairwise(edges)]
        self.assertEqual(self.cut(*pieces), self.cut(data))
