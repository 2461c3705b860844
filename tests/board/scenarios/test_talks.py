"""Conversations that can be read again, who is there, and what waits: from one end to the other, in
memory."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.commands.service import Service
from bbs.testing import Peer
from tests.memory_service import memory_service


class TalksCase(SynchronousTestCase):
    """ann and bob are friends."""

    def setUp(self) -> None:
        self.service = memory_service()
        self.addCleanup(self.service.close)
        self.tokens = dict(self.service.people("ann", "bob"))
        self.ask("invite ann bob")
        self.ask("accept-invite bob ann")

    def ask(self, line: str) -> dict[str, Any]:
        """Ask with names in the place of tokens."""
        command, name, *rest = line.split(" ", 2)
        peer = self.service.at_home(self.tokens[name])
        return peer.ask(" ".join([command, self.tokens[name], *rest]))


class Histories(TalksCase):
    def test_a_conversation(self) -> None:
        self.ask("send ann bob hello")
        self.service.advance(60.0)
        self.ask("send bob ann hi")
        self.ask("post ann hello")
        (one, two) = self.ask("history ann bob")["history"]
        self.assertEqual((one["message"], two["message"]), ("hello", "hi"))
        self.assertGreaterEqual(two["time"] - one["time"], 60.0)
        self.assertEqual(self.ask("history bob ann")["history"], [one, two])

    def test_what_is_refused(self) -> None:
        for line, message, code in (
            ("history ann", "Usage: history <user> <name>", "wrong-usage"),
            ("history ann eve", "No such user exist", "no-such-user"),
            ("history ann ann", "ann is not your friend", "not-friends"),
        ):
            expected = {"status": 1, "message": message, "code": code}
            self.assertEqual(self.ask(line), expected)
        self.ask("create-group bob chess")
        for line in ("history ann chess", "history-group ann chess"):
            self.assertEqual(self.ask(line)["message"], "You are not the member of chess")

    def test_more_goes_on_with_older_ones(self) -> None:
        for number in range(60):
            self.ask(f"send ann bob {number}")
        first = self.ask("history bob ann")
        second = self.ask(f"more bob {first['more']}")
        self.assertEqual([*second], ["status", "history"])
        texts = [each["message"] for each in second["history"] + first["history"]]
        self.assertEqual(texts, [*map(str, range(60))])

    def test_a_group_of_a_friends_name(self) -> None:
        self.ask("create-group ann bob")
        for number in range(51):
            self.ask(f"send-group ann bob {number}")
        self.assertEqual(self.ask("history ann bob")["history"], [])
        first = self.ask("history-group ann bob")
        self.assertEqual(len(first["history"]), 50)
        rest = self.ask(f"more ann {first['more']}")
        self.assertEqual([each["message"] for each in rest["history"]], ["0"])

    def test_in_which_help(self) -> None:
        """`history-group` is for programs that meet a name which is both."""
        peer = self.service.at_home(self.tokens["ann"])
        lines = peer.ask("help")["message"].split("\n")
        self.assertIn("history <user> <name>", lines)
        self.assertIn("who <user>", lines)
        usages = [each["usage"] for each in peer.ask("commands")["commands"]]
        self.assertIn("history <user> <name>", usages)
        self.assertNotIn("history-group", f"{lines} {usages}")


class WhoIsThere(TalksCase):
    def test_online_and_when_last(self) -> None:
        [bob] = self.ask("who ann")["friend"]
        self.assertEqual((bob["id"], bob["online"]), ("bob", True))
        self.service.peer().ask(f"logout {self.tokens['bob']}")
        left = self.service.wall()
        self.service.advance(300.0)
        [bob] = self.ask("who ann")["friend"]
        self.assertEqual((bob["id"], bob["online"], bob["last"]), ("bob", False, left))


LOGIN = ["status", "message", "token", "app_server", "device"]
"""The members of every reply to `login`; a service's own come last."""


class AtLogin(TalksCase):
    def log_in(self, name: str) -> dict[str, Any]:
        peer = self.service.peer()
        peer.say(f"login {name} pw")
        self.service.settle()
        (reply,) = peer.heard()
        self.assertEqual([*reply], [*LOGIN, "waiting"], reply)
        self.tokens[name] = reply["token"]
        waiting: dict[str, Any] = reply["waiting"]
        return waiting

    def texts(self, peer: Peer) -> list[object]:
        return [each["message"] for each in peer.heard() if each.get("event") == "message"]

    def listen(self, name: str, after: object = "") -> Peer:
        peer = self.service.at_home(self.tokens[name])
        peer.say(f"listen {self.tokens[name]} {after}".strip())
        return peer

    def test_nothing(self) -> None:
        self.assertEqual(
            self.log_in("bob"), {"invitations": 0, "messages": 0, "after": 0, "posts": 0}
        )

    def test_invitations_and_messages(self) -> None:
        self.tokens |= self.service.people("eve")
        self.ask("invite eve bob")
        self.ask("send ann bob hello")
        waiting = self.log_in("bob")
        self.assertEqual((waiting["invitations"], waiting["messages"]), (1, 1))
        self.assertEqual(self.texts(self.listen("bob", waiting["after"])), ["hello"])

    def test_a_terminal_that_was_forgotten_swallows_nothing(self) -> None:
        """What came there while nobody was at it is told, and comes again to who asks for it."""
        self.service.advance(120.0)
        forgotten = self.listen("bob")
        self.service.advance(120.0)
        self.ask("send ann bob one")
        self.ask("send ann bob two")
        self.assertEqual(self.texts(forgotten), ["one", "two"])
        self.service.advance(10.0)
        waiting = self.log_in("bob")
        self.assertEqual(waiting["messages"], 2)
        self.assertEqual(self.texts(self.listen("bob", waiting["after"])), ["one", "two"])
        # Scripts go on as before.
        self.assertEqual(self.texts(self.listen("bob")), [])
        self.service.advance(10.0)
        self.assertEqual(self.log_in("bob")["messages"], 0)


class WithoutAHook(SynchronousTestCase):
    def test_the_reply_to_login_is_as_it_was(self) -> None:
        service = memory_service(Service("plain"))
        self.addCleanup(service.close)
        peer = service.peer()
        peer.ask("register ann pw")
        peer.say("login ann pw")
        service.settle()
        self.assertEqual([*peer.heard()[0]], LOGIN)
