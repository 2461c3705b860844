"""Each command costs what `costs.md` says, in things that no load of the machine changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.common import all_commands
from bbs.storage.engines import IN_C, IN_PYTHON
from tests.board.costs import (
    ONE,
    PROGRAM,
    TABLES,
    Costs,
    costs_on_mysql,
    costs_on_sqlite,
    differences,
    read,
    report,
)
from tests.database_case import fresh_mysql_url

AS_MEANT = f"If this is as meant, `{PROGRAM}` writes the page, and the commit's message says so."


def without(costs: Mapping[str, int], column: str) -> Mapping[str, int]:
    return {name: count for name, count in costs.items() if name != column}


class CostsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = TABLES.read_text()
        self.written = read(self.page)

    def check(self, found: Costs) -> None:
        changes = differences(self.written, found)
        if changes:
            self.fail("\n".join([*changes, AS_MEANT]))

    def test_sqlite(self) -> None:
        folder = Path(self.mktemp())
        folder.mkdir()
        self.check(costs_on_sqlite(folder))

    def test_mysql(self) -> None:
        self.check(costs_on_mysql(fresh_mysql_url(IN_PYTHON)))

    def test_mysql_by_the_driver_in_c(self) -> None:
        """Some of its packets have a few bytes more or less than PyMySQL's."""
        found = costs_on_mysql(fresh_mysql_url(IN_C))
        self.check(
            {
                section: {row: without(costs, "MariaDB: bytes") for row, costs in listed.items()}
                for section, listed in found.items()
            }
        )

    def test_every_command_is_on_the_page(self) -> None:
        """But for `traceparent`, which is for the request behind it."""
        names = {command.name for command in all_commands(board)}
        counted = {row.partition(",")[0] for row in self.written[ONE]}
        self.assertEqual(counted, names - {"traceparent"})

    def test_the_page_is_as_it_was_written(self) -> None:
        self.assertEqual(self.page, report(self.written), f"{PROGRAM} writes it anew")
