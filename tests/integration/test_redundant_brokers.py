"""Events through two brokers at once (`[broker] all`): the client and hints over real brokers, and
a service of real processes, one of whose brokers dies, comes back, or freezes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from twisted.internet import reactor as system_reactor
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase

from bbs.delivery.bus import Bus
from bbs.protocols.stomp import Broker, IStomp, RedundantStomp
from bbs.protocols.stomp.broker import BrokerLimits, BrokerService, Credential, EmbeddedBroker
from bbs.testing.broker_contract import BrokerContract, Gate, MessageCollector, going, topic
from tests.integration.service import Person, ServiceCase, eventually, together

reactor: Any = system_reactor

LOOPBACK = "tcp:0:interface=127.0.0.1"
BROKERS = ("BBS_TEST_ACTIVEMQ_URL", "BBS_TEST_RABBITMQ_URL")
KEY = b"k" * 32


class TwoBrokers(TestCase):
    """A case with two brokers of ours, each behind a gate."""

    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.clients: list[RedundantStomp] = []
        self.brokers = await self.real_brokers()
        self.gates = [Gate(each.host, each.port) for each in self.brokers]
        for gate in self.gates:
            gate.open()
            self.addCleanup(gate.shut)

    async def real_brokers(self) -> list[Broker]:
        self.factories = [
            EmbeddedBroker(Credential("bbs", "secret"), reactor, BrokerLimits(heartbeat=0.2))
            for _ in range(2)
        ]
        services = [BrokerService(reactor, LOOPBACK, factory) for factory in self.factories]
        for each in services:
            each.startService()
            self.addCleanup(each.stopService)
        return [Broker.from_url(await each.when_listening()) for each in services]

    async def client(self) -> IStomp:
        brokers = [
            replace(broker, host="127.0.0.1", port=gate.port)
            for broker, gate in zip(self.brokers, self.gates, strict=True)
        ]
        client = RedundantStomp(reactor, brokers, patience=5.0, heartbeat=0.2)
        self.clients.append(client)
        self.addCleanup(client.stopService)
        client.startService()
        await self.reached(2)
        return client

    async def reached(self, number: int) -> None:
        """Wait until every client has so many brokers."""
        await eventually(
            lambda: all(each.brokers == (number, 2) for each in self.clients),
            f"{number} brokers are connected",
        )

    async def away(self) -> None:
        disconnections = [going(client) for client in self.clients]
        for gate in self.gates:
            await gate.shut()
        for lost in disconnections:
            await lost

    async def back(self) -> None:
        for gate in self.gates:
            gate.open()

    async def back_at(self, gate: Gate) -> None:
        """Open a gate, and wait until all is subscribed behind it."""
        gate.open()
        await self.reached(2)
        for client in self.clients:
            for subscription in client.subscriptions():
                for part in subscription.parts:  # type: ignore[attr-defined]
                    await part.confirmed()


class EmbeddedContract(TwoBrokers, BrokerContract):
    pass


class ActiveMQAndRabbitMQContract(TwoBrokers, BrokerContract):
    if not all(name in os.environ for name in BROKERS):
        skip = f"{' and '.join(BROKERS)} do not say where brokers are"

    async def real_brokers(self) -> list[Broker]:
        return [Broker.from_url(os.environ[name]) for name in BROKERS]


class Changes(TwoBrokers):
    async def test_one_after_the_other(self) -> None:
        """Each may go and come back: every message arrives, once, and at once."""
        sender, where, inbox = await self.client(), topic(), MessageCollector()
        await (await self.client()).subscribe(where, inbox)
        sent = 0
        for gate in (*self.gates, *self.gates):
            await gate.shut()
            for _ in range(2):  # Before and after the clients know.
                for _ in range(10):
                    sender.publish(where, b"%d" % sent)
                    self.assertEqual(await inbox.bodies(1), [b"%d" % sent])
                    sent += 1
                await self.reached(1)
            await self.back_at(gate)
        self.assertEqual(inbox.messages, [])

    async def test_frozen(self) -> None:
        """A broker that delivers nothing, or takes nothing, makes nobody wait."""
        sender, where, inbox = await self.client(), topic(), MessageCollector()
        other = await self.client()
        await other.subscribe(where, inbox)
        for inwards in (False, True):
            self.gates[0].jam(inwards)
            await other.subscribe(topic(), MessageCollector())
            sender.publish(where, b"x")
            self.assertEqual(await inbox.bodies(1), [b"x"])
            await self.reached(1)
            await self.gates[0].shut()
            await self.back_at(self.gates[0])
        self.assertEqual(inbox.messages, [])


class Hints(TwoBrokers):
    """Hints go through both brokers, and readers and logs know of one."""

    async def test_once(self) -> None:
        buses = [Bus(await self.client(), "redundant", KEY) for _ in range(2)]
        heard: list[Any] = []
        asked: list[Any] = []
        logged: list[Any] = []
        note: Any = logged.append
        globalLogPublisher.addObserver(note)
        self.addCleanup(globalLogPublisher.removeObserver, note)
        await buses[1].settle(
            [buses[1].hear("abc", lambda *hint: heard.append(hint), lambda *e: asked.append(e))]
        )
        last = MessageCollector()
        await self.clients[1].subscribe("/topic/last", last)
        for _ in range(3):
            buses[0].tell("abc", {"event": "message", "id": 5}, {1: 4})
            buses[0].tell("abc", {"event": "typing"})
            buses[0].tell_asked([("abc", None)], {"event": "sent"})
        await self.clients[0].send("/topic/last", b"")
        await last.get()
        # The other broker has brought its copies when a later message has come by it alone.
        for gate in self.gates:
            await gate.shut()
            await self.reached(1)
            await self.clients[0].send("/topic/last", b"")
            await last.get()
            await self.back_at(gate)
        durable: Any = ({"event": "message", "id": 5}, {"1": 4}, False)
        transient: Any = ({"event": "typing"}, {}, True)
        self.assertEqual(heard, [durable, transient] * 3)
        self.assertEqual(asked, [({"event": "sent"}, None)] * 3)
        self.assertEqual([each for each in logged if "hint" in str(each.get("log_format"))], [])


class People(ServiceCase, TwoBrokers):
    """Two app servers that look into the database once an hour, and hear of everything at once."""

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        await TwoBrokers.setUp(self)
        urls = [
            f"stomp://{broker.login}:{broker.passcode}@127.0.0.1:{gate.port}"
            for broker, gate in zip(self.brokers, self.gates, strict=True)
        ]
        self.started = self.service(
            broker={"url": urls, "all": True},
            app={"capacity": 1},
            fleet={"minimum": 2, "spare": 0},
            messages={"poll_interval": 3600.0},
        )
        await self.started.login_server()
        await self.started.register("ann", "bob")
        self.ann, self.bob = await together(self.started.person(each) for each in ("ann", "bob"))
        self.assertNotEqual(self.ann.port, self.bob.port)
        await self.started.befriend(self.ann, self.bob)
        for person in (self.ann, self.bob):
            self.assertEqual((await person.asks("listen"))["status"], 0)
        self.count = 0

    async def all_are_at(self, number: int, connections: int = 3) -> None:
        """Wait until all servers are connected to a broker, and have asked for what they hear."""
        topics = self.factories[number].topics
        other = self.factories[1 - number].topics

        def are_there() -> bool:
            at_both = topics.keys() == other.keys()
            return self.factories[number].connections == connections and at_both

        await eventually(are_there, f"{connections} servers are at broker {number}")

    async def talk(self) -> None:
        for one, other in ((self.ann, self.bob), (self.bob, self.ann)):
            self.count += 1
            await self.say(one, other, f"message-{self.count}")

    async def say(self, one: Person, other: Person, text: str) -> None:
        self.assertEqual((await one.asks("send", other.name, text))["status"], 0)

        def has_it() -> bool:
            return text in str(other.wire.events)

        await eventually(has_it, f"{other.name} hears {text}")

    async def test_brokers_go(self) -> None:
        await self.all_are_at(0)
        await self.talk()
        for number in (0, 1, 0):
            await self.gates[number].shut()
            await self.talk()
            self.gates[number].open()
            await self.all_are_at(number)
        self.gates[1].jam(inwards=False)
        await self.talk()
        await self.gates[1].shut()
        self.gates[1].open()
        await self.all_are_at(1)
        self.gates[0].jam(inwards=True)
        await self.talk()
        for person in (self.ann, self.bob):
            texts = [each["message"] for each in person.wire.events if each["event"] == "message"]
            self.assertEqual(len(texts), len({*texts}), texts)
            self.assertEqual(len(texts), self.count // 2)
        self.assertNotIn("discarded a hint", self.started.log())
