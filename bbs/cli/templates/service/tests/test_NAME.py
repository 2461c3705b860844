"""The rules on SQLite, and the commands and events of the whole service in memory."""

from bbs.testing import MemoryService, RulesCase
from twisted.trial.unittest import SynchronousTestCase

import NAME
from NAME import rules


class Rules(RulesCase):
    service = NAME.service

    def test_what_is_taken_is_gone(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.call(rules.offer, ann, "a lamp")
        self.refused("This is your own offer", rules.take, ann, 1)
        offered = {"number": 1, "text": "a lamp", "owner": "ann"}
        self.assertEqual(self.call(rules.offers, bob)["offer"], [offered])
        self.call(rules.take, bob, 1)
        self.refused("There is no such offer", rules.take, bob, 1)
        self.assertEqual(self.call(rules.offers, bob)["offer"], [])

    def test_a_long_text(self) -> None:
        (ann,) = self.people("ann")
        text = "An offer has at most 200 characters"
        self.refused(text, rules.offer, ann, "x" * 201)


class Commands(SynchronousTestCase):
    def test_everybody_hears(self) -> None:
        memory = MemoryService(NAME.service)
        self.addCleanup(memory.close)
        ann, bob = memory.people("ann", "bob").values()
        listener = memory.listening(bob)
        memory.at_home(ann).ask(f"offer {ann} a lamp")
        reply = memory.at_home(bob).ask(f"take {bob} 1")
        self.assertEqual(reply["message"], "Success!")
        reply = memory.at_home(bob).ask(f"take {bob} lamp")
        self.assertEqual(reply["message"], "Usage: take <user> <number>")
        heard = [each["text"] for each in listener.events()]
        self.assertEqual(heard, ["ann offers a lamp (take 1)", "bob takes a lamp"])
