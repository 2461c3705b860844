"""Work in the background: on one server at a time, kept to its interval, taken over, and fenced."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import peewee
from twisted.application.service import Service as TwistedService
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.background import LAPSE, STANDBY, STOP_PATIENCE
from bbs.framework import (
    Ask,
    CommandTable,
    Every,
    Extension,
    RisingIdField,
    Role,
    Service,
    Table,
    User,
    read_only,
    setting,
    tell_soon,
)
from bbs.rules import background
from bbs.rules.membership import Member
from bbs.testing import MemoryService
from tests.database_case import DatabaseCase, on_both_databases


class Tick(Table):
    id = RisingIdField()
    at = peewee.DoubleField()


class Ticking(SynchronousTestCase):
    def setUp(self) -> None:
        self.asks: list[Ask] = []
        self.wait: Deferred[None] | None = None

    def start(self, seconds: float = 1.0, **members: Any) -> None:
        async def tick(ask: Ask) -> None:
            self.asks.append(ask)
            await ask.database.run(store, ask.now)
            if self.wait is not None:
                await self.wait

        def store(now: float) -> None:
            Tick.insert(at=now).execute()

        service = Service("world", models=(Tick,), every=(Every(seconds, tick),), **members)
        self.service = MemoryService(service)
        self.addCleanup(self.service.close)
        self.service.start()

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps in which timers fire when they are due."""
        for _ in range(round(seconds * 10)):
            self.service.advance(0.1)

    @property
    def ticks(self) -> list[float]:
        """The times of the ticks so far, in seconds since the first."""
        times = [each.at for each in Tick.select().order_by(Tick.id)]
        return [round(each - times[0], 3) for each in times]

    @property
    def holder(self) -> str:
        """The server that ran the last tick: an app server's id, or "login"."""
        return next(
            (
                id
                for id, server in self.service.servers.items()
                if server.serving.scheduler.is_holder
            ),
            "login" if self.service.login.scheduler.is_holder else "",
        )

    def test_once_a_second_on_one_server(self) -> None:
        self.start()
        self.service.people("ann", "bob")
        self.advance(4.0)
        self.assertEqual(len(self.service.servers), 1)
        self.assertEqual([*map(round, self.ticks[:5])], [0, 1, 2, 3, 4])

    def test_what_the_ask_has(self) -> None:
        self.start(counters=("ticks",))
        ann = self.service.people("ann")["ann"]
        listener = self.service.listening(ann)
        ask = self.asks[-1]
        self.assertRaises(LookupError, lambda: ask.user)
        ask.count("ticks")
        channel = ask.database.run(read_only(lambda: _channel_of("ann")))
        telling = Deferred.fromCoroutine(
            ask.tell(self.successResultOf(channel), {"event": "night", "text": "Night falls."})
        )
        self.successResultOf(telling)
        self.service.settle()
        self.assertEqual(listener.events(), [{"event": "night", "text": "Night falls."}])

    def test_runs_never_overlap_and_are_not_made_up_for(self) -> None:
        self.wait = Deferred()
        self.start()
        self.advance(3.5)
        waiting, self.wait = self.wait, None
        waiting.callback(None)
        self.advance(2.0)
        self.assertEqual(self.ticks[0], 0.0)
        self.assertEqual(len(self.ticks), 3, self.ticks)

    def test_one_that_fails_goes_on(self) -> None:
        async def fail(ask: Ask) -> None:
            self.asks.append(ask)
            raise KeyError("night")

        self.service = MemoryService(Service("world", every=(Every(1, fail),)))
        self.service.start()
        self.advance(2.0)
        self.assertEqual(len(self.asks), 3)
        self.service.close()
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 3)

    def test_a_login_server_leaves_it_to_app_servers(self) -> None:
        self.start()
        [server] = self.service.servers.values()
        self.advance(STANDBY + 2.0)
        self.assertEqual(self.holder, server.id)
        self.service.boots = False
        self.service.kill(server.port)
        self.advance(STANDBY + LAPSE + 4.0)
        self.assertEqual(self.holder, "login", "there is nobody else")

    def test_taken_over_when_the_holder_dies(self) -> None:
        self.start()
        self.service.people("ann")
        self.advance(2.0)
        [server] = self.service.servers.values()
        self.assertEqual(self.holder, server.id, "it was free")
        self.service.people(*(f"user{number}" for number in range(10)))
        before = len(self.ticks)
        self.service.kill(server.port)
        self.advance(LAPSE + 2.0)
        self.assertNotIn(self.holder, ("", server.id))
        self.assertGreater(len(self.ticks), before)
        gaps = [b - a for a, b in zip(self.ticks, self.ticks[1:], strict=False)]
        self.assertLessEqual(max(gaps), LAPSE + 1.5)

    def test_a_long_interval_outlives_its_holder(self) -> None:
        self.start(3600.0)
        self.advance(10.0)
        self.service.people("ann")
        self.service.login.scheduler.halt()
        self.advance(LAPSE + 2.0)
        self.assertNotEqual(self.holder, "")
        self.assertEqual(self.ticks, [0.0], "the next holder waits for the rest of the hour")

    def test_who_has_lost_the_lease_changes_nothing(self) -> None:
        self.start()
        ask = self.asks[-1]
        other = Member("other", "")
        lease = self.successResultOf(self.service.database.run(background.renew, other))
        self.assertTrue(
            self.successResultOf(self.service.database.run(background.take_over, other, lease))
        )
        writing = ask.database.run(lambda: Tick.insert(at=0.0).execute())
        self.failureResultOf(writing, background.NotHolder)
        counting = ask.database.run(read_only(lambda: Tick.select().count()))
        self.assertEqual(self.successResultOf(counting), 1)
        self.advance(1.0)
        self.assertEqual(self.holder, "")

    def test_a_server_that_stops_waits_no_longer_than_that(self) -> None:
        self.wait = Deferred()
        self.start()
        [server] = self.service.servers.values()
        stopped = server.serving.scheduler.stopService()
        self.assertNoResult(stopped)
        self.advance(STOP_PATIENCE + 0.5)
        self.successResultOf(stopped)
        lease = self.successResultOf(
            self.service.database.run(background.renew, Member("other", ""))
        )
        self.assertEqual(lease.holder, "", "it is free")

    def test_two_of_one_factory_have_names(self) -> None:
        def make(number: int) -> Any:
            async def tick(ask: Ask) -> None: ...

            return tick

        self.assertRaises(
            ValueError, Service, "world", every=(Every(1, make(1)), Every(1, make(2)))
        )
        Service("world", every=(Every(1, make(1), "one"), Every(1, make(2), "two")))
        error = self.assertRaises(ValueError, Every, 1, partial(make(1), 2))
        self.assertIn("needs a name=", str(error))

    def test_a_command_of_an_extension_called_background(self) -> None:
        """The service's own ticks have the service's settings."""
        commands = CommandTable()

        @commands.command("background <user>", Role.APP)
        async def other(ask: Ask) -> None: ...

        @dataclass(frozen=True)
        class Theirs:
            much: int = setting(1, "how much")

        extension = Extension("theirs", commands=(commands,), settings=Theirs)
        self.start(extensions=(extension,))
        self.assertIsNone(self.asks[0].settings)

    def test_an_extensions_own(self) -> None:
        async def tick(ask: Ask) -> None:
            self.asks.append(ask)

        extension = Extension("clock", every=(Every(2, tick),))
        self.service = MemoryService(Service("world", extensions=(extension,)))
        self.addCleanup(self.service.close)
        self.service.start()
        self.advance(4.0)
        self.assertEqual(len(self.asks), 3)

    def test_a_sweep_may_tell(self) -> None:
        empty: list[str] = []

        def sweep(now: float) -> int:
            if empty:
                empty.pop()
                tell_soon("lobby.chess", {"event": "closed", "text": "The lobby is closed."})
            return 0

        commands = CommandTable()

        @commands.command("sit <user>", Role.APP)
        async def sit(ask: Ask) -> None:
            await ask.hear("lobby.chess")

        self.service = MemoryService(Service("world", commands=(commands,), sweep=sweep))
        self.addCleanup(self.service.close)
        ann = self.service.people("ann")["ann"]
        listener = self.service.listening(ann)
        listener.ask(f"sit {ann}")
        empty.append("chess")
        while empty:
            self.service.advance(1.0)
        self.advance(1.0)
        self.assertEqual(listener.events(), [{"event": "closed", "text": "The lobby is closed."}])

    def test_what_cannot_be_told(self) -> None:
        for channel, event, reason in (
            ("a b", {"event": "closed"}, "'a b' is not a channel"),
            ("a.b", {"event": "moved"}, "a service cannot have an event with the name 'moved'"),
            ("a.b", {"event": "closed", "by": {1}}, "the event closed is not JSON: "),
            ("a.b", {"event": "closed", "text": "x" * 60_000}, "the event closed is longer than"),
        ):
            error = self.assertRaises(ValueError, tell_soon, channel, event)
            self.assertTrue(str(error).startswith(reason), str(error))

    def test_what_is_malformed(self) -> None:
        async def tick(ask: Ask) -> None: ...

        for seconds, handler, reason in (
            (0, tick, "every 0: seconds must be above 0"),
            ("1", tick, "every '1': seconds are a number"),
            (float("nan"), tick, "every nan: seconds must be above 0"),
            (1, len, "every 1 s: <built-in function len> is not an async function"),
        ):
            given: Any = (seconds, handler)
            self.assertEqual(str(self.assertRaises(ValueError, Every, *given)), reason)
        twice = (Every(1, tick), Every(2, tick))
        error = self.assertRaises(ValueError, Service, "world", every=twice)
        self.assertRegex(str(error), r"^world: every calls .*tick twice$")


def _channel_of(name: str) -> str:
    channel: str = User.get(name=name).channel
    return channel


class Beside(SynchronousTestCase):
    """Twisted services beside the servers."""

    def test_started_and_stopped_with_each_server(self) -> None:
        made: list[tuple[Role, TwistedService]] = []

        def make(ask: Ask) -> TwistedService:
            made.append((ask.role, TwistedService()))
            return made[-1][1]

        def make_nothing(ask: Ask) -> None: ...

        service = MemoryService(Service("world", daemons=(make, make_nothing)))
        service.people("ann")
        self.assertEqual([role for role, _ in made], [Role.LOGIN, Role.APP])
        self.assertTrue(all(each.running for _, each in made))
        service.close()
        self.assertFalse(any(each.running for _, each in made))

    def test_not_a_function(self) -> None:
        given: Any = [3]
        error = self.assertRaises(ValueError, Service, "world", daemons=given)
        self.assertEqual(str(error), "world: daemons are plain functions, (make,) if one")


ANN, BOB = Member("ann", "one"), Member("bob", "two")


@on_both_databases
class Leases(DatabaseCase):
    def test_held_by_one(self) -> None:
        self.assertEqual(self.call(background.renew, ANN).holder, "")
        self.assertTrue(self.call(background.take, ANN))
        self.assertFalse(self.call(background.take, BOB))
        lease = self.call(background.renew, BOB)
        self.assertEqual((lease.holder, lease.identity), ("ann", "one"))
        self.call(background.release, BOB)
        self.assertEqual(self.call(background.renew, BOB).holder, "ann")
        self.call(background.release, ANN)
        self.assertTrue(self.call(background.take, BOB))

    def test_taken_over_unless_it_was_renewed(self) -> None:
        self.call(background.take, ANN)
        seen = self.call(background.renew, BOB)
        self.call(background.renew, ANN)
        self.assertFalse(self.call(background.take_over, BOB, seen))
        self.assertTrue(self.call(background.take_over, BOB, self.call(background.renew, BOB)))
        self.assertEqual(self.call(background.renew, ANN).holder, "bob")

    def test_when_it_is_due(self) -> None:
        self.call(background.take, ANN)
        times = ((100.0, 0.0), (100.5, 0.5), (101.001, 0.0), (101.5, 0.5), (101.995, 0.0))
        for now, early in (*times, (110.25, 0.0), (111.0, 0.25), (50.0, 0.0)):
            found = self.call(background.claim, ANN, "job", 1.0, now)
            self.assertEqual(found.is_due, not early, f"at {now}")
            self.assertEqual(found.pause, early or found.pause, f"at {now}")
        self.assertEqual(found, (True, 1.0), "the clock was set back")

    def test_only_for_the_holder(self) -> None:
        self.call(background.take, ANN)
        claiming = self.database.run(background.claim, BOB, "job", 1.0, 100.0)
        self.failureResultOf(claiming, background.NotHolder)
        changing: Deferred[object] = self.database.run(background.fenced, BOB, list)
        self.failureResultOf(changing, background.NotHolder)
