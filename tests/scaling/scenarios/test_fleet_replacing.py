"""The controller launches others in place of servers that operators want replaced, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.logger import formatEvent, globalLogPublisher

from bbs.core.values import State
from bbs.rules import fleet_admin, fleet_transitions, overview
from bbs.rules.fleet_admin import DELAY, Blocker, By, Replacement, blocker_text
from bbs.rules.servers import MOVED
from bbs.storage.models import Place, Server
from tests.memory_service import POLICY
from tests.scaling.scenarios.test_fleet_cloud import AWAY, CloudCase, CloudInMemory

CAPACITY = 4
SERVERS = 3


class ReplacingCase(CloudCase):
    policy = replace(POLICY, capacity=CAPACITY, maximum=SERVERS + 1, idle_grace=20.0)

    def setUp(self) -> None:
        super().setUp()
        self.tokens = dict(self.service.people(*(f"p{number}" for number in range(CAPACITY))))
        names = [f"q{number}" for number in range(CAPACITY * (SERVERS - 1))]
        peers = [self.waiting(name) for name in names]
        self.pass_time(10)
        for name, peer in zip(names, peers, strict=True):
            (reply,) = (each for each in peer.heard() if "token" in each)
            self.tokens[name] = reply["token"]
        self.old = {row.id for row in self.rows()}
        self.assertEqual([row.taken for row in self.rows()], [CAPACITY] * SERVERS)

    def rows(self) -> list[Server]:
        return [*Server.select().where(Server.state != State.GONE).order_by(Server.created)]

    def ask(self, most: int | None = None) -> set[str]:
        asked: list[Replacement] = []
        by = By("op", "here", self.service.wall())
        run = self.service.database.run
        run(fleet_admin.replace, by, self.policy.maximum, None, most).addCallback(asked.append)
        self.service.login.news.wanted()
        return set(asked[0].servers)

    def follow(self, seconds: float, look: Callable[[], object] = lambda: None) -> None:
        """What holds always meanwhile: a place for everybody, and one that drains at the most."""
        for _ in range(round(seconds / 2)):
            self.pass_time(2)
            rows = self.rows()
            self.assertLessEqual(len(rows), self.policy.maximum)
            self.assertEqual(sum(row.taken for row in rows), len(self.tokens))
            drain = [row for row in rows if row.state == State.DRAINING and row.taken]
            self.assertLessEqual(len(drain), 1)
            look()

    def assert_everybody_is_served(self) -> None:
        """Nobody has logged in again: their tokens are good where they are now."""
        for token in self.tokens.values():
            self.assertEqual(self.service.at_home(token).ask(f"who {token}")["status"], 0)

    def told(self) -> str:
        """What the controller tells everybody of what it waits for."""
        return blocker_text(row.figures.get(DELAY, 0) for row in overview.login_servers())

    def logged(self) -> list[str]:
        """What is logged from now on."""
        logged: list[str] = []
        hear: Any = lambda event: logged.append(formatEvent(event))  # noqa: E731 - for its type
        globalLogPublisher.addObserver(hear)
        self.addCleanup(globalLogPublisher.removeObserver, hear)
        return logged


class Replacing(ReplacingCase):
    def test_one_to_whom_somebody_has_just_come_is_looked_at_again_at_once(self) -> None:
        tried: list[float] = []
        drain = fleet_transitions.drain

        def not_at_first(*args: Any) -> Any:
            tried.append(self.service.clock.seconds())
            return drain(*args) if len(tried) > 1 else None

        self.patch(fleet_transitions, "drain", not_at_first)
        self.ask(most=1)
        self.pass_time(20)
        self.assertLess(tried[1] - tried[0], 0.1)

    def test_all_of_them_one_after_the_other(self) -> None:
        listener = self.service.listening(self.tokens["p0"])
        self.assertEqual(self.ask(), self.old)
        ready_before: list[bool] = []

        def look() -> None:
            rows = self.rows()
            if any(row.state == State.DRAINING and row.taken == CAPACITY for row in rows):
                free = [row for row in rows if row.state == State.READY and row.taken < CAPACITY]
                ready_before.append(any(row.id not in self.old for row in free))

        self.follow(120, look)
        rows = self.rows()
        self.assertEqual([row.taken for row in rows], [CAPACITY] * SERVERS)
        self.assertFalse({row.id for row in rows} & self.old)
        self.assertFalse([row for row in rows if row.replace_asked])
        self.assertTrue(all(ready_before), ready_before)
        self.assertEqual(len(self.cloud.launched), 2 * SERVERS)
        self.assertIn("moved", [event["event"] for event in listener.events()])
        self.assert_everybody_is_served()
        gone = Server.select().where(Server.id.in_(self.old))
        self.assertEqual({row.reason for row in gone}, {"replaced"})
        # Nobody was moved twice, and none so that fewer servers are needed.
        [row] = overview.login_servers()
        self.assertEqual(row.figures[MOVED], 0)
        self.assertEqual(Place.select().where(Place.moved.is_null(False)).count(), len(self.tokens))
        launched = len(self.cloud.launched)
        self.follow(300)
        self.assertEqual(len(self.cloud.launched), launched)

    def test_one_of_them(self) -> None:
        [one] = self.ask(1)
        self.follow(60)
        self.assertEqual({row.id for row in self.rows()} & self.old, self.old - {one})

    def test_it_is_taken_back(self) -> None:
        self.ask()
        self.pass_time(2)
        self.service.database.run(fleet_admin.cancel, By("op", "here", 0.0))
        self.follow(120)
        stay = {row.id for row in self.rows()} & self.old
        self.assertGreaterEqual(len(stay), SERVERS - 1)
        self.assertEqual(len(self.rows()), SERVERS)

    def test_another_controller_goes_on(self) -> None:
        """Killed at any moment; the launch for the first is not made twice."""
        self.ask()
        for _ in range(20):
            self.pass_time(2)
            successor = CloudInMemory(self.cloud.account)
            successor.launched = self.cloud.launched
            successor.on_launch = self.cloud.on_launch
            controller = self.succeed_by(successor)
        self.addCleanup(controller.stopService)
        self.follow(120)
        self.assertFalse({row.id for row in self.rows()} & self.old)
        self.assertEqual(len(self.rows()), SERVERS)
        self.assertEqual(len(self.cloud.launched), 2 * SERVERS)
        self.assert_everybody_is_served()

    def test_not_while_the_provider_is_away(self) -> None:
        self.cloud.trouble["list"] = AWAY
        self.pass_time(60)
        logged = self.logged()
        self.ask()
        self.follow(60)
        self.assertEqual({row.id for row in self.rows()}, self.old)
        self.assertEqual(
            [text for text in logged if text.startswith("replacing")],
            ["replacing servers waits: the provider is away"],
        )
        self.assertEqual(self.told(), Blocker.PROVIDER_AWAY.text)
        del self.cloud.trouble["list"]
        self.follow(120)
        self.assertFalse({row.id for row in self.rows()} & self.old)

    def test_not_while_the_broker_is_away(self) -> None:
        self.service.broker.away()
        self.ask()
        self.follow(60)
        self.assertEqual({row.id for row in self.rows()}, self.old)

    def test_not_while_launches_fail(self) -> None:
        self.cloud.trouble["launch"] = AWAY
        self.ask()
        self.follow(200)
        self.assertTrue(self.old <= {row.id for row in self.rows()})
        self.assertFalse([row for row in self.rows() if row.state == State.DRAINING])

    def test_who_waits_comes_first(self) -> None:
        """Places come before a replacement, and the server that drains is kept for them."""
        self.ask()
        while not any(row.state == State.DRAINING for row in self.rows()):
            self.follow(2)
        newcomers = [self.waiting(f"n{number}") for number in range(2)]
        self.pass_time(10)
        for peer in newcomers:
            self.assertEqual([reply["status"] for reply in peer.heard()], [0])


class Full(ReplacingCase):
    """A fleet that may not grow."""

    policy = replace(ReplacingCase.policy, maximum=SERVERS)

    def test_it_waits_for_room_and_says_so(self) -> None:
        logged = self.logged()
        self.ask()
        self.follow(60)
        self.assertEqual({row.id for row in self.rows()}, self.old)
        self.assertIn(
            "replacing servers waits: fleet.maximum leaves no room for one more, and no others for"
            " the people of any of them",
            logged,
        )
        self.assertEqual(self.told(), Blocker.FULL.text)
        for name in [*self.tokens][:CAPACITY]:
            self.service.peer().ask(f"logout {self.tokens.pop(name)}")
        self.follow(240)
        self.assertFalse({row.id for row in self.rows()} & self.old)
        self.assert_everybody_is_served()
        self.assertEqual(self.told(), "")
