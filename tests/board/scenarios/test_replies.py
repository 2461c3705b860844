"""The board's replies are what it declares: by the client that `bbs stubs` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.client import ServiceReply
from bbs.protocols.commands import Command
from bbs.protocols.reply_types import Form, members, parse
from bbs.testing import MemoryNetwork, MemoryService
from tests.cli.test_description import client_module

ARGUMENTS = {
    "name": ("bob", "chess"),
    "post": ("4",),
    "message": ("hello",),
    "group": ("chess",),
}
"""What each parameter is given; each value is tried."""

FULL = ("status", "message", "more", "backwards")
"""Members of any reply."""


class Replies(SynchronousTestCase):
    def setUp(self) -> None:
        service = MemoryService(board)
        self.addCleanup(service.close)
        self.network = MemoryNetwork(service)
        self.module = client_module()
        self.client = self.module.BbsClient(
            service.clock, self.network.login_server, self.network.endpoint
        )
        self.addCleanup(self.client.close)
        for name in ("ann", "bob", "carol", "dan"):
            self.result(self.client.register(name, "1"))
            self.result(self.client.login(name, "1"))
        for line in (
            *("invite ann bob", "accept-invite bob ann", "invite carol ann", "block ann dan"),
            *("post bob hello", "post ann hi", "create-group ann chess", "join-group bob chess"),
            *("create-group bob go", "close-group bob go", "invite-group bob go ann"),
            *("post-group bob chess e4", "send-group bob chess hello", "send bob ann hello"),
            *("delete-post bob 1", "post bob again", "reply bob 2 yes", "delete-post ann 2"),
        ):
            self.assertTrue(self.result(self.client.request(line)).ok, line)

    def result(self, deferred: Any) -> Any:
        self.network.flush()
        return self.successResultOf(deferred)

    def calls(self) -> Iterator[tuple[Command, tuple[str, ...]]]:
        for command in (each for table in board.commands for each in table):
            if command.reply is not None:
                first = tuple(ARGUMENTS[each][0] for each in command.parameters)
                last = tuple(ARGUMENTS[each][-1] for each in command.parameters)
                yield from ((command, each) for each in dict.fromkeys((first, last)))

    def test_each_is_as_declared(self) -> None:
        names = []
        for command, arguments in self.calls():
            asked = self.client.ask(command.name, "ann", *arguments)
            reply: ServiceReply = self.result(asked)
            assert command.reply is not None
            reply.read_as(command.reply)
            own = {name: each for name, each in reply.members.items() if name not in FULL}
            self.assertEqual([*undeclared(command.reply, own)], [], command.name)
            names.append(command.name)
        self.assertLessEqual({"who", "new", "groups", "thread", "history", "reply"}, {*names})

    def test_as_values_of_the_written_client(self) -> None:
        client = self.client
        [bob] = self.result(client.who("ann")).friend
        self.assertEqual((bob.id, bob.state), ("bob", "here"))
        found = {each.group: each for each in self.result(client.groups("ann")).group}
        self.assertEqual((found["chess"].members, found["go"].invited), (2, True))
        [first, second] = self.result(client.thread("ann", "2")).post
        self.assertEqual((first.deleted, second.message, second.to), (True, "yes", 2))
        [message] = self.result(client.history("ann", "bob")).history
        self.assertEqual((message.from_, message.message), ("bob", "hello"))
        self.assertEqual(self.result(client.list_invite("ann")).invite, ["carol"])
        self.assertEqual(self.result(client.new("ann")).new.groups[0].group, "chess")


def undeclared(kind: Any, value: Any) -> Iterator[str]:
    """The members in a value that a type does not have."""
    form, parts = parse(kind)
    if form is Form.RECORD and isinstance(value, Mapping):
        kinds = {each.name: each.kind for each in members(kind)}
        for name, each in value.items():
            if name in kinds:
                yield from undeclared(kinds[name], each)
            else:
                yield name
    elif isinstance(value, list):
        for each in value:
            yield from undeclared(parts[0], each)
