"""Copies of a database beside the original, on one cloud (`tests/cloud`) and under one name.

With `BBS_TEST_ADOPTED` set it is also waited for what ends after a minute.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

from tests.cloud import Cloud
from tests.cloud.machines import Machine
from tests.integration.service import START_TIMEOUT, eventually, mysql
from tests.integration.test_ec2_service import CloudService, CloudServiceCase

Copy = Callable[[CloudService, CloudService], Awaitable[None]]

LONG = bool(os.environ.get("BBS_TEST_ADOPTED"))

SOON = {"minimum": 1, "spare": 0, "heartbeat_interval": 0.5, "lost_after": 4.0}


class Copies(CloudServiceCase):
    """What a copy does to the original, and what becomes of it once it is the original."""

    async def commanded(self, service: CloudService, *words: str) -> str:
        """What a command says that must succeed, to whomever."""
        process = service.bbs(*words, "--config", service.config)
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 0, process.errors)
        return process.output + process.errors

    async def launched(self, cloud: Cloud, fleet: str) -> Machine:
        """The one instance of a fleet that lives."""

        def own() -> list[Machine]:
            machines = cloud.instances(alive=True)
            return [each for each in machines if each.tags["bbs:fleet-id"] == fleet]

        (machine,) = await eventually(own, f"{fleet} has an instance", START_TIMEOUT)
        return machine

    async def id_of(self, service: CloudService) -> str:
        """Which fleet it says that it is."""
        said = await self.commanded(service, "fleet", "list")
        return said.rpartition("\nfleet ")[2][:16]

    async def check(
        self, copy: Copy, ended_within: float, original: CloudService, *copies: CloudService
    ) -> None:
        """`copies` are made one to run beside the original, and one to take its place, which has
        what it does not hear ended within so many seconds, unless 0."""
        cloud = original.cloud
        beside, successor = copies
        process = await original.login_server()
        await original.register("ann")
        ann = await original.person("ann")
        theirs = await self.launched(cloud, await self.id_of(original))
        # A copy beside it has instances of its own, and touches none of the original's.
        await copy(original, beside)
        await copy(original, successor)
        await beside.login_server()
        id = await self.id_of(beside)
        own = await self.launched(cloud, id)
        await beside.fleet_is(
            lambda servers: [each["instance"] for each in servers] == [own.instance_id],
            "it has given up the original's, and one of its own",
        )
        self.assertIn(f"this is fleet {id}", beside.log())
        self.assertIn("this database is a copy of fleet ", beside.log())
        self.assertEqual((await ann.asks("list-friend"))["status"], 0)
        self.assertTrue(theirs.alive)
        self.assertEqual(original.asked("TerminateInstances"), 0)
        # Where the original is no more, its instances are whose adopts them.
        await process.kill()
        self.assertTrue(theirs.alive)
        said = await self.commanded(successor, "fleet", "adopt", "--yes")
        self.assertIn(f"this is fleet {theirs.tags['bbs:fleet-id']} again", said)
        if ended_within:
            await successor.login_server()
            await eventually(lambda: not theirs.alive, "what nobody hears there ends", ended_within)
            await self.launched(cloud, theirs.tags["bbs:fleet-id"])
        self.assertTrue(own.alive)

    async def services(self, cloud: Cloud, mysql: bool) -> list[CloudService]:
        """The original, and two places for copies."""
        await cloud.start()
        self.addCleanup(cloud.stop)
        services = [self.on_this(cloud, fleet=SOON) for _ in range(3)]
        if not mysql:
            for service in services:
                service.write_config(database__url=f"sqlite:///{service.folder}/bbs.sqlite3")
        return services

    async def test_a_backup_that_is_restored(self) -> None:
        async def copy(one: CloudService, other: CloudService) -> None:
            file = str(other.folder / "copy")
            await self.commanded(one, "backup", file)
            await self.commanded(other, "restore", file)

        # A backup has no servers, so the original's are orphans, which are given a minute.
        within = 0.0 if not LONG else 150.0
        await self.check(copy, within, *await self.services(Cloud(boot_seconds=0.5), mysql=False))

    async def test_a_dump_that_is_read_into_another_schema(self) -> None:
        async def copy(one: CloudService, other: CloudService) -> None:
            here, there = (str(each.options["database.url"]) for each in (one, other))
            schema = here.rpartition("/")[2]
            for (table,) in mysql(here, "SHOW TABLES"):
                mysql(there, f"CREATE TABLE `{table}` LIKE `{schema}`.`{table}`")
                mysql(there, f"INSERT INTO `{table}` SELECT * FROM `{schema}`.`{table}`")

        await self.check(copy, 120.0, *await self.services(Cloud(boot_seconds=0.5), mysql=True))
