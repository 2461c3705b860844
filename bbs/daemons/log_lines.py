"""Lines of a server's log: text as twistd writes it, or JSON as `docs/logs.md` has it.

JSON is for collectors, which read it by itself: one object a line, in ASCII, of 16 KiB at the most.
Twisted's own (`twisted.logger.jsonFileLogObserver`) writes whatever an event refers to, in a form
that only Twisted reads. Here an event has of its fields those that its text has anyway.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from math import isfinite
from string import Formatter
from typing import Any

from twisted.logger import LogEvent, eventAsText, formatEventAsClassicLogText
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from bbs import __version__
from bbs.core import tracing

JSON = "json"
"""The value of `log.format` for lines of JSON."""

LONGEST = 16 * 1024
"""Bytes of a line. Container runtimes cut longer ones in pieces, and the journal does at 48 KiB."""

BOUNDS = (8192, 1024, 256, 32)
"""Characters of a text, tried in turn until the line is not too long; one may take 12 bytes."""

FIELD = 1024
"""Characters of a field."""

MOST_FIELDS = 16

SAFE_INTEGER = 2**53
"""Beyond it JavaScript, and what is like it, reads another number."""

_CUT = "…"

Line = Callable[[LogEvent], str | None]
"""Makes an event a line, with its end; None: there is nothing to write."""


@dataclass(frozen=True)
class Speaker:
    """The server that writes a log: the service's name, the kind of server, and its id, "" until it
    has one."""

    service: str
    kind: str
    id: str = ""


def written_as(form: str, speaker: Callable[[], Speaker]) -> Line:
    """The way to write events in the form that `log.format` names; `speaker` is asked each time."""
    if form != JSON:
        return as_text
    return lambda event: as_json(event, speaker())


def as_text(event: LogEvent) -> str | None:
    """`event` as twistd has always written it; what is part of a trace says so behind the message,
    at the end of the first line."""
    text = formatEventAsClassicLogText(event)
    context = tracing.current()
    if text is None or not context:
        return text
    first, end, rest = text.partition("\n")
    return f"{first} [trace {context.split('-')[1]}]{end}{rest}"


def as_json(event: LogEvent, speaker: Speaker) -> str:
    """`event` as a line of JSON."""
    failure = _failure(event)
    message, trace = _message(event, failure), failure.getTraceback() if failure else ""
    fields, of_trace = fields_of(event), _trace()
    line = ""
    for most in BOUNDS:
        line = _encode(
            {
                **_time(event),
                "level": getattr(event.get("log_level"), "name", "info"),
                "message": _beginning(message, most),
                "logger": _beginning(str(event.get("log_namespace") or "-"), most),
                "service": speaker.service,
                "server_kind": speaker.kind,
                **({"server_id": speaker.id} if speaker.id else {}),
                "version": __version__,
                **of_trace,
                **({"fields": _bounded(fields, min(most, FIELD))} if fields else {}),
                **(_failed(failure, trace, most) if failure else {}),
            }
        )
        if len(line) < LONGEST:
            break
    return line + "\n"


def _failure(event: LogEvent) -> Failure | None:
    failure = event.get("failure" if event.get("isError") else "log_failure")
    return failure if isinstance(failure, Failure) else None


def _message(event: LogEvent, failure: Failure | None) -> str:
    if failure is not None and event.get("isError"):
        # What `twisted.python.log.err` was told: its text would be the traceback once more.
        return str(event.get("why") or "Unhandled Error")
    return eventAsText(event, includeTraceback=False, includeTimestamp=False, includeSystem=False)


def _time(event: LogEvent) -> Mapping[str, str]:
    at = event.get("log_time")
    if at is None:
        return {}
    when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return {"time": when.replace("+00:00", "Z")}


def _trace() -> Mapping[str, str]:
    """The trace, and the span in it, that is under way."""
    context = tracing.current()
    if not context:
        return {}
    _, trace, span, _ = context.split("-")
    return {"trace_id": trace, "span_id": span}


def _failed(failure: Failure, trace: str, most: int) -> Mapping[str, str]:
    kind = "" if failure.type is None else qual(failure.type)
    return {"exception": _beginning(kind, most), "traceback": _ends(trace, most)}


# Fields


def fields_of(event: LogEvent) -> dict[str, Any]:
    """The fields that the event's text has, by name: texts and numbers alone."""
    return {
        name: event[name]
        for name in _names(event.get("log_format"))
        if name in event and _is_plain(event[name])
    }


@lru_cache(256)
def _names(form: object) -> tuple[str, ...]:
    """The fields that a format uses as they are; what Twisted adds itself is none."""
    if not isinstance(form, str):
        return ()
    try:
        found = [name for _, name, _, _ in Formatter().parse(form) if name]
    except ValueError:  # Its text says that it is no format.
        return ()
    wanted = [each for each in found if each.isidentifier() and not each.startswith("log_")]
    return tuple(dict.fromkeys(wanted))[:MOST_FIELDS]


def _is_plain(value: object) -> bool:
    match value:
        case None | bool() | str():
            return True
        case int():
            return abs(value) < SAFE_INTEGER
        case float():
            return isfinite(value)
    return False


def _bounded(fields: Mapping[str, Any], most: int) -> dict[str, Any]:
    return {
        name: _beginning(value, most) if isinstance(value, str) else value
        for name, value in fields.items()
    }


# Texts


def _beginning(text: str, most: int) -> str:
    return _whole(text if len(text) <= most else text[:most] + _CUT)


def _ends(text: str, most: int) -> str:
    """`text`, or its beginning and its end: a traceback ends with the error."""
    if len(text) <= most:
        return _whole(text)
    first = most // 4
    return _whole(text[:first] + _CUT + text[first - most :])


def _whole(text: str) -> str:
    """`text`, with an escape for half of a surrogate pair, as a log of text has it: many readers
    take no JSON that has one."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


# All that is not printable ASCII is escaped, so nothing steers a terminal or turns the line around.
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
