"""What one look at the fleet shows: rows, heartbeats and the provider's list become one view of
each server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs import __version__
from bbs.core.values import DrainCause, Instance, LossCause, State, Tally
from bbs.rules import fleet_transitions, membership
from bbs.rules.fleet_admin import Blocker
from bbs.rules.membership import LeaseSeen, Member, Observation
from bbs.rules.servers import OPERATOR, ServerRow
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.fleet_view import (
    FleetView,
    Health,
    Launches,
    Machine,
    Orphan,
    Owner,
    ServerView,
)
from bbs.scaling.interfaces import ProviderUnavailable
from bbs.scaling.observer import (
    CANNOT_START,
    CONSISTENCY_GRACE,
    PATIENCE,
    SETTLED_INTERVAL,
    STALE,
    UNSETTLED_INTERVAL,
    Ages,
    FleetObserver,
    Inventory,
)
from bbs.storage.database import Database
from bbs.storage.models import Server
from bbs.testing.provider import WarmMemoryProvider
from tests.memory_service import POLICY
from tests.rules.fleet_case import ONE, FleetCase
from tests.scaling.scenarios.test_inventory import Cloud, Controller, logged
from tests.scaling.test_events import RecordingBus

SCOPE = "ec2:fleet"
INTERVAL = 2.0
BEGAN = 1_000_000.0

ROW = ServerRow(
    id="a",
    state=State.READY,
    scope=SCOPE,
    host="192.0.2.1",
    port=22223,
    capacity=10,
    taken=7,
    created=BEGAN,
    ready=BEGAN + 60.0,
    leaving=False,
    drain_asked=False,
    reason="",
    instance_id="i-1",
    kind="t3.micro",
    version="1.2",
)
LAUNCHING = replace(
    ROW, state=State.LAUNCHING, host=None, port=None, taken=0, ready=None, version=""
)
WARM = replace(LAUNCHING, state=State.WARM, shelved=True)

RUNS = Instance("a", "192.0.2.1", True, "running", "i-1", "t3.micro")
STOPPED = replace(RUNS, host=None, alive=False, stopped=True, detail="stopped")
ENDED = replace(RUNS, alive=False, detail="Spot")


class WarmCloud(Cloud, WarmMemoryProvider):
    """One that can start machines too."""


class Noted:
    """A database that remembers what it was told of instances."""

    def __init__(self) -> None:
        self.instances: list[Instance] = []

    def run(
        self, rule: Callable[..., None], me: Member, instances: Iterable[Instance]
    ) -> Deferred[None]:
        assert (rule, me) == (fleet_transitions.note_instances, ONE)
        self.instances.extend(instances)
        return succeed(None)


class Eyes:
    """An observer of a fleet on `cloud`, with all that it needs."""

    def __init__(self, cloud: Cloud, clock: Clock, database: Any) -> None:
        self.bus = RecordingBus()
        self.inventory = Inventory(cloud, Controller(), clock)
        self.ages = Ages(clock, clock.seconds, 30.0)
        context = FleetContext(
            me=ONE,
            database=cast("Database", database),
            provider=cloud,
            policy=POLICY,
            news=FleetEvents(self.bus),
            reactor=clock,
            wall=clock.seconds,
        )
        self.observer = FleetObserver(context, self.inventory, self.ages, INTERVAL)


class ObserverCase(SynchronousTestCase):
    """A fleet on a cloud that can start machines; every look is an interval after the last."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(BEGAN)
        self.noted = Noted()
        self.beats = 0
        self.use(WarmCloud(SCOPE))

    def use(self, cloud: Cloud) -> None:
        """Have a new observer, of a fleet on another cloud."""
        self.cloud = cloud
        self.eyes = Eyes(cloud, self.clock, self.noted)
        self.lists(RUNS)

    def lists(self, *instances: Instance) -> None:
        """The cloud has these, and is asked soon."""
        self.cloud.answer = {each.launch_id: each for each in instances}
        self.clock.advance(SETTLED_INTERVAL)

    def looking(
        self,
        *rows: ServerRow,
        beats: bool = True,
        dead: Collection[str] = (),
        launches: Launches = Launches.WORK,
        waiting: int = 0,
        elapsed: float = INTERVAL,
    ) -> Deferred[FleetView]:
        self.clock.advance(elapsed)
        self.beats += beats
        serving = [row for row in rows if row.state is State.READY and not row.leaving]
        seen = Observation(
            lease=LeaseSeen("", "", 0),
            servers=rows,
            serving={row.id: row for row in serving},
            others=tuple(row for row in rows if row not in serving),
            beats={row.id: self.beats for row in rows},
            waiting=waiting,
        )
        return Deferred.fromCoroutine(
            self.eyes.observer.look(seen, elapsed, dead, lambda: launches)
        )

    def look(self, *rows: ServerRow, **how: Any) -> FleetView:
        return self.successResultOf(self.looking(*rows, **how))

    def see(self, row: ServerRow = ROW, **how: Any) -> ServerView:
        """What one server is seen as."""
        return self.look(row, **how).servers[row.id]

    def see_for(self, seconds: float, row: ServerRow, **how: Any) -> ServerView:
        """What it is seen as after so long."""
        for _ in range(round(seconds / INTERVAL) - 1):
            self.see(row, **how)
        return self.see(row, **how)


class Views(ObserverCase):
    def test_what_is_known_of_one(self) -> None:
        first = self.see()
        expected = ServerView(
            id="a",
            state=State.READY,
            owner=Owner.PROVIDER,
            machine=Machine.RUNS,
            health=Health.BEATING,
            taken=7,
            capacity=10,
            age=30.0,  # No stamp is believed for longer.
            idle=0.0,
            causes=frozenset(),
            pooled=False,
            version="1.2",
            instance_id="i-1",
            evidence="",
            warning="",
            created=BEGAN,
        )
        self.assertEqual(first, expected)
        self.assertIsNone(first.loss)

    def test_one_that_was_launched_to_stand_by(self) -> None:
        self.assertTrue(self.see(replace(LAUNCHING, shelved=True)).pooled)

    def test_all_of_them(self) -> None:
        rows = [replace(ROW, id=id) for id in "abc"]
        self.assertEqual([*self.look(*rows).servers], ["a", "b", "c"])
        self.assertEqual(self.look().servers, {})

    def test_one_that_is_empty_grows_idle(self) -> None:
        row = replace(ROW, taken=0)
        self.assertEqual([self.see(row).idle for _ in range(3)], [0.0, INTERVAL, 2 * INTERVAL])

    def test_one_that_launches_grows_old(self) -> None:
        first = self.see(LAUNCHING).age
        ages = [self.see(LAUNCHING).age - first for _ in range(2)]
        self.assertEqual(ages, [INTERVAL, 2 * INTERVAL])

    def test_one_that_drains_grows_old(self) -> None:
        row = replace(ROW, state=State.DRAINING)
        first = self.see(row).age
        self.assertEqual(self.see(row).age - first, INTERVAL)


class Steady(ObserverCase):
    """The view of one that serves as before is good still."""

    def test_one_that_serves_as_before(self) -> None:
        first = self.see()
        self.assertIs(self.see(), first)
        self.assertIs(self.see(beats=False), first)
        self.lists(RUNS)
        self.assertIs(self.see(), first)

    def test_another_row(self) -> None:
        self.see()
        row = replace(ROW, taken=8)
        self.assertEqual(self.see(row).taken, 8)
        asked = replace(row, drain_asked=True)
        self.assertEqual(self.see(asked).causes, {DrainCause.OPERATOR})

    def test_another_word_of_the_provider(self) -> None:
        self.see()
        self.lists(ENDED)
        # As long as it beats, one that a list shows as ended is not silent, and ended all the same.
        view = self.see()
        self.assertEqual((view.machine, view.evidence), (Machine.ENDED, "Spot"))
        self.assertIs(view.loss, LossCause.ENDED)
        self.lists()
        self.assertIs(self.see().machine, Machine.UNKNOWN)

    def test_one_that_falls_silent_and_is_heard_again(self) -> None:
        first = self.see()
        silent = self.see_for(POLICY.lost_after, ROW, beats=False)
        self.assertIs(silent.health, Health.BEATING)
        self.assertIs(self.see(beats=False).health, Health.SILENT)
        again = self.see()
        self.assertIs(again.health, Health.BEATING)
        self.assertIsNot(again, first)
        self.assertIs(self.see(), again)

    def test_one_whose_launcher_is_dead(self) -> None:
        self.see()
        self.assertIs(self.see(dead={"fleet"}).machine, Machine.ENDED)
        self.assertIs(self.see().machine, Machine.RUNS)
        self.assertIs(self.see(dead={"another"}).machine, Machine.RUNS)

    def test_one_that_comes_back(self) -> None:
        """What was known of one that was not among the rows is known no more."""
        first = self.see()
        self.look()
        self.assertIsNot(self.see(), first)

    def test_another_controller_knows_nothing(self) -> None:
        first = self.see()
        self.eyes.observer.forget()
        self.assertIsNot(self.see(), first)


class Owners(ObserverCase):
    def test_who_can_launch_and_end_it(self) -> None:
        for scope, owner in (
            (SCOPE, Owner.PROVIDER),
            (OPERATOR, Owner.OPERATOR),
            ("", Owner.NOBODY),
            ("ec2:another", Owner.ANOTHER),
            ("local:host:1", Owner.ANOTHER),
        ):
            with self.subTest(scope=scope):
                self.assertIs(self.see(replace(ROW, scope=scope)).owner, owner)

    def test_one_that_an_operator_runs_is_never_idle(self) -> None:
        row = replace(ROW, scope=OPERATOR, taken=0)
        self.assertEqual([self.see(row).idle for _ in range(3)], [0.0] * 3)

    def test_of_anothers_machine_this_provider_knows_nothing(self) -> None:
        for scope in (OPERATOR, "", "ec2:another"):
            for instances in ((RUNS,), (ENDED,), ()):
                with self.subTest(scope=scope, instances=instances):
                    self.lists(*instances)
                    row = replace(ROW, scope=scope)
                    view = self.see_for(2 * CONSISTENCY_GRACE, row, beats=False)
                    self.assertEqual((view.machine, view.evidence), (Machine.UNKNOWN, ""))


class Machines(ObserverCase):
    def test_as_listed(self) -> None:
        for row in (ROW, LAUNCHING, replace(ROW, state=State.DRAINING)):
            for instance, machine in (
                (RUNS, Machine.RUNS),
                (STOPPED, Machine.STOPPED),
                (ENDED, Machine.ENDED),
            ):
                with self.subTest(state=row.state, machine=machine):
                    self.lists(instance)
                    self.assertIs(self.see(row).machine, machine)

    def test_a_fleet_that_cannot_start_it(self) -> None:
        self.use(Cloud(SCOPE))
        self.lists(STOPPED)
        view = self.see()
        self.assertEqual((view.machine, view.evidence), (Machine.ENDED, "stopped"))

    def test_one_that_no_list_has_is_missing_once_it_is_silent_for_long(self) -> None:
        self.see()
        self.lists()
        self.assertIs(self.see_for(2 * CONSISTENCY_GRACE, ROW).machine, Machine.UNKNOWN)
        for _ in range(2):  # As silent as this one may be late.
            self.assertIs(self.see(beats=False).machine, Machine.UNKNOWN)
        self.assertIs(self.see(beats=False).machine, Machine.MISSING)

    def test_absence_has_to_last(self) -> None:
        self.see()
        self.lists()
        view = self.see_for(CONSISTENCY_GRACE - INTERVAL, ROW, beats=False)
        self.assertIs(view.machine, Machine.UNKNOWN)
        view = self.see_for(2 * INTERVAL, ROW, beats=False)
        self.assertEqual((view.machine, view.loss), (Machine.MISSING, LossCause.ENDED))
        self.assertEqual(view.evidence, "")

    def test_a_launch_is_not_missing_as_it_can_be_asked_for_again(self) -> None:
        self.lists()
        view = self.see_for(2 * CONSISTENCY_GRACE, LAUNCHING, beats=False)
        self.assertIs(view.machine, Machine.UNKNOWN)

    def test_one_too_many_of_a_launch_was_ended(self) -> None:
        """Two controllers launched it; the server runs on the other machine, as it says itself."""
        self.lists(replace(ENDED, instance_id="i-2"))
        self.assertIs(self.see().machine, Machine.UNKNOWN)
        self.assertEqual(self.see().evidence, "")
        self.see_for(2 * INTERVAL, ROW, beats=False)
        self.assertIs(self.see(beats=False).machine, Machine.ENDED)

    def test_children_end_with_their_launcher(self) -> None:
        row = replace(ROW, scope="local:host:1")
        self.assertIs(self.see(row, dead={"host:1"}).machine, Machine.ENDED)
        self.assertIs(self.see(row, dead={"host:1"}).loss, LossCause.ENDED)


class WarmOnes(ObserverCase):
    def test_as_listed(self) -> None:
        for instance, machine, evidence in (
            (STOPPED, Machine.STOPPED, ""),
            (RUNS, Machine.RUNS, ""),
            (ENDED, Machine.ENDED, "Spot"),
        ):
            self.lists(instance)
            view = self.see(WARM)
            self.assertEqual((view.machine, view.evidence), (machine, evidence))

    def test_one_that_stood_by_does_so_where_a_list_lacks_it(self) -> None:
        self.lists(STOPPED)
        self.see(WARM)
        self.lists()
        self.assertIs(self.see(WARM).machine, Machine.STOPPED)
        self.assertIs(self.see_for(2 * CONSISTENCY_GRACE, WARM).machine, Machine.STOPPED)

    def test_one_that_somebody_has_started_does_not(self) -> None:
        self.lists(STOPPED)
        self.see(WARM)
        self.lists(RUNS)
        self.see(WARM)
        self.lists()
        self.assertIs(self.see(WARM).machine, Machine.UNKNOWN)

    def test_one_that_was_started_meanwhile_does_not(self) -> None:
        """Also if it was put back to the others, as the answer to that was lost."""
        self.lists(STOPPED)
        self.see(WARM)
        self.lists(RUNS)
        self.see(LAUNCHING)
        self.lists()
        self.assertIs(self.see(WARM).machine, Machine.UNKNOWN)

    def test_one_that_was_not_seen_to_stop_is_missing_in_the_end(self) -> None:
        self.lists()
        self.assertIs(self.see(WARM).machine, Machine.UNKNOWN)
        self.assertIs(self.see_for(2 * CONSISTENCY_GRACE, WARM).machine, Machine.MISSING)

    def test_one_that_was_gone_meanwhile(self) -> None:
        self.lists(STOPPED)
        self.see(WARM)
        self.lists()
        self.look()
        self.assertIs(self.see(WARM).machine, Machine.UNKNOWN)

    def test_another_controller_has_seen_none(self) -> None:
        self.lists(STOPPED)
        self.see(WARM)
        self.lists()
        self.eyes.observer.forget()
        self.assertIs(self.see(WARM).machine, Machine.UNKNOWN)

    def test_one_that_the_provider_is_known_to_have_stopped(self) -> None:
        """Before a list shows it."""
        self.see(WARM)
        self.eyes.inventory.stopped("a")
        self.assertIs(self.see(WARM).machine, Machine.STOPPED)

    def test_a_fleet_that_cannot_start_it(self) -> None:
        self.use(Cloud(SCOPE))
        for instances in ((STOPPED,), (RUNS,), ()):
            with self.subTest(instances=instances):
                self.lists(*instances)
                view = self.see(WARM)
                self.assertEqual((view.machine, view.evidence), (Machine.ENDED, CANNOT_START))

    def test_one_of_another_fleet(self) -> None:
        for scope in ("ec2:another", OPERATOR):
            with self.subTest(scope=scope):
                view = self.see(replace(WARM, scope=scope))
                self.assertEqual((view.machine, view.evidence), (Machine.ENDED, CANNOT_START))


class Healths(ObserverCase):
    def test_what_it_says_of_itself(self) -> None:
        nowhere = replace(RUNS, host=None)
        for changed, instance, health in (
            ({"port": None}, RUNS, Health.UNHEARD),
            ({"port": None, "host": None}, RUNS, Health.UNHEARD),
            ({"port": None, "leaving": True}, RUNS, Health.UNHEARD),
            ({"host": None}, nowhere, Health.UNADDRESSED),
            ({"host": None}, RUNS, Health.BEATING),
            ({}, nowhere, Health.BEATING),
            ({}, RUNS, Health.BEATING),
            ({"leaving": True}, RUNS, Health.LEAVING),
            ({"host": None, "leaving": True}, nowhere, Health.LEAVING),
        ):
            for state in (State.LAUNCHING, State.READY, State.DRAINING):
                with self.subTest(changed=changed, host=instance.host, state=state):
                    self.lists(instance)
                    row = replace(ROW, state=state, **cast("Any", changed))
                    self.assertIs(self.see(row).health, health)

    def test_where_no_list_has_it(self) -> None:
        self.lists()
        self.assertIs(self.see().health, Health.BEATING)
        self.assertIs(self.see(replace(ROW, host=None)).health, Health.UNADDRESSED)

    def test_silent_for_longer_than_may_be(self) -> None:
        for changed, loss in (
            ({}, LossCause.SILENT),
            ({"host": None}, LossCause.SILENT),
            ({"leaving": True}, LossCause.LEFT),
        ):
            with self.subTest(changed=changed):
                row = replace(ROW, **cast("Any", changed))
                self.see(row)
                before = self.see_for(POLICY.lost_after, row, beats=False)
                self.assertIsNot(before.health, Health.SILENT)
                self.assertIs(self.see(row, beats=False).loss, loss)

    def test_one_that_has_said_nothing_yet_is_not_silent(self) -> None:
        view = self.see_for(10 * POLICY.lost_after, LAUNCHING, beats=False)
        self.assertEqual((view.health, view.loss), (Health.UNHEARD, None))

    def test_time_in_which_nobody_looked_is_held_against_nobody(self) -> None:
        self.see()
        self.clock.advance(1000.0)
        self.assertIs(self.see(beats=False).health, Health.BEATING)


class Causes(ObserverCase):
    def causes(self, row: ServerRow, **changed: Any) -> set[DrainCause]:
        return {*self.see(replace(row, **changed)).causes}

    def test_the_pool_that_a_strategy_took(self) -> None:
        for way, pool in (("a as Spot, the best of 2", "a as Spot"), ("a", "a"), (None, "")):
            self.assertEqual(self.see(replace(ROW, way=way)).pool, pool)

    def test_none(self) -> None:
        self.assertEqual(self.causes(ROW), set())

    def test_an_operator_wants_it_empty(self) -> None:
        for row in (LAUNCHING, WARM, ROW):
            self.assertEqual(self.causes(row, drain_asked=True), {DrainCause.OPERATOR})

    def test_the_provider_will_take_it_away(self) -> None:
        view = self.see(replace(ROW, warned="Spot in two minutes"))
        self.assertEqual(view.causes, {DrainCause.WARNED})
        self.assertEqual(view.warning, "Spot in two minutes")

    def test_operators_asked_for_another(self) -> None:
        for row in (LAUNCHING, WARM, ROW):
            self.assertEqual(self.causes(row, replace_asked=True), {DrainCause.REPLACEMENT})

    def test_what_it_drains_for_is_what_is_stored(self) -> None:
        for cause in DrainCause:
            with self.subTest(cause=cause):
                draining = replace(ROW, state=State.DRAINING, cause=cause)
                self.assertEqual(self.causes(draining), {cause})
                self.assertEqual(self.causes(draining, replace_asked=True), {cause})

    def test_what_asks_for_it_to_be_empty_counts_beside(self) -> None:
        draining = replace(ROW, state=State.DRAINING, cause=DrainCause.CONSOLIDATION)
        self.assertEqual(
            self.causes(draining, drain_asked=True, warned="Spot"),
            {DrainCause.CONSOLIDATION, DrainCause.OPERATOR, DrainCause.WARNED},
        )
        self.assertTrue(self.see(draining).could_stay)
        self.assertFalse(self.see(replace(draining, warned="Spot")).could_stay)

    def test_one_that_drains_for_what_only_a_newer_version_knows(self) -> None:
        draining = replace(ROW, state=State.DRAINING, cause=None)
        self.assertEqual(self.causes(draining, replace_asked=True), set())
        self.assertFalse(self.see(draining).could_stay)

    def test_what_is_stored_of_one_that_takes_people_again_or_is_lost(self) -> None:
        self.assertEqual(self.causes(ROW, cause=DrainCause.IDLE), set())
        self.assertEqual(self.causes(ROW, state=State.LOST, cause=LossCause.SILENT), set())
        self.assertEqual(self.causes(ROW, state=State.DRAINING, cause=LossCause.SILENT), set())

    def test_one_that_stands_by_was_launched_by_another_version(self) -> None:
        for version, causes in (
            ("0.0.1", {DrainCause.OUTDATED}),
            (__version__, set()),
            ("", set()),  # Nobody has noted it.
        ):
            with self.subTest(version=version):
                self.lists(replace(STOPPED, version=version))
                self.assertEqual(self.causes(WARM), causes)
        self.lists(replace(RUNS, version="0.0.1"))
        self.assertEqual(self.causes(ROW), set())
        self.assertEqual(self.causes(LAUNCHING, shelved=True), set())


class Whole(ObserverCase):
    """What keeps the fleet from being seen, changed or told anything."""

    def test_before_the_first_list_nothing_is_counted(self) -> None:
        self.cloud.answer = ProviderUnavailable("away")
        for launches in Launches:
            self.assertIs(self.look(ROW, launches=launches).launches, Launches.UNCOUNTED)
        self.lists(RUNS)
        for launches in Launches:
            self.assertIs(self.look(ROW, launches=launches).launches, launches)

    def test_children_are_counted(self) -> None:
        self.cloud.shared = False
        self.cloud.answer = ProviderUnavailable("away")
        self.assertIs(self.look(ROW).launches, Launches.WORK)

    def test_no_trouble(self) -> None:
        self.assertIsNone(self.look(ROW).trouble)

    def test_the_provider_is_away(self) -> None:
        self.look(ROW)
        self.lists()
        self.cloud.answer = ProviderUnavailable("throttled")
        self.eyes.bus.connected = False
        self.assertIs(self.look(ROW).trouble, Blocker.PROVIDER_AWAY)

    def test_the_provider_is_silent(self) -> None:
        self.look(ROW)
        self.clock.advance(STALE)
        self.cloud.answer = Deferred()
        looking = self.looking(ROW)
        self.clock.advance(PATIENCE)
        self.assertIs(self.successResultOf(looking).trouble, Blocker.PROVIDER_SILENT)

    def test_the_broker_is_away(self) -> None:
        self.eyes.bus.connected = False
        self.assertIs(self.look(ROW).trouble, Blocker.BROKER_AWAY)
        self.eyes.bus.connected = True
        self.assertIsNone(self.look(ROW).trouble)

    def test_orphans(self) -> None:
        other = replace(RUNS, launch_id="b")
        self.lists(RUNS, other)
        self.assertEqual(self.look(ROW).orphans, [Orphan("b", runs=True, is_certain=False)])
        self.clock.advance(CONSISTENCY_GRACE)
        self.assertEqual(self.look(ROW).orphans, [Orphan("b", runs=True, is_certain=True)])
        self.assertEqual(self.look(ROW, replace(ROW, id="b")).orphans, [])


class NewLists(ObserverCase):
    """How old a list of the provider's may be."""

    def asked_for(self, row: ServerRow, **how: Any) -> float:
        """How many seconds pass from one list to the next."""
        self.see(row, **how)
        self.see(row, **how)
        lists = self.cloud.asked
        self.see_for(120.0, row, **how)
        return 120.0 / (self.cloud.asked - lists)

    def assert_asked_each(self, seconds: float, row: ServerRow, **how: Any) -> None:
        """There are rounds every `INTERVAL` only, so it is asked for somewhat later."""
        self.assertTrue(seconds <= self.asked_for(row, **how) < seconds + INTERVAL)

    def test_rarely_while_all_is_well(self) -> None:
        self.assert_asked_each(SETTLED_INTERVAL, ROW)
        self.lists(STOPPED)
        self.assert_asked_each(SETTLED_INTERVAL, WARM)

    def test_of_children_in_each_round(self) -> None:
        self.cloud.shared = False
        self.assert_asked_each(INTERVAL, ROW)

    def test_often_while_something_changes(self) -> None:
        self.assert_asked_each(UNSETTLED_INTERVAL, LAUNCHING)
        self.assert_asked_each(UNSETTLED_INTERVAL, replace(ROW, state=State.DRAINING))
        self.assert_asked_each(UNSETTLED_INTERVAL, WARM)  # It runs yet.
        self.assert_asked_each(SETTLED_INTERVAL, replace(LAUNCHING, scope="ec2:another"))

    def test_often_while_there_are_orphans(self) -> None:
        self.lists(RUNS, replace(RUNS, launch_id="b"))
        self.assert_asked_each(UNSETTLED_INTERVAL, ROW)
        self.lists(RUNS, replace(STOPPED, launch_id="b"))
        self.assert_asked_each(SETTLED_INTERVAL, ROW)

    def test_soon_where_one_may_have_died(self) -> None:
        self.assert_asked_each(INTERVAL, ROW, beats=False)
        self.assert_asked_each(INTERVAL, replace(ROW, leaving=True))
        self.assert_asked_each(SETTLED_INTERVAL, replace(ROW, scope=OPERATOR), beats=False)

    def test_at_once_for_an_address(self) -> None:
        self.lists(replace(RUNS, host=None))
        row = replace(LAUNCHING, port=22223)
        self.see(row)
        lists = self.cloud.asked
        for _ in range(3):
            self.see(row, elapsed=0.1)
        self.assertEqual(self.cloud.asked, lists + 3)

    def test_at_once_when_something_was_launched(self) -> None:
        self.see()
        lists = self.cloud.asked
        self.eyes.inventory.asking("b")
        self.clock.advance(0.1)
        self.eyes.inventory.asked("b")
        self.see(elapsed=0.1)
        self.assertEqual(self.cloud.asked, lists + 1)

    def waits(self, row: ServerRow, **how: Any) -> bool:
        """Whether a look at one waits for a list that takes its time."""
        self.see(row)
        self.clock.advance(SETTLED_INTERVAL)
        listing: Any = Deferred()
        self.cloud.answer = listing
        looking = self.looking(row, **how)
        waits = not looking.called
        listing.callback({"a": RUNS})
        self.successResultOf(looking)
        self.cloud.answer = {"a": RUNS}
        return waits

    def test_who_waits_for_a_place_waits_for_no_list(self) -> None:
        self.assertTrue(self.waits(ROW))
        self.assertFalse(self.waits(ROW, waiting=1))
        self.assertFalse(self.waits(replace(LAUNCHING, port=22223, host="host")))
        # But for the one that tells where a server is.
        self.assertTrue(self.waits(replace(LAUNCHING, port=22223), waiting=1))


class Notes(ObserverCase):
    """What the provider calls its launches is kept, for when it cannot be asked."""

    def noted_of(self, row: ServerRow, instance: Instance) -> list[Instance]:
        self.lists(instance)
        self.noted.instances.clear()
        self.see(row)
        return self.noted.instances

    def test_what_is_not_known_yet(self) -> None:
        unknown = replace(LAUNCHING, instance_id=None)
        self.assertEqual(self.noted_of(unknown, RUNS), [RUNS])
        self.assertEqual(self.noted_of(replace(ROW, instance_id=None), ENDED), [ENDED])

    def test_where_it_is(self) -> None:
        self.assertEqual(self.noted_of(LAUNCHING, RUNS), [RUNS])
        self.assertEqual(self.noted_of(LAUNCHING, replace(RUNS, host=None)), [])

    def test_what_is_known_is_not_noted_again(self) -> None:
        self.assertEqual(self.noted_of(ROW, RUNS), [])
        self.assertEqual(self.noted_of(ROW, replace(RUNS, host="192.0.2.7")), [])

    def test_children_have_no_names(self) -> None:
        self.assertEqual(self.noted_of(LAUNCHING, replace(RUNS, instance_id="")), [])

    def test_where_one_that_stands_by_was(self) -> None:
        """Its next address will be another."""
        self.assertEqual(self.noted_of(WARM, RUNS), [])
        [noted] = self.noted_of(replace(WARM, instance_id=None), RUNS)
        self.assertEqual((noted.instance_id, noted.host), ("i-1", None))

    def test_one_too_many_that_was_ended(self) -> None:
        self.assertEqual(self.noted_of(ROW, replace(ENDED, instance_id="i-2")), [])
        other = replace(RUNS, instance_id="i-2")
        self.assertEqual(self.noted_of(ROW, other), [other])


class NotedOnce(FleetCase):
    def test_in_the_database(self) -> None:
        self.keep()
        [launched] = self.launch(scope=SCOPE)
        cloud = Cloud(SCOPE)
        eyes = Eyes(cloud, self.clock, self.database)

        def look() -> FleetView:
            self.clock.advance(SETTLED_INTERVAL)
            seen = self.call(membership.observe, ONE, Tally())
            looking = Deferred.fromCoroutine(eyes.observer.look(seen, INTERVAL))
            return self.successResultOf(looking)

        look()
        self.assertIsNone(self.row(launched).instance_id)
        cloud.answer = {launched: replace(RUNS, launch_id=launched)}
        look()
        row = self.row(launched)
        told = row.instance_id, row.kind, row.host
        self.assertEqual(told, ("i-1", "t3.micro", "192.0.2.1"))
        Server.update(kind="as it was").execute()
        self.assertEqual(look().servers[launched].instance_id, "i-1")
        self.assertEqual(self.row(launched).kind, "as it was")


class Nowhere(ObserverCase):
    """Servers that serve where nobody knows."""

    def setUp(self) -> None:
        super().setUp()
        self.lists(replace(RUNS, host=None))
        self.row = replace(LAUNCHING, port=22223)
        self.lines = logged(self)
        self.text = "server a serves, but its address is unknown"

    def test_said_once_when_it_has_lasted(self) -> None:
        age = self.see(self.row).age
        self.see_for(POLICY.launch_timeout - age, self.row)
        self.assertEqual(self.lines, [])
        view = self.see_for(10 * INTERVAL, self.row)
        self.assertEqual(self.lines, [self.text])
        self.assertEqual((view.health, view.loss), (Health.UNADDRESSED, None))

    def test_said_again_once_it_was_known(self) -> None:
        self.see_for(POLICY.launch_timeout + INTERVAL, self.row)
        self.lists(RUNS)
        self.assertIs(self.see(self.row).health, Health.BEATING)
        self.lists(replace(RUNS, host=None))
        self.see(self.row)
        self.assertEqual(self.lines, [self.text] * 2)

    def test_said_again_by_another_controller(self) -> None:
        self.see_for(POLICY.launch_timeout + INTERVAL, self.row)
        self.eyes.observer.forget()
        self.see(self.row)
        self.assertEqual(self.lines, [self.text] * 2)

    def test_not_of_one_that_has_said_nothing(self) -> None:
        self.see_for(2 * POLICY.launch_timeout, LAUNCHING)
        self.assertEqual(self.lines, [])

    def test_no_list_is_asked_for_at_once_because_of_it(self) -> None:
        self.see_for(POLICY.launch_timeout + INTERVAL, self.row)
        lists = self.cloud.asked
        for _ in range(10):
            self.see(self.row, elapsed=0.1)
        self.assertEqual(self.cloud.asked, lists)
