"""Spans by OpenTelemetry, and their way to a collector. Loaded only where tracing is on.

OpenTelemetry's batch processor sends them, from a thread of its own. Its queue holds `QUEUE` spans;
more are lost. Nobody waits for a collector that is slow, hangs or is gone. Instead of its warnings,
one for each batch, this server's log has a line at most every `TOLD_EVERY` seconds: how many spans
were lost, and the collector's HTTP status, as its text may hold what was sent.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Thread
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from requests import Response, Session
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from bbs import __version__
from bbs.core.tracing import SAMPLED, ISpan, Value

if TYPE_CHECKING:
    from bbs.core.clock import IReactor

QUEUE = 4096
"""Spans that wait to be sent, some 8 MiB; more are lost."""

BATCH = 512
"""Spans in one request to the collector."""

DELAY = 1.0
"""Seconds at most that a span waits until it is sent, if the collector keeps up."""

DEADLINE = 5.0
"""Seconds that a collector has to take a batch, tries again included."""

PATIENCE = 1.0
"""Seconds that a server which stops waits for the collector to take what there is."""

TOLD_EVERY = 60.0
"""Seconds between two lines in the log that spans are lost."""

_log = Logger()


class Exporting:
    """Begins spans of `service`, and has those that are over and recorded sent by `exporter`."""

    def __init__(self, service: str, exporter: SpanExporter, sample: float) -> None:
        self._sample = sample
        _quieten()
        self._counting = _Counting(exporter)
        resource = Resource.create(
            {"service.name": service, "service.version": __version__, "process.pid": os.getpid()}
        )
        # It would have a hanging collector keep a process from its end.
        self._provider = TracerProvider(
            resource=resource,
            sampler=ALWAYS_ON,  # What is not recorded does not come there.
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Ended(self._counting))
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._counting,
                max_queue_size=QUEUE,
                max_export_batch_size=BATCH,
                schedule_delay_millis=DELAY * 1000,
            )
        )
        self._tracer = self._provider.get_tracer("bbs", __version__)

    def admitted(self, traceparent: str, trusted: bool) -> str:
        """See `bbs.core.tracing.admitted`."""
        # Not by its id, which is the stranger's choice as well.
        recorded = _is_recorded(traceparent) and (trusted or self._draw())
        return f"{traceparent[:-2]}{SAMPLED if recorded else 0:02x}"

    def _draw(self) -> bool:
        return random.random() < self._sample  # nosec B311 # Statistics.

    def begin(
        self,
        name: str,
        parent: ISpan | str | None,
        attributes: Mapping[str, Value],
        since: int | None = None,
    ) -> _Span | _Unrecorded:
        """A span that has begun now, or at `since` (nanoseconds since the epoch)."""
        if isinstance(parent, _Unrecorded):
            return parent
        if isinstance(parent, str) and parent and not _is_recorded(parent):
            return _Unrecorded(parent)
        if not parent and not self._draw():
            return _Unrecorded(_unrecorded_trace())
        context = trace.set_span_in_context(_span_of(parent))
        return _Span(
            self._tracer.start_span(name, context, attributes=attributes, start_time=since)
        )

    def past(
        self,
        name: str,
        parent: ISpan | str,
        seconds: float,
        ago: float,
        attributes: Mapping[str, Value],
    ) -> None:
        """See `bbs.core.tracing.past`."""
        if isinstance(parent, _Unrecorded):
            return
        until = time.time_ns() - int(ago * 1e9)
        self.begin(name, parent, attributes, until - int(seconds * 1e9)).end(until)

    def flush(self) -> None:
        """Send ended spans now. Blocks."""
        self._provider.force_flush()

    def stop(self, reactor: IReactor) -> Deferred[None]:
        """See `bbs.core.tracing.stop`."""
        stopped: Deferred[None] = Deferred()

        def fire() -> None:
            if not stopped.called:
                if impatience.active():
                    impatience.cancel()
                self._counting.tell_last()
                stopped.callback(None)

        impatience = reactor.callLater(PATIENCE, fire)
        self._shut_down(lambda: reactor.callFromThread(fire))
        return stopped

    def end(self) -> None:
        """See `bbs.core.tracing.end`."""
        self._shut_down().join(PATIENCE)

    def _shut_down(self, then: Callable[[], object] = lambda: None) -> Thread:
        def shut_down() -> None:
            try:
                self._provider.shutdown()
            finally:
                then()

        # Its own, and no worker's: those are waited for.
        thread = Thread(target=shut_down, name="end-of-tracing", daemon=True)
        thread.start()
        return thread


@implementer(ISpan)
class _Span:
    """A span of OpenTelemetry's."""

    __slots__ = ("span",)
    recorded = True

    def __init__(self, span: trace.Span) -> None:
        self.span = span

    @property
    def traceparent(self) -> str:
        context = self.span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{SAMPLED:02x}"

    def note(self, **attributes: Value) -> None:
        self.span.set_attributes(attributes)

    def failed(self, why: str = "") -> None:
        self.span.set_status(Status(StatusCode.ERROR, why))

    def end(self, at: int | None = None) -> None:
        self.span.end(at)


@implementer(ISpan)
class _Unrecorded:
    """All spans of a trace that is not recorded. Its context travels, so that other processes do
    not record it either. It costs a fiftieth of a recorded one."""

    __slots__ = ("traceparent",)
    recorded = False

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def note(self, **attributes: Value) -> None:
        pass

    def failed(self, why: str = "") -> None:
        pass

    def end(self, at: int | None = None) -> None:
        pass


def _is_recorded(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & SAMPLED)


def _unrecorded_trace() -> str:
    # An id of all zeros is none.
    trace_id = random.getrandbits(128) or 1  # nosec B311 # Nothing is kept secret by it.
    span_id = random.getrandbits(64) or 1  # nosec B311
    return f"00-{trace_id:032x}-{span_id:016x}-00"


def collector_at(endpoint: str) -> SpanExporter:
    """Make the exporter to a collector at `endpoint` (OTLP's specification, "Endpoint URLs for
    OTLP/HTTP"); OTEL_EXPORTER_OTLP_HEADERS may have a credential for it."""
    return _Collector(f"{endpoint.rstrip('/')}/v1/traces")


class _Collector(OTLPSpanExporter):
    """OpenTelemetry's own, which keeps to itself what it was answered."""

    def __init__(self, endpoint: str) -> None:
        self.status: int | None = None
        """HTTP's, of the last answer to the last batch; None: there was no answer."""
        session = Session()
        session.hooks["response"].append(self._answered)
        super().__init__(endpoint=endpoint, timeout=DEADLINE, session=session)

    def _answered(self, response: Response, *_: object, **__: object) -> None:
        self.status = response.status_code

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.status = None
        return super().export(spans)


def _span_of(parent: ISpan | str | None) -> trace.Span:
    if isinstance(parent, _Span):
        return parent.span
    if not isinstance(parent, str) or not parent:
        return trace.INVALID_SPAN
    _, trace_id, span_id, flags = parent.split("-")
    context = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16))
    )
    return trace.NonRecordingSpan(context)


class _Ended(SpanProcessor):
    """Counts the spans that are to be sent."""

    def __init__(self, counting: _Counting) -> None:
        self._counting = counting

    def on_end(self, span: ReadableSpan) -> None:
        self._counting.ended += 1
        if self._counting.ended % BATCH == 0:
            self._counting.look()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True  # Older versions' own says nothing, and then the others are not asked.


class _Counting(SpanExporter):
    """Sends by another exporter, and tells the log of what was lost, but not of each batch."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.ended = 0
        self._exporter = exporter
        self._sent = self._refused = self._told = 0
        self._told_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._sent += len(spans)
        else:
            self._refused += len(spans)
            self.look()
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True

    @property
    def lost(self) -> int:
        """Spans that were refused, or had no room in the queue."""
        waiting = self.ended - self._sent - self._refused
        return self._refused + max(0, waiting - QUEUE - BATCH)

    def look(self) -> None:
        """Say how many are lost, if that has grown and has not been said just now."""
        now, lost = time.monotonic(), self.lost
        if lost > self._told and now - self._told_at >= TOLD_EVERY:
            self._told, self._told_at = lost, now
            status = getattr(self._exporter, "status", None)
            why = f": it answered with HTTP status {status}" if status else ""
            _log.warn("the collector of traces lacks {lost} spans by now{why}", lost=lost, why=why)

    def tell_last(self) -> None:
        """This process ends: what has not been sent is lost too."""
        lost = self.ended - self._sent
        if lost > 0:
            _log.info("the collector of traces has not got {lost} spans", lost=lost)


def _quieten() -> None:
    """Have OpenTelemetry's own loggers say nothing: without a handler their warnings go to standard
    error, one for each batch."""
    logger = logging.getLogger("opentelemetry")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False
