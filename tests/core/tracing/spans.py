"""A collector of traces, and what it was sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from twisted.internet import reactor as installed
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

reactor: Any = installed

PATH = "/v1/traces"


@dataclass(frozen=True)
class Recorded:
    """A span as it came; times in seconds since the epoch."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    begin: float
    end: float
    failed: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.begin


class Collector:
    """Takes OTLP over HTTP at `endpoint`, once it was started.

    `mood` is what it does with a batch: `well`; `hang`, it never answers; a number, that status; or
    `garbage`.
    """

    def __init__(self, mood: str = "well") -> None:
        self.mood = mood
        self.spans: list[Recorded] = []
        self.batches = 0
        self.headers: list[Mapping[str, str]] = []
        self._hanging: list[Any] = []

    def start(self) -> None:
        """Listen on a free port."""
        resource = _Traces(self)
        self._port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")
        self.endpoint = f"http://127.0.0.1:{self._port.getHost().port}"

    async def stop(self) -> None:
        """Listen no more."""
        for request in [*self._hanging]:
            request.transport.abortConnection()
        if self._port.connected:
            await self._port.stopListening()

    def named(self, name: str, service: str = "") -> list[Recorded]:
        """The spans of that name."""
        return [span for span in self.spans if span.name == name and service in ("", span.service)]

    def trace_of(self, span: Recorded) -> list[Recorded]:
        """All spans of a span's trace, as they began."""
        ours = [each for each in self.spans if each.trace == span.trace]
        return sorted(ours, key=lambda each: each.begin)

    def take(self, request: Any) -> Any:
        """A batch has come."""
        self.batches += 1
        self.headers.append(
            {
                name.decode(): value[0].decode()
                for name, value in request.requestHeaders.getAllRawHeaders()
            }
        )
        if self.mood == "hang":
            self._hanging.append(request)
            request.notifyFinish().addErrback(lambda _: self._hanging.remove(request))
            return NOT_DONE_YET
        if self.mood.isdigit():
            request.setResponseCode(int(self.mood))
            return b"no"
        if self.mood == "garbage":
            return b"\x00<html>" * 1000
        told = ExportTraceServiceRequest.FromString(request.content.read())
        self.spans += _spans(told)
        request.setHeader(b"content-type", b"application/x-protobuf")
        return ExportTraceServiceResponse().SerializeToString()


class _Traces(Resource):
    isLeaf = True

    def __init__(self, collector: Collector) -> None:
        Resource.__init__(self)
        self._collector = collector

    def render_POST(self, request: Any) -> Any:
        assert request.path.decode() == PATH, request.path
        return self._collector.take(request)


def _spans(told: Any) -> Iterator[Recorded]:
    for of_process in told.resource_spans:
        resource = _attributes(of_process.resource.attributes)
        for scope in of_process.scope_spans:
            for span in scope.spans:
                yield Recorded(
                    resource["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    span.status.message or ("failed" if span.status.code == 2 else ""),
                    _attributes(span.attributes),
                )


def _attributes(told: Iterable[Any]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in told}


def holes(within: Recorded, spans: Sequence[Recorded]) -> list[tuple[float, float]]:
    """When nothing of `spans` was open while `within` was: from when to when, in seconds since it
    began."""
    found, until = [], within.begin
    for span in sorted(spans, key=lambda each: each.begin):
        if span.begin > until:
            found.append((until - within.begin, min(span.begin, within.end) - within.begin))
        until = max(until, span.end)
    if until < within.end:
        found.append((until - within.begin, within.seconds))
    return [(begin, end) for begin, end in found if end > begin]


def below(top: Recorded, spans: Sequence[Recorded]) -> list[Recorded]:
    """The spans that are part of `top`, directly or not."""
    found, parents = [], {top.id}
    for _ in spans:
        new = [each for each in spans if each.parent in parents and each not in found]
        if not new:
            break
        found += new
        parents |= {each.id for each in new}
    return found


@dataclass(frozen=True)
class Row:
    """A span where it stands in its trace's tree: so deep, and times in ms since that began."""

    depth: int
    span: Recorded
    at: float
    took: float


def tree(spans: Sequence[Recorded]) -> list[Row]:
    """A trace as a tree, whose root comes first, and of what is part of one what began first."""
    begin = min(each.begin for each in spans)
    ids = {each.id for each in spans}
    of: dict[str, list[Recorded]] = {}
    for each in sorted(spans, key=lambda span: (span.begin, -span.end)):
        of.setdefault(each.parent if each.parent in ids else "", []).append(each)

    def rows(parent: str, depth: int) -> Iterator[Row]:
        for each in of.get(parent, ()):
            yield Row(depth, each, (each.begin - begin) * 1000, each.seconds * 1000)
            yield from rows(each.id, depth + 1)

    return [*rows("", 0)]


def as_text(spans: Sequence[Recorded]) -> str:
    """The tree in lines: when each began and how long it took, in ms."""
    lines = [f"{'ms':>8} {'took':>8}"]
    for row in tree(spans):
        name = f"{'  ' * row.depth}{row.span.service}: {row.span.name}"
        lines.append(f"{row.at:8.0f} {row.took:8.1f}  {name}")
    return "\n".join(lines)
