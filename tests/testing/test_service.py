"""The service's commands from one end to the other, in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.context import Ask, success
from bbs.commands.service import Service
from bbs.limits.rate_limits import GUESS_DELAY
from bbs.protocols.commands import CommandTable, Role
from bbs.protocols.line import Reply
from bbs.rules import fleet_admin
from bbs.scaling.interfaces import LaunchFailed
from bbs.storage.models import User
from bbs.testing import Peer
from tests.memory_service import memory_service

SUCCESS = {"status": 0, "message": "Success!"}


CODES = {
    "Unknown command": "unknown-command",
    "Not login yet": "not-logged-in",
    "Usage:": "wrong-usage",
    "Invalid id": "invalid-id",
    "ann is already used": "already-used",
    "No such user or password error": "wrong-credentials",
    "Too many attempts": "too-many-attempts",
    "chess already exist": "group-exists",
    "You are not the member": "not-member",
    "Ask the login server": "ask-login-server",
    "Service unavailable": "unavailable",
}
"""What programs go by, by how the words begin."""


def failed(message: str) -> dict[str, Any]:
    (code,) = {code for words, code in CODES.items() if message.startswith(words)}
    return {"status": 1, "message": message, "code": code}


class ServiceCase(SynchronousTestCase):
    """A service with one app server at least."""

    def setUp(self) -> None:
        self.start_service()

    def start_service(self, service: Service = board, gateway_secret: str = "") -> None:
        """Start `service`."""
        self.service = memory_service(service, gateway_secret=gateway_secret)
        self.addCleanup(self.service.close)
        self.service.start()

    def at_home(self, token: str) -> Peer:
        """A connection to the app server that serves `token`."""
        return self.service.at_home(token)


class LoginCommands(ServiceCase):
    def test_register_and_login(self) -> None:
        peer = self.service.peer()
        self.assertEqual(peer.ask("register ann 111"), SUCCESS)
        self.assertEqual(peer.ask("register ann 222"), failed("ann is already used"))
        reply = peer.ask("login ann 111")
        self.assertEqual(reply["app_server"], {"host": "127.0.0.1", "port": 20001})
        self.assertRegex(reply["token"], "^[0-9a-f]{40}$")

    def test_names_that_nobody_may_have(self) -> None:
        peer = self.service.peer()
        for name in ("a" * 101, "a\x07b", "a\x85b", "\x1b[2J", "a\u200bb", "a\u202eb", "a\u00a0b"):
            self.assertEqual(peer.ask(f"register {name} 1"), failed("Invalid id"))
        self.assertEqual(peer.ask(f"register {'ä' * 100} 1"), SUCCESS)

    def test_wrong_password_and_no_such_user_are_the_same_to_a_peer(self) -> None:
        peer = self.service.peer()
        peer.ask("register ann 111")
        self.assertEqual(
            [peer.ask("login ann 1"), peer.ask("login bob 1")],
            [failed("No such user or password error")] * 2,
        )

    def test_failed_logins_are_limited_and_right_ones_are_not(self) -> None:
        peer = self.service.peer()
        peer.ask("register ann 111")
        for _ in range(5):
            self.assertEqual(peer.ask("login ann 111")["status"], 0)
        for _ in range(3):
            peer.ask("login ann wrong")
        self.assertEqual(peer.ask("login ann 111"), failed("Too many attempts, try again in 20 s"))
        self.service.clock.advance(20)
        self.assertEqual(peer.ask("login ann 111")["status"], 0)

    def test_logout_ends_every_session(self) -> None:
        token = self.service.people("ann")["ann"]
        again = self.service.people("ann")["ann"]
        peer = self.service.peer()
        self.assertEqual(peer.ask(f"logout {token}"), {"status": 0, "message": "Bye!"})
        for ended in (token, again):
            self.assertEqual(peer.ask(f"locate {ended}"), failed("Not login yet"))

    def test_delete_frees_the_name(self) -> None:
        token = self.service.people("ann")["ann"]
        peer = self.service.peer()
        self.assertEqual(peer.ask(f"delete {token}"), SUCCESS)
        self.assertEqual(peer.ask(f"delete {token}"), failed("Not login yet"))
        self.assertEqual(peer.ask("register ann 5"), SUCCESS)

    def test_a_session_unused_for_its_time_to_live_has_ended(self) -> None:
        token = self.service.people("ann")["ann"]
        for _ in range(2):
            self.service.clock.advance(604700)
            self.assertEqual(self.service.peer().ask(f"locate {token}")["status"], 0)
        self.service.clock.advance(604801)
        self.assertEqual(self.service.peer().ask(f"locate {token}"), failed("Not login yet"))


class DeletingMuch(ServiceCase):
    """An account that has more than one transaction removes."""

    def setUp(self) -> None:
        self.left = [3, 2, 1, 0]
        self.there: list[bool] = []
        self.start_service(replace(board, on_delete=self.part))

    def part(self, user: int) -> int:
        self.there.append(User.select().where(User.id == user).exists())
        return self.left.pop(0)

    def test_part_after_part(self) -> None:
        token = self.service.people("ann")["ann"]
        events = self.service.listening(token)
        self.assertEqual(self.service.peer().ask(f"delete {token}"), SUCCESS)
        self.assertEqual((self.left, self.there), ([], [True] * 4))
        self.assertEqual(events.heard(), [{"event": "logout"}])
        self.assertEqual(self.service.peer().ask("register ann 5"), SUCCESS)


class Checks(ServiceCase):
    """Section 3: the order in which a request is checked."""

    def test_unknown_command(self) -> None:
        self.assertEqual(self.service.peer().ask("nonsense x"), failed("Unknown command nonsense"))

    def test_token_before_arguments(self) -> None:
        peer = self.service.peer()
        self.assertEqual(peer.ask("invite"), failed("Not login yet"))
        self.assertEqual(peer.ask("invite no-token a b c"), failed("Not login yet"))

    def test_arguments_before_place(self) -> None:
        token = self.service.people("ann")["ann"]
        self.assertEqual(
            self.service.peer().ask(f"invite {token}"), failed("Usage: invite <user> <id>")
        )

    def test_a_command_of_the_app_server_is_redirected(self) -> None:
        token = self.service.people("ann")["ann"]
        self.assertEqual(
            self.service.peer().ask(f"list-friend {token}"),
            {
                "status": 1,
                "message": "Moved to 127.0.0.1:20001",
                "code": "moved",
                "app_server": {"host": "127.0.0.1", "port": 20001},
            },
        )

    def test_a_command_of_the_login_server_is_redirected(self) -> None:
        token = self.service.people("ann")["ann"]
        peer = self.at_home(token)
        for line in (f"logout {token}", "login ann pw", "register x y"):
            self.assertEqual(peer.ask(line), failed("Ask the login server"))
        self.assertEqual(peer.ask("login ann"), failed("Usage: login <id> <password>"))

    def test_an_app_server_serves_its_own_people_only(self) -> None:
        tokens = self.service.people("ann", "bob", "cat")
        self.assertEqual(len(self.service.servers), 2)
        stranger = self.at_home(tokens["ann"])
        self.assertEqual(
            stranger.ask(f"list-friend {tokens['cat']}"),
            {
                "status": 1,
                "message": "Moved to 127.0.0.1:20002",
                "code": "moved",
                "app_server": {"host": "127.0.0.1", "port": 20002},
            },
        )

    def test_a_wildcard_host_is_the_address_that_the_peer_reached(self) -> None:
        token = self.service.people("ann")["ann"]
        self.service.database.peewee.execute_sql("UPDATE server SET host = ''")
        peer = Peer(self.service.login.factory, local_host="192.0.2.7")
        self.assertEqual(
            peer.ask(f"locate {token}")["app_server"], {"host": "192.0.2.7", "port": 20001}
        )
        self.assertEqual(peer.ask(f"list-friend {token}")["message"], "Moved to 192.0.2.7:20001")

    def test_a_bug_shows_a_reference_and_nothing_else(self) -> None:
        token = self.service.people("ann")["ann"]
        self.service.database.peewee.execute_sql("DROP TABLE post")
        reply = self.at_home(token).ask(f"post {token} hello")
        self.assertRegex(reply["message"], r"^Internal error \w+$")
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_either_server(self) -> None:
        token = self.service.people("ann")["ann"]
        for peer, own in ((self.service.peer(), "register"), (self.at_home(token), "invite")):
            self.assertEqual(peer.ask("ping"), {"status": 0, "message": "Pong!"})
            self.assertEqual(peer.ask("ping now"), failed("Usage: ping"))
            self.assertTrue(peer.ask("help")["message"].startswith(own))
            self.assertEqual(peer.ask("events"), SUCCESS)
            self.assertEqual(peer.ask("quit"), {"status": 0, "message": "Bye!"})
            self.assertTrue(peer.transport.disconnecting)


class OlderClients(ServiceCase):
    """Section 1: they send no line end."""

    def setUp(self) -> None:
        super().setUp()
        self.token = self.service.people("ann")["ann"]
        self.peer = self.at_home(self.token)

    def receive(self, text: str) -> list[dict[str, Any]]:
        self.peer.protocol.dataReceived(text.encode())
        return self.peer.heard()

    def test_behind_a_token_that_is_all_nobody_waits(self) -> None:
        self.assertEqual(self.receive(f"list-friend {self.token[:-1]}"), [])
        self.assertEqual(self.receive(self.token[-1:]), [{"status": 0, "friend": []}])
        self.assertEqual(self.receive("\n"), [])

    def test_of_nobody_either(self) -> None:
        self.assertEqual(self.receive("list-friend " + "0" * 40), [failed("Not login yet")])

    def test_what_more_may_follow_is_waited_for(self) -> None:
        others = [f"listen {self.token}", f"list-friend {self.token}0", "list-friend " + "F" * 40]
        for line in (*others, "ping"):
            self.assertEqual(self.receive(line), [], line)
            self.service.advance(0.1)
            self.assertEqual(len(self.peer.heard()), 1, line)


class SocialCommands(ServiceCase):
    def setUp(self) -> None:
        super().setUp()
        self.tokens = dict(self.service.people("ann", "bob"))
        self.peer = self.at_home(self.tokens["ann"])

    def ask(self, line: str) -> dict[str, Any]:
        """Ask with names in the place of tokens."""
        command, name, *rest = line.split(" ", 2)
        return self.peer.ask(" ".join([command, self.tokens[name], *rest]))

    def befriend(self) -> None:
        self.ask("invite ann bob")
        self.ask("accept-invite bob ann")

    def test_friends_and_posts(self) -> None:
        self.assertEqual(self.ask("invite ann bob"), SUCCESS)
        self.assertEqual(self.ask("list-invite bob"), {"status": 0, "invite": ["ann"]})
        self.assertEqual(self.ask("accept-invite bob ann"), SUCCESS)
        self.assertEqual(self.ask("list-friend ann"), {"status": 0, "friend": ["bob"]})
        self.assertEqual(self.ask("post ann  two  spaces "), SUCCESS)
        post = {"id": "ann", "message": " two  spaces ", "post": 1, "time": self.service.wall()}
        self.assertEqual(self.ask("receive-post bob"), {"status": 0, "post": [post]})

    def test_a_message_of_blanks_is_missing(self) -> None:
        self.assertEqual(self.ask("post ann    "), failed("Usage: post <user> <message>"))

    def test_a_message_arrives_at_once_and_once(self) -> None:
        self.befriend()
        listener = self.peer_of("bob")
        self.assertEqual(listener.ask(f"listen {self.tokens['bob']}"), SUCCESS)
        self.assertEqual(self.ask("send ann bob hello"), SUCCESS)
        expected = {"event": "message", "id": 1, "from": "ann", "to": "bob", "message": "hello"}
        self.assertEqual(listener.heard(), [{**expected, "time": self.service.wall()}])
        self.service.clock.advance(60)
        self.assertEqual(listener.heard(), [])

    def test_every_connection_of_a_user_gets_each_message(self) -> None:
        self.befriend()
        listeners = [self.peer_of("bob"), self.peer_of("bob")]
        for listener in listeners:
            listener.ask(f"listen {self.tokens['bob']}")
        self.ask("send ann bob hello")
        self.assertEqual([len(listener.heard()) for listener in listeners], [1, 1])

    def test_listening_begins_with_what_nobody_was_sent(self) -> None:
        self.befriend()
        self.ask("send ann bob one")
        first = self.peer_of("bob")
        first.say(f"listen {self.tokens['bob']}")
        self.assertEqual([one.get("message") for one in first.heard()], ["Success!", "one"])
        second = self.peer_of("bob")
        second.say(f"listen {self.tokens['bob']}")
        self.assertEqual([one.get("message") for one in second.heard()], ["Success!"])
        third = self.peer_of("bob")
        third.say(f"listen {self.tokens['bob']} 0")
        self.assertEqual([one.get("message") for one in third.heard()], ["Success!", "one"])

    def test_listen_wants_the_id_of_a_message(self) -> None:
        for word in ("x", "-1", "1.5", "9" * 30, "0" * 5000, str(2**63), "²"):
            self.assertEqual(self.ask(f"listen ann {word}"), failed("Usage: listen <user> [<id>]"))

    def test_groups(self) -> None:
        self.assertEqual(self.ask("create-group ann chess"), SUCCESS)
        self.assertEqual(self.ask("create-group bob chess"), failed("chess already exist"))
        listener = self.peer_of("bob")
        listener.ask(f"listen {self.tokens['bob']}")
        self.assertEqual(
            self.ask("send-group bob chess hi"), failed("You are not the member of chess")
        )
        self.assertEqual(self.ask("join-group bob chess"), SUCCESS)
        self.assertEqual(self.ask("send-group ann chess e4"), SUCCESS)
        expected = {"event": "message", "id": 1, "from": "ann", "group": "chess", "message": "e4"}
        self.assertEqual(listener.heard(), [{**expected, "time": self.service.wall()}])
        self.assertEqual(self.ask("list-joined bob"), {"status": 0, "group": ["chess"]})

    def test_ways_out(self) -> None:
        refused = {
            "unfriend ann bob": ("bob is not your friend", "not-friends"),
            "decline-invite ann bob": ("bob did not invite you", "not-invited-by"),
            "block ann eve": ("eve does not exist", "no-such-user"),
            "block ann ann": ("You cannot block yourself", "blocks-self"),
            "unblock ann eve": ("eve does not exist", "no-such-user"),
            "unblock ann bob": ("bob is not blocked", "not-blocked"),
            "leave-group ann go": ("You are not the member of go", "not-member"),
            "list-member ann go": ("You are not the member of go", "not-member"),
        }
        for line, (message, code) in refused.items():
            self.assertEqual(self.ask(line), {"status": 1, "message": message, "code": code})
        self.befriend()
        for line in ("unfriend ann bob", "invite ann bob", "decline-invite bob ann"):
            self.assertEqual(self.ask(line), SUCCESS)
        for line in ("create-group ann go", "join-group bob go"):
            self.ask(line)
        self.assertEqual(self.ask("list-member bob go"), {"status": 0, "member": ["ann", "bob"]})
        self.assertEqual(self.ask("leave-group ann go"), SUCCESS)
        self.assertEqual(self.ask("list-member bob go"), {"status": 0, "member": ["bob"]})

    def test_blocking(self) -> None:
        self.befriend()
        for _ in range(2):
            self.assertEqual(self.ask("block ann bob"), SUCCESS)
        self.assertEqual(self.ask("list-block ann"), {"status": 0, "block": ["bob"]})
        self.assertEqual(self.ask("list-friend bob"), {"status": 0, "friend": []})
        takes_nothing = {"message": "ann takes nothing from you", "code": "takes-nothing"}
        for line in ("invite bob ann", "send bob ann hello"):
            self.assertEqual(self.ask(line), {"status": 1, **takes_nothing})
        has_blocked = {"message": "You have blocked bob", "code": "you-have-blocked"}
        self.assertEqual(self.ask("invite ann bob"), {"status": 1, **has_blocked})
        self.assertEqual(self.ask("unblock ann bob"), SUCCESS)
        self.assertEqual(self.ask("list-block ann"), {"status": 0, "block": []})
        self.befriend()

    def test_logging_out_is_told_to_those_who_listen(self) -> None:
        listener = self.peer_of("bob")
        listener.ask(f"listen {self.tokens['bob']}")
        self.service.peer().ask(f"logout {self.tokens['bob']}")
        self.assertEqual(listener.heard(), [{"event": "logout"}])
        self.assertFalse(listener.protocol.persistent)

    def test_without_the_broker_messages_come_within_the_poll_interval(self) -> None:
        listener = self.friend_elsewhere("carol")
        self.service.broker.away()
        listener.heard()
        self.ask("send ann carol hello")
        self.assertEqual(listener.heard(), [])
        self.service.clock.advance(2.0)
        self.assertEqual([event["message"] for event in listener.heard()], ["hello"])
        self.service.broker.back()
        self.service.clock.advance(20)
        self.assertEqual(listener.heard(), [])

    def test_a_lost_hint_costs_time_only(self) -> None:
        listener = self.friend_elsewhere("carol")
        home = self.service.serving(self.tokens["ann"]).serving.home
        home.bus.tell = lambda *_, **__: None  # type: ignore[method-assign]
        self.ask("send ann carol hello")
        self.assertEqual(listener.heard(), [])
        for _ in range(5):
            self.service.clock.advance(2.0)
        self.assertEqual([event["message"] for event in listener.heard()], ["hello"])

    def test_a_connection_that_does_not_read_gets_the_rest_when_it_does(self) -> None:
        self.befriend()
        listener = self.peer_of("bob")
        listener.ask(f"listen {self.tokens['bob']}")
        listener.protocol.pauseProducing()
        for number in range(250):
            self.ask(f"send ann bob {number}")
        self.assertEqual(listener.heard(), [])
        listener.protocol.resumeProducing()
        self.assertEqual(
            [event["message"] for event in listener.heard()], [str(n) for n in range(250)]
        )

    def peer_of(self, name: str) -> Peer:
        return self.at_home(self.tokens[name])

    def friend_elsewhere(self, name: str) -> Peer:
        """A friend of ann, who listens at another app server."""
        self.tokens |= self.service.people(name)
        self.ask(f"invite ann {name}")
        peer = self.peer_of(name)
        self.assertEqual(peer.ask(f"accept-invite {self.tokens[name]} ann"), SUCCESS)
        peer.ask(f"listen {self.tokens[name]}")
        return peer


class OtherPeoplesCommands(ServiceCase):
    """Somebody else's commands are declared as the service's own are."""

    def setUp(self) -> None:
        table = CommandTable()

        @table.command("shout <user> <words>", Role.APP, rest=True)
        async def shout(ask: Ask, words: str) -> Reply:
            return success(f"{ask.user.name}: {words.upper()}")

        @table.command("nod <user>", Role.APP)
        async def nod(ask: Ask) -> None:
            await ask.tell(ask.user.channel, {"event": "nodded", "text": "somebody nods"})

        @table.command("measure <words>", Role.EITHER, rest=True)
        async def measure(ask: Ask, words: str) -> dict[str, int]:
            return {"length": len(words)}

        self.start_service(Service("other", commands=(table,)))

    def test_a_command_without_a_rule_is_guarded_all_the_same(self) -> None:
        token = self.service.people("ann")["ann"]
        peer = self.at_home(token)
        self.assertEqual(peer.ask("shout nobody x"), failed("Not login yet"))
        self.assertEqual(peer.ask(f"shout {token}"), failed("Usage: shout <user> <words>"))
        self.assertEqual(peer.ask(f"shout {token} hey")["message"], "ann: HEY")
        self.assertIn("Moved to", self.service.peer().ask(f"shout {token} hey")["message"])

    def test_a_handler_need_not_make_the_reply_itself(self) -> None:
        self.assertEqual(self.service.peer().ask("measure a b"), {"status": 0, "length": 3})
        token = self.service.people("ann")["ann"]
        peer = self.service.listening(token)
        self.assertEqual(peer.ask(f"nod {token}"), SUCCESS)
        self.assertEqual(peer.events(), [{"event": "nodded", "text": "somebody nods"}])


class Fleet(ServiceCase):
    """The controller and the waiting room, on a provider in memory."""

    def test_a_login_that_finds_no_room_waits_while_others_are_served(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        peer = self.service.peer()
        peer.ask("register cat pw")
        peer.say("login cat pw")
        self.service.settle()
        self.assertEqual(peer.heard(), [])
        self.assertEqual(self.service.peer().ask("login ann pw")["status"], 0)
        self.assertEqual(len(self.service.provider.launched), 2)
        self.service.boot(self.service.provider.launched[1])
        self.service.settle()
        self.assertEqual(peer.heard()[0]["app_server"]["port"], 20002)

    def test_those_who_said_events_are_told_where_they_stand(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        peers = [self.service.peer() for _ in range(2)]
        for number, peer in enumerate(peers):
            peer.ask("events")
            peer.ask(f"register p{number} pw")
            peer.say(f"login p{number} pw")
        self.service.settle()
        told = [peer.heard() for peer in peers]
        self.assertEqual([one[0]["position"] for one in told], [1, 2])
        self.assertEqual([one[0]["seconds"] for one in told], [0, 0])
        self.service.boot(self.service.provider.launched[1])
        self.service.settle()
        self.assertEqual([peer.heard()[-1]["status"] for peer in peers], [0, 0])

    def test_a_hundred_waiting_people_launch_for_all_of_them_and_no_more(self) -> None:
        self.service.boots = False
        peers = [self.service.peer() for _ in range(32)]
        for number, peer in enumerate(peers):
            peer.ask(f"register p{number} pw")
            peer.say(f"login p{number} pw")
        self.service.settle()
        # Two found the first server's places; thirty wait for fifteen servers of two.
        self.assertEqual(len(self.service.provider.launched), 16)
        for server in self.service.provider.launched[1:]:
            self.service.boot(server)
            self.service.settle()
        self.assertEqual([len(peer.heard()) for peer in peers], [1] * 32)
        self.assertEqual(len(self.service.provider.launched), 16)

    def test_waiting_ends_with_the_launch_timeout(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        peer = self.service.peer()
        peer.ask("register cat pw")
        peer.say("login cat pw")
        for _ in range(95):
            self.service.beat()
            self.service.clock.advance(2)
        self.assertEqual(peer.heard(), [failed("Service unavailable, try again")])

    def test_giving_up_takes_nothing(self) -> None:
        self.service.people("ann", "bob")
        self.service.boots = False
        peer = self.service.peer()
        peer.ask("register cat pw")
        peer.say("login cat pw")
        self.service.settle()
        peer.protocol.connectionLost(Failure(ConnectionDone()))
        self.service.boot(self.service.provider.launched[1])
        self.service.settle()
        rows = self.service.database.peewee.execute_sql(
            "SELECT (SELECT count(*) FROM waiter), (SELECT count(*) FROM place)"
        )
        self.assertEqual(rows.fetchone(), (0, 2))

    def test_a_dead_server_is_replaced_and_its_people_placed_again(self) -> None:
        tokens = self.service.people("ann", "bob")
        (dead,) = self.service.provider.launched
        self.service.provider.end(dead)
        self.service.settle()
        self.service.settle()
        self.assertEqual(len(self.service.provider.launched), 2)
        self.assertEqual(
            self.service.peer().ask(f"locate {tokens['ann']}")["app_server"]["port"], 20002
        )

    def test_a_silent_server_is_lost_and_those_who_listen_there_are_told(self) -> None:
        tokens = self.service.people("ann", "bob")
        home = self.service.serving(tokens["ann"])
        listener = home.peer()
        listener.ask(f"listen {tokens['ann']}")
        for _ in range(8):
            self.service.clock.advance(2)
            self.service.settle()
        moved = [event for event in listener.heard() if event["event"] == "moved"]
        self.assertEqual(moved[0]["app_server"], {"host": "127.0.0.1", "port": 20002})
        self.assertNotIn(home.id, self.service.provider.alive())

    def test_an_idle_server_beyond_need_ends(self) -> None:
        tokens = self.service.people("ann", "bob", "cat")
        self.assertEqual(len(self.service.provider.alive()), 2)
        self.service.peer().ask(f"logout {tokens['cat']}")
        for _ in range(70):
            self.service.beat()
            self.service.clock.advance(2)
        self.assertEqual(len(self.service.provider.alive()), 1)

    def test_a_launch_that_fails_is_tried_again_later(self) -> None:
        self.service.people("ann", "bob")
        self.service.provider.refusal = LaunchFailed("no more processes")
        peer = self.service.peer()
        peer.ask("register cat pw")
        peer.say("login cat pw")
        self.service.settle()
        self.service.provider.refusal = None
        for _ in range(3):
            self.service.beat()
            self.service.clock.advance(2)
            self.service.settle()
        self.assertEqual([reply["status"] for reply in peer.heard()], [0])

    def test_stopping_gives_the_lease_away(self) -> None:
        self.successResultOf(self.service.login.controller.stopService())
        row = self.service.database.peewee.execute_sql("SELECT count(*) FROM lease").fetchone()
        self.assertEqual(row, (0,))

    def test_a_server_that_drains_serves_its_people_until_they_have_other_places(self) -> None:
        tokens = self.service.people("ann", "bob")
        home = self.service.serving(tokens["ann"])
        listener = home.peer()
        listener.ask(f"listen {tokens['ann']}")
        self.service.boots = False
        self.service.database.run(fleet_admin.ask_drain, home.id)
        for _ in range(3):
            self.service.clock.advance(2)
            self.service.beat()
        self.assertEqual(listener.ask(f"list-friend {tokens['ann']}")["status"], 0)
        self.service.boot(self.service.provider.launched[1])
        self.service.settle()
        self.assertEqual([event["app_server"]["port"] for event in listener.heard()], [20002])
        # The next round, which gives those who listened time to follow.
        self.service.clock.advance(2)
        self.assertNotIn(home.id, self.service.provider.alive())


class Gateways(ServiceCase):
    """`forwarded-for`: limits are for the address that a gateway names, if it is believed."""

    def setUp(self) -> None:
        self.start_service(gateway_secret="a-secret-of-tests")

    def gateway(self, address: str) -> Peer:
        peer = self.service.peer()
        self.assertEqual(peer.ask(f"forwarded-for {address} a-secret-of-tests"), SUCCESS)
        return peer

    def fail_to_log_in(self, peer: Peer, times: int) -> list[str]:
        """The answers to wrong passwords, each for another account."""
        return [peer.ask(f"login nobody-{time} wrong")["message"] for time in range(times)]

    def test_limits_are_for_whom_it_speaks(self) -> None:
        wrong = "No such user or password error"
        first, second = self.gateway("192.0.2.1"), self.gateway("2001:db8::1")
        self.assertEqual(self.fail_to_log_in(first, 30), [wrong] * 30)
        self.assertIn("Too many attempts", self.fail_to_log_in(first, 1)[0])
        self.assertIn("Too many attempts", self.fail_to_log_in(self.gateway("192.0.2.1"), 1)[0])
        self.assertEqual(self.fail_to_log_in(second, 1), [wrong])
        self.assertEqual(self.fail_to_log_in(self.service.peer(), 1), [wrong])

    def test_only_with_the_secret(self) -> None:
        peer = self.service.peer()
        wrong = failed("No such user or password error")
        for secret in ("a-secret-of-test", "A-secret-of-tests", "ä"):
            self.assertEqual(peer.ask(f"forwarded-for 192.0.2.1 {secret}"), wrong)
        self.assertEqual(peer.protocol.peer_host, "127.0.0.1")

    def test_guesses_are_limited(self) -> None:
        peers = [self.service.peer() for _ in range(40)]
        for peer in peers:
            peer.say("forwarded-for 192.0.2.1 guess")
        self.service.advance(GUESS_DELAY)
        refused = ["Too many" in peer.heard()[0]["message"] for peer in peers]
        self.assertEqual(refused[:30], [False] * 30)
        self.assertTrue(refused[-1])

    def test_who_guesses_keeps_no_gateway_out(self) -> None:
        self.fail_to_log_in(self.service.peer(), 40)
        gateway = self.service.peer()
        gateway.say("forwarded-for 192.0.2.1 a-secret-of-tests")
        self.service.advance(GUESS_DELAY)
        self.assertEqual(gateway.heard(), [SUCCESS])

    def test_an_address_has_one_form(self) -> None:
        for given, kept in (
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:DB8:0::1", "2001:db8::1"),
            ("fe80::1%eth0", "fe80::1"),
            ("::1%\x1b[31m", "::1"),
        ):
            self.assertEqual(self.gateway(given).protocol.peer_host, kept)

    def test_only_addresses(self) -> None:
        for address in ("example.org", "192.0.2.256", "1", "::g"):
            reply = self.service.peer().ask(f"forwarded-for {address} a-secret-of-tests")
            self.assertEqual(reply, failed("Usage: forwarded-for <address> <secret>"))

    def test_no_help_tells_of_it(self) -> None:
        self.assertNotIn("forwarded-for", self.service.peer().ask("help")["message"])


class NoGateway(ServiceCase):
    def test_unknown_without_a_secret(self) -> None:
        reply = self.service.peer().ask("forwarded-for 192.0.2.1 guess")
        self.assertEqual(reply, failed("Unknown command forwarded-for"))
