"""No command reads the whole of a table that grows, on either database."""

from __future__ import annotations

import peewee
from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.common import all_commands
from bbs.protocols.commands import Role
from bbs.storage import models
from bbs.storage.engines import IN_PYTHON
from tests.board.explain import (
    ALL_OF_IT,
    COMMANDS,
    GROWING,
    QUERIES,
    Plans,
    commands,
    plans,
    report,
)
from tests.database_case import DatabaseCase, fresh_mysql_url, on_both_databases, sqlite_url
from tests.storage.mysql_8 import refused

EVERYWHERE = {"help", "ping", "quit", "events", "commands", "traceparent"}
"""Commands that want nothing of the database."""


class Commands(SynchronousTestCase):
    def test_all_of_them_are_looked_at(self) -> None:
        either = {each.name for each in all_commands(board) if each.role is Role.EITHER}
        wanting_none = either - {"more"}
        self.assertEqual(wanting_none, EVERYWHERE)
        names = {command.name for command in all_commands(board)}
        self.assertEqual(set(commands()), names - wanting_none - {"forwarded-for", "device"})


@on_both_databases
class ForeignKeys(DatabaseCase):
    def test_what_refers_to_a_row_is_found_by_an_index(self) -> None:
        """When an account is deleted, whatever belongs to it is looked for in every table."""
        for model in (*models.MODELS, *board.models):
            table = model._meta.table_name
            first_columns = {index.columns[0] for index in self.database.peewee.get_indexes(table)}
            first_columns.add(self.database.peewee.get_primary_keys(table)[0])
            for field in model._meta.sorted_fields:
                if isinstance(field, peewee.ForeignKeyField):
                    self.assertIn(field.column_name, first_columns, f"{table}.{field.name}")


def statements(page: str) -> list[str]:
    """The lines of `queries.md` but for the plans, which differ with a database's version."""
    return [line for line in page.splitlines() if not line.startswith("    ")]


class PlansCase(SynchronousTestCase):
    def check(self, found: Plans) -> None:
        seen: set[str] = set()
        for section in found.values():
            for name, listed in section.items():
                self.assertTrue(listed, name)
                for plan in listed:
                    self.assertTrue(plan.steps, plan.sql)
                    seen.update(step.table for step in plan.steps)
                    for step in plan.steps:
                        if step.full and (name, step.table) not in ALL_OF_IT:
                            self.assertNotIn(
                                step.table, GROWING, f"{name}: {step.text}\n{plan.sql}"
                            )
        self.assertEqual(GROWING - seen, set(), "no statement reads these")
        # The latest of a conversation, however rare they are among all that was said since.
        for plan in found[COMMANDS]["history"]:
            for step in plan.steps:
                if step.table == "message":
                    self.assertRegex(step.text, "message_(sent_by|sent_to|in_group)")
        # Of thousands of servers the largest capacity, for each who logs in: MariaDB has it from
        # the index before it begins.
        seats = [plan for plan in found[COMMANDS]["login"] if "MAX(" in plan.sql]
        self.assertEqual(len(seats), 1)
        steps = " ".join(step.text for step in seats[0].steps)
        self.assertRegex(steps, "server_state_taken.*(server_state_capacity|optimized away)")

    def test_sqlite(self) -> None:
        found = plans(sqlite_url(self.mktemp()))
        self.check(found)
        written, today = (statements(text) for text in (QUERIES.read_text(), report({"": found})))
        self.assertEqual(written, today, "python -m tests.board.explain writes it anew")

    def test_mysql(self) -> None:
        found = plans(fresh_mysql_url(IN_PYTHON))
        self.check(found)
        for section in found.values():
            for plan in (plan for listed in section.values() for plan in listed):
                self.assertIsNone(refused(plan.sql), plan.sql)
        self.assertIn("### receive-post", report({"MariaDB": found}))
