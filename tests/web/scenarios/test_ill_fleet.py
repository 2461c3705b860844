"""A fleet that is ill cries out within five minutes, whether anybody waits or not, and until it is
well: on the page, and in the metrics that Prometheus and CloudWatch take."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import replace

from bbs.core.values import State
from bbs.rules import membership
from bbs.scaling.backoff import LONGEST_BACK_OFF
from bbs.scaling.interfaces import LaunchFailed, LaunchRefused
from bbs.storage.models import Server
from bbs.web.lacks import PATIENCE, RETURNS
from tests.memory_service import POLICY
from tests.web.test_metrics import MetricsCase

ILL = int(os.environ.get("BBS_TEST_ILL", "600"))
"""Seconds for which launches fail, and each has the alarm: longer than two cycles of a launch that
is given up after its time-out, and of the longest pause behind it."""

SOON = 300
"""Seconds within which whoever is on call is to hear of it."""

LOOKS = 11
"""Seconds until something is seen while nobody watches the page."""


class IllCase(MetricsCase):
    def pass_time(self, seconds: float) -> None:
        """As ever, in steps of a second: an hour is long."""
        for _ in range(round(seconds)):
            self.beat()
            self.clock.advance(1.0)

    def alarms(self) -> set[str]:
        """What a scrape says: the causes of the present alarms."""
        browser = self.browser()
        body = browser.get("/metrics").body
        browser.close()
        return {*re.findall(r'^bbs_fleet_alarm\{cause="(.+)"\} 1', body, re.MULTILINE)}

    def until(self, cause: str, most: int = SOON) -> int:
        """Let time pass until there is an alarm; after how many seconds."""
        for second in range(1, most + 1):
            self.pass_time(1)
            if cause in self.alarms():
                return second
        raise AssertionError(f"no alarm {cause} within {most} s")

    def holds(self, cause: str, seconds: int) -> None:
        """There is an alarm at each second, also in the page's JSON."""
        for second in range(seconds):
            self.pass_time(1)
            self.assertIn(cause, self.alarms(), f"second {second}")
            if second % 30 == 0:
                browser = self.browser()
                state = browser.get("/state").json
                browser.close()
                self.assertIn(cause, {alarm["cause"] for alarm in state["alarms"]})
                self.assertEqual(state["summary"]["level"], "alarm")

    def ends(self, cause: str, most: int) -> None:
        """The alarm ends within so many seconds, and nothing else is wrong then."""
        self.pass_time(most)
        self.assertEqual(self.alarms(), set())
        self.assertEqual(self.browser().get("/state").json["alarms"], [])


class LaunchesFail(IllCase):
    """The last server dies, and no other can be launched. Nobody waits."""

    def ill(self, make_ill: Callable[[], None]) -> None:
        """All that launches do from now on is fail."""
        make_ill()
        for server in [*self.service.servers.values()]:
            self.service.kill(server.port)
        self.begun = len(self.provider_launches())

    def provider_launches(self) -> list[str]:
        """The launches that the fleet has decided."""
        return [row.id for row in Server.select(Server.id)]

    def test_servers_that_never_report(self) -> None:
        """Each launch takes until its time-out to fail, and longer and longer until the next."""
        self.pass_time(11)

        def make_ill() -> None:
            self.service.boots = False

        self.ill(make_ill)
        self.assertLessEqual(self.until("too-few"), PATIENCE + 2 * LOOKS)
        # The first launch is given up after its time-out.
        self.until("failed", int(POLICY.launch_timeout - PATIENCE) + 2 * LOOKS)
        self.holds("failed", ILL)
        launches = len(self.provider_launches()) - self.begun
        self.assertGreaterEqual(launches, ILL // (POLICY.launch_timeout + LONGEST_BACK_OFF + 3))
        self.assertEqual(self.alarms(), {"failed", "too-few"})
        # The launch that is under way is given up first.
        self.service.boots = True
        self.pass_time(POLICY.launch_timeout + 60)
        self.ends("failed", 70)

    def test_a_provider_without_capacity(self) -> None:
        """Each launch fails at once."""
        self.pass_time(11)

        def make_ill() -> None:
            self.service.provider.refusal = LaunchFailed("no capacity")

        self.ill(make_ill)
        self.assertLessEqual(self.until("failed"), PATIENCE + 2 * LOOKS)
        self.holds("failed", 60)
        self.assertEqual(self.alarms(), {"failed", "too-few"})
        self.service.provider.refusal = None
        self.pass_time(60)
        self.ends("failed", 70)

    def test_a_provider_that_refuses(self) -> None:
        self.pass_time(11)

        def make_ill() -> None:
            self.service.provider.refusal = LaunchRefused("no credit")

        self.ill(make_ill)
        self.assertLessEqual(self.until("refused"), LOOKS)
        self.holds("refused", 200)
        self.assertEqual(self.alarms(), {"refused", "too-few"})

    def test_somebody_waits(self) -> None:
        """Two failures are enough then."""
        self.pass_time(11)

        def make_ill() -> None:
            self.service.provider.refusal = LaunchFailed("no capacity")

        self.ill(make_ill)
        peer = self.service.peer()
        peer.ask("register ann pw")
        peer.say("login ann pw")
        self.assertLessEqual(self.until("failed"), LOOKS)
        self.holds("failed", 60)


class TooFew(IllCase):
    """Servers boot, serve for a moment and die again: every launch succeeds."""

    def test_servers_that_die_again(self) -> None:
        self.pass_time(11)
        self.service.boots = False

        def turn() -> None:
            for server in [*self.service.servers.values()]:
                self.service.kill(server.port)
            self.pass_time(30)
            for row in Server.select().where(Server.state == State.LAUNCHING):
                self.service.boot(row.id)
            self.pass_time(20)

        for _ in range(4):
            turn()
        for _ in range(10):
            self.assertEqual(self.alarms(), {"too-few"})
            turn()
        self.ends("too-few", 70)

    def test_over_when_servers_have_stayed(self) -> None:
        """Not as soon as one is ready: it may die again."""
        self.pass_time(11)
        self.service.boots = False
        for server in [*self.service.servers.values()]:
            self.service.kill(server.port)
        self.until("too-few")
        [launched] = Server.select().where(Server.state == State.LAUNCHING)
        self.service.boot(launched.id)
        self.holds("too-few", round(RETURNS) - LOOKS)
        self.ends("too-few", 3 * LOOKS)


class RunByHand(IllCase):
    policy = replace(POLICY, minimum=1, maximum=0)

    def run_by_hand(self, port: int) -> str:
        """An app server that an operator runs by hand."""
        server: str = self.successResultOf(
            self.service.database.run(membership.join, "10.0.0.2", port, 10, self.service.wall())
        )
        self.living.add(server)
        return server

    def setUp(self) -> None:
        self.living: set[str] = set()
        super().setUp()

    def beat(self) -> None:
        for server in self.living:
            self.service.database.run(membership.beat, server, {})

    def test_one_dies(self) -> None:
        one, two = self.run_by_hand(1), self.run_by_hand(2)
        self.pass_time(30)
        self.assertEqual(self.alarms(), set())
        self.living.remove(one)
        self.assertLessEqual(self.until("by-hand-died"), self.policy.lost_after + LOOKS)
        self.holds("by-hand-died", 60)
        self.living.add(self.run_by_hand(1))
        self.ends("by-hand-died", 30)
        # The others go as they should.
        self.service.database.run(membership.leave, two)
        self.living.remove(two)
        self.ends("by-hand-died", 60)

    def test_the_last_one_stops(self) -> None:
        """Fewer than the minimum are ready."""
        one = self.run_by_hand(1)
        self.pass_time(30)
        self.service.database.run(membership.leave, one)
        self.living.remove(one)
        self.assertLessEqual(self.until("too-few"), PATIENCE + 2 * LOOKS)
        self.holds("too-few", 60)
