"""The telnet gateway of `twistd NAME-telnet`."""

from __future__ import annotations

import gc

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort

from bbs.client.tls import Trust, TrustUnusable, load_trust, tls_endpoints
from bbs.core.addresses import Address, ServerPlace, reached_at
from bbs.daemons.daemon import FAREWELL, CannotStart, Daemon
from bbs.faces.telnet.peer import terminals
from bbs.protocols.line.interfaces import LineLimits
from bbs.scaling.providers import behind_proxy
from bbs.ui.gateway.connection import GatewayFactory
from bbs.ui.gateway.session import Host


class TelnetGateway(Daemon):
    """A telnet gateway: it runs clients of the service for people who have no client.

    :ivar address: where this machine reaches it, once it listens on a TCP port.
    """

    kind = "telnet"
    address: tuple[str, int] | None = None

    async def start(self) -> None:
        telnet, limits, service = self.config.telnet, self.config.limits, self.service
        server = ServerPlace.parse(telnet.server)
        trusted = await self.run_once("certificates", trust, server.ca) if server.tls else None
        name = server.name or server.address.host
        is_behind_proxy = behind_proxy(self.config)

        def way_to(address: Address) -> Address:
            """App servers with such names are reached where the login servers are, by a proxy."""
            if not is_behind_proxy(address.host):
                return address
            return Address(server.address.host, address.port)

        factory = GatewayFactory(
            self.reactor,
            Host(service.name, service.greeting or f"{service.name}.", service.presentation()),
            server.address,
            telnet.secret,
            LineLimits(max_line=limits.max_line, idle_timeout=limits.idle_timeout),
            terminals(limits.max_line, self.reactor),
            tls_endpoints(self.reactor, trusted, name, way_to) if trusted else None,
            door=self.admission.door(limits.connections_per_address),
        )
        self.on_stop(lambda: factory.close_all(FAREWELL))
        for place in telnet.listen:
            port = await self._listen(place, factory)
            bound_accepts(port)
            bound = port.getHost()
            if self.address is None and isinstance(bound, IPv4Address | IPv6Address):
                self.address = reached_at(bound.host), bound.port
        # What is there now stays. Otherwise each full collection looks through it, which takes 25
        # to 50 ms, and a crowd of visits causes several.
        gc.collect()
        gc.freeze()


def trust(ca: str) -> Trust:
    """The trust of a gateway whose `telnet.server` names the file `ca`. This blocks.

    :raises CannotStart: the file cannot be used.
    """
    try:
        return load_trust(ca)
    except TrustUnusable as error:
        raise CannotStart(f"telnet.server: {error}") from error


MOST_ACCEPTS = 4
"""Connections that are accepted in a turn of the reactor. A visit has some six events, of which a
turn handles 32: so a crowd waits in the system's queue, and not in the reactor, where somebody who
is there already would wait for a turn of each."""


def bound_accepts(port: IListeningPort) -> None:
    """Have `port` accept at most `MOST_ACCEPTS` connections in a turn, if it is Twisted's own.

    Twisted accepts 100, and 20 more after each turn in which there were as many.
    """
    if isinstance(port, tcp.Port):
        # Twisted has no option for this, and assigns the attribute itself (`tcp.Port.doRead`).
        bounded = property(lambda port: MOST_ACCEPTS, lambda port, number: None)
        port.__class__ = type("BoundedPort", (type(port),), {"numberAccepts": bounded})
