"""Each command costs what `costs.md` says, in things that no load of the machine changes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.commands.common import all_commands
from bbs.storage.engines import IN_C, IN_PYTHON
from tests.board.costs import (
    COLUMNS,
    INSTRUCTIONS_HERE,
    ONE,
    PROGRAM,
    SQLITE,
    TABLES,
    Costs,
    costs_on_mysql,
    costs_on_sqlite,
    differences,
    instructions,
    read,
    report,
    settled,
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

    def folder(self) -> Path:
        folder = Path(self.mktemp())
        folder.mkdir()
        return folder

    def test_sqlite(self) -> None:
        self.check(costs_on_sqlite(self.folder()))

    def test_instructions(self) -> None:
        if f"{SQLITE}: {INSTRUCTIONS_HERE}" not in COLUMNS:
            raise self.skipTest(f"costs.md has no column for {INSTRUCTIONS_HERE}")
        self.check(instructions(self.folder()))

    def test_a_tenth_more_instructions(self) -> None:
        """What a diff would hide is told, and what somebody moved is not."""
        column = f"{SQLITE}: {INSTRUCTIONS_HERE}"
        for more, told in ((1.0, 0), (1.07, 0), (0.93, 0), (1.09, 1), (1.10, 1), (0.90, 1)):
            written = {ONE: {"post": {column: 10_000, "frames": 0}}}
            found = {ONE: {"post": {column: int(10_000 * more), "frames": 0}}}
            self.assertEqual(len(differences(written, found)), told, more)
            kept = settled(written, found)[ONE]["post"][column]
            self.assertEqual(kept, int(10_000 * more) if told else 10_000)

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
