"""The lifeline against a reactor of its own kind."""

import os

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from bbs.daemons.app import ParentWatchdog


class LifelineTests(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactor()
        self.cuts: list[str] = []
        self.child_end, self.parent_end = os.pipe()
        self.addCleanup(os.close, self.child_end)
        self.lifeline = ParentWatchdog(self.reactor, self.child_end, self.cuts.append)
        self.lifeline.startService()

    def close_parent_end(self):
        os.close(self.parent_end)

    def test_interface(self):
        verifyObject(IReadDescriptor, self.lifeline)
        self.assertEqual(self.lifeline.fileno(), self.child_end)
        self.assertEqual(self.lifeline.logPrefix(), "lifeline")
        self.close_parent_end()

    def test_nothing_to_read(self):
        """A wake-up for nothing neither blocks nor cuts."""
        self.lifeline.doRead()
        self.assertEqual(self.cuts, [])
        self.assertEqual(self.reactor.getReaders(), [self.lifeline])
        self.close_parent_end()

    def test_what_is_written_is_not_a_cut(self):
        os.write(self.parent_end, b"x")
        self.lifeline.doRead()
        self.assertEqual(self.cuts, [])
        self.close_parent_end()

    def test_end_is_read(self):
        """The end behind what was written is a cut, once; then it watches no more."""
        os.write(self.parent_end, b"x")
        self.close_parent_end()
        self.lifeline.doRead()
        self.assertEqual(self.cuts, [])
        self.lifeline.doRead()
        self.assertEqual(self.cuts, ["the process that launched this server is dead"])
        self.assertEqual(self.reactor.getReaders(), [])

    def test_end_is_told(self):
        """Reactors that poll may tell of the end instead of letting it be read."""
        self.lifeline.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(self.cuts, ["the process that launched this server is dead"])
        self.close_parent_end()

    def test_stopping_reactor(self):
        """A reactor that stops drops its readers: nobody died."""
        self.lifeline.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.cuts, [])
        self.close_parent_end()

    def test_stopped(self):
        self.lifeline.stopService()
        self.assertEqual(self.reactor.getReaders(), [])
        self.close_parent_end()

    def test_descriptor_stays_open(self):
        """It is the process's own."""
        self.close_parent_end()
        self.lifeline.doRead()
        os.fstat(self.child_end)
