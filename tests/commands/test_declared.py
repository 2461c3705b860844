"""Answers are compared with what commands declare: in tests, and for developers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.declared import Undeclared
from bbs.daemons.debugging import DebugReport
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Refusal,
    Reply,
    Role,
    Service,
    read_only,
    success,
)
from bbs.testing import MemoryService
from bbs.testing.service import MOST_ANSWERS


@dataclass(frozen=True)
class Word:
    """A word, and how often it was said."""

    word: str
    times: int
    by: str | None = None


class NoWord(Refusal):
    text = "There is no word {}"


class AnyRefusal(Refusal):
    text = "Not today"


@read_only
def say(caller: Caller, what: str) -> dict[str, object]:
    if what == "refused":
        raise NoWord(what)
    if what == "otherwise":
        raise AnyRefusal()
    found: dict[str, dict[str, object]] = {
        "right": {"word": "x", "times": 1},
        "more": {"word": "x", "times": 1, "more": [1]},
        "missing": {"word": "x"},
        "other": {"word": "x", "times": "1"},
    }
    return found[what]


async def whisper(ask: Ask, what: str) -> Reply:
    if what == "refused":
        raise NoWord(what)
    return success(word="x")


SERVICE = Service(
    "words",
    commands=(
        CommandTable(
            Command("say <user> <what>", Role.APP, rule=say, reply=Word, refuses=(NoWord,)),
            Command("tell <user> <what>", Role.APP, rule=say),
            Command("whisper <what>", Role.EITHER, whisper, reply=Word, refuses=()),
        ),
    ),
)


class Compared(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = MemoryService(SERVICE)
        self.addCleanup(self.service.close)
        self.addCleanup(self.service.check_answers)
        self.token = self.service.people("ann")["ann"]
        self.peer = self.service.at_home(self.token)

    def ask(self, line: str) -> dict[str, Any]:
        return self.peer.ask(line.replace("<user>", self.token))

    def told(self, line: str) -> str:
        """What an author is told of an answer."""
        self.ask(line)
        return str(self.assertRaises(Undeclared, self.service.check_answers))

    def test_as_declared(self) -> None:
        for what in ("right", "more"):
            self.assertEqual(self.ask(f"say <user> {what}")["word"], "x")
        self.assertEqual(self.ask("say <user> refused")["message"], "There is no word refused")

    def test_what_the_framework_refuses(self) -> None:
        for line in ("say <user>", "say nobody right", "whisper", "sing"):
            self.assertEqual(self.ask(line)["status"], 1, line)

    def test_nothing_is_declared(self) -> None:
        for what in ("missing", "other"):
            self.assertEqual(self.ask(f"tell <user> {what}")["word"], "x")
        self.assertEqual(self.ask("tell <user> otherwise")["message"], "Not today")

    def test_replies(self) -> None:
        begin = "say answers what its record Word does not describe: "
        self.assertEqual(self.told("say <user> missing"), begin + "times is missing")
        self.assertEqual(self.told("say <user> other"), begin + "times is '1', and not int")
        self.assertIn("times is missing", self.told("whisper x"))

    def test_refusals(self) -> None:
        told = self.told("say <user> otherwise")
        self.assertEqual(
            told,
            f'say refuses by {__name__}.AnyRefusal ("Not today"), which is not in its refuses',
        )
        self.assertIn("NoWord", self.told("whisper refused"))

    def test_each_difference_once(self) -> None:
        for what in ("otherwise", "missing", "right", "otherwise"):
            self.ask(f"say <user> {what}")
        lines = str(self.assertRaises(Undeclared, self.service.check_answers)).split("\n")
        self.assertEqual(
            [each.split()[:2] for each in lines], [["say", "refuses"], ["say", "answers"]]
        )

    def test_after_many_answers(self) -> None:
        """A difference is kept, and changes no answer."""
        self.ask("say <user> missing")
        for _ in range(MOST_ANSWERS):
            self.assertEqual(self.ask("say <user> right")["word"], "x")
        self.assertIn("times is missing", self.told("say <user> right"))

    def test_malformed(self) -> None:
        for wrong in (NoWord, ("no-word",), (ValueError,)):
            with self.assertRaisesRegex(ValueError, "refuses are classes of Refusal"):
                Command("say <user>", Role.APP, rule=say, refuses=wrong)  # type: ignore[arg-type]


class AtTheEnd(SynchronousTestCase):
    def test_a_test_fails(self) -> None:
        service = MemoryService(SERVICE)
        token = service.people("ann")["ann"]
        service.at_home(token).ask(f"say {token} missing")
        self.assertRaises(Undeclared, service.close)


class ForDevelopers(SynchronousTestCase):
    def test_once(self) -> None:
        report = DebugReport(self.mktemp(), lambda: "app")
        self.addCleanup(report._socket.close)
        with capturedLogs() as log:
            for line in ("one", "two", "one"):
                report.tell(line)
        self.assertEqual([formatEvent(event) for event in log], ["one", "two"])
        self.assertTrue(all(event["for_developers"] for event in log))
