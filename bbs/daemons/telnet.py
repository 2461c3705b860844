"""`twistd NAME-telnet`: how a telnet gateway is put together."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address

from bbs.addresses import Address, reached_at
from bbs.daemons.daemon import FAREWELL, Daemon
from bbs.gateway.factory import GatewayFactory
from bbs.gateway.session import Host
from bbs.protocols.line.interfaces import LineLimits


class TelnetGateway(Daemon):
    """A telnet gateway: clients of the service, for people who have none."""

    kind = "telnet"
    address: tuple[str, int] | None = None
    """Where this machine reaches it, once it listens on a TCP port."""

    async def start(self) -> None:
        telnet, limits, service = self.config.telnet, self.config.limits, self.service
        factory = GatewayFactory(
            self.reactor,
            Host(service.name, service.greeting or f"{service.name}."),
            Address.parse(telnet.server),
            telnet.secret,
            LineLimits(max_line=limits.max_line, idle_timeout=limits.idle_timeout),
            door=self.admission.door(limits.connections_per_address),
        )
        self.on_stop(lambda: factory.close_all(FAREWELL))
        for place in telnet.listen:
            bound = (await self._listen(place, factory)).getHost()
            if self.address is None and isinstance(bound, IPv4Address | IPv6Address):
                self.address = reached_at(bound.host), bound.port
