"""Polls, on the board in memory."""

from dataclasses import replace

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.framework import Service
from bbs.testing import MemoryService
from poll import Poll, extension


def with_polls() -> Service:
    """The board with polls, also where they are installed already."""
    return replace(board, extensions=(extension,))


class Polling(SynchronousTestCase):
    def setUp(self):
        self.service = MemoryService(with_polls())
        self.addCleanup(self.service.close)
        self.ann, self.bob, self.cat = self.service.people("ann", "bob", "cat").values()
        self.peer = self.service.at_home(self.ann)
        self.peer.ask(f"invite {self.ann} bob")
        self.service.at_home(self.bob).ask(f"accept-invite {self.bob} ann")

    def ask(self, line):
        return self.peer.ask(line)

    def test_friends_are_asked_and_vote(self):
        listener = self.service.listening(self.bob)
        self.assertEqual(self.ask(f"ask-friends {self.ann} tea or coffee?")["poll"], 1)
        text = "ann asks: tea or coffee? (vote 1 CHOICE)"
        self.assertEqual(listener.events(), [{"event": "poll", "poll": 1, "text": text}])
        for voter, choice in ((self.bob, "tea"), (self.ann, "tea"), (self.bob, "coffee")):
            self.assertEqual(self.ask(f"vote {voter} 1 {choice}")["status"], 0)
        found = self.ask(f"poll {self.ann} 1")
        self.assertEqual(found, {"status": 0, "votes": ["coffee: 1", "tea: 1"]})

    def test_strangers_do_not(self):
        self.ask(f"ask-friends {self.ann} tea or coffee?")
        for number in ("1", "2", "x", "9" * 30):
            self.assertEqual(self.ask(f"vote {self.cat} {number} tea")["code"], "no-such-poll")
            self.assertEqual(self.ask(f"poll {self.cat} {number}")["code"], "no-such-poll")

    def test_only_so_many(self):
        for _ in range(10):
            self.assertEqual(self.ask(f"ask-friends {self.ann} again?")["status"], 0)
        refused = self.ask(f"ask-friends {self.ann} again?")
        self.assertEqual(refused["message"], "You have 10 polls already")

    def test_it_goes_with_the_account(self):
        self.ask(f"ask-friends {self.ann} tea or coffee?")
        self.service.peer().ask(f"delete {self.ann}")
        self.assertEqual(Poll.select().count(), 0)
