"""Connection limits: how many a process accepts, and how many from one address."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address

from twisted.logger import Logger
from zope.interface import Interface, implementer

from bbs.core import audit
from bbs.core.addresses import counted_as
from bbs.core.values import IDoor, IEntry

RESERVED = 128
"""Descriptors that a server keeps for itself: for its database (ten for SQLite, eight for MySQL),
broker and log files, and two for each child. If there are few, half are kept."""

OVERSHOOT = 100
"""Connections that Twisted may still accept in one turn after it was told to stop
(`twisted.internet.tcp.Port.numberAccepts`)."""

SHARE = 4
"""One address may use 1/4 of the descriptors, over all ports."""

GRACE = 2.0
"""Seconds that a newcomer has for its first request before others may take its place, if all are
taken. (If descriptors run out, it has none.)"""

Network = IPv4Network | IPv6Network

_log = Logger()


class Networks:
    """Networks whose connections are not counted by address (`[limits] trusted`)."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        # Every request without a token looks its address up.
        self._has = lru_cache(maxsize=4096)(self._look_up)

    def __contains__(self, host: object) -> bool:
        return bool(self._networks) and bool(host) and self._has(str(host))

    def _look_up(self, host: str) -> bool:
        address = ip_address(host)
        return any(address in network for network in self._networks)


class IPausablePort(Interface):
    """A listening port that can pause."""

    def stopReading() -> None: ...
    def startReading() -> None: ...


@dataclass(eq=False, repr=False)
class Admission:
    """Admits the connections of one process, over all its ports.

    When all places are taken, or descriptors run out, the oldest connections that have asked
    nothing yet make room, so silent connections keep nobody out. Without such newcomers a new
    connection is refused; if descriptors run out, the ports pause until a connection ends.

    :param most: connections to accept.
    :param trusted: networks that are not counted by address.
    :param descriptors: how many the process may have open (RLIMIT_NOFILE); None: any number.
    :param seconds: a clock that nobody sets.
    """

    most: int
    trusted: Networks
    descriptors: int | None = None
    seconds: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        most = self.descriptors
        self._room = None if most is None else most - min(RESERVED + OVERSHOOT, most // 2)
        """Descriptors for connections; None: any number."""
        self.count = 0  # open connections
        self._used = 0  # descriptors
        self.used_by: Counter[str] = Counter()  # descriptors, by address
        self.newcomers: OrderedDict[Entry, tuple[float, Callable[[], None]]] = OrderedDict()
        """Entries that have asked nothing yet: since when, and the function that ends each."""
        self.when_refused: Callable[[], object] = lambda: None
        """Called for each connection that is refused."""
        self._ports: list[IPausablePort] = []
        self._is_paused = False
        self._has_warned = False

    def door(self, per_address: int) -> Door:
        """Make a kind of port that accepts `per_address` connections from one address."""
        return Door(self, per_address)

    def add_port(self, port: IPausablePort) -> Callable[[], None]:
        """Pause `port` while there is no room; returns the function that ends this."""
        self._ports.append(port)
        return lambda: self._ports.remove(port)

    def make_place(self) -> bool:
        """Whether there is a place for another connection. If need be, a newcomer's is freed."""
        if self.count < self.most:
            return True
        since = next(iter(self.newcomers.values()))[0] if self.newcomers else None
        if since is None or self.seconds() - since < GRACE:
            return False
        self._end_oldest()
        return True

    @property
    def is_jammed(self) -> bool:
        """Whether there is not even room to accept a connection and refuse it with a reason."""
        return self._room is not None and self._used >= self._room + OVERSHOOT // 2

    def is_greedy(self, address: str, descriptors: int) -> bool:
        """Whether an address would use too large a share of the descriptors."""
        share = None if self._room is None else max(1, self._room // SHARE)
        return share is not None and self.used_by[address] + descriptors > share

    def entered(self, entry: Entry) -> None:
        self.count += 1
        self._used += entry.descriptors
        if entry.address is not None:
            self.used_by[entry.address] += entry.descriptors
        if not self._is_short:
            return
        if not self._has_warned:
            self._has_warned = True
            _log.warn(
                "all {room} descriptors for connections are in use: raise the limit on open files",
                room=self._room,
            )
        if self.newcomers:
            self._end_oldest()
        elif not self._is_paused:
            self._is_paused = True
            for port in self._ports:
                port.stopReading()

    def left(self, entry: Entry) -> None:
        self.count -= 1
        self._used -= entry.descriptors
        self.newcomers.pop(entry, None)
        if self._is_paused and not self._is_short:
            self._is_paused = False
            for port in self._ports:
                port.startReading()

    @property
    def _is_short(self) -> bool:
        return self._room is not None and self._used >= self._room

    def _end_oldest(self) -> None:
        _, (_, end) = self.newcomers.popitem(last=False)
        end()


@implementer(IDoor)
@dataclass(eq=False, repr=False)
class Door:
    """One kind of port of a process, which counts its connections by address."""

    admission: Admission
    per_address: int
    by_address: Counter[str] = field(default_factory=Counter)

    @property
    def is_jammed(self) -> bool:
        return self.admission.is_jammed

    def enter(self, host: str, descriptors: int = 1) -> Entry | None:
        address = None if not host or host in self.admission.trusted else counted_as(host)
        crowded = address is not None and (
            self.by_address[address] >= self.per_address
            or self.admission.is_greedy(address, descriptors)
        )
        if crowded or not self.admission.make_place():
            audit.record("connect", "refused", address=host)
            self.admission.when_refused()
            return None
        return Entry(self, address, descriptors)


@implementer(IEntry)
@dataclass(eq=False, repr=False, slots=True)
class Entry:
    """One admitted connection. `address`: the key that it counts under; None if it does not."""

    door: Door
    address: str | None
    descriptors: int

    def __post_init__(self) -> None:
        if self.address is not None:
            self.door.by_address[self.address] += 1
        self.door.admission.entered(self)

    def watch(self, end: Callable[[], None]) -> None:
        admission = self.door.admission
        admission.newcomers[self] = admission.seconds(), end

    def has_asked(self) -> None:
        self.door.admission.newcomers.pop(self, None)

    def vouch(self) -> None:
        if self.address is not None:
            _discount(self.door.by_address, self.address, 1)
            _discount(self.door.admission.used_by, self.address, self.descriptors)
            self.address = None

    def leave(self) -> None:
        self.vouch()
        self.door.admission.left(self)


def _discount(counter: Counter[str], address: str, count: int) -> None:
    counter[address] -= count
    if not counter[address]:
        del counter[address]
