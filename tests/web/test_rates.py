"""The pure parts of the operators' page: counts, gauges, the last hour, launches."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from bbs import __version__
from bbs.core.values import Counter, DrainCause, LossCause, State
from bbs.protocols.stomp.redundant import BrokerCount
from bbs.rules.fleet_admin import UNKNOWN_BLOCKER, Blocker, Hold
from bbs.rules.fleets import SourceFleet
from bbs.rules.overview import Failures, LoginServerRow, Overview
from bbs.rules.servers import FLEET_ONLY, OPERATOR, HeardServer
from bbs.storage.database import DiskSpace
from bbs.web.context import ServiceInfo
from bbs.web.history import OF_FLEET, OWN, POINTS, STEP, LastHour
from bbs.web.poller import LAG_INTERVAL, NOTHING_SEEN, Durations, ReactorLag
from bbs.web.rates import REMEMBERED, CounterRates, newly_failed, newly_ready
from bbs.web.resources import column, in_sentences, problems
from bbs.web.snapshot import (
    MOST_SHOWN,
    REFUSED,
    Measured,
    PageView,
    essence,
    longest_wait,
    people,
    shown_servers,
    snapshot,
)
from tests.memory_service import POLICY

SERVER = HeardServer(
    id="0123456789abcdef",
    state=State.READY,
    scope="local:1",
    host="host",
    port=1,
    capacity=10,
    taken=3,
    beats=7,
    created=100.0,
    ready=102.1,
    leaving=False,
    drain_asked=False,
    reason="",
    instance_id=None,
    kind=None,
    counts={"messages": 0},
    figures={},
)

QUIET = NOTHING_SEEN

NAMES = ("joins", "leaves")

COUNTERS = tuple(map(Counter, NAMES))

INFO = ServiceInfo(
    service="lobby", counters=COUNTERS, login_server="me", policy=POLICY, may_act=True
)

KILLED = "ended: killed by SIGKILL"

SERIES = (*OF_FLEET, *OWN, "joins_per_second", "leaves_per_second")


class CountsOfServers(SynchronousTestCase):
    def counts(self, *looks: dict[str, int], window: float = 60.0) -> CounterRates:
        """What is known after `looks`, one each ten seconds."""
        counts = CounterRates(window)
        for number, look in enumerate(looks):
            counts.look(10.0 * number, look)
        return counts

    def test_nothing_yet(self) -> None:
        counts = CounterRates(60.0)
        self.assertEqual((counts.grown(), counts.rate(), counts.rate_of("a")), (0, 0.0, None))

    def test_what_was_there_before_the_first_look_is_not_new(self) -> None:
        counts = self.counts({"a": 100})
        self.assertEqual((counts.total, counts.grown(), counts.rate()), (0, 0, 0.0))
        self.assertIsNone(counts.rate_of("a"))

    def test_several_are_added_up(self) -> None:
        counts = self.counts({"a": 100, "b": 10}, {"a": 105, "b": 25})
        self.assertEqual((counts.grown(), counts.rate()), (20, 2.0))
        self.assertEqual((counts.rate_of("a"), counts.rate_of("b")), (0.5, 1.5))
        self.assertIsNone(counts.rate_of("c"))

    def test_one_that_goes_takes_nothing_along(self) -> None:
        self.assertEqual(self.counts({"a": 100, "b": 10}, {"a": 101, "b": 12}, {"a": 101}).total, 3)

    def test_one_that_comes_has_counted_since_it_started(self) -> None:
        self.assertEqual(self.counts({"a": 100}, {"a": 100, "b": 4}).total, 4)

    def test_one_out_of_sight_for_a_while(self) -> None:
        self.assertEqual(self.counts({"a": 100}, {}, {"a": 103}).total, 3)

    def test_one_that_counts_from_nought_again(self) -> None:
        self.assertEqual(self.counts({"a": 100}, {"a": 2}, {"a": 5}).total, 3)

    def test_the_window(self) -> None:
        looks = [{"a": number} for number in range(20)]
        self.assertEqual(self.counts(*looks).grown(), 6)
        self.assertEqual(self.counts(*looks, window=10.0).rate(), 0.1)
        self.assertEqual(self.counts(*looks).total, 19)

    def test_looks_at_one_moment(self) -> None:
        counts = CounterRates(60.0)
        counts.look(1.0, {"a": 1})
        counts.look(1.0, {"a": 2})
        self.assertEqual((counts.rate(), counts.rate_of("a")), (0.0, None))

    def test_memory_is_bounded(self) -> None:
        counts = CounterRates(60.0)
        for number in range(REMEMBERED + 500):
            counts.look(float(number), {"a": 1, f"b{number}": 1})
        # One that is not remembered counts as one that comes, and has counted one.
        total = counts.total
        self.assertEqual(total, number)
        counts.look(float(number + 1), {"a": 1, "b500": 1, f"b{number}": 1})
        self.assertEqual(counts.total, total)
        counts.look(float(number + 2), {"a": 1, "b0": 1})
        self.assertEqual(counts.total, total + 1)

    def test_of_more_servers_than_are_remembered(self) -> None:
        """What a server has counted so far is not counted again at each look."""
        counts = CounterRates(60.0)
        for look in range(3):
            counts.look(float(look), {f"{n}": 100 + look for n in range(2 * REMEMBERED)})
        self.assertEqual(counts.total, 2 * 2 * REMEMBERED)


class Gauges(SynchronousTestCase):
    def test_spans(self) -> None:
        spans = Durations()
        self.assertEqual((spans.mean(), spans.longest(), spans.longest_lately()), (None, 0.0, 0.0))
        for seconds in (0.1, 0.5, 0.3):
            spans.note(seconds)
        self.assertEqual((spans.mean(), spans.longest(), spans.longest_lately()), (None, 0.0, 0.5))
        spans.next_interval()
        self.assertAlmostEqual(spans.mean() or 0.0, 0.3)
        spans.note(0.2)
        self.assertEqual((spans.longest(), spans.longest_lately()), (0.5, 0.5))
        spans.next_interval()
        self.assertEqual((spans.mean(), spans.longest(), spans.longest_lately()), (0.2, 0.2, 0.2))

    def test_reactor_lag(self) -> None:
        clock = Clock()
        told: list[float] = []
        lag = ReactorLag(clock, told.append)
        lag.startService()
        clock.advance(LAG_INTERVAL)
        clock.advance(LAG_INTERVAL + 0.25)
        lag.stopService()
        self.assertEqual([round(seconds, 6) for seconds in told], [0.0, 0.25])
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_a_clock_that_was_set_back(self) -> None:
        told: list[float] = []
        clock = Clock()
        clock.advance(20.0)
        ReactorLag(clock, told.append).startService()
        (call,) = clock.calls
        clock.rightNow = 10.0
        call.func(*call.args)
        self.assertEqual(told, [0.0])


class TheLastHour(SynchronousTestCase):
    def point(self, value: float | None) -> dict[str, float | None]:
        return dict.fromkeys(SERIES, value)

    def test_empty(self) -> None:
        history = LastHour(NAMES).as_json()
        self.assertEqual((history["step"], history["end"]), (STEP, 0.0))
        series: Any = history["series"]
        self.assertEqual(
            {name: len(values) for name, values in series.items()}, dict.fromkeys(SERIES, POINTS)
        )
        self.assertEqual(series["waiting"], [None] * POINTS)

    def test_points(self) -> None:
        history = LastHour(NAMES)
        self.assertEqual(
            history.add(1000.04, 1000.04, self.point(1)), {"end": 1000.0, "series": self.point(1)}
        )
        history.add(1010.3, 1010.3, self.point(2))
        series: Any = history.as_json()["series"]
        self.assertEqual(series["servers"][-3:], [None, 1, 2])
        self.assertEqual(history.as_json()["end"], 1010.3)

    def test_an_hour_and_no_more(self) -> None:
        history = LastHour(NAMES)
        for number in range(POINTS + 5):
            history.add(STEP * number, STEP * number, self.point(number))
        series: Any = history.as_json()["series"]
        self.assertEqual(series["servers"], [*range(5, POINTS + 5)])

    def test_the_sum_of_a_series(self) -> None:
        history = LastHour(NAMES)
        for number, value in enumerate((1, None, 3)):
            history.add(STEP * number, STEP * number, self.point(value))
        self.assertEqual(history.sum("launches"), 4)

    def test_a_gap(self) -> None:
        history = LastHour(NAMES)
        history.add(1000.0, 1000.0, self.point(1))
        history.add(1040.0, 1040.0, self.point(2))
        series: Any = history.as_json()["series"]
        self.assertEqual(series["servers"][-5:], [1, None, None, None, 2])
        history.add(1040.0 + 10 * POINTS * STEP, 1040.0 + 10 * POINTS * STEP, self.point(3))
        series = history.as_json()["series"]
        self.assertEqual(series["servers"], [None] * (POINTS - 1) + [3])

    def test_a_clock_that_is_set_makes_no_gap(self) -> None:
        history = LastHour(NAMES)
        for number, ahead in enumerate((0.0, -3600.0, 3600.0)):
            now = 10_000.0 + number * STEP
            history.add(now, now + ahead, self.point(number))
        series: Any = history.as_json()["series"]
        self.assertEqual(series["servers"][-4:], [None, 0, 1, 2])
        self.assertEqual(history.as_json()["end"], 10_000.0 + 2 * STEP + 3600.0)


class Launches(SynchronousTestCase):
    def test_which_have_succeeded_or_failed(self) -> None:
        launching = replace(SERVER, state=State.LAUNCHING, ready=None)
        failed = replace(launching, state=State.LOST)
        by_hand = replace(SERVER, id="other", scope=OPERATOR)
        before, now, bad = (
            replace(QUIET, servers=each)
            for each in ((launching,), (SERVER, by_hand), (failed, replace(failed, id="new")))
        )
        self.assertEqual([round(each.seconds, 3) for each in newly_ready(before, now)], [2.1])
        self.assertEqual([round(each.seconds, 3) for each in newly_ready(QUIET, now)], [2.1])
        self.assertEqual((newly_ready(now, now), newly_ready(before, bad)), ([], []))
        self.assertEqual((newly_failed(before, bad), newly_failed(bad, bad)), (2, 0))
        self.assertEqual(newly_failed(QUIET, now), 0)


class Snapshots(SynchronousTestCase):
    def view(self, overview: Overview, **change: Any) -> PageView:
        measured = Measured(
            logins_per_minute=0,
            per_second={"joins": 0.0, "leaves": 0.0},
            rates_of_server=lambda _: {},
            leases={},
            launches=0,
            reactor_lag=0.0,
            database_time=None,
        )
        return PageView(
            at=1000.0,
            seen_at=999.0,
            overview=overview,
            database=True,
            brokers=BrokerCount(1, 1),
            measured=replace(measured, **change),
        )

    def test_waiting_and_people(self) -> None:
        seen = replace(QUIET, servers=(SERVER, SERVER), waiting=2, waiting_since=995.4)
        self.assertEqual((longest_wait(self.view(seen)), people(self.view(seen))), (4.6, 6))
        ahead = replace(QUIET, waiting=1, waiting_since=1001.0)
        self.assertEqual(longest_wait(self.view(ahead)), 0.0)
        self.assertIsNone(longest_wait(self.view(QUIET)))

    def shown(self, seen: Overview, operator: str | None = None, **change: Any) -> Any:
        """The snapshot for `operator`, where something else was measured."""
        return snapshot(self.view(seen, **change), INFO, operator)

    def test_places_that_are_to_be_kept_free(self) -> None:
        """As configured, or as whichever login server says that keeps the fleet."""
        controller = LoginServerRow(id="a", logins=1, counts={}, figures={"spare": 17, "moved": 4})
        fleet = replace(QUIET, login_servers=(replace(controller, id="b", figures={}), controller))
        for foresees, spare in ((False, POLICY.spare), (True, 17)):
            info = replace(INFO, policy=replace(POLICY, foresees=foresees))
            shown: Any = snapshot(self.view(fleet), info, None)
            self.assertEqual(shown["spare"], spare)

    def test_versions_of_login_servers(self) -> None:
        older = LoginServerRow(id="a", logins=1, counts={})
        apart = replace(older, id="b", version="0.3.0", figures={FLEET_ONLY: 1})
        fleet = replace(QUIET, login_servers=(older, apart))
        shown = self.shown(fleet)
        self.assertEqual(shown["login_servers"], [{"id": "a", "version": None}])
        self.assertEqual(shown["fleet_processes"], [{"id": "b", "version": "0.3.0"}])

    def test_which_servers_could_be_replaced_or_are_to_be(self) -> None:
        """Those that take people, were launched by the fleet and do not end anyway."""
        old = replace(SERVER, version="0.0.9")
        asked = replace(old, replace_asked=True)
        goes = replace(asked, state=State.DRAINING, cause=DrainCause.REPLACEMENT)
        cases: tuple[tuple[HeardServer, int, int], ...] = (
            (old, 1, 0),
            (replace(old, version=""), 1, 0),
            (replace(old, version=__version__), 0, 0),
            (replace(old, scope=OPERATOR), 0, 0),
            (replace(old, state=State.WARM), 0, 0),
            (replace(old, state=State.GONE), 0, 0),
            (replace(old, drain_asked=True), 0, 0),
            (replace(old, warned="spot: interrupted at 12:34 UTC"), 0, 0),
            (replace(old, warned="spot: rebalance recommended"), 1, 0),
            (asked, 0, 1),
            (replace(asked, version=__version__), 0, 1),
            (replace(asked, state=State.WARM), 0, 1),
            (replace(asked, state=State.GONE), 0, 0),
            (goes, 0, 0),
            (replace(goes, cause=DrainCause.OPERATOR, reason="replaced: so"), 0, 1),
        )
        for server, outdated, marked in cases:
            shown = self.shown(replace(QUIET, servers=(server,)))["replacing"]
            self.assertEqual((shown["outdated"], shown["asked"]), (outdated, marked), server)

    def test_for_what_a_replacement_waits(self) -> None:
        controller = LoginServerRow(id="a", logins=1, counts={}, figures={"delay": 7})
        waits = replace(
            QUIET, servers=(replace(SERVER, replace_asked=True),), login_servers=(controller,)
        )
        for figures, reason in (
            ({"delay": 7}, Blocker.FULL.text),
            ({"delay": 0}, None),
            ({"delay": 98}, UNKNOWN_BLOCKER),
        ):
            fleet = replace(waits, login_servers=(replace(controller, figures=figures),))
            self.assertEqual(self.shown(fleet)["replacing"]["waits_for"], reason)
        self.assertIsNone(self.shown(replace(waits, servers=()))["replacing"]["waits_for"])
        calm = replace(waits, login_servers=(replace(controller, figures={}),))
        self.assertNotEqual(essence(self.view(waits)), essence(self.view(calm)))

    def test_which_fleet_it_is_is_for_operators_where_it_matters(self) -> None:
        clouds = replace(INFO, outlives=True)
        fleet = replace(QUIET, fleet="a1", copy_of=SourceFleet("b2", 9.0))
        for info, operator, told in (
            (clouds, "liz", {"id": "a1", "copy_of": "b2"}),
            (clouds, None, None),
            (INFO, "liz", None),
        ):
            shown: Any = snapshot(self.view(fleet), info, operator)
            self.assertEqual(shown["fleet"], told)
        alone: Any = snapshot(self.view(replace(fleet, copy_of=None)), clouds, "liz")
        self.assertEqual(alone["fleet"], {"id": "a1", "copy_of": None})
        self.assertNotEqual(essence(self.view(fleet)), essence(self.view(QUIET)))

    def test_what_a_provider_says_is_for_operators(self) -> None:
        arn = "you are arn:aws:sts::123456789012:assumed-role/bbs"
        for reason, public in (
            (f"refused: {arn}", "refused"),
            (f"failed: {arn}", "failed"),
            ("idle for 120 s", "idle for 120 s"),
            ("", ""),
        ):
            server = replace(SERVER, reason=reason)
            seen = replace(QUIET, servers=(server,), refusal=Hold(arn, 1.0))
            stranger, operator = self.shown(seen), self.shown(seen, "liz")
            self.assertEqual(stranger["servers"][0]["reason"], public)
            self.assertEqual(stranger["refusal"], {"reason": REFUSED, "until": 1.0})
            self.assertNotIn("aws", str(stranger))
            self.assertEqual(operator["servers"][0]["reason"], reason)
            self.assertEqual(operator["refusal"], {"reason": arn, "until": 1.0})

    def test_which_are_to_be_replaced(self) -> None:
        marked = replace(SERVER, replace_asked=True, version="0.3.0")
        shown = self.shown(replace(QUIET, servers=(marked, SERVER)))["servers"]
        self.assertEqual(
            [(each["replace_asked"], each["version"]) for each in shown],
            [(True, "0.3.0"), (False, None)],
        )

    def test_of_many_servers_some(self) -> None:
        """First those with which something is the matter, then the oldest; and how many in all."""
        well = [replace(SERVER, id=f"{n:032x}", port=n + 1) for n in range(3 * MOST_SHOWN)]
        lost = replace(SERVER, id="lost", state=State.LOST)
        asked = replace(SERVER, id="asked", drain_asked=True)
        gone = replace(SERVER, id="gone", state=State.GONE, reason="drained")
        state = self.shown(replace(QUIET, servers=(*well, gone, asked, lost)))
        ids = [each["id"] for each in state["servers"]]
        self.assertEqual(ids, ["lost", "asked", *(each.id for each in well[: MOST_SHOWN - 2])])
        self.assertEqual(state["states"], {"ready": 3 * MOST_SHOWN + 1, "lost": 1, "gone": 1})
        self.assertEqual(state["places"], 10 * (3 * MOST_SHOWN + 1))
        self.assertLess(len(json.dumps(state)), 60_000)

    def test_finding_one_of_many(self) -> None:
        six = replace(SERVER, id="six", host="::1", instance_id="i-66")
        servers = [*[SERVER] * 3 * MOST_SHOWN, six]
        for search in ("si", "i-66", "[::1]"):
            self.assertEqual(shown_servers(servers, search), [six])
        self.assertEqual(shown_servers(servers, "nobody"), [])
        self.assertEqual(len(shown_servers(servers)), MOST_SHOWN)

    def test_addresses(self) -> None:
        six = replace(SERVER, id="six", host="::1")
        servers = self.shown(replace(QUIET, servers=(SERVER, six)))["servers"]
        self.assertEqual([each["address"] for each in servers], ["host:1", "[::1]:1"])

    def test_what_is_counted(self) -> None:
        rates = {"joins": 1.234, "leaves": 0.0}
        state = self.shown(
            replace(QUIET, servers=(SERVER,)),
            per_second=rates,
            rates_of_server=lambda _: {"joins": 0.5, "leaves": None},
        )
        self.assertEqual(
            state["counters"], {"joins": {"per_second": 1.23}, "leaves": {"per_second": 0.0}}
        )
        (server,) = state["servers"]
        self.assertEqual(
            server["counters"], {"joins": {"per_second": 0.5}, "leaves": {"per_second": None}}
        )
        for shown in (state, server):
            self.assertEqual([name for name in shown if name.endswith("_per_second")], [])

    def test_a_counter_with_a_member_of_its_own(self) -> None:
        waves = Counter("waves", member="greetings_per_second")
        other = replace(SERVER, id="not seen yet")
        view = self.view(
            replace(QUIET, servers=(SERVER, other)),
            per_second={"joins": 2.0, "waves": 1.234},
            rates_of_server={SERVER.id: {"joins": 0.5, "waves": None}, other.id: {}}.__getitem__,
        )
        info = replace(INFO, counters=(Counter("joins"), waves))
        state: Any = snapshot(view, info, None)
        self.assertEqual(state["greetings_per_second"], 1.23)
        self.assertEqual(
            state["counters"], {"joins": {"per_second": 2.0}, "waves": {"per_second": 1.23}}
        )
        first, second = state["servers"]
        self.assertIsNone(first["greetings_per_second"])
        self.assertNotIn("greetings_per_second", second)

    def test_the_column_of_what_servers_count(self) -> None:
        for counters, title in (
            (("messages",), "Messages/s"),
            (("games_won",), "Games won/s"),
            (("joins", "leaves"), "Counted/s"),
        ):
            self.assertEqual(column([*map(Counter, counters)]), title)

    def test_in_sentences(self) -> None:
        draining = replace(SERVER, state=State.DRAINING)
        view = self.view(replace(QUIET, servers=(draining, SERVER, SERVER), waiting=2))
        self.assertEqual(
            in_sentences(view, ()),
            "At 1970-01-01 00:16:39 UTC: servers: 2 ready, 1 draining; people online: 9; "
            "free places: 14; people waiting: 2.",
        )
        away = replace(self.view(QUIET), database=False)
        sentences = in_sentences(away, problems(away, INFO))
        self.assertIn("servers: none; ", sentences)
        self.assertTrue(sentences.startswith("ALARM: The database is away: nobody can log in"))
        self.assertIn("Look at the database's log, and start it again.", sentences)

    def test_why_a_server_ends_is_for_everybody_but_what_its_provider_says(self) -> None:
        killed = replace(SERVER, state=State.LOST, cause=LossCause.ENDED, reason=KILLED)
        refused = replace(killed, cause=LossCause.REFUSED, reason="refused: you are arn:aws:x")
        seen = replace(QUIET, servers=(SERVER, killed, refused))
        for operator, words in ((None, ""), ("liz", " (you are arn:aws:x)")):
            told = [each["why"] for each in self.shown(seen, operator)["servers"]]
            expected = f"could not be launched: the provider refused it{words}"
            self.assertEqual(told, [None, "was killed (SIGKILL)", expected])

    def test_the_disk_and_the_last_backup(self) -> None:
        view = replace(self.view(replace(QUIET, backed_up=7.0)), disk=DiskSpace(5, 3, 9))
        file = replace(INFO, has_file=True)
        shown: Any = snapshot(view, file, None)
        self.assertEqual(shown["disk"], {"free": 5, "floor": 3, "whole": 9})
        self.assertEqual(shown["backup"], {"at": 7.0})
        never: Any = snapshot(self.view(QUIET), file, None)
        self.assertEqual((never["disk"], never["backup"]), (None, {"at": None}))
        # Operators of a MySQL have their own tools, of which nothing is known.
        self.assertIsNone(self.shown(QUIET)["backup"])

    def test_what_makes_another_one(self) -> None:
        first = LoginServerRow(id="a", logins=0, counts={}, version="0.3.0")
        seen = replace(QUIET, servers=(SERVER,), login_servers=(first,))
        same = replace(
            seen,
            servers=(replace(SERVER, beats=8, counts={"messages": 9}),),
            login_servers=(replace(first, logins=1),),
        )
        self.assertEqual(essence(self.view(seen)), essence(self.view(same)))
        changes: tuple[dict[str, Any], ...] = (
            {"servers": (replace(SERVER, taken=4),)},
            {"servers": (replace(SERVER, state=State.DRAINING),)},
            {"servers": (replace(SERVER, drain_asked=True),)},
            {"servers": (replace(SERVER, replace_asked=True),)},
            {"servers": (replace(SERVER, version="0.3.0"),)},
            {"servers": (SERVER, replace(SERVER, id="another"))},
            {"login_servers": (replace(first, version="0.3.1"),)},
            {"waiting": 1},
            {"refusal": Hold("over quota", 1.0)},
            {"usual": 2.0},
            {"who": {}},
            {"backed_up": 1.0},
            {"failures": Failures(count=1)},
            {"missed": ("10.0.0.2:22223",)},
        )
        for change in changes:
            other = replace(seen, **change)
            self.assertNotEqual(essence(self.view(seen)), essence(self.view(other)), change)
