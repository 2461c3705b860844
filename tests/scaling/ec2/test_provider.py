"""App servers on EC2: launched once, known, and ended, whatever answers get lost."""

from __future__ import annotations

from twisted.internet.defer import CancelledError

from bbs.core.batching import GATHER
from bbs.scaling.ec2 import instance_states
from bbs.scaling.ec2.launch_request import Basis, volumes
from bbs.scaling.ec2.launches import SETTLES
from bbs.scaling.interfaces import LaunchFailed, LaunchRefused, ProviderUnavailable
from tests.scaling.ec2.case import ProviderCase, no_answer, no_capacity
from tests.scaling.ec2.tools import FLEET_ID
from tests.standins.ec2 import APIError


class Launching(ProviderCase):
    """`launch`."""

    def test_listed(self):
        asked = self.clock.seconds()
        self.launched()
        told = self.listed()["a"]
        self.assertEqual(
            (told.launch_id, told.host, told.alive, told.instance_id, told.kind, told.launched),
            ("a", "127.50.0.1", True, "i-1", "t3.micro", asked),
        )
        self.assertEqual(told.detail, "i-1 pending")
        self.assertEqual(self.ec2.named("RunInstances")[0]["UserData"], "data of a")

    def test_launched_already(self):
        """What is known to be there is not asked for again."""
        self.launched()
        self.launched()
        self.assertEqual(len(self.tried()), 1)

    def test_not_running(self):
        self.provider.stopService()
        self.failureResultOf(self.provider.launch("a"), LaunchFailed)
        self.assertEqual(self.ec2.calls, [])

    def test_not_an_id(self):
        self.assertRaises(ValueError, self.provider.launch, "a b")

    def test_image_once(self):
        """The image is described once, whatever is launched."""
        for launch_id in "abc":
            self.launched(launch_id)
        self.assertEqual(self.ec2.named("DescribeImages"), [{"ImageIds": ["ami-1"]}])
        (volume,) = volumes(Basis({}, self.ec2.images[0]))
        for parameters in self.ec2.named("RunInstances"):
            self.assertEqual(parameters["BlockDeviceMappings"], [volume])

    def test_no_image(self):
        self.ec2.images = []
        self.assertIn(
            "unknown image ami-1", str(self.failureResultOf(self.launch(), LaunchRefused).value)
        )
        self.assertEqual(self.tried(), [])

    def test_lost_answers(self):
        """However often the answer is lost, there is one instance."""
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(2)]
        self.launched()
        self.assertEqual(len(self.alive()), 1)

    def test_unclear(self):
        """When EC2 cannot be heard it is not said that nothing was launched; asked again, it turns
        out."""
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch(), ProviderUnavailable)
        self.launched()
        self.assertEqual(len(self.alive()), 1)

    def test_next_way(self):
        """A type that lacks is tried in the next subnet, then comes the next type."""
        self.ec2.errors["RunInstances"] = [
            no_capacity(),
            APIError("Unsupported"),
            APIError("InsufficientFreeAddressesInSubnet"),
        ]
        self.launched()
        self.assertEqual(
            self.tried(),
            [("t3.micro", "s-1"), ("t3.micro", "s-2"), ("t3.small", "s-1"), ("t3.small", "s-2")],
        )
        tokens = {parameters["ClientToken"] for parameters in self.ec2.named("RunInstances")}
        self.assertEqual(len(tokens), 4)
        self.assertEqual(self.listed()["a"].kind, "t3.small")

    def test_no_way(self):
        self.ec2.errors["RunInstances"] = [no_capacity() for _ in range(4)]
        failed = self.failureResultOf(self.launch(), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        self.assertIn("InsufficientInstanceCapacity", str(failed.value))

    def test_lost_then_no_capacity(self):
        """Before the next way, EC2 is asked for what an earlier try may have launched."""
        self.ec2.lost["RunInstances"] = [no_answer()]
        self.ec2.errors["RunInstances"] = [None, no_capacity()]
        self.launched()
        self.assertEqual(self.alive(), ["i-1"])
        self.assertEqual(len(self.tried()), 2)

    def test_lost_and_not_there(self):
        """Not seen is not gone: the next way is taken when it cannot be carried out any more."""
        self.ec2.errors["RunInstances"] = [no_answer(), no_capacity()]
        self.failureResultOf(self.launch(), ProviderUnavailable)
        self.clock.advance(SETTLES)
        self.ec2.errors["RunInstances"] = [no_capacity()]
        self.launched()
        self.assertEqual(self.tried()[-1], ("t3.micro", "s-2"))
        self.assertEqual(len(self.alive()), 1)

    def test_asks_where_it_left_off(self):
        """Asked again after a lost answer, it does not begin with another way."""
        self.ec2.errors["RunInstances"] = [no_capacity()]
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch(), ProviderUnavailable)
        self.launched()
        self.assertEqual(self.tried(), [("t3.micro", "s-1"), *[("t3.micro", "s-2")] * 4])
        self.assertEqual(len(self.alive()), 1)

    def test_asked_again_later(self):
        """What an earlier call may have launched is looked for, though this one's answer is
        clear."""
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch(), ProviderUnavailable)
        self.ec2.errors["RunInstances"] = [no_capacity()]
        self.launched()
        self.assertEqual(self.alive(), ["i-1"])

    def test_throttled(self):
        """Throttled for longer than anybody waits: nothing was launched, and nothing failed."""
        self.ec2.errors["RunInstances"] = [APIError("RequestLimitExceeded") for _ in range(20)]
        launch = self.provider.launch("a")
        self.clock.pump([0.1] * 160)
        self.failureResultOf(launch, ProviderUnavailable)
        self.ec2.errors.clear()
        self.clock.advance(20)
        self.launched()

    def test_refused(self):
        """An operator is told what to do."""
        for code, advice in (("UnauthorizedOperation", "right"), ("VcpuLimitExceeded", "quota")):
            self.ec2.errors["RunInstances"] = [APIError(code)]
            refused = self.failureResultOf(self.launch(), LaunchRefused)
            self.assertRegex(str(refused.value), f"{code}.*{advice}")
            self.assertNotIn("\n", str(refused.value))
        self.assertEqual(len(self.tried()), 2)

    def test_profile_that_spreads_late(self):
        """Launches are not held for it; one that does not exist is for an operator."""
        message = "Value (bbs-app) for parameter iamInstanceProfile.name is invalid"
        refusal = APIError("InvalidParameterValue", message=message)
        self.ec2.errors["RunInstances"] = [refusal] * 4
        launch = self.launch()
        self.clock.pump([1.0] * 12)
        self.successResultOf(launch)
        self.assertEqual(len(self.alive()), 1)
        self.ec2.errors["RunInstances"] = [refusal] * 100
        launch = self.launch("b")
        self.clock.pump([1.0] * 35)
        refused = self.failureResultOf(launch, LaunchRefused)
        self.assertIn("(bbs-app)", str(refused.value))
        self.assertIn("ec2.iam_instance_profile", str(refused.value))

    def test_token_used(self):
        """A launch that another version of this controller made with other user data is that
        launch."""
        self.launched()
        self.launched("a", self.controller(user_data="other {}"))
        self.assertEqual(len(self.alive()), 1)

    def test_token_used_and_not_shown(self):
        """It exists, and is not shown yet: nothing is launched by another way."""
        self.launched()
        self.ec2.hidden = {"i-1"}
        other = self.controller(user_data="other {}")
        self.failureResultOf(self.launch("a", other), ProviderUnavailable)
        self.ec2.hidden.clear()
        self.launched("a", other)
        self.assertEqual(len(self.alive()), 1)

    def test_token_ended(self):
        """A launch whose instance has ended says so at once, and holds up nothing else."""
        self.launched()
        self.ec2.become("i-1", "terminated")
        self.ec2.hidden = {"i-1"}
        other = self.controller()
        self.launched("a", other)
        told = self.listed(other)["a"]
        self.assertEqual((told.alive, told.instance_id), (False, ""))
        self.assertEqual(told.detail, "terminated: EC2 says that it has ended")
        self.launched("b", other)
        self.assertEqual(self.alive(), ["i-2"])
        self.successResultOf(self.end("a", other))
        self.assertEqual(self.ec2.named("TerminateInstances"), [])

    def test_token_ended_is_told(self):
        """What EC2 then shows of it says more; what it does not show is forgotten after a while."""
        self.launched()
        self.ec2.become("i-1", "terminated", "User initiated")
        self.ec2.hidden = {"i-1"}
        other = self.controller()
        self.launched("a", other)
        self.ec2.hidden.clear()
        self.assertEqual(self.listed(other)["a"].detail, "i-1 terminated: User initiated")
        another = self.controller()
        self.ec2.hidden = {"i-1"}
        self.launched("a", another)
        self.clock.advance(instance_states.REMEMBERED)
        self.assertEqual(self.listed(another), {})

    def test_token_forgotten(self):
        """A token that EC2 has forgotten launches anew: one instance lives, which is the launch's,
        and can be ended."""
        self.launched()
        self.ec2.become("i-1", "terminated")
        self.ec2.tokens.forget()
        self.ec2.hidden = {"i-1"}
        other = self.controller()
        self.launched("a", other)
        self.ec2.hidden.clear()
        self.assertEqual(self.listed(other)["a"].instance_id, "i-2")
        self.successResultOf(self.end("a", other))
        self.assertEqual(self.alive(), [])

    def test_token_accepted_again(self):
        """A controller that knows nothing asks again, and is answered with the instance there
        is."""
        self.launched()
        self.ec2.hidden = {"i-1"}
        self.launched("a", self.controller())
        self.ec2.hidden.clear()
        self.assertEqual(len(self.tried()), 2)
        self.assertEqual(self.alive(), ["i-1"])

    def test_successor(self):
        """A controller that knows nothing asks again under the same token."""
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch(), ProviderUnavailable)
        self.launched("a", self.controller())
        self.assertEqual(len(self.alive()), 1)

    def test_anothers_launches(self):
        """A controller that has not seen the fleet for long looks first for what it is to launch:
        by the balance that it sees it would take another way."""
        for launch_id in "abc":
            self.launched(launch_id)
        successor = self.controller()
        launches = [successor.launch(launch_id) for launch_id in "bcd"]
        self.clock.pump([GATHER, 0.05])
        for launch in launches:
            self.successResultOf(launch)
        self.assertEqual(self.alive(), ["i-1", "i-2", "i-3", "i-4"])
        self.assertEqual(len(self.ec2.named("DescribeInstances")), 1)
        self.clock.advance(10)
        self.launched("e")
        self.assertEqual(len(self.ec2.named("DescribeInstances")), 1)

    def test_lists_fail_while_launches_work(self):
        """A controller that can see nothing launches all the same, when it is asked again."""
        successor = self.controller()
        self.ec2.errors["DescribeInstances"] = [no_answer() for _ in range(6)]
        self.failureResultOf(self.launch("a", successor), ProviderUnavailable)
        self.launched("a", successor)
        self.assertEqual(self.alive(), ["i-1"])

    def test_stopped(self):
        """A launch that the end of the login server cuts off may have been made."""
        for pool in self.pools.values():
            pool.eager = False
        launch = self.provider.launch("a")
        self.client.stopService()
        self.failureResultOf(launch, ProviderUnavailable)

    def test_given_up(self):
        """Who gives up waiting ends nothing."""
        for pool in self.pools.values():
            pool.eager = False
        given_up, waiting = self.provider.launch("a"), self.provider.launch("a")
        given_up.cancel()
        self.failureResultOf(given_up, CancelledError)
        self.pools["ec2-describing"].finish()
        self.pools["ec2-changing"].finish()
        self.successResultOf(waiting)


class Listing(ProviderCase):
    """`list`."""

    def test_whole_fleet(self):
        """All pages, of this fleet alone."""
        self.ec2.most["DescribeInstances"] = 2
        for launch_id in "abcde":
            self.ec2.launch(launch_id)
        self.ec2.launch("f", fleet_id="f" * 16)
        self.assertEqual(set(self.listed()), set("abcde"))
        calls = self.ec2.named("DescribeInstances")
        self.assertEqual(len(calls), 3)
        self.assertEqual(calls[0]["Filters"], [{"Name": "tag:bbs:fleet-id", "Values": [FLEET_ID]}])

    def test_shorter_pages_while_they_are_not_answered(self):
        self.ec2.errors["DescribeInstances"] = [no_answer() for _ in range(6)]
        for _ in range(2):
            failing = self.provider.list()
            self.clock.pump([GATHER, 0.05, 0.1, GATHER])
            self.failureResultOf(failing, ProviderUnavailable)
        self.listed()
        self.listed()
        asked = [each["MaxResults"] for each in self.ec2.named("DescribeInstances")]
        self.assertEqual(asked, [1000] * 3 + [500] * 3 + [250, 500])

    def test_states(self):
        for number, (state, alive) in enumerate(
            (
                ("pending", True),
                ("running", True),
                ("shutting-down", False),
                ("terminated", False),
                ("stopping", False),
                ("stopped", False),
            )
        ):
            self.ec2.become(self.ec2.launch(state), state, "Server.SpotInstanceTermination")
            told = self.listed()[state]
            self.assertEqual(told.alive, alive, state)
            self.assertEqual(told.detail, f"i-{number + 1} {state}: Server.SpotInstanceTermination")

    def test_no_address_yet(self):
        self.ec2.instances[self.ec2.launch("a")].address = ""
        self.assertIs(self.listed()["a"].host, None)

    def test_untagged(self):
        """An instance with the fleet's tag and no launch's is somebody's own affair."""
        self.ec2.untagged = {self.ec2.launch("a"): {"bbs:launch"}}
        self.assertEqual(self.listed(), {})

    def test_not_shown_yet(self):
        """What was launched counts until EC2 shows it, for a while."""
        self.launched()
        self.ec2.hidden = {"i-1"}
        self.assertTrue(self.listed()["a"].alive)
        self.clock.advance(instance_states.REMEMBERED)
        self.assertEqual(self.listed(), {})

    def test_vanished(self):
        """What was shown and is not any more is not listed."""
        self.launched()
        self.listed()
        self.ec2.hidden = {"i-1"}
        self.assertEqual(self.listed(), {})
        self.ec2.hidden.clear()
        self.assertTrue(self.listed()["a"].alive)

    def test_together(self):
        """Lists that are asked for together are one."""
        for pool in self.pools.values():
            pool.eager = False
        lists = [self.provider.list() for _ in range(3)]
        self.pools["ec2-describing"].finish()
        for each in lists:
            self.assertEqual(self.successResultOf(each), {})
        self.assertEqual(len(self.ec2.calls), 1)

    def test_unavailable(self):
        for error in (no_answer(), APIError("UnauthorizedOperation")):
            self.ec2.errors["DescribeInstances"] = [error, error, error]
            listed = self.provider.list()
            self.clock.pump([0.05, 0.1])
            self.failureResultOf(listed, ProviderUnavailable)
            self.ec2.errors.clear()
            self.assertEqual(self.listed(), {})

    def test_two_of_one_launch(self):
        """Of two instances of a launch the later one is ended, and the first is told of."""
        for launch_id in "aab":
            self.ec2.launch(launch_id)
        self.assertEqual(self.listed()["a"].instance_id, "i-1")
        self.assertEqual(self.alive(), ["i-1", "i-3"])

    def test_first_has_ended(self):
        """An instance that lives is the launch's, before one that has ended."""
        self.ec2.become(self.ec2.launch("a"), "terminated")
        self.ec2.launch("a")
        self.assertEqual(self.listed()["a"].instance_id, "i-2")
        self.assertEqual(self.alive(), ["i-2"])

    def test_surplus_that_cannot_be_ended(self):
        """It is tried with the next list."""
        for launch_id in "aa":
            self.ec2.launch(launch_id)
        self.ec2.errors["TerminateInstances"] = [APIError("OperationNotPermitted")]
        self.listed()
        self.assertEqual(len(self.alive()), 2)
        self.listed()
        self.assertEqual(len(self.alive()), 1)


class Tags(ProviderCase):
    """Tags that EC2 shows late, one by one, or no longer than an instance lives."""

    ALL = frozenset(("Name", "bbs:fleet", "bbs:fleet-id", "bbs:launch", "bbs:version"))

    def second_of_two(self):
        """Launch `b` while there is an `a`, which ends and is forgotten: by balance, `b` would be
        launched elsewhere now. Its strategy."""
        self.launched()
        (strategy,) = self.provider.choose_strategies(1)
        self.launched("b")
        self.ec2.become("i-1", "terminated")
        self.listed()
        self.ec2.hidden = {"i-1"}
        self.clock.advance(instance_states.REMEMBERED)
        self.listed()
        self.assertNotEqual(self.provider.choose_strategies(1), [strategy])
        return strategy

    def test_come_late(self):
        """What was launched counts meanwhile, and is not launched again."""
        self.launched()
        self.ec2.untagged = {"i-1": {*self.ALL}}
        self.assertTrue(self.listed()["a"].alive)
        self.launched()
        self.ec2.untagged.clear()
        self.clock.advance(instance_states.REMEMBERED)
        self.assertTrue(self.listed()["a"].alive)
        self.assertEqual(self.alive(), ["i-1"])
        self.assertEqual(len(self.tried()), 1)

    def test_come_very_late(self):
        """Then the launch is asked for by the strategy that is written down, under its token."""
        self.ec2.untagged = {"i-2": {*self.ALL}}
        strategy = self.second_of_two()
        self.assertEqual(self.listed(), {})
        self.provider.know_strategies({"b": strategy}, ["b"])
        self.launched("b")
        self.assertTrue(self.listed()["b"].alive)
        self.assertEqual(self.alive(), ["i-2"])

    def test_come_one_by_one(self):
        """One that is described as the fleet's alone is still of its launch and version."""
        self.launched()
        for lacking in (self.ALL - {"bbs:fleet-id"}, {"bbs:launch", "bbs:version"}, {"bbs:launch"}):
            self.ec2.untagged = {"i-1": {*lacking}}
            self.ec2.become("i-1", "running")
            told = self.listed()["a"]
            self.assertEqual((told.alive, told.ours, told.version), (True, True, "1.0"))
            self.launched()
        self.successResultOf(self.end())
        self.assertEqual(self.alive(), [])
        self.assertEqual(len(self.tried()), 1)

    def test_go_early(self):
        """One that ends without our doing is not listed then. Its launch is not made again."""
        strategy = self.second_of_two()
        self.assertTrue(self.listed()["b"].alive)
        self.ec2.become("i-2", "terminated", "Server.SpotInstanceTermination")
        self.ec2.untagged = {"i-2": {*self.ALL}}
        self.assertEqual(self.listed(), {})
        self.provider.know_strategies({"b": strategy}, ["b"])
        self.launched("b")
        self.assertFalse(self.listed()["b"].alive)
        self.assertEqual(self.alive(), [])
        ended = self.provider.end_unlisted("i-2")
        self.clock.advance(GATHER)
        self.successResultOf(ended)

    def test_go_as_it_ends(self):
        """What was ended stays ended, whether described without its tags, by none, or as before."""
        self.launched()
        self.listed()
        self.successResultOf(self.end())
        for tags in (self.ALL, self.ALL - {"bbs:fleet-id"}, frozenset()):
            self.ec2.untagged = {"i-1": {*tags}}
            self.ec2.said = {"i-1": {"State": {"Name": "running"}}}
            self.assertFalse(self.listed()["a"].alive)
        self.ec2.said.clear()
        self.ec2.become("i-1", "terminated", "User initiated")
        self.ec2.untagged = {"i-1": {"bbs:launch"}}
        self.assertEqual(self.listed()["a"].detail, "i-1 terminated: User initiated")
        self.launched()
        self.assertEqual(len(self.tried()), 1)


class Fleets(ProviderCase):
    """Fleets of one name in one account and region: a copy of a database for one."""

    OTHER = "f" * 16

    def test_scopes(self):
        self.assertEqual(self.provider.scope, f"ec2:us-east-1:{FLEET_ID}")
        self.assertEqual(self.provider.former_scope, "ec2:us-east-1:bbs")

    def test_see_nothing_of_each_other(self):
        other = self.controller(fleet_id=self.OTHER)
        self.launched("a")
        self.launched("b", other)
        self.assertEqual(set(self.listed()), {"a"})
        self.assertEqual(set(self.listed(other)), {"b"})
        for provider, launch_id in ((self.provider, "b"), (other, "a")):
            self.successResultOf(self.end(launch_id, provider))
        self.assertEqual(len(self.alive()), 2)
        self.assertEqual(self.ec2.named("TerminateInstances"), [])

    def test_under_another_id(self):
        """What a copy launched that was adopted then is the fleet's as well; it launches under the
        one id alone."""
        interim = self.controller(fleet_id=self.OTHER)
        self.launched("a", interim)
        adopted = self.controller(other_ids=(self.OTHER,))
        self.assertEqual(set(self.listed(adopted)), {"a"})
        self.successResultOf(self.end("a", adopted))
        self.assertEqual(self.alive(), [])
        self.launched("b", adopted)
        self.assertEqual((set(self.listed()), self.listed(interim).keys()), ({"b"}, {"a"}))

    def test_unlisted(self):
        """What descriptions lack is ended by its id, and so is what is not there."""
        self.launched("a")
        self.ec2.unlisted = {"i-1"}
        controller = self.controller()
        self.successResultOf(self.end("a", controller))
        self.assertEqual(self.alive(), ["i-1"])
        for instance_id in ("i-1", "i-2"):
            ended = controller.end_unlisted(instance_id)
            self.clock.advance(GATHER)
            self.successResultOf(ended)
        self.assertEqual(self.alive(), [])

    def test_launch_of_the_original(self):
        """A copy that asks for a launch that the original has made is not given its instance."""
        self.launched("a")
        copy = self.controller(fleet_id=self.OTHER)
        self.failureResultOf(self.launch("a", copy), ProviderUnavailable)
        self.assertEqual(self.listed(copy), {})
        self.successResultOf(self.end("a", copy))
        self.assertEqual(self.alive(), ["i-1"])

    def test_answer_with_anothers(self):
        """Whatever EC2 answers, what is another fleet's is not known, and so not ended."""
        self.ec2.heeds = False
        self.ec2.launch("a", fleet_id=self.OTHER)
        self.ec2.launch("a", fleet_id=self.OTHER)
        self.ec2.launch("a", fleet_id="")
        self.assertEqual(self.listed(), {})
        self.successResultOf(self.end())
        self.assertEqual(self.ec2.named("TerminateInstances"), [])

    def test_without_id(self):
        """Instances from before fleets had ids are not looked at, unless there may be some."""
        self.ec2.launch("a", fleet_id="")
        self.assertEqual(self.listed(), {})
        former = self.controller(former=True)
        self.ec2.launch("b", fleet_id="", fleet="other")
        self.ec2.launch("c", fleet_id=self.OTHER)
        self.ec2.launch("d")
        listed = self.listed(former)
        self.assertEqual({id: one.ours for id, one in listed.items()}, {"a": False, "d": True})
        self.successResultOf(self.end("a", former))
        self.assertEqual(self.alive(), ["i-2", "i-3", "i-4"])

    def test_second_without_id(self):
        """Of two instances of a launch only one that is certainly this fleet's is ended unasked."""
        former = self.controller(former=True)
        self.ec2.launch("a", fleet_id="")
        self.ec2.launch("a", fleet_id="")
        self.ec2.launch("a")
        self.listed(former)
        self.assertEqual(self.alive(), ["i-1", "i-2"])


class Telling(ProviderCase):
    """`when_changed`."""

    def setUp(self):
        super().setUp()
        self.told = 0
        self.provider.when_changed = self.tell

    def tell(self):
        self.told += 1

    def test_own_acts(self):
        self.launched()
        self.assertEqual(self.told, 1)
        self.listed()
        self.assertEqual(self.told, 1)
        self.end()
        self.assertEqual(self.told, 2)

    def test_what_others_did(self):
        """A list that shows something new says so."""
        id = self.ec2.launch("a")
        self.listed()
        self.assertEqual(self.told, 1)
        self.ec2.become(id, "running")
        self.listed()
        self.assertEqual(self.told, 1)
        self.ec2.become(id, "terminated")
        self.listed()
        self.assertEqual(self.told, 2)


class Ending(ProviderCase):
    """`terminate`."""

    def test_ended(self):
        self.launched()
        self.assertIs(self.successResultOf(self.end()), None)
        self.assertEqual(self.alive(), [])
        self.assertRegex(
            self.listed()["a"].detail, "^i-1 shutting-down: User initiated .* shutdown$"
        )
        self.successResultOf(self.end())
        self.assertEqual(len(self.ec2.named("TerminateInstances")), 1)

    def test_stays_ended(self):
        """A description that is behind brings nothing back to life."""
        self.launched()
        self.listed()
        self.successResultOf(self.end())
        self.ec2.said = {"i-1": {"State": {"Name": "running"}}}
        self.clock.advance(1000)
        self.assertFalse(self.listed()["a"].alive)
        self.ec2.hidden = {"i-1"}
        self.assertFalse(self.listed()["a"].alive)
        self.clock.advance(instance_states.REMEMBERED)
        self.assertEqual(self.listed(), {})

    def test_several_at_once(self):
        for launch_id in "abc":
            self.launched(launch_id)
        ends = [self.provider.terminate(launch_id) for launch_id in "abc"]
        self.clock.advance(GATHER)
        for end in ends:
            self.successResultOf(end)
        self.assertEqual(
            self.ec2.named("TerminateInstances"), [{"InstanceIds": ["i-1", "i-2", "i-3"]}]
        )

    def test_looked_for(self):
        """One that somebody else launched is found by its tag; several are looked for in one."""
        for launch_id in "ab":
            self.ec2.launch(launch_id)
        ends = [self.provider.terminate(launch_id) for launch_id in "abx"]
        self.clock.pump([GATHER] * 3)
        for end in ends:
            self.successResultOf(end)
        self.assertEqual(self.alive(), [])
        self.assertEqual(
            [call["Filters"][1] for call in self.ec2.named("DescribeInstances")],
            [{"Name": "tag:bbs:launch", "Values": ["a", "b", "x"]}],
        )

    def test_stopped_instance(self):
        """One that an operator stopped is ended too: it costs."""
        self.ec2.become(self.ec2.launch("a"), "stopped")
        self.successResultOf(self.end())
        self.assertEqual(self.ec2.instances["i-1"].state, "shutting-down")

    def test_two_of_one_launch(self):
        for launch_id in "aa":
            self.ec2.launch(launch_id)
        self.successResultOf(self.end())
        self.assertEqual(self.alive(), [])

    def test_lost_answer(self):
        self.launched()
        self.ec2.lost["TerminateInstances"] = [no_answer()]
        end = self.end()
        self.clock.advance(0.05)
        self.successResultOf(end)
        self.assertEqual(self.alive(), [])

    def test_one_spoils_nothing(self):
        """Where one of several is unknown to EC2 the others are ended all the same."""
        for launch_id in "abc":
            self.launched(launch_id)
        self.listed()
        del self.ec2.instances["i-2"]
        ends = [self.provider.terminate(launch_id) for launch_id in "abc"]
        self.clock.advance(GATHER)
        for end in ends:
            self.successResultOf(end)
        self.assertEqual(self.alive(), [])

    def test_protected(self):
        """One that may not be ended keeps only itself from ending."""
        for launch_id in "ab":
            self.launched(launch_id)
        refusal = APIError("OperationNotPermitted")
        self.ec2.errors["TerminateInstances"] = [refusal, refusal]
        ends = [self.provider.terminate(launch_id) for launch_id in "ab"]
        self.clock.advance(GATHER)
        self.failureResultOf(ends[0], ProviderUnavailable)
        self.successResultOf(ends[1])
        self.assertEqual(self.alive(), ["i-1"])

    def test_not_shown_yet(self):
        """An instance that EC2 does not know yet, a moment after its launch, has not ended."""
        self.launched()
        self.ec2.hidden = {"i-1"}
        self.failureResultOf(self.end(), ProviderUnavailable)
        self.assertTrue(self.listed()["a"].alive)
        self.ec2.hidden.clear()
        self.successResultOf(self.end())
        self.assertEqual(self.alive(), [])

    def test_launch_under_way(self):
        """A launch is awaited before it is ended."""
        changing = self.pools["ec2-changing"]
        changing.eager = False
        launch = self.provider.launch("a")
        end = self.end()
        self.assertEqual(len(changing.jobs), 1)
        changing.finish()
        self.successResultOf(launch)
        self.clock.advance(GATHER)
        changing.finish()
        self.successResultOf(end)
        self.assertEqual(self.alive(), [])

    def test_unavailable(self):
        self.launched()
        self.ec2.errors["TerminateInstances"] = [no_answer() for _ in range(3)]
        end = self.end()
        self.clock.pump([0.05, 0.1])
        self.failureResultOf(end, ProviderUnavailable)
        self.successResultOf(self.end())
