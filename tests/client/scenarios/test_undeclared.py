"""Services that declare no client, as all that were built on version 0.3.0: their people see what
they saw then, though nothing was said of their lists, events and commands."""

from __future__ import annotations

import json

from twisted.trial.unittest import SynchronousTestCase

from bbs.client import ChatMessage
from bbs.client import ServiceReply as Reply
from bbs.client.catalog import CommandCatalog
from bbs.framework import Service
from bbs.protocols.presentation import Presentation
from bbs.ui.output import message_line, reply_lines

LOBBY = (("join <user> <lobby>", False), ("send <user> <text>", True))
"""Commands of which none is used as the board's."""


class Undeclared(SynchronousTestCase):
    def presentation(self, *more: tuple[str, bool]) -> Presentation:
        """What a client goes by that has asked the service, which has `more` commands."""
        vocabulary = CommandCatalog(Service("lobby").presentation())
        commands = (*LOBBY, *more)
        told = [
            {"usage": usage, "server": "app", "rest": rest, "harmless": usage.startswith("history")}
            for usage, rest in commands
        ]
        vocabulary.learn(Reply({"status": 0, "commands": told}), 0.0)
        return vocabulary.presentation

    def test_messages_where_no_command_sends_them(self) -> None:
        for to, group, line in (
            ("bob", None, "<<<ann->bob: hello>>>"),
            (None, "chess", "<<<ann->GROUP<chess>: hello>>>"),
        ):
            said = ChatMessage(1, "ann", "hello", to, group)
            self.assertEqual(message_line(self.presentation(), said), line)

    def test_nobody_can_be_talked_to(self) -> None:
        self.assertEqual(self.presentation().open_talks, [])

    def test_messages_are_known_by_their_event(self) -> None:
        self.assertIsNotNone(self.presentation().chat("message"))

    def test_a_list_of_any_name(self) -> None:
        for name in ("lobby", "x" * 5000, ""):
            for entries, lines in ((["chess"], ["chess"]), ([], ["Nothing"])):
                reply = Reply({"status": 0, name: entries})
                self.assertEqual(reply_lines(self.presentation(), reply), lines)

    def test_a_list_that_is_called_history_is_wanted_as_a_whole(self) -> None:
        for usage, recent in (
            ("history <user> <lobby> <year>", False),
            ("history <user> <name>", True),
        ):
            listing = self.presentation((usage, False)).listing("history")
            self.assertIs(listing.recent, recent, usage)

    def test_entries_that_only_look_like_the_boards(self) -> None:
        for entry in (
            {"id": 7, "message": "hello", "by": "ann"},
            {"id": "ann", "message": 7},
            {"id": 7, "online": True, "last": None},
            {"id": "ann", "online": True, "game": "chess"},
            {"id": "ann", "online": False, "game": "chess"},
        ):
            lines = reply_lines(self.presentation(), Reply({"status": 0, "note": [entry]}))
            self.assertEqual(lines, [json.dumps(entry, separators=(",", ":"))])
