"""Requests as parts of traces, the contexts that peers give for them, and how long they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from bbs.core import tracing
from bbs.core.values import Timing
from bbs.protocols.line import IConnection, Reply

FAULTS = ("internal-error", "unavailable")
"""Codes of replies where the service is at fault, and not what was asked."""


class RequestTraces:
    """What the peers of a server's connections have said of their next requests.

    Whose word decides whether a trace is recorded: that of gateways that know the secret, and of
    networks that are trusted. Of all others the trace is taken, and what is recorded is decided
    here.
    """

    def __init__(self) -> None:
        self._given: dict[IConnection, str] = {}
        self._believed: set[IConnection] = set()

    def believe(self, connection: IConnection) -> None:
        """The peer is one of ours."""
        if tracing.is_on():
            self._believed.add(connection)

    def give(self, connection: IConnection, traceparent: str, trusted: bool) -> None:
        """The next request on `connection` is part of that."""
        trusted = trusted or connection in self._believed
        self._given[connection] = tracing.admitted(traceparent, trusted)

    def take(self, connection: IConnection) -> str:
        """Of what the request that has come is part, "" for nothing that is known."""
        return self._given.pop(connection, "")

    def forget(self, connection: IConnection) -> None:
        """It is gone."""
        self._given.pop(connection, None)
        self._believed.discard(connection)


@contextmanager
def failing(span: tracing.ISpan | None) -> Iterator[None]:
    """End `span` where there is not even an answer to wait for."""
    try:
        yield
    except Exception:
        if span is not None:
            span.failed("internal-error")
            span.end()
        raise


def ending(answer: Reply | Deferred[Reply], span: tracing.ISpan | None) -> Reply | Deferred[Reply]:
    """`answer`, with which `span` ends."""
    if span is None:
        return answer
    if isinstance(answer, Deferred):
        return answer.addCallbacks(_answered, _failed, (span,), {}, (span,))
    return _answered(answer, span)


def timed(
    answer: Reply | Deferred[Reply],
    timing: Timing,
    command: str,
    began: float,
    span: tracing.ISpan | None,
) -> Reply | Deferred[Reply]:
    """`answer`, with which the request that `began` then is measured."""
    told = timing.requests
    if told is None:
        return answer

    def tell(reply: Reply) -> Reply:
        with tracing.within(span):
            told(command, timing.seconds() - began)
        return reply

    return answer.addCallback(tell) if isinstance(answer, Deferred) else tell(answer)


def _answered(answer: Reply, span: tracing.ISpan) -> Reply:
    if code := answer.body.get("code"):
        span.note(code=str(code))
        if code in FAULTS:
            span.failed(str(code))
    span.end()
    return answer


def _failed(failure: Failure, span: tracing.ISpan) -> Failure:
    span.failed("gone" if failure.check(CancelledError) else "internal-error")
    span.end()
    return failure
