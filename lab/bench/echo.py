"""The yardstick: what Twisted itself does with a line. Ends with its standard input.

    python -m lab.bench.echo

It prints its port first.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.stdio import StandardIO
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

reactor: Any = installed

BACKLOG = 1024
"""Connections that may wait to be accepted. With Twisted's 50, of a hundred that come at once some
are dropped by the kernel and tried again a second later: that would measure the wait."""


class Echo(LineReceiver):
    """Sends each line back."""

    delimiter = b"\n"

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


@implementer(IHalfCloseableProtocol)
class StopAtEnd(Protocol):
    """Stops the process when whoever started it goes."""

    def readConnectionLost(self) -> None:
        reactor.stop()

    def writeConnectionLost(self) -> None:
        """Nothing: nobody reads what is printed behind the port."""


def main() -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(Echo), BACKLOG, "127.0.0.1")
    print(port.getHost().port, flush=True)
    StandardIO(StopAtEnd())
    reactor.run()


if __name__ == "__main__":
    main()
