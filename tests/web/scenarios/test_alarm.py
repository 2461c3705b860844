"""What is wrong, in words with what to do, and the service in one sentence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.core.certificates import DAY, note_certificate
from bbs.core.values import DiskState, State
from bbs.protocols.stomp.redundant import BrokerCount
from bbs.rules.fleet_admin import Hold
from bbs.rules.fleets import SourceFleet
from bbs.rules.overview import Failures, LoginServerRow, Overview
from bbs.storage.database import DiskSpace
from bbs.storage.models import Lease, Place, Secret
from bbs.web.context import ServiceInfo
from bbs.web.lacks import PATIENCE, REMEMBERED, RETURNS, Shortage
from bbs.web.snapshot import (
    Cause,
    Fault,
    Level,
    Measured,
    PageView,
    Summary,
    alarms,
    controller_deadline,
    summary,
    warnings,
)
from tests.memory_service import POLICY
from tests.web.case import AwayCase
from tests.web.test_metrics import WEB, MetricsCase
from tests.web.test_rates import INFO, SERVER
from tests.web.test_rates import QUIET as EMPTY

FULL = replace(SERVER, id="full", capacity=3)
"""A server that is ready, and has no free place."""

QUIET = replace(EMPTY, servers=(FULL,))
"""As many servers as there are at least, and nobody waits."""

LOGIN: Any = {"id": "me", "logins": 0, "counts": {}}

LAUNCHING = replace(SERVER, id="new", state=State.LAUNCHING, ready=None, capacity=10)


class Causes(SynchronousTestCase):
    def cries(
        self, seen: Overview, *, silence: float = 0.0, short_for: float = 0.0, **changed: Any
    ) -> list[Cause | Fault]:
        """What there is an alarm for, with a `changed` policy."""
        policy = replace(POLICY, **changed)
        return [alarm.cause for alarm in alarms(seen, policy, silence, True, short_for=short_for)]

    def test_all_is_well(self) -> None:
        self.assertEqual(self.cries(QUIET), [])
        self.assertEqual(self.cries(replace(QUIET, waiting=3)), [])

    def test_the_provider_refuses(self) -> None:
        refused = replace(QUIET, waiting=1, refusal=Hold("no credit", 1.0))
        self.assertEqual(self.cries(refused), [Cause.REFUSED])
        # Nobody waits, so nobody needs to get up for it.
        self.assertEqual(self.cries(replace(refused, waiting=0)), [])

    def test_a_launch_is_on_its_way_for_everybody(self) -> None:
        refused = replace(QUIET, servers=(FULL, LAUNCHING), refusal=Hold("no credit", 1.0))
        self.assertEqual(self.cries(replace(refused, waiting=10)), [])
        self.assertEqual(self.cries(replace(refused, waiting=11)), [Cause.REFUSED])

    def test_refused_below_the_minimum(self) -> None:
        refused = replace(EMPTY, refusal=Hold("no credit", 1.0))
        self.assertEqual(self.cries(refused), [Cause.REFUSED])
        # The next one is not believed in before it is there.
        self.assertEqual(self.cries(replace(refused, servers=(LAUNCHING,))), [Cause.REFUSED])
        self.assertEqual(self.cries(refused, minimum=0), [])

    def test_one_launch_after_the_other_fails(self) -> None:
        failing = replace(QUIET, waiting=1, failures=Failures(count=2))
        self.assertEqual(self.cries(failing), [Cause.FAILED])
        # The next one is not believed in before it is there.
        coming = replace(failing, servers=(FULL, LAUNCHING))
        self.assertEqual(self.cries(coming), [Cause.FAILED])
        once = Failures(count=1, lasted=PATIENCE - 1)
        self.assertEqual(self.cries(replace(failing, failures=once)), [])
        self.assertEqual(self.cries(replace(failing, waiting=0)), [])
        refused = replace(failing, refusal=Hold("no credit", 1.0))
        self.assertEqual(self.cries(refused), [Cause.REFUSED])

    def test_launches_fail_while_nobody_waits(self) -> None:
        """A fleet that needs servers is ill before the next person comes."""
        lasting = Failures(count=1, lasted=PATIENCE, ago=PATIENCE)
        needing = replace(EMPTY, failures=lasting)
        self.assertEqual(self.cries(needing), [Cause.FAILED])
        soon = replace(lasting, count=9, lasted=PATIENCE - 1)
        self.assertEqual(self.cries(replace(needing, failures=soon)), [])
        # The minimum is there, and no place is to be kept free.
        well = replace(needing, servers=(FULL,))
        self.assertEqual(self.cries(well), [])
        self.assertEqual(self.cries(well, spare=1), [Cause.FAILED])
        self.assertEqual(self.cries(well, spare=1, maximum=1), [])
        self.assertEqual(self.cries(replace(well, servers=(SERVER,)), spare=7), [])

    def test_failures_of_another_time(self) -> None:
        """Servers are needed again, and nothing has been launched yet."""
        long_ago = REMEMBERED + POLICY.launch_timeout
        for ago in (long_ago, -long_ago):
            failures = Failures(count=5, lasted=ago, ago=ago)
            self.assertEqual(self.cries(replace(EMPTY, failures=failures, waiting=1)), [])
        # The longest time between two that are tried one after the other.
        lasting = Failures(count=5, lasted=9999.0, ago=POLICY.launch_timeout + 60.0)
        self.assertEqual(self.cries(replace(EMPTY, failures=lasting)), [Cause.FAILED])

    def test_fewer_servers_than_the_minimum(self) -> None:
        self.assertEqual(self.cries(QUIET, short_for=PATIENCE - 1), [])
        self.assertEqual(self.cries(QUIET, short_for=PATIENCE), [Cause.TOO_FEW])

    def test_a_server_run_by_hand_has_died(self) -> None:
        died = replace(QUIET, missed=("10.0.0.2:22223",))
        self.assertEqual(self.cries(died, maximum=0), [Cause.DIED])
        # The fleet launches another by itself.
        self.assertEqual(self.cries(died), [])
        policy = replace(POLICY, maximum=0)
        (stranger,) = alarms(died, policy, 0.0, False)
        (operator,) = alarms(died, policy, 0.0, True)
        self.assertNotIn("10.0.0.2", stranger.text + stranger.todo)
        self.assertIn(": 10.0.0.2:22223", operator.text)

    def test_the_fleet_is_at_its_maximum(self) -> None:
        full = replace(QUIET, waiting=2, servers=(SERVER, replace(SERVER, id="other")))
        self.assertEqual(self.cries(full, maximum=2), [Cause.MAXIMUM])
        self.assertEqual(self.cries(full, maximum=3), [])
        self.assertEqual(self.cries(replace(full, waiting=0), maximum=2), [])
        gone = replace(full, servers=(SERVER, replace(SERVER, id="other", state=State.GONE)))
        self.assertEqual(self.cries(gone, maximum=2), [])

    def test_a_fleet_that_is_run_by_hand(self) -> None:
        self.assertEqual(self.cries(replace(QUIET, waiting=1), maximum=0), [Cause.BY_HAND])
        self.assertEqual(self.cries(QUIET, maximum=0), [])

    def test_no_controller(self) -> None:
        long = controller_deadline(POLICY)
        self.assertEqual(self.cries(QUIET, silence=long + 1), [Cause.NO_CONTROLLER])
        self.assertEqual(self.cries(QUIET, silence=long), [])

    def test_two_nodes_of_the_database_are_written_to(self) -> None:
        seen = replace(QUIET, nodes=("n1 (10.0.0.1:3306)",))
        self.assertEqual(self.cries(seen), [])
        seen = replace(seen, nodes=(*seen.nodes, "n2 (10.0.0.2:3306)"))
        self.assertEqual(self.cries(seen), [Cause.TWO_WRITERS])
        (stranger,) = alarms(seen, POLICY, 0.0, False)
        (operator,) = alarms(seen, POLICY, 0.0, True)
        self.assertNotIn("10.0.0", stranger.text + stranger.todo)
        self.assertIn(": n1 (10.0.0.1:3306), n2 (10.0.0.2:3306)", operator.text)

    def ending(self, days: float, servers: int = 1, login: bool = False) -> Any:
        """The alarm, for an operator and for a stranger, in so many days before a certificate
        ends."""
        figures: dict[str, int] = {}
        note_certificate(figures, 22222, "/etc/bbs/bbs.pem", 1_800_000_000)
        note_certificate(figures, 22223, "/etc/bbs/new.pem", 1_900_000_000)
        rows = tuple(replace(SERVER, id=f"s{n}", figures=figures) for n in range(servers))
        seen = replace(QUIET, servers=() if login else rows)
        if login:
            seen = replace(seen, login_servers=(LoginServerRow(**LOGIN, figures=figures),))
        at = 1_800_000_000 - days * DAY
        return [[*alarms(seen, POLICY, 0.0, operator, at=at)] for operator in (True, False)]

    def test_a_certificate_that_ends(self) -> None:
        for days, cause, words in (
            (15, None, ""),
            (14, Cause.CERTIFICATE, "expires in 14 days, and then clients that check it refuse"),
            (1 / 24, Cause.CERTIFICATE, "expires in less than a day, and then"),
            (0, Cause.EXPIRED, "has expired, so clients that check it refuse to connect"),
            (-30, Cause.EXPIRED, "expired 30 days ago, so"),
        ):
            for login, who in ((False, "app server s0"), (True, "login server me")):
                operator, stranger = self.ending(days, login=login)
                self.assertEqual([each.cause for each in operator], [cause] if cause else [])
                if cause:
                    self.assertIn(f"The certificate of a server {words}", operator[0].text)
                    where = f": {who}, port 22222, bbs.pem, 2027-01-15 08:00 UTC"
                    self.assertTrue(operator[0].text.endswith(where), operator[0].text)
                    self.assertEqual(stranger[0].text, operator[0].text.removesuffix(where))
                    self.assertIn("read it again once an hour", stranger[0].todo)
                    self.assertTrue(stranger[0].urgent)

    def test_certificates_of_many_servers(self) -> None:
        [[operator], _] = self.ending(3, servers=40)
        self.assertEqual(operator.text.count("bbs.pem"), 4)
        self.assertTrue(operator.text.endswith("; and 36 more"))

    def test_the_certificate_of_a_server_that_ran(self) -> None:
        figures: dict[str, int] = {}
        note_certificate(figures, 1, "bbs.pem", 1.0)
        for state in (State.LOST, State.GONE, State.WARM):
            seen = replace(QUIET, servers=(replace(SERVER, state=state, figures=figures),))
            self.assertEqual([*alarms(seen, POLICY, 0.0, True, at=9.0)], [])

    def test_what_a_provider_says_is_for_operators(self) -> None:
        refused = replace(QUIET, waiting=1, refusal=Hold("you are arn:aws:x", 1.0))
        (stranger,) = alarms(refused, POLICY, 0.0, False)
        (operator,) = alarms(refused, POLICY, 0.0, True)
        self.assertNotIn("aws", stranger.text + stranger.todo)
        self.assertIn("you are arn:aws:x", operator.text)
        self.assertTrue(stranger.text.startswith("People wait for a place, and the provider"))
        (alarm,) = alarms(replace(EMPTY, refusal=refused.refusal), POLICY, 0.0, False)
        self.assertTrue(alarm.text.startswith("The fleet needs a server, and the provider"))


class InTheDocuments(SynchronousTestCase):
    def test_each_cause(self) -> None:
        """Whoever is called up finds what it means."""
        page = WEB.read_text("utf-8")
        for cause in (*Cause, *Fault):
            self.assertIn(f"`{cause}`", page)


class HowLong(SynchronousTestCase):
    """For how long too few servers have been ready."""

    def lasted(self, *notes: tuple[bool, float]) -> float:
        """What is known after `notes`: whether too few were ready, and the seconds before that."""
        shortage = Shortage()
        for note in notes:
            shortage.note(*note)
        return shortage.lasted

    def test_it_begins_with_the_first(self) -> None:
        self.assertEqual(self.lasted((False, 50.0), (True, 10.0)), 0.0)
        self.assertEqual(self.lasted((True, 10.0), (True, 10.0), (True, 5.0)), 15.0)

    def test_it_ends_once_it_has_been_over_for_a_while(self) -> None:
        short = (True, 10.0), (True, 90.0)
        self.assertEqual(self.lasted(*short, (False, RETURNS - 1)), 90.0 + RETURNS - 1)
        self.assertEqual(self.lasted(*short, (False, RETURNS)), 0.0)
        self.assertEqual(self.lasted(*short, (False, RETURNS), (True, 10.0)), 0.0)

    def test_servers_that_boot_and_die_again(self) -> None:
        turn = (True, 20.0), (False, RETURNS - 1)
        self.assertEqual(self.lasted(*turn, *turn, *turn), 3 * (20.0 + RETURNS - 1) - 20.0)


class Warnings(SynchronousTestCase):
    """What is wrong without an alarm."""

    def view(self, **changes: Any) -> PageView:
        """A service in which all is well, but for these."""
        measured = Measured(
            logins_per_minute=0.0,
            errors=changes.pop("errors", {}),
            per_second={},
            rates_of_server=lambda _: {},
            leases={},
            launches=0,
            reactor_lag=0.0,
            database_time=None,
        )
        brokers = BrokerCount(1, 1)
        well = {"at": 9.0, "seen_at": 9.0, "database": True, "brokers": brokers, "overview": QUIET}
        return PageView(**{**well, "measured": measured, **changes})

    def warnings(self, operator: bool = True, info: ServiceInfo = INFO, **changes: Any) -> Any:
        return [*warnings(self.view(**changes), info, operator)]

    def test_all_is_well(self) -> None:
        self.assertEqual(self.warnings(), [])
        self.assertEqual(self.warnings(errors={"internal": 0, "unavailable": 5}), [])

    def test_each(self) -> None:
        lost = replace(SERVER, state=State.LOST)
        copied = replace(QUIET, fleet="a1", copy_of=SourceFleet("b2", 9.0))
        full = replace(QUIET, waiting=1, servers=(LAUNCHING,))
        failed = replace(QUIET, failures=Failures(count=1))
        one = replace(INFO, policy=replace(INFO.policy, maximum=1))
        cloud = replace(INFO, outlives=True)
        refused = replace(QUIET, refusal=Hold("no credit", 1.0))
        cases: tuple[tuple[Fault, str, dict[str, Any]], ...] = (
            (Fault.DATABASE_AWAY, "nobody can log in", {"database": False}),
            (Fault.BROKER_AWAY, "late, or not at all", {"brokers": BrokerCount(0, 1)}),
            (Fault.BROKER_AWAY, "(0 of 2 brokers)", {"brokers": BrokerCount(0, 2)}),
            (Fault.BROKERS_MISSING, "1 of 2 brokers", {"brokers": BrokerCount(1, 2)}),
            (Fault.REFUSED, "launched: no credit", {"overview": refused}),
            (Fault.MAXIMUM, "maximum of 1 servers", {"overview": full, "info": one}),
            (Fault.FAILED, "launch of a server failed", {"overview": failed}),
            (Fault.LOST, "A server is lost", {"overview": replace(QUIET, servers=(lost,))}),
            (Fault.LOST, "2 servers are", {"overview": replace(QUIET, servers=(lost, lost))}),
            (Fault.INTERNAL, "because of a bug", {"errors": {"internal": 1}}),
            (Fault.COPY, "a copy of fleet b2's", {"overview": copied, "info": cloud}),
        )
        for cause, text, changes in cases:
            [found] = self.warnings(**changes)
            self.assertEqual(found.cause, cause)
            self.assertIn(text, found.text)
            self.assertTrue(found.todo.endswith("."), found.todo)
            self.assertEqual(found.urgent, cause is Fault.DATABASE_AWAY)
        self.assertEqual({cause for cause, _, _ in cases}, {*Fault})

    def test_one_that_never_served_is_no_loss(self) -> None:
        failed = replace(SERVER, state=State.LOST, ready=None)
        self.assertEqual(self.warnings(overview=replace(QUIET, servers=(failed,))), [])

    def test_what_is_for_operators(self) -> None:
        refused = replace(QUIET, refusal=Hold("you are arn:aws:x", 1.0))
        copied = replace(refused, fleet="a1", copy_of=SourceFleet("b2", 9.0))
        cloud = replace(INFO, outlives=True)
        [stranger] = self.warnings(operator=False, info=cloud, overview=copied)
        self.assertEqual(stranger.cause, Fault.REFUSED)
        self.assertNotIn("aws", stranger.text + stranger.todo)

    def test_an_alarm_says_it_already(self) -> None:
        refused = replace(QUIET, waiting=1, refusal=Hold("no credit", 1.0))
        self.assertEqual(self.warnings(overview=refused), [])
        one = replace(INFO, policy=replace(INFO.policy, maximum=1))
        full = replace(QUIET, waiting=1, servers=(SERVER,))
        self.assertEqual(self.warnings(overview=full, info=one), [])
        failing = replace(QUIET, waiting=1, failures=Failures(count=2))
        self.assertEqual(self.warnings(overview=failing), [])

    def test_one_sentence(self) -> None:
        server = replace(SERVER, taken=3)
        gone, warm = (replace(SERVER, state=state) for state in (State.GONE, State.WARM))
        seen = replace(QUIET, servers=(server, replace(gone, taken=0), replace(warm, taken=0)))
        [minor] = self.warnings(brokers=BrokerCount(0, 1))
        [major] = self.warnings(database=False)
        for found, waiting, level, text in (
            ([], 0, Level.WELL, "All is well: 3 people, 1 server, 7 free places."),
            (
                [minor],
                1,
                Level.ATTENTION,
                "Not urgent, but see below: 3 people, 1 server, 7 free places, 1 person waits for a"
                " place.",
            ),
            (
                [minor, major],
                2,
                Level.ALARM,
                "Somebody has to act now: 3 people, 1 server, 7 free places, 2 people wait for a"
                " place.",
            ),
        ):
            view = self.view(overview=replace(seen, waiting=waiting))
            self.assertEqual(summary(view, INFO.policy, found), Summary(level, text))

    def test_no_server_is_ready(self) -> None:
        """All is not well while `/ready` says that it is not: long before there is an alarm."""
        launching = replace(SERVER, state=State.LAUNCHING, taken=0)
        view = self.view(overview=replace(QUIET, servers=(launching,)))
        for minimum, maximum, is_well in ((1, 5, False), (0, 0, False), (0, 5, True)):
            policy = replace(INFO.policy, minimum=minimum, maximum=maximum)
            found = summary(view, policy, [])
            self.assertEqual(found.level, Level.WELL if is_well else Level.ATTENTION)
            verdict = "All is well" if is_well else "No app server is ready"
            self.assertEqual(found.text, f"{verdict}: 0 people, 1 server, 0 free places.")


class OnThePage(MetricsCase):
    def causes(self) -> list[str]:
        """What the page cries out, which the metrics do, too."""
        told = [alarm["cause"] for alarm in self.browser().get("/state").json["alarms"]]
        found = self.samples()
        for cause in Cause:
            self.assertEqual(found[f"bbs_fleet_alarm{{{cause}}}"], cause in told)
        return told

    def test_no_controller(self) -> None:
        self.watcher()
        self.pass_time(3)
        self.assertEqual(self.causes(), [])
        self.successResultOf(self.service.login.controller.stopService())
        self.pass_time(controller_deadline(self.policy) + 3)
        self.assertEqual(self.causes(), ["no-keeper"])
        self.assertIn("No login server controls the fleet", self.browser().get("/").body)
        for beats in range(3):
            Lease.delete().execute()
            Lease.insert(name="fleet", holder="x", identity="", beats=beats).execute()
            self.pass_time(1)
        self.assertEqual(self.causes(), [])

    def test_a_full_disk(self) -> None:
        self.watcher()
        self.pass_time(3)
        self.service.database.disk_is_low = True
        self.pass_time(2)
        self.assertEqual(self.causes(), ["disk-full"])
        self.assertIn("what people write is refused", self.browser().get("/").body)
        self.service.database.disk_is_low = False
        self.pass_time(2)
        self.assertEqual(self.causes(), [])

    def test_a_certificate(self) -> None:
        """Heartbeats carry when it ends, those of app servers too."""
        self.watcher()
        self.service.people("ann")
        self.pass_time(3)
        now, (app,) = self.service.wall(), self.service.servers.values()
        ends = "bbs_fleet_certificate_expires_timestamp_seconds"
        self.assertNotIn(f"{ends}{{app}}", self.samples())
        for home, kind in ((app.serving.home, "app"), (self.service.login.home, "login")):
            for left, told in ((15, []), (13, ["certificate"]), (-1, ["certificate-expired"])):
                note_certificate(home.tally.figures, 22222, "bbs.pem", now + left * DAY)
                self.pass_time(12)
                self.assertEqual(self.causes(), told)
                self.assertEqual(self.samples()[f"{ends}{{{kind}}}"], int(now + left * DAY))
            self.assertIn("ALARM: The certificate of a server", self.browser().get("/").body)
            note_certificate(home.tally.figures, 22222, "bbs.pem", now + 90 * DAY)
            self.pass_time(12)
            self.assertEqual(self.causes(), [])
        self.assertEqual(self.browser().get("/ready").code, 200)

    def test_a_disk_without_any_room(self) -> None:
        """The controller cannot write that it lives, and to restart it would not help."""
        self.watcher()
        self.pass_time(3)
        self.patch(type(self.service.database), "disk", DiskState.FULL)
        self.successResultOf(self.service.login.controller.stopService())
        self.pass_time(controller_deadline(self.policy) + 3)
        self.assertEqual(self.causes(), ["disk-full"])
        (alarm,) = self.browser().get("/state").json["alarms"]
        self.assertIn("nobody can log in", alarm["text"])
        self.assertIn("Delete old backups", alarm["todo"])

    def test_a_refusal(self) -> None:
        self.watcher()
        self.service.people("ann")
        self.successResultOf(self.service.login.controller.stopService())
        Lease.delete().execute()
        Lease.insert(
            name="fleet", holder="x", identity="", refusal="no credit", refused_until=9e9
        ).execute()
        Place.update(server=None).execute()
        self.pass_time(2)
        self.assertEqual(self.causes(), ["refused"])
        Lease.update(refusal=None).execute()
        self.pass_time(2)
        self.assertEqual(self.causes(), [])

    def test_who_is_away_does_not_wait(self) -> None:
        self.service.people("ann")
        self.pass_time(1)
        Place.update(server=None, away=True).execute()
        self.watcher()
        self.pass_time(2)
        state = self.browser().get("/state").json
        self.assertEqual((state["away"], state["waiting"]["count"]), (1, 0))


class OnADisk(AwayCase):
    """The page of a service whose database is an SQLite file."""

    def test_its_room_and_its_last_backup(self) -> None:
        self.pass_time(2)
        state = self.browser().get("/state").json
        self.assertEqual((state["disk"], state["backup"]), (None, {"at": None}))
        self.assertEqual(state["summary"]["level"], "well")
        self.service.database.space = DiskSpace(5 * 2**30, 2**28, 2**34)
        Secret.insert(name="backed up", value="1234").execute()
        self.pass_time(2)
        state = self.browser().get("/state").json
        self.assertEqual(state["disk"], {"free": 5 * 2**30, "floor": 2**28, "whole": 2**34})
        self.assertEqual(state["backup"], {"at": 1234.0})
        text = self.browser().get("/metrics").body
        self.assertIn("bbs_database_disk_free_bytes 5.36870912e+09", text)
        self.assertIn("bbs_backup_timestamp_seconds 1234.0", text)

    def test_before_any_script(self) -> None:
        self.pass_time(2)
        body = self.browser().get("/").body
        self.assertIn('<p class="well">All is well: 0 people, 1 server, 2 free places.</p>', body)
        self.go()
        self.pass_time(20)
        body = self.browser().get("/").body
        self.assertIn('<p class="alarm">Somebody has to act now: 0 people, 1 server, ', body)
        self.assertIn("ALARM: The database is away: nobody can log in", body)
        self.come_back()


class WhoIsThere(MetricsCase):
    def test_connected_and_merely_logged_in(self) -> None:
        tokens = self.service.people("ann", "bob", "eva")
        listening = self.service.listening(tokens["ann"])
        self.service.listening(tokens["bob"])
        Place.update(server=None, away=True).where(Place.user == 3).execute()
        self.pass_time(11)
        state = self.browser().get("/state").json
        self.assertEqual((state["people"], state["connected"], state["away"]), (3, 2, 1))
        self.assertEqual(sum(server["connected"] for server in state["servers"]), 2)
        found = self.samples()
        self.assertEqual(found["bbs_fleet_connected_people"], 2)
        self.assertEqual(found["bbs_fleet_away_people"], 1)
        listening.transport.abortConnection()
        self.pass_time(11)
        self.assertEqual(self.browser().get("/state").json["connected"], 1)
