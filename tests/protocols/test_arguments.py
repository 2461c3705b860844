"""Kinds of arguments: `<lot:int>`, `<until:time>`, and those of a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import (
    ArgumentKind,
    Ask,
    Caller,
    Command,
    CommandTable,
    Reply,
    Role,
    Service,
    read_only,
    success,
)
from bbs.protocols.arguments import KINDS, LARGEST
from bbs.testing import MemoryService


def cents(text: str) -> int:
    whole, _, rest = text.partition(".")
    if not (whole.isdigit() and len(rest) == 2 and rest.isdigit()):
        raise ValueError(text)
    return int(whole + rest)


MONEY = ArgumentKind(cents, int)


class Kinds(SynchronousTestCase):
    def check(self, kind: str, right: Mapping[str, object], wrong: tuple[str, ...]) -> None:
        read = KINDS[kind].read
        for text, value in right.items():
            self.assertEqual(read(text), value, text)
        for text in wrong:
            self.assertRaises(ValueError, read, text)

    def test_whole_numbers(self) -> None:
        right = {"0": 0, "-7": -7, "007": 7, str(LARGEST): LARGEST}
        self.check("int", right, ("", "x", "1.0", "1e3", "+1", "1_0", "٣", " 1", str(2**63)))

    def test_times(self) -> None:
        right = {
            "0": 0.0,
            "1800000000.5": 1_800_000_000.5,
            "2027-01-15": 1_799_971_200.0,
            "2027-01-15T08:00": 1_800_000_000.0,
            "2027-01-15T09:00+01:00": 1_800_000_000.0,
        }
        self.check(
            "time", right, ("", "now", "-1", "1e9", "inf", "nan", "1969-01-01", "2027-13-01")
        )


@read_only
def bid(caller: Caller, lot: int, price: int, until: float | None = None) -> dict[str, object]:
    return {"bid": [lot, price, until]}


async def count(ask: Ask, number: int) -> Reply:
    return success(number=number + 1)


COMMANDS = CommandTable(
    Command(
        "bid <user> <lot:int> <price:money> [<until:time>]",
        Role.APP,
        rule=bid,
        kinds={"money": MONEY},
    ),
)
COMMANDS.command("count <number:int>", Role.EITHER)(count)


class InAService(SynchronousTestCase):
    def setUp(self) -> None:
        self.service = MemoryService(Service("auctions", commands=(COMMANDS,)))
        self.addCleanup(self.service.close)
        self.token = self.service.people("ann")["ann"]
        self.peer = self.service.at_home(self.token)

    def ask(self, line: str) -> dict[str, Any]:
        return self.peer.ask(line.replace("<user>", self.token))

    def test_rules_get_values(self) -> None:
        self.assertEqual(self.ask("bid <user> 7 2.50")["bid"], [7, 250, None])
        self.assertEqual(self.ask("bid <user> 7 2.50 1800000000")["bid"], [7, 250, 1.8e9])
        self.assertEqual(self.ask("count 41")["number"], 42)

    def test_the_usage_is_the_answer(self) -> None:
        usage = "Usage: bid <user> <lot> <price> [<until>]"
        for arguments in ("x 2.50", "7 2.5", "7 2.50 soon", "7", "7 2.50 1 2"):
            reply = self.ask(f"bid <user> {arguments}")
            self.assertEqual((reply["message"], reply["code"]), (usage, "wrong-usage"), arguments)
        self.assertEqual(self.ask("count x")["message"], "Usage: count <number>")

    def test_the_session_comes_first(self) -> None:
        self.assertEqual(self.ask("bid nobody x y")["message"], "Not login yet")

    def test_what_people_read(self) -> None:
        self.assertIn("bid <user> <lot> <price> [<until>]", self.ask("help")["message"])


class Declared(SynchronousTestCase):
    def test_no_such_kind(self) -> None:
        with self.assertRaisesRegex(ValueError, "integer is not a kind; did you mean int"):
            Command("bid <user> <lot:integer>", Role.APP, rule=bid)

    def test_a_colon_that_begins_no_kind(self) -> None:
        """As names of parameters may have been of any characters."""
        for name in ("host:PORT", "host:port"):
            command = Command(f"dial <user> <{name}>", Role.APP, rule=bid)
            self.assertEqual((command.parameters, command.kinds), ((name,), {}))

    def test_a_parameter_named_after_a_kind(self) -> None:
        for usage in ("remind <user> <time>", "remind <user> <int>"):
            self.assertEqual(Command(usage, Role.APP, rule=bid).kinds, {})
