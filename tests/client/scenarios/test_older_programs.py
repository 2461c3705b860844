"""Programs that were written for the client library of 0.3.0: they run, and type checkers take
them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from bbs.board import BBSClient, Post, Reply
from bbs.client import ChatMessage, Incomplete, Refused
from tests.client.case import ClientTestCase


class Noting(BBSClient):
    """Keeps what passes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.lines: list[str] = []
        self.invitations = 0
        super().__init__(*arguments, **options)

    def request(self, line: str, *, whole: bool = True) -> Deferred[Reply]:
        self.lines.append(line)
        return super().request(line, whole=whole).addCallback(self.seen)

    def seen(self, reply: Reply) -> Reply:
        if reply.missed is not None:
            self.invitations = reply.missed.invitations
        return reply


async def posts(client: BBSClient) -> tuple[Post, ...]:
    """As many as there are."""
    try:
        return await client.receive_post("bob")
    except Incomplete as problem:
        return problem.reply.posts
    except Refused as problem:
        return problem.reply.posts


class Programs(ClientTestCase):
    def make(self, kind: type[BBSClient], **options: Any) -> Any:
        network = self.network
        return kind(network.clock, network.login_server, network.endpoint, **options)

    def test_a_client_of_ones_own(self) -> None:
        client = self.make(Noting)
        for name in ("ann", "bob"):
            self.result(client.register(name, name))
        self.result(client.login("ann", "ann"))
        self.result(client.invite("ann", "bob"))
        self.result(client.request("login bob bob"))
        self.assertEqual((client.lines, client.invitations), (["login bob bob"], 1))

    def test_what_there_is_of_a_list(self) -> None:
        client = self.make(BBSClient, most=10)
        for name in ("ann", "bob"):
            self.result(client.register(name, name))
            self.result(client.login(name, name))
        self.result(client.invite("ann", "bob"))
        self.result(client.accept_invite("bob", "ann"))
        for number in range(40):
            self.result(client.post("ann", f"{number} {'x' * 30_000}"))
        some = self.result(Deferred.fromCoroutine(posts(client)))
        self.assertEqual(some[-1].text[:2], "39")
        self.assertLess(len(some), 40)

    def test_the_last_of_a_conversation(self) -> None:
        """No more is asked for, though nobody has asked the service what it has."""
        client = self.make(BBSClient)
        self.register("ann", "bob")
        self.befriend("ann", "bob")
        self.result(client.login("ann", "1"))
        self.send("bob", "ann", *map(str, range(60)))
        self.assertEqual(len(self.result(client.history("ann", "bob"))), 50)
        self.assertEqual((self.asked("commands"), self.asked("more")), ([], []))

    def test_commands_that_a_server_does_not_have(self) -> None:
        self.register("ann")
        self.be_old()
        for name in ("set-status", "set-topic", "mail", "reply", "my-posts", "delete-post"):
            self.answer_always(name, {"status": 1, "message": f"Unknown command {name}"})
        for client in (self.make(BBSClient), self.client):
            self.result(client.login("ann", "1"))
            for asking in (
                client.set_status("ann", "at the beach"),
                client.set_status("ann"),
                client.set_topic("ann", "chess", "two words"),
                client.mail("ann", "bob", "two words"),
                client.reply("ann", 1, "two words"),
                client.my_posts("ann"),
                client.delete_post("ann", 1),
            ):
                self.assertIn("Unknown command ", self.problem(asking, Refused))

    def test_values(self) -> None:
        event = {"event": "message", "id": 1, "from": "ann", "to": "bob", "message": "hi"}
        self.assertEqual(ChatMessage.read(event), ChatMessage(1, "ann", "hi", "bob"))
        for name, backwards in (("post", True), ("history", True), ("friend", False)):
            self.assertIs(Reply({"status": 0, name: []}).is_backwards, backwards)
