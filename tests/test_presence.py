"""Places are for who uses them: when one goes back, and that nobody notices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.rules import callers
from bbs.storage.models import Place, Server, Session, User
from bbs.testing import MemoryService, Peer
from bbs.values import Policy
from tests.memory_service import POLICY, configuration

TTL = 20.0
"""Seconds without a command or a connection that listens, after which a place goes back; there is
a look every two."""

LATE = 3.0
"""Seconds by which that may be later."""


class PresenceCase(SynchronousTestCase):
    """ann and bob have logged in, and share a server with two places."""

    policy: Policy = POLICY
    session_ttl = 604800.0
    names = ("ann", "bob")

    def setUp(self) -> None:
        config = configuration(self.policy)
        app = replace(config.app, place_ttl=TTL)
        limits = replace(config.limits, session_ttl=self.session_ttl)
        self.service = MemoryService(board, config=replace(config, app=app, limits=limits))
        self.addCleanup(self.service.close)
        self.tokens = self.service.people(*self.names)
        self.peers = {name: self.service.at_home(token) for name, token in self.tokens.items()}

    def ask(self, name: str, request: str = "list-friend {}") -> dict[str, Any]:
        """The reply to a request of `name`, at the server where they first were."""
        return self.peers[name].ask(request.format(self.tokens[name]))

    def at_login(self, request: str, name: str) -> dict[str, Any]:
        """The reply of the login server."""
        peer = self.service.peer()
        peer.say(request.format(self.tokens[name]))
        self.service.settle()
        (reply,) = peer.heard()
        return reply

    def listen(self, name: str) -> Peer:
        return self.service.listening(self.tokens[name])

    def hang_up(self, peer: Peer) -> None:
        peer.protocol.connectionLost(Failure(ConnectionDone()))

    def there(self) -> set[str]:
        """Who has a place."""
        return {row.user.name for row in Place.select().where(Place.server.is_null(False))}

    def away(self) -> set[str]:
        """Who is online, has none and wants none."""
        return {row.user.name for row in Place.select().where(Place.away)}

    def taken(self) -> int:
        """Places taken, as the servers count them; fails unless the people there are as many."""
        taken = sum(row.taken for row in Server.select())
        self.assertEqual(taken, len(self.there()))
        return taken


class GoingBack(PresenceCase):
    def test_after_a_while_and_not_before(self) -> None:
        self.service.advance(TTL - 1)
        self.assertEqual((self.there(), self.taken()), ({"ann", "bob"}, 2))
        self.service.advance(1 + LATE)
        self.assertEqual((self.there(), self.taken()), (set(), 0))
        self.assertEqual(self.away(), {"ann", "bob"})

    def test_the_session_stays(self) -> None:
        self.service.advance(TTL + LATE)
        self.assertEqual(Session.select().count(), 2)

    def test_the_next_command_takes_it_again(self) -> None:
        before = self.ask("ann")
        self.service.advance(TTL + LATE)
        self.assertEqual(self.away(), {"ann", "bob"})
        self.assertEqual(self.ask("ann"), before)
        self.assertEqual((self.there(), self.away(), self.taken()), ({"ann"}, {"bob"}, 1))
