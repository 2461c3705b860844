"""Where instances are launched, by which template, and as Spot or not."""

from __future__ import annotations

from typing import ClassVar

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.batching import GATHER
from bbs.scaling.ec2 import launches as ec2_launches
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.launch_request import LaunchStrategy, strategies
from bbs.scaling.ec2.launches import LACK_REMEMBERED, LaunchPlacement
from bbs.scaling.interfaces import LaunchFailed, LaunchRefused, ProviderUnavailable
from tests.scaling.ec2.case import CONFIG, ProviderCase, no_answer
from tests.scaling.ec2.tools import client_error

A1, A2, B1, B2 = strategies(CONFIG)


def lack(verdict=Verdict.ELSEWHERE, code="InsufficientInstanceCapacity"):
    return EC2Error(verdict, code, "because")


class Choosing(SynchronousTestCase):
    """`LaunchPlacement`."""

    def setUp(self):
        self.clock = Clock()
        self.where = LaunchPlacement(CONFIG, self.clock)

    def test_balance(self):
        """The subnet with the fewest comes first, then the configuration's order."""
        for living, wanted in (({}, A1), ({"s-1": 1}, A2), ({"s-1": 1, "s-2": 1}, A1)):
            self.assertEqual(self.where.next(living, ()), wanted)

    def test_types_in_their_order(self):
        """A dearer type is for when the first is nowhere to be had, whatever the balance."""
        self.assertEqual(self.where.next({"s-1": 9}, [A2]), A1)
        self.assertEqual(self.where.next({"s-1": 9}, [A2, A1]), B2)

    def test_lack_is_remembered(self):
        """For three minutes; then it is tried again."""
        self.where.lacks(A1, lack())
        self.clock.advance(LACK_REMEMBERED - 1)
        self.assertEqual(self.where.next({}, ()), A2)
        self.clock.advance(1)
        self.assertEqual(self.where.next({}, ()), A1)
        self.assertEqual(LACK_REMEMBERED, 180.0)

    def test_everything_lacks(self):
        """The way that did so longest ago is tried, and no other."""
        for way in (A2, A1, B1, B2):
            self.where.lacks(way, lack())
            self.clock.advance(1)
        self.assertEqual(self.where.next({}, ()), A2)
        self.assertIs(self.where.next({}, [A2]), None)
        self.assertEqual([*self.where.lacking()], [A1, A2, B1, B2])

    def test_works_again(self):
        self.where.lacks(A1, lack())
        self.where.works(A1)
        self.assertEqual(self.where.next({}, ()), A1)

    def test_doubtful_pools_come_last(self):
        """One that may not boot is for when all others are nowhere to be had."""
        self.where.doubts = {str(A1): 1.0, str(B1): 0.5, str(A2): 0.1}
        self.assertEqual(self.where.next({}, ()), A2)
        self.assertEqual(self.where.next({}, [A2]), B2)
        self.assertEqual(self.where.next({}, [A2, B2]), B1)
        self.assertEqual(self.where.next({}, [A2, B2, B1]), A1)

    def test_subnet_without_addresses(self):
        """It has none for another type either."""
        self.where.lacks(A1, lack(code="InsufficientFreeAddressesInSubnet"))
        self.assertEqual(self.where.next({"s-2": 9}, ()), A2)
        self.assertEqual(self.where.next({}, [A2]), B2)


class Balance(ProviderCase):
    """Launches in the subnets in turn."""

    def test_in_turn(self):
        for launch_id in "abc":
            self.launched(launch_id)
        self.assertEqual([subnet for _, subnet in self.tried()], ["s-1", "s-2", "s-1"])
        self.successResultOf(self.end("b"))
        self.launched("d")
        self.assertEqual(self.tried()[-1], ("t3.micro", "s-2"))

    def test_what_others_launched_counts(self):
        self.ec2.instances[self.ec2.launch("x")]["SubnetId"] = "s-1"
        self.listed()
        self.launched()
        self.assertEqual(self.tried(), [("t3.micro", "s-2")])

    def test_at_once(self):
        """Launches that are asked for together spread, though nothing is answered yet."""
        changing = self.pools["ec2-changing"]
        changing.eager = False
        launches = [self.provider.launch(launch_id) for launch_id in "abcd"]
        self.assertEqual(len(changing.jobs), 4)
        for launch in launches:
            changing.finish()
            self.successResultOf(launch)
        subnets = [subnet for _, subnet in self.tried()]
        self.assertEqual(subnets, ["s-1", "s-2", "s-1", "s-2"])

    def test_lack_is_remembered(self):
        """What lacked capacity is not asked for again by the next launches, until it is time."""
        self.ec2.lacks = {("t3.micro", "s-1", False), ("t3.micro", "s-2", False)}
        self.launched("a")
        self.launched("b")
        micro = [tried for tried in self.tried() if tried[0] == "t3.micro"]
        self.assertEqual(len(micro), 2)
        self.ec2.lacks.clear()
        self.clock.advance(LACK_REMEMBERED)
        self.launched("c")
        self.assertEqual(self.tried()[-1][0], "t3.micro")

    def test_nowhere(self):
        """What is said names every way; the next launch tries one of them."""
        self.ec2.lacks = set(strategies(CONFIG))
        failed = self.failureResultOf(self.launch(), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        for way in strategies(CONFIG):
            self.assertIn(f"{way} (InsufficientInstanceCapacity)", str(failed.value))
        self.assertEqual(len(self.tried()), 4)
        self.failureResultOf(self.launch("b"), LaunchFailed)
        self.assertEqual(self.tried()[4:], [("t3.micro", "s-1")])
        self.ec2.lacks.clear()
        self.launched("c")

    def test_one_way(self):
        """Where there is but one, EC2's own words are told."""
        only = self.controller(instance_type=("t3.micro",), subnet_ids=("s-1",))
        self.ec2.lacks = {("t3.micro", "s-1", False)}
        failed = self.failureResultOf(self.launch("a", only), LaunchFailed)
        self.assertIn("EC2 refuses RunInstances", str(failed.value))

    def test_successor_begins_alike(self):
        """A successor that sees the same instances asks under the same token."""
        self.launched("a")
        self.ec2.lost["run_instances"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch("b"), ProviderUnavailable)
        self.ec2.hidden = {"i-2"}
        successor = self.controller()
        self.listed(successor)
        self.launched("b", successor)
        self.assertEqual(self.alive(), ["i-1", "i-2"])


class Quotas(ProviderCase):
    """A quota that is reached is one of a family, on demand or as Spot."""

    STANDARD = "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances (L-1216C47A)"

    def reached(self, *codes):
        self.ec2.errors["run_instances"] = [client_error(code) for code in codes]

    def test_other_family(self):
        """It is asked for at once, and no type of the first in any subnet for a while."""
        mixed = self.controller(instance_type=("t3.micro", "m5.large", "g4dn.xlarge"))
        self.reached("VcpuLimitExceeded")
        self.launched("a", mixed)
        self.launched("b", mixed)
        kinds = [kind for kind, _ in self.tried()]
        self.assertEqual(kinds, ["t3.micro", "g4dn.xlarge", "g4dn.xlarge"])
        self.clock.advance(LACK_REMEMBERED)
        self.launched("c", mixed)
        self.assertEqual(self.tried()[-1][0], "t3.micro")

    def test_other_market(self):
        """On demand has a quota of its own."""
        for code in ("VcpuLimitExceeded", "MaxSpotInstanceCountExceeded"):
            spot = self.controller(spot=True, subnet_ids=("s-1",), instance_type=("t3.micro",))
            self.ec2.calls.clear()
            self.reached(code)
            self.launched(code, spot)
            markets = [
                "InstanceMarketOptions" in asked for asked in self.ec2.named("run_instances")
            ]
            self.assertEqual(markets, [True, False])

    def test_nothing_is_left(self):
        """Both are named."""
        self.reached("VcpuLimitExceeded")
        refused = self.failureResultOf(self.launch(), LaunchRefused)
        self.assertIn(self.STANDARD, str(refused.value))
        self.assertEqual(len(self.tried()), 1)
        mixed = self.controller(instance_type=("t3.micro", "g4dn.xlarge", "q9.huge"))
        self.reached(*["VcpuLimitExceeded"] * 3)
        refused = self.failureResultOf(self.launch("b", mixed), LaunchRefused)
        self.assertIn(
            f"the quota is reached: {self.STANDARD}, Running On-Demand G and VT instances"
            " (L-DB2E81BA), of q9.huge in s-1",
            str(refused.value),
        )

    def test_capacity_may_come_back(self):
        """That is no refusal, and the quota is named all the same."""
        self.ec2.lacks = {("t3.micro", "s-1", True)}
        spot = self.controller(spot=True, subnet_ids=("s-1",), instance_type=("t3.micro",))
        self.ec2.errors["run_instances"] = [None, client_error("VcpuLimitExceeded")]
        failed = self.failureResultOf(self.launch("a", spot), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        self.assertIn(self.STANDARD, str(failed.value))


class Spot(ProviderCase):
    """`ec2.spot`."""

    def setUp(self):
        super().setUp()
        self.spot = self.controller(spot=True)

    def asked(self):
        """What was asked for: type, subnet, and whether as Spot."""
        return [
            LaunchStrategy(
                parameters["InstanceType"],
                parameters["SubnetId"],
                "InstanceMarketOptions" in parameters,
            )
            for parameters in self.ec2.named("run_instances")
        ]

    def test_first(self):
        self.launched("a", self.spot)
        self.assertEqual(self.asked(), [LaunchStrategy("t3.micro", "s-1", spot=True)])
        self.assertEqual(self.listed(self.spot)["a"].detail, "i-1 pending, Spot")

    def test_never_where_it_is_to_be_stopped(self):
        """Also where all of that lacks capacity."""
        ways = strategies(CONFIG)
        self.ec2.lacks = {*ways}
        launching = self.spot.launch_to_stop("a")
        self.clock.pump([GATHER] * 10)
        self.failureResultOf(launching, LaunchFailed)
        self.assertEqual(self.asked(), ways)
        self.ec2.lacks = set()
        launching = self.spot.launch_to_stop("b")
        self.clock.pump([GATHER] * 3)
        self.assertIs(self.successResultOf(launching), None)
        self.assertFalse(self.asked()[-1].spot)

    def test_then_on_demand(self):
        """In the order of the ways, each under a token of its own."""
        ways = strategies(CONFIG)
        self.ec2.lacks = {way._replace(spot=True) for way in ways}
        self.launched("a", self.spot)
        self.assertEqual(self.asked(), [*(way._replace(spot=True) for way in ways), ways[0]])
        tokens = {parameters["ClientToken"] for parameters in self.ec2.named("run_instances")}
        self.assertEqual(len(tokens), 5)
        self.clock.advance(10)  # The gate of launches lets so many through.
        self.launched("b", self.spot)
        self.assertEqual(len(self.asked()), 6)

    def test_price(self):
        """A price that is too low is a lack of capacity, of this type in this subnet."""
        self.ec2.errors["run_instances"] = [client_error("SpotMaxPriceTooLow")]
        self.launched("a", self.spot)
        self.assertEqual(self.asked()[-1], LaunchStrategy("t3.micro", "s-2", spot=True))

    def test_no_spot_at_all(self):
        """Where the account has no Spot, or no more of it, no other Spot is asked for."""
        for code in (
            "MaxSpotInstanceCountExceeded",
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
        ):
            provider = self.controller(spot=True)
            self.ec2.calls.clear()
            self.ec2.errors["run_instances"] = [client_error(code)]
            self.launched(code[:9], provider)
            self.assertEqual([way.spot for way in self.asked()], [True, False])

    def test_neither(self):
        self.ec2.errors["run_instances"] = [client_error("MaxSpotInstanceCountExceeded")]
        self.ec2.lacks = {*strategies(CONFIG)}
        failed = self.failureResultOf(self.launch("a", self.spot), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        self.assertIn("as Spot (MaxSpotInstanceCountExceeded)", str(failed.value))


class Templates(ProviderCase):
    """`ec2.launch_template`."""

    GROUPS: ClassVar = {"ImageId": "ami-1", "SecurityGroupIds": ["sg-t"]}
    INTERFACE: ClassVar = {"ImageId": "ami-1", "NetworkInterfaces": [{"Groups": ["sg-t"]}]}

    def templated(self, **changes):
        changes = {"launch_template": "bbs:3", "image_id": "", "address": "public", **changes}
        return self.controller(**changes)

    def test_asked_once(self):
        self.ec2.template = self.GROUPS
        provider = self.templated()
        for launch_id in "abc":
            self.launched(launch_id, provider)
        self.assertEqual(
            self.ec2.named("describe_launch_template_versions"),
            [{"LaunchTemplateName": "bbs", "Versions": ["3"]}],
        )
        self.assertEqual(self.ec2.named("describe_images"), [{"ImageIds": ["ami-1"]}])
        wanted = {"LaunchTemplateName": "bbs", "Version": "3"}
        for parameters in self.ec2.named("run_instances"):
            self.assertEqual(parameters["LaunchTemplate"], wanted)

    def test_suits(self):
        """With groups, with an interface, with neither, wherever people are told to go."""
        for template in (self.GROUPS, self.INTERFACE, {"ImageId": "ami-1"}):
            for address in ("public", "private", "dns"):
                for groups in ((), ("sg-1",)):
                    self.ec2.template = template
                    provider = self.templated(address=address, security_group_ids=groups)
                    self.launched(f"l-{len(self.ec2.calls)}", provider)
        self.assertEqual(len(self.alive()), 18)
        self.assertEqual(
            {instance["SubnetId"] for instance in self.ec2.instances.values()}, {"s-1"}
        )

    def test_changed_under_way(self):
        """A launch that is refused asks for the template again, and is made to suit."""
        self.ec2.template = self.GROUPS
        provider = self.templated()
        self.launched("a", provider)
        self.ec2.template = self.INTERFACE
        self.launched("b", provider)
        self.assertEqual(len(self.ec2.named("describe_launch_template_versions")), 2)
        self.assertEqual(len(self.alive()), 2)

    def test_refused_for_another_reason(self):
        """Asked for the template again, and it is as before: once, and the launch is refused."""
        self.ec2.template = self.GROUPS
        provider = self.templated()
        self.ec2.errors["run_instances"] = [client_error("InvalidParameterCombination")]
        self.failureResultOf(self.launch("a", provider), LaunchRefused)
        self.assertEqual(len(self.ec2.named("describe_launch_template_versions")), 2)
        self.assertEqual(len(self.ec2.named("run_instances")), 1)

    def test_looked_at_again(self):
        """After some minutes a launch asks anew; where EC2 cannot say it, all is as it was."""
        self.ec2.template = self.GROUPS
        provider = self.templated()
        self.launched("a", provider)
        self.clock.advance(ec2_launches.TEMPLATE_REMEMBERED)
        self.ec2.errors["describe_launch_template_versions"] = [no_answer() for _ in range(3)]
        self.launched("b", provider)
        self.assertEqual(len(self.ec2.named("describe_launch_template_versions")), 4)
        self.launched("c", provider)
        self.assertEqual(len(self.ec2.named("describe_launch_template_versions")), 5)

    def test_misfit(self):
        self.ec2.template = {**self.GROUPS, **self.INTERFACE}
        refused = self.failureResultOf(self.launch("a", self.templated()), LaunchRefused)
        self.assertRegex(str(refused.value), "^the launch template bbs:3: .*move its groups")
        self.assertEqual(self.ec2.named("run_instances"), [])

    def test_no_template(self):
        for code in (
            "InvalidLaunchTemplateName.NotFoundException",
            "InvalidLaunchTemplateId.VersionNotFound",
        ):
            self.ec2.errors["describe_launch_template_versions"] = [client_error(code)]
            refused = self.failureResultOf(self.launch("a", self.templated()), LaunchRefused)
            self.assertIn("ec2.launch_template", str(refused.value))

    def test_image_by_name(self):
        """Of an image that the Systems Manager names nothing is known: the volume is its own."""
        self.ec2.template = {"ImageId": "resolve:ssm:/images/bbs"}
        self.launched("a", self.templated())
        self.assertEqual(self.ec2.named("describe_images"), [])
        self.assertNotIn("BlockDeviceMappings", self.ec2.named("run_instances")[0])

    def test_no_image(self):
        self.ec2.template = self.GROUPS
        self.ec2.images = []
        refused = self.failureResultOf(self.launch("a", self.templated()), LaunchRefused)
        self.assertIn("ec2.launch_template", str(refused.value))
