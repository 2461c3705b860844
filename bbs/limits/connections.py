"""Who may connect: how many connections a process takes, and how many from one address."""

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
"""Descriptors that are kept for what keeps a server alive: its database (ten for SQLite, eight for
MySQL), broker, log files, and two for each child. Of few descriptors half are kept."""

OVERSHOOT = 100
"""Connections that Twisted may accept in one turn after it was told to stop
(`twisted.internet.tcp.Port.numberAccepts`)."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address by which it is counted: whoever has one address has all of these
(RFC 6177)."""

SHARE = 4
"""An address has at most one part in so many of the descriptors, over all ports."""

GRACE = 2.0
"""Seconds that whoever has come has to ask something before others may take the place, where all
are taken. (Where descriptors run out there is none.)"""

Network = IPv4Network | IPv6Network

_log = Logger()


class Networks:
    """Networks whose connections are not counted by address, as `[limits] trusted` has them."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)
        # It is asked for each request that has no token.
        self._has = lru_cache(maxsize=4096)(self._look)

    def __contains__(self, host: object) -> bool:
        return bool(self._networks) and bool(host) and self._has(str(host))

    def _look(self, host: str) -> bool:
        address = ip_address(host)
        return any(address in network for network in self._networks)


def counted_as(host: str) -> str:
    """What an address in its usual form (`usual_form`) is counted as."""
    if ":" not in host:
        return host
    prefix = int(IPv6Address(host)) >> (128 - IPV6_PREFIX) << (128 - IPV6_PREFIX)
    return f"{IPv6Address(prefix)}/{IPV6_PREFIX}"


class IPausablePort(Interface):
    """What accepts connections, and may pause."""

    def stopReading() -> None: ...
    def startReading() -> None: ...


class Admission:
    """The connections of one process, over all its ports.

    Where all places are taken, or descriptors run out, those make room which have asked nothing
    yet, the oldest first: nobody keeps others out by saying nothing. Where there are none, who
    comes is one too many; and where descriptors run out, its ports accept no more until somebody
    leaves.

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
        self._most = most
        self._seconds = seconds
        self._room = None
        if descriptors is not None:
            self._room = descriptors - min(RESERVED + OVERSHOOT, descriptors // 2)
        self._count = 0
        self._used = 0
        self._used_by: Counter[str] = Counter()
        self._newcomers: OrderedDict[Entry, tuple[float, Callable[[], None]]] = OrderedDict()
        """Who has asked nothing yet: since when, and what ends it."""
        self.when_refused: Callable[[], object] = lambda: None
        """Called whenever somebody is not let in."""
        self._ports: list[IPausablePort] = []
        self._shut = False
        self._told = False

    @property
    def count(self) -> int:
        """How many connections there are."""
        return self._count

    def door(self, per_address: int) -> Door:
        """A kind of port, by which an address has so many connections at the most."""
        return Door(self, per_address)

    def add_port(self, port: IPausablePort) -> Callable[[], None]:
        """`port` pauses where there is no room, until what is returned is called."""
        self._ports.append(port)
        return lambda: self._ports.remove(port)

    # For the doors and entries

    def has_place(self) -> bool:
        """Whether there is one, if need be that of somebody who has said nothing for a while."""
        if self._count < self._most:
            return True
        since = next(iter(self._newcomers.values()))[0] if self._newcomers else None
        if since is None or self._seconds() - since < GRACE:
            return False
        self._end_oldest()
        return True

    @property
    def is_jammed(self) -> bool:
        return self._room is not None and self._used >= self._room + OVERSHOOT // 2

    def is_greedy(self, address: str, descriptors: int) -> bool:
        """Whether an address would have too much of what descriptors there are."""
        share = None if self._room is None else max(1, self._room // SHARE)
        return share is not None and self._used_by[address] + descriptors > share

    def entered(self, entry: Entry) -> None:
        self._count += 1
        self._used += entry.descriptors
        if entry.address is not None:
            self._used_by[entry.address] += entry.descriptors
        self._make_room()

    def vouched(self, address: str, descriptors: int) -> None:
        self._used_by[address] -= descriptors
        if not self._used_by[address]:
            del self._used_by[address]

    def left(self, entry: Entry) -> None:
        self._count -= 1
        self._used -= entry.descriptors
        self._newcomers.pop(entry, None)
        if self._shut and not self._is_short:
            self._shut = False
            for port in self._ports:
                port.startReading()

    def watch(self, entry: Entry, end: Callable[[], None]) -> None:
        self._newcomers[entry] = self._seconds(), end

    def unwatch(self, entry: Entry) -> None:
        self._newcomers.pop(entry, None)

    @property
    def _is_short(self) -> bool:
        return self._room is not None and self._used >= self._room

    def _make_room(self) -> None:
        if not self._is_short:
            return
        if not self._told:
            self._told = True
            _log.warn(
                "all {room} descriptors for connections are in use: raise the limit on open files",
                room=self._room,
            )
        if self._newcomers:
            self._end_oldest()
        elif not self._shut:
            self._shut = True
            for port in self._ports:
                port.stopReading()

    def _end_oldest(self) -> None:
        _, (_, end) = self._newcomers.popitem(last=False)
        end()


@implementer(IDoor)
class Door:
    """One kind of port of a process: it counts connections by address."""

    def __init__(self, admission: Admission, per_address: int) -> None:
        self.admission = admission
        self._per_address = per_address
        self._by_address: Counter[str] = Counter()

    @property
    def is_jammed(self) -> bool:
        """Whether there is not even room for a connection that is told so and closed."""
        return self.admission.is_jammed

    def enter(self, host: str, descriptors: int = 1) -> Entry | None:
        """A connection from `host` (in its usual form, "" where there is none), which takes so many
        descriptors in all; None where that is one too many."""
        address = None if not host or host in self.admission.trusted else counted_as(host)
        crowded = address is not None and (
            self._by_address[address] >= self._per_address
            or self.admission.is_greedy(address, descriptors)
        )
        if crowded or not self.admission.has_place():
            audit.tell("connect", "refused", address=host)
            self.admission.when_refused()
            return None
        return Entry(self, address, descriptors)

    # For the entries

    def count(self, address: str) -> None:
        self._by_address[address] += 1

    def discount(self, address: str) -> None:
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


@implementer(IEntry)
class Entry:
    """One connection that was let in. `address` is what it is counted as, None for not at all."""

    __slots__ = ("_door", "address", "descriptors")

    def __init__(self, door: Door, address: str | None, descriptors: int) -> None:
        self._door = door
        self.address = address
        self.descriptors = descriptors
        if address is not None:
            door.count(address)
        door.admission.entered(self)

    def watch(self, end: Callable[[], None]) -> None:
        """It has asked nothing yet, and `end` is called if room is needed before it has."""
        self._door.admission.watch(self, end)

    def has_asked(self) -> None:
        """It is somebody who wants something."""
        self._door.admission.unwatch(self)

    def vouch(self) -> None:
        """It is trusted, and not counted by its address from now on."""
        if self.address is not None:
            self._door.discount(self.address)
            self._door.admission.vouched(self.address, self.descriptors)
            self.address = None

    def leave(self) -> None:
        """The connection has ended. Called once."""
        self.vouch()
        self._door.admission.left(self)
