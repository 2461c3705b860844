"""Connection limits: how many a process accepts, how many from one address, and who gives way when
it is full."""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import nlargest
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import islice

from twisted.logger import Logger
from zope.interface import Interface, implementer

from bbs.core import audit
from bbs.core.addresses import counted_as, networks, outweighs, weight
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

KEPT = 10
"""1/10 of the connections and descriptors is for addresses that are known."""

KNOWN_FOR = 3600.0
"""Seconds for which an address is known after a right password or token on one of its
connections."""

MOST_KNOWN = 20_000
"""Addresses that are known at a time; each takes some 200 bytes."""

RANKED_EVERY = 1.0
"""Seconds between two rankings of the networks whose connections are idle. 20,000 of them, the most
that there can be, take 60 ms."""

RANKED = 100
"""Networks in a ranking: so many connections at least can give way before the next."""

IMMUNE = 20
"""Connections of an address with a session that never give way. With any number, one account holds
all connections from the /64s of one /48."""

TRIED = 10
"""Connections of a network of which one that awaits no answer gives way, or else the first: a crowd
that always awaits one must not be safe by that."""

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

    An address is known if somebody there has used a right password or token lately; trusted ones
    are, too. 1/`KEPT` of the room is for known addresses. When the room for a newcomer is taken,
    the oldest connections that have asked nothing yet make room, so silent connections keep nobody
    out; if there are none, the longest idle one of the network that has the most
    (`IdleConnections`), but for `IMMUNE` with a session of each address. If none gives way, the
    newcomer is refused; if descriptors run out, the ports pause until a connection ends.

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
        self.newcomers: OrderedDict[Entry, float] = OrderedDict()
        """Entries that have asked nothing yet, and since when."""
        self.idle = IdleConnections(self.seconds)
        self.immune: Counter[str] = Counter()  # by address, as `IMMUNE` has it
        self._known: OrderedDict[str, float] = OrderedDict()  # addresses: until when
        self.when_refused: Callable[[], object] = lambda: None
        """Called for each connection that is refused."""
        self._ports: list[IPausablePort] = []
        self._is_paused = False
        self._has_warned = False

    def door(self, per_address: int) -> Door:
        """Make a kind of port that accepts `per_address` connections from one address."""
        return Door(self, per_address)

    def add_port(self, port: IPausablePort) -> Callable[[], None]:
        """Pause `port` while the process is full; returns the function that ends this."""
        self._ports.append(port)
        return lambda: self._ports.remove(port)

    def know(self, address: str) -> None:
        """Note that somebody at `address` has used a right password or token."""
        self._known[address] = self.seconds() + KNOWN_FOR
        self._known.move_to_end(address)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)

    def knows(self, address: str | None) -> bool:
        """Whether `address` is known; None is a trusted one."""
        return address is None or self._known.get(address, 0.0) > self.seconds()

    def make_place(self, address: str | None, descriptors: int) -> bool:
        """Whether there is a place for another connection from `address` (None: a trusted one). If
        need be, another connection ends for it."""
        is_known = self.knows(address)
        if self.count >= self._part(self.most, is_known):
            return self._end_newcomer(GRACE) or self.idle.give_way(address)
        # Those who are known pause the ports when they have used up all (`entered`).
        if self._room is None or is_known:
            return True
        if self._used + descriptors <= self._part(self._room, is_known):
            return True
        return self._end_newcomer(0.0) or self.idle.give_way(address)

    @staticmethod
    def _part(room: int, is_known: bool) -> int:
        return room if is_known else room - room // KEPT

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
        if self._is_short:
            self._make_descriptors(entry.address)
        if entry.address is not None:
            self.used_by[entry.address] += entry.descriptors
            self.idle.counts.update(networks(entry.address))

    def _make_descriptors(self, address: str | None) -> None:
        """End a connection for one from `address` that has taken the last descriptors, or let
        nobody in until one ends."""
        if not self._has_warned:
            self._has_warned = True
            _log.warn(
                "all {room} descriptors for connections are in use: raise the limit on open files",
                room=self._room,
            )
        has_room = self._end_newcomer(0.0) or self.idle.give_way(address)
        if not has_room and not self._is_paused:
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

    def no_longer_counts(self, entry: Entry) -> None:
        """Count the `entry` no more under its address."""
        if entry.address is not None:
            self.idle.remove(entry)
            if entry.is_immune:
                discount(self.immune, entry.address, 1)
            discount(self.used_by, entry.address, entry.descriptors)
            for network in networks(entry.address):
                discount(self.idle.counts, network, 1)

    @property
    def _is_short(self) -> bool:
        return self._room is not None and self._used >= self._room

    def _end_newcomer(self, grace: float) -> bool:
        """End the oldest connection that has asked nothing for `grace` seconds; False without."""
        since = next(iter(self.newcomers.values()), None)
        if since is None or self.seconds() - since < grace:
            return False
        entry, _ = self.newcomers.popitem(last=False)
        if entry.end is not None:
            entry.end()
        return True


@dataclass(eq=False, repr=False)
class IdleConnections:
    """Finds the connection that gives way to a newcomer: among those that have asked something and
    are not immune, the longest idle of the network that has the most connections.

    Networks are compared from the widest that the two do not share (`outweighs`). Nobody gives way
    to a newcomer of the same address, or of a network that would then have as many.
    """

    seconds: Callable[[], float]
    counts: Counter[str] = field(default_factory=Counter)
    """All connections that are counted by address, by each of their networks."""

    def __post_init__(self) -> None:
        # By address: its connections that may give way, the longest idle first.
        self._idle: dict[str, OrderedDict[Entry, None]] = {}
        self._ranking: list[str] = []  # addresses, the greediest first
        self._ranked = float("-inf")

    def renew(self, entry: Entry) -> None:
        """Note that `entry`, without a session, has just asked something."""
        if entry.address is None:
            return
        own = self._idle.get(entry.address)
        if own is None:
            own = self._idle[entry.address] = OrderedDict()
        own[entry] = None
        own.move_to_end(entry)

    def remove(self, entry: Entry) -> None:
        own = self._idle.get(entry.address or "")
        if own is not None and entry in own:
            del own[entry]
            if not own:
                del self._idle[entry.address or ""]

    def give_way(self, address: str | None) -> bool:
        """End a connection for a newcomer from `address` (None: a trusted one); False if none may
        be ended."""
        self._rank()
        for greedy in self._ranking:
            own = self._idle.get(greedy)
            if own and outweighs(self.counts, greedy, address or ""):
                longest = [*islice(own, TRIED)]
                entry = next((each for each in longest if not each.is_busy), longest[0])
                self.remove(entry)
                if entry.end is not None:
                    entry.end()
                return True
        return False

    def _rank(self) -> None:
        """Rank the networks anew, unless that was done just now."""
        now = self.seconds()
        if now - self._ranked < RANKED_EVERY:
            return
        self._ranked = now
        self._ranking = nlargest(RANKED, self._idle, key=lambda each: weight(self.counts, each))


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
        if crowded or not self.admission.make_place(address, descriptors):
            audit.record("connect", "refused", address=host)
            self.admission.when_refused()
            return None
        return Entry(self, address, descriptors)


@implementer(IEntry)
@dataclass(eq=False, repr=False, slots=True)
class Entry:
    """One admitted connection. `address`: the key that it counts under; None if it does not.
    `end` ends it for a newcomer; None before that is known, and once nobody may. `has_right`: a
    right password or token has been used on it; `is_immune`: it counts as one of `IMMUNE`."""

    door: Door
    address: str | None
    descriptors: int
    end: Callable[[], None] | None = None
    is_busy: bool = False
    has_right: bool = False
    is_immune: bool = False

    def __post_init__(self) -> None:
        if self.address is not None:
            self.door.by_address[self.address] += 1
        self.door.admission.entered(self)

    def watch(self, end: Callable[[], None]) -> None:
        admission = self.door.admission
        self.end = end
        admission.newcomers[self] = admission.seconds()

    def has_asked(self) -> None:
        self.door.admission.newcomers.pop(self, None)

    def may_give_way(self) -> None:
        if self.end is not None:
            self.door.admission.idle.renew(self)

    def has_session(self) -> None:
        self.has_right = True
        admission, address = self.door.admission, self.address
        if address is None:
            self.end = None
            return
        admission.know(address)
        if admission.immune[address] < IMMUNE:
            admission.immune[address] += 1
            self.is_immune = True
            self.end = None
            admission.idle.remove(self)

    def vouch(self) -> None:
        if self.address is not None:
            self.door.admission.no_longer_counts(self)
            discount(self.door.by_address, self.address, 1)
            self.address = None

    def leave(self) -> None:
        if self.address is not None and self.has_right:
            self.door.admission.know(self.address)
        self.vouch()
        self.door.admission.left(self)


def discount(counter: Counter[str], address: str, count: int) -> None:
    """Count so much less, and forget an address that has nothing left."""
    counter[address] -= count
    if not counter[address]:
        del counter[address]
