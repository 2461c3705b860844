"""States of instances that nobody asked for: why, without an address, stopped; and stopped ones
that the fleet keeps."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.batching import GATHER
from bbs.scaling.ec2 import instance_states
from bbs.scaling.ec2.instance_states import REMEMBERED, EC2Instance, InstanceStates
from bbs.scaling.interfaces import LaunchFailed, LaunchRefused, ProviderUnavailable
from tests.scaling.ec2.case import ProviderCase, no_answer, no_capacity
from tests.standins.ec2 import APIError


class Alive(SynchronousTestCase):
    """The launches that have an instance."""

    def test_counted_once(self):
        """Each launch of a batch asks, and most changes are of many."""
        states = InstanceStates(Clock(), ["f"])
        found = []
        for changes in (("pending", "pending"), ("terminated", "pending"), ("terminated",) * 2):
            states.described_all(
                EC2Instance(f"i-{id}", id, state, fleet_id="f")
                for id, state in zip("ab", changes, strict=True)
            )
            found.append(states.alive())
            self.assertIs(states.alive(), found[-1])
        states.described_all([])
        self.assertEqual([*found, states.alive()], [{"a", "b"}, {"b"}, set(), set()])


class Reasons(ProviderCase):
    """Why an instance is in its state."""

    def told(self, state, transition="", code="", message=""):
        """What is told of an instance that EC2 describes so."""
        self.ec2.instances.clear()
        reason = {"Code": code, "Message": message} if code or message else {}
        self.ec2.become(self.ec2.launch("a"), state, transition, StateReason=reason)
        return self.listed()["a"].detail

    def test_both(self):
        """`StateTransitionReason` says who, `StateReason` what; each once, in one line."""
        for transition, code, message, wanted in (
            (
                "",
                "Client.InternalError",
                "Client.InternalError: Client error on launch",
                "Client.InternalError: Client error on launch",
            ),
            (
                "User initiated (2026-01-02 03:04:05 GMT)",
                "Client.UserInitiatedShutdown",
                "Client.UserInitiatedShutdown: User initiated shutdown",
                "User initiated (2026-01-02 03:04:05 GMT);"
                " Client.UserInitiatedShutdown: User initiated shutdown",
            ),
            (
                "Server.SpotInstanceTermination",
                "Server.SpotInstanceTermination",
                "Server.SpotInstanceTermination",
                "Server.SpotInstanceTermination",
            ),
            ("", "Server.InternalError", "it broke", "Server.InternalError: it broke"),
            ("", "Server.ScheduledStop", "", "Server.ScheduledStop"),
            ("a\nb", "", "", "a b"),
        ):
            told = self.told("terminated", transition, code, message)
            self.assertEqual(told, f"i-1 terminated: {wanted}")

    def test_none(self):
        """EC2 says of one that boots that it boots."""
        self.assertEqual(self.told("pending", "", "pending", "pending"), "i-1 pending")

    def test_bounded(self):
        told = self.told("terminated", "x" * 1000)
        self.assertLessEqual(len(told), instance_states.LONGEST_REASON + len("i-1 terminated: "))


class WithoutAddress(ProviderCase):
    """Instances that run and have no address that people could be told."""

    def setUp(self):
        super().setUp()
        logs = capturedLogs()
        self.said = logs.__enter__()
        self.addCleanup(logs.__exit__, None, None, None)
        self.provider = self.controller(address="public")

    def critical(self):
        return [event for event in self.said if event["log_level"] is LogLevel.critical]

    def boots(self, launch_id):
        """A launch that runs after a while."""
        self.launched(launch_id)
        id = f"i-{len(self.ec2.instances)}"
        self.listed()
        self.ec2.become(id, "running", PublicIpAddress="", PublicDnsName="")
        self.listed()
        return id

    def test_ended(self):
        """It is ended after a moment, and says why; once it is said for all to see."""
        for count, launch_id in enumerate("ab", 1):
            id = self.boots(launch_id)
            self.assertEqual(self.alive(), [id])
            self.clock.advance(instance_states.ADDRESS_GRACE)
            self.listed()
            told = self.listed()[launch_id]
            self.assertFalse(told.alive)
            self.assertRegex(told.detail, f"^{id} shutting-down: no public address: .*s-1")
            self.assertEqual(self.alive(), [])
            self.assertEqual(len(self.ec2.named("TerminateInstances")), count)
        self.assertEqual(len(self.critical()), 1)

    def test_comes_late(self):
        id = self.boots("a")
        self.clock.advance(instance_states.ADDRESS_GRACE - 1)
        self.listed()
        self.ec2.said[id]["PublicIpAddress"] = "192.0.2.1"
        self.listed()
        self.clock.advance(instance_states.ADDRESS_GRACE)
        self.assertTrue(self.listed()["a"].alive)
        self.ec2.said[id]["PublicIpAddress"] = ""
        self.listed()
        self.clock.advance(instance_states.ADDRESS_GRACE)
        self.listed()
        self.assertTrue(self.listed()["a"].alive)

    def test_seen_late(self):
        """One that was not seen to boot may serve: it is left to the fleet's controller."""
        self.ec2.become(self.ec2.launch("a"), "running")
        self.listed()
        self.clock.advance(instance_states.ADDRESS_GRACE)
        self.listed()
        self.assertTrue(self.listed()["a"].alive)

    def test_cannot_be_ended(self):
        """It is tried with the next list."""
        self.boots("a")
        self.clock.advance(instance_states.ADDRESS_GRACE)
        self.ec2.errors["TerminateInstances"] = [APIError("OperationNotPermitted")]
        self.listed()
        self.assertTrue(self.listed()["a"].alive)
        self.assertFalse(self.listed()["a"].alive)

    def test_names(self):
        self.provider = self.controller(address="dns")
        self.boots("a")
        self.clock.advance(instance_states.ADDRESS_GRACE)
        self.listed()
        self.assertRegex(self.listed()["a"].detail, "no public address: .*DNS hostnames")

    def test_a_name_of_the_fleets_own(self):
        """It is made of the private address, so no public one is missed."""
        self.provider = self.controller(address="ip-{ip}.example.org")
        self.boots("a")
        private = self.ec2.instances["i-1"].address
        self.clock.advance(instance_states.ADDRESS_GRACE)
        self.listed()
        told = self.listed()["a"]
        self.assertTrue(told.alive)
        self.assertEqual(told.host, f"ip-{private.replace('.', '-')}.example.org")


class Stopped(ProviderCase):
    """`IKeepsWarm`, and instances that somebody else stopped."""

    def stop(self, launch_id="a", provider=None):
        stop = (provider or self.provider).stop(launch_id)
        self.clock.pump([GATHER] * 3)
        return stop

    def start(self, launch_id="a", provider=None):
        start = (provider or self.provider).start(launch_id)
        self.clock.pump([GATHER] * 3)
        return start

    def runs(self, launch_id="a"):
        self.launched(launch_id)
        self.ec2.become(f"i-{len(self.ec2.instances)}", "running")
        self.listed()

    def stands(self, launch_id="a"):
        """It was stopped, and has."""
        self.runs(launch_id)
        self.successResultOf(self.stop(launch_id))
        self.ec2.become(f"i-{len(self.ec2.instances)}", "stopped", "User initiated")

    def states(self, provider=None):
        return {
            id: (instance.alive, instance.stopped) for id, instance in self.listed(provider).items()
        }

    def test_which_version_launched_it(self):
        self.runs()
        self.assertEqual(self.listed()["a"].version, "1.0")

    def test_stopped_and_started(self):
        self.runs()
        self.assertIs(self.successResultOf(self.stop()), None)
        self.assertEqual(self.states(), {"a": (False, True)})
        self.successResultOf(self.stop())
        self.assertEqual(len(self.ec2.named("StopInstances")), 1)
        self.ec2.become("i-1", "stopped")
        self.assertEqual(self.states(), {"a": (False, True)})
        self.assertIs(self.successResultOf(self.start()), None)
        self.assertEqual(self.states(), {"a": (True, False)})
        self.successResultOf(self.start())
        self.assertEqual(len(self.ec2.named("StartInstances")), 1)

    def test_by_somebody_else(self):
        """One that nobody of the fleet stopped is told as stopped, and can be ended."""
        self.runs()
        self.ec2.become("i-1", "stopping", "User initiated")
        told = self.listed()["a"]
        self.assertEqual((told.alive, told.stopped), (False, True))
        self.assertEqual(told.detail, "i-1 stopping: User initiated")
        self.successResultOf(self.end())
        self.assertEqual(self.states(), {"a": (False, False)})

    def test_launch_again(self):
        """To ask for its launch starts nothing."""
        self.stands()
        self.launched()
        self.launched("a", self.controller())
        self.assertEqual(len(self.ec2.instances), 1)
        self.assertEqual(self.states(), {"a": (False, True)})

    def test_descriptions_behind(self):
        """What was stopped or started counts, though it is described as before for a while."""
        self.runs()
        self.successResultOf(self.stop())
        self.ec2.said = {"i-1": {"State": {"Name": "running"}}}
        self.assertEqual(self.states(), {"a": (False, True)})
        self.ec2.become("i-1", "stopped")
        self.successResultOf(self.start())
        self.ec2.said = {"i-1": {"State": {"Name": "stopped"}}}
        self.assertEqual(self.states(), {"a": (True, False)})
        self.clock.advance(instance_states.REMEMBERED)
        self.assertEqual(self.states(), {"a": (False, True)})

    def test_still_boots(self):
        """It cannot be stopped yet, nor one that stops be started: asked again, it can."""
        self.launched()
        self.failureResultOf(self.stop(), ProviderUnavailable)
        self.ec2.become("i-1", "running")
        self.successResultOf(self.stop())
        self.failureResultOf(self.start(), ProviderUnavailable)
        self.ec2.become("i-1", "stopped")
        self.successResultOf(self.start())

    def test_no_capacity(self):
        """A stopped instance has no right to capacity."""
        self.stands()
        self.ec2.errors["StartInstances"] = [no_capacity()]
        failed = self.failureResultOf(self.start(), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        self.successResultOf(self.start())

    def test_cannot_be_stopped(self):
        """A Spot instance, or one whose root is an instance store."""
        self.runs()
        self.ec2.errors["StopInstances"] = [APIError("UnsupportedOperation")]
        self.failureResultOf(self.stop(), LaunchFailed)
        self.assertEqual(self.states(), {"a": (True, False)})

    def test_refused(self):
        self.stands()
        self.ec2.errors["StartInstances"] = [APIError("UnauthorizedOperation")]
        self.failureResultOf(self.start(), LaunchRefused)

    def test_not_there(self):
        self.failureResultOf(self.stop("x"), LaunchFailed)
        self.failureResultOf(self.start("x"), LaunchFailed)
        self.runs()
        self.successResultOf(self.end())
        self.failureResultOf(self.stop(), LaunchFailed)
        self.failureResultOf(self.start(), LaunchFailed)

    def test_of_another_fleet(self):
        self.runs()
        other = self.controller(fleet_id="f" * 16)
        self.failureResultOf(self.stop("a", other), LaunchFailed)
        self.assertEqual(self.alive(), ["i-1"])

    def test_looked_for(self):
        """A successor that has listed nothing yet finds it by its tag."""
        self.stands()
        self.successResultOf(self.start("a", self.controller()))
        self.assertEqual(self.alive(), ["i-1"])

    def test_several_in_one_call(self):
        """And one that spoils it keeps only itself from starting."""
        for launch_id in "abc":
            self.stands(launch_id)
        self.ec2.become("i-2", "stopping")
        starts = [self.provider.start(launch_id) for launch_id in "abc"]
        self.clock.advance(GATHER)
        self.successResultOf(starts[0])
        self.failureResultOf(starts[1], ProviderUnavailable)
        self.successResultOf(starts[2])
        self.assertEqual(
            [call["InstanceIds"] for call in self.ec2.named("StartInstances")],
            [["i-1", "i-2", "i-3"], ["i-1"], ["i-2"], ["i-3"]],
        )

    def test_unavailable(self):
        self.stands()
        self.ec2.errors["StartInstances"] = [no_answer() for _ in range(3)]
        start = self.start()
        self.clock.pump([0.05, 0.1])
        self.failureResultOf(start, ProviderUnavailable)
        self.provider.stopService()
        self.failureResultOf(self.start(), LaunchFailed)

    def test_not_counted_as_living(self):
        """A stopped instance weighs nothing in the balance of the subnets."""
        self.stands()
        self.listed()
        self.launched("b")
        self.assertEqual(self.tried()[-1], ("t3.micro", "s-1"))


class Tags(SynchronousTestCase):
    """What is known of an instance that is described without its tags."""

    BARE = EC2Instance("i-1", "", "running")

    def setUp(self):
        self.clock = Clock()
        self.states = InstanceStates(self.clock, ["fleet"])
        self.known = replace(self.BARE, launch_id="a", fleet_id="fleet", fleet="bbs", version="1")

    def test_kept(self):
        self.states.launched(replace(self.known, state="pending"))
        self.states.described([self.BARE])
        self.assertEqual(self.states.of("a"), [self.known])
        self.states.described([replace(self.BARE, state="terminated")])
        self.states.described([self.BARE])
        self.assertEqual(self.states.of("a"), [replace(self.known, state="terminated")])

    def test_not_known(self):
        """Whose it is cannot be said, so it is nobody's."""
        self.states.described_all([self.BARE])
        self.assertEqual(self.states.instances(), {})
        self.states.described_all([self.known])
        self.assertEqual(set(self.states.instances()), {"a"})

    def test_anothers(self):
        """A tag that says something else counts."""
        self.states.described([self.known])
        self.states.described([replace(self.known, launch_id="b")])
        self.assertEqual(set(self.states.instances()), {"b"})


class Addresses(SynchronousTestCase):
    """What a machine's address is after it was stopped and started, whatever stale lists say."""

    def states(self, **others):
        self.clock = Clock()
        states = InstanceStates(self.clock, ["fleet"], **others)
        self.machine = EC2Instance("i-1", "a", "running", host="192.0.2.1", fleet_id="fleet")
        states.described([self.machine])
        for state in ("stopping", "pending"):
            states.answered("i-1", state)
        return states

    def test_the_earlier_one_is_not_told(self):
        states = self.states()
        self.assertIsNone(states.instance_of("a").host)
        states.described([self.machine])
        self.assertIsNone(states.instance_of("a").host)
        states.described([replace(self.machine, host="192.0.2.2")])
        self.assertEqual(states.instance_of("a").host, "192.0.2.2")

    def test_it_may_come_again(self):
        states = self.states()
        self.clock.advance(REMEMBERED)
        states.described([self.machine])
        self.assertEqual(states.instance_of("a").host, "192.0.2.1")

    def test_a_private_one_stays(self):
        states = self.states(keeps_addresses=True)
        self.assertEqual(states.instance_of("a").host, "192.0.2.1")
