"""People on a service whose wall clock is set back and forward an hour: nobody notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages.tables import MessageRow
from bbs.core.errors import NotLoggedIn
from bbs.core.values import State
from bbs.rules import accounts, auth, fleet_admin, fleet_transitions, membership
from bbs.rules.overview import overview
from bbs.rules.servers import OPERATOR
from bbs.scaling.interfaces import LaunchRefused
from bbs.storage.models import Lease, Server, Session
from bbs.testing.provider import MemoryProvider
from tests.database_case import SESSIONS, RulesCase
from tests.memory_service import POLICY, another_controller, memory_service
from tests.rules.fleet_case import ONE, FleetCase

HOUR = 3600.0

TAKES = 20.0
"""Seconds that an app server takes to boot where a test lets it take any."""


class SetBack(SynchronousTestCase):
    """By an hour."""

    ahead = -HOUR
    policy = replace(POLICY, idle_grace=60.0)

    def setUp(self) -> None:
        self.service = memory_service(policy=self.policy)
        self.addCleanup(self.service.close)
        self.service.start()

    def boot_slowly(self) -> None:
        """Have launches take a while from now on."""

        def launched(server: str) -> None:
            self.service.clock.callLater(TAKES, self.service.boot, server)

        self.service.provider.on_launch = launched

    def states(self) -> dict[str, int]:
        """How many servers are in each state."""
        found: dict[str, int] = {}
        for row in Server.select().order_by(Server.created):
            found[row.state] = found.get(row.state, 0) + 1
        return found

    def test_people_talk_on_and_messages_come_in_order(self) -> None:
        ann, bob = self.service.people("ann", "bob").values()
        self.service.at_home(ann).ask(f"invite {ann} bob")
        self.service.at_home(bob).ask(f"accept-invite {bob} ann")
        talking, listening = self.service.at_home(ann), self.service.listening(bob)
        for number, ahead in enumerate((0.0, -HOUR, HOUR, 0.0)):
            self.service.set_ahead = ahead
            self.assertEqual(talking.ask(f"send {ann} bob {number}")["status"], 0)
            self.service.advance(3)
        self.assertEqual([each["message"] for each in listening.events()], [*"0123"])
        stored = [row.stored for row in MessageRow.select().order_by(MessageRow.id)]
        # The service's clock goes on.
        self.assertEqual([round(each - stored[0]) for each in stored], [0, 3, 6, 9])

    def test_nobody_is_logged_out(self) -> None:
        token = self.service.people("ann")["ann"]
        self.service.set_ahead = self.ahead
        self.service.advance(130)  # Housekeeping among it.
        self.assertEqual(self.service.peer().ask(f"locate {token}")["status"], 0)

    def test_too_many_attempts_are_so_for_as_long_as_it_says(self) -> None:
        peer = self.service.peer()
        peer.ask("register ann 111")
        for _ in range(3):
            peer.ask("login ann wrong")
        self.service.set_ahead = self.ahead
        said = peer.ask("login ann 111")["message"]
        self.assertRegex(said, r"try again in (19|20) s")
        self.service.advance(15)
        self.assertEqual(peer.ask("login ann 111")["status"], 1)
        self.service.advance(6)
        self.assertEqual(peer.ask("login ann 111")["status"], 0)

    def test_a_launch_that_takes_its_time_is_ready(self) -> None:
        self.boot_slowly()
        self.service.people("ann", "bob")
        waiting = self.service.peer()
        waiting.ask("register cat pw")
        waiting.say("login cat pw")
        self.service.advance(5)
        self.service.set_ahead = self.ahead
        self.service.advance(TAKES + 5)
        self.assertEqual([reply["status"] for reply in waiting.heard()], [0])
        self.assertEqual(self.states(), {"ready": 2})

    def test_a_launch_that_hangs_is_given_up_in_time(self) -> None:
        self.service.boots = False
        self.service.people("ann", "bob")
        self.service.set_ahead = self.ahead
        waiting = self.service.peer()
        waiting.ask("register cat pw")
        waiting.say("login cat pw")
        self.service.advance(5)
        self.service.set_ahead = -self.ahead
        self.service.advance(self.policy.launch_timeout - 10)
        self.assertEqual(self.states(), {"ready": 1, "launching": 1})
        self.service.advance(10)
        self.assertEqual(self.states().get("gone"), 1)

    def test_a_server_is_idle_for_as_long_as_it_may_be(self) -> None:
        tokens = self.service.people("ann", "bob", "cat")
        self.assertEqual(self.states(), {"ready": 2})
        self.service.peer().ask(f"logout {tokens['cat']}")
        self.service.advance(3)
        self.service.set_ahead = self.ahead
        self.service.advance(self.policy.idle_grace - 10)
        self.assertEqual(self.states(), {"ready": 2})
        self.service.advance(15)
        self.assertEqual(self.states(), {"ready": 1, "gone": 1})

    def test_what_is_told_of_launches_is_what_was_measured(self) -> None:
        Server.update(ready=None).execute()  # The first was there at once.
        self.boot_slowly()
        self.service.database.run(fleet_admin.ask_launch, 2, 20, self.service.wall())
        self.service.login.news.wanted()
        self.service.advance(5)
        self.service.set_ahead = self.ahead
        self.service.advance(TAKES + 5)
        now = self.service.wall()
        told: Any = self.successResultOf(
            self.service.database.run(fleet_admin.launches_under_way, now)
        )
        self.assertLess(abs(told.usual - TAKES), 5)

    def test_who_waits_is_told_of_no_longer_than_launches_take(self) -> None:
        self.boot_slowly()
        self.service.people("ann", "bob")
        waiting = self.service.peer()
        waiting.ask("events")
        waiting.ask("register cat pw")
        waiting.say("login cat pw")
        self.service.advance(2)
        self.service.set_ahead = -HOUR
        self.service.advance(5)
        told = [each["seconds"] for each in waiting.events() if each["event"] == "waiting"]
        self.assertTrue(told)
        self.assertLess(max(seconds or 0 for seconds in told), HOUR / 2)

    def refused(self) -> MemoryProvider:
        """A provider that launches no more once the first server is there."""
        provider = self.service.provider
        self.service.people("ann", "bob")
        provider.refusal = LaunchRefused("over quota")
        return provider

    def login(self, name: str) -> list[int]:
        """The replies to somebody new who asks for a place."""
        peer = self.service.peer()
        peer.ask(f"register {name} pw")
        peer.say(f"login {name} pw")
        self.service.settle()
        return [reply["status"] for reply in peer.heard() if "status" in reply]

    def test_a_refusal_holds_for_as_long_as_it_says(self) -> None:
        provider = self.refused()
        self.assertEqual(self.login("cat"), [1])
        self.service.set_ahead = self.ahead
        self.service.advance(5)
        # It holds, and who comes is told so at once.
        self.assertEqual(self.login("dog"), [1])
        refusal = self.successResultOf(self.service.database.run(fleet_admin.refusal))
        assert refusal is not None
        self.assertLess(abs(refusal.until - self.service.now() - 55), 5)
        self.service.set_ahead = 0.0
        self.service.advance(60)
        provider.refusal = None
        self.service.set_ahead = self.ahead
        self.service.advance(5)
        self.assertEqual(self.login("eve"), [0])

    def test_a_controller_whose_clock_is_wrong_takes_over(self) -> None:
        """It gives what another has launched half of its time at least, and no more than all."""
        self.service.boots = False
        self.service.database.run(fleet_admin.ask_launch, 2, 20, self.service.wall())
        self.service.login.news.wanted()
        self.service.advance(5)
        lease = Lease.get()
        self.service.set_ahead = self.ahead
        other = another_controller(self.service, "host:other:1", self.service.provider, self.policy)
        self.service.database.run(membership.enroll, other.me)
        seen = membership.LeaseSeen(lease.holder, lease.identity, lease.beats)
        taken = self.service.database.run(membership.take_lease, other.me, seen)
        self.assertTrue(self.successResultOf(taken))
        self.service.advance(3)
        other.startService()
        self.service.advance(self.policy.launch_timeout / 2 - 10)
        self.assertEqual(self.states(), {"ready": 1, "launching": 1})
        self.service.advance(self.policy.launch_timeout / 2 + 15)
        self.assertEqual(self.states().get("launching", 0), 0)
        other.stopService()

    def test_ended_servers_are_shown_for_a_while(self) -> None:
        tokens = self.service.people("ann", "bob", "cat")
        self.service.peer().ask(f"logout {tokens['cat']}")
        self.service.advance(self.policy.idle_grace + 10)
        for ahead, shown in ((0.0, 2), (-HOUR, 1), (HOUR, 1)):
            self.service.set_ahead = ahead
            seen = self.service.database.run(overview, self.service.wall(), False)
            self.assertEqual(len(self.successResultOf(seen).servers), shown)


class SetForward(SetBack):
    """The same, the other way."""

    ahead = HOUR


class Sessions(RulesCase):
    """Of which the last use was noted by a clock that has been set back since."""

    service = board

    def setUp(self) -> None:
        super().setUp()
        self.account("ann")
        self.token = self.log_in("ann")

    def noted(self) -> float:
        return Session.get().used - self.now

    def used(self, ahead: float) -> None:
        Session.update(used=self.now + ahead).execute()

    def test_they_live(self) -> None:
        self.used(HOUR)
        self.assertEqual(self.caller(self.token).name, "ann")
        self.call(accounts.end_stale_sessions, SESSIONS, self.now)
        self.assertEqual(self.caller(self.token).name, "ann")

    def test_their_next_use_is_noted(self) -> None:
        self.used(HOUR)
        self.assertEqual(self.caller(self.token).touch, auth.digest(self.token))
        self.used(SESSIONS.ttl / 200)  # Another server's clock may be a little ahead.
        self.assertIsNone(self.caller(self.token).touch)

    def test_unused_they_end(self) -> None:
        self.used(100 * HOUR)
        self.assertEqual(self.call(accounts.end_stale_sessions, SESSIONS, self.now), 1)
        self.assertEqual(self.noted(), 0)
        self.clock.advance(SESSIONS.ttl + 1)
        self.assertEqual(self.call(accounts.end_stale_sessions, SESSIONS, self.now), 1)
        failing = self.database.run(auth.identify, self.token, SESSIONS, self.now)
        self.failureResultOf(failing, NotLoggedIn)

    def test_a_few_at_a_time(self) -> None:
        for _ in range(4):
            self.log_in("ann")
        self.used(HOUR)
        moved = [self.call(accounts.end_stale_sessions, SESSIONS, self.now, 2) for _ in range(4)]
        self.assertEqual(moved, [2, 2, 1, 0])


class Rows(FleetCase):
    service = board

    def test_ended_servers_from_the_future_are_forgotten(self) -> None:
        self.keep()
        [server] = self.launch()
        self.call(fleet_transitions.close, ONE, server, None, "", self.now + 10 * HOUR)
        self.assertEqual(self.call(fleet_transitions.forget_gone, self.now, 10 * HOUR), 0)
        self.assertEqual(self.call(fleet_transitions.forget_gone, self.now, HOUR), 1)

    def test_nobody_is_sent_away_for_a_wrong_clock(self) -> None:
        self.keep()
        self.call(fleet_transitions.refuse, ONE, "over quota", self.now + 60, self.now)
        for ahead, hopeless in ((0.0, True), (-HOUR, False), (HOUR, False)):
            self.assertEqual(self.call(fleet_admin.is_hopeless, self.now + ahead), hopeless)

    def test_a_launch_from_the_future_is_no_older_than_new(self) -> None:
        self.call(membership.join, "host", 1, 1, self.now)
        Server.update(state=State.READY, ready=self.now + 7).where(
            Server.scope == OPERATOR
        ).execute()
        self.call(fleet_admin.ask_launch, 1, 20, self.now + HOUR)
        launches = self.call(fleet_admin.launches_under_way, self.now)
        self.assertEqual(launches, fleet_admin.LaunchTimes(usual=7.0, oldest=0.0))
