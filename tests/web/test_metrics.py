"""`/metrics`, and the alerts and the Grafana dashboard that are made of them."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager
from typing import Any

import yaml
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from bbs.core import tracing
from bbs.core.values import State
from bbs.storage.models import Lease, Server
from tests.paths import CHECKOUT
from tests.web.case import AwayCase, PageCase

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

DASHBOARD = CHECKOUT / "docs" / "grafana" / "bbs.json"
ALERTS = CHECKOUT / "deploy" / "prometheus" / "alerts.yml"
WEB = CHECKOUT / "docs" / "web.md"

TARGETS = {"job", "instance", "le"}
"""Labels that Prometheus adds to whatever it scrapes, and that of a histogram's bounds."""


def add_server(id: str, **columns: Any) -> None:
    """An app server that was launched, and is not by the provider of the service."""
    Server.insert(**{"id": id, "scope": "x", "capacity": 1, "created": 0.0, **columns}).execute()


class OneTrace:
    """Tracing by which everything is part of one span, which is its own."""

    recorded = True

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def going_on(self, case: PageCase) -> AbstractContextManager[object]:
        """It is what is done in a `with` block."""
        itself: Any = self
        tracing.use(itself)
        case.addCleanup(tracing.end)
        return tracing.span("test", root=True)

    def begin(self, *_: object) -> OneTrace:
        return self

    def past(self, *_: object) -> None: ...
    def note(self, **attributes: object) -> None: ...
    def failed(self, why: str = "") -> None: ...
    def end(self) -> None: ...


class MetricsCase(PageCase):
    def samples(self) -> dict[str, float]:
        """What a scrape in Prometheus' own text gives: values by name and labels."""
        text = self.browser().get("/metrics").body
        return {
            sample.name + "".join(f"{{{value}}}" for value in sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


class Scraping(MetricsCase):
    def test_formats(self) -> None:
        plain = self.browser().get("/metrics")
        self.assertTrue(plain.headers["content-type"].startswith("text/plain; version="))
        open = self.browser().get("/metrics", Accept=f"{OPENMETRICS}, text/plain;q=0.5")
        self.assertTrue(open.headers["content-type"].startswith("application/openmetrics-text"))
        self.assertTrue(open.body.endswith("# EOF\n"))
        names = {family.name for family in openmetrics.text_string_to_metric_families(open.body)}
        self.assertIn("bbs_fleet_servers", names)

    def test_who_takes_what_there_is_not(self) -> None:
        for accept in ("application/openmetrics-text; version=x", "image/png", ";=,", "\udcff", ""):
            answer = self.browser().get("/metrics", Accept=accept)
            self.assertTrue(answer.headers["content-type"].startswith("text/plain; "), accept)

    def test_the_fleet(self) -> None:
        self.service.people("ann", "bob")
        self.pass_time(11)
        found = self.samples()
        expected = {
            "bbs_database_up": 1,
            "bbs_broker_up": 1,
            "bbs_brokers_connected": 1,
            "bbs_brokers_wanted": 1,
            "bbs_fleet_servers{ready}": 1,
            "bbs_fleet_servers{launching}": 0,
            "bbs_fleet_servers{draining}": 0,
            "bbs_fleet_servers{lost}": 0,
            "bbs_fleet_servers_maximum": 20,
            "bbs_fleet_places": 2,
            "bbs_fleet_places_free": 0,
            "bbs_fleet_places_spare": 0,
            "bbs_fleet_moves_total": 0,
            "bbs_fleet_people": 2,
            "bbs_fleet_waiting_people": 0,
            "bbs_fleet_longest_wait_seconds": 0,
            "bbs_fleet_launch_refused": 0,
            "bbs_logins_total": 2,
        }
        self.assertEqual({name: found[name] for name in expected}, expected)

    def test_what_is_counted(self) -> None:
        self.pass_time(11)
        tokens = self.service.people("ann", "bob")
        at_home = self.service.serving(tokens["ann"]).peer()
        at_home.ask(f"create-group {tokens['ann']} chess")
        at_home.ask(f"send-group {tokens['ann']} chess e4")
        self.operator().post("/servers")
        self.pass_time(12)
        found = self.samples()
        self.assertEqual(found["bbs_fleet_logins_total"], 2)
        self.assertEqual(found["bbs_fleet_messages_total"], 1)
        self.assertEqual(found["bbs_fleet_launch_seconds_count"], 1)
        self.assertEqual(found["bbs_fleet_launch_failures_total"], 0)
        self.assertGreater(found["bbs_reactor_lag_seconds_count"], 100)
        self.assertGreater(found["bbs_database_call_seconds_count"], 10)

    def test_a_launch_that_failed(self) -> None:
        self.watcher()
        self.pass_time(2)
        for id in ("first", "second"):
            add_server(id, state=State.GONE, ended=self.service.wall())
        self.pass_time(2)
        self.assertEqual(self.samples()["bbs_fleet_launch_failures_total"], 2)

    def test_nobody_is_named(self) -> None:
        self.service.people("ann", "bob")
        self.operator()
        self.pass_time(11)
        text = self.browser().get("/metrics").body
        for secret in ("ann", "bob", "liz", *self.server_ids(), self.service.me.id):
            self.assertIsNone(re.search(rf"\b{secret}\b", text), secret)


class WithoutADatabase(MetricsCase, AwayCase):
    def test_it_answers_at_once(self) -> None:
        """From what was seen last, and says so."""
        self.service.people("ann")
        self.pass_time(11)
        before = self.samples()
        self.go()
        self.pass_time(2)
        found = self.samples()
        self.assertEqual((before["bbs_database_up"], found["bbs_database_up"]), (1, 0))
        self.assertEqual((found["bbs_fleet_people"], found["bbs_fleet_servers{ready}"]), (1, 1))
        seen = found["bbs_fleet_seen_timestamp_seconds"]
        self.assertEqual(seen, before["bbs_fleet_seen_timestamp_seconds"])

    def test_before_the_first_look(self) -> None:
        self.stop_page()
        self.go()
        self.page = self.make_page()
        self.page.startService()
        found = self.samples()
        self.assertEqual(found["bbs_fleet_seen_timestamp_seconds"], 0)
        self.assertEqual(found["bbs_fleet_servers{ready}"], 0)


class Traced(MetricsCase):
    """In OpenMetrics, figures lead to traces that they are of."""

    def exemplars(self) -> dict[str, dict[str, str]]:
        """The last exemplar of each histogram that has one."""
        body = self.browser().get("/metrics", Accept=OPENMETRICS).body
        return {
            family.name: sample.exemplar.labels
            for family in openmetrics.text_string_to_metric_families(body)
            for sample in family.samples
            if sample.exemplar
        }

    def test_what_is_part_of_one(self) -> None:
        now = self.service.wall()
        with OneTrace(f"00-{'4b' * 16}-{'c7' * 8}-01").going_on(self):
            self.watcher()
            self.pass_time(1)
            self.service.people("ann")
            launched = {"state": State.READY, "ready": now}
            trace = f"00-{'5c' * 16}-{'d8' * 8}-01"
            add_server("traced", created=now - 2.5, trace=trace, **launched)
            add_server("not", created=now - 3.0, **launched)
            self.pass_time(2)
        this = {"trace_id": "4b" * 16, "span_id": "c7" * 8}
        self.assertEqual(
            self.exemplars(),
            {
                "bbs_database_call_seconds": this,
                "bbs_request_seconds": this,
                "bbs_place_seconds": this,
                "bbs_fleet_launch_seconds": {"trace_id": "5c" * 16, "span_id": "d8" * 8},
            },
        )
        self.assertNotIn("4b4b", self.browser().get("/metrics").body)

    def test_what_nobody_keeps(self) -> None:
        """A trace that is not recorded cannot be looked at."""
        with OneTrace(f"00-{'4b' * 16}-{'c7' * 8}-00").going_on(self):
            self.service.people("ann")
        self.assertEqual(self.exemplars(), {})

    def test_without_traces(self) -> None:
        self.service.people("ann")
        self.assertEqual(self.exemplars(), {})


class Timed(MetricsCase):
    """How long requests take, and people wait for places."""

    def test_requests(self) -> None:
        """By command, and what is none is not among them: anybody could make up thousands."""
        self.service.people("ann")
        stranger = self.service.peer()
        for line in ("ping", "ping", "pinge", "login nobody x"):
            stranger.ask(line)
        found = self.samples()
        counts = {name: value for name, value in found.items() if "request_seconds_count" in name}
        self.assertEqual(
            {name.split("{")[1].rstrip("}"): value for name, value in counts.items()},
            {"register": 1, "login": 2, "ping": 2},
        )

    def test_places(self) -> None:
        """Those who find one, and those for whom a server is launched."""
        self.service.people("ann", "bob")
        late = self.service.peer()
        late.ask("register eve eve")
        late.say("login eve eve")
        self.pass_time(3)
        self.assertEqual([reply["status"] for reply in late.heard()], [0])
        found = self.samples()
        self.assertEqual(found["bbs_place_seconds_count"], 3)
        self.assertEqual(found["bbs_place_seconds_bucket{0.005}"], 2)

    def test_nobody_is_told_while_there_is_no_page(self) -> None:
        timing = self.service.login.timing
        self.stop_page()
        self.assertEqual((timing.requests, timing.places), (None, None))


class Queries(MetricsCase):
    """Alerts and the dashboard ask for what there is: metrics, their labels, what these say."""

    def alerts(self) -> dict[str, str]:
        """What `deploy/prometheus/alerts.yml` asks for, by the alerts' names."""
        (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
        return {rule["alert"]: rule["expr"] for rule in group["rules"]}

    def labels(self) -> dict[str, dict[str, set[str]]]:
        """Of every metric there is its labels, and what each of them says."""
        self.service.people("ann")  # Of requests there is nothing before there was one.
        text = self.browser().get("/metrics").body
        found: dict[str, dict[str, set[str]]] = {"up": {}}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                labels = found.setdefault(sample.name, {})
                for name, value in sample.labels.items():
                    labels.setdefault(name, set()).add(value)
        return found

    def hold(self, query: str) -> None:
        """Hold `query` to what there is."""
        there, used = self.labels(), set[str]()
        for metric, wanted in re.findall(r"\b(bbs_\w+|process_\w+|up)\b(?:\{([^}]*)\})?", query):
            self.assertIn(metric, there, query)
            used |= {*there[metric]}
            for label, sign, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', wanted):
                if label != "job":
                    self.assertEqual(sign, "=")
                    self.assertIn(value, there[metric][label], query)
        named = {
            label.strip()
            for names in re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
            for label in names.split(",")
            if label
        }
        self.assertEqual(named - used - TARGETS, set(), query)

    def test_alerts(self) -> None:
        alerts = self.alerts()
        self.assertEqual(len(alerts), ALERTS.read_text().count("- alert:"))
        self.assertGreater(len(alerts), 10)
        for query in alerts.values():
            self.hold(query)

    def test_the_dashboard(self) -> None:
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", ()):
                self.hold(target["expr"])

    def test_what_is_not_there(self) -> None:
        for query in (
            "max(bbs_fleet_alarms) == 1",
            'max(bbs_fleet_servers{state="gone"})',
            "max by (cause) (bbs_fleet_people)",
        ):
            self.assertRaises(self.failureException, self.hold, query)

    def test_they_are_documented(self) -> None:
        """In the order of the file."""
        table = re.findall(r"^\| `(Bbs\w+)` \|", WEB.read_text(), re.MULTILINE)
        self.assertEqual(table, [*self.alerts()])

    def test_points_that_lead_to_traces(self) -> None:
        """Grafana is to ask for the exemplars of whatever has them."""
        traced = ("database_call", "request", "place", "fleet_launch")
        for panel in json.loads(DASHBOARD.read_text())["panels"]:
            for target in panel.get("targets", ()):
                has = any(f"bbs_{name}_seconds_bucket" in target["expr"] for name in traced)
                self.assertEqual(target.get("exemplar", False), has, target["expr"])


class Dashboard(MetricsCase):
    """`docs/grafana/bbs.json` asks for nothing that there is not."""

    def expressions(self) -> list[str]:
        """Every query in it."""
        found: list[str] = []

        def look(part: Any) -> None:
            if isinstance(part, dict):
                found.extend(value for key, value in part.items() if key == "expr")
                found.extend(
                    value
                    for key, value in part.items()
                    if key == "query" and isinstance(value, str) and "(" in value
                )
            for each in part.values() if isinstance(part, dict) else part:
                if isinstance(each, dict | list):
                    look(each)

        look(json.loads(DASHBOARD.read_text()))
        return found

    def names(self) -> set[str]:
        """The metrics that its queries are of."""
        return {
            name
            for expression in self.expressions()
            for name in re.findall(r"\b(?:bbs|process)_\w+", expression)
        }

    def test_only_what_exists(self) -> None:
        self.service.people("ann")  # Of requests there is nothing before there was one.
        self.assertGreater(len(self.expressions()), 10)
        there = {name.partition("{")[0] for name in self.samples()}
        self.assertEqual(self.names() - there, set())

    def test_everything_of_the_services_is_on_it(self) -> None:
        self.service.people("ann")
        there = {name.partition("{")[0] for name in self.samples()}
        ours = {name for name in there if name.startswith("bbs_")}
        # What the board counts has a metric of its own.
        helpers = re.compile("_(created|sum|count|bucket|total)$|^bbs_(info|fleet_counted_total)$")
        shown = {helpers.sub("", name) for name in self.names()}
        self.assertEqual({helpers.sub("", name) for name in ours} - shown - {""}, set())

    def test_what_every_login_server_says_is_not_added_up(self) -> None:
        """Each counts the fleet's launches and logins: their sum is of no use, nor is a count."""
        for expression in self.expressions():
            if "bbs_fleet_" in expression:
                self.assertNotIn("sum", expression)
                counts = re.search(r"bbs_fleet_\w+_(total|bucket|sum|count)\b", expression)
                self.assertEqual(bool(counts), bool(re.search("rate|increase", expression)))

    def test_states_that_it_names(self) -> None:
        states = {name[:-1].partition("{")[2] for name in self.samples() if "servers{" in name}
        named = set(re.findall('state="(\\w+)"', " ".join(self.expressions())))
        self.assertEqual(named - states, set())

    def test_it_can_be_imported(self) -> None:
        board = json.loads(DASHBOARD.read_text())
        ids = [panel["id"] for panel in board["panels"]]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertTrue(all(panel["title"] for panel in board["panels"]))
        sources = {
            target["datasource"]["uid"]
            for panel in board["panels"]
            for target in panel.get("targets", ())
        }
        self.assertEqual(sources, {"${source}"})
        self.assertIsNone(board["id"])


class Refused(MetricsCase):
    def test_a_refusal(self) -> None:
        self.pass_time(11)
        self.assertEqual(self.samples()["bbs_fleet_launch_refused"], 0)
        Lease.update(refusal="over quota", refused_until=9e9).execute()
        self.pass_time(11)
        self.assertEqual(self.samples()["bbs_fleet_launch_refused"], 1)
