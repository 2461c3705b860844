"""Whether a login server says that people can log in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from bbs.core.errors import Unavailable
from bbs.core.values import State
from bbs.daemons.login import LOOK_INTERVAL, Readiness
from bbs.storage.database import Database
from bbs.storage.models import Server
from tests.memory_service import memory_service


class Away:
    """A database that answers with `error`, once there is one."""

    def __init__(self, database: Database) -> None:
        self.error: Exception | None = None
        self._database = database

    def run(self, rule: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return fail(self.error) if self.error else self._database.run(rule, *arguments)


class Ready(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = memory_service().start()
        self.addCleanup(self.service.close)

    def begun(self, *, launches: bool, minimum: int, database: Any = None) -> Readiness:
        clock, database = self.service.clock, database or self.service.database
        readiness = Readiness(database, clock, launches=launches, minimum=minimum)
        readiness.startService()
        self.addCleanup(readiness.stopService)
        return readiness

    def all_are(self, state: State) -> None:
        Server.update(state=state).execute()

    def test_by_hand_it_follows_the_app_servers(self) -> None:
        self.all_are(State.GONE)
        readiness = self.begun(launches=False, minimum=0)
        self.assertFalse(readiness.is_ready)
        self.assertNoResult(readiness.first)
        for state, there in ((State.READY, True), (State.LOST, False), (State.READY, True)):
            self.all_are(state)
            self.service.clock.advance(LOOK_INTERVAL)
            self.assertIs(readiness.is_ready, there, state)
        self.successResultOf(readiness.first)
        self.all_are(State.DRAINING)
        readiness.look()
        self.assertFalse(readiness.is_ready)

    def test_full_servers_count(self) -> None:
        Server.update(taken=Server.capacity).execute()
        self.assertTrue(self.begun(launches=False, minimum=0).is_ready)

    def test_a_database_that_is_away_says_nothing_of_app_servers(self) -> None:
        database = Away(self.service.database)
        readiness = self.begun(launches=False, minimum=0, database=database)
        self.all_are(State.GONE)
        for error in (Unavailable(), RuntimeError()):
            database.error = error
            readiness.look()
            self.assertTrue(readiness.is_ready, error)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_fleet_that_launches_is_ready_from_its_first_server(self) -> None:
        self.all_are(State.LAUNCHING)
        readiness = self.begun(launches=True, minimum=1)
        self.assertFalse(readiness.is_ready)
        self.all_are(State.READY)
        readiness.look()
        self.assertTrue(readiness.is_ready)
        self.all_are(State.LOST)
        readiness.look()
        self.assertTrue(readiness.is_ready)

    def test_a_fleet_that_launches_on_demand_is_ready_without_any(self) -> None:
        self.all_are(State.GONE)
        readiness = self.begun(launches=True, minimum=0)
        self.assertTrue(readiness.is_ready)
        self.successResultOf(readiness.first)
