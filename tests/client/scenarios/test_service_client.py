"""The client library for a service of somebody's own: a `ServiceClient` with methods for it."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred

from bbs.client import ChatMessage, Incomplete, Lost, Refused, ServiceClient, ServiceReply
from bbs.framework import Command, Role
from bbs.ui.conversation import Conversation
from tests.client.case import LOGIN
from tests.ui.fair import Fair, fair
from tests.ui.test_conversation import Paper


@dataclass(frozen=True)
class FairReply(ServiceReply):
    @property
    def stalls(self) -> list[object]:
        """The names of those that are open."""
        return [each["name"] for each in self.lists["stall"] if isinstance(each, dict)]


class FairClient(ServiceClient):
    presentation = fair
    reply_class = FairReply
    commands = (
        Command("stalls <user>", Role.APP, harmless=True),
        Command("haggle <user> <stall> <words>", Role.APP, rest=True),
        Command("befriend <user> <pal>", Role.APP),
    )

    def stalls(self, user: str) -> Deferred[list[object]]:
        """Which stalls are open."""

        def read(reply: ServiceReply) -> list[object]:
            assert isinstance(reply, FairReply)
            return reply.stalls

        return self.ask("stalls", user).addCallback(read)

    def haggle(self, user: str, stall: str, words: str) -> Deferred[ServiceReply]:
        """Say something at a stall."""
        return self.ask("haggle", user, stall, words)


class OwnMethods(Fair):
    def setUp(self) -> None:
        super().setUp()
        self.register("ann")
        self.fair = FairClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(self.fair.close)
        self.result(self.fair.login("ann", "1"))

    def test_of_commands_that_are_declared(self) -> None:
        """Nobody has to be asked what there is."""
        self.assertEqual(self.result(self.fair.stalls("ann")), ["toys", "tea"])
        self.result(self.fair.haggle("ann", "toys", "two  or three?"))
        self.assertEqual(self.noted[-1], ("haggle", "ann", "toys", "two  or three?"))
        self.assertEqual(self.asked("commands"), [])

    def test_only_what_is_harmless_is_sent_again(self) -> None:
        self.lose_answer("stalls")
        listed = self.fair.stalls("ann")
        self.network.advance(0.1)
        self.assertEqual(self.result(listed), ["toys", "tea"])
        self.lose_answer("haggle")
        self.problem(self.fair.haggle("ann", "toys", "x"), Lost)
        self.assertEqual(len(self.asked("haggle")), 1)

    def test_of_one_that_is_learned(self) -> None:
        self.result(self.fair.ask("tell", "ann", "bob", "two  words"))
        self.assertEqual(self.noted[-1], ("tell", "ann", "bob", "two  words"))
        self.result(self.fair.ask("tales", "ann", "bob"))
        self.assertEqual(self.asked("commands"), [LOGIN])

    def test_of_none(self) -> None:
        self.assertEqual(
            self.problem(self.fair.ask("sing", "ann"), Refused), "Unknown command sing"
        )

    def test_what_cannot_be_sent(self) -> None:
        for arguments in (("ann", "two words"), ("ann", "")):
            self.assertRaises(ValueError, self.fair.ask, "befriend", *arguments)
        failing = self.fair.ask("drop", "ann", "two words")
        self.network.flush()
        self.failureResultOf(failing, ValueError)

    def test_refused(self) -> None:
        refusal = {"status": 1, "message": "They are at war", "code": "at-war"}
        for name in ("befriend", "drop"):
            self.answer(name, refusal)
            asking = self.fair.ask(name, "ann", "bob")
            self.network.flush()
            problem = self.failureResultOf(asking, Refused).value
            self.assertEqual((str(problem), problem.code), ("They are at war", "at-war"))

    def test_incomplete(self) -> None:
        self.replies["stalls"] = {"stall": [{"name": "toys"}], "more": "stalls:1"}
        self.answer("more", {"status": 0, "stall": [{"name": "tea"}]})
        self.assertEqual(self.result(self.fair.stalls("ann")), ["toys", "tea"])
        self.answer("more", {"status": 1, "message": "gone"})
        asking = self.fair.stalls("ann")
        self.network.flush()
        problem = self.failureResultOf(asking, Incomplete).value
        self.assertEqual(problem.reply.stalls, ["toys"])
        self.assertIn("gone", str(problem))

    def test_a_part_that_was_asked_for_is_not(self) -> None:
        self.replies["news"] = {"news": ["a"], "more": "news:1"}
        self.assertEqual(self.result(self.fair.ask("news", "ann")).members["news"], ["a"])
        self.assertEqual(self.asked("more"), [])

    def test_a_line_that_is_half_there_at_a_service_that_does_not_say_what_it_has(self) -> None:
        self.be_old()
        for line in ("haggle", "haggle ann"):
            self.assertFalse(self.result(self.fair.request(line)).ok)
        self.answer("haggle", {"status": 0})
        conversation = Conversation(self.fair, Paper(self.fair.vocabulary))
        self.result(conversation.carry_out("haggle x"))

    def test_messages(self) -> None:
        heard: list[ChatMessage] = []
        self.result(self.fair.listen("ann", lambda user, message: heard.append(message)))
        event = {"event": "haggled", "by": "bob", "stall": "toys", "words": "two?"}
        self.announce("ann", event)
        (message,) = heard
        said = (message.sender, message.group, message.text, message.talk)
        self.assertEqual(said, ("bob", "toys", "two?", "stall"))
        self.assertEqual(message.members, event)


class WithoutAny(Fair):
    """`ServiceClient` itself."""

    def test_everything_is_learned(self) -> None:
        self.register("ann")
        client = ServiceClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(client.close)
        self.result(client.login("ann", "1"))
        reply = self.result(client.ask("stalls", "ann"))
        self.assertEqual(reply.members["stall"], [{"name": "toys"}, {"name": "tea"}])
        self.assertEqual(client.vocabulary.presentation.aliases["h"], "haggle")

    def test_messages(self) -> None:
        """Which events they are is known before the first can come."""
        self.register("ann")
        client = ServiceClient(self.clock, LOGIN, self.network.endpoint)
        self.addCleanup(client.close)
        self.result(client.login("ann", "1"))
        heard: list[ChatMessage] = []
        self.result(client.listen("ann", lambda user, message: heard.append(message)))
        event = {"event": "haggled", "by": "bob", "stall": "toys", "words": "two?"}
        self.announce("ann", event)
        self.assertEqual([message.text for message in heard], ["two?"])
