"""The client service with real brokers over real sockets, and the embedded broker with the clients
of others.

BBS_TEST_ACTIVEMQ_URL and BBS_TEST_RABBITMQ_URL say where brokers are that may be used
(`stomp://user:password@127.0.0.1:PORT`); without them, their cases are skipped.
"""

from __future__ import annotations

import os
import queue
from typing import Any

import stomp
from twisted.internet import reactor as system_reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from bbs.protocols.broker import BrokerLimits, BrokerService, Credential, EmbeddedBroker
from bbs.protocols.stomp import Broker, StompDisconnected, StompService
from tests.broker_contract import Inbox, SocketContract, topic

reactor: Any = system_reactor

LOOPBACK = "tcp:0:interface=127.0.0.1"


class EmbeddedCase(TestCase):
    """A case with an embedded broker on a port of its own."""

    limits = BrokerLimits(heartbeat=0.2)

    async def setUp(self) -> None:
        self.factory = EmbeddedBroker(Credential("bbs", "s:e s@me/\\"), reactor, self.limits)
        self.broker_service = BrokerService(reactor, LOOPBACK, self.factory)
        self.broker_service.startService()
        self.addCleanup(self.broker_service.stopService)
        self.broker = Broker.from_url(await self.broker_service.when_listening())


class EmbeddedBrokerContract(SocketContract, EmbeddedCase):
    async def setUp(self) -> None:
        await EmbeddedCase.setUp(self)
        await SocketContract.setUp(self)


class ActiveMQContract(SocketContract, TestCase):
    if "BBS_TEST_ACTIVEMQ_URL" in os.environ:
        broker = Broker.from_url(os.environ["BBS_TEST_ACTIVEMQ_URL"])
    else:
        skip = "BBS_TEST_ACTIVEMQ_URL does not say where an ActiveMQ is"


class RabbitMQContract(SocketContract, TestCase):
    if "BBS_TEST_RABBITMQ_URL" in os.environ:
        broker = Broker.from_url(os.environ["BBS_TEST_RABBITMQ_URL"])
    else:
        skip = "BBS_TEST_RABBITMQ_URL does not say where a RabbitMQ is"
