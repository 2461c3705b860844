"""The page of services that are not the board: what each counts, by the names that it gave."""

from __future__ import annotations

from typing import Any

from prometheus_client.openmetrics import parser as openmetrics

from bbs.commands.service import Service
from bbs.core.values import Policy
from bbs.framework import Ask, CommandTable, Reply, Role, success
from bbs.operators import Counter
from bbs.storage.models import LoginServer
from tests.memory_service import POLICY
from tests.web.case import PageCase

commands = CommandTable()


@commands.command("enter <user>", Role.APP)
async def enter(ask: Ask) -> Reply:
    """Counted by an app server."""
    ask.count("joins")
    return success()


@commands.command("part", Role.LOGIN)
async def part(ask: Ask) -> Reply:
    """Counted by a login server."""
    ask.count("leaves")
    return success()


LOBBY = Service("lobby", commands=(commands,), counters=("joins", "leaves"))

WAVES = Counter(
    "leaves",
    metric="lobby_fleet_waves",
    help="Waves of those who leave",
    member="waves_per_second",
    arrival="waves arrive",
)
"""Counted as one name, and shown as others."""

WAVING = Service("lobby", commands=(commands,), counters=("joins", WAVES))

EMPTY = Service("quiet")

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


class ServiceCase(PageCase):
    def scrape(self) -> str:
        """What a scrape gives."""
        return self.browser().get("/metrics", Accept=OPENMETRICS).body

    def metrics(self) -> dict[str, dict[str, float]]:
        """The same: values by labels, by name."""
        found: dict[str, dict[str, float]] = {}
        for family in openmetrics.text_string_to_metric_families(self.scrape()):
            for sample in family.samples:
                found.setdefault(sample.name, {})[",".join(sample.labels.values())] = sample.value
        return found


class LobbyCase(ServiceCase):
    offered = LOBBY

    def happen(self) -> dict[str, Any]:
        """Twenty joins at the app server, ten leaves at this login server and ten at another one;
        the state then."""
        token = self.service.people("ann")["ann"]
        LoginServer.insert(id="other", identity="", counts='{"joins": 0, "leaves": 0}').execute()
        self.watcher()
        self.pass_time(2)
        at_home, peer = self.service.at_home(token), self.service.peer()
        for _ in range(10):
            at_home.ask(f"enter {token}")
            at_home.ask(f"enter {token}")
            peer.ask("part")
        LoginServer.update(counts='{"joins": 0, "leaves": 10}').where(
            LoginServer.id == "other"
        ).execute()
        self.pass_time(8)
        state: dict[str, Any] = self.browser().get("/state").json
        return state


class ALobby(LobbyCase):
    def test_the_present(self) -> None:
        state = self.happen()
        self.assertEqual(state["service"], "lobby")
        self.assertEqual([*state["counters"]], ["joins", "leaves"])
        for name in ("joins", "leaves"):
            self.assertAlmostEqual(state["counters"][name]["per_second"], 2.0, places=0)
        self.assertNotIn("messages_per_second", state)

    def test_each_server(self) -> None:
        (server,) = self.happen()["servers"]
        self.assertAlmostEqual(server["counters"]["joins"]["per_second"], 2.0, places=0)
        self.assertEqual(server["counters"]["leaves"], {"per_second": 0.0})
        self.assertNotIn("messages_per_second", server)

    def test_the_last_hour(self) -> None:
        watcher = self.watcher()
        ((_, history),) = watcher.events("history")
        self.happen()
        self.pass_time(5)
        (*_, (_, point)) = watcher.events("point")
        self.assertEqual([*history["series"]], [*point["series"]])
        for name in ("joins_per_second", "leaves_per_second"):
            self.assertEqual(len(history["series"][name]), 360)
            self.assertGreater(point["series"][name], 1.0)
        self.assertNotIn("messages_per_second", point["series"])

    def test_metrics(self) -> None:
        self.happen()
        found = self.metrics()
        self.assertEqual(found["bbs_fleet_counted_total"], {"joins": 20.0, "leaves": 20.0})
        self.assertNotIn("bbs_fleet_messages_total", found)
        self.assertIn("lobby", next(iter(found["bbs_info"])))

    def test_one_of_an_older_version_counts_what_it_knows(self) -> None:
        LoginServer.insert(id="other", identity="", counts='{"joins": 0}').execute()
        self.watcher()
        self.pass_time(2)
        LoginServer.update(counts='{"joins": 7}').where(LoginServer.id == "other").execute()
        self.pass_time(2)
        self.assertEqual(self.metrics()["bbs_fleet_counted_total"], {"joins": 7.0, "leaves": 0.0})

    def test_the_broker_is_away(self) -> None:
        watcher = self.watcher()
        self.pass_time(2)
        watcher.texts()
        self.service.broker.away()
        self.pass_time(1)
        (text,) = watcher.texts()
        self.assertNotIn("messages", text)
        body = self.browser().get("/").body
        self.assertIn("broker is away: what happens reaches people late, or not at all.", body)

    def test_the_page(self) -> None:
        body = self.browser().get("/").body
        self.assertIn("<title>lobby: the fleet</title>", body)
        self.assertIn('<ul data-counters="joins leaves"></ul>', body)
        self.assertIn("<th>Counted/s</th>", body)
        self.assertIn('<td data-label="Counted/s"></td>', body)


class ACounterThatHasMore(LobbyCase):
    """A lobby of which one counter has a metric, a member and words: it has all of the others', and
    these."""

    offered = WAVING

    def test_its_member(self) -> None:
        state = self.happen()
        self.assertAlmostEqual(state["waves_per_second"], 2.0, places=0)
        self.assertEqual(state["waves_per_second"], state["counters"]["leaves"]["per_second"])
        (server,) = state["servers"]
        self.assertEqual(server["waves_per_second"], 0.0)

    def test_its_member_in_the_stream(self) -> None:
        watcher = self.watcher()
        self.pass_time(2)
        self.assertEqual(watcher.last_state()["waves_per_second"], 0.0)

    def test_its_metric(self) -> None:
        self.happen()
        self.assertEqual(self.metrics()["lobby_fleet_waves_total"], {"": 20.0})
        self.assertIn("# HELP lobby_fleet_waves Waves of those who leave\n", self.scrape())

    def test_its_words(self) -> None:
        watcher = self.watcher()
        self.pass_time(2)
        watcher.texts()
        self.service.broker.away()
        self.pass_time(1)
        self.assertEqual(watcher.texts(), ["The broker is away: waves arrive later."])
        words = "The broker is away: waves arrive, seconds later than usual"
        [warning] = self.browser().get("/state").json["warnings"]
        self.assertEqual(warning["text"], words)
        self.assertIn(f"{words}. Look at its log", self.browser().get("/").body)


class WithoutProvider(ServiceCase):
    offered = LOBBY
    policy = Policy(
        minimum=0,
        maximum=0,
        spare=0,
        capacity=2,
        idle_grace=POLICY.idle_grace,
        launch_timeout=POLICY.launch_timeout,
        lost_after=POLICY.lost_after,
    )

    def test_what_to_run(self) -> None:
        message = self.operator().post("/servers").json["message"]
        self.assertEqual(message, "fleet.provider is none: run twistd lobby-app yourself")


class CountsNothing(ServiceCase):
    offered = EMPTY

    def test_the_present(self) -> None:
        self.watcher()
        self.pass_time(2)
        state = self.browser().get("/state").json
        self.assertEqual((state["service"], state["counters"]), ("quiet", {}))
        self.assertEqual([each["counters"] for each in state["servers"]], [{}])

    def test_the_last_hour(self) -> None:
        watcher = self.watcher()
        self.pass_time(12)
        (*_, (_, point)) = watcher.events("point")
        self.assertEqual([each for each in point["series"] if each.endswith("_second")], [])

    def test_metrics(self) -> None:
        self.pass_time(11)
        found = self.metrics()
        self.assertNotIn("bbs_fleet_counted_total", found)
        self.assertNotIn("bbs_fleet_messages_total", found)
        self.assertEqual(found["bbs_fleet_people"], {"": 0.0})

    def test_the_page(self) -> None:
        body = self.browser().get("/").body
        self.assertIn('<ul data-counters=""></ul>', body)
        self.assertNotRegex(body, "<t[hd]")


class TheBoard(ServiceCase):
    """What it had before services had names and counters, it has still, and theirs beside."""

    def test_the_present(self) -> None:
        self.pass_time(2)
        state = self.browser().get("/state").json
        self.assertEqual((state["service"], state["messages_per_second"]), ("bbs", 0.0))
        self.assertEqual(state["counters"], {"messages": {"per_second": 0.0}})
        self.assertIn("messages_per_second", state["servers"][0])

    def test_metrics(self) -> None:
        self.pass_time(11)
        token = self.service.people("ann")["ann"]
        at_home = self.service.at_home(token)
        at_home.ask(f"create-group {token} chess")
        at_home.ask(f"send-group {token} chess e4")
        self.pass_time(11)
        found = self.metrics()
        self.assertEqual(found["bbs_fleet_messages_total"], {"": 1.0})
        self.assertEqual(found["bbs_fleet_counted_total"], {"messages": 1.0})
        stored = "Messages stored by all app servers, while this login server ran"
        self.assertIn(f"# HELP bbs_fleet_messages {stored}\n", self.scrape())

    def test_the_page(self) -> None:
        body = self.browser().get("/").body
        self.assertIn("<title>bbs: the fleet</title>", body)
        self.service.broker.away()
        self.pass_time(2)
        body = self.browser().get("/").body
        self.assertIn("broker is away: messages arrive, seconds later than usual.", body)
        self.assertIn("<th>Messages/s</th>", body)
