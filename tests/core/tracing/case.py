"""Spans of what happens in a test's own process."""

from __future__ import annotations

from collections.abc import Sequence
from threading import Event
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bbs.core import tracing
from bbs.core.tracing.exporting import Exporting

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SOMEBODYS = f"00-{TRACE}-{SPAN}-01"
"""W3C's example of a context."""


class Spans:
    """What is recorded from now on, until the test `case` is over."""

    def __init__(self, case: Any, sample: float = 1.0) -> None:
        self._exporter = InMemorySpanExporter()
        self._exporting = Exporting("test", self._exporter, sample)
        tracing.use(self._exporting)
        case.addCleanup(tracing.end)

    def all(self) -> Sequence[ReadableSpan]:
        """Those that are over."""
        self._exporting.flush()
        return self._exporter.get_finished_spans()

    def clear(self) -> None:
        """Forget what was until now."""
        self.all()
        self._exporter.clear()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of that name, in the order in which they ended."""
        return [span for span in self.all() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        """The only one of that name."""
        (found,) = self.named(name)
        return found


def trace_of(span: ReadableSpan) -> str:
    """The id of its trace."""
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def id_of(span: ReadableSpan) -> str:
    """Its own id."""
    assert span.context is not None
    return f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> str:
    """The id of what it is part of, "" for nothing."""
    return f"{span.parent.span_id:016x}" if span.parent else ""


class Hanging(SpanExporter):
    """A collector that takes nothing, until it is let go."""

    def __init__(self) -> None:
        self.asked, self.let_go = Event(), Event()
        self.given = 0
        """How many spans it was to take."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.given += len(spans)
        self.asked.set()
        self.let_go.wait(60)
        return SpanExportResult.FAILURE
