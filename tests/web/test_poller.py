"""Looking at the service: bad days, several login servers, and what is counted."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs.rules import membership
from bbs.rules.overview import overview
from bbs.storage.models import LoginServer, Place, Server, Waiter
from bbs.web.poller import ANSWER_TTL, MOST_ANSWERS, TTLCache
from tests.web.case import AwayCase, PageCase


class Away(AwayCase):
    def test_the_last_fleet_stays(self) -> None:
        self.service.people("ann")
        self.pass_time(12)
        seen_at = self.browser().get("/state").json["fleet_at"]
        self.go()
        self.pass_time(10)
        state = self.browser().get("/state").json
        self.assertEqual((state["database"], state["people"]), (False, 1))
        self.assertEqual(len(state["servers"]), 1)
        self.assertLess(state["fleet_at"], state["at"] - 8)
        self.assertGreaterEqual(state["fleet_at"], seen_at)

    def test_it_is_told(self) -> None:
        watcher = self.watcher()
        self.pass_time(2)
        watcher.events()
        self.go()
        self.pass_time(6)
        (text,) = watcher.texts()
        self.assertTrue(text.startswith("The database is away: "))
        self.come_back()
        self.pass_time(2)
        self.assertEqual(watcher.texts(), ["The database is back."])

    def test_the_fleets_figures_have_a_gap(self) -> None:
        watcher = self.watcher()
        self.go()
        self.pass_time(12)
        series = watcher.events("point")[-1][1]["series"]
        self.assertIsNone(series["free_places"])
        self.assertIsNone(series["logins_per_minute"])
        self.assertIsNotNone(series["reactor_lag"])

    def test_from_the_beginning(self) -> None:
        """A page that has never seen the fleet shows none, and tells no news when it appears."""
        self.stop_page()
        self.go()
        self.page = self.make_page()
        self.page.startService()
        state = self.browser().get("/state").json
        self.assertEqual((state["database"], state["servers"], state["fleet_at"]), (False, [], 0.0))
        watcher = self.watcher()
        self.come_back()
        self.pass_time(3)
        self.assertEqual(watcher.texts(), [])
        self.assertEqual(len(self.browser().get("/state").json["servers"]), 1)

    def test_leases_do_not_age_meanwhile(self) -> None:
        self.watcher()
        self.pass_time(3)
        self.go()
        self.pass_time(30)
        self.come_back()
        self.pass_time(1)
        (server,) = self.browser().get("/state").json["servers"]
        self.assertLess(server["lease"], 5)


class Looking(PageCase):
    def test_one_that_goes_wrong_is_logged_and_another_follows(self) -> None:
        self.watcher()
        self.database.hold(overview)
        for _ in range(2):
            self.pass_time(2)
            self.database.waiting.pop().fail(ZeroDivisionError())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_the_broker(self) -> None:
        watcher = self.watcher()
        self.pass_time(1)
        watcher.events()
        self.service.broker.away()
        self.pass_time(1)
        self.assertEqual(watcher.texts(), ["The broker is away: messages arrive later."])
        self.assertFalse(self.browser().get("/state").json["broker"])


class Counting(PageCase):
    def test_logins_a_minute_of_all_login_servers(self) -> None:
        LoginServer.insert(id="other", identity="", logins=0).execute()
        self.watcher()
        self.pass_time(2)
        self.service.people("ann", "bob")
        LoginServer.update(logins=3).where(LoginServer.id == "other").execute()
        self.pass_time(3)
        self.assertEqual(self.browser().get("/state").json["logins_per_minute"], 5)
        self.pass_time(60)
        self.assertEqual(self.browser().get("/state").json["logins_per_minute"], 0)

    def test_one_of_an_older_version_counts_none(self) -> None:
        LoginServer.insert(id="other", identity="").execute()
        self.pass_time(2)
        self.assertEqual(self.browser().get("/state").json["logins_per_minute"], 0)

    def test_messages_a_second(self) -> None:
        tokens = self.service.people("ann", "bob")
        at_home = self.service.serving(tokens["ann"]).peer()
        at_home.ask(f"create-group {tokens['ann']} chess")
        at_home.ask(f"invite {tokens['ann']} bob")
        at_home.ask(f"accept-invite {tokens['bob']} ann")
        self.watcher()
        self.pass_time(11)
        for _ in range(10):
            at_home.ask(f"send {tokens['ann']} bob hello")
            at_home.ask(f"send-group {tokens['ann']} chess e4")
        at_home.ask(f"send {tokens['ann']} nobody hello")
        self.pass_time(2)
        state = self.browser().get("/state").json
        self.assertAlmostEqual(state["messages_per_second"], 2.0, places=0)
        self.assertEqual(state["servers"][0]["messages_per_second"], state["messages_per_second"])

    def test_leases(self) -> None:
        self.watcher()
        self.pass_time(3)
        self.assertLess(self.browser().get("/state").json["servers"][0]["lease"], 1.5)
        self.service.servers = {}
        self.pass_time(5)
        self.assertGreater(self.browser().get("/state").json["servers"][0]["lease"], 3)
        Server.update(state="gone", ended=self.clock.seconds()).execute()
        self.pass_time(2)
        self.assertIsNone(self.browser().get("/state").json["servers"][0]["lease"])

    def test_who_waits_and_how_long(self) -> None:
        self.service.boots = False
        tokens = self.service.people("ann", "bob")
        self.assertEqual(len(tokens), 2)
        operator = self.operator()
        watcher = self.watcher()
        peer = self.service.peer()
        peer.ask("register eva pw")
        peer.say("login eva pw")
        self.pass_time(5)
        waiting = operator.get("/state").json["waiting"]
        self.assertEqual((waiting["count"], waiting["who"]), (1, ["eva"]))
        self.assertAlmostEqual(waiting["longest"], 5, places=0)
        self.assertIn("1 person waits for a place.", watcher.texts())

    def test_somebody_who_waits_twice(self) -> None:
        """From one look to the next a row says online, and another one still offline."""
        self.service.people("ann")
        Place.update(server=None).execute()
        for id in ("w1", "w2"):
            Waiter.insert(id=id, login_server=self.service.me.id, name="ann", since=5.0).execute()
        waiting = self.operator().get("/state").json["waiting"]
        self.assertEqual((waiting["count"], waiting["who"]), (1, ["ann"]))

    def test_launches(self) -> None:
        watcher = self.watcher()
        self.pass_time(1)
        self.operator().post("/servers")
        self.pass_time(12)
        points = [data["series"] for _, data in watcher.events("point")]
        self.assertIn((1, 0.2), [(each["launches"], each["launch_seconds"]) for each in points])
        launches = self.browser().get("/state").json["launches"]
        self.assertEqual((launches["under_way"], launches["last_hour"]), (0, 1))
        self.operator().post("/servers")
        self.pass_time(2)
        self.assertEqual(self.browser().get("/state").json["launches"]["last_hour"], 2)

    def test_everything_stops(self) -> None:
        self.pass_time(2)
        before = len(self.clock.getDelayedCalls())
        self.stop_page()
        self.assertEqual(len(self.clock.getDelayedCalls()), before - 2)


class TwoLoginServers(PageCase):
    def test_each_shows_the_same(self) -> None:
        self.service.people("ann")
        self.pass_time(11)
        mine = self.browser().get("/state").json
        self.service.database.run(membership.enroll, membership.Member("other", ""))
        self.stop_page()
        self.service.me = membership.Member("other", "")
        self.page = self.make_page()
        self.page.startService()
        theirs = self.browser().get("/state").json
        self.assertEqual(theirs["login_server"], "other")
        for key in ("people", "free_places", "waiting", "launches", "refusal"):
            self.assertEqual(mine[key], theirs[key], key)
        self.assertEqual(mine["servers"][0]["id"], theirs["servers"][0]["id"])


class Cache(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.cache: TTLCache[str] = TTLCache(self.clock)
        self.made: list[str] = []

    def get(self, key: str) -> str:
        async def make() -> str:
            self.made.append(key)
            return f"answer {key}"

        return self.successResultOf(Deferred.fromCoroutine(self.cache.get((key,), make)))

    def test_an_answer_is_made_once_in_a_while(self) -> None:
        self.assertEqual(
            [self.get("a"), self.get("a"), self.get("b")], ["answer a"] * 2 + ["answer b"]
        )
        self.clock.advance(ANSWER_TTL)
        self.get("a")
        self.assertEqual(self.made, ["a", "b", "a"])

    def test_of_too_many_the_oldest_is_made_again(self) -> None:
        for number in range(MOST_ANSWERS + 1):
            self.get(f"{number}")
        self.made.clear()
        for number in (1, MOST_ANSWERS, 0):
            self.assertEqual(self.get(f"{number}"), f"answer {number}")
        self.assertEqual(self.made, ["0"])
