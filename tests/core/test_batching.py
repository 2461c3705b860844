"""What several ask for at once is done once."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.batching import GATHER, LARGEST, Batch, SingleFlight


class SharedWork(SynchronousTestCase):
    """`SingleFlight`."""

    def setUp(self):
        self.shared = SingleFlight()
        self.begun = []

    def work(self):
        work: Deferred[None] = Deferred()
        self.begun.append(work)

        async def wait():
            await work

        return wait()

    def test_once(self):
        """Whoever comes while it runs has a share in it; whoever comes later begins it anew."""
        first, second = self.shared.join("a", self.work), self.shared.join("a", self.work)
        other = self.shared.join("b", self.work)
        self.assertEqual(len(self.begun), 2)
        self.begun[0].callback(None)
        self.assertIs(self.successResultOf(first), None)
        self.successResultOf(second)
        self.assertNoResult(other)
        self.shared.join("a", self.work)
        self.assertEqual(len(self.begun), 3)

    def test_failure(self):
        waiting = [self.shared.join("a", self.work) for _ in range(2)]
        self.begun[0].errback(ZeroDivisionError())
        for each in waiting:
            self.failureResultOf(each, ZeroDivisionError)

    def test_give_up(self):
        """Who gives up waiting takes nothing from the others."""
        first, second = self.shared.join("a", self.work), self.shared.join("a", self.work)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.begun[0].callback(None)
        self.successResultOf(second)

    def test_settled(self):
        self.successResultOf(self.shared.settled("a"))
        self.shared.join("a", self.work).addErrback(lambda _: None)
        settled = self.shared.settled("a")
        self.assertNoResult(settled)
        self.begun[0].errback(ZeroDivisionError())
        self.successResultOf(settled)


class Batches(SynchronousTestCase):
    """`Batch`."""

    def setUp(self):
        self.clock = Clock()
        self.acted = []
        self.failing = {}
        self.batch = Batch(self.clock, self.act)

    async def act(self, keys):
        self.acted.append(keys)
        if "broken" in keys:
            raise ZeroDivisionError
        return {key: ValueError(key) for key in keys if key.startswith("bad")}

    def test_gathered(self):
        """Keys that come within a moment are one batch, each once."""
        added = [self.batch.add(key) for key in ("a", "b", "a")]
        self.assertEqual(self.acted, [])
        self.clock.advance(GATHER)
        for each in added:
            self.successResultOf(each)
        self.assertEqual(self.acted, [["a", "b"]])
        self.batch.add("a")
        self.clock.advance(GATHER)
        self.assertEqual(len(self.acted), 2)

    def test_largest(self):
        """A batch that is full does not wait."""
        for key in range(LARGEST + 1):
            self.batch.add(str(key))
        self.assertEqual([len(keys) for keys in self.acted], [LARGEST])
        self.clock.advance(GATHER)
        self.assertEqual([len(keys) for keys in self.acted], [LARGEST, 1])
        self.clock.advance(GATHER)
        self.assertEqual(len(self.acted), 2)

    def test_failures(self):
        """A key fails alone, or with its batch."""
        good, bad = self.batch.add("good"), self.batch.add("bad")
        self.clock.advance(GATHER)
        self.successResultOf(good)
        self.failureResultOf(bad, ValueError)
        added = [self.batch.add(key) for key in ("good", "broken")]
        self.clock.advance(GATHER)
        for each in added:
            self.failureResultOf(each, ZeroDivisionError)
