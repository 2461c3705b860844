"""Handshakes of TLS at a port: how many begin in a second, from one address and in all.

A handshake takes a millisecond of the server's one thread (measured: 0.8 ms of OpenSSL for a key of
RSA with 2,048 bits, 0.5 ms for one of P-256, and as much of Twisted), and costs a stranger nothing:
without a limit a few hundred in a second let everybody else wait. Each connection therefore waits
for its turn before its handshake, and is refused after `PATIENCE`.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from bbs.core.addresses import counted_as
from bbs.core.values import Rate
from bbs.limits.connections import Networks
from bbs.limits.rate_limits import Buckets

SHARE = 5
"""An address that is not trusted has 1/5 of the rate."""

SECONDS_AT_ONCE = 0.25
"""Seconds of the rate that may begin at once, after a pause: 25 ms of work where it is 100 a
second. (An address may begin as many as all.)"""

PATIENCE = 2.0
"""Seconds that a connection waits for its turn. Clients give a handshake 8 s; a connection that
waits takes a descriptor, so 200 of them wait at a port where the rate is 100 a second."""


class Handshakes:
    """The turns of connections at one port.

    :param rate: of all strangers. Addresses that are known, by a right password or token, have a
        rate of their own beside them, which is as high.
    :param trusted: networks that are not counted by address.
    :param knows: whether an address is known (`Admission.knows`).
    :param clock: a clock that nobody sets.
    """

    def __init__(
        self,
        rate: Rate,
        trusted: Networks,
        knows: Callable[[str | None], bool],
        clock: IReactorTime,
    ) -> None:
        at_once = max(1.0, rate.count / rate.period * SECONDS_AT_ONCE)
        self._all = Buckets(rate, clock, burst=at_once)
        by_address = Rate(rate.count, rate.period * SHARE)
        self._by_address = Buckets(by_address, clock, burst=at_once)
        self._trusted = trusted
        self._knows = knows

    def turn(self, host: str) -> float | None:
        """The seconds until a connection from `host` (in its usual form; "" if it has none) may
        begin its handshake; None if that is too long."""
        address = None if not host or host in self._trusted else counted_as(host)
        kind = "known" if self._knows(address) else "strangers"
        wait = self._all.wait(kind)
        if address is not None:
            wait = max(wait, self._by_address.wait(address))
        if wait > PATIENCE:
            return None
        # Each returns when this one's turn is, behind those that wait already.
        self._all.take(kind)
        if address is not None:
            self._by_address.take(address)
        return wait
