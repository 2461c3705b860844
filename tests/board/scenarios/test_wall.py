"""The wall between the board and the clients of any service: no name goes over it.

That no import does is a contract (`.importlinter`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.client import face
from tests.paths import CHECKOUT

ROOMS = ("client", "ui", "web")

EVERYDAY = {"group", "history", "kick", "message", "status", "w", "who"}
"""Names of the board's that mean something else there, too: a member of every refusal and a role of
HTML, a key of the keyboard and what the page keeps, what operators do to sessions, a member of
every reply, a way to open a file."""

VERBS = {"accept", "deleted", "left", "messages", "new", "reply", "send", "sent", "thread"}
"""Names that are words of English sentences besides; as a text of its own each is the board's."""

_WORD = re.compile(r"\w+(?:-\w+)*")


def names_of_the_board() -> set[str]:
    """Its commands, events, counters, lists, and the names that people type."""
    commands = {command.name for table in board.commands for command in table}
    events = {chat.event for chat in face.chats} | {*face.events}
    for choices in face.choices:
        events |= {*choices.added_by_events, *choices.removed_by_events}
    lists = {listing.name for listing in face.lists}
    typed = {choices.name for choices in face.choices} | {*face.aliases}
    return commands | events | lists | typed | {*board.counted}


def texts(path: Path) -> Iterator[str]:
    """The texts in a file of a program, without its documentation."""
    if path.suffix != ".py":
        yield from re.findall(r"[\"'`]([^\"'`]*)[\"'`]", path.read_text())
        return
    tree = ast.parse(path.read_text())
    statements = [node for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    documentation = {id(statement.value) for statement in statements}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and id(node) not in documentation:
            yield str(node.value)


class Wall(SynchronousTestCase):
    def test_no_program_beyond_it_knows_a_name_of_the_board(self) -> None:
        names = names_of_the_board()
        self.assertLessEqual({"send", "list-friend", "sent", "invite", "messages", "msg"}, names)
        self.assertLessEqual(EVERYDAY, names)
        for path in self.files():
            for text in texts(path):
                self.assertNotIn(text, names - EVERYDAY, path)
                self.assertEqual({*_WORD.findall(text)} & (names - EVERYDAY - VERBS), set(), path)

    def test_nor_does_its_documentation(self) -> None:
        names = {name for name in names_of_the_board() if "-" in name}
        for path in self.files():
            self.assertEqual({*_WORD.findall(path.read_text())} & names, set(), path)

    def files(self) -> Iterator[Path]:
        for room in ROOMS:
            for path in (CHECKOUT / "bbs" / room).rglob("*"):
                if path.suffix in (".py", ".js", ".html"):
                    yield path
