"""The lobby's rules on SQLite, and its commands and events from one end to the other in memory."""

from peewee import BooleanField, CharField, ForeignKeyField
from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import NAME_LENGTH, Service, Table, User
from bbs.testing import MemoryService, RulesCase
from lobby import lobby, rules
from lobby.models import Player

SUCCESS = {"status": 0, "message": "Success!"}


class Rules(RulesCase):
    service = lobby

    def setUp(self):
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")

    def shown(self):
        return self.call(rules.lobbies, self.ann)["lobby"]

    def test_who_is_there_and_who_is_ready(self):
        self.assertEqual(self.shown(), [])
        self.call(rules.join, self.bob, "go")
        self.call(rules.join, self.ann, "chess")
        self.call(rules.get_ready, self.ann)
        self.assertEqual(self.shown(), ["chess: ann (ready)", "go: bob"])

    def test_in_the_order_in_which_they_came(self):
        self.call(rules.join, self.bob, "chess")
        self.clock.advance(1)
        self.call(rules.join, self.caller(self.log_in("ann")), "chess")
        self.assertEqual(self.shown(), ["chess: bob, ann"])

    def test_one_lobby_at_a_time(self):
        self.call(rules.join, self.ann, "chess")
        self.refused("You are in chess already", rules.join, self.ann, "go")
        self.call(rules.leave, self.ann)
        self.call(rules.join, self.ann, "go")
        self.assertEqual(self.shown(), ["go: ann"])

    def test_in_no_lobby(self):
        self.refused("You are in no lobby", rules.get_ready, self.ann)
        self.refused("You are in no lobby", rules.leave, self.ann)

    def test_no_name_for_a_lobby(self):
        for name in ("x" * 101, "a\x07b"):
            self.refused("Invalid lobby", rules.join, self.ann, name)

    def test_who_goes_offline_is_forgotten(self):
        self.call(rules.join, self.ann, "chess")
        self.call(rules.join, self.bob, "chess")
        self.log_out(self.bob)
        self.assertEqual(self.call(rules.forget_offline, self.now), 1)
        self.assertEqual(self.call(rules.forget_offline, self.now), 0)
        self.assertEqual(self.shown(), ["chess: ann"])


class Commands(SynchronousTestCase):
    def setUp(self):
        self.service = MemoryService(lobby)
        self.addCleanup(self.service.close)
        self.ann, self.bob = self.service.people("ann", "bob").values()
        self.peer = self.service.at_home(self.ann)

    def test_from_coming_to_going(self):
        ask = self.peer.ask
        self.assertEqual(ask(f"join {self.ann} chess"), SUCCESS)
        self.assertEqual(ask(f"ready {self.ann}"), SUCCESS)
        self.assertEqual(
            ask(f"list-lobby {self.bob}"), {"status": 0, "lobby": ["chess: ann (ready)"]}
        )
        self.assertEqual(ask(f"leave {self.ann}"), SUCCESS)
        self.assertEqual(
            ask(f"leave {self.ann}"),
            {"status": 1, "message": "You are in no lobby", "code": "not-in-lobby"},
        )
        self.assertEqual(ask("join nobody chess")["message"], "Not login yet")

    def test_everybody_in_the_lobby_hears_of_it(self):
        ann, bob = self.service.listening(self.ann), self.service.listening(self.bob)
        self.peer.ask(f"join {self.ann} chess")
        joined = {"event": "joined", "who": "ann", "lobby": "chess", "text": "ann joins chess"}
        self.assertEqual((ann.events(), bob.events()), ([joined], []))
        self.peer.ask(f"join {self.bob} chess")
        self.peer.ask(f"ready {self.bob}")
        self.peer.ask(f"leave {self.bob}")
        self.peer.ask(f"ready {self.ann}")
        heard = ["bob joins chess", "bob is ready in chess", "bob leaves chess"]
        self.assertEqual([each["text"] for each in bob.events()], heard)
        self.assertEqual([each["text"] for each in ann.events()], [*heard, "ann is ready in chess"])

    def test_everybody_on_another_app_server_too(self):
        crowd = self.service.people(*(f"p{number}" for number in range(10)))
        far = crowd["p9"]
        self.assertIsNot(self.service.serving(far), self.service.serving(self.ann))
        listener = self.service.listening(far)
        self.service.at_home(far).ask(f"join {far} chess")
        self.peer.ask(f"join {self.ann} chess")
        self.assertEqual([each["who"] for each in listener.events()], ["p9", "ann"])

    def test_the_login_server_sends_people_to_their_app_server(self):
        reply = self.service.peer().ask(f"join {self.ann} chess")
        self.assertEqual(
            (reply["code"], reply["app_server"]), ("moved", {"host": "127.0.0.1", "port": 20001})
        )

    def test_who_logs_out_is_gone_a_minute_later(self):
        self.peer.ask(f"join {self.ann} chess")
        self.service.peer().ask(f"logout {self.ann}")
        self.service.advance(61)
        self.assertEqual(self.peer.ask(f"list-lobby {self.bob}")["lobby"], [])


class Player1(Table):
    """The table as it was at version 1."""

    user = ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    lobby = CharField(NAME_LENGTH, index=True)
    ready = BooleanField(default=False)

    class Meta:
        table_name = "player"


class Upgrade(RulesCase):
    service = Service("lobby", models=(Player1,))

    def test_who_was_there_still_is(self):
        ann, bob = self.people("ann", "bob")
        self.call(Player1.insert(user=ann.id, lobby="chess", ready=True).execute)
        self.migrate(lobby)
        self.call(rules.join, bob, "chess")
        self.assertEqual(self.call(rules.lobbies, ann), {"lobby": ["chess: ann (ready), bob"]})
        self.assertEqual(self.call(Player.get, user=bob.id).since, self.now)
