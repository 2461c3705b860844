"""Launches that one controller begins and another goes on with: made once, whatever way they
went."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface.verify import verifyObject

from bbs.scaling.ec2.launches import SETTLES
from bbs.scaling.interfaces import IHasStrategies, ProviderUnavailable
from tests.scaling.ec2.case import ProviderCase, no_answer, no_capacity
from tests.standins.ec2 import APIError

A1, A2 = "t3.micro in s-1", "t3.micro in s-2"


class HandedOn(ProviderCase):
    def setUp(self):
        super().setUp()
        self.written = {}
        self.provider.write_strategy = self.write

    def write(self, launch_id, before, way):
        """As the fleet does it."""
        self.assertEqual(self.written.get(launch_id), before)
        self.written[launch_id] = way
        return succeed(None)

    def successor(self, **changes):
        """Another controller's provider, which knows what is written down, and nothing else."""
        successor = self.controller(**changes)
        successor.write_strategy = self.write
        successor.know_strategies(self.written, set(self.written))
        return successor

    def lost(self):
        """The next call is carried out, and no try of it is answered."""
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]

    def test_by_its_second_way(self):
        """The first has capacity again, and no description has the instance yet."""
        verifyObject(IHasStrategies, self.provider)
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        self.launched("b")
        self.assertEqual(self.written, {"b": A2})
        self.lost()
        self.failureResultOf(self.launch("a"), ProviderUnavailable)
        self.ec2.lacks.clear()
        self.ec2.hidden = {"i-1", "i-2"}
        self.launched("a", self.successor())
        self.assertEqual(self.alive(), ["i-1", "i-2"])

    def test_by_its_first_and_others_stand_elsewhere(self):
        """The balance is another by now."""
        [way] = self.provider.choose_strategies(1)
        self.write("a", None, way)
        self.provider.know_strategies({"a": way}, ())
        self.lost()
        self.failureResultOf(self.launch("a"), ProviderUnavailable)
        self.ec2.hidden = {"i-1"}
        successor = self.controller()
        self.ec2.instances[self.ec2.launch("x")].subnet_id = "s-1"
        self.listed(successor)
        successor.know_strategies(self.written, {"a"})
        self.launched("a", successor)
        self.assertEqual((way, self.alive()), (A1, ["i-1", "i-2"]))

    def test_ways_of_many(self):
        """They spread as they would if they were asked for at once; nothing is written again."""
        ways = self.provider.choose_strategies(3)
        self.assertEqual(ways, [A1, A2, A1])
        self.provider.know_strategies(dict(zip("abc", ways, strict=True)), ())
        self.provider.write_strategy = None
        for launch_id in "abc":
            self.launched(launch_id)
        self.assertEqual([subnet for _, subnet in self.tried()], ["s-1", "s-2", "s-1"])

    def test_nothing_is_looked_for(self):
        """Of a launch that is written down the token says all, also to one who has just come."""
        self.written = {"a": A2}
        successor = self.successor()
        self.ec2.calls.clear()
        self.launched("a", successor)
        self.assertEqual(self.ec2.named("DescribeInstances"), [])
        self.assertEqual(self.tried(), [("t3.micro", "s-2")])

    def test_a_way_that_is_none_any_more(self):
        """The instance of such a launch is looked for."""
        self.written = {"a": A2}
        self.provider.know_strategies(self.written, ())
        self.lost()
        self.failureResultOf(self.launch("a"), ProviderUnavailable)
        self.launched("a", self.successor(subnet_ids=("s-1",)))
        self.assertEqual(self.alive(), ["i-1"])

    def test_the_next_way_is_written_down_first(self):
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        asked = []

        def write(launch_id, before, way):
            asked.append(way)
            return succeed(None) if way == A1 else Deferred()

        self.provider.write_strategy = write
        self.assertNoResult(self.launch("a"))
        self.assertEqual((asked, self.tried()), ([A1, A2], [("t3.micro", "s-1")]))

    def test_not_asked_for_when_it_could_not_be_written_down(self):
        self.provider.write_strategy = lambda *_: fail(ProviderUnavailable("no database"))
        self.failureResultOf(self.launch("a"), ProviderUnavailable)
        self.assertEqual(self.tried(), [])

    def test_who_may_still_be_carried_out_keeps_the_next_way_waiting(self):
        self.ec2.errors["RunInstances"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch("a"), ProviderUnavailable)
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        failed = self.failureResultOf(self.launch("a"), ProviderUnavailable)
        self.assertIn("an earlier call may still be carried out", str(failed.value))
        self.assertEqual({subnet for _, subnet in self.tried()}, {"s-1"})
        self.clock.advance(SETTLES)
        self.launched("a")
        self.assertEqual(self.written, {"a": A2})

    def test_so_may_a_predecessors(self):
        self.written = {"a": A1}
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        successor = self.successor()
        self.failureResultOf(self.launch("a", successor), ProviderUnavailable)
        self.clock.advance(SETTLES)
        self.launched("a", successor)
        self.assertEqual(self.written, {"a": A2})

    def test_what_is_over_is_forgotten(self):
        """It does not count among those that are asked for in a subnet."""
        self.provider.know_strategies({"a": A1}, ())
        self.assertEqual(self.provider.choose_strategies(1), [A2])
        self.provider.forget_strategies()
        self.assertEqual(self.provider.choose_strategies(1), [A1])
        self.ec2.errors["RunInstances"] = [APIError("VcpuLimitExceeded"), no_capacity()]
        self.failureResultOf(self.launch("b"), Exception)
        self.provider.forget_strategies({"c"})
        self.assertEqual(self.provider.choose_strategies(1), [A1])
