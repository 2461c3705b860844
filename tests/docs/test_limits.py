"""Every command has a price, every shared limit a share, every table a bound: `docs/limits.md`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import unified_diff
from typing import Any

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.people.records import Friends
from bbs.board.posts.records import New
from bbs.framework import (
    Ask,
    Caller,
    Command,
    CommandTable,
    Page,
    Part,
    Reply,
    Role,
    Table,
    paged,
    read_only,
    setting,
    success,
)
from bbs.framework.limits import Bound, costs
from bbs.testing import undeclared_limits
from bbs.testing.limits import limits_of_keys
from tests.docs.limits import HOLES, PAGE, PROGRAM, page


@read_only
def names(caller: Caller) -> dict[str, object]:
    """A list that costs what `ping` does."""
    return {"friend": []}


@paged
@read_only
def priced(caller: Caller, page: Page) -> Part:
    """The same, at the price of what it returns, as lists in parts have it."""
    return page.part("friend", [])


@costs(deliveries=lambda found: 1)
def unexplained(caller: Caller) -> None:
    """Costs nobody knows what."""


async def answer(ask: Ask) -> Reply:
    return success()


class Wall(Table):
    text = peewee.TextField()


class Bounded(Table):
    text = peewee.TextField()

    class Meta:
        bound = Bound("100", of="account")


class Shared(Table):
    text = peewee.TextField()

    class Meta:
        bound = Bound("100", of="group")


def lacks(*commands: Command, models: tuple[type[Table], ...] = ()) -> Mapping[str, str]:
    """What the board lacks with these as well, beyond what it lacks today."""
    added = replace(
        board,
        commands=(*board.commands, CommandTable(*commands)),
        models=(*board.models, *models),
    )
    own = undeclared_limits(board)
    return {what: said for what, said in undeclared_limits(added).items() if what not in own}


def command(rule: Callable[..., Any] | None = None, **options: Any) -> Command:
    return Command("paint <user>", Role.APP, answer, rule=rule, **options)


class TheBoard(SynchronousTestCase):
    def test_everything_is_declared(self) -> None:
        """But for the holes that are known: what is mended is taken off that list."""
        found = undeclared_limits(board)
        lacking = [f"{what}: {found[what]}" for what in found if what not in HOLES]
        mended = [f"{what} is no hole any more" for what in HOLES if what not in found]
        if lacking or mended:
            self.fail("\n".join([*lacking, *mended]))

    def test_the_page(self) -> None:
        written = PAGE.read_text("utf-8")
        wanted = page(written)
        if written != wanted:
            lines = unified_diff(written.splitlines(), wanted.splitlines(), lineterm="", n=0)
            changed = [line for line in lines if line.startswith(("-|", "+|"))]
            why = f"docs/limits.md is not what is declared: {PROGRAM} writes it anew"
            self.fail("\n".join([why, *changed]))


class Commands(SynchronousTestCase):
    def said(self, **options: Any) -> str:
        return lacks(command(**options)).get("the command paint", "")

    def test_a_list_without_a_price(self) -> None:
        said = self.said(rule=names, reply=Friends)
        self.assertTrue(said.startswith("its reply has a list, and it costs the same"), said)

    def test_a_list_within_what_is_answered(self) -> None:
        said = self.said(reply=New)
        self.assertTrue(said.startswith("its reply has a list"), said)

    def test_nothing_but_a_rule(self) -> None:
        said = self.said(rule=names)
        self.assertTrue(said.startswith("it costs the same whatever is stored"), said)

    def test_a_handler_alone(self) -> None:
        self.assertIn("bounded=", self.said())

    def test_a_price_that_nobody_explains(self) -> None:
        self.assertIn("without a docstring", self.said(rule=unexplained))

    def test_both(self) -> None:
        self.assertIn("its price grows, and", self.said(rule=priced, bounded="one row"))

    def test_what_is_enough(self) -> None:
        self.assertEqual(self.said(rule=priced, reply=Friends), "")
        self.assertEqual(self.said(rule=names, reply=Friends, bounded="ten names"), "")
        self.assertEqual(self.said(bounded="one word"), "")


@dataclass(frozen=True)
class Walls:
    """Limits of which one has no share."""

    texts: int = setting(100, "of a wall")
    colours: int = setting(8, "of a wall", share="one colour")


class Keys(SynchronousTestCase):
    def test_without_a_share(self) -> None:
        texts, colours = limits_of_keys(Walls)
        self.assertIn("nothing says how much of it one person", texts.missing)
        self.assertEqual(colours.missing, "")


class Tables(SynchronousTestCase):
    def test_without_a_bound(self) -> None:
        said = lacks(models=(Wall,))
        self.assertEqual([*said], ["the table wall"])
        self.assertIn("nothing bounds its rows", said["the table wall"])

    def test_a_bound_of_several_people(self) -> None:
        said = lacks(models=(Shared,))
        self.assertIn("what one can fill", said["the table shared"])

    def test_what_is_enough(self) -> None:
        self.assertEqual(lacks(models=(Bounded,)), {})
