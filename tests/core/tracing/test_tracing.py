"""What is recorded of requests, who is believed, and what it costs where it is off."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, cast
from unittest import mock

from opentelemetry.sdk.trace import ReadableSpan
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.config import Configuration
from bbs.config.sections import Tracing
from bbs.core import tracing
from bbs.core.clock import IReactor
from bbs.core.tracing.exporting import BATCH, PATIENCE, QUEUE, Exporting, collector_at
from bbs.daemons.app import AppServer
from bbs.daemons.daemon import Daemon
from bbs.daemons.login import LoginServerDaemon
from bbs.delivery.bus import Bus
from bbs.protocols.stomp.interfaces import Message
from bbs.scaling.providers import configuration_text, environment
from bbs.storage.database import Database
from bbs.testing import Peer
from bbs.testing.service import IN_MEMORY
from bbs.testing.threads import Inline
from tests.core.tracing.case import (
    SOMEBODYS,
    SPAN,
    TRACE,
    Hanging,
    Spans,
    id_of,
    parent_of,
    trace_of,
)
from tests.failing_commands import FAILING
from tests.memory_service import memory_service

SECRET = "a-secret-of-gateways"


class Off(SynchronousTestCase):
    """There is no collector."""

    def test_nothing_is_done(self) -> None:
        self.assertFalse(tracing.recording)
        self.assertIs(tracing.span("one", root=True), tracing.span("two", SOMEBODYS))
        with tracing.span("one", root=True) as span:
            self.assertEqual((span, tracing.current(), tracing.here()), (None, "", None))
        self.assertIsNone(tracing.begin("one", SOMEBODYS, root=True))
        self.assertEqual(tracing.admitted(SOMEBODYS, True), "")
        tracing.past("one", 1.0, SOMEBODYS)
        self.assertIsNone(self.successResultOf(tracing.stop(cast("IReactor", Clock()))))

    def test_a_server_has_no_such_command(self) -> None:
        service = memory_service()
        self.addCleanup(service.close)
        reply = service.peer().ask(f"traceparent {SOMEBODYS}")
        self.assertEqual((reply["code"], reply["status"]), ("unknown-command", 1))
        self.assertNotIn("traceparent", service.peer().ask("commands"))


class AnyApp(AppServer):
    """An app server of which nothing is to be seen but that it begins to start."""

    begun = False

    async def start(self) -> None:
        self.begun = True


class NotInstalled(SynchronousTestCase):
    """There is a collector, and no OpenTelemetry."""

    def setUp(self) -> None:
        self.config = Configuration(tracing=Tracing(endpoint="http://127.0.0.1:4318"))
        missing = mock.patch.dict(sys.modules, {"bbs.core.tracing.exporting": None})
        missing.start()
        self.addCleanup(missing.stop)

    def start(self, server: Daemon) -> None:
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        server.startService()
        self.addCleanup(lambda: self.successResultOf(server.stopService()))

    def test_a_login_server_does_not_start(self) -> None:
        reasons: list[str] = []
        self.start(
            LoginServerDaemon(
                board, self.config, self.mktemp(), cast("IReactor", Clock()), reasons.append
            )
        )
        (reason,) = reasons
        self.assertIn("pip install 'txbbs[tracing] >= 0.4'", reason)

    def test_an_app_server_does(self) -> None:
        """People wait for it."""
        reasons: list[str] = []
        server = AnyApp(board, self.config, "id", None, cast("IReactor", Clock()), reasons.append)
        with capturedLogs() as logs:
            self.start(server)
        self.assertEqual((server.begun, reasons), (True, []))
        (line,) = (str(formatEvent(event)) for event in logs)
        self.assertIn("pip install 'txbbs[tracing] >= 0.4'", line)

    def test_app_servers_are_told_only_where_there_is_one(self) -> None:
        """Older ones refuse what they do not know."""
        for config, told in ((self.config, True), (Configuration(), False)):
            text = configuration_text(config, ("stomp://a:1",), config.app.listen)
            self.assertEqual("[tracing]" in text, told)

    def test_children_do_not_inherit_a_trace(self) -> None:
        environ = {"TRACEPARENT": SOMEBODYS, "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}
        self.assertEqual(environment(environ), {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"})


class Contexts(SynchronousTestCase):
    """What is taken for a context."""

    def test_right(self) -> None:
        for value in (SOMEBODYS, f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-ff"):
            self.assertTrue(tracing.is_traceparent(value), value)

    def test_wrong(self) -> None:
        for value in (
            "",
            f"01-{TRACE}-{SPAN}-01",
            f"ff-{TRACE}-{SPAN}-01",
            f"00-{TRACE.upper()}-{SPAN}-01",
            f"00-{'0' * 32}-{SPAN}-01",
            f"00-{TRACE}-{'0' * 16}-01",
            f"00-{TRACE[1:]}-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-1",
            f"00-{TRACE}-{SPAN}-01-more",
            f"00-{TRACE}-{SPAN}-01\n",
            f" 00-{TRACE}-{SPAN}-01",
            f"00-{TRACE[:-1]}٣-{SPAN}-01",
            f"00-{TRACE}-{SPAN}-0g",
        ):
            self.assertFalse(tracing.is_traceparent(value), value)


class Requests(SynchronousTestCase):
    """Requests of a service in memory."""

    def setUp(self) -> None:
        self.spans = Spans(self)
        service = replace(board, commands=(*board.commands, FAILING))
        self.service = memory_service(service, gateway_secret=SECRET)
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob"))

    def within(self, top: ReadableSpan) -> list[str]:
        """What `top` has directly in it, by name."""
        found = [span for span in self.spans.all() if parent_of(span) == id_of(top)]
        return sorted(span.name for span in found)

    def test_a_request_is_a_trace(self) -> None:
        self.spans.clear()
        self.service.at_home(self.tokens["ann"]).ask(f"list-friend {self.tokens['ann']}")
        self.assertEqual(parent_of(self.spans.one("list-friend")), "")
        self.assertEqual(self.within(self.spans.one("list-friend")), ["database"])

    def test_a_login_shows_where_its_time_went(self) -> None:
        login = self.spans.named("login")[-1]
        self.assertEqual(
            self.within(login), ["database", "password", "place", "turn"], self.spans.all()
        )

    def test_a_refusal_is_noted_and_no_failure(self) -> None:
        self.service.peer().ask("login ann wrong")
        login = self.spans.named("login")[-1]
        self.assertEqual(dict(login.attributes or {}), {"code": "wrong-credentials"})
        self.assertTrue(login.status.is_unset)

    def test_where_the_service_is_at_fault_is_a_failure(self) -> None:
        peer = self.service.at_home(self.tokens["ann"])
        for command, code in (("divide", "internal-error"), ("look", "unavailable")):
            peer.ask(f"{command} {self.tokens['ann']}")
            status = self.spans.one(command).status
            self.assertEqual((status.is_ok, status.description), (False, code))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_it_goes_on_with_what_the_peer_says(self) -> None:
        peer = self.service.peer()
        self.assertEqual(peer.ask(f"traceparent {SOMEBODYS}")["message"], "Success!")
        peer.ask("ping")
        peer.ask("ping")
        first, second = self.spans.named("ping")
        self.assertEqual((trace_of(first), parent_of(first)), (TRACE, SPAN))
        self.assertEqual(parent_of(second), "")  # It was said of one.
        self.assertNotEqual(trace_of(second), TRACE)

    def test_it_is_of_one_connection(self) -> None:
        one, other = self.service.peer(), self.service.peer()
        one.ask(f"traceparent {SOMEBODYS}")
        other.ask("ping")
        self.assertNotEqual(trace_of(self.spans.one("ping")), TRACE)

    def test_what_is_none_is_refused(self) -> None:
        peer = self.service.peer()
        for words in ("", " nonsense", f" {SOMEBODYS} more", f" {SOMEBODYS.upper()}"):
            reply = peer.ask(f"traceparent{words}")
            self.assertEqual(reply["message"], "Usage: traceparent <context>")
        peer.ask("ping")
        self.assertEqual(parent_of(self.spans.one("ping")), "")
        self.assertEqual(self.spans.named("traceparent"), [])

    def test_no_help_tells_of_it(self) -> None:
        peer = self.service.peer()
        self.assertNotIn("traceparent", peer.ask("help")["message"])
        answer = peer.ask("commands")
        self.assertIs(answer["traceparent"], True)
        self.assertFalse([each for each in answer["commands"] if "trace" in each["usage"]])

    def test_who_waits_at_once_are_told_apart(self) -> None:
        """Two log in, and both wait for the same launch."""
        self.service.boots = False
        peers = {name: self.service.peer() for name in ("eve", "max")}
        for name, peer in peers.items():
            peer.ask(f"register {name} pw")
        self.spans.clear()
        for name, digit in (("eve", "1"), ("max", "2")):
            peers[name].ask(f"traceparent 00-{digit * 32}-{SPAN}-01")
            peers[name].say(f"login {name} pw")
        self.service.settle()
        launched = [id for id in self.service.provider.launched if id not in self.service.servers]
        self.assertEqual(len(launched), 1)
        self.service.boot(launched[0])
        self.service.settle()
        for name, digit in (("eve", "1"), ("max", "2")):
            self.assertEqual([each["status"] for each in peers[name].heard()], [0])
            ours = {span.name for span in self.spans.all() if trace_of(span) == digit * 32}
            self.assertLessEqual({"login", "password", "wait", "place", "database"}, ours)
            (wait,) = (span for span in self.spans.named("wait") if trace_of(span) == digit * 32)
            self.assertIn("place", self.within(wait))
        # Who came first is whom it was launched for.
        for name in ("launch", "boot"):
            self.assertEqual(trace_of(self.spans.one(name)), "1" * 32)

    def send_to(self, name: str) -> None:
        """Have ann send a message to `name`, who listens."""
        ann, reader = self.tokens["ann"], self.tokens[name]
        listener = self.service.listening(reader)
        self.service.at_home(ann).ask(f"invite {ann} {name}")
        self.service.at_home(reader).ask(f"accept-invite {reader} ann")
        self.spans.clear()
        self.service.at_home(ann).ask(f"send {ann} {name} hello")
        self.assertEqual([each["message"] for each in listener.events()], ["hello"])

    def test_a_message_to_a_reader_here_is_delivered_by_its_sender(self) -> None:
        self.send_to("bob")
        self.assertEqual(parent_of(self.spans.one("deliver")), id_of(self.spans.one("send")))
        self.assertEqual(self.spans.named("hint"), [])

    def test_a_message_is_followed_to_its_reader(self) -> None:
        self.tokens |= self.service.people("eve")  # At another app server.
        self.send_to("eve")
        send, deliver = self.spans.one("send"), self.spans.one("deliver")
        (hint,) = (span for span in self.spans.named("hint") if id_of(span) == parent_of(deliver))
        (publish,) = (
            span for span in self.spans.named("publish") if id_of(span) == parent_of(hint)
        )
        self.assertEqual(parent_of(publish), id_of(send))

    def test_nothing_that_anybody_said_is_in_it(self) -> None:
        self.service.peer().ask("register zacharias correct-horse")
        self.service.peer().ask("login zacharias wrong-horse")
        ann = self.service.at_home(self.tokens["ann"])
        ann.ask(f"invite {self.tokens['ann']} bob")
        ann.ask(f"accept-invite {self.tokens['bob']} ann")
        ann.ask(f"send {self.tokens['ann']} bob murmured")
        ann.ask("xyzzy plugh")
        told = "".join(span.to_json() for span in self.spans.all())
        self.assertIn("accept-invite", told)
        for word in ("zacharias", "horse", "murmured", "xyzzy", "plugh", *self.tokens.values()):
            self.assertNotIn(word, told)

    def test_nothing_stays_current(self) -> None:
        self.service.peer().ask("ping")
        self.service.people("eve")
        self.assertIsNone(tracing.here())


class Strangers(SynchronousTestCase):
    """A server that records nothing by itself."""

    def recorded(self, host: str, *greeting: str, flags: str = "01", sample: float = 0.0) -> bool:
        """Whether it records what a peer at `host` says is recorded."""
        spans = Spans(self, sample)
        service = memory_service(gateway_secret=SECRET).start()
        peer = Peer(service.login.factory, host=host)
        for line in (*greeting, f"traceparent 00-{TRACE}-{SPAN}-{flags}"):
            self.assertEqual(peer.ask(line)["status"], 0)
        peer.ask("ping")
        service.close()
        return bool(spans.named("ping"))

    def test_a_stranger_decides_nothing(self) -> None:
        self.assertFalse(self.recorded("192.0.2.1"))

    def test_a_trusted_network_does(self) -> None:
        self.assertTrue(self.recorded("127.0.0.1"))
        self.assertFalse(self.recorded("127.0.0.1", flags="00", sample=1.0))

    def test_a_gateway_does(self) -> None:
        self.assertTrue(self.recorded("192.0.2.1", f"forwarded-for 192.0.2.9 {SECRET}"))

    def test_a_gateway_that_goes_is_forgotten(self) -> None:
        Spans(self, sample=0.0)
        service = memory_service(gateway_secret=SECRET).start()
        self.addCleanup(service.close)
        peer = Peer(service.login.factory, host="192.0.2.1")
        peer.ask(f"forwarded-for 192.0.2.9 {SECRET}")
        traces, connection = service.login.home.traces, peer.protocol
        traces.give(connection, SOMEBODYS, trusted=False)
        self.assertEqual(traces.take(connection), SOMEBODYS)
        peer.ask(f"traceparent {SOMEBODYS}")
        peer.transport.abortConnection()
        self.assertEqual(traces.take(connection), "")
        traces.give(connection, SOMEBODYS, trusted=False)
        self.assertEqual(traces.take(connection), f"{SOMEBODYS[:-2]}00")

    def test_a_stranger_is_recorded_as_anybody(self) -> None:
        self.assertTrue(self.recorded("192.0.2.1", sample=1.0))
        self.assertFalse(self.recorded("192.0.2.1", flags="fe", sample=1.0))


class Hints(SynchronousTestCase):
    """What comes with hints."""

    def test_what_is_no_context_is_passed_over(self) -> None:
        spans, heard = Spans(self), []

        class Stomp:
            def keep_subscribed(self, topic: str, on_message: Any) -> None:
                self.on_message = on_message

        stomp: Any = Stomp()
        Bus(stomp, "bbs").hear_fleet(lambda hint: heard.append(hint["event"]))
        for header in ("", "nonsense", f"00-{'0' * 32}-{SPAN}-01", SOMEBODYS + "x"):
            message = Message("/topic/bbs.fleet", {"traceparent": header}, b'{"event": "ready"}')
            stomp.on_message(message)
        self.assertEqual((heard, len(spans.all())), (["ready"] * 4, 0))


class Spanning(SynchronousTestCase):
    """Spans themselves."""

    def test_coroutines_keep_apart(self) -> None:
        Spans(self)
        seen: list[tuple[str, bool]] = []
        gates: list[Deferred[None]] = [Deferred(), Deferred()]

        async def work(name: str, gate: Deferred[None]) -> None:
            with tracing.span(name, root=True) as span:
                await gate
                seen.append((name, span is tracing.here()))
            self.assertIsNone(tracing.here())

        for number, gate in enumerate(gates):
            Deferred.fromCoroutine(work(str(number), gate))
        self.assertIsNone(tracing.here())
        for gate in reversed(gates):
            gate.callback(None)
        self.assertEqual(seen, [("1", True), ("0", True)])

    def test_who_is_called_back_goes_on(self) -> None:
        """The database answers in the reactor's turn, whoever's that is."""
        Spans(self)
        lanes = Held()
        database = Database(IN_MEMORY, lanes, Clock())
        self.addCleanup(database.close)
        seen: list[bool] = []

        def note(span: tracing.ISpan | None, result: None) -> None:
            seen.append(span is not None and tracing.here() is span)

        for name in ("one", "two"):
            with tracing.span(name, root=True) as span:
                asked = database.run(lambda: None)
            asked.addCallback(partial(note, span))
        lanes.go()
        self.assertEqual((seen, tracing.here()), ([True, True], None))

    def test_an_error_is_noted_by_its_name(self) -> None:
        spans = Spans(self)
        with contextlib.suppress(ValueError), tracing.span("one", root=True):
            raise ValueError("of which the text may be anything")
        status = spans.one("one").status
        self.assertEqual(status.description, "ValueError")
        self.assertNotIn("anything", spans.one("one").to_json())

    def test_without_a_trace_there_is_no_part_of_one(self) -> None:
        spans = Spans(self)
        with tracing.span("one"), tracing.span("two"):
            tracing.past("three", 1.0)
        self.assertEqual(len(spans.all()), 0)

    def test_what_was(self) -> None:
        spans = Spans(self)
        tracing.past("one", 2.0, SOMEBODYS, 3.0)
        one = spans.one("one")
        assert one.start_time is not None and one.end_time is not None
        self.assertEqual(one.end_time - one.start_time, 2_000_000_000)


class Held(Inline):
    """Work that waits until it is told to be done."""

    def __init__(self) -> None:
        self._held: list[Callable[[], None]] = []

    def lane(self, *arguments: Any, **keywords: Any) -> Any:
        lane, held = super().lane(*arguments, **keywords), self._held

        class Lane:
            def put(self, job: Any) -> None:
                held.append(partial(lane.put, job))

        return Lane()

    def go(self) -> None:
        """Do it."""
        for work in self._held:
            work()


class Lost(SynchronousTestCase):
    """A collector that hangs."""

    def setUp(self) -> None:
        self.collector = Hanging()
        tracing.use(Exporting("test", self.collector, 1.0))
        self.addCleanup(tracing.end)
        self.addCleanup(self.collector.let_go.set)

    def record(self, count: int) -> list[int]:
        """Record so many spans; how many are lost by then, each time that the log has it."""
        with capturedLogs() as logs:
            for _ in range(count):
                with tracing.span("one", root=True):
                    pass
        return [event["lost"] for event in logs if "lost" in event]

    def test_nothing_waits_and_nothing_grows(self) -> None:
        """More is recorded than there is room for."""
        self.assertEqual(self.record(BATCH), [])
        self.assertTrue(self.collector.asked.wait(30))
        self.assertEqual(self.record(QUEUE), [])
        # It is looked at once for each batch, and not said again so soon.
        self.assertEqual(self.record(3 * BATCH), [BATCH])
        self.collector.let_go.set()
        tracing.end()
        self.assertEqual(self.collector.given, BATCH + QUEUE)

    def test_a_server_that_stops_waits_for_a_moment(self) -> None:
        with tracing.span("one", root=True):
            pass
        clock: Any = Clock()
        clock.callFromThread = lambda call: None
        stopped = tracing.stop(clock)
        self.assertNoResult(stopped)
        clock.advance(PATIENCE)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(clock.getDelayedCalls(), [])


class NotThere(BaseHTTPRequestHandler):
    """A web server that is no collector."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_error(404, "what the log is not to have")

    def log_message(self, *_: object) -> None:
        """Nobody wants to know."""


class Refused(SynchronousTestCase):
    """A collector that takes nothing."""

    def test_the_log_has_its_status_once(self) -> None:
        server = HTTPServer(("127.0.0.1", 0), NotThere)
        self.addCleanup(server.server_close)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        said: list[str] = []
        observe: Any = lambda event: said.append(formatEvent(event))  # noqa: E731
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        exporting = Exporting("test", collector_at(f"http://127.0.0.1:{server.server_port}"), 1.0)
        tracing.use(exporting)
        self.addCleanup(tracing.end)
        for _ in range(2):
            with tracing.span("one", root=True):
                pass
            exporting.flush()
        self.assertEqual(
            said, ["1 spans were not exported so far: the collector answered with HTTP status 404"]
        )
