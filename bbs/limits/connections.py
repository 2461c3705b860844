"""Connection limits: how many a process takes, and how many from one address."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

from twisted.logger import Logger
from zope.interface import Interface, implementer

from bbs.core import audit
from bbs.core.values import IDoor, IEntry

RESERVED = 128
"""Descriptors that a server keeps for itself: for its database (ten for SQLite, eight for MySQL),
broker, log files, and two for each child. Of few descriptors half are kept."""

OVERSHOOT = 100
"""Connections that Twisted may accept in one turn after it was told to stop
(`twisted.internet.tcp.Port.numberAccepts`)."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address by which it is counted: a host that has one address of a /64 has all
(RFC 6177)."""

SHARE = 4
"""An address has at most this part of the descriptors (1/4), over all ports."""

GRACE = 2.0
"""Seconds that a newcomer has to ask something before others may take its place, where all are
taken. (Where descriptors run out there are none.)"""

Network = IPv4Network | IPv6Network

_log = Logger()


class Networks:
    """Networks whose connections are not counted by address, as `[limits] trusted` has them."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        # Looked up for each request that has no token.
        self._has = lru_cache(maxsize=4096)(self._look)

    def __contains__(self, host: object) -> bool:
        return bool(self._networks) and bool(host) and self._has(str(host))

    def _look(self, host: str) -> bool:
        address = ip_address(host)
        return any(address in network for network in self._networks)


def counted_as(host: str) -> str:
    """Return what an address in its usual form (`usual_form`) is counted as."""
    if ":" not in host:
        return host
    prefix = int(IPv6Address(host)) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)
    return f"{IPv6Address(prefix)}/{IPV6_PREFIX}"


class IPausablePort(Interface):
    """A listening port, which may pause."""

    def stopReading() -> None: ...
    def startReading() -> None: ...


class Admission:
    """The connections of one process, over all its ports.

    Where all places are taken, or descriptors run out, connections that have asked nothing yet make
    room, the oldest first: nobody keeps others out by saying nothing. Where there are none of
    these, a new connection is refused; and where descriptors run out, the ports accept no more
    until somebody leaves.

    :param most: connections that it takes.
    :param trusted: not counted by address.
    :param descriptors: how many it may have open (RLIMIT_NOFILE); None: no matter.
    :param seconds: a clock that nobody sets.
    """

    def __init__(
        self,
        most: int,
        trusted: Networks,
        descriptors: int | None = None,
        seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self.trusted = trusted
        self.seconds = seconds
        self._most = most
        self._room = None
        if descriptors is not None:
            self._room = descriptors - min(RESERVED + OVERSHOOT, descriptors // 2)
        self.count = 0
        """Connections that there are."""
        self._used = 0
        self.used_by: Counter[str] = Counter()
        """Descriptors by address."""
        self.newcomers: OrderedDict[Entry, tuple[float, Callable[[], None]]] = OrderedDict()
        """Entries that have asked nothing yet: since when, and what ends them."""
        self.when_refused: Callable[[], object] = lambda: None
        """Called for each connection that is refused."""
        self._ports: list[IPausablePort] = []
        self._shut = False
        self._told = False

    def door(self, per_address: int) -> Door:
        """Make a kind of port, by which an address has so many connections at the most."""
        return Door(self, per_address)

    def add_port(self, port: IPausablePort) -> Callable[[], None]:
        """Pause `port` where there is no room; the function that is returned ends that."""
        self._ports.append(port)
        return lambda: self._ports.remove(port)

    # For the doors and entries

    def has_place(self) -> bool:
        """Whether there is a place, if need be one that is taken from a newcomer."""
        if self.count < self._most:
            return True
        since = next(iter(self.newcomers.values()))[0] if self.newcomers else None
        if since is None or self.seconds() - since < GRACE:
            return False
        self._end_oldest()
        return True

    @property
    def is_jammed(self) -> bool:
        """Whether there is not even room for a connection that is told so and closed."""
        return self._room is not None and self._used >= self._room + OVERSHOOT // 2

    def is_greedy(self, address: str, descriptors: int) -> bool:
        """Whether an address would have too much of what descriptors there are."""
        share = None if self._room is None else max(1, self._room // SHARE)
        return share is not None and self.used_by[address] + descriptors > share

    def entered(self, entry: Entry) -> None:
        self.count += 1
        self._used += entry.descriptors
        if entry.address is not None:
            self.used_by[entry.address] += entry.descriptors
        if self._is_short:
            self._make_room()

    def left(self, entry: Entry) -> None:
        self.count -= 1
        self._used -= entry.descriptors
        self.newcomers.pop(entry, None)
        if self._shut and not self._is_short:
            self._shut = False
            for port in self._ports:
                port.startReading()

    @property
    def _is_short(self) -> bool:
        return self._room is not None and self._used >= self._room

    def _make_room(self) -> None:
        if not self._told:
            self._told = True
            _log.warn(
                "all {room} descriptors for connections are in use: raise the limit on open files",
                room=self._room,
            )
        if self.newcomers:
            self._end_oldest()
        elif not self._shut:
            self._shut = True
            for port in self._ports:
                port.stopReading()

    def _end_oldest(self) -> None:
        _, (_, end) = self.newcomers.popitem(last=False)
        end()


@implementer(IDoor)
class Door:
    """One kind of port of a process: it counts connections by address."""

    def __init__(self, admission: Admission, per_address: int) -> None:
        self.admission = admission
        self.by_address: Counter[str] = Counter()
        self._per_address = per_address

    @property
    def is_jammed(self) -> bool:
        """Whether there is not even room for a connection that is told so and closed."""
        return self.admission.is_jammed

    def enter(self, host: str, descriptors: int = 1) -> Entry | None:
        """Let in a connection from `host` (in its usual form, "" where there is none), which takes
        so many descriptors in all; None where that is one too many."""
        address = None if not host or host in self.admission.trusted else counted_as(host)
        crowded = address is not None and (
            self.by_address[address] >= self._per_address
            or self.admission.is_greedy(address, descriptors)
        )
        if crowded or not self.admission.has_place():
            audit.record("connect", "refused", address=host)
            self.admission.when_refused()
            return None
        return Entry(self, address, descriptors)


@implementer(IEntry)
class Entry:
    """One connection that was let in. `address` is what it is counted as, None for not at all."""

    __slots__ = ("_door", "address", "descriptors")

    def __init__(self, door: Door, address: str | None, descriptors: int) -> None:
        self._door = door
        self.address = address
        self.descriptors = descriptors
        if address is not None:
            door.by_address[address] += 1
        door.admission.entered(self)

    def watch(self, end: Callable[[], None]) -> None:
        """Count it as a newcomer, for which `end` is called if room is needed."""
        admission = self._door.admission
        admission.newcomers[self] = admission.seconds(), end

    def has_asked(self) -> None:
        """Count it as a newcomer no more."""
        self._door.admission.newcomers.pop(self, None)

    def vouch(self) -> None:
        """Trust it: it is not counted by its address from now on."""
        if self.address is not None:
            _discount(self._door.by_address, self.address, 1)
            _discount(self._door.admission.used_by, self.address, self.descriptors)
            self.address = None

    def leave(self) -> None:
        """Count it no more, as it has ended. Called once."""
        self.vouch()
        self._door.admission.left(self)


def _discount(counter: Counter[str], address: str, count: int) -> None:
    counter[address] -= count
    if not counter[address]:
        del counter[address]
