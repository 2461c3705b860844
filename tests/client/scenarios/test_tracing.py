"""What a client says of traces, and to whom."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import BBSClient
from bbs.client import Origin
from bbs.client.connection import ServerConnection
from bbs.core import tracing
from tests.client.case import LOGIN, SECRET, TRUSTING, ClientTestCase
from tests.core.tracing.case import Spans, id_of, parent_of, trace_of


class Service(ClientTestCase):
    """A client and a service that both keep traces."""

    def setUp(self) -> None:
        super().setUp()
        self.spans = Spans(self)
        self.result(self.client.learn())
        self.result(self.client.register("ann", "pw"))

    def test_what_is_asked_goes_on_at_the_server(self) -> None:
        self.result(self.client.login("ann", "pw"))
        self.spans.clear()
        self.result(self.client.post("ann", "hello"))
        self.assertEqual(parent_of(self.spans.one("post")), id_of(self.spans.one("ask post")))

    def test_a_login_does(self) -> None:
        """It has a connection of its own."""
        self.result(self.client.login("ann", "pw"))
        asked, login = self.spans.one("ask login"), self.spans.one("login")
        self.assertEqual((parent_of(asked), parent_of(login)), ("", id_of(asked)))

    def test_several_at_once_are_told_apart(self) -> None:
        self.result(self.client.login("ann", "pw"))
        self.spans.clear()
        asked = [self.client.post("ann", str(number)) for number in range(3)]
        self.network.flush()
        for each in asked:
            self.successResultOf(each)
        traces = {trace_of(span) for span in self.spans.named("post")}
        self.assertEqual(len(traces), 3)
        self.assertEqual(traces, {trace_of(span) for span in self.spans.named("ask post")})

    def test_what_is_no_command_is_not_shown(self) -> None:
        self.result(self.client.request("my-password-by-mistake"))
        self.assertEqual(len(self.spans.named("ask unknown")), 1)
        self.assertNotIn("mistake", "".join(span.to_json() for span in self.spans.all()))


class Gateways(ClientTestCase):
    """A client that says for whom it speaks."""

    def make_config(self) -> Any:
        return TRUSTING

    def test_nothing_comes_before_that(self) -> None:
        spans = Spans(self)
        origin = Origin("192.0.2.1", SECRET)
        client = BBSClient(self.clock, LOGIN, self.network.endpoint, origin=origin)
        self.result(client.learn())
        self.result(client.register("ann", "pw"))
        register = spans.one("register")
        self.assertEqual(parent_of(register), id_of(spans.one("ask register")))
        self.assertEqual({parent_of(each) for each in spans.named("forwarded-for")}, {""})


class Untold(ClientTestCase):
    """A server that keeps none."""

    def test_it_is_not_told(self) -> None:
        """It was asked when neither kept any."""
        self.result(self.client.learn())
        spans = Spans(self)
        self.result(self.client.register("ann", "pw"))
        self.assertEqual(parent_of(spans.one("register")), "")


class OneConnection(SynchronousTestCase):
    """What goes over the wire."""

    def setUp(self) -> None:
        Spans(self)
        self.transport: Any = StringTransport()
        for name in ("setTcpKeepAlive", "setTcpNoDelay"):
            setattr(self.transport, name, lambda on: None)
        self.connection = ServerConnection(Clock(), LOGIN, lambda: True)
        self.connection.makeConnection(self.transport)

    def ask(self) -> Any:
        """A request, as part of a trace."""
        self.transport.clear()
        with tracing.span("one", root=True):
            trace = tracing.current()
            asked = self.connection.ask(b"ping\n", 30.0)
        return asked, trace

    def test_the_reply_is_the_requests(self) -> None:
        asked, trace = self.ask()
        self.assertEqual(self.transport.value().decode(), f"traceparent {trace}\nping\n")
        self.connection.dataReceived(b'{"status": 0, "message": "Success!"}\n')
        self.assertNoResult(asked)
        self.connection.dataReceived(b'{"status": 0, "message": "Pong!"}\n')
        self.assertEqual(self.successResultOf(asked).message, "Pong!")

    def test_a_server_that_does_not_know_it_is_told_once(self) -> None:
        """An app server of before, beside a login server that offers it."""
        asked, _ = self.ask()
        self.connection.dataReceived(
            b'{"status": 1, "message": "Unknown command traceparent", "code": "unknown-command"}\n'
            b'{"status": 0, "message": "Pong!"}\n'
        )
        self.assertEqual(self.successResultOf(asked).message, "Pong!")
        self.ask()
        self.assertEqual(self.transport.value(), b"ping\n")

    def test_outside_of_a_trace_nothing_is_said(self) -> None:
        self.connection.ask(b"ping\n", 30.0)
        self.assertEqual(self.transport.value(), b"ping\n")
