"""A STOMP client for the reactor, usable alone (`docs/stomp.md`).

    service = StompService(reactor, [Broker.from_url("stomp://user:password@127.0.0.1:61613")])
    service.startService()
    await service.first_connection()
    await service.subscribe("/topic/news", lambda message: print(message.body))
    await service.send("/topic/news", b"hello")

`StompService` has one connection to one of a list of brokers. When the connection is lost, the
service connects to the brokers by turns, after growing, jittered pauses, and renews all
subscriptions. Receipts are Deferreds, which fail at a deadline or when the connection is lost.
Nothing is sent twice: a sender keeps a message that must not be lost until its receipt.

`interfaces.py` has the promises to callers. `frames.py` cuts frames, `connection.py` is one
connection, `service.py` makes one after the other, and `redundant.py` uses several brokers at once.
`client.py` has what both clients, and that of `bbs.testing.MemoryBroker`, share.
"""

from bbs.protocols.stomp.connection import Broker
from bbs.protocols.stomp.interfaces import (
    IStomp,
    ISubscription,
    Message,
    StompDisconnected,
    StompError,
    StompOverflow,
    StompRefused,
    StompTimeout,
    check_destination,
)
from bbs.protocols.stomp.redundant import BrokerCount, RedundantStomp
from bbs.protocols.stomp.service import StompService

__all__ = [
    "Broker",
    "BrokerCount",
    "IStomp",
    "ISubscription",
    "Message",
    "RedundantStomp",
    "StompDisconnected",
    "StompError",
    "StompOverflow",
    "StompRefused",
    "StompService",
    "StompTimeout",
    "check_destination",
]
