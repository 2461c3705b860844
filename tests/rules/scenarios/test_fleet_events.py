"""What happens to the fleet is stored with it, for the operators' page, with the time at which it
happens."""

from __future__ import annotations

from bbs.core.values import DrainCause, LossCause
from bbs.rules import fleet_admin, fleet_transitions, membership, page_history
from bbs.rules.fleet_admin import By
from bbs.rules.page_history import EventKind, FleetEvent
from bbs.rules.servers import OPERATOR
from bbs.storage.models import News, Place, Server, Waiter
from tests.database_case import on_both_databases
from tests.rules.fleet_case import ONE, TWO, FleetCase

K = EventKind

KILLED = "ended: killed by SIGKILL"
"""The reason that a local provider gives."""


class EventsCase(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.keep()
        self.last = 0

    def news(self) -> list[FleetEvent]:
        """What has been stored since the last time."""
        found = self.call(page_history.news_behind, self.last)
        self.last = max([self.last, *(each.id for each in found)])
        return [each.event for each in found if each.event]

    def expect(self, *kinds: EventKind, at: float | None = None) -> None:
        """Check what has been stored since the last time, and that it has this time."""
        news = self.news()
        self.assertEqual([event.kind for event in news], [*kinds])
        when = self.now if at is None else at
        self.assertEqual([event.at for event in news], [when] * len(kinds))

    def seize(self) -> None:
        """Another login server takes the fleet over."""
        seen = self.call(membership.seen_lease, membership.FLEET_LEASE)
        assert seen is not None
        self.call(membership.enroll, TWO)
        self.assertTrue(self.call(membership.take_lease, TWO, seen))

    def launched(self) -> str:
        """A server that is launching, and known to."""
        [server] = self.launch()
        self.last = max(row.id for row in News.select())
        return server

    def started(self) -> str:
        """One that is ready."""
        server = self.start()
        self.last = max(row.id for row in News.select())
        return server


@on_both_databases
class OfServers(EventsCase):
    def test_launches(self) -> None:
        ids = self.launch(3)
        self.assertEqual(self.news(), [FleetEvent(K.LAUNCHING, self.now, id) for id in ids])
        self.assertEqual((self.launch(0), self.news()), ([], []))

    def test_ready(self) -> None:
        server = self.launched()
        for _ in range(2):
            self.call(fleet_transitions.mark_ready, ONE, [(server, None, self.now + 2.5)])
        [event] = self.news()
        self.assertEqual((event.kind, event.at, event.server), (K.READY, self.now + 2.5, server))
        self.assertAlmostEqual(event.number or 0.0, 2.5)

    def test_ready_where_somebody_runs_it_by_hand(self) -> None:
        server = self.call(membership.join, "host", 1, 2, self.now)
        self.call(fleet_transitions.mark_ready, ONE, [(server, None, self.now)])
        self.assertEqual(self.news(), [FleetEvent(K.READY, self.now, server)])
        self.assertEqual(self.row(server).scope, OPERATOR)

    def test_a_killed_server(self) -> None:
        """It is lost when its people are moved, and gone when its end is certain."""
        server = self.started()
        lost = self.now + 11
        self.call(fleet_transitions.lose, ONE, server, LossCause.ENDED, KILLED, lost)
        self.assertEqual(self.news(), [FleetEvent(K.LOST, lost, server, "was killed (SIGKILL)")])
        self.call(fleet_transitions.lose, ONE, server, LossCause.ENDED, KILLED, lost + 1)
        self.expect()
        self.call(fleet_transitions.close, ONE, server, None, "ended", lost + 5)
        gone = FleetEvent(K.GONE, lost + 5, server, "has ended: it was killed (SIGKILL)")
        self.assertEqual(self.news(), [gone])
        self.call(fleet_transitions.close, ONE, server, None, "ended", lost + 6)
        self.call(fleet_transitions.lose, ONE, server, LossCause.SILENT, "silent", lost + 6)
        self.expect()

    def test_a_launch_that_fails_is_told_of_once(self) -> None:
        """And what a provider says of it is not."""
        failed, late, ended = self.launch(3)
        self.news()
        self.call(
            fleet_transitions.lose, ONE, failed, LossCause.FAILED, "failed: of arn:x", self.now
        )
        self.assertEqual(self.news(), [FleetEvent(K.FAILED, self.now, failed)])
        self.call(fleet_transitions.give_up, ONE, late, "failed: late", self.now)
        self.expect(K.FAILED)
        for server in (failed, late, ended):
            self.call(fleet_transitions.close, ONE, server, None, "ended", self.now)
        self.assertEqual(self.news(), [FleetEvent(K.FAILED, self.now, ended)])

    def test_a_launch_that_is_not_late(self) -> None:
        server = self.launched()
        self.call(membership.report, server, 1)
        self.assertIsNone(self.call(fleet_transitions.give_up, ONE, server, "late", self.now))
        self.expect()

    def test_draining(self) -> None:
        server = self.started()
        for _ in range(2):
            self.drain(server, DrainCause.IDLE, "idle for 120 s")
        why = "nobody was on it, and it was not needed"
        drains = FleetEvent(K.DRAINING, self.now, server, f"drains (takes nobody new): {why}")
        self.assertEqual(self.news(), [drains])
        self.call(fleet_transitions.close, ONE, server, None, "drained", self.now)
        self.assertEqual(self.news(), [FleetEvent(K.GONE, self.now, server, f"has ended: {why}")])

    def test_one_that_is_needed_after_all(self) -> None:
        server = self.started()
        Server.update(taken=1).where(Server.id == server).execute()
        self.drain(server, DrainCause.CONSOLIDATION)
        self.expect(K.DRAINING)
        for _ in range(2):
            self.call(fleet_transitions.keep, ONE, server, self.now)
        self.expect(K.KEPT)

    def test_one_that_does_not_drain(self) -> None:
        server = self.started()
        Server.update(taken=1).where(Server.id == server).execute()
        self.assertIsNone(self.drain(server, DrainCause.IDLE))
        self.expect()

    def test_the_warm_pool(self) -> None:
        [server] = self.call(fleet_transitions.add_launches, ONE, 1, "test", 2, 20, self.now, True)
        self.expect(K.LAUNCHING)
        for _ in range(2):
            self.call(fleet_transitions.park, ONE, server, self.now)
        self.expect(K.WARM)
        self.call(fleet_transitions.resume, ONE, server, 20, self.now + 1)
        self.expect(K.LAUNCHING, at=self.now + 1)
        self.call(fleet_transitions.put_back, ONE, server, self.now)
        self.expect(K.WARM)
        self.call(
            fleet_transitions.close, ONE, server, DrainCause.SURPLUS, "beyond fleet.warm", self.now
        )
        why = "has ended: more servers stood by than fleet.warm asks for"
        self.assertEqual(self.news(), [FleetEvent(K.GONE, self.now, server, why)])

    def test_one_that_boots_for_the_pool_and_is_needed(self) -> None:
        [server] = self.call(fleet_transitions.add_launches, ONE, 1, "test", 2, 20, self.now, True)
        self.expect(K.LAUNCHING)
        self.call(fleet_transitions.resume, ONE, server, 20, self.now)
        self.expect()

    def test_what_is_not_done_is_not_told(self) -> None:
        """As the lease is another's by now."""
        server = self.started()
        self.seize()
        self.not_controller(fleet_transitions.lose, ONE, server, LossCause.SILENT, "", self.now)
        self.not_controller(fleet_transitions.begin, ONE, self.now)
        self.not_controller(fleet_transitions.note_waiting, ONE, self.now)
        self.expect()


@on_both_databases
class OfOperators(EventsCase):
    def test_what_they_ask_for(self) -> None:
        by = By("liz", "192.0.2.1", self.now)
        server = self.call(fleet_admin.launch, by, 2, 20)
        self.assertEqual(
            self.news(),
            [
                FleetEvent(K.LAUNCH_ASKED, self.now, server),
                FleetEvent(K.LAUNCHING, self.now, server),
            ],
        )
        self.call(fleet_admin.drain, by, server[:9])
        self.assertEqual(self.news(), [FleetEvent(K.DRAIN_ASKED, self.now, server)])
        first, _ = self.started(), self.started()
        self.call(fleet_admin.replace, by, 20, None, 1)
        self.call(fleet_admin.cancel, by)
        self.call(fleet_admin.cancel, by)
        self.assertEqual(
            self.news(),
            [
                FleetEvent(K.REPLACE_ASKED, self.now, detail="1 server"),
                FleetEvent(K.REPLACE_CANCELLED, self.now, detail="1 server"),
            ],
        )
        self.assertNotIn("liz", str([(row.text, row.detail) for row in News.select()]))
        self.assertTrue(first)


@on_both_databases
class OfTheFleet(EventsCase):
    def wait(self, name: str, since: float | None = None) -> None:
        self.call(membership.wait, ONE, name, name, self.now if since is None else since)

    def note(self) -> bool:
        is_waiting: bool = self.call(fleet_transitions.note_waiting, ONE, self.now)
        return is_waiting

    def test_refusals(self) -> None:
        self.call(fleet_transitions.refuse, ONE, None, None, self.now)
        self.expect()
        for until in (60, 120):
            self.call(fleet_transitions.refuse, ONE, "over quota", self.now + until, self.now)
        self.expect(K.LAUNCHES_REFUSED)
        self.call(fleet_transitions.refuse, ONE, None, None, self.now)
        self.expect(K.LAUNCHES_ACCEPTED)

    def test_people_who_wait(self) -> None:
        self.assertFalse(self.note())
        self.expect()
        self.wait("ann", self.now - 3)
        self.wait("bob")
        for _ in range(2):
            self.assertTrue(self.note())
        self.assertEqual(self.news(), [FleetEvent(K.PEOPLE_WAIT, self.now - 3, number=2)])
        Waiter.delete().execute()
        Place.delete().execute()
        for _ in range(2):
            self.assertFalse(self.note())
        self.expect(K.NOBODY_WAITS)

    def test_a_stamp_of_the_future_is_one_of_now(self) -> None:
        self.wait("ann", self.now + 99)
        self.note()
        self.expect(K.PEOPLE_WAIT)

    def test_what_ended_while_nobody_kept_the_fleet(self) -> None:
        self.wait("ann")
        self.note()
        self.call(fleet_transitions.refuse, ONE, "over quota", self.now + 60, self.now)
        self.news()
        self.call(fleet_transitions.begin, ONE, self.now)
        self.expect()
        Waiter.delete().execute()
        self.seize()
        for _ in range(2):
            self.call(fleet_transitions.begin, TWO, self.now)
        self.expect(K.NOBODY_WAITS, K.LAUNCHES_ACCEPTED)
