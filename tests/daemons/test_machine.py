"""Reports of a machine whose interface is somebody else's, and fails in every way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from zope.interface import implementer

from bbs.core.values import REBALANCE
from bbs.daemons.machine import AGAIN, DEADLINE, PATIENCE, QUIET, MachineReports
from bbs.rules import membership
from bbs.scaling.interfaces import IMachine, MachineNotice, MachineUnavailable
from tests.rules.fleet_case import FleetCase


@implementer(IMachine)
class FakeMachine:
    """A machine that answers so; an answer that can be called is asked."""

    notice_interval: Any = 5.0

    def __init__(self, **answers: Any) -> None:
        self.answers: dict[str, Any] = {
            "address": "192.0.2.1",
            "instance_id": None,
            "zone": None,
            "notice": None,
        }
        self.answers |= answers
        self.asked: list[str] = []

    def _answer(self, question: str) -> Any:
        self.asked.append(question)
        answer: Any = self.answers[question]
        return answer() if callable(answer) else succeed(answer)

    def address(self) -> Any:
        return self._answer("address")

    def instance_id(self) -> Any:
        return self._answer("instance_id")

    def zone(self) -> Any:
        return self._answer("zone")

    def notice(self) -> Any:
        return self._answer("notice")


def bug() -> Any:
    raise ZeroDivisionError("of a\nprovider")


def cancelled() -> Any:
    return fail(CancelledError())


def unavailable() -> Any:
    return fail(MachineUnavailable("the harbour master is out"))


def hang() -> Any:
    return Deferred()


def ignore_cancel() -> Any:
    """A question that goes on, whoever gives it up."""
    asked: Deferred[Any] = Deferred()
    return asked.addErrback(lambda _: Deferred())


async def later_bug() -> Any:
    return 1 / 0


QUESTIONS = ("address", "instance_id", "zone", "notice")

FAILURES: tuple[Callable[[], Any], ...] = (
    *(bug, cancelled, unavailable, hang, ignore_cancel, later_bug),
    *(lambda: succeed(7), lambda: 7, lambda: succeed("no\nname"), lambda: succeed("")),
)


class ReportsCase(FleetCase):
    def setUp(self) -> None:
        super().setUp()
        self.keep()
        self.clock = Clock()
        self.begin()

    def begin(self) -> None:
        [self.launch_id] = self.launch(maximum=100)

    def reports(self, make: Callable[[], Any]) -> MachineReports:
        reports = MachineReports("ships", make, self.clock)
        reports.startService()
        self.addCleanup(self.stop, reports)
        return reports

    def stop(self, reports: MachineReports) -> None:
        """It stops at once, whatever is under way, and leaves nothing behind."""
        if reports.running:
            self.successResultOf(reports.stopService())
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def serve(self, make: Callable[[], Any], seconds: float = 0.0) -> list[str]:
        """An app server starts with such a machine, and serves for so long; its warnings."""
        with capturedLogs() as events:
            self.running = reports = self.reports(make)
            host = Deferred.fromCoroutine(reports.host())
            self.clock.pump([0.1] * round(PATIENCE / 0.1 + 1))
            told = self.successResultOf(host)
            self.assertTrue(self.call(membership.report, self.launch_id, 22223, told))
            reports.joined(self.database, self.launch_id, 22223, told, "0.5.0")
            self.clock.pump([1.0] * round(seconds))
        self.assertEqual([each for each in events if "log_failure" in each], [])
        return [str(formatEvent(each)) for each in events if each["log_level"].name == "warn"]

    @property
    def stored(self) -> Any:
        """What the fleet has of it."""
        return self.row(self.launch_id)


class Answers(ReportsCase):
    def test_all(self) -> None:
        machine = FakeMachine(instance_id="vessel-7", zone="Oslo")
        self.assertEqual(self.serve(lambda: machine, 60), [])
        row = self.stored
        self.assertEqual((row.host, row.instance_id, row.warned), ("192.0.2.1", "vessel-7", None))
        self.assertEqual([machine.asked.count(each) for each in QUESTIONS], [1, 1, 1, 13])

    def test_as_coroutines(self) -> None:
        async def address() -> str:
            return "2001:DB8::1"

        self.serve(lambda: FakeMachine(address=address))
        self.assertEqual(self.stored.host, "2001:db8::1")

    def test_an_address_that_the_list_has(self) -> None:
        """None is no fault. It is asked again, as it may come."""
        machine = FakeMachine(address=None)
        self.assertEqual(self.serve(lambda: machine, 60), [])
        machine.answers["address"] = "host.example"
        self.clock.pump([1.0] * 5)
        self.assertEqual(self.stored.host, "host.example")

    def test_nothing_to_ask(self) -> None:
        with capturedLogs() as events:
            reports = self.reports(lambda: None)
            host = Deferred.fromCoroutine(reports.host())
            self.assertIs(self.successResultOf(host), None)
            reports.joined(self.database, self.launch_id, 22223, None, "0.5.0")
            self.clock.pump([1.0] * 60)
        self.assertEqual([*map(formatEvent, events)], [])

    def test_notices(self) -> None:
        """A hint is stored in the words by which all versions tell one. What is certain stays."""
        fog = MachineNotice("fog", certain=False)
        machine = FakeMachine(notice=fog)
        self.serve(lambda: machine, 6)
        self.assertEqual(self.stored.warned, REBALANCE)
        machine.answers["notice"] = MachineNotice("a storm\n  at noon" + "." * 300)
        self.clock.pump([1.0] * 6)
        self.assertEqual(self.stored.warned, f"a storm at noon{'.' * 300}"[:200])
        machine.answers["notice"] = fog
        self.clock.pump([1.0] * 6)
        self.assertTrue(self.stored.warned.startswith("a storm at noon"))

    def test_interval(self) -> None:
        """However often a machine wants to be asked, it is within bounds."""
        for interval, most in ((0.0, 60), (float("nan"), 60), (30.0, 3), (1e9, 1), ("?", 13)):
            machine = FakeMachine()
            machine.notice_interval = interval
            reports = self.reports(lambda machine=machine: machine)  # type: ignore[misc]
            reports.joined(self.database, self.launch_id, 22223, "192.0.2.1", "0.5.0")
            self.clock.pump([1.0] * 60)
            asked = machine.asked.count("notice")
            self.assertTrue(most - 2 <= asked <= most + 1, (interval, asked))
            self.stop(reports)


class BadDays(ReportsCase):
    """The server serves all the same. The log says it once, and the question is asked again."""

    def test_every_question_fails_in_every_way(self) -> None:
        for number, failure in enumerate(FAILURES):
            for question in QUESTIONS:
                with self.subTest(failure=number, question=question):
                    self.begin()
                    self.check(question, failure)
                    self.stop(self.running)

    def check(self, question: str, failure: Callable[[], Any]) -> None:
        machine = FakeMachine(**{question: failure})
        told = self.serve(lambda: machine, 120)
        self.assertEqual(len(told), 1, (question, failure, told))
        words = question.replace("_", " ")
        self.assertIn(f"ships: this machine does not say its {words}: ", told[0])
        self.assertTrue(told[0].endswith("; it is asked again"), told)
        self.assertEqual(told[0].splitlines(), told)
        self.assertGreater(machine.asked.count(question), 4)
        good = MachineNotice("a storm") if question == "notice" else "good-1"
        machine.answers[question] = good
        self.clock.pump([1.0] * round(DEADLINE + 6))
        row = self.stored
        stored = {"address": row.host, "instance_id": row.instance_id, "notice": row.warned}
        wanted = {"address": "good-1", "instance_id": "good-1", "notice": "a storm"}
        self.assertEqual(stored.get(question), wanted.get(question))

    def test_a_machine_that_cannot_be_made(self) -> None:
        machines: list[Any] = []

        def make() -> Any:
            if not machines:
                raise TypeError("it made 7, which does not provide IMachine")
            return machines[0]

        told = self.serve(make, 120)
        self.assertEqual(
            told,
            [
                "ships: this machine does not say its address: TypeError: it made 7, which does"
                " not provide IMachine; it is asked again"
            ],
        )
        self.assertIs(self.stored.host, None)
        machines.append(FakeMachine(notice=MachineNotice("a storm")))
        self.clock.pump([1.0] * 6)
        self.assertEqual((self.stored.host, self.stored.warned), ("192.0.2.1", "a storm"))

    def test_warned_again_after_an_hour(self) -> None:
        machine = FakeMachine(notice=bug)
        self.serve(lambda: machine, 60)
        with capturedLogs() as events:
            self.clock.pump([5.0] * round(QUIET / 5))
        self.assertEqual(len(events), 1)

    def test_a_start_does_not_wait_for_long(self) -> None:
        """And it ends when the app server is stopped meanwhile."""
        for failure in (hang, ignore_cancel):
            machine = FakeMachine(address=failure)
            reports = self.reports(lambda machine=machine: machine)  # type: ignore[misc]
            host = Deferred.fromCoroutine(reports.host())
            self.clock.advance(PATIENCE / 2)
            self.assertNoResult(host)
            self.stop(reports)
            self.assertIs(self.successResultOf(host), None)

    def test_the_next_question_does_not_wait_for_one_that_was_given_up(self) -> None:
        machine = FakeMachine(address=ignore_cancel)
        self.reports(lambda: machine)
        self.clock.pump([DEADLINE, AGAIN, DEADLINE, AGAIN])
        self.assertEqual(machine.asked, ["address"] * 3)
