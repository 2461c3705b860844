"""When calls of EC2's API may be sent."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.throttle import (
    FIRST_CLOSURE,
    LONGEST_CLOSURE,
    RATES,
    Throttle,
    ThrottleRate,
    instances_in,
)


class GateCase(SynchronousTestCase):
    """A gate with three tokens, and two a second."""

    rate = ThrottleRate(3, 2.0, 10.0)

    def setUp(self):
        self.clock = Clock()
        self.gate = Throttle(self.clock, "RunInstances", self.rate, lambda: 1.0)
        self.through: list[int] = []
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def closures(self):
        """For which action the gate was closed, and for how many seconds, each time."""
        return [(each["action"], each["seconds"]) for each in self.events if "seconds" in each]

    def throttle(self):
        """EC2 throttles, and as long as the gate is closed time passes."""
        self.gate.throttled()
        self.clock.advance(self.closures()[-1][1])

    def enter(self, number, ends=None, instances=1):
        """A call at the gate, known by its number."""
        call = self.gate.enter(ends, instances)
        call.addCallback(lambda _: self.through.append(number))
        return call

    def advance(self, seconds):
        """In steps, as a reactor does."""
        for _ in range(round(seconds * 100)):
            self.clock.advance(0.01)

    def hopeless(self, call):
        error = self.failureResultOf(call, EC2Error).value
        self.assertIs(error.verdict, Verdict.UNASKED)
        self.assertFalse(error.doubtful)
        return str(error)


class Paced(GateCase):
    """What EC2's bucket holds goes at once, the rest in its time."""

    def test_in_turn(self):
        for number in range(8):
            self.enter(number)
        self.assertEqual(self.through, [0, 1, 2])
        self.advance(0.49)
        self.assertEqual(self.through, [0, 1, 2])
        self.advance(2.02)
        self.assertEqual(self.through, list(range(8)))
        self.assertFalse(self.clock.getDelayedCalls())

    def test_saves_no_more_than_it_holds(self):
        self.advance(60)
        for number in range(8):
            self.enter(number)
        self.assertEqual(len(self.through), 3)

    def test_queue_has_no_end(self):
        """However long a call waits for its turn, it begins, and its patience begins then."""
        for number in range(100):
            self.enter(number)
        self.advance(49)
        self.assertEqual(self.through, list(range(100)))

    def test_tries_first(self):
        """A call that has begun goes before those that have not: its time is running."""
        for number in range(5):
            self.enter(number)
        self.enter(9, ends=10.0)
        self.advance(0.51)
        self.assertEqual(self.through, [0, 1, 2, 9])

    def test_left(self):
        """A call that is given up while it waits takes nobody's turn."""
        calls = [self.enter(number) for number in range(5)]
        calls[3].cancel()
        self.failureResultOf(calls[3], CancelledError)
        self.advance(0.51)
        self.assertEqual(self.through, [0, 1, 2, 4])
        self.assertFalse(self.clock.getDelayedCalls())

    def test_documented(self):
        """The buckets that EC2 documents: for calls, and for the instances in them."""
        for action, calls, instances in (
            ("CreateFleet", (50, 5.0), (1000, 2.0)),
            ("CreateLaunchTemplate", (50, 5.0), (0, 0.0)),
            ("CreateTags", (100, 10.0), (0, 0.0)),
            ("DeleteLaunchTemplate", (50, 5.0), (0, 0.0)),
            ("DescribeImages", (100, 20.0), (0, 0.0)),
            ("DescribeInstances", (100, 20.0), (0, 0.0)),
            ("DescribeLaunchTemplateVersions", (100, 20.0), (0, 0.0)),
            ("DescribeLaunchTemplates", (100, 20.0), (0, 0.0)),
            ("RunInstances", (5, 2.0), (1000, 2.0)),
            ("StartInstances", (5, 2.0), (1000, 2.0)),
            ("StopInstances", (50, 5.0), (1000, 20.0)),
            ("TerminateInstances", (100, 5.0), (1000, 20.0)),
        ):
            rate = RATES[action]
            self.assertEqual((rate[:2], rate[3:]), (calls, instances), action)


class Instances(GateCase):
    """A gate that counts instances too: ten at once, and four a second."""

    rate = ThrottleRate(3, 2.0, 10.0, 10, 4.0)

    def test_counted(self):
        self.enter(0, instances=7)
        self.enter(1, instances=5)
        self.assertEqual(self.through, [0])
        self.advance(0.49)
        self.assertEqual(self.through, [0])
        self.advance(0.02)
        self.assertEqual(self.through, [0, 1])
        self.assertFalse(self.clock.getDelayedCalls())

    def test_calls_count_as_well(self):
        """However few instances they are about."""
        for number in range(4):
            self.enter(number)
        self.assertEqual(self.through, [0, 1, 2])

    def test_in_turn(self):
        """One about few does not overtake one about many, which would never get its turn."""
        self.enter(0, instances=10)
        self.enter(1, instances=8)
        self.enter(2, instances=1)
        self.advance(1.99)
        self.assertEqual(self.through, [0])
        self.advance(0.02)
        self.assertEqual(self.through, [0, 1])
        self.advance(0.25)
        self.assertEqual(self.through, [0, 1, 2])

    def test_more_than_it_holds(self):
        """It goes when the bucket is full."""
        self.enter(0, instances=50)
        self.assertEqual(self.through, [0])
        self.enter(1, instances=50)
        self.advance(2.49)
        self.assertEqual(self.through, [0])
        self.advance(0.02)
        self.assertEqual(self.through, [0, 1])

    def test_later_tries(self):
        """They are about the same instances, which are counted once."""
        self.enter(0, instances=10)
        self.enter(0, ends=5.0, instances=0)
        self.assertEqual(self.through, [0, 0])

    def test_given_back(self):
        """By a call that failed, for those who wait; the bucket holds no more than before."""
        self.enter(0, instances=10)
        self.enter(1, instances=10)
        self.gate.give_back(10)
        self.assertEqual(self.through, [0, 1])
        self.gate.give_back(50)
        self.enter(2, instances=10)
        self.enter(3, instances=10)
        self.advance(2.4)
        self.assertEqual(self.through, [0, 1, 2])

    def test_in_calls(self):
        for parameters, count in (
            ({"MinCount": 1, "MaxCount": 40}, 40),
            ({"InstanceIds": ["i-1", "i-2"]}, 2),
            ({"TargetCapacitySpecification": {"TotalTargetCapacity": 7}}, 7),
            ({"LaunchTemplateName": "bbs"}, 1),
        ):
            self.assertEqual(instances_in(parameters), count)


class Throttled(GateCase):
    """EC2 throttles: the gate closes."""

    def test_closes(self):
        self.gate.throttled()
        self.enter(0)
        self.advance(0.99)
        self.assertEqual(self.through, [])
        self.advance(0.02)
        self.assertEqual(self.through, [0])

    def test_opens_slowly(self):
        """EC2's bucket was empty, so nobody runs in when it opens."""
        self.gate.throttled()
        for number in range(6):
            self.enter(number)
        self.advance(1.01)
        self.assertEqual(self.through, [0, 1])
        self.advance(0.5)
        self.assertEqual(self.through, [0, 1, 2])

    def test_doubles(self):
        """For longer while EC2 throttles, up to a bound; and not after an answer."""
        for _ in range(7):
            self.throttle()
        self.gate.answered()
        self.gate.throttled()
        self.assertEqual(
            [seconds for _, seconds in self.closures()],
            [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_CLOSURE, LONGEST_CLOSURE, FIRST_CLOSURE],
        )

    def test_together_count_once(self):
        self.gate.throttled()
        self.gate.throttled()
        self.enter(0)
        self.advance(1.01)
        self.assertEqual(self.through, [0])
        self.assertEqual(self.closures(), [("RunInstances", 1.0)])

    def test_hopeless(self):
        """A call that has no time for it fails at once, and says why."""
        for _ in range(4):
            self.throttle()
        self.gate.throttled()
        text = self.hopeless(self.enter(0, ends=self.clock.seconds() + 5))
        self.assertEqual(text, "EC2 throttles RunInstances: it is not asked for 16 s")
        self.hopeless(self.enter(1))

    def test_who_waits_already(self):
        """Their patience begins when EC2 begins to throttle."""
        calls = [self.enter(number) for number in range(40)]
        for _ in range(3):
            self.throttle()
        waiting = [call for call in calls if not call.called]
        self.assertTrue(waiting)
        self.gate.throttled()
        for call in waiting:
            self.hopeless(call)
        self.assertFalse(self.clock.getDelayedCalls())
