"""Which tests each worker of a run is given."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tests.run import Shares


def module(name: str, number: int) -> list[SynchronousTestCase]:
    """So many tests of a module of `tests/integration/`."""

    class Some(SynchronousTestCase):
        def test_it(self) -> None:
            pass

    Some.__module__ = f"tests.integration.{name}"
    return [Some("test_it") for _ in range(number)]


class WhatWorkersGet(SynchronousTestCase):
    def shares(self, seconds: Mapping[str, float]) -> Shares:
        self.one, self.two, self.three = module("one", 2), module("two", 3), module("three", 1)
        return Shares([*self.one, *self.two, *self.three], seconds)

    def test_a_worker_alone_has_all_in_their_order(self) -> None:
        given = [*self.shares({}).of_worker()]
        self.assertEqual([*map(id, given)], [*map(id, [*self.one, *self.two, *self.three])])

    def test_the_longest_come_first(self) -> None:
        given = [*self.shares({"two": 2.0, "three": 3.0}).of_worker()]
        self.assertEqual([*map(id, given)], [*map(id, [*self.three, *self.two, *self.one])])

    def test_each_has_whole_modules(self) -> None:
        shares = self.shares({})
        first, second = shares.of_worker(), shares.of_worker()
        self.assertIs(next(first), self.one[0])
        self.assertIs(next(second), self.two[0])
        self.assertIs(next(first), self.one[1])
        self.assertIs(next(first), self.three[0])

    def test_who_has_nothing_left_helps(self) -> None:
        shares = self.shares({"two": 1.0})
        first, second = shares.of_worker(), shares.of_worker()
        self.assertIs(next(first), self.two[0])
        others = [next(second) for _ in range(4)]
        self.assertIs(others[-1], self.two[2])
        self.assertIs(next(first), self.two[1])
        self.assertEqual([*first, *second], [])
