"""Calls of EC2's API: their threads, tries, deadlines and the gate."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from typing import Any

from botocore.exceptions import NoCredentialsError, ReadTimeoutError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.config import EC2
from bbs.scaling.ec2 import client
from bbs.scaling.ec2.client import boto_client
from bbs.scaling.ec2.errors import EC2Error, Verdict
from tests.ec2_tools import MemoryEC2, Threads, client_error, client_of

RUN = {
    "ClientToken": "token",
    "InstanceType": "t3.micro",
    "TagSpecifications": [
        {"Tags": [{"Key": "bbs:launch", "Value": "a"}, {"Key": "bbs:fleet", "Value": "bbs"}]}
    ],
}


def unavailable():
    return client_error("Unavailable", 503)


def throttled():
    return client_error("RequestLimitExceeded", 503)


class ClientCase(SynchronousTestCase):
    """A client with a clock, and threads that the test runs."""

    pools: dict[str, Threads]

    eager = True

    def setUp(self):
        self.clock = Clock()
        self.ec2 = MemoryEC2()
        self.client = client_of(self, self.clock, self.ec2, self.eager)

    def asked(self, name="run_instances"):
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
        self.assertEqual(self.ec2.named("run_instances"), [RUN])
        self.assertIn("Images", self.successResultOf(self.client.describe_images(ImageIds=["a"])))
        ended = self.successResultOf(self.client.terminate_instances(InstanceIds=["i-1"]))
        self.assertEqual(len(ended["TerminatingInstances"]), 1)
        self.assertEqual(self.successResultOf(self.describe())["Reservations"][0:0], [])

    def test_again(self):
        """After a moment that doubles, with the same parameters."""
        self.ec2.errors["run_instances"] = [
            unavailable(),
            ReadTimeoutError(endpoint_url="http://h"),
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
        self.assertEqual(self.ec2.named("run_instances"), [RUN] * 3)

    def test_lost_answer(self):
        """A call whose answer was lost is one call, by its token."""
        self.ec2.lost["run_instances"] = [ReadTimeoutError(endpoint_url="http://h")]
        call = self.client.run_instances(**RUN)
        self.clock.advance(1)
        self.successResultOf(call)
        self.assertEqual(list(self.ec2.instances), ["i-1"])

    def test_three_times(self):
        self.ec2.errors["run_instances"] = [unavailable() for _ in range(5)]
        call = self.client.run_instances(**RUN)
        self.clock.pump([0.05, 0.1, 1, 1])
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.AGAIN)
        self.assertTrue(error.doubtful)
        self.assertEqual(self.asked(), 3)

    def test_no_more(self):
        """What another try does not help is not tried again."""
        for code in ("InsufficientInstanceCapacity", "UnauthorizedOperation"):
            self.ec2.errors["run_instances"] = [client_error(code, 500)]
            error = self.error(self.client.run_instances(**RUN))
            self.assertEqual(error.code, code)
            self.assertFalse(error.doubtful)
        self.assertEqual(self.asked(), 2)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_doubt_stays(self):
        """An error behind a lost answer is one of a call that may have been carried out."""
        self.ec2.errors["run_instances"] = [
            unavailable(),
            client_error("InsufficientInstanceCapacity", 500),
        ]
        call = self.client.run_instances(**RUN)
        self.clock.advance(0.05)
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.ELSEWHERE)
        self.assertTrue(error.doubtful)

    def test_quota(self):
        """When nearly all fails, there are no more tries; answers earn them back."""
        tries = client.QUOTA // client.QUOTA_OF_A_RETRY
        self.ec2.errors["describe_instances"] = [unavailable() for _ in range(200)]
        for _ in range(tries // 2):
            call = self.describe()
            self.clock.pump([0.05, 0.1])
            self.error(call)
        before = self.asked("describe_instances")
        self.clock.pump([0.05])
        call = self.describe()
        self.clock.pump([0.05, 0.1])
        self.error(call)
        self.error(self.describe())
        self.assertLessEqual(self.asked("describe_instances") - before, 3)
        self.ec2.errors.clear()
        for _ in range(client.QUOTA_OF_A_RETRY):
            self.successResultOf(self.describe())
        self.ec2.errors["describe_instances"] = [unavailable()]
        call = self.describe()
        self.clock.advance(0.05)
        self.successResultOf(call)

    def test_bug(self):
        self.ec2.errors["run_instances"] = [ZeroDivisionError()]
        self.failureResultOf(self.client.run_instances(**RUN), ZeroDivisionError)

    def test_no_secrets(self):
        """An error has nothing of the parameters with it."""
        self.ec2.errors["run_instances"] = [client_error("InvalidParameterValue")]
        failure = self.failureResultOf(self.client.run_instances(**RUN, UserData="hunter2"))
        self.assertNotIn("hunter2", failure.getTraceback())
        self.assertTrue(failure.value.__suppress_context__)

    def test_client_made_late(self):
        """boto3's client is made by the first call, in its thread, and again if that failed."""
        made = []

        def make():
            made.append(1)
            if len(made) == 1:
                raise ValueError("Invalid endpoint: nonsense")
            return self.ec2

        self.client._make_client = make
        self.assertEqual(made, [])
        self.assertIn("Invalid endpoint", str(self.error(self.describe())))
        for _ in range(3):
            self.successResultOf(self.describe())
        self.assertEqual(len(made), 2)

    def test_credentials_again(self):
        """Where credentials lack or are refused, the next call asks botocore's chain anew."""
        made = []

        def make():
            made.append(1)
            return self.ec2

        self.client._make_client = make
        for error in (NoCredentialsError(), client_error("AuthFailure", 401)):
            self.ec2.errors["describe_instances"] = [error]
            self.error(self.describe())
        self.ec2.errors["describe_instances"] = [client_error("UnauthorizedOperation", 403)]
        self.error(self.describe())
        self.successResultOf(self.describe())
        self.assertEqual(len(made), 3)


class Gate(ClientCase):
    """Throttling holds every call back."""

    def test_all_calls_wait(self):
        self.ec2.errors["run_instances"] = [throttled()]
        launch = self.client.run_instances(**RUN)
        self.clock.advance(0)
        describe = self.describe()
        end = self.client.terminate_instances(InstanceIds=[])
        self.clock.advance(0.99)
        self.assertEqual(len(self.ec2.calls), 1)
        self.clock.advance(0.01)
        for call in (launch, describe, end):
            self.successResultOf(call)

    def test_doubles(self):
        """It stays closed for longer while EC2 throttles, and not after an answer."""
        self.ec2.errors["run_instances"] = [throttled() for _ in range(3)]
        launch = self.client.run_instances(**RUN)
        for seconds, asked in ((0.9, 1), (0.2, 2), (1.8, 2), (0.3, 3), (3.7, 3), (0.5, 4)):
            self.clock.advance(0)
            self.clock.advance(seconds)
            self.assertEqual(self.asked(), asked)
        self.successResultOf(launch)
        self.ec2.errors["describe_instances"] = [throttled()]
        describe = self.describe()
        self.clock.advance(0)
        self.clock.advance(1)
        self.successResultOf(describe)

    def test_together_count_once(self):
        """Calls that were under way together close it once."""
        for pool in self.pools.values():
            pool.eager = False
        self.ec2.errors["run_instances"] = [throttled(), throttled()]
        for _ in range(2):
            self.client.run_instances(**RUN)
        self.pools["ec2-changing"].finish()
        self.pools["ec2-changing"].finish()
        self.assertEqual(self.client._opens, 1.0)

    def test_patience(self):
        """A call that would wait longer than it may is not made, and fails at once."""
        self.ec2.errors["describe_instances"] = [throttled() for _ in range(50)]
        call = self.describe()
        for _ in range(110):
            self.clock.advance(0.1)
        error = self.error(call)
        self.assertIs(error.verdict, Verdict.UNASKED)
        self.assertFalse(error.doubtful)
        self.assertRegex(str(error), r"^EC2 throttles: nothing is asked for \d+ s$")
        # A closure can be longer than any patience: then nobody waits.
        self.client._opens = self.clock.seconds() + 20
        self.assertIs(self.error(self.describe()).verdict, Verdict.UNASKED)
        self.assertIs(self.error(self.client.run_instances(**RUN)).verdict, Verdict.UNASKED)

    def test_is_told(self):
        events: list[Any] = []
        observer: Any = events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.ec2.errors["describe_instances"] = [throttled()]
        self.describe()
        self.assertEqual([event["seconds"] for event in events if "seconds" in event], [1.0])


class Threaded(ClientCase):
    """Threads that take their time."""

    eager = False

    def jobs(self, name="ec2-changing"):
        return len(self.pools[name].jobs)

    def test_pools(self):
        self.assertEqual(
            {(pool.name, pool.size) for pool in self.pools.values()},
            {("ec2-describing", 2), ("ec2-changing", 4)},
        )
        self.assertTrue(all(pool.running for pool in self.pools.values()))

    def test_describing_starves_nothing(self):
        """However much is described, ending begins at once."""
        for _ in range(50):
            self.describe()
        self.client.terminate_instances(InstanceIds=[])
        self.assertEqual(self.jobs("ec2-describing"), 2)
        self.assertEqual(self.jobs("ec2-changing"), 1)

    def test_in_turn(self):
        """What finds no thread free waits for one."""
        calls = [self.client.run_instances(**RUN) for _ in range(5)]
        self.assertEqual(self.jobs(), 4)
        self.pools["ec2-changing"].finish()
        self.successResultOf(calls[0])
        self.assertEqual(self.jobs(), 4)
        for call in calls[1:]:
            self.pools["ec2-changing"].finish()
            self.successResultOf(call)

    def test_deadline(self):
        """A try is given up at its deadline; the thread that hangs is not free before it ends."""
        calls = [self.client.run_instances(**RUN) for _ in range(4)]
        waits = self.client.run_instances(**RUN)
        self.clock.advance(client.DEADLINE)
        self.clock.advance(0.05)
        self.assertEqual(self.jobs(), 4)
        self.assertNoResult(waits)
        for _ in range(4):
            self.pools["ec2-changing"].finish()
        self.assertEqual(self.jobs(), 4)
        self.clock.advance(client.CHANGING_PATIENCE - client.DEADLINE)
        for call in calls:
            self.assertTrue(self.error(call).doubtful)
        error = self.error(waits)
        self.assertIs(error.verdict, Verdict.AGAIN)
        self.assertEqual(str(error), "EC2 does not answer RunInstances in 3 s")

    def test_all_hang(self):
        """Who found no thread has certainly not been asked."""
        calls = [self.describe() for _ in range(3)]
        self.clock.advance(client.DESCRIBING_PATIENCE)
        for call in calls[:2]:
            self.assertIs(self.error(call).verdict, Verdict.AGAIN)
        error = self.error(calls[2])
        self.assertIs(error.verdict, Verdict.UNASKED)
        self.assertFalse(error.doubtful)

    def test_cancel(self):
        """A call that was given up fails at once, and what its thread brings is dropped."""
        first, *others = [self.client.run_instances(**RUN) for _ in range(5)]
        first.cancel()
        self.failureResultOf(first, CancelledError)
        others[-1].cancel()
        self.failureResultOf(others[-1], CancelledError)
        for _ in range(4):
            self.pools["ec2-changing"].finish()
        self.assertEqual(self.jobs(), 0)
        for call in others[:3]:
            self.successResultOf(call)

    def test_cancel_between_tries(self):
        self.ec2.errors["run_instances"] = [unavailable()]
        call = self.client.run_instances(**RUN)
        self.pools["ec2-changing"].finish()
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.assertFalse(self.clock.getDelayedCalls())

    def test_failure_after_cancel(self):
        """An error that comes too late is nobody's."""
        self.ec2.errors["run_instances"] = [unavailable()]
        call = self.client.run_instances(**RUN)
        call.cancel()
        self.failureResultOf(call, CancelledError)
        self.pools["ec2-changing"].finish()
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_stop(self):
        """Stopping gives up every call, and does not wait long for a thread that hangs."""
        calls = [self.client.run_instances(**RUN) for _ in range(5)]
        self.pools["ec2-changing"].stopping = Deferred()
        stopped = self.client.stopService()
        for call in calls:
            self.failureResultOf(call, CancelledError)
        self.assertNoResult(stopped)
        self.clock.advance(client.STOPPING)
        self.successResultOf(stopped)
        self.pools["ec2-changing"].stopping = None
        gc.collect()
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertIs(self.error(self.describe()).verdict, Verdict.UNASKED)
        self.assertFalse(self.clock.getDelayedCalls())


IDENTITY = {
    "AWS_ACCESS_KEY_ID": "a",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Boto(SynchronousTestCase):
    """How boto3 is told to behave."""

    def test_configured(self):
        self.patch(os, "environ", IDENTITY)
        client = boto_client(EC2(region="eu-central-1", endpoint_url="http://127.0.0.1:9"))
        config = client.meta.config
        self.assertEqual(client.meta.region_name, "eu-central-1")
        self.assertEqual(client.meta.endpoint_url, "http://127.0.0.1:9")
        self.assertEqual(config.retries["total_max_attempts"], 1)
        self.assertEqual((config.connect_timeout, config.read_timeout), (3.0, 8.0))
        self.assertEqual(config.max_pool_connections, 6)

    def test_not_imported(self):
        """A process that asks nothing of EC2 never imports boto3."""
        code = (
            "import sys, bbs.daemons.login, bbs.daemons.app;"
            "sys.exit(any(name.startswith('boto') for name in sys.modules))"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
