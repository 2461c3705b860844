"""The command in a service of its own, with the one table of the board's that it reads."""

from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import Service, User
from bbs.testing import MemoryService, RulesCase
from poke import Relationship, commands, find

service = Service("social", commands=(commands,), models=(Relationship,))


def relate(name, other, kind="friend"):
    ids = {"user": User.get(name=name).id, "other": User.get(name=other).id}
    Relationship.insert(kind=kind, **ids).execute()


class Rule(RulesCase):
    service = service

    def test_a_friend_who_is_online(self):
        ann, bob = self.people("ann", "bob")
        self.call(relate, "ann", "bob")
        self.assertEqual(self.call(find, ann, "bob"), bob.channel)
        self.log_out(bob)
        self.refused("No friend of yours called bob is online", find, ann, "bob")

    def test_nobody_else(self):
        ann, _ = self.people("ann", "bob")
        self.call(relate, "ann", "bob", "invited")
        for name in ("bob", "ann", "nobody"):
            self.refused(f"No friend of yours called {name} is online", find, ann, name)


class Poking(SynchronousTestCase):
    def setUp(self):
        self.service = MemoryService(service)
        self.addCleanup(self.service.close)
        self.ann, self.bob = self.service.people("ann", "bob").values()
        self.peer = self.service.at_home(self.ann)

    def test_a_friend_is_told(self):
        listener = self.service.listening(self.bob)
        self.assertEqual(
            self.peer.ask(f"poke {self.ann} bob"),
            {
                "status": 1,
                "message": "No friend of yours called bob is online",
                "code": "no-friend-around",
            },
        )
        self.service.database.run(relate, "ann", "bob")
        self.assertEqual(self.peer.ask(f"poke {self.ann} bob")["status"], 0)
        self.assertEqual(
            listener.events(), [{"event": "poke", "from": "ann", "text": "ann pokes you"}]
        )

    def test_its_place_in_help(self):
        self.assertIn("poke <user> <friend>", self.peer.ask("help")["message"].splitlines())
        self.assertEqual(self.peer.ask("poke nobody bob")["code"], "not-logged-in")
