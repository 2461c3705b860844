"""Whether a login server says that people can log in."""

from __future__ import annotations

from twisted.internet.defer import fail
from twisted.trial.unittest import SynchronousTestCase

from bbs.daemons.readiness import LOOK_INTERVAL, Readiness
from bbs.errors import Unavailable
from bbs.storage.models import Server
from bbs.values import State
from tests.memory_service import memory_service


class Ready(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = memory_service().start()
        self.addCleanup(self.service.close)

    def begun(self, *, launches: bool, minimum: int) -> Readiness:
        clock, database = self.service.clock, self.service.database
        readiness = Readiness(database, clock, launches=launches, minimum=minimum)
        readiness.startService()
        self.addCleanup(readiness.stopService)
        return readiness

    def all_are(self, state: State) -> None:
        Server.update(state=state).execute()

    def test_by_hand_it_follows_the_app_servers(self) -> None:
        self.all_are(State.GONE)
        readiness = self.begun(launches=False, minimum=0)
        self.assertFalse(readiness.there)
        self.assertNoResult(readiness.first)
        for state, there in ((State.READY, True), (State.LOST, False), (State.READY, True)):
            self.all_are(state)
            self.service.clock.advance(LOOK_INTERVAL)
            self.assertIs(readiness.there, there, state)
        self.successResultOf(readiness.first)
        self.all_are(State.DRAINING)
        readiness.look()
        self.assertFalse(readiness.there)

    def test_full_servers_count(self) -> None:
        Server.update(taken=Server.capacity).execute()
        self.assertTrue(self.begun(launches=False, minimum=0).there)

    def test_a_database_that_is_away_says_nothing_of_app_servers(self) -> None:
        readiness = self.begun(launches=False, minimum=0)
        for error in (Unavailable(), RuntimeError()):
            with self.subTest(error=error):
                self.patch(self.service.database, "run", lambda *_, error=error: fail(error))
                readiness.look()
                self.assertTrue(readiness.there)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_fleet_that_launches_is_ready_from_its_first_server(self) -> None:
        self.all_are(State.LAUNCHING)
        readiness = self.begun(launches=True, minimum=1)
        self.assertFalse(readiness.there)
        self.all_are(State.READY)
        readiness.look()
        self.assertTrue(readiness.there)
        self.all_are(State.LOST)
        readiness.look()
        self.assertTrue(readiness.there)

    def test_a_fleet_that_launches_on_demand_is_ready_without_any(self) -> None:
        self.all_are(State.GONE)
        readiness = self.begun(launches=True, minimum=0)
        self.assertTrue(readiness.there)
        self.successResultOf(readiness.first)
