"""A short share of the faults that `make soak` brings upon a whole service for an hour.

What is broken, by whom it is used meanwhile and what is checked is in `lab/faults/`.
"""

from __future__ import annotations

import os
from functools import partial

from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.trial.unittest import TestCase

from lab.faults.migrations import Cuts, cut_everywhere
from lab.faults.run import Plan, carry_out
from tests.integration.service import ServiceCase
from tests.services import needed

FAULTS = int(os.environ.get("BBS_TEST_FAULTS", "2"))
"""How many there are on each database."""

PROCESSES = Plan("sqlite", 9, FAULTS, only=("login server", "app server"))
"""An app server is killed, and then the login server."""

SERVERS = Plan("mysql", 27, FAULTS, only=("database", "broker"))
"""The broker is killed, and then the database."""

WRITERS = Plan("galera", 6, FAULTS, only=("database",))
"""The node that is written to serves readers only, and then the next one is killed."""

SEED = 1

_log = Logger()


class Faults(ServiceCase):
    timeout = 600

    async def broken(self, plan: Plan) -> None:
        figures = await carry_out(plan)
        _log.info("{test}:\n{figures}", test=self.id(), figures=figures.text())
        self.assertEqual(figures.complaints, [])
        self.assertEqual(len(figures.watch.faults), FAULTS)
        self.assertGreater(figures.total("acknowledged"), 20)

    async def test_processes_on_sqlite(self) -> None:
        await self.broken(PROCESSES)

    async def test_mariadb_and_activemq(self) -> None:
        await self.broken(SERVERS)

    async def test_galera(self) -> None:
        await self.broken(WRITERS)


class KilledUpgrades(TestCase):
    """One statement of each; `python -m lab.faults --migrations` takes all."""

    timeout = 300

    def is_as_if_never_killed(self, cuts: Cuts) -> None:
        self.assertEqual(cuts.complaints, [])
        self.assertGreater(cuts.cuts, 1)

    async def test_on_sqlite(self) -> None:
        self.is_as_if_never_killed(await deferToThread(cut_everywhere, "sqlite", "", SEED, 110))

    async def test_on_mariadb(self) -> None:
        server = needed("BBS_TEST_MYSQL_URL")
        self.is_as_if_never_killed(await deferToThread(cut_everywhere, "mysql", server, SEED, 110))

    async def test_from_0_3_0(self) -> None:
        cut = partial(cut_everywhere, older="0.3.0", every=110)
        self.is_as_if_never_killed(await deferToThread(cut, "sqlite"))
