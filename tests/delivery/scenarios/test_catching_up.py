"""What listeners are sent until they have all that there was, and what that costs their user."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.messages import messages
from bbs.board.messages.tables import Delivery, MessageRow
from bbs.commands.cost_limits import COMMANDS_AT_ONCE
from bbs.config import Configuration
from bbs.framework import User
from bbs.testing import MemoryService, Peer
from tests.rules.crowds import add

LONG = "x" * 60_000
LEFT = 100
"""Commands that ann may still ask for at once."""


class CatchingUp(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = MemoryService(board, config=Configuration())
        self.addCleanup(self.service.close)
        self.ann, self.bob = self.service.people("ann", "bob").values()
        self.service.advance(6)

    def store(self, count: int, text: str = LONG) -> list[int]:
        """Store messages for ann; returns their ids."""
        ann = User.get(User.name == "ann").id
        numbers = [*range(1, count + 1)]
        rows = [(number, "bob", "ann", False, text, 1.0) for number in numbers]
        add(MessageRow, rows, *messages.COLUMNS)
        add(Delivery, [(ann, number) for number in numbers], Delivery.user, Delivery.message)
        return numbers

    def spend(self) -> None:
        """Let ann have `LEFT` commands at once."""
        peer = self.service.at_home(self.ann)
        for _ in range(COMMANDS_AT_ONCE - LEFT):
            peer.ask(f"list-joined {self.ann}")

    def listen(self) -> Peer:
        peer = self.service.at_home(self.ann)
        peer.say(f"listen {self.ann} 0")
        return peer

    def ids(self, *peers: Peer) -> list[int]:
        return [each["id"] for peer in peers for each in peer.events()]

    def test_all_of_it_at_once(self) -> None:
        """As anybody has it who was not there for some hours."""
        numbers = self.store(300, "hello")
        peer = self.listen()
        self.assertEqual(self.ids(peer), numbers)

    def test_it_waits_until_it_is_paid(self) -> None:
        numbers = self.store(100)  # 366 commands.
        self.spend()
        peer = self.listen()
        found = self.ids(peer)
        self.assertIn(len(found) * 60 // 16, range(LEFT, LEFT + 70))
        self.service.advance(1)
        more = self.ids(peer)
        self.assertIn(len(more) * 60 // 16, range(150, 270))
        self.service.advance(2)
        self.assertEqual(found + more + self.ids(peer), numbers)

    def test_on_several_connections_together(self) -> None:
        self.store(100)
        self.spend()
        peers = [self.listen() for _ in range(8)]
        self.assertLess(len(self.ids(*peers)) * 60 // 16, LEFT + 70)
        for _ in range(8):
            self.service.advance(0.25)
            self.assertLessEqual(len(self.ids(*peers)) * 60 // 16, 2 * 64)

    def test_others_do_not_wait(self) -> None:
        self.store(100)
        self.spend()
        self.listen()
        peer = self.service.at_home(self.bob)
        for _ in range(900):
            self.assertEqual(peer.ask(f"list-joined {self.bob}")["status"], 0)

    def test_who_goes_meanwhile(self) -> None:
        self.store(100)
        self.spend()
        peer = self.listen()
        peer.protocol.connectionLost(None)
        heard = len(peer.heard())
        self.service.advance(3)
        self.assertEqual(len(peer.heard()), 0)
        self.assertLess(heard, 60)

    def test_who_does_not_read_is_sent_no_more(self) -> None:
        self.store(100)
        peer = self.service.at_home(self.ann)
        write = peer.transport.write

        def fill(data: bytes) -> None:
            write(data)
            if len(data) > 1000:
                peer.protocol.pauseProducing()

        peer.transport.write = fill
        peer.say(f"listen {self.ann} 0")
        self.service.advance(5)
        self.assertEqual(self.ids(peer), [1])
        peer.protocol.resumeProducing()
        self.assertEqual(self.ids(peer), [2])

    def test_what_comes_later_costs_nothing(self) -> None:
        """Not even what a server finds in the database, as a hint was lost."""
        peer = self.listen()
        numbers = self.store(50)
        while not (found := self.ids(peer)):
            self.service.advance(0.1)
        self.assertEqual(found, numbers)
        own = self.service.at_home(self.ann)
        for _ in range(COMMANDS_AT_ONCE - 2):
            own.ask(f"list-joined {self.ann}")
