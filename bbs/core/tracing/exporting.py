"""Spans of OpenTelemetry, and their export to a collector. Loaded only if tracing is on.

OpenTelemetry's batch processor sends them, from a thread of its own. Its queue holds `QUEUE` spans;
more are lost. Nothing waits for a collector that is slow, hangs or is gone. OpenTelemetry would
log a warning for each batch. Instead, this server's log has a line at most every `LOG_INTERVAL`
seconds: how many spans were lost, and the collector's HTTP status. The text of the collector's
answer is not logged, as it may hold what was sent.
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

Values = Mapping[str, Value]
QUEUE = 4096  # Spans that wait to be sent, some 8 MiB; more are lost.
BATCH = 512  # Spans in one request to the collector.
DELAY = 1.0  # Seconds at most that a span waits until it is sent, if the collector keeps up.
DEADLINE = 5.0  # Seconds that a collector has to take a batch, retries included.
PATIENCE = 1.0  # Seconds that a server which stops waits for the collector to take the last spans.
LOG_INTERVAL = 60.0  # Seconds between two lines in the log that spans are lost.

_log = Logger()


class Exporting:
    """Begins spans of `service`, and sends the recorded ones by `exporter` when they end. The
    methods are those of `bbs.core.tracing`."""

    def __init__(
        self, service: str, exporter: SpanExporter, sample: float, version: str = __version__
    ) -> None:
        self._sample = sample
        # Without a handler OpenTelemetry's warnings go to standard error, one for each batch.
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        self._counting = _CountingExporter(exporter)
        resource = Resource.create(
            {"service.name": service, "service.version": version, "process.pid": os.getpid()}
        )
        self._provider = TracerProvider(
            resource=resource,
            sampler=ALWAYS_ON,  # Spans that are not recorded never get there.
            shutdown_on_exit=False,  # A collector that hangs would keep the process from ending.
        )
        self._provider.add_span_processor(_EndedSpanCounter(self._counting))
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
        # Sampling does not use the trace's id: the peer may have chosen that as well.
        recorded = _is_recorded(traceparent) and (trusted or self._is_sampled())
        return f"{traceparent[:-2]}{SAMPLED if recorded else 0:02x}"

    def _is_sampled(self) -> bool:
        return random.random() < self._sample  # nosec B311 # Statistics.

    def begin(
        self, name: str, parent: ISpan | str | None, attributes: Values, since: int | None = None
    ) -> _Span | _Unrecorded:
        """Begin a span now, or at `since` (nanoseconds since the epoch)."""
        if isinstance(parent, _Unrecorded):
            return parent
        if isinstance(parent, str) and parent and not _is_recorded(parent):
            return _Unrecorded(parent)
        if not parent and not self._is_sampled():
            # A valid id is not all 0.
            trace_id = random.getrandbits(128) or 1  # nosec B311 # It protects no secret.
            span_id = random.getrandbits(64) or 1  # nosec B311
            return _Unrecorded(f"00-{trace_id:032x}-{span_id:016x}-00")
        context = trace.set_span_in_context(_span_of(parent))
        return _Span(
            self._tracer.start_span(name, context, attributes=attributes, start_time=since)
        )

    def past(
        self, name: str, parent: ISpan | str, seconds: float, ago: float, attributes: Values
    ) -> None:
        if isinstance(parent, _Unrecorded):
            return
        until = time.time_ns() - int(ago * 1e9)
        self.begin(name, parent, attributes, until - int(seconds * 1e9)).end(until)

    def flush(self) -> None:
        """Send ended spans now. Blocks."""
        self._provider.force_flush()

    def stop(self, reactor: IReactor) -> Deferred[None]:
        stopped: Deferred[None] = Deferred()

        def fire() -> None:
            if not stopped.called:
                if impatience.active():
                    impatience.cancel()
                self._counting.log_last()
                stopped.callback(None)

        impatience = reactor.callLater(PATIENCE, fire)
        self._shut_down(lambda: reactor.callFromThread(fire))
        return stopped

    def end(self) -> None:
        self._shut_down().join(PATIENCE)

    def _shut_down(self, then: Callable[[], object] = lambda: None) -> Thread:
        def shut_down() -> None:
            try:
                self._provider.shutdown()
            finally:
                then()

        # Not a worker's thread: those are waited for.
        thread = Thread(target=shut_down, name="end-of-tracing", daemon=True)
        thread.start()
        return thread


@implementer(ISpan)
class _Span:
    """A recorded span."""

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
    """Any span of a trace that is not recorded. Its context is passed on, so that other processes
    do not record the trace either. Such a span costs a fiftieth of a recorded one."""

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


def collector_at(endpoint: str) -> SpanExporter:
    """Make the exporter to a collector at `endpoint` (OTLP's specification, "Endpoint URLs for
    OTLP/HTTP"); OTEL_EXPORTER_OTLP_HEADERS may have a credential for it."""
    return _CollectorExporter(f"{endpoint.rstrip('/')}/v1/traces")


class _CollectorExporter(OTLPSpanExporter):
    """OpenTelemetry's exporter, which also notes the collector's HTTP status."""

    def __init__(self, endpoint: str) -> None:
        self.status: int | None = None  # Of the last answer to the last batch; None without one.
        session = Session()
        session.hooks["response"].append(self._note_status)
        super().__init__(endpoint=endpoint, timeout=DEADLINE, session=session)

    def _note_status(self, response: Response, *_: object, **__: object) -> None:
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


class _EndedSpanCounter(SpanProcessor):
    """Counts the spans that are to be sent."""

    def __init__(self, counting: _CountingExporter) -> None:
        self._counting = counting

    def on_end(self, span: ReadableSpan) -> None:
        self._counting.ended += 1
        if self._counting.ended % BATCH == 0:
            self._counting.log_lost()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True  # In older versions the base returns None: other processors are not flushed.


class _CountingExporter(SpanExporter):
    """Sends by another exporter, and logs how many spans were lost, but not for each batch."""

    def __init__(self, exporter: SpanExporter) -> None:
        self.ended = 0
        self._exporter = exporter
        self._sent = self._refused = self._logged = 0
        self._logged_at = float("-inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._sent += len(spans)
        else:
            self._refused += len(spans)
            self.log_lost()
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

    def log_lost(self) -> None:
        """Log how many are lost, if the number has grown and was not logged just now."""
        now, lost = time.monotonic(), self.lost
        if lost > self._logged and now - self._logged_at >= LOG_INTERVAL:
            self._logged, self._logged_at = lost, now
            status = getattr(self._exporter, "status", None)
            why = f": the collector answered with HTTP status {status}" if status else ""
            _log.warn("{lost} spans were not exported so far{why}", lost=lost, why=why)

    def log_last(self) -> None:
        """Log how many are lost at the end of the process, with those that have not been sent."""
        lost = self.ended - self._sent
        if lost > 0:
            _log.info("{lost} spans were not exported", lost=lost)
