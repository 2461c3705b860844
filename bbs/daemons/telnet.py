"""`twistd NAME-telnet`: how a telnet gateway is put together."""

from __future__ import annotations

import resource
from functools import partial
from typing import cast

from twisted.internet.address import IPv4Address, IPv6Address

from bbs.addresses import Address, reached_at
from bbs.daemons.daemon import FAREWELL, Daemon
from bbs.gateway.factory import GatewayFactory
from bbs.gateway.session import Host
from bbs.limits.connections import Admission, Networks, Port
from bbs.protocols.line.interfaces import LineLimits


class TelnetGateway(Daemon):
    """A telnet gateway: clients of the service, for people who have none."""

    kind = "telnet"
    address: tuple[str, int] | None = None
    """Where this machine reaches it, once it listens on a TCP port."""
    admission: Admission | None = None
    """The connections of its process, where other servers have a part in them: given before it
    starts. Else it counts its own."""

    async def start(self) -> None:
        telnet, limits, service = self.config.telnet, self.config.limits, self.service
        # The service has raised the limit on descriptors by now.
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        admission = self.admission or Admission(
            limits.connections, Networks(limits.trusted), descriptors
        )
        factory = GatewayFactory(
            self.reactor,
            Host(service.name, service.greeting or f"{service.name}."),
            Address.parse(telnet.server),
            telnet.secret,
            LineLimits(max_line=limits.max_line, idle_timeout=limits.idle_timeout),
            door=admission.door(limits.connections_per_address),
        )
        self.on_stop(lambda: factory.close_all(FAREWELL))
        for place in telnet.listen:
            port = await self._listen(place, factory)
            admission.add_port(cast("Port", port))
            self.on_stop(partial(admission.remove_port, cast("Port", port)))
            bound = port.getHost()
            if self.address is None and isinstance(bound, IPv4Address | IPv6Address):
                self.address = reached_at(bound.host), bound.port
