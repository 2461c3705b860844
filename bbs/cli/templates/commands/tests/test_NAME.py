"""The extension, on the board in memory."""

from dataclasses import replace

from bbs.board import board
from bbs.testing import MemoryService
from twisted.trial.unittest import SynchronousTestCase

from NAME import extension


class Notes(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = MemoryService(replace(board, extensions=(extension,)))
        self.addCleanup(self.service.close)
        self.ann, self.bob = self.service.people("ann", "bob").values()
        self.peer = self.service.at_home(self.ann)

    def test_kept_until_removed(self) -> None:
        reply = self.peer.ask(f"NAME-add {self.ann} buy tea")
        self.assertEqual(reply["note"], 1)
        reply = self.peer.ask(f"NAME {self.ann}")
        self.assertEqual(reply["note"], [{"note": 1, "text": "buy tea"}])
        reply = self.peer.ask(f"NAME-remove {self.ann} 1")
        self.assertEqual(reply["status"], 0)
        reply = self.peer.ask(f"NAME {self.ann}")
        self.assertEqual(reply["note"], [])

    def test_nobody_elses(self) -> None:
        self.peer.ask(f"NAME-add {self.ann} buy tea")
        peer = self.service.at_home(self.bob)
        reply = peer.ask(f"NAME {self.bob}")
        self.assertEqual(reply["note"], [])
        for number in ("1", "2", "x", "9" * 30):
            reply = peer.ask(f"NAME-remove {self.bob} {number}")
            self.assertEqual(reply["code"], "no-such-note")

    def test_a_long_text(self) -> None:
        reply = self.peer.ask(f"NAME-add {self.ann} {'x' * 201}")
        self.assertEqual(reply["message"], "A note has at most 200 characters")
