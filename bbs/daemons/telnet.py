"""The telnet gateway of `twistd NAME-telnet`."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address

from bbs.client.tls import Trust, TrustUnusable, load_trust, tls_endpoints
from bbs.core.addresses import ServerPlace, reached_at
from bbs.daemons.daemon import FAREWELL, CannotStart, Daemon
from bbs.protocols.line.interfaces import LineLimits
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
        factory = GatewayFactory(
            self.reactor,
            Host(service.name, service.greeting or f"{service.name}.", service.presentation()),
            server.address,
            telnet.secret,
            LineLimits(max_line=limits.max_line, idle_timeout=limits.idle_timeout),
            tls_endpoints(self.reactor, trusted, name) if trusted else None,
            door=self.admission.door(limits.connections_per_address),
        )
        self.on_stop(lambda: factory.close_all(FAREWELL))
        for place in telnet.listen:
            bound = (await self._listen(place, factory)).getHost()
            if self.address is None and isinstance(bound, IPv4Address | IPv6Address):
                self.address = reached_at(bound.host), bound.port


def trust(ca: str) -> Trust:
    """The trust of a gateway whose `telnet.server` names the file `ca`. This blocks.

    :raises CannotStart: the file cannot be used.
    """
    try:
        return load_trust(ca)
    except TrustUnusable as error:
        raise CannotStart(f"telnet.server: {error}") from error
