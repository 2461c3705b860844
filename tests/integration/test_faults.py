"""A short share of the faults that `make soak` brings upon a whole service for an hour.

What is broken, by whom it is used meanwhile and what is checked is in `tests/load/faults/`.
"""

from __future__ import annotations

import os

from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.trial.unittest import TestCase

from tests.integration.service import ServiceCase
from tests.load.faults.figures import Figures
from tests.load.faults.migrations import Cuts, cut_everywhere
from tests.load.faults.run import Plan, carry_out
from tests.services import needed

SECONDS = float(os.environ.get("BBS_TEST_FAULTS_SECONDS", "6"))
"""No fault begins later than so long after the first."""

SEED = int(os.environ.get("BBS_TEST_FAULTS_SEED", "1"))

_log = Logger()


class Faults(ServiceCase):
    timeout = 600

    async def broken(self, database: str) -> Figures:
        figures = await carry_out(Plan(database, SEED, 10_000, SECONDS))
        _log.info("{test}:\n{figures}", test=self.id(), figures=figures.text())
        self.assertEqual(figures.complaints, [])
        self.assertGreater(len(figures.watch.faults), 2)
        self.assertGreater(figures.total("acknowledged"), 100)
        return figures

    async def test_on_sqlite(self) -> None:
        await self.broken("sqlite")

    async def test_on_mariadb_with_activemq(self) -> None:
        await self.broken("mysql")


class KilledUpgrades(TestCase):
    """Some of the statements; `python -m tests.load.faults --migrations` takes all."""

    timeout = 300

    def is_as_if_never_killed(self, cuts: Cuts) -> None:
        self.assertEqual(cuts.complaints, [])
        self.assertGreater(cuts.cuts, 1)

    async def test_on_sqlite(self) -> None:
        self.is_as_if_never_killed(await deferToThread(cut_everywhere, "sqlite", "", SEED, 45))

    async def test_on_mariadb(self) -> None:
        server = needed("BBS_TEST_MYSQL_URL")
        self.is_as_if_never_killed(await deferToThread(cut_everywhere, "mysql", server, SEED, 75))
