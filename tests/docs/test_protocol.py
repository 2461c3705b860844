"""`docs/protocol.md`: what the board's commands answer and tell, as declared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.people.errors import LooksLikeAnother
from bbs.commands.common import all_commands
from bbs.core.values import RESERVED_EVENTS
from bbs.framework import Refusal
from bbs.protocols.reply_types import members, misfit, records
from tests.paths import CHECKOUT

PAGE = CHECKOUT / "docs/protocol.md"

ROW = re.compile(r"^\| (`[^|]*`) \|[^|]*\| ([^|]*) \|$", re.MULTILINE)
SUCCESS = re.compile(r"^\| (`[^|]*`) \| ([^|]*) \|[^|]*\|$", re.MULTILINE)
OWNERS = re.compile(r"Rules as of owners: (.*?)\. Whoever")
ELSEWHERE = re.compile(r"`(history-group) <user> <group>` .*own rules: (.*?)\)")

UNTOLD = (LooksLikeAnother,)
"""Refusals of which the page tells for `register`, if the operator has them."""


def texts(cell: str, rows: Mapping[str, Sequence[str]]) -> list[str]:
    """The texts of the refusals in a cell, with `<>` for what is filled in."""
    found = []
    for part in cell.split("; "):
        if reference := re.match(r"those of `([a-z-]+)` without `(.*)`", part):
            found += [each for each in rows[reference[1]] if each != _plain(reference[2])]
        elif part == "as of owners":
            found += rows["owners"]
        elif text := re.match(r"`(.*?)`", part):
            found.append(_plain(text[1]))
    return found


def _plain(text: str) -> str:
    return re.sub(r"<[a-z]+>|\b\d+\b", "<>", text)


def documented(page: str) -> Mapping[str, Sequence[str]]:
    """The texts of the refusals of each command, in the page's order."""
    rows: dict[str, Sequence[str]] = {"owners": texts(OWNERS.search(page)[1], {})}  # type: ignore[index]
    for usages, cell in (*ROW.findall(page), *ELSEWHERE.findall(page)):
        for name in re.findall(r"`([a-z-]+)[ `]", f"`{usages.strip('`')}`"):
            rows[name] = texts(cell, rows)
    return rows


def declared(refuses: Sequence[type[Refusal]]) -> list[str]:
    return [each.text.replace("{}", "<>") for each in refuses if each not in UNTOLD]


class Refusals(SynchronousTestCase):
    def test_each_commands_in_their_order(self) -> None:
        page = documented(PAGE.read_text("utf-8"))
        for command in all_commands(board):
            if command.refuses is not None and command.name in page:
                self.assertEqual(page[command.name], declared(command.refuses), command.name)

    def test_all_of_the_board_declare_theirs(self) -> None:
        page = documented(PAGE.read_text("utf-8"))
        for table in board.commands:
            for command in table:
                self.assertIsNotNone(command.refuses, command.name)
                self.assertIn(command.name, page)


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


class Replies(SynchronousTestCase):
    def test_members(self) -> None:
        """The members that a row names are those of the command's record, and of what is in it."""
        page = PAGE.read_text("utf-8")
        rows = {usage.strip("`").split(" ")[0]: success for usage, success in SUCCESS.findall(page)}
        for command in (each for table in board.commands for each in table):
            if command.name not in rows:
                continue
            named = {*re.findall(r'"([a-z]+)":', rows[command.name])}
            top = re.match(r"(?:`Success!`, )?`([a-z]+)`", rows[command.name])
            if command.reply is None:
                self.assertEqual(named, set(), command.name)
                continue
            reply: Any = command.reply
            self.assertEqual([top and top[1]], [each.name for each in members(reply)])
            if named:
                inner: list[Any] = [
                    each for each in records(command.reply) if each is not command.reply
                ]
                known = {each.name for record in inner for each in members(record)}
                self.assertEqual(named, known, command.name)
