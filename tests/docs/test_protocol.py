"""`docs/protocol.md`: what the board's commands answer and tell, as declared."""

from __future__ import annotations

import json
import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.people.records import Friend
from bbs.board.posts.records import Post
from bbs.core.values import RESERVED_EVENTS
from bbs.protocols.reply_types import members, misfit
from tests.docs.protocol import PAGE, PROGRAM, page


class Tables(SynchronousTestCase):
    def test_they_are_of_today(self) -> None:
        written = PAGE.read_text("utf-8")
        self.assertEqual(page(written), written, f"{PAGE.name} is an older one: run {PROGRAM}")

    def test_members(self) -> None:
        text = PAGE.read_text("utf-8")
        for record in (Friend, Post):
            for each in members(record):
                self.assertRegex(text, rf'"{each.name}"\??: ')

    def test_all_of_the_board_declare_what_they_refuse(self) -> None:
        for table in board.commands:
            for command in table:
                self.assertIsNotNone(command.refuses, command.name)

    def test_whom_a_text_is_about(self) -> None:
        """By the words that people read, which differ from one command to another."""
        text = PAGE.read_text("utf-8")
        for row in (
            "`You have blocked <id>` (you-have-blocked); `<id> is already a member of <group>`",
            "`<name> is not your friend` (not-friends)",
            "`A topic has at most … characters` (topic-too-long)",
            "`… does not accept messages from you` (takes-nothing)",
        ):
            self.assertIn(row, text)


class Events(SynchronousTestCase):
    EXAMPLE = re.compile(r'^\{"event": .*\}$', re.MULTILINE)

    def test_each_example_is_as_declared(self) -> None:
        declared: dict[str, Any] = {each.name: each.record for each in board.events}
        found = set()
        for line in self.EXAMPLE.findall(PAGE.read_text("utf-8")):
            name = json.loads(line)["event"]
            if name not in RESERVED_EVENTS:
                self.assertEqual(misfit(declared[name], line.encode()), "", line)
                known = {each.name for each in members(declared[name])}
                self.assertLessEqual(json.loads(line).keys(), {"event", *known}, line)
                found.add(name)
        self.assertEqual(found, declared.keys())
