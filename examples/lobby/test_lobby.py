"""The lobby's rules on SQLite, and its commands and events from one end to the other in memory."""

from peewee import BooleanField, CharField, DoubleField, ForeignKeyField
from twisted.trial.unittest import SynchronousTestCase

from bbs.client import ServiceClient
from bbs.framework import NAME_LENGTH, Migrator, Page, Service, Table, User
from bbs.testing import MemoryNetwork, MemoryService, RulesCase
from lobby import lobby, rules
from lobby.client import face
from lobby.models import Player, Saying, add_sayings, add_since

SUCCESS = {"status": 0, "message": "Success!"}


class Rules(RulesCase):
    service = lobby

    def setUp(self):
        super().setUp()
        self.ann, self.bob = self.people("ann", "bob")

    def shown(self):
        found = self.call(rules.lobbies, self.ann)["lobby"]
        return [f"{each['name']}: {each['people']}" for each in found]

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

    def test_what_was_said_is_read_again(self):
        self.call(rules.join, self.ann, "chess")
        self.assertEqual(self.call(rules.said, self.ann), {"said": []})
        event, channels = self.call(rules.say, self.ann, "is anybody here?")
        self.assertEqual(channels, [self.ann.channel])
        self.assertEqual(event["text"], "ann: is anybody here?")
        self.call(rules.join, self.bob, "chess")
        (entry,) = self.call(rules.said, self.bob)["said"]
        members = {"event": "said", "who": "ann", "lobby": "chess", "words": "is anybody here?"}
        self.assertEqual(entry, {**members, "id": entry["id"], "time": self.now})
        self.assertLessEqual({**members, "time": self.now}.items(), event.items())

    def test_of_much_that_was_said_the_latest_comes_first(self):
        self.call(rules.join, self.ann, "chess")
        for number in range(60):
            self.call(rules.say, self.ann, str(number))
        latest = self.call(rules.said, self.ann)
        self.assertEqual([each["words"] for each in latest["said"]], [*map(str, range(10, 60))])
        older = self.call(rules.said.part, self.ann, Page(latest.last))
        self.assertEqual([each["words"] for each in older["said"]], [*map(str, range(10))])
        self.assertIsNone(older.last)

    def test_each_lobby_has_a_talk_of_its_own(self):
        for caller, name in ((self.ann, "chess"), (self.bob, "go")):
            self.refused("You are in no lobby", rules.say, caller, "hello")
            self.refused("You are in no lobby", rules.said, caller)
            self.call(rules.join, caller, name)
            self.call(rules.say, caller, f"hello {name}")
        for caller, words in ((self.ann, "hello chess"), (self.bob, "hello go")):
            said = self.call(rules.said, caller)["said"]
            self.assertEqual([each["words"] for each in said], [words])

    def test_a_lobby_that_nobody_is_in_forgets_what_was_said(self):
        for caller, name in ((self.ann, "chess"), (self.bob, "go")):
            self.call(rules.join, caller, name)
            self.call(rules.say, caller, "hello")
        self.call(rules.leave, self.ann)
        self.assertEqual(self.call(rules.forget_offline, self.now), 1)
        self.log_out(self.bob)
        self.assertEqual(self.call(rules.forget_offline, self.now), 2)
        self.assertEqual(self.call(rules.forget_offline, self.now), 0)
        self.assertEqual(self.call(Saying.select().count), 0)


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
            ask(f"list-lobby {self.bob}"),
            {"status": 0, "lobby": [{"name": "chess", "people": "ann (ready)"}]},
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
        (joined,) = ann.events()
        time = joined.pop("time")
        self.assertAlmostEqual(time, self.service.clock.seconds(), delta=60)
        members = {"event": "joined", "who": "ann", "lobby": "chess", "text": "ann joins chess"}
        self.assertEqual((joined, bob.events()), (members, []))
        self.peer.ask(f"join {self.bob} chess")
        self.peer.ask(f"ready {self.bob}")
        self.peer.ask(f"leave {self.bob}")
        self.peer.ask(f"ready {self.ann}")
        heard = ["bob joins chess", "bob is ready in chess", "bob leaves chess"]
        self.assertEqual([each["text"] for each in bob.events()], heard)
        self.assertEqual([each["text"] for each in ann.events()], [*heard, "ann is ready in chess"])

    def test_a_line_is_said_as_it_was_typed(self):
        bob = self.service.listening(self.bob)
        for each in (self.ann, self.bob):
            self.peer.ask(f"join {each} chess")
        self.assertEqual(self.peer.ask(f"say {self.ann} well,  bob?"), SUCCESS)
        self.assertEqual(bob.events()[-1]["words"], "well,  bob?")
        said = self.peer.ask(f"said {self.bob}")["said"]
        self.assertEqual([each["words"] for each in said], ["well,  bob?"])

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


class Clients(SynchronousTestCase):
    """A client that knows nothing of lobbies."""

    def setUp(self):
        self.service = MemoryService(lobby)
        self.addCleanup(self.service.close)
        self.network = MemoryNetwork(self.service)
        place = (self.network.clock, self.network.login_server, self.network.endpoint)
        self.client = ServiceClient(*place)

    def done(self, waited_for):
        self.network.flush()
        return self.successResultOf(waited_for)

    def test_it_is_told_what_to_show(self):
        self.done(self.client.learn())
        learned = self.client.vocabulary.presentation
        self.assertEqual(learned.help["leave"], "Leaves the lobby that you are in.")
        self.assertEqual([each.event for each in learned.chats], ["said"])
        self.assertEqual(learned.talks, face.talks)

    def test_it_hears_what_is_said_as_messages(self):
        messages, events = [], []
        self.client.on_event(lambda user, event: events.append(event.text))
        for name in ("ann", "bob"):
            self.done(self.client.register(name, "secret"))
            self.done(self.client.login(name, "secret"))
            heard = self.client.listen(name, lambda user, message: messages.append((user, message)))
            self.done(heard)
            self.done(self.client.ask("join", name, "chess"))
        self.done(self.client.ask("say", "ann", "hello everybody"))
        self.assertEqual(sorted(user for user, _ in messages), ["ann", "bob"])
        message = dict(messages)["bob"]
        self.assertEqual(
            (message.sender, message.group, message.text), ("ann", "chess", "hello everybody")
        )
        self.assertTrue(self.client.was_said_here(message))
        self.assertIn("bob joins chess", events)
        (entry,) = self.done(self.client.ask("said", "bob")).lists["said"]
        self.assertEqual((entry["words"], entry["time"]), ("hello everybody", message.time))


class Player1(Table):
    """The table as it was at version 1."""

    user = ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    lobby = CharField(NAME_LENGTH, index=True)
    ready = BooleanField(default=False)

    class Meta:
        table_name = "player"


class Player2(Player1):
    """The table as it was at version 2."""

    since = DoubleField(null=True)

    class Meta:
        table_name = "player"


class FromVersion1(RulesCase):
    service = Service("lobby", models=(Player1,))

    def test_who_was_there_still_is(self):
        ann, bob = self.people("ann", "bob")
        self.call(Player1.insert(user=ann.id, lobby="chess", ready=True).execute)
        self.migrate(lobby)
        self.call(rules.join, bob, "chess")
        found = self.call(rules.lobbies, ann)
        self.assertEqual(found, {"lobby": [{"name": "chess", "people": "ann (ready), bob"}]})
        self.assertEqual(self.call(Player.get, user=bob.id).since, self.now)


class FromVersion2(RulesCase):
    service = Service("lobby", models=(Player2,), version=2, steps={2: add_since})

    def test_they_go_on_and_may_talk(self):
        ann, bob = self.people("ann", "bob")
        self.call(Player2.insert(user=ann.id, lobby="chess", since=self.now).execute)
        self.migrate(lobby)
        self.call(rules.say, ann, "hello")
        self.call(rules.join, bob, "chess")
        said = self.call(rules.said, bob)["said"]
        self.assertEqual([(each["who"], each["words"]) for each in said], [("ann", "hello")])

    def test_the_step_bears_being_taken_twice(self):
        self.migrate(lobby)
        self.call(add_sayings, Migrator(self.database.peewee))
        self.assertEqual(self.call(Saying.select().count), 0)
