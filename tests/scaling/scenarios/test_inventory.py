"""How surely the controller knows what a cloud has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs.core.values import Instance
from bbs.rules.fleet_admin import Blocker
from bbs.scaling.fleet_view import Machine, Orphan
from bbs.scaling.interfaces import IFleetController, ProviderUnavailable
from bbs.scaling.observer import CONSISTENCY_GRACE, FIRST_LIST, PATIENCE, STALE, Inventory
from bbs.testing.provider import MemoryProvider


class RealisticClock(Clock):
    """Time passes between any two looks at it."""

    def seconds(self) -> float:
        self.rightNow += 1e-6
        return Clock.seconds(self)


class Cloud(MemoryProvider):
    """Others share it; tests say what `answer` it gives to whoever asks for a list."""

    shared = True

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.answer: Mapping[str, Instance] | Exception | Deferred[Mapping[str, Instance]] = {}
        self.asked = 0
        """How often a list was asked for."""

    def list(self) -> Deferred[Mapping[str, Instance]]:
        self.asked += 1
        answer = self.answer
        if isinstance(answer, Deferred):
            return answer
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)


def logged(case: SynchronousTestCase) -> list[str]:
    """What is logged from now on."""
    lines: list[str] = []
    hear = cast("ILogObserver", lambda event: lines.append(formatEvent(event)))
    globalLogPublisher.addObserver(hear)
    case.addCleanup(globalLogPublisher.removeObserver, hear)
    return lines


@implementer(IFleetController)
class Controller:
    """Counts how often it is asked for a round."""

    is_leader = True

    def __init__(self) -> None:
        self.asked = 0

    def look_soon(self) -> None:
        self.asked += 1


class InventoryCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = RealisticClock()
        self.clock.advance(1_000_000.0)
        self.cloud = Cloud("ec2:here:bbs")
        self.controller = Controller()
        self.inventory = Inventory(self.cloud, self.controller, self.clock)

    def look(self, oldest: float = 0.0, wait: bool = True) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.inventory.look(oldest, wait)))

    def listed(
        self, *alive: str, ended: tuple[str, ...] = (), stopped: tuple[str, ...] = ()
    ) -> None:
        """Look, and be shown these."""
        self.cloud.answer = {
            id: Instance(id, "host", id in alive, "", stopped=id in stopped)
            for id in (*alive, *ended, *stopped)
        }
        self.look()

    def listed_for(self, seconds: float, *alive: str) -> None:
        """Look every 5 s for so long, and be shown these."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(min(5.0, end - self.clock.seconds()))
            self.listed(*alive)
            self.machine("a")

    def machine(self, id: str, spared: bool = False) -> Machine:
        return self.inventory.machine(id, spared)

    def orphans(self, *servers: str) -> dict[str, bool]:
        """Those that there are beside `servers`, and of each whether that is certain."""
        return {orphan.id: orphan.is_certain for orphan in self.inventory.orphans(servers)}


class Machines(InventoryCase):
    def test_nothing_is_known_at_first(self) -> None:
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.assertEqual(self.orphans(), {})

    def test_what_is_listed(self) -> None:
        self.listed("a", ended=("b",), stopped=("c",))
        expected = [Machine.RUNS, Machine.ENDED, Machine.STOPPED]
        self.assertEqual([self.machine(id) for id in "abc"], expected)
        self.assertEqual([self.machine(id, spared=True) for id in "abc"], expected)

    def test_absence_counts_when_it_has_lasted(self) -> None:
        self.listed()
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.listed_for(1.0)
        self.assertIs(self.machine("a"), Machine.MISSING)
        self.assertIs(self.machine("a", spared=True), Machine.UNKNOWN)

    def test_absence_is_noted_of_one_that_is_spared_too(self) -> None:
        self.listed()
        self.machine("a", spared=True)
        self.clock.advance(CONSISTENCY_GRACE)
        self.listed()
        self.assertIs(self.machine("a", spared=True), Machine.UNKNOWN)
        self.assertIs(self.machine("a"), Machine.MISSING)

    def test_absence_begins_anew_when_it_was_seen(self) -> None:
        self.listed()
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.listed("a")
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.assertIs(self.machine("a"), Machine.UNKNOWN)

    def test_without_a_list_no_time_passes(self) -> None:
        self.listed()
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.cloud.answer = ProviderUnavailable("away")
        for _ in range(100):
            self.clock.advance(5.0)
            self.look()
        self.assertIs(self.machine("a"), Machine.UNKNOWN)

    def test_a_list_that_cannot_be_had_leaves_what_was_known(self) -> None:
        self.listed("a")
        self.cloud.answer = ProviderUnavailable("away")
        self.look()
        self.assertIs(self.machine("a"), Machine.RUNS)

    def test_a_list_that_was_asked_for_before_it_was_forgotten_tells_nothing(self) -> None:
        """Another controller has launched and ended since, for however long."""
        late: Deferred[Mapping[str, Instance]] = Deferred()
        self.cloud.answer = late
        Deferred.fromCoroutine(self.inventory.look(0.0))
        self.clock.advance(PATIENCE)
        self.inventory.forget()
        late.callback({"a": Instance("a", "host", True, "")})
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.assertFalse(self.inventory.is_counted)
        self.listed("b")
        self.assertEqual((self.machine("b"), self.inventory.is_counted), (Machine.RUNS, True))

    def test_while_it_is_asked_for_absence_means_nothing(self) -> None:
        self.inventory.asking("a")
        self.listed()
        self.listed_for(2 * CONSISTENCY_GRACE)
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.inventory.asked("a")
        self.listed_for(CONSISTENCY_GRACE - 1.0)
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.listed_for(6.0)
        self.assertIs(self.machine("a"), Machine.MISSING)

    def test_a_launch_of_which_nothing_came(self) -> None:
        self.inventory.asking("a")
        self.inventory.asked("a", is_void=True)
        self.assertIs(self.machine("a"), Machine.ENDED)
        self.assertIs(self.machine("a", spared=True), Machine.UNKNOWN)

    def test_but_something_may_when_it_is_asked_for_again(self) -> None:
        self.inventory.asked("a", is_void=True)
        self.inventory.asking("a")
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.inventory.asked("a")
        self.listed()
        self.assertIs(self.machine("a"), Machine.UNKNOWN)

    def test_one_that_is_to_stop_counts_as_stopped(self) -> None:
        self.listed("a")
        self.inventory.stopped("a")
        self.assertIs(self.machine("a"), Machine.STOPPED)
        self.inventory.stopped("b")
        self.assertIs(self.machine("b"), Machine.UNKNOWN)
        # What the next list says is newer.
        self.listed("a")
        self.assertIs(self.machine("a"), Machine.RUNS)

    def test_of_children_absence_says_nothing(self) -> None:
        self.cloud.shared = False
        self.listed()
        self.listed_for(2 * CONSISTENCY_GRACE)
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.inventory.asked("a", is_void=True)
        self.assertIs(self.machine("a"), Machine.UNKNOWN)
        self.listed("a", ended=("b",))
        self.assertEqual([self.machine(id) for id in "ab"], [Machine.RUNS, Machine.ENDED])

    def test_forgetting(self) -> None:
        self.listed()
        self.listed_for(2 * CONSISTENCY_GRACE)
        self.inventory.asked("b", is_void=True)
        self.inventory.forget()
        self.listed()
        self.assertEqual([self.machine(id) for id in "ab"], [Machine.UNKNOWN] * 2)

    def test_forgetting_what_was_listed(self) -> None:
        self.listed("a")
        self.inventory.forget()
        self.assertEqual(self.inventory.instances, {})
        self.assertIs(self.machine("a"), Machine.UNKNOWN)


class Anothers(InventoryCase):
    def shown(self, alive: bool, instance_id: str) -> None:
        self.cloud.answer = {"a": Instance("a", None, alive, "", instance_id)}
        self.look()

    def test_one_too_many_that_was_ended(self) -> None:
        self.assertFalse(self.inventory.is_another("a", "i-1"))
        for alive, listed, known, another in (
            (False, "i-2", "i-1", True),
            (True, "i-2", "i-1", False),
            (False, "i-1", "i-1", False),
            (False, "i-2", None, False),
            (False, "", "i-1", False),
        ):
            self.shown(alive, listed)
            with self.subTest(alive=alive, listed=listed, known=known):
                self.assertIs(self.inventory.is_another("a", known), another)


class Lists(InventoryCase):
    def test_who_does_not_wait_hears_of_it_later(self) -> None:
        self.listed("a")
        self.clock.advance(10.0)
        listing: Deferred[Mapping[str, Instance]] = Deferred()
        self.cloud.answer = listing
        self.look(5.0, wait=False)
        self.assertIs(self.machine("a"), Machine.RUNS)
        self.assertEqual(self.controller.asked, 0)
        listing.callback({"a": Instance("a", "host", False, "")})
        self.assertIs(self.machine("a"), Machine.ENDED)
        self.assertEqual(self.controller.asked, 1)

    def test_a_list_that_did_not_come_is_no_news(self) -> None:
        self.listed("a")
        self.clock.advance(10.0)
        self.cloud.answer = ProviderUnavailable("away")
        self.look(5.0, wait=False)
        self.assertEqual(self.controller.asked, 0)

    def test_the_first_list_is_waited_for_by_all(self) -> None:
        self.cloud.answer = Deferred()
        looking = Deferred.fromCoroutine(self.inventory.look(5.0, wait=False))
        self.assertNoResult(looking)
        self.clock.advance(PATIENCE)
        self.successResultOf(looking)

    def test_that_of_children_is_waited_for_by_all(self) -> None:
        self.cloud.shared = False
        self.listed("a")
        self.clock.advance(10.0)
        listing: Deferred[Mapping[str, Instance]] = Deferred()
        self.cloud.answer = listing
        looking = Deferred.fromCoroutine(self.inventory.look(0.0, wait=False))
        self.assertNoResult(looking)
        listing.callback({})
        self.successResultOf(looking)

    def test_a_list_that_lasts_is_not_waited_for(self) -> None:
        asked = self.cloud.asked
        listing: Deferred[Mapping[str, Instance]] = Deferred()
        self.cloud.answer = listing
        looked = Deferred.fromCoroutine(self.inventory.look(0.0))
        self.assertNoResult(looked)
        self.clock.advance(PATIENCE)
        self.successResultOf(looked)
        self.look()
        self.assertEqual((self.cloud.asked - asked, self.controller.asked), (1, 0))
        listing.callback({"a": Instance("a", None, True, "")})
        self.assertEqual(self.controller.asked, 1)
        self.assertIs(self.machine("a"), Machine.RUNS)

    def test_a_list_is_young_enough_or_not(self) -> None:
        self.listed("a")
        self.clock.advance(3.0)
        self.look(5.0)
        self.assertEqual(self.cloud.asked, 1)
        self.clock.advance(2.0)
        self.look(5.0)
        self.assertEqual(self.cloud.asked, 2)

    def test_behind_what_was_launched(self) -> None:
        self.assertFalse(self.inventory.is_behind)
        self.listed()
        for id in "ab":
            self.inventory.asking(id)
        self.assertFalse(self.inventory.is_behind)
        self.inventory.asked("a")
        self.assertFalse(self.inventory.is_behind)
        self.inventory.asked("b")
        self.assertTrue(self.inventory.is_behind)
        self.listed("a")
        self.assertFalse(self.inventory.is_behind)
        self.inventory.asking("c")
        self.inventory.asked("c", is_void=True)
        self.assertFalse(self.inventory.is_behind)


class Counted(InventoryCase):
    """Whether it is known how many run."""

    def test_when_there_is_a_list(self) -> None:
        self.assertFalse(self.inventory.is_counted)
        self.listed()
        self.assertTrue(self.inventory.is_counted)
        self.inventory.forget()
        self.assertFalse(self.inventory.is_counted)

    def test_or_none_has_come_for_long(self) -> None:
        self.cloud.answer = ProviderUnavailable("away")
        self.clock.advance(FIRST_LIST)
        self.assertFalse(self.inventory.is_counted)
        self.look()
        self.clock.advance(FIRST_LIST - 1.0)
        self.look()
        self.assertFalse(self.inventory.is_counted)
        self.clock.advance(1.0)
        self.assertTrue(self.inventory.is_counted)

    def test_children_always_are(self) -> None:
        self.cloud.shared = False
        self.assertTrue(self.inventory.is_counted)


class Troubles(InventoryCase):
    def test_before_the_first_list(self) -> None:
        self.assertIs(self.inventory.trouble, Blocker.PROVIDER_SILENT)
        self.listed()
        self.assertIsNone(self.inventory.trouble)

    def test_a_provider_that_is_away(self) -> None:
        lines = logged(self)
        self.listed()
        self.cloud.answer = ProviderUnavailable("throttled")
        for _ in range(3):
            self.look()
            self.assertIs(self.inventory.trouble, Blocker.PROVIDER_AWAY)
        self.listed()
        self.assertIsNone(self.inventory.trouble)
        self.assertEqual(lines, ["the provider is away: throttled", "the provider is back"])

    def test_a_provider_that_has_said_nothing_for_long(self) -> None:
        self.listed()
        self.cloud.answer = Deferred()
        looking = Deferred.fromCoroutine(self.inventory.look(0.0))
        self.clock.advance(STALE - 1.0)
        self.successResultOf(looking)
        self.assertIsNone(self.inventory.trouble)
        self.clock.advance(2.0)
        self.assertIs(self.inventory.trouble, Blocker.PROVIDER_SILENT)

    def test_of_children_no_list_is_too_old(self) -> None:
        self.cloud.shared = False
        self.assertIsNone(self.inventory.trouble)
        self.listed()
        self.clock.advance(STALE + 1.0)
        self.assertIsNone(self.inventory.trouble)

    def test_a_mistake_in_the_provider_is_logged_and_ends_nothing(self) -> None:
        self.listed("a")
        self.cloud.answer = RuntimeError("bug")
        self.look()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIs(self.machine("a"), Machine.RUNS)


class Orphans(InventoryCase):
    def test_those_that_no_server_has(self) -> None:
        self.listed("a", "b", ended=("c",))
        self.assertEqual(self.orphans("a"), {"b": False})
        self.clock.advance(CONSISTENCY_GRACE)
        self.listed("a", "b")
        self.assertEqual(self.orphans("a"), {"b": True})
        self.assertEqual(self.orphans("a", "b"), {})
        self.assertEqual(self.orphans("a"), {"b": False})

    def test_for_how_long(self) -> None:
        self.listed("a")
        self.orphans()
        self.clock.advance(7.0)
        self.listed("a")
        self.orphans()
        self.clock.advance(5.0)
        self.assertAlmostEqual(self.inventory.orphaned("a"), 7.0, places=3)
        self.assertEqual(self.inventory.orphaned("b"), 0.0)

    def test_what_is_stopped_is_one_and_does_not_run(self) -> None:
        self.listed("b", stopped=("a",))
        self.assertEqual(
            sorted(self.inventory.orphans([]), key=lambda orphan: orphan.id),
            [Orphan("a", runs=False, is_certain=False), Orphan("b", runs=True, is_certain=False)],
        )

    def test_what_may_be_another_fleets_is_none(self) -> None:
        self.cloud.answer = {"a": Instance("a", None, True, "", ours=False)}
        self.look()
        self.assertEqual(self.orphans(), {})
        self.assertIs(self.machine("a"), Machine.RUNS)

    def test_children_are_none(self) -> None:
        self.cloud.shared = False
        self.listed("a")
        self.assertEqual(self.orphans(), {})

    def test_what_is_known_of_other_launches_is_forgotten(self) -> None:
        self.listed()
        for id in "ab":
            self.inventory.asked(id, is_void=True)
        self.orphans("a")
        self.assertEqual([self.machine(id) for id in "ab"], [Machine.ENDED, Machine.UNKNOWN])
