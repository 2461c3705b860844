"""What a run of faults counts and complains about: see `lab/faults`."""

from __future__ import annotations

from collections.abc import Iterable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from lab.faults.figures import Figures, Watch
from lab.faults.streams import Stream


class Known(Stream):
    """A stream whose outcomes are known."""

    kind = "post"

    async def request(self, number: int) -> None:
        raise NotImplementedError


class Checking(SynchronousTestCase):
    def setUp(self) -> None:
        self.figures = Figures("sqlite", 1, Watch(Clock().seconds))
        self.stream = Known(self.figures, "posts")
        self.stream.safe = dict.fromkeys((1, 2, 5))
        self.stream.unsure = {3}
        self.stream.unavailable = {4}

    def complaints(self, *found: int) -> Iterable[str]:
        self.stream.check(found, "there")
        return [each.removeprefix("posts, there: ") for each in self.figures.complaints]

    def test_all_is_well(self) -> None:
        self.assertEqual(self.complaints(1, 2, 3, 5), [])
        self.assertEqual(self.figures.total("acknowledged"), 3)
        self.assertEqual(self.figures.total("unavailable, and there"), 0)

    def test_what_nobody_knows_may_be_there_or_not(self) -> None:
        self.assertEqual(self.complaints(1, 2, 4, 5), [])
        self.assertEqual(self.figures.total("unavailable, and there"), 1)

    def test_lost(self) -> None:
        self.assertEqual(self.complaints(1, 5), ["lost: [2]"])

    def test_doubled(self) -> None:
        self.assertEqual(self.complaints(1, 2, 2, 5), ["doubled: [2]"])

    def test_out_of_order(self) -> None:
        self.assertEqual(self.complaints(2, 1, 5), ["out of order: [1]"])

    def test_refused_and_there(self) -> None:
        self.assertEqual(self.complaints(1, 2, 5, 6), ["there though refused: [6]"])


class Watching(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.watch = Watch(self.clock.seconds)
        self.watch.streams = {"posts": "post", "mine": "send", "yours": "send"}

    def test_served_by_what_was_asked_later(self) -> None:
        self.clock.advance(1)
        fault = self.watch.begin("kill", "it")
        self.clock.advance(1)
        self.watch.served("posts", 0.5)
        self.assertEqual(fault.served, {})
        self.watch.served("posts", 1.5)
        self.clock.advance(1)
        self.watch.served("posts", 2.5)
        self.assertEqual(fault.served, {"posts": 1.0})

    def test_open_until_each_stream_is_served_and_it_is_over_itself(self) -> None:
        fault = self.watch.begin("freeze", "it")
        for seconds, name in enumerate(self.watch.streams, 1):
            self.clock.advance(1)
            self.watch.served(name, 0.5)
            self.assertEqual(len(fault.served), seconds)
        self.assertEqual(self.watch.open, [fault])
        self.watch.over(fault)
        self.assertEqual(self.watch.open, [])
        self.assertEqual(self.watch.by_request(fault), {"post": 1.0, "send": 3.0})

    def test_alone(self) -> None:
        first = self.watch.begin("kill", "it")
        self.assertTrue(first.alone)
        second = self.watch.begin("kill", "that")
        self.assertEqual((first.alone, second.alone), (False, False))
