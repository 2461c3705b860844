"""What a line of a server's log is: text as twistd writes it, or JSON for collectors."""

from __future__ import annotations

import ast
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import Logger, LogLevel, LogPublisher, textFileLogObserver
from twisted.logger._legacy import publishToNewObserver
from twisted.python.failure import Failure
from twisted.python.log import textFromEventDict
from twisted.trial.unittest import SynchronousTestCase

import bbs
from bbs import __version__
from bbs.core import tracing
from bbs.daemons.logs import (
    LONGEST,
    MOST_PLACES,
    REPEAT_INTERVAL,
    RepeatedFailures,
    Speaker,
    as_json,
    as_text,
    written_as,
)

APP = Speaker("bbs", "app", "3641a6658e63c4c18d88cbd486d2a4ec")

NOON = 1796299200.1239
"""2026-12-03T12:00:00.123Z."""

LEVELS = ("debug", "info", "warn", "error", "critical", "failure")

ALWAYS = {"time", "level", "message", "logger", "service", "server_kind", "version"}
SOMETIMES = {"server_id", "trace_id", "span_id", "fields", "exception", "traceback"}


def emitted(level: LogLevel, form: str, **fields: Any) -> dict[str, Any]:
    """An event, as Twisted's logger makes it."""
    found: list[dict[str, Any]] = []
    publisher = LogPublisher(found.append)  # type: ignore[arg-type]
    Logger("bbs.here", observer=publisher).emit(level, form, **fields)
    return {**found[0], "log_time": NOON}


def failed(error: Exception, form: str = "it went wrong", **fields: Any) -> dict[str, Any]:
    """An event with a traceback."""
    try:
        raise error
    except type(error):
        return emitted(LogLevel.critical, form, log_failure=Failure(), **fields)


def told_before(text: str, **fields: Any) -> dict[str, Any]:
    """An event, as `twisted.python.log` makes it, which much of Twisted still uses."""
    found: list[dict[str, Any]] = []
    legacy = {
        "message": (text,) if text else (),
        "isError": 0,
        "system": "-",
        "time": NOON,
        **fields,
    }
    publishToNewObserver(found.append, legacy, textFromEventDict)  # type: ignore[arg-type]
    return found[0]


class Json(SynchronousTestCase):
    def line(self, event: dict[str, Any], speaker: Speaker = APP) -> dict[str, Any]:
        """The object that a line is, which is held to the schema."""
        line = as_json(event, speaker)
        self.assertTrue(line.endswith("\n") and line.isascii())
        self.assertEqual(len(line.splitlines()), 1)
        self.assertIsNone(re.search("[\x00-\x1f\x7f]", line[:-1]))
        self.assertLessEqual(len(line), LONGEST)
        found = json.loads(line, parse_constant=self.fail)
        self.assertLessEqual({*found}, ALWAYS | SOMETIMES)
        self.assertLessEqual(ALWAYS - {*found}, {"time"})
        # What readers in other languages refuse.
        line.encode("ascii").decode("utf-8")
        json.dumps(found, ensure_ascii=False).encode("utf-8")
        return dict(found)

    def test_what_it_has(self) -> None:
        event = emitted(LogLevel.warn, "server {server} is lost: {reason}", server="ab", reason="x")
        self.assertEqual(
            list(self.line(event).items()),
            [
                ("time", "2026-12-03T12:00:00.123Z"),
                ("level", "warn"),
                ("message", "server ab is lost: x"),
                ("logger", "bbs.here"),
                ("service", "bbs"),
                ("server_kind", "app"),
                ("server_id", APP.id),
                ("version", __version__),
                ("fields", {"server": "ab", "reason": "x"}),
            ],
        )

    def test_who_has_no_id_yet(self) -> None:
        found = self.line(emitted(LogLevel.info, "hello"), Speaker("lobby", "telnet"))
        self.assertEqual(found["server_kind"], "telnet")
        self.assertFalse({"server_id", "fields"} & {*found})

    def test_levels(self) -> None:
        levels = [self.line(emitted(each, "x"))["level"] for each in LogLevel.iterconstants()]
        self.assertEqual(levels, ["debug", "info", "warn", "error", "critical"])

    def test_fields_are_what_the_text_says(self) -> None:
        """Texts and numbers, and none that the text leaves out."""
        event = emitted(
            LogLevel.info,
            "{count} {seconds:.1f} {name!r} {flag} {nothing} {place.kind} {call()} {thing}"
            " {log_level}",
            count=3,
            seconds=0.25,
            name="ann",
            flag=True,
            nothing=None,
            place=APP,
            call=lambda: 1,
            thing=object(),
            password="not to be told",
        )
        found = self.line(event)
        self.assertEqual(
            found["fields"],
            {"count": 3, "seconds": 0.25, "name": "ann", "flag": True, "nothing": None},
        )
        self.assertNotIn("password", found)
        self.assertNotIn("not to be told", as_json(event, APP))

    def test_numbers_that_are_none_elsewhere(self) -> None:
        event = emitted(
            LogLevel.info, "{a} {b} {c} {d}", a=float("nan"), b=float("inf"), c=2**53, d=2**53 - 1
        )
        self.assertEqual(self.line(event)["fields"], {"d": 2**53 - 1})

    def test_what_peers_send(self) -> None:
        """It steers no terminal, ends no line, and breaks no reader."""
        for text in ('a"b\\', "\r\n{}\x00\x1b[2J\x7f\x85\u2028", "\u202egnp", "\ud800", "Ärger 🙂"):
            found = self.line(emitted(LogLevel.info, "said {text}", text=text))
            wanted = text.replace("\ud800", "\\ud800")
            self.assertEqual(found["message"], f"said {wanted}")
            self.assertEqual(found["fields"], {"text": wanted})

    @given(st.text(st.characters()), st.dictionaries(st.text(), st.integers() | st.floats()))
    def test_whatever_it_is(self, text: str, more: dict[str, Any]) -> None:
        self.line(
            emitted(LogLevel.info, "{text}", text=text, **{f"x{key}": more[key] for key in more})
        )
        self.line({"log_format": text, "log_time": NOON, "log_namespace": text})

    def test_long_texts_are_cut(self) -> None:
        """However many bytes each character takes."""
        for text in ("x" * 10**6, "\x1b" * 10**6, "🙂" * 10**5, "\ud800" * 10**5):
            found = self.line(failed(ValueError(text), "said {a} {b} {c}", a=text, b=text, c=text))
            self.assertTrue(found["message"].endswith("…"))
            self.assertEqual({*found["fields"]}, {"a", "b", "c"})
            self.assertIn("…", found["traceback"])

    def test_many_fields(self) -> None:
        names = [f"x{number}" for number in range(100)]
        form = " ".join(f"{{{name}}}" for name in names)
        found = self.line(emitted(LogLevel.info, form, **dict.fromkeys(names, "🙂" * 1000)))
        self.assertEqual([*found["fields"]], names[:16])

    def test_tracebacks(self) -> None:
        found = self.line(failed(KeyError("ann"), "a step of {server} went wrong", server="ab"))
        self.assertEqual(found["message"], "a step of ab went wrong")
        self.assertEqual(found["exception"], "builtins.KeyError")
        lines = found["traceback"].splitlines()
        self.assertEqual(lines[0], "Traceback (most recent call last):")
        self.assertEqual(lines[-1], "builtins.KeyError: 'ann'")

    def test_the_end_of_a_long_traceback_stays(self) -> None:
        found = self.line(failed(ValueError("x" * 20_000 + "the end")))
        self.assertTrue(found["traceback"].startswith("Traceback"))
        self.assertTrue(found["traceback"].rstrip().endswith("the end"))

    def test_formats_that_are_none(self) -> None:
        for form in ("{", "{}", "{0}", "{missing}", "{a", "}{"):
            found = self.line({"log_format": form, "log_time": NOON, "a": 1})
            self.assertNotIn("fields", found)

    def test_what_twisted_says_as_before(self) -> None:
        found = self.line(told_before("Starting factory"))
        self.assertEqual((found["message"], found["level"]), ("Starting factory", "info"))
        try:
            raise ValueError("mistake")
        except ValueError:
            event = told_before("", failure=Failure(), why="it broke", isError=1)
        found = self.line(event)
        self.assertEqual((found["message"], found["level"]), ("it broke", "critical"))
        self.assertEqual(found["exception"], "builtins.ValueError")
        self.assertEqual(found["traceback"].count("Traceback"), 1)

    def test_who_speaks_is_asked_each_time(self) -> None:
        speaker = Speaker("bbs", "login")
        line = written_as("json", lambda: speaker)
        event = emitted(LogLevel.info, "x")
        before = json.loads(line(event) or "")
        speaker = Speaker("bbs", "login", "ab")
        after = json.loads(line(event) or "")
        self.assertEqual((before.get("server_id"), after["server_id"]), (None, "ab"))


class Traced(SynchronousTestCase):
    """What is part of a trace."""

    def setUp(self) -> None:
        recording: Any = SimpleNamespace(end=lambda: None)
        tracing.use(recording)
        self.addCleanup(tracing.end)
        span: Any = SimpleNamespace(traceparent=f"00-{'4b' * 16}-{'c7' * 8}-01")
        part = tracing.within(span)
        part.__enter__()
        self.addCleanup(part.__exit__, None, None, None)

    def test_json(self) -> None:
        found = json.loads(as_json(emitted(LogLevel.info, "hello"), APP))
        self.assertEqual((found["trace_id"], found["span_id"]), ("4b" * 16, "c7" * 8))

    def test_text(self) -> None:
        """Behind the message, so that who looks for the trace finds what it is."""
        event = emitted(LogLevel.info, "hello")
        text = as_text(event) or ""
        self.assertTrue(text.endswith(f"[bbs.here#info] hello [trace {'4b' * 16}]\n"), text)
        first, second, *_ = (as_text(failed(ValueError("mistake"))) or "").splitlines()
        self.assertTrue(first.endswith(f"it went wrong [trace {'4b' * 16}]"), first)
        self.assertEqual(second, "\tTraceback (most recent call last):")
        self.assertIsNone(as_text({"log_format": ""}))


class Text(SynchronousTestCase):
    def test_it_is_twistds(self) -> None:
        """To the byte."""
        for event in (
            emitted(LogLevel.info, "hello {name!r}", name="ann"),
            failed(ValueError("mistake")),
            told_before("Starting factory"),
            {"log_format": ""},
        ):
            out = io.StringIO()
            textFileLogObserver(out)(event)
            self.assertEqual(as_text(event) or "", out.getvalue())
            self.assertEqual(written_as("text", lambda: APP)(event), as_text(event))


class Ours(SynchronousTestCase):
    """What this project's own lines say is in fields."""

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call of a logger, and where it is."""
        for path in sorted(Path(bbs.__file__).parent.rglob("*.py")):
            text = path.read_text()
            for node in ast.walk(ast.parse(text)) if "log." in text else ():
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    told_by = ast.unparse(node.func.value)
                    if node.func.attr in LEVELS and re.fullmatch(r"(self\.)?_?log", told_by):
                        yield f"{path}:{node.lineno}", node

    def test_nothing_is_put_into_the_text(self) -> None:
        """Else there were no field to look for, and braces of a peer's would be read as fields."""
        found = 0
        for place, call in self.calls():
            form = call.args[0]
            self.assertIsInstance(form, ast.Constant, place)
            assert isinstance(form, ast.Constant)
            names = set(re.findall(r"{(\w+)", str(form.value)))
            self.assertEqual(names - {each.arg for each in call.keywords}, set(), place)
            # An app server is `server`, in every line that speaks of one.
            self.assertEqual(names & {"launch_id", "server_id", "id"}, set(), place)
            found += 1
        self.assertGreater(found, 80)


class Reactor(MemoryReactorClock):
    """One with a clock, whose threads are one."""

    def callFromThread(self, call: Any, *arguments: Any) -> None:
        call(*arguments)

    def shut_down(self) -> None:
        for call, arguments, named in self.triggers["after"]["shutdown"]:
            call(*arguments, **named)


class Repeats(SynchronousTestCase):
    """Tracebacks that somebody causes again and again."""

    def setUp(self) -> None:
        self.reactor: Any = Reactor()
        self.seen: list[dict[str, Any]] = []
        self.observer = RepeatedFailures(self.seen.append, self.reactor)  # type: ignore[arg-type]

    def texts(self) -> list[str]:
        """What was written since the last look."""
        found = [str(as_text(event)) for event in self.seen]
        self.seen.clear()
        return found

    def test_one_of_a_place_in_a_minute_and_the_number_of_the_others(self) -> None:
        for _ in range(8335):
            self.observer(failed(ValueError("bad"), "it went wrong"))
        (first,) = self.texts()
        self.assertIn("it went wrong\n\tTraceback", first)
        self.reactor.advance(REPEAT_INTERVAL)
        (rest,) = self.texts()
        self.assertRegex(
            rest,
            r"^2026-\S+ \[bbs.here#error\] … and 8,334 more like it in the last minute:"
            r" builtins.ValueError in \S+/test_log_lines.py:[0-9]+\n$",
        )
        self.observer(failed(ValueError("bad"), "it went wrong"))
        self.assertEqual(len(self.texts()), 1)
        self.reactor.advance(REPEAT_INTERVAL)
        self.assertEqual(self.texts(), [])

    def test_in_json_the_number_is_a_field(self) -> None:
        for _ in range(3):
            self.observer(failed(ValueError("bad")))
        self.reactor.advance(REPEAT_INTERVAL)
        line = json.loads(as_json(self.seen[-1], APP))
        self.assertEqual((line["level"], line["logger"]), ("error", "bbs.here"))
        self.assertEqual(line["fields"]["count"], 2)

    def test_other_places_and_other_errors(self) -> None:
        def elsewhere() -> dict[str, Any]:
            try:
                int("x")
            except ValueError:
                return emitted(LogLevel.critical, "also wrong", log_failure=Failure())
            raise AssertionError

        for _ in range(2):
            self.observer(failed(ValueError("bad")))
            self.observer(failed(KeyError("bad")))
            self.observer(elsewhere())
        self.assertEqual(len(self.texts()), 3)

    def test_one_that_was_raised_nowhere_counts_by_its_format(self) -> None:
        for form in ("one {x}", "one {x}", "another"):
            event = emitted(LogLevel.critical, form, log_failure=Failure(ValueError("bad")), x=1)
            self.observer(event)
        self.assertEqual(len(self.texts()), 2)
        self.reactor.advance(REPEAT_INTERVAL)
        (rest,) = self.texts()
        self.assertIn("and 1 more like it in the last minute: builtins.ValueError (one {x})", rest)

    def test_what_has_no_traceback_is_written_each_time(self) -> None:
        for _ in range(3):
            self.observer(emitted(LogLevel.error, "the database is away"))
        self.assertEqual(len(self.texts()), 3)

    def test_the_number_is_written_when_the_process_ends(self) -> None:
        for _ in range(3):
            self.observer(failed(ValueError("bad")))
        self.texts()
        self.reactor.shut_down()
        (rest,) = self.texts()
        self.assertIn("and 2 more like it", rest)

    def test_of_very_many_places_all_others_are_one(self) -> None:
        for number in range(2 * MOST_PLACES):
            code = compile("\n" * number + "raise ValueError", "a_file.py", "exec")
            try:
                exec(code, {})
            except ValueError:
                self.observer(emitted(LogLevel.critical, "wrong", log_failure=Failure()))
        self.assertEqual(len(self.texts()), MOST_PLACES + 1)
        self.reactor.advance(REPEAT_INTERVAL)
        (rest,) = self.texts()
        self.assertIn(f"and {MOST_PLACES - 1} more like it in the last minute: other places", rest)
