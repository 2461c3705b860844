"""What an app server on EC2 learns of its own instance, and tells the fleet."""

from collections.abc import Callable
from itertools import chain, repeat
from typing import Any, cast
from unittest import mock

from botocore.exceptions import ClientError, NoCredentialsError, ParamValidationError
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.config import load, references
from bbs.core.addresses import ListeningPlace
from bbs.core.clock import IReactor
from bbs.core.errors import Unavailable
from bbs.core.values import Instance
from bbs.daemons.app import RIGHTS_AGAIN, RIGHTS_PATIENCE, AppServer
from bbs.daemons.listening import CannotListen
from bbs.daemons.machine import AGAIN, PATIENCE, MachineReports
from bbs.rules import fleet_transitions, membership
from bbs.scaling.ec2.machine import POLL, POLL_SCHEDULED, EC2Machine
from bbs.scaling.ec2.metadata import Metadata
from bbs.storage.database import Database
from tests.rules.fleet_case import ONE, FleetCase
from tests.scaling.metadata_tools import MetadataReactor, client_error

PUBLIC = b"198.51.100.7"
INTERRUPTION = b'{"action": "terminate", "time": "2026-09-18T12:34:56Z"}'


class Door:
    """A database that can be away; `rules` has the names of those that it was asked to run."""

    def __init__(self, database: Database) -> None:
        self.away = False
        self.rules: list[str] = []
        self._database = database

    def run(self, rule: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        self.rules.append(rule.__name__)
        return fail(Unavailable()) if self.away else self._database.run(rule, *arguments)


class Unthreaded(AppServer):
    """An app server that does blocking work at once."""

    async def run_once(self, name: str, work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)


class Rights(SynchronousTestCase):
    """Secrets that an instance which has just begun may not read yet."""

    SECRET = "mysql://bbs:s3cret@db.example:3306/bbs"

    def server(self, launched_as: str | None, *answers: object) -> Unthreaded:
        """An app server that is answered so in turn, then always as the last time."""
        self.clock = Clock()
        config = load(None, {})
        reactor = cast("IReactor", self.clock)
        self.fetch = mock.Mock(side_effect=chain(answers, repeat(answers[-1])))
        self.patch(references, "_fetch", self.fetch)
        return Unthreaded(board, config, launched_as, None, reactor, lambda reason: None)

    def reveal(self, launched_as: str | None, *answers: object) -> Deferred[Any]:
        """Such a one asks for the database."""
        server = self.server(launched_as, *answers)
        return Deferred.fromCoroutine(server._reveal("database.url", "ssm:/bbs/database"))

    def denied(self, code: str = "AccessDeniedException") -> ClientError:
        return client_error(code, message="no")

    def test_come_late(self) -> None:
        answers = (NoCredentialsError(), self.denied(), self.denied(), self.SECRET)
        with capturedLogs() as events:
            secret = self.reveal("a", *answers)
            self.clock.pump([RIGHTS_AGAIN] * 2)
            self.assertNoResult(secret)
            self.clock.advance(RIGHTS_AGAIN)
        self.assertEqual(self.successResultOf(secret), (self.SECRET,))
        lines = [formatEvent(each) for each in events]
        self.assertEqual(len(lines), 3)
        self.assertIn("database.url: ssm:/bbs/database: AccessDeniedException: no", lines[-1])
        self.assertFalse(self.clock.getDelayedCalls())

    def test_busy_store(self) -> None:
        """Many instances that boot together ask more often than it answers."""
        broken = client_error("InternalServerError", 500)
        secret = self.reveal("a", self.denied("ThrottlingException"), broken, self.SECRET)
        self.clock.pump([RIGHTS_AGAIN] * 2)
        self.assertEqual(self.successResultOf(secret), (self.SECRET,))

    def test_of_a_certificate(self) -> None:
        text = "ssl:2323:privateKey=ssm\\:/bbs/key:certKey=ssm\\:/bbs/certificate"
        place = ListeningPlace.parse(text)
        server = self.server("a", self.denied("ThrottlingException"), self.denied("Unknown"))
        listens = Deferred.fromCoroutine(server._read_pems(place))
        self.assertNoResult(listens)
        self.clock.advance(RIGHTS_AGAIN)
        error = self.failureResultOf(listens, CannotListen).value
        self.assertIn("ssm:/bbs/key: Unknown: no", str(error))
        self.assertEqual(self.fetch.call_count, 2)

    def test_never_come(self) -> None:
        secret = self.reveal("a", self.denied())
        self.clock.pump([1.0] * round(RIGHTS_PATIENCE - 1))
        self.assertNoResult(secret)
        self.clock.pump([1.0] * 3)
        error = self.failureResultOf(secret, references.SecretUnavailable).value
        self.assertIn("AccessDeniedException", str(error))

    def test_what_time_does_not_mend(self) -> None:
        for answer in (self.denied("ParameterNotFound"), "no URL", ParamValidationError(report="")):
            secret = self.reveal("a", answer)
            self.failureResultOf(secret, references.SecretUnavailable)
            self.assertEqual(self.fetch.call_count, 1)

    def test_run_by_hand(self) -> None:
        """Somebody waits for the answer, and no instance ends with it."""
        secret = self.reveal(None, self.denied())
        self.failureResultOf(secret, references.SecretUnavailable)

    def test_stopped(self) -> None:
        secret = self.reveal("a", self.denied())
        secret.cancel()
        self.failureResultOf(secret, CancelledError)
        self.assertFalse(self.clock.getDelayedCalls())


class MachineTestCase(FleetCase):
    """An app server that starts on an instance of Spot capacity."""

    def setUp(self) -> None:
        super().setUp()
        self.keep()
        [self.launch_id] = self.launch()
        self.door = Door(self.database)
        self.reactor = MetadataReactor()
        self.paths = self.reactor.service.paths
        self.paths["instance-life-cycle"] = b"spot"
        machine = EC2Machine(Metadata(self.reactor), "public")
        self.machine = MachineReports("ec2", lambda: machine, self.reactor)
        self.events: list[Any] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def start(self) -> Deferred[str | None]:  # type: ignore[override]
        """It starts; what it will report as its address."""
        self.machine.startService()
        self.addCleanup(self.stop)
        host = Deferred.fromCoroutine(self.machine.host())
        self.reactor.settle()
        return host

    def stop(self) -> None:
        """It stops at once, and leaves nothing behind."""
        if self.machine.running:
            stopped = self.machine.stopService()
            self.reactor.settle()
            self.successResultOf(stopped)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def join(self, host: Deferred[str | None]) -> None:
        """It reports itself, as an app server does when it serves."""
        told = self.successResultOf(host)
        version = "0.4.0+1.2"
        self.assertTrue(self.call(membership.report, self.launch_id, 22223, told, version))
        self.machine.joined(self.door, self.launch_id, 22223, told, version)  # type: ignore[arg-type]
        self.reactor.settle()

    @property
    def host(self) -> str | None:
        """Where it is, by its row."""
        return self.row(self.launch_id).host

    @property
    def warned(self) -> str | None:
        """Why it will be taken away, by its row."""
        return self.row(self.launch_id).warned

    def warnings(self) -> list[str]:
        """What an operator reads in the log."""
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_level"].name in ("warn", "error", "critical")
        ]


class Addresses(MachineTestCase):
    """Where people reach it."""

    def test_known_at_once(self) -> None:
        self.paths["public-ipv4"] = PUBLIC
        self.join(self.start())
        self.assertEqual(self.host, "198.51.100.7")
        self.reactor.pass_time(60)
        self.assertEqual((self.door.rules, self.warnings()), ([], []))

    def test_metadata_that_do_not_answer(self) -> None:
        """It reports without after a while, and tells the address when that is known."""
        self.paths["public-ipv4"] = PUBLIC
        self.reactor.away = True
        host = self.start()
        self.reactor.pass_time(PATIENCE - 0.1, 0.1)
        self.assertNoResult(host)
        self.reactor.pass_time(0.2, 0.1)
        self.join(host)
        self.assertIsNone(self.host)
        self.reactor.pass_time(300)
        self.assertIsNone(self.host)
        self.assertEqual(len(self.warnings()), 1)
        self.reactor.away = False
        self.reactor.pass_time(3 * AGAIN + 2)
        self.assertEqual(self.host, "198.51.100.7")
        self.assertEqual(self.row(self.launch_id).version, "0.4.0+1.2")

    def test_a_start_that_is_cancelled_meanwhile(self) -> None:
        """The app server stops before the metadata have answered: its start ends."""
        self.reactor.away = True
        host = self.start()
        host.cancel()
        self.failureResultOf(host, CancelledError)

    def test_no_such_address(self) -> None:
        """Nobody waits for what the instance does not have; it may be given one later."""
        self.join(self.start())
        self.reactor.pass_time(60)
        self.assertEqual(
            self.warnings(),
            ["this instance has no address (ec2.address: public)"],
        )
        self.paths["public-ipv4"] = PUBLIC
        self.reactor.pass_time(3 * AGAIN)
        self.assertEqual(self.host, "198.51.100.7")

    def test_a_database_that_is_away(self) -> None:
        """It is told again until it was told."""
        self.join(self.start())
        self.door.away = True
        self.paths["public-ipv4"] = PUBLIC
        self.reactor.pass_time(60)
        self.assertIsNone(self.host)
        self.door.away = False
        self.reactor.pass_time(2 * AGAIN)
        self.assertEqual(self.host, "198.51.100.7")
        self.assertEqual(self.warnings()[1:], [])

    def test_the_list_was_faster(self) -> None:
        """What the fleet knows of a server that is ready is left as it is."""
        self.join(self.start())
        self.call(fleet_transitions.mark_ready, ONE, [(self.launch_id, "203.0.113.1", self.now)])
        self.paths["public-ipv4"] = PUBLIC
        self.reactor.pass_time(60)
        self.assertEqual((self.host, self.door.rules), ("203.0.113.1", ["report"]))

    def test_ready_at_its_own_word(self) -> None:
        """The controller that has no list leaves the address that the server has told."""
        self.paths["public-ipv4"] = PUBLIC
        self.join(self.start())
        self.call(fleet_transitions.mark_ready, ONE, [(self.launch_id, None, self.now)])
        self.assertEqual(self.host, "198.51.100.7")
        self.call(
            fleet_transitions.note_instances, ONE, [Instance(self.launch_id, None, True, "", "i-1")]
        )
        self.assertEqual(self.host, "198.51.100.7")

    def test_it_stops_while_it_asks(self) -> None:
        self.reactor.away = True
        host = self.start()
        self.stop()
        self.assertIsNone(self.successResultOf(host))
        self.assertEqual(self.flushLoggedErrors(), [])


class Notices(MachineTestCase):
    """Whether EC2 takes it away."""

    def setUp(self) -> None:
        super().setUp()
        self.paths["public-ipv4"] = PUBLIC
        self.join(self.start())

    def test_none(self) -> None:
        self.reactor.pass_time(600)
        self.assertIsNone(self.warned)
        self.assertEqual((self.door.rules, self.warnings()), ([], []))

    def test_interrupted(self) -> None:
        """The fleet is told within seconds, and once."""
        self.paths["spot/instance-action"] = INTERRUPTION
        self.reactor.pass_time(POLL)
        self.assertEqual(self.warned, "spot: interrupted at 12:34 UTC")
        self.reactor.pass_time(60)
        self.assertEqual(self.door.rules, ["warn"])
        self.assertEqual(
            self.warnings(), ["this machine will be taken away: spot: interrupted at 12:34 UTC"]
        )

    def test_recommended_and_then_interrupted(self) -> None:
        self.paths["events/recommendations/rebalance"] = b"{}"
        self.reactor.pass_time(POLL)
        self.assertEqual(self.warned, "spot: rebalance recommended")
        self.paths["spot/instance-action"] = INTERRUPTION
        self.reactor.pass_time(POLL)
        self.assertEqual(self.warned, "spot: interrupted at 12:34 UTC")

    def test_a_recommendation_that_is_gone(self) -> None:
        """What was told stays so."""
        self.paths["events/recommendations/rebalance"] = b"{}"
        self.reactor.pass_time(POLL)
        del self.paths["events/recommendations/rebalance"]
        self.reactor.pass_time(60)
        self.assertEqual(self.warned, "spot: rebalance recommended")

    def test_a_database_that_is_away(self) -> None:
        """It is told again until it was told, and the log says it once."""
        self.door.away = True
        self.paths["spot/instance-action"] = INTERRUPTION
        self.reactor.pass_time(60)
        self.assertIsNone(self.warned)
        self.reactor.away = True  # What was heard is not heard again.
        self.door.away = False
        self.reactor.pass_time(2 * POLL)
        self.assertEqual(self.warned, "spot: interrupted at 12:34 UTC")
        self.assertEqual(len([line for line in self.warnings() if "taken away" in line]), 1)

    def test_metadata_that_do_not_answer(self) -> None:
        """They are asked again, as long as it serves."""
        self.reactor.service.broken = 503
        self.reactor.pass_time(600)
        self.reactor.service.broken = 0
        self.paths["spot/instance-action"] = INTERRUPTION
        self.reactor.pass_time(POLL)
        self.assertEqual(self.warned, "spot: interrupted at 12:34 UTC")

    def test_it_stops_while_it_asks(self) -> None:
        self.reactor.service.silent = True
        self.reactor.pass_time(POLL + 0.5)
        self.stop()


class OnDemand(MachineTestCase):
    """An instance that is not taken back for its capacity."""

    def setUp(self) -> None:
        super().setUp()
        self.paths |= {"instance-life-cycle": b"on-demand", "public-ipv4": PUBLIC}
        self.join(self.start())

    def test_rarely_asked(self) -> None:
        asked = len(self.reactor.service.asked)
        self.reactor.pass_time(600)
        self.assertLessEqual(len(self.reactor.service.asked) - asked, 600 / POLL_SCHEDULED)
        self.assertIsNone(self.warned)

    def test_a_scheduled_event(self) -> None:
        self.paths["events/maintenance/scheduled"] = (
            b'[{"Code": "instance-retirement", "State": "active",'
            b' "NotBefore": "21 Jan 2019 09:00:43 GMT"}]'
        )
        self.reactor.pass_time(POLL_SCHEDULED)
        self.assertEqual(self.warned, "scheduled: instance-retirement, 21 Jan 2019 09:00:43 GMT")


class Named(MachineTestCase):
    """Which instance it is, which the fleet may not have heard."""

    def test_told(self) -> None:
        self.paths |= {"instance-id": b"i-0123456789abcdef0", "public-ipv4": PUBLIC}
        self.join(self.start())
        self.assertEqual(self.row(self.launch_id).instance_id, "i-0123456789abcdef0")
        self.assertEqual(self.door.rules, ["name_instance"])

    def test_a_database_that_is_away(self) -> None:
        self.paths |= {"instance-id": b"i-0123456789abcdef0", "public-ipv4": PUBLIC}
        self.door.away = True
        self.join(self.start())
        self.door.away = False
        self.reactor.pass_time(POLL)
        self.assertEqual(self.row(self.launch_id).instance_id, "i-0123456789abcdef0")
