"""A service in memory whose app servers have a database and a broker that are slow when a test says
so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from bbs import __version__
from bbs.board import board
from bbs.commands.service import Service
from bbs.config import Configuration
from bbs.daemons.composition import Runtime
from bbs.protocols.stomp.interfaces import IStomp, ISubscription, Message
from bbs.rules import membership
from bbs.testing import MemoryBroker, MemoryService
from bbs.testing.service import HINT_KEY, IN_MEMORY, MemoryAppServer
from tests.faulty_database import SlowDatabase
from tests.memory_service import POLICY, configuration


class SlowBroker:
    """What clients of `broker` publish waits in `held` if it `holds`, and their subscriptions are
    not confirmed while it does not `confirm`."""

    def __init__(self, broker: MemoryBroker) -> None:
        self.broker = broker
        self.holds = False
        self.held: list[Message] = []
        self.confirms = True
        self.unconfirmed: list[Any] = []
        self._clients: list[SlowStomp] = []

    def client(self) -> IStomp:
        """A new client."""
        self._clients.append(SlowStomp(self))
        return self._clients[-1]

    def topics(self) -> list[str]:
        """What is subscribed to."""
        return [each.destination for client in self._clients for each in client.subscriptions()]

    def confirm(self) -> None:
        """Confirm all subscriptions, from now on at once."""
        self.confirms = True
        for subscription in self.unconfirmed:
            subscription.answered(None)


@implementer(IStomp)
class SlowStomp:
    """A client of a `SlowBroker`."""

    def __init__(self, broker: SlowBroker) -> None:
        self._broker = broker
        self._real: Any = broker.broker.client()

    @property
    def connected(self) -> bool:
        return bool(self._real.connected)

    def when_connected(self) -> Deferred[None]:
        waiting: Deferred[None] = self._real.when_connected()
        return waiting

    def add_listener(self, on_change: Callable[[bool], None]) -> None:
        self._real.add_listener(on_change)

    def subscribe(
        self, destination: str, on_message: Callable[[Message], None]
    ) -> Deferred[ISubscription]:
        subscription: Any = self.keep_subscribed(destination, on_message)
        confirmed: Deferred[None] = subscription.confirmed()
        return confirmed.addCallback(lambda _: subscription)

    def keep_subscribed(
        self, destination: str, on_message: Callable[[Message], None]
    ) -> ISubscription:
        subscription = self._real.keep_subscribed(destination, on_message)
        if not self._broker.confirms:
            subscription.asked()
            self._broker.unconfirmed.append(subscription)
        kept: ISubscription = subscription
        return kept

    def subscriptions(self) -> tuple[ISubscription, ...]:
        found: tuple[ISubscription, ...] = self._real.subscriptions()
        return found

    def send(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> Deferred[None]:
        self.publish(destination, body, headers)
        return succeed(None)

    def publish(
        self, destination: str, body: bytes, headers: Mapping[str, str] | None = None
    ) -> bool:
        if not self._broker.holds:
            return bool(self._real.publish(destination, body, headers))
        self._broker.held.append(Message(destination, {**(headers or {})}, body))
        return True


class BesideOlder(SynchronousTestCase):
    """Mixed in before another test case: users of its service are also on an app server of version
    0.3.0, so that channels have topics."""

    beside_older = True

    def setUp(self) -> None:
        self.patch(membership, "versions", lambda: {"0.3.0": 1, __version__: 2})
        super().setUp()


class SlowService(MemoryService):
    """`service`, with few places and tight limits unless `config` says otherwise.

    :ivar slow: the database of its app servers.
    :ivar hints: their broker.
    """

    def __init__(
        self,
        service: Service = board,
        *,
        config: Configuration | None = None,
        url: str = IN_MEMORY,
    ) -> None:
        super().__init__(service, config=config or configuration(POLICY), url=url)
        self.declared = service
        self.slow = SlowDatabase(self.database)
        self.hints = SlowBroker(self.broker)

    def address(self, channel: str, token: str) -> tuple[str, dict[str, object]]:
        """The topic on which the app server of the user with `token` hears hints for the user's
        `channel`, and the members of these hints that say so."""
        server = self.serving(token)
        if server.serving.home.bus.tells_topics:
            return f"/topic/bbs.user.{channel}", {}
        return f"/topic/bbs.server.{server.id}", {"_to": [channel]}

    def boot(self, server_id: str) -> None:
        server = MemoryAppServer(
            Runtime(
                self.declared,
                self.config,
                self.slow,
                self.hints.client(),
                self.clock,
                self.wall,
                HINT_KEY,
            ),
            server_id,
        )
        self.servers[server_id] = server
        server.port = self.listen(server.serving.factory)
        self.database.run(membership.report, server_id, server.port)
        server.serving.home.bus.tell_fleet("ready")
