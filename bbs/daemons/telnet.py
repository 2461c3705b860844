"""`twistd bbs-telnet`: the options, and how a telnet gateway is put together."""

from __future__ import annotations

from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.python import usage

from bbs.addresses import Address, reached_at
from bbs.config import Configuration
from bbs.daemons.daemon import FAREWELL, Daemon, end_process, load_or_exit
from bbs.gateway.factory import GatewayFactory
from bbs.protocols.line.interfaces import LineLimits


class Options(usage.Options):
    """Options of `twistd bbs-telnet`; those that override the file are named as their keys."""

    optParameters: ClassVar = [
        ["config", "c", None, "Configuration file (TOML)"],
        ["listen", "l", None, "Endpoint to listen on, instead of telnet.listen"],
        ["server", "s", None, "HOST:PORT of the login server, instead of telnet.server"],
    ]

    configuration: Configuration

    def postOptions(self) -> None:
        """Load the configuration; one that is wrong ends the process with one line."""
        self.configuration = load_or_exit(
            "bbs-telnet",
            self["config"],
            {"telnet.listen": self["listen"], "telnet.server": self["server"]},
        )


def makeService(options: Options, reactor: Any = None) -> IService:
    """The telnet gateway that `options` describe."""
    if reactor is None:
        from twisted.internet import reactor
    return TelnetGateway(options.configuration, reactor, end_process(reactor))


class TelnetGateway(Daemon):
    """A telnet gateway: clients of the service, for people who have none."""

    name = "bbs-telnet"
    address: tuple[str, int] | None = None
    """Where this machine reaches it, once it listens on a TCP port."""

    async def start(self) -> None:
        telnet, limits = self.config.telnet, self.config.limits
        factory = GatewayFactory(
            self.reactor,
            Address.parse(telnet.server),
            telnet.secret,
            LineLimits(max_line=limits.max_line, idle_timeout=limits.idle_timeout),
        )
        self.on_stop(lambda: factory.close_all(FAREWELL))
        for place in telnet.listen:
            bound = (await self._listen(place, factory)).getHost()
            if self.address is None and isinstance(bound, IPv4Address | IPv6Address):
                self.address = reached_at(bound.host), bound.port
