"""Calls of EC2's API: their tries, deadlines and gates."""

from __future__ import annotations

import subprocess
import sys

from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.scaling.ec2 import client
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.throttle import CHANGING_PATIENCE, DESCRIBING_PATIENCE
from tests.scaling.ec2.tools import MemoryApi, MemoryEC2, NoAnswer, Threads, client_of
from tests.standins.ec2 import APIError

RUN = {
    "ClientToken": "token",
    "InstanceType": "t3.micro",
    "TagSpecifications": [
        {"ResourceType": "instance", "Tags": [{"Key": "bbs:launch", "Value": "a"}]}
    ],
}


def unavailable():
    return APIError("Unavailable")


def throttled():
    return APIError("RequestLimitExceeded")


class ClientCase(SynchronousTestCase):
    """A client with a clock, and an API in memory that answers when the test lets it."""

    pools: dict[str, Threads]
    api: MemoryApi

    eager = True

    def setUp(self):
        self.clock = Clock()
        self.ec2 = MemoryEC2(self.clock)
        self.client = client_of(self, self.clock, self.ec2, self.eager)

    def asked(self, name="RunInstances"):
        return len(self.ec2.named(name))

    def error(self, call):
        return self.failureResultOf(call, EC2Error).value

    def describe(self):
        return self.client.describe_instances(Filters=[])


class Tries(ClientCase):
    """What is asked again, when, and how often."""

    def test_answer(self):
        answer = self.successResultOf(self.client.run_instances(**RUN))
        self.assertEqual(answer["Instances"][0]["InstanceId"], "i-1")
        self.assertEqual(self.ec2.named("RunInstances"), [RUN])
        self.assertIn("Images", self.successResultOf(self.client.describe_images(ImageIds=["a"])))
        ended = self.successResultOf(self.client.terminate_instances(InstanceIds=["i-1"]))
        self.assertEqual(len(ended["TerminatingInstances"]), 1)
        self.assertEqual(self.successResultOf(self.describe())["Reservations"][0:0], [])

    def test_again(self):
        """After a moment that doubles, with the same parameters."""
        self.ec2.errors["RunInstances"] = [
            unavailable(),
            NoAnswer(),
        ]
        call = self.client.run_instances(**RUN)
        self.assertEqual(self.asked(), 1)
        self.clock.advance(0.04)
        self.assertEqual(self.asked(), 1)
        self.clock.advance(0.01)
        self.assertEqual(self.asked(), 2)
        self.clock.advance(0.09)
        self.assertEqual(self.asked(), 2)
        self.clock.advance(0.01)
        self.successResultOf(call)
        self.assertEqual(self.ec2.named("RunInstances"), [RUN] * 3)

    def test_lost_answer(self):
        """A call whose answer was lost is one call, by its token."""
        self.ec2.lost["RunInstances"] = [NoAnswer()]
        call = self.client.run_instances(**RUN)
        self.clock.advance(1)
        self.successResultOf(call)
        self.assertEqual(list(self.ec2.instances), ["i-1"])

    def test_three_times(self):
        self.ec2.errors["RunInstances"] = [unavailable() for _ in range(5)]
        call = self.client.run_instances(**RUN)
        self.clock.pump([0.05, 0.1, 1, 1])
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.AGAIN)
        self.assertTrue(error.doubtful)
        self.assertEqual(self.asked(), 3)

    def test_no_more(self):
        """What another try does not help is not tried again."""
        for code in ("InsufficientInstanceCapacity", "UnauthorizedOperation"):
            self.ec2.errors["RunInstances"] = [APIError(code, status=500)]
            error = self.error(self.client.run_instances(**RUN))
            self.assertEqual(error.code, code)
            self.assertFalse(error.doubtful)
        self.assertEqual(self.asked(), 2)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_doubt_stays(self):
        """An error behind a lost answer is one of a call that may have been carried out."""
        self.ec2.errors["RunInstances"] = [
            unavailable(),
            APIError("InsufficientInstanceCapacity"),
        ]
        call = self.client.run_instances(**RUN)
        self.clock.advance(0.05)
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.ELSEWHERE)
        self.assertTrue(error.doubtful)

    def test_quota(self):
        """When nearly all fails, there are no more tries; answers earn them back."""
        tries = client.QUOTA // client.QUOTA_OF_A_RETRY
        self.ec2.errors["DescribeInstances"] = [unavailable() for _ in range(200)]
        for _ in range(tries // 2):
            call = self.describe()
            self.clock.pump([0.05, 0.1])
            self.error(call)
        before = self.asked("DescribeInstances")
        self.clock.pump([0.05])
        call = self.describe()
        self.clock.pump([0.05, 0.1])
        self.error(call)
        self.error(self.describe())
        self.assertLessEqual(self.asked("DescribeInstances") - before, 3)
        self.ec2.errors.clear()
        for _ in range(client.QUOTA_OF_A_RETRY):
            self.successResultOf(self.describe())
        self.ec2.errors["DescribeInstances"] = [unavailable()]
        call = self.describe()
        self.clock.advance(0.05)
        self.successResultOf(call)

    def test_bug(self):
        self.ec2.errors["RunInstances"] = [ZeroDivisionError()]
        self.failureResultOf(self.client.run_instances(**RUN), ZeroDivisionError)

    def test_no_secrets(self):
        """An error has nothing of the parameters with it."""
        self.ec2.errors["RunInstances"] = [APIError("InvalidParameterValue")]
        failure = self.failureResultOf(self.client.run_instances(**RUN, UserData="hunter2"))
        self.assertNotIn("hunter2", failure.getTraceback())


class Spreading(ClientCase):
    """An instance profile that EC2 does not know, or not yet."""

    def unknown(self, count):
        """So many calls are refused for it."""
        message = "Value (bbs-app) for parameter iamInstanceProfile.name is invalid"
        self.ec2.errors["RunInstances"] = [
            APIError("InvalidParameterValue", message=message) for _ in range(count)
        ]

    def advance(self, seconds):
        for _ in range(round(seconds * 10)):
            self.clock.advance(0.1)

    def test_late(self):
        """It is asked for again, for longer than a call may take otherwise; one line says so."""
        self.unknown(9)
        with capturedLogs() as events:
            call = self.client.run_instances(**RUN)
            self.advance(26.5)
            self.assertNoResult(call)
            self.advance(1.5)
        self.successResultOf(call)
        self.assertEqual(self.ec2.named("RunInstances"), [RUN] * 10)
        (line,) = [formatEvent(each) for each in events if each["log_level"] is LogLevel.warn]
        self.assertIn("bbs-app", line)
        self.assertIn("asked again, in case it is new", line)

    def test_never(self):
        """It is for an operator after a while: for all calls together, and at once then."""
        self.unknown(1000)
        calls = [self.client.run_instances(**RUN)]
        self.advance(20)
        calls.append(self.client.run_instances(**RUN))
        self.advance(client.SPREADING - 20 + client.SPREADING_PAUSE)
        calls.append(self.client.run_instances(**RUN))
        for call in calls:
            error = self.error(call)
            self.assertIs(error.verdict, Verdict.REFUSED)
            self.assertFalse(error.doubtful)
            self.assertRegex(str(error), r"\(bbs-app\).*; create this instance profile")

    def test_another(self):
        """After the time that launches are held, one that is new is waited for."""
        self.unknown(1000)
        call = self.client.run_instances(**RUN)
        self.advance(2 * client.SPREADING)
        self.error(call)
        self.unknown(1)
        call = self.client.run_instances(**RUN)
        self.assertNoResult(call)
        self.advance(client.SPREADING_PAUSE + 0.1)
        self.successResultOf(call)

    def test_many_together(self):
        """They take turns, as always, and end all."""
        self.unknown(60)
        calls = [
            self.client.run_instances(**(RUN | {"ClientToken": str(number)}))
            for number in range(20)
        ]
        self.advance(60)
        for call in calls:
            self.successResultOf(call)

    def test_stopped(self):
        self.unknown(1)
        call = self.client.run_instances(**RUN)
        self.successResultOf(self.client.stopService())
        self.failureResultOf(call, CancelledError)
        self.assertFalse(self.clock.getDelayedCalls())


class Gate(ClientCase):
    """Throttling holds the calls of its action back."""

    def test_that_action_alone(self):
        """What EC2 throttles waits; everything else goes on."""
        self.ec2.errors["RunInstances"] = [throttled()]
        launches = [self.client.run_instances(**RUN)]
        self.clock.advance(0)
        launches.append(self.client.run_instances(**RUN))
        self.successResultOf(self.describe())
        self.successResultOf(self.client.terminate_instances(InstanceIds=[]))
        self.clock.advance(0.99)
        self.assertEqual(self.asked(), 1)
        self.clock.advance(0.01)
        for call in launches:
            self.successResultOf(call)

    def test_opens_after_an_answer(self):
        """It stays closed for longer while EC2 throttles, and not after an answer."""
        self.ec2.errors["RunInstances"] = [throttled() for _ in range(3)]
        launch = self.client.run_instances(**RUN)
        for seconds, asked in ((0.9, 1), (0.2, 2), (1.8, 2), (0.3, 3), (3.7, 3), (0.5, 4)):
            self.clock.advance(0)
            self.clock.advance(seconds)
            self.assertEqual(self.asked(), asked)
        self.successResultOf(launch)
        self.ec2.errors["RunInstances"] = [throttled()]
        launch = self.client.run_instances(**RUN)
        self.clock.advance(0)
        self.clock.advance(1)
        self.successResultOf(launch)

    def test_opens_after_a_refusal(self):
        """That is an answer too."""
        self.ec2.errors["RunInstances"] = [throttled(), APIError("InstanceLimitExceeded")]
        launch = self.client.run_instances(**RUN)
        self.clock.advance(0)
        self.clock.advance(1)
        self.assertIs(self.error(launch).verdict, Verdict.REFUSED)
        self.ec2.errors["RunInstances"] = [throttled()]
        launch = self.client.run_instances(**RUN)
        self.clock.advance(0)
        self.clock.advance(1)
        self.successResultOf(launch)

    def test_patience(self):
        """A call that would wait longer than it may is not made."""
        self.ec2.errors["DescribeInstances"] = [throttled() for _ in range(50)]
        call = self.describe()
        for _ in range(110):
            self.clock.advance(0.1)
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.UNASKED)
        self.assertFalse(error.doubtful)
        self.assertRegex(
            str(error), r"^EC2 throttles DescribeInstances: it is not asked for \d+ s$"
        )

    def test_doubt_before_it(self):
        """A call that may have been carried out stays one when the gate closes behind it."""
        self.ec2.errors["RunInstances"] = [unavailable(), *(throttled() for _ in range(50))]
        call = self.client.run_instances(**RUN)
        for _ in range(160):
            self.clock.advance(0.1)
        self.assertTrue(self.error(call).doubtful)


class Queue(ClientCase):
    """Launches that wait for their turn."""

    def test_patience_begins_with_the_call(self):
        """The last of fifty begins after 22 seconds, and has all of its time then."""
        self.pools["ec2-changing"].eager = False
        calls = [self.client.run_instances(**RUN) for _ in range(50)]
        for _ in range(226):
            while self.pools["ec2-changing"].jobs and len(self.ec2.calls) < 49:
                self.pools["ec2-changing"].finish()
            self.clock.advance(0.1)
        for call in calls[:49]:
            self.successResultOf(call)
        self.assertNoResult(calls[49])
        self.clock.advance(client.DEADLINE - 0.5)
        self.assertNoResult(calls[49])
        self.pools["ec2-changing"].finish()
        self.successResultOf(calls[49])

    def test_instances_are_counted(self):
        """Of calls about many at once, those that EC2 has no tokens for wait; another try of one
        that has had its turn does not."""
        self.ec2.errors["RunInstances"] = [unavailable()]
        calls = [self.client.run_instances(**RUN, MaxCount=600) for _ in range(2)]
        self.clock.advance(0.05)
        self.successResultOf(calls[0])
        self.clock.advance(99)
        self.assertNoResult(calls[1])
        self.clock.advance(1)
        self.successResultOf(calls[1])

    def test_stopped_in_it(self):
        """What waits for its turn when the client stops was certainly not asked."""
        calls = [self.client.run_instances(**RUN) for _ in range(8)]
        self.successResultOf(self.client.stopService())
        for call in calls[5:]:
            self.failureResultOf(call, CancelledError)
        self.clock.advance(60)
        self.assertEqual(self.asked(), 5)


class Late(ClientCase):
    """Answers that take their time, or never come."""

    eager = False

    def jobs(self, name="ec2-changing"):
        return len(self.pools[name].jobs)

    def test_nothing_waits_for_another(self):
        """However many calls hang, the next one is sent at once."""
        for _ in range(50):
            self.describe()
        self.client.terminate_instances(InstanceIds=[])
        self.assertEqual((self.jobs("ec2-describing"), self.jobs()), (50, 1))

    def test_deadline(self):
        """A try is given up at its deadline, the next when the call's time is over."""
        call = self.client.run_instances(**RUN)
        self.clock.advance(client.DEADLINE)
        self.assertTrue(self.given_up())
        self.assertEqual(self.jobs(), 0)
        self.clock.advance(0.05)
        self.assertEqual(self.jobs(), 1)
        self.clock.advance(CHANGING_PATIENCE - client.DEADLINE)
        error = self.error(call)
        self.assertTrue(error.doubtful)
        self.assertIs(error.verdict, Verdict.AGAIN)
        self.assertEqual(str(error), "EC2 does not answer RunInstances: nothing in 7 s")
        self.assertFalse(self.clock.getDelayedCalls())

    def test_turn_that_comes_too_late(self):
        """A try whose turn comes when the call's time is over is not sent; the one before may have
        been carried out."""
        call = self.client.run_instances(**RUN)
        self.clock.advance(client.DEADLINE)
        self.clock.advance(0.05)
        self.clock.advance(CHANGING_PATIENCE - client.DEADLINE - 0.2)
        for _ in range(7):
            self.client.run_instances(**RUN)
        self.ec2.errors["RunInstances"] = [unavailable()]
        self.pools["ec2-changing"].finish()
        self.clock.advance(0.1)
        self.assertNoResult(call)
        self.clock.advance(0.4)
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.UNASKED)
        self.assertTrue(error.doubtful)
        self.assertEqual(self.asked(), 1)

    def given_up(self, name="ec2-changing"):
        """Whether the oldest exchange was cancelled."""
        return self.pools[name].given_up > 0

    def test_not_ready(self):
        """A call whose credentials do not come has certainly not been asked."""
        self.api.has_credentials = False
        call = self.describe()
        self.clock.advance(client.DEADLINE)
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.UNASKED)
        self.assertFalse(error.doubtful)
        self.assertRegex(str(error), "^DescribeInstances: there are no credentials yet after 8 s")
        self.assertLess(client.DEADLINE, DESCRIBING_PATIENCE)

    def test_cancel(self):
        """A call that is given up fails at once, and so does its exchange."""
        first, *others = [self.client.run_instances(**RUN) for _ in range(5)]
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertTrue(self.given_up())
        for _ in range(4):
            self.pools["ec2-changing"].finish()
        for call in others:
            self.successResultOf(call)

    def test_cancel_between_tries(self):
        self.ec2.errors["RunInstances"] = [unavailable()]
        call = self.client.run_instances(**RUN)
        self.pools["ec2-changing"].finish()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_stop(self):
        """Stopping gives up every call at once."""
        calls = [self.client.run_instances(**RUN) for _ in range(5)]
        self.successResultOf(self.client.stopService())
        for call in calls:
            self.failureResultOf(call, CancelledError)
        self.assertEqual(self.pools["ec2-changing"].given_up, 5)
        self.assertIs(self.error(self.describe()).verdict, Verdict.UNASKED)
        self.assertFalse(self.clock.getDelayedCalls())
        self.assertEqual(self.flushLoggedErrors(), [])


class Imports(SynchronousTestCase):
    def test_not_imported(self):
        """A process that asks nothing of EC2 imports neither boto3 nor botocore."""
        code = (
            "import sys, bbs.daemons.login, bbs.daemons.app, bbs.scaling.ec2.client;"
            "sys.exit(any(name.startswith('boto') for name in sys.modules))"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
