"""What is made of rows that never change, and kept by their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bbs.storage.database import (
    AROUND_CACHED,
    LONGEST_CACHED,
    MOST_CACHED,
    cached_rows,
    read_only,
)
from bbs.storage.models import Action, News
from tests.database_case import DatabaseCase, on_both_databases


@on_both_databases
class CachedRows(DatabaseCase):
    def setUp(self) -> None:
        super().setUp()
        self.made: list[Sequence[int]] = []
        self.gone: set[int] = set()

    def make(self, keys: Sequence[int]) -> Mapping[int, bytes]:
        self.made.append(keys)
        return {key: b"%d" % key for key in keys if key not in self.gone}

    def get(self, *keys: int) -> list[bytes | None]:
        """What a rule that only reads gets."""
        rule = read_only(cached_rows)
        found = self.successResultOf(self.database.run(rule, News, keys, self.make))
        return [found.get(key) for key in keys]

    def test_each_is_made_once(self) -> None:
        self.assertEqual(self.get(1, 2), [b"1", b"2"])
        self.assertEqual(self.get(3, 2, 1), [b"3", b"2", b"1"])
        self.assertEqual(self.get(2), [b"2"])
        self.assertEqual(self.made, [[1, 2], [3]])

    def test_what_is_gone_is_looked_for_again(self) -> None:
        self.gone = {2}
        for _ in range(2):
            self.assertEqual(self.get(1, 2), [b"1", None])
        self.assertEqual(self.made, [[1, 2], [2]])

    def test_each_table_has_its_own(self) -> None:
        self.get(1)
        rule = read_only(cached_rows)
        self.successResultOf(self.database.run(rule, Action, (1,), self.make))
        self.assertEqual(self.made, [[1], [1]])

    def test_as_long_as_the_connection_lasts(self) -> None:
        self.get(1)
        self.database.peewee.close()
        self.assertEqual(self.get(1), [b"1"])
        self.assertEqual(self.made, [[1], [1]])

    def test_a_rule_that_writes_neither_uses_nor_fills_it(self) -> None:
        """It may see rows that are undone."""
        self.get(1)

        def rule() -> Mapping[int, bytes]:
            return cached_rows(News, (1, 2), self.make)

        self.assertEqual(self.successResultOf(self.database.run(rule)), {1: b"1", 2: b"2"})
        self.get(1, 2)
        self.assertEqual(self.made, [[1], [1, 2], [2]])

    def test_what_is_long_is_not_kept(self) -> None:
        def make(keys: Sequence[int]) -> Mapping[int, bytes]:
            self.made.append(keys)
            return {key: b"x" * (LONGEST_CACHED + key) for key in keys}

        rule = read_only(cached_rows)
        for _ in range(2):
            found = self.successResultOf(self.database.run(rule, News, (0, 1), make))
            self.assertEqual([len(found[key]) - LONGEST_CACHED for key in (0, 1)], [0, 1])
        self.assertEqual(self.made, [[0, 1], [1]])

    def test_it_is_emptied_when_it_is_full(self) -> None:
        self.get(*range(MOST_CACHED // AROUND_CACHED))
        self.assertEqual(self.get(7), [b"7"])
        self.assertEqual(self.get(8), [b"8"])
        self.assertEqual(self.made[1:], [[7], [8]])
