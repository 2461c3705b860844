"""Servers that tell no presentation: a client goes by its own, as far as their commands are those
that it is about."""

from __future__ import annotations

from dataclasses import replace

from bbs.board import BBSClient, board
from bbs.framework import CommandTable, Role, Service
from bbs.ui import completion
from bbs.ui.chat import Partner
from bbs.ui.conversation import Conversation
from tests.client.case import LOGIN, without_words
from tests.client.test_catalog import Noting
from tests.ui.test_conversation import FRIEND, ConversationCase, Paper, squeezed

TALKS = "* Talking to {}. Type end to stop; start a command with /"


class TheBoardsCommands(ConversationCase):
    """A board that tells nothing of itself, as those up to version 0.3.0."""

    def make_service(self) -> Service:
        return without_words(board)

    def setUp(self) -> None:
        super().setUp()
        self.make_group("chess", "ann", "bob")
        self.type("login bob pw", "login ann pw")

    def test_nothing_is_told(self) -> None:
        self.assertNotIn("presentation", self.service.peer().ask("commands"))

    def test_talks(self) -> None:
        self.send("bob", "ann", "hi")
        said = self.type("talk bob")
        self.assertEqual(said, [TALKS.format("bob"), "ann before: bob  hi"])
        self.send_group("bob", "chess", "e4")
        said = self.type("/talk group chess", "e5")
        self.assertIn("ann before: #chess bob  e4", said)
        self.assertEqual(self.messages()[-1], ("ann", "chess", "e5"))
        self.type("/leave-group chess")
        self.assertIsNone(self.conversation.talk)

    def test_a_command_that_is_not_listed_is_none_to_people(self) -> None:
        self.assertNotIn("history-group", " ".join(self.type("help")))
        self.assertEqual(self.completions("history-"), [])

    def test_words_and_completion(self) -> None:
        self.assertEqual(self.type("w"), ["bob is here"])
        self.assertIn(
            "* Lists your friends, the oldest friendship first.", self.type("help friends")
        )
        self.assertEqual(self.type("list-block"), ["Nobody is blocked"])
        self.assertEqual(self.completions("send ")[:1], ["bob"])
        self.assertEqual(self.completions("join-group "), ["bob", "ann"])
        self.invite("cat", "ann")
        said = self.type("logout", "login ann pw")
        self.assertIn("* 1 invitation waits: list-invite", said)


class OtherCommands(Noting, ConversationCase):
    """A service that means something else by some of the board's names, and the same by some."""

    def acquaint(self) -> None:
        """Nobody need be."""

    def declare(self) -> None:
        self.note("send <user> <text>", Role.APP, rest=True)
        self.note("list-friend <user> <game>", Role.APP)
        self.note("post <user> <message>", Role.APP)
        self.note("receive-post <user>", Role.LOGIN)
        self.note("join-group <user> <group>", Role.APP)
        self.note("send-group <user> <group> <message>", Role.APP, rest=True)
        self.note("who <user>", Role.APP)

    def service_with(self, table: CommandTable) -> Service:
        return Service("elsewhere", commands=(table,))

    def setUp(self) -> None:
        super().setUp()
        self.type("login ann pw")

    def test_what_is_used_otherwise_is_another_command(self) -> None:
        self.assertEqual(self.type("help send"), ["* send <text>"])
        for name in ("list-friend", "post", "receive-post"):
            self.assertEqual(len(self.type(f"help {name}")), 1, name)
        self.assertIn("Unknown command msg", self.type("msg bob hi", "msg bob hi")[-1])
        self.assertEqual(self.asked("list-friend"), [])
        self.assertEqual(self.type("send bob hi"), ["Done."])
        self.assertEqual(self.noted[-1], ("ann", "bob hi"))

    def test_what_is_used_alike_is_the_boards(self) -> None:
        self.assertEqual(len(self.type("help who")), 3)
        self.type("w")
        self.assertEqual(self.noted[-1], ("ann",))
        self.type("join-group go")
        self.assertEqual(self.completions("send-group g"), ["go"])

    def test_only_those_talks_that_are_there(self) -> None:
        self.assertIn("* talk <group>  Begins a conversation.", [*map(squeezed, self.type("help"))])
        self.assertEqual(self.type("talk friend bob"), ["! Type: talk GROUP"])
        self.assertEqual(self.type("talk go"), [TALKS.format("go")])
        self.type("e4")
        self.assertEqual(self.noted[-1], ("ann", "go", "e4"))


class TheFirstVersion(ConversationCase):
    """Servers of version 0.1.0 cannot say what they have."""

    def setUp(self) -> None:
        super().setUp()
        self.be_old()
        self.client = BBSClient(self.clock, LOGIN, self.network.endpoint)
        self.paper = Paper(self.client.vocabulary)
        self.conversation = Conversation(self.client, self.paper)
        self.addCleanup(self.conversation.close)
        self.type("login bob pw", "login ann pw")

    def test_what_those_had(self) -> None:
        self.assertEqual(self.completions("send ")[:1], ["bob"])
        self.assertEqual(self.type("msg bob hi"), ["Sent to bob.", "bob: ann → bob  hi"][::-1])
        self.assertEqual(self.type("talk bob"), [TALKS.format("bob")])
        self.assertEqual(self.conversation.talk, Partner(FRIEND_THEN, "bob"))
        self.assertEqual(self.type("ho"), ["bob: ann → bob  ho"])

    def test_nothing_that_came_later(self) -> None:
        said = self.type("help")
        self.assertIn("  receive-post [<user>]  ", " ".join(said))
        for name in ("history", "who", "unfriend", "block"):
            self.assertNotIn(f"*   {name} ", " ".join(said))
        self.assertEqual(self.completions("un"), [])
        self.assertNotIn("w", [each.text for each in completion.completions(self.conversation, "")])


FRIEND_THEN = replace(FRIEND, history="")
