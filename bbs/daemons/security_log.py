"""The security log: a line for each event that operators, and programs such as fail2ban, act on.

    2026-11-26T06:50:50.123Z what=login outcome=wrong address=203.0.113.7 name="ann"

`docs/security-log.md` describes the fields. Nobody can forge a line by a name: names are JSON in
ASCII, and only the network, which programs that ban need, comes behind them.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address
from threading import Condition, Thread
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from bbs.core import audit
from bbs.core.addresses import counted_as, is_loopback
from bbs.core.clock import IReactor
from bbs.core.values import NAME_LENGTH
from bbs.daemons.logs import SharedFile, call_on_hangup, utc_text

IN_DATA = os.path.join("logs", "security.log")  # in the data folder of a `bbs up`

FOLDED = ("refused", "delayed", "timed-out")  # outcomes that a stranger can cause without bound

_NONE = "-"

_log = Logger()


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How much is kept, and for how long.

    :ivar waiting: events that wait to be written, a few MiB; further ones are only counted.
    :ivar folded: addresses whose events are counted at the same time.
    :ivar interval: seconds between two lines of the same kind of refusal for an address.
    :ivar leaving: seconds that the thread has to write what waits when a server stops.
    """

    waiting: int = 10_000
    folded: int = 10_000
    interval: float = 1.0
    leaving: float = 2.0


@dataclass(frozen=True, kw_only=True)
class SecurityEvent:
    """An event of `bbs.core.audit.record`, with its time (s since the epoch) and count."""

    at: float
    what: str
    outcome: str
    address: str = ""
    name: str = ""
    by: str = ""
    count: int = 1

    def line(self) -> str:
        fields = [
            utc_text(self.at),
            f"what={_word(self.what)}",
            f"outcome={_word(self.outcome)}",
            f"address={_address(self.address)}",
        ]
        if self.count != 1:
            fields.append(f"count={self.count}")
        fields.append(f"name={_quoted(self.name)}")
        if self.by:
            fields.append(f"by={_quoted(self.by)}")
        if network := _network(self.address):
            fields.append(f"network={network}")
        return " ".join(fields) + "\n"


def _word(text: str) -> str:
    return re.sub("[^a-z0-9-]", "-", text) or _NONE


def _address(address: str) -> str:
    try:
        return str(ip_address(address.partition("%")[0]))
    except ValueError:
        return _NONE


def _network(address: str) -> str:
    """The network as which limits count an IPv6 address. Programs ban it whole: a host with a /64
    need not use any address twice. "" for IPv4, and for this machine's own addresses."""
    address = _address(address)
    return counted_as(address) if ":" in address and not is_loopback(address) else ""


def _quoted(text: str) -> str:
    if len(text) > NAME_LENGTH:
        text = text[:NAME_LENGTH] + "…"
    # All but ASCII is escaped, so nothing controls a terminal or reverses the line.
    return json.dumps(text).replace("\x7f", "\\u007f")


BOUNDS = Bounds()

_Key = tuple[str, str, str]  # what, its outcome, and the address


class Folding:
    """Limits an address to a line a second for each kind of refusal: the first one at once, then
    the number of those since.

    :param clock: a steady clock.
    """

    def __init__(self, clock: IReactorTime, bounds: Bounds = BOUNDS) -> None:
        self._seconds = clock.seconds
        self._bounds = bounds
        # When each is due, and what has been counted until then.
        self._folds: OrderedDict[_Key, tuple[float, SecurityEvent | None]] = OrderedDict()

    def add(self, event: SecurityEvent) -> Iterator[SecurityEvent]:
        """Count `event`; yields the events to write now."""
        yield from self.events_due()
        if event.outcome not in FOLDED:
            yield event
            return
        address = _address(event.address)
        key = event.what, event.outcome, address if address == _NONE else counted_as(address)
        if key in self._folds:
            until, counted = self._folds[key]
            count = 1 if counted is None else counted.count + 1
            self._folds[key] = until, replace(event, count=count)
            return
        yield event
        self._folds[key] = self._seconds() + self._bounds.interval, None
        if len(self._folds) > self._bounds.folded:
            yield from self._end_first()

    def events_due(self) -> Iterator[SecurityEvent]:
        while self._folds and next(iter(self._folds.values()))[0] <= self._seconds():
            yield from self._end_first()

    def remaining_events(self) -> Iterator[SecurityEvent]:
        while self._folds:
            yield from self._end_first()

    def seconds_until_due(self) -> float | None:
        """Seconds until an event is due; None if nothing has been counted."""
        if not self._folds:
            return None
        return max(0.0, next(iter(self._folds.values()))[0] - self._seconds())

    def _end_first(self) -> Iterator[SecurityEvent]:
        key, (until, counted) = self._folds.popitem(last=False)
        if counted is not None:
            yield counted
            # The next line is due a second after this one.
            if until <= self._seconds():
                self._folds[key] = self._seconds() + self._bounds.interval, None


class SecurityLog(Service):
    """Writes the events of `bbs.core.audit.record`, on a thread of its own.

    If the file cannot be written, or not fast enough, events are left out. Their count is written
    as soon as that is possible again. Nothing else is disturbed.

    :param path: the file; an existing one is continued.
    :param length: bytes at which another begins; `keep` of those before stay.
    :param now: the wall time in seconds since the epoch.
    """

    def __init__(
        self,
        path: str,
        length: int,
        keep: int,
        reactor: IReactor,
        bounds: Bounds = BOUNDS,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._open: Callable[[], SharedFile] = lambda: SharedFile(path, length, keep)
        self._reactor = reactor
        self._now = now
        self._bounds = bounds
        self._folding = Folding(reactor, bounds)
        self._waiting: deque[SecurityEvent] = deque()
        self._left_out = 0
        self._changed = Condition()
        self._ended = False
        self._may_have_moved = False  # Whether the file may have been moved away.
        self._has_failed = False

    def startService(self) -> None:
        """Begin to write.

        :raises OSError: the file cannot be opened.
        """
        file = self._open()
        Service.startService(self)
        # A daemon thread, as a disk may never answer.
        self._thread = Thread(target=self._write, args=(file,), name="security-log", daemon=True)
        self._thread.start()
        audit.publisher.addObserver(self.note)  # type: ignore[arg-type]
        self._forget = call_on_hangup(self._hung_up)

    def stopService(self) -> Deferred[None]:
        """Fires when the events that wait are written, or the time for that is over."""
        Service.stopService(self)
        self._forget()
        audit.publisher.removeObserver(self.note)  # type: ignore[arg-type]
        with self._changed:
            self._ended = True
            self._changed.notify()
        stopped: Deferred[None] = Deferred()

        def stop() -> None:
            self._thread.join(self._bounds.leaving)
            self._reactor.callFromThread(stopped.callback, None)

        Thread(target=stop, name="security-log-stop", daemon=True).start()
        return stopped

    def note(self, event: dict[str, Any]) -> None:
        """Take an event of `bbs.core.audit.record`, to be written."""
        name = event["name"][: NAME_LENGTH + 1]
        happened = SecurityEvent(at=self._now(), **{**event, "name": name})
        with self._changed:
            if len(self._waiting) >= self._bounds.waiting:
                self._left_out += 1
                return
            self._waiting.append(happened)
            self._changed.notify()

    def _hung_up(self) -> None:
        with self._changed:
            self._may_have_moved = True
            self._changed.notify()

    def _write(self, file: SharedFile) -> None:
        while not self._ended or self._waiting:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._waiting or self._ended or self._may_have_moved, self._patience()
                )
                may_have_moved, self._may_have_moved = self._may_have_moved, False
                events, self._waiting = self._waiting, deque()
                left_out, self._left_out = self._left_out, 0
            if may_have_moved:
                file.follow()
            self._append(file, self._lines(events, left_out))
        self._append(file, self._folding.remaining_events())
        file.close()

    def _patience(self) -> float | None:
        wait = self._folding.seconds_until_due()
        return self._bounds.interval if wait is None and self._left_out else wait

    def _lines(self, events: Iterable[SecurityEvent], left_out: int) -> Iterator[SecurityEvent]:
        if left_out:
            yield SecurityEvent(
                at=self._now(), what="security-log", outcome="dropped", count=left_out
            )
        yield from self._folding.events_due()
        for event in events:
            yield from self._folding.add(event)

    def _append(self, file: SharedFile, events: Iterable[SecurityEvent]) -> None:
        events = [*events]
        if not events:
            return
        try:
            file.append("".join(event.line() for event in events).encode())
        except OSError as error:
            with self._changed:
                self._left_out += sum(event.count for event in events)
            if not self._has_failed:
                self._has_failed = True
                self._reactor.callFromThread(
                    _log.error,
                    "the security log cannot be written: {reason}",
                    reason=error.strerror,
                )
        else:
            self._has_failed = False


def append(path: str, event: SecurityEvent) -> None:
    """Append to a server's security log, for a command. This blocks.

    :raises OSError: the file does not exist, or cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, event.line().encode())
    finally:
        os.close(descriptor)
