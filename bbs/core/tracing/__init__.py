"""Traces: where the time of a request goes, for a collector of spans (`docs/tracing.md`).

The work of a server, a gateway or a client on a request is a span; a span that is part of another
is its child, in whichever process. The rest of the code knows this module alone. Tracing is off
unless `start` was called, which only a configuration with `[tracing] endpoint` does: without it
nothing here does anything, and OpenTelemetry is not even imported.

A span is current for the coroutine that made it so, and whatever that awaits: Twisted carries it
on. A plain callback does not know it: its caller keeps `here()` and gives that to `within`. A
coroutine that goes on for others too, a loop for instance, begins `within(None)`.
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

if TYPE_CHECKING:
    from bbs.core.clock import IReactor
    from bbs.core.tracing.exporting import Exporting

Value = str | int | float | bool

_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)
"""W3C Trace Context, section 3.2, version 00: a trace's id, a span's id, flags. Zeros are none."""

SAMPLED = 1
"""The flag that the trace is recorded (section 3.2.2.5.1)."""


NEEDS = "traces need OpenTelemetry: pip install '.[tracing]' in a checkout of bbs"
"""The error where OpenTelemetry is not installed."""

VARIABLE = "TRACEPARENT"
"""The variable that makes a process a part of a trace (OpenTelemetry, "Environment Variables as
Context Propagation Carriers")."""


class ISpan(Interface):
    """A piece of work that is being done, or was."""

    traceparent: str = Attribute("Its context, in W3C's form.")
    recorded: bool = Attribute(
        "Whether it will be exported; if not, other processes need not hear of it."
    )

    def note(**attributes: Value) -> None:
        """Add attributes. Never names of people, words of theirs, passwords or tokens."""

    def failed(why: str = "") -> None:
        """Mark it as failed, for a reason by name (an error's class, a refusal's code)."""

    def end() -> None:
        """End it now. Called once."""


_exporting: Exporting | None = None
_here: ContextVar[ISpan | None] = ContextVar("bbs_span", default=None)


def is_installed() -> bool:
    """Whether OpenTelemetry is there."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter") is not None
    except ImportError:
        return False


def start(service: str, endpoint: str, sample: float = 1.0) -> None:
    """Record spans from now on, as those of `service`, and send them to `endpoint`, where a
    collector takes OTLP over HTTP. A thread does that: it must be called behind the last fork.

    :param sample: the share of the traces begun here that is recorded, from 0 to 1.
    :raises ImportError: OpenTelemetry is not installed.
    """
    from bbs.core.tracing.exporting import Exporting, collector_at

    use(Exporting(service, collector_at(endpoint), sample))


def use(exporting: Exporting) -> None:
    """Record spans by `exporting` from now on."""
    global _exporting
    _exporting = exporting


def stop(reactor: IReactor) -> Deferred[None]:
    """Record no more; fires when the collector has what there is, or soon (`exporting.PATIENCE`)
    anyway."""
    exporting = _taken()
    return succeed(None) if exporting is None else exporting.stop(reactor)


def end() -> None:
    """Stop in a process whose reactor is over. Blocks."""
    exporting = _taken()
    if exporting is not None:
        exporting.end()


def _taken() -> Exporting | None:
    global _exporting
    exporting, _exporting = _exporting, None
    return exporting


def is_on() -> bool:
    """Whether spans are recorded."""
    return _exporting is not None


def is_traceparent(value: str) -> bool:
    """Whether a text is a context in W3C's form, version 00: nothing else is taken from anybody."""
    return _TRACEPARENT.fullmatch(value) is not None


def admitted(traceparent: str, trusted: bool) -> str:
    """Return a peer's context as it counts here. Whether a stranger's trace is recorded is decided
    by `sample`, as for a trace begun here, and not by the stranger."""
    return _exporting.admitted(traceparent, trusted) if _exporting is not None else ""


def here() -> ISpan | None:
    """Return the current span."""
    return None if _exporting is None else _here.get()


def current() -> str:
    """Return the context of the current span, in W3C's form; "" where there is none."""
    if _exporting is None or (span := _here.get()) is None:
        return ""
    return span.traceparent


def begin(
    name: str, parent: ISpan | str | None = None, *, root: bool = False, **attributes: Value
) -> ISpan | None:
    """Begin a span, which the caller ends: a part of `parent`, if there is one, else of the current
    span; or the beginning of a trace, if it may be the `root`. None otherwise."""
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
    """Record a span that lasted so many `seconds` and ended `ago` seconds before now, as a part of
    `parent` or of the current span."""
    if _exporting is not None and (above := parent or _here.get()):
        _exporting.past(name, above, seconds, ago, attributes)


def span(
    name: str, parent: ISpan | str | None = None, *, root: bool = False, **attributes: Value
) -> AbstractContextManager[ISpan | None]:
    """Begin a span, as `begin` does, that is current in the `with` block and ends with it. An error
    that leaves the block is noted by its name."""
    if _exporting is None:
        return _NOTHING
    if not parent and (above := _here.get()) is not None and not above.recorded:
        return nullcontext(above)
    return _during(begin(name, parent, root=root, **attributes))


def within(span: ISpan | None) -> AbstractContextManager[object]:
    """Make `span` the current one in the `with` block; none, if that is None."""
    return _NOTHING if _exporting is None else _being(span)


_NOTHING = nullcontext()


@contextmanager
def _being(span: ISpan | None) -> Iterator[None]:
    # Set back, and not reset: a coroutine that has waited may go on in another context.
    before = _here.get()
    _here.set(span)
    try:
        yield
    finally:
        _here.set(before)


@contextmanager
def _during(span: ISpan | None) -> Iterator[ISpan | None]:
    if span is None:
        yield None
        return
    try:
        with _being(span):
            yield span
    except BaseException as error:
        span.failed(type(error).__name__)
        raise
    finally:
        span.end()
