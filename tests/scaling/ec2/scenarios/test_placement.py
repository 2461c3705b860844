"""Where instances are launched, by which template, and as Spot or not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import ClassVar

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.batching import GATHER
from bbs.scaling.ec2 import launches as ec2_launches
from bbs.scaling.ec2 import spot_fleet
from bbs.scaling.ec2.errors import EC2Error, Verdict
from bbs.scaling.ec2.launch_request import LaunchStrategy, strategies
from bbs.scaling.ec2.launches import LACK_REMEMBERED, LaunchPlacement
from bbs.scaling.ec2.spot_fleet import (
    MOST_POOLS,
    SPREADS,
    SWEEP_INTERVAL,
    fleet_of,
    parse,
    spot_pools,
)
from bbs.scaling.ec2.throttle import NOT_ASKED
from bbs.scaling.interfaces import LaunchFailed, LaunchRefused, ProviderUnavailable
from tests.scaling.ec2.case import CONFIG, ProviderCase, no_answer
from tests.standins.ec2 import APIError

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

    def test_another_zone_before_another_type(self):
        """If all are in one, and are to be in two."""
        self.where.in_two_zones = True
        self.where.lacks(A2, lack())
        for living, wanted in (({}, A1), ({"s-1": 3}, B2), ({"s-1": 3, "s-2": 1}, A1)):
            self.assertEqual(self.where.next(living, ()), wanted)
        self.where.lacks(B2, lack())
        self.assertEqual(self.where.next({"s-1": 3}, ()), A1)

    def test_nor_in_one_that_may_not_boot(self):
        self.where.in_two_zones = True
        self.where.doubts = {str(A2): 1.0, str(B2): 1.0}
        self.assertEqual(self.where.next({"s-1": 3}, ()), A1)

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
        self.ec2.instances[self.ec2.launch("x")].subnet_id = "s-1"
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
        self.ec2.lost["RunInstances"] = [no_answer() for _ in range(3)]
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
        self.ec2.errors["RunInstances"] = [APIError(code) for code in codes]

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
            markets = ["InstanceMarketOptions" in asked for asked in self.ec2.named("RunInstances")]
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

    def test_a_stopped_one_is_started(self):
        """It fails alone where another family may be launched, and is refused where none is."""
        mixed = self.controller(instance_type=("t3.micro", "g4dn.xlarge"))
        self.launched("a", mixed)
        alone = self.controller(instance_type=("t3.micro",))
        self.ec2.become("i-1", "stopped")
        for provider in (mixed, alone):
            self.listed(provider)
            self.ec2.errors["StartInstances"] = [APIError("VcpuLimitExceeded")]
            start = provider.start("a")
            self.clock.pump([GATHER] * 3)
            failed = self.failureResultOf(start, LaunchFailed)
            self.assertIs(isinstance(failed.value, LaunchRefused), provider is alone)
        self.launched("b", mixed)
        self.assertEqual(self.tried()[-1][0], "g4dn.xlarge")

    def test_capacity_may_come_back(self):
        """That is no refusal, and the quota is named all the same."""
        self.ec2.lacks = {("t3.micro", "s-1", True)}
        spot = self.controller(spot=True, subnet_ids=("s-1",), instance_type=("t3.micro",))
        self.ec2.errors["RunInstances"] = [None, APIError("VcpuLimitExceeded")]
        failed = self.failureResultOf(self.launch("a", spot), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        self.assertIn(self.STANDARD, str(failed.value))


class SpotCase(ProviderCase):
    """A provider that asks for Spot instances."""

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
            for parameters in self.ec2.named("RunInstances")
        ]


class Spot(SpotCase):
    """`ec2.spot`, where fleets are not allowed."""

    def setUp(self):
        super().setUp()
        denied = APIError("UnauthorizedOperation")
        self.ec2.errors["CreateLaunchTemplate"] = [denied for _ in range(9)]

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
        tokens = {parameters["ClientToken"] for parameters in self.ec2.named("RunInstances")}
        self.assertEqual(len(tokens), 5)
        self.clock.advance(10)  # The gate of launches lets so many through.
        self.launched("b", self.spot)
        self.assertEqual(len(self.asked()), 6)

    def test_price(self):
        """A price that is too low is a lack of capacity, of this type in this subnet."""
        self.ec2.errors["RunInstances"] = [APIError("SpotMaxPriceTooLow")]
        self.launched("a", self.spot)
        self.assertEqual(self.asked()[-1], LaunchStrategy("t3.micro", "s-2", spot=True))
        self.assertEqual(self.ec2.named("CreateFleet"), [])

    def test_no_spot_at_all(self):
        """Where the account has no Spot, or no more of it, no other Spot is asked for."""
        for code in (
            "MaxSpotInstanceCountExceeded",
            "AuthFailure.ServiceLinkedRoleCreationNotPermitted",
        ):
            provider = self.controller(spot=True)
            self.ec2.calls.clear()
            self.ec2.errors["RunInstances"] = [APIError(code)]
            self.launched(code[:9], provider)
            self.assertEqual([way.spot for way in self.asked()], [True, False])

    def test_neither(self):
        self.ec2.errors["RunInstances"] = [APIError("MaxSpotInstanceCountExceeded")]
        self.ec2.lacks = {*strategies(CONFIG)}
        failed = self.failureResultOf(self.launch("a", self.spot), LaunchFailed)
        self.assertNotIsInstance(failed.value, LaunchRefused)
        self.assertIn("as Spot (MaxSpotInstanceCountExceeded)", str(failed.value))


class Fleets(SpotCase):
    """The best of several Spot pools."""

    FIRST = "the best of 2 pools as Spot (5/138aa1a9)"

    def setUp(self):
        super().setUp()
        self.written = {}
        self.refused = self.patch_log()

    def patch_log(self):
        said = []
        log = SimpleNamespace(warn=lambda *_, error: said.append(error), info=lambda *_, **__: None)
        self.patch(spot_fleet, "_log", log)
        return said

    def provider_that_writes(self, **changes):
        provider = self.controller(spot=True, **changes)

        def write(launch_id, before, way):
            self.assertEqual(self.written.get(launch_id), before)
            self.written[launch_id] = way
            return succeed(None)

        provider.write_strategy = write
        return provider

    def of(self, launch_id, provider=None):
        """The pool that a launch is in."""
        return (provider or self.spot).instance_of(launch_id).pool

    def pools_asked(self):
        """The pools that each fleet was asked for."""
        return [
            [
                (override["InstanceType"], override.get("SubnetId"))
                for config in asked["LaunchTemplateConfigs"]
                for override in config["Overrides"]
            ]
            for asked in self.ec2.named("CreateFleet")
        ]

    def test_the_best_of_a_subnet(self):
        """One call for all types; the launch's template is gone after it, and EC2 chose."""
        self.ec2.lacks = {("t3.micro", "s-1", True)}
        provider = self.provider_that_writes()
        self.launched("a", provider)
        self.assertEqual(self.pools_asked(), [[("t3.micro", "s-1"), ("t3.small", "s-1")]])
        [asked] = self.ec2.named("CreateFleet")
        self.assertEqual(
            {
                key: asked[key]
                for key in asked
                if key not in ("ClientToken", "LaunchTemplateConfigs")
            },
            {
                "Type": "instant",
                "TargetCapacitySpecification": {
                    "TotalTargetCapacity": 1,
                    "DefaultTargetCapacityType": "spot",
                },
                "SpotOptions": {"AllocationStrategy": "price-capacity-optimized"},
            },
        )
        self.assertEqual(self.ec2.named("RunInstances"), [])
        self.assertEqual(self.ec2.templates, {})
        self.assertEqual(self.of("a", provider), "t3.small in s-1 as Spot")
        self.assertEqual(self.written, {"a": self.FIRST})
        self.assertEqual(self.listed(provider)["a"].detail, "i-1 pending, Spot")

    def test_several_zones(self):
        """EC2 may choose the zone as long as none falls behind: two servers are in two."""
        for launch_id in "abcd":
            self.launched(launch_id, self.spot)
        subnets = [{subnet for _, subnet in asked} for asked in self.pools_asked()]
        self.assertEqual(subnets, [{"s-1"}, {"s-2"}, {"s-1", "s-2"}, {"s-2"}])

    def test_on_demand_in_another_zone(self):
        """If all are in one that are to be in two, and Spot lacks there."""
        self.ec2.lacks = {each for each in spot_pools(self.spot.config) if each.subnet == "s-2"}
        self.launched("a", self.spot)
        self.launched("b", self.spot)
        self.assertEqual(self.asked(), [])
        self.spot.prefer({}, {"s-1": 2}, True)
        self.assertEqual(self.spot.choose_strategies(2), ["t3.micro in s-2", self.FIRST])

    def test_several_zones_at_once(self):
        """Whatever EC2 chooses for those of which nothing is known yet."""
        ways = self.spot.choose_strategies(8)
        fleets = [parse(replace(CONFIG, spot=True), way) for way in ways]
        homes = [fleet and fleet.home for fleet in fleets]
        self.assertEqual(homes, ["s-1", "s-2", "", "s-1", "s-2", "", "s-1", "s-2"])

    def test_doubtful_ones_are_left_out(self):
        self.spot.prefer({"t3.micro in s-1 as Spot": 1.0}, {}, False)
        self.launched("a", self.spot)
        self.launched("b", self.spot)
        self.assertEqual(self.pools_asked(), [[("t3.micro", "s-2"), ("t3.small", "s-2")]])
        self.assertEqual(self.asked(), [LaunchStrategy("t3.small", "s-1", spot=True)])

    def test_nowhere(self):
        """On demand at once; Spot again after a while."""
        spot = [way._replace(spot=True) for way in strategies(CONFIG)]
        self.ec2.lacks = {*spot}
        self.launched("a", self.spot)
        self.assertEqual(len(self.pools_asked()), 2)  # In one subnet, and in the other.
        self.assertEqual(self.asked(), [strategies(CONFIG)[0]])
        self.clock.advance(10)
        self.launched("b", self.spot)
        self.assertEqual(len(self.pools_asked()), 2)
        self.clock.advance(LACK_REMEMBERED)
        self.ec2.lacks = set()
        self.launched("c", self.spot)
        self.assertEqual(len(self.pools_asked()), 3)
        self.assertTrue(self.of("c").endswith("as Spot"))

    def test_quota(self):
        """It is one of all Standard types in all subnets."""
        self.ec2.refuses = {("t3.micro", "s-1"): "MaxSpotInstanceCountExceeded"}
        self.ec2.lacks = {("t3.small", "s-1", True)}
        self.launched("a", self.spot)
        self.assertEqual(len(self.pools_asked()), 1)
        self.assertEqual([way.spot for way in self.asked()], [False])

    def test_no_right(self):
        """Pool by pool, which is said once; later it is tried again."""
        for name in ("CreateLaunchTemplate", "CreateFleet"):
            provider = self.controller(spot=True)
            self.refused.clear()
            self.ec2.calls.clear()
            denied = APIError("UnauthorizedOperation")
            self.ec2.errors[name] = [denied, denied]
            self.launched(f"{name}-1", provider)
            self.launched(f"{name}-2", provider)
            self.assertEqual([way.spot for way in self.asked()], [True, True])
            self.clock.advance(NOT_ASKED)
            self.launched(f"{name}-3", provider)
            self.assertEqual(len(self.ec2.named(name)), 2)
            self.assertRegex(self.refused.pop(), "UnauthorizedOperation.*lacks a right")
            self.assertEqual(self.refused, [])
            self.clock.advance(NOT_ASKED)
            self.launched(f"{name}-4", provider)
            self.assertEqual(len(self.ec2.named(name)), 3)

    def test_a_pools_own_refusal(self):
        """What an answer says that is not about capacity: RunInstances says it as well."""
        self.ec2.refuses = {("t3.micro", "s-1"): "UnauthorizedOperation"}
        self.ec2.refuses[("t3.small", "s-1")] = "UnauthorizedOperation"
        self.failureResultOf(self.launch("a", self.spot), LaunchRefused)
        self.assertEqual(self.asked(), [LaunchStrategy("t3.micro", "s-1", spot=True)])
        self.assertEqual(len(self.refused), 1)

    def lost(self):
        self.ec2.lost["CreateFleet"] = [no_answer() for _ in range(3)]

    def test_lost_answer(self):
        """Asked again there is the same instance, also by a successor that no list shows it; the
        template is made again for it."""
        self.lost()
        provider = self.provider_that_writes()
        self.failureResultOf(self.launch("a", provider), ProviderUnavailable)
        self.ec2.hidden = {"i-1"}
        self.ec2.templates.clear()
        successor = self.provider_that_writes(key_name="other")
        successor.know_strategies(self.written, {"a"})
        self.launched("a", successor)
        self.launched("a", provider)
        self.assertEqual(self.alive(), ["i-1"])
        self.assertEqual(self.written, {"a": self.FIRST})

    def test_lost_answer_without_capacity(self):
        """It is the answer to every call, so nothing can come of an earlier one."""
        self.ec2.lacks = {way._replace(spot=True) for way in strategies(CONFIG)}
        self.lost()
        self.failureResultOf(self.launch("a", self.spot), ProviderUnavailable)
        self.ec2.lacks = {("t3.micro", "s-2", True), ("t3.small", "s-2", True)}
        self.launched("a", self.spot)
        self.assertEqual(self.asked(), [strategies(CONFIG)[0]])
        self.assertEqual(self.alive(), ["i-1"])

    def test_taken_over_with_its_pool(self):
        """The text in the row may have the pool before it by then."""
        provider = self.provider_that_writes()
        self.lost()
        self.failureResultOf(self.launch("a", provider), ProviderUnavailable)
        self.ec2.hidden = {"i-1"}
        successor = self.controller(spot=True)
        successor.know_strategies({"a": f"t3.micro in s-1 as Spot, {self.FIRST}"}, {"a"})
        self.launched("a", successor)
        self.assertEqual(self.alive(), ["i-1"])

    def test_never_where_it_is_to_be_stopped(self):
        launching = self.spot.launch_to_stop("a")
        self.clock.pump([GATHER] * 3)
        self.assertIs(self.successResultOf(launching), None)
        self.assertEqual(self.pools_asked(), [])

    def test_templates_left(self):
        """One that could not be deleted is, after the next fleet."""
        self.ec2.errors["DeleteLaunchTemplate"] = [APIError("RequestLimitExceeded")] * 99
        self.launched("a", self.spot)
        self.clock.pump([1.0] * 60)
        self.assertEqual([*self.ec2.templates], ["bbs-a-credits"])
        self.ec2.errors.clear()
        self.launched("b", self.spot)
        self.clock.pump([1.0] * 60)
        self.assertEqual(self.ec2.templates, {})

    def test_templates_of_a_fleet_that_is_refused(self):
        self.ec2.errors["CreateFleet"] = [APIError("UnauthorizedOperation")]
        self.launched("a", self.spot)
        self.assertEqual(len(self.ec2.named("CreateLaunchTemplate")), 1)
        self.assertEqual(self.ec2.templates, {})

    def test_templates_of_a_launch_that_is_given_up(self):
        """While it may be asked for again its template stays."""
        self.ec2.errors["CreateFleet"] = [no_answer() for _ in range(3)]
        self.failureResultOf(self.launch("a", self.spot), ProviderUnavailable)
        self.assertEqual([*self.ec2.templates], ["bbs-a-credits"])
        self.successResultOf(self.end("a", self.spot))
        self.assertEqual(self.ec2.templates, {})

    def die(self, launch_id="a", **changes):
        """A controller dies after it has made a launch's template; the template's name."""
        before = {*self.ec2.templates}
        self.ec2.errors["CreateFleet"] = [no_answer() for _ in range(3)]
        dying = self.controller(spot=True, **changes)
        self.failureResultOf(self.launch(launch_id, dying), ProviderUnavailable)
        self.successResultOf(dying.client.stopService())
        [left] = {*self.ec2.templates} - before
        return left

    def sweep(self, provider):
        """A controller looks at the fleet, as often as it looks for templates."""
        for _ in range(3):
            self.listed(provider)
            self.clock.advance(SWEEP_INTERVAL)

    def test_templates_of_a_controller_that_died(self):
        """A later one deletes them, many or few, once no other can be asking by them."""
        left = [self.die(f"launch-{number}") for number in range(5)]
        later = self.controller(spot=True)
        self.listed(later)
        self.clock.advance(SWEEP_INTERVAL - 1)
        self.listed(later)
        self.assertEqual([*self.ec2.templates], left)
        self.clock.advance(1)
        self.listed(later)
        self.assertEqual(self.ec2.templates, {})
        self.assertEqual(len(self.ec2.named("DescribeLaunchTemplates")), 4)

    def test_templates_that_are_not_this_fleets(self):
        """Neither by what EC2 describes, nor if it describes others too."""
        other = self.die(fleet_id="fedcba9876543210")
        mine = self.die("b")
        named = {**self.ec2.templates[mine], "LaunchTemplateName": "operators"}
        untagged = {**self.ec2.templates[mine], "TagSpecifications": [{"Tags": []}]}
        self.ec2.templates |= {"operators": named, "bbs-c": untagged}
        for self.ec2.heeds in (True, False):
            self.sweep(self.controller(spot=True))
            self.assertEqual([*self.ec2.templates], [other, "operators", "bbs-c"])

    def test_templates_of_launches_that_are_asked_for(self):
        """The successor asks for the launch again."""
        left = self.die()
        successor = self.controller(spot=True)
        successor.know_strategies({"a": self.FIRST}, {"a"})
        self.sweep(successor)
        self.assertEqual([*self.ec2.templates], [left])
        successor.forget_strategies()
        self.sweep(successor)
        self.assertEqual(self.ec2.templates, {})

    def test_no_right_to_see_templates(self):
        """That is said once, and launches go on."""
        self.die()
        denied = APIError("UnauthorizedOperation")
        self.ec2.errors["DescribeLaunchTemplates"] = [denied] * 9
        later = self.controller(spot=True)
        for _ in range(3):
            self.sweep(later)
        self.assertRegex(self.refused.pop(), "DescribeLaunchTemplates.*lacks a right")
        self.assertEqual(self.refused, [])
        self.launched("b", later)
        self.assertTrue(self.of("b", later).endswith("as Spot"))

    def test_who_asks_for_no_fleets_looks_for_no_templates(self):
        self.sweep(self.controller())
        self.assertEqual(self.ec2.named("DescribeLaunchTemplates"), [])

    def test_a_template_that_ec2_does_not_know_yet(self):
        """It is asked again, and neither for other pools nor in ten minutes."""
        self.ec2.is_behind = True
        provider = self.provider_that_writes()
        for _ in range(3):
            failure = self.failureResultOf(self.launch("a", provider), ProviderUnavailable)
            self.assertIn("does not know the new launch template yet", str(failure.value))
            self.clock.advance(2.0)
        self.ec2.is_behind = False
        self.launched("a", provider)
        self.assertEqual((self.asked(), self.refused), ([], []))
        self.assertEqual(self.alive(), ["i-1"])
        self.assertEqual(self.written, {"a": self.FIRST})
        tokens = {each["ClientToken"] for each in self.ec2.named("CreateFleet")}
        self.assertEqual(len(tokens), 1)

    def test_an_answer_that_does_not_know_it_yet(self):
        """It stays the answer to its token, so there is another; a successor finds the way."""
        unknown = "InvalidLaunchTemplateName.NotFoundException"
        self.ec2.refuses = {("t3.micro", "s-1"): unknown, ("t3.small", "s-1"): unknown}
        provider = self.provider_that_writes()
        for _ in range(2):
            self.failureResultOf(self.launch("a", provider), ProviderUnavailable)
        self.ec2.refuses = {}
        successor = self.controller(spot=True)
        successor.know_strategies(self.written, {"a"})
        for _ in range(2):
            self.failureResultOf(self.launch("a", successor), ProviderUnavailable)
        self.launched("a", successor)
        tokens = [each["ClientToken"] for each in self.ec2.named("CreateFleet")]
        self.assertEqual(tokens[:2], tokens[2:4])
        self.assertEqual(len({*tokens}), 3)
        self.assertEqual((self.asked(), self.refused), ([], []))
        self.assertEqual(self.alive(), ["i-1"])

    def test_a_template_that_ec2_never_knows(self):
        """Then it is asked pool by pool."""
        self.ec2.is_behind = True
        provider = self.provider_that_writes()
        self.failureResultOf(self.launch("a", provider), ProviderUnavailable)
        self.clock.advance(SPREADS)
        self.launched("a", provider)
        self.assertEqual(self.asked(), [LaunchStrategy("t3.micro", "s-1", spot=True)])
        self.assertEqual(self.ec2.templates, {})

    def test_types_without_credits(self):
        """EC2 refuses credits for these, so they have a template of their own."""
        self.launched("a", self.controller(spot=True, instance_type=("t3.micro", "m5.large")))
        made = {
            each["LaunchTemplateName"]: each["LaunchTemplateData"]
            for each in self.ec2.named("CreateLaunchTemplate")
        }
        credits = {name: data.get("CreditSpecification") for name, data in made.items()}
        self.assertEqual(credits, {"bbs-a-credits": {"CpuCredits": "unlimited"}, "bbs-a": None})
        [asked] = self.ec2.named("CreateFleet")
        self.assertEqual(
            [
                (each["LaunchTemplateSpecification"], each["Overrides"])
                for each in asked["LaunchTemplateConfigs"]
            ],
            [
                (
                    {"LaunchTemplateName": name, "Version": "1"},
                    [{"InstanceType": kind, "SubnetId": "s-1"}],
                )
                for name, kind in (("bbs-a-credits", "t3.micro"), ("bbs-a", "m5.large"))
            ],
        )
        self.assertNotIn("SubnetId", str(made))

    def test_many_pools(self):
        """Their strategy is still short enough for a row, with the pool before it."""
        types = tuple(f"m{number}idn-flex.metal-48xl" for number in range(60))
        subnets = tuple(f"subnet-{number:017x}" for number in range(8))
        config = replace(CONFIG, spot=True, instance_type=types, subnet_ids=subnets)
        fleet = fleet_of(config, spot_pools(config))
        self.assertEqual(len(fleet.pools), MOST_POOLS)
        self.assertLessEqual(len(f"{fleet.pools[-1]}, {fleet}"), 200)
        self.assertEqual(parse(config, str(fleet)), fleet)
        other = replace(config, instance_type=types[::-1])
        self.assertIs(parse(other, str(fleet)), None)

    def test_one_pool(self):
        """It needs no fleet."""
        self.launched("a", self.controller(spot=True, instance_type=("t3.micro",)))
        self.assertEqual(self.pools_asked(), [])
        self.assertEqual(self.asked(), [LaunchStrategy("t3.micro", "s-1", spot=True)])

    def test_no_subnet(self):
        """The default one is not named, also where EC2 tells of it."""
        provider = self.controller(spot=True, subnet_ids=())
        self.launched("a", provider)
        self.ec2.instances["i-1"].subnet_id = "s-default"
        self.listed(provider)
        self.assertEqual(self.of("a", provider), "t3.micro as Spot")


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
            self.ec2.named("DescribeLaunchTemplateVersions"),
            [{"LaunchTemplateName": "bbs", "Versions": ["3"]}],
        )
        self.assertEqual(self.ec2.named("DescribeImages"), [{"ImageIds": ["ami-1"]}])
        wanted = {"LaunchTemplateName": "bbs", "Version": "3"}
        for parameters in self.ec2.named("RunInstances"):
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
        self.assertEqual({instance.subnet_id for instance in self.ec2.instances.values()}, {"s-1"})

    def test_changed_under_way(self):
        """A launch that is refused asks for the template again, and is made to suit."""
        self.ec2.template = self.GROUPS
        provider = self.templated()
        self.launched("a", provider)
        self.ec2.template = self.INTERFACE
        self.launched("b", provider)
        self.assertEqual(len(self.ec2.named("DescribeLaunchTemplateVersions")), 2)
        self.assertEqual(len(self.alive()), 2)

    def test_refused_for_another_reason(self):
        """Asked for the template again, and it is as before: once, and the launch is refused."""
        self.ec2.template = self.GROUPS
        provider = self.templated()
        self.ec2.errors["RunInstances"] = [APIError("InvalidParameterCombination")]
        self.failureResultOf(self.launch("a", provider), LaunchRefused)
        self.assertEqual(len(self.ec2.named("DescribeLaunchTemplateVersions")), 2)
        self.assertEqual(len(self.ec2.named("RunInstances")), 1)

    def test_looked_at_again(self):
        """After some minutes a launch asks anew; where EC2 cannot say it, all is as it was."""
        self.ec2.template = self.GROUPS
        provider = self.templated()
        self.launched("a", provider)
        self.clock.advance(ec2_launches.TEMPLATE_REMEMBERED)
        self.ec2.errors["DescribeLaunchTemplateVersions"] = [no_answer() for _ in range(3)]
        self.launched("b", provider)
        self.assertEqual(len(self.ec2.named("DescribeLaunchTemplateVersions")), 4)
        self.launched("c", provider)
        self.assertEqual(len(self.ec2.named("DescribeLaunchTemplateVersions")), 5)

    def test_misfit(self):
        self.ec2.template = {**self.GROUPS, **self.INTERFACE}
        refused = self.failureResultOf(self.launch("a", self.templated()), LaunchRefused)
        self.assertRegex(str(refused.value), "^the launch template bbs:3: .*move its groups")
        self.assertEqual(self.ec2.named("RunInstances"), [])

    def test_no_template(self):
        for code in (
            "InvalidLaunchTemplateName.NotFoundException",
            "InvalidLaunchTemplateId.VersionNotFound",
        ):
            self.ec2.errors["DescribeLaunchTemplateVersions"] = [APIError(code)]
            refused = self.failureResultOf(self.launch("a", self.templated()), LaunchRefused)
            self.assertIn("ec2.launch_template", str(refused.value))

    def test_image_by_name(self):
        """Of an image that the Systems Manager names nothing is known: the volume is its own."""
        self.ec2.template = {"ImageId": "resolve:ssm:/images/bbs"}
        self.launched("a", self.templated())
        self.assertEqual(self.ec2.named("DescribeImages"), [])
        self.assertNotIn("BlockDeviceMappings", self.ec2.named("RunInstances")[0])

    def test_no_image(self):
        self.ec2.template = self.GROUPS
        self.ec2.images = []
        refused = self.failureResultOf(self.launch("a", self.templated()), LaunchRefused)
        self.assertIn("ec2.launch_template", str(refused.value))
