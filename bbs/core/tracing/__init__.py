"""Traces: where the time of a request goes, for a collector of spans (`docs/tracing.md`).

The work of a server, a gateway or a client on a request is a span; a span that is part of another
is its child, in any process. The rest of the code uses this module alone. Tracing is off unless
`start` was called, which happens only with `[tracing] endpoint` in the configuration: without it
nothing here does anything, and OpenTelemetry is not even imported.

A span is current for the coroutine that made it so, and for all that it awaits: Twisted passes it
on. A plain callback does not have it: its caller takes `here()` and gives that to `within`. A
coroutine that works for others too, a loop for instance, begins `within(None)`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from importlib.util import find_spec
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, succeed
from zope.interface import Attribute, Interface

from bbs import __version__

if TYPE_CHECKING:
    from bbs.core.clock import IReactor
    from bbs.core.tracing.exporting import Exporting

Value = str | int | float | bool

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""W3C Trace Context, section 3.2, version 00: a trace's id, a span's id, flags. No id is all 0."""

SAMPLED = 1  # The flag that the trace is recorded (section 3.2.2.5.1).

NEEDS = "traces need OpenTelemetry: pip install 'txbbs[tracing] >= 0.4'"
"""The error if OpenTelemetry is not installed."""

VARIABLE = "TRACEPARENT"
"""The environment variable that makes a process a part of a trace (OpenTelemetry, "Environment
Variables as Context Propagation Carriers")."""


class ISpan(Interface):
    """A piece of work that is being done, or was."""

    traceparent: str = Attribute("The context of the span, in W3C's form.")
    recorded: bool = Attribute("Whether the span will be exported. If not, do not propagate it.")

    def note(**attributes: Value) -> None:
        """Add attributes. Never names or texts of users, passwords or tokens."""

    def failed(why: str = "") -> None:
        """Mark the span as failed, for a reason by name (an error's class, a refusal's code)."""

    def end() -> None:
        """End the span now. Called once."""


recording = False
"""Whether spans are recorded. To look here costs less than a call, for what each request does."""

_exporting: Exporting | None = None
_here: ContextVar[ISpan | None] = ContextVar("bbs_span", default=None)


def is_installed() -> bool:
    """Whether OpenTelemetry is installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ImportError:
        return False


def start(service: str, endpoint: str, sample: float = 1.0, version: str = __version__) -> None:
    """Record spans of `service` from now on, and send them to a collector at `endpoint`, by OTLP
    over HTTP. `sample` is the share of the traces begun here that is recorded. Call this after the
    last fork, as it starts a thread. ImportError if OpenTelemetry is not installed."""
    from bbs.core.tracing.exporting import Exporting, collector_at

    use(Exporting(service, collector_at(endpoint), sample, version))


def use(exporting: Exporting) -> None:
    """Record spans with `exporting` from now on."""
    global _exporting, recording
    _exporting, recording = exporting, True


def stop(reactor: IReactor) -> Deferred[None]:
    """Stop recording; fires when the last spans are exported, or after `exporting.PATIENCE`."""
    exporting = _take_exporting()
    return succeed(None) if exporting is None else exporting.stop(reactor)


def end() -> None:
    """Stop in a process whose reactor has ended. Blocks."""
    exporting = _take_exporting()
    if exporting is not None:
        exporting.end()


def _take_exporting() -> Exporting | None:
    global _exporting, recording
    exporting, _exporting, recording = _exporting, None, False
    return exporting


def is_traceparent(value: str) -> bool:
    """Whether a text is a context in W3C's form, version 00: any other is ignored."""
    return _TRACEPARENT.fullmatch(value) is not None


def admitted(traceparent: str, trusted: bool) -> str:
    """Return a peer's context as it is used here. For a peer that is not `trusted`, `sample`
    decides whether the trace is recorded, as for a trace that begins here."""
    return _exporting.admitted(traceparent, trusted) if _exporting is not None else ""


def here() -> ISpan | None:
    """Return the current span."""
    return None if _exporting is None else _here.get()


def current() -> str:
    """Return the context of the current span, in W3C's form; "" without one."""
    if _exporting is None or (span := _here.get()) is None:
        return ""
    return span.traceparent


def begin(
    name: str, parent: ISpan | str | None = None, *, root: bool = False, **attributes: Value
) -> ISpan | None:
    """Begin a span, which the caller ends, as a part of `parent` or of the current span. Without
    either, the span begins a trace if it may be the `root`; otherwise the result is None."""
    if _exporting is None:
        return None
    above = parent or _here.get()
    if not above and not root:
        return None
    return _exporting.begin(name, above, attributes)


def past(
    name: str,
    seconds: float,
    parent: ISpan | str | None = None,
    ago: float = 0.0,
    **attributes: Value,
) -> None:
    """Record a span that lasted `seconds` and ended `ago` seconds before now, as a part of `parent`
    or of the current span."""
    if _exporting is not None and (above := parent or _here.get()):
        _exporting.past(name, above, seconds, ago, attributes)


def span(
    name: str, parent: ISpan | str | None = None, *, root: bool = False, **attributes: Value
) -> AbstractContextManager[ISpan | None]:
    """Begin a span, as `begin` does, that is current in the `with` block and ends with it. If an
    error leaves the block, the span has failed, for the error's class."""
    if _exporting is None:
        return NOTHING
    if not parent and (above := _here.get()) is not None and not above.recorded:
        return nullcontext(above)
    return _enter_and_end(begin(name, parent, root=root, **attributes))


def within(span: ISpan | None) -> AbstractContextManager[object]:
    """Make `span` the current one in the `with` block; with None, no span is current."""
    return NOTHING if _exporting is None else _enter(span)


NOTHING = nullcontext()
"""A `with` block that changes nothing."""


@contextmanager
def _enter(span: ISpan | None) -> Iterator[None]:
    # Not `ContextVar.reset`: a coroutine that has waited may go on in another context.
    before = _here.get()
    _here.set(span)
    try:
        yield
    finally:
        _here.set(before)


@contextmanager
def _enter_and_end(span: ISpan | None) -> Iterator[ISpan | None]:
    if span is None:
        yield None
        return
    try:
        with _enter(span):
            yield span
    except BaseException as error:
        span.failed(type(error).__name__)
        raise
    finally:
        span.end()
