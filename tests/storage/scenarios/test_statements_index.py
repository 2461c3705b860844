"""Queries that say which index they take: `by_index`."""

from __future__ import annotations

from typing import Any

import peewee

from bbs.board.messages.tables import MessageRow
from bbs.storage.statements import by_index, statement
from tests.database_case import RulesCase, on_both_databases


@statement
def _latest_to(user: int, name: str, below: int, limit: int) -> peewee.Select:
    query = MessageRow.select(MessageRow.id, MessageRow.text).where(
        (MessageRow.sent_to == user) & (MessageRow.sender == name) & (MessageRow.id < below)
    )
    return by_index(
        query.order_by(MessageRow.id.desc()).limit(limit),
        MessageRow.sent_to,
        MessageRow.sender,
    )


@on_both_databases
class ByIndex(RulesCase):
    def store(self, sender: str, sent_to: int) -> int:
        number: int = MessageRow.insert(
            sender=sender, target="bob", to_group=False, text="", stored=0.0, sent_to=sent_to
        ).execute()
        return number

    def test_it_finds_the_same(self) -> None:
        mine = [self.store("ann", 1) for _ in range(5)]
        self.store("ann", 2)
        self.store("eve", 1)
        self.assertEqual(
            self.call(_latest_to, 1, "ann", 2**63 - 1, 3), [(each, "") for each in mine[:1:-1]]
        )

    def test_it_takes_that_index(self) -> None:
        """Though the table's own order is asked for, and its end may seem to be near enough."""
        asked: list[Any] = []
        self.database.peewee.query_hooks.append(asked.append)
        row = {"target": "bob", "to_group": False, "text": "", "stored": 0.0, "sent_to": 1}
        for _ in range(6):
            MessageRow.insert_many(
                [{**row, "sender": name} for name in ("ann", "eve") * 200]
            ).execute()
        asked.clear()
        self.call(_latest_to, 1, "ann", 2**63 - 1, 3)
        [found] = [each for each in asked if each.sql.startswith("SELECT")]
        explain = "EXPLAIN" if self.on_mysql else "EXPLAIN QUERY PLAN"
        plan = self.database.peewee.execute_sql(f"{explain} {found.sql}", found.params)
        self.assertIn("message_sent_to_sender", str([*plan.fetchall()]))

    def test_an_index_that_there_is_not(self) -> None:
        self.assertRaises(
            LookupError,
            by_index,
            MessageRow.select(),
            MessageRow.sender,
            MessageRow.stored,
        )
