"""Answers are compared with what commands declare: in tests, and for developers."""

from __future__ import annotations

from collections.abc import Mapping
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
    Event,
    Extension,
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


@read_only
def to_shout(caller: Caller, what: str) -> tuple[str, str]:
    return caller.channel, what


EVENTS: Mapping[str, dict[str, object]] = {
    "right": {"event": "shout", "word": "x", "times": 1},
    "missing": {"event": "shout", "word": "x"},
    "unknown": {"event": "scream"},
    "any": {"event": "hum", "long": True},
}


async def shout(ask: Ask, found: tuple[str, str]) -> None:
    channel, what = found
    await ask.tell(channel, EVENTS[what], asked=True)


async def shout_each(ask: Ask, found: tuple[str, str]) -> None:
    channel, what = found
    await ask.tell_each([(channel, True)], EVENTS[what])


class Told(SynchronousTestCase):
    """Events are compared with what the service, or the extension of the command, declares."""

    def served(self, *events: Event, extension: Extension | None = None) -> MemoryService:
        shouts = CommandTable(
            Command("shout <user> <what>", Role.APP, rule=to_shout, then=shout),
            Command("shout-each <user> <what>", Role.APP, rule=to_shout, then=shout_each),
        )
        extensions = () if extension is None else (extension,)
        service = Service("words", commands=(shouts,), events=events, extensions=extensions)
        return MemoryService(service)

    def told(self, what: str, service: MemoryService, command: str = "shout") -> str:
        """What an author is told of an event; empty if nothing is wrong."""
        token = service.people("ann")["ann"]
        reply = service.at_home(token).ask(f"{command} {token} {what}")
        self.assertEqual(reply["status"], 0)
        try:
            service.close()
        except Undeclared as error:
            return str(error)
        return ""

    def test_compared(self) -> None:
        for command in ("shout", "shout-each"):
            for what, line in (
                ("right", ""),
                ("any", ""),
                (
                    "missing",
                    "the event shout is not what its record Word describes: times is missing",
                ),
                (
                    "unknown",
                    "the event scream is told and not declared: add Event('scream', …) to events",
                ),
            ):
                service = self.served(Event("shout", Word), Event("hum"))
                self.assertEqual(self.told(what, service, command), line)

    def test_nothing_is_declared(self) -> None:
        self.assertEqual(self.told("unknown", self.served()), "")

    def test_of_an_extension(self) -> None:
        """What one part declares is nothing to the others."""
        quacks = CommandTable(Command("quack <user> <what>", Role.APP, rule=to_shout, then=shout))
        for events, of_service, line in (
            ((), (Event("shout", Word),), ""),
            ((Event("hum"),), (), "the event scream is told and not declared"),
        ):
            extension = Extension("ducks", commands=(quacks,), events=events)
            service = self.served(*of_service, extension=extension)
            self.assertIn(line, self.told("unknown", service, "quack") or "")
            self.assertEqual(bool(events), bool(line))

    def test_two_of_one_name(self) -> None:
        for make in (Service, Extension):
            with self.assertRaisesRegex(ValueError, "events are Events of different names"):
                make("words", events=(Event("shout"), Event("shout")))


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
