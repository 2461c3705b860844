"""Dataclasses that describe replies: what is one, and how JSON becomes one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from twisted.trial.unittest import SynchronousTestCase

from bbs.client import BadReply, ServiceReply
from bbs.protocols.commands import Command, Role
from bbs.protocols.reply_types import read, records


@dataclass(frozen=True)
class Leaf:
    from_: str
    size: float = 0


@dataclass(frozen=True)
class Tree:
    leaves: list[Leaf]
    names: Sequence[str]
    counts: Mapping[str, int]
    anything: object
    best: Optional[Leaf]  # noqa: UP045 (both forms are read)
    number: int | str | None = None
    tags: tuple[str, ...] = ()
    more: list[Tree] = field(default_factory=list)


@dataclass(frozen=True)
class WithSet:
    members: set[str]


@dataclass(frozen=True)
class WithNumbers:
    members: dict[int, str]


@dataclass(frozen=True)
class Unknown:
    member: Nowhere  # type: ignore[name-defined]  # noqa: F821


@dataclass(frozen=True)
class WithDefault:
    member: object = os


TREE: Mapping[str, Any] = {
    "leaves": [{"from": "ann", "size": 1}, {"from": "bob"}],
    "names": ["x"],
    "counts": {"a": 1},
    "anything": [None, {}],
    "best": None,
    "unknown": True,
}


class ReplyTypes(SynchronousTestCase):
    def test_reading(self) -> None:
        leaves = [Leaf("ann", 1), Leaf("bob")]
        self.assertEqual(read(Tree, TREE), Tree(leaves, ("x",), {"a": 1}, [None, {}], None))
        more = {"number": "7", "tags": ["t"], "more": [TREE], "best": {"from": "zoe", "size": 0.5}}
        found = read(Tree, {**TREE, **more})
        self.assertEqual((found.number, found.tags, found.best), ("7", ("t",), Leaf("zoe", 0.5)))
        self.assertEqual(found.more, [read(Tree, TREE)])

    def test_what_does_not_fit(self) -> None:
        for changed in (
            {"leaves": None},
            {"leaves": [{"size": 1}]},
            {"leaves": [{"from": "ann", "size": True}]},
            {"names": "x"},
            {"names": [1]},
            {"counts": {"a": True}},
            {"counts": {"a": 1.5}},
            {"best": "ann"},
            {"number": 1.5},
        ):
            self.assertRaises(TypeError, read, Tree, {**TREE, **changed})
        for name in ("leaves", "anything", "best"):
            without = {key: value for key, value in TREE.items() if key != name}
            self.assertRaises(TypeError, read, Tree, without)

    def test_of_a_reply(self) -> None:
        self.assertEqual(ServiceReply({"status": 0, "from": "ann"}).read_as(Leaf), Leaf("ann"))
        reply = ServiceReply({"status": 0, "from": 1})
        problem = self.assertRaises(BadReply, reply.read_as, Leaf)
        self.assertEqual(str(problem), "The server's reply is not a Leaf")

    def test_those_within_come_first(self) -> None:
        self.assertEqual(records(Tree), [Leaf, Tree])
        self.assertIs(Command("trees", Role.EITHER, reply=Tree).reply, Tree)

    def test_mistakes_are_found_where_the_command_is_declared(self) -> None:
        for reply, reason in (
            (dict, "the reply <class 'dict'> is not a dataclass"),
            (Leaf(""), "the reply Leaf(from_='', size=0) is not a dataclass"),
            (WithSet, "set[str] is not a type of a reply's member"),
            (WithNumbers, "dict[int, str] is not a type of a reply's member"),
            (Unknown, "Unknown: name 'Nowhere' is not defined"),
            (WithDefault, "WithDefault: the default of member is not JSON: <module 'os'"),
        ):
            with self.assertRaises(ValueError) as caught:
                Command("trees", Role.EITHER, reply=reply)  # type: ignore[arg-type]
            self.assertRegex(str(caught.exception), r"\A'trees': .+\Z")
            self.assertIn(reason, str(caught.exception))
