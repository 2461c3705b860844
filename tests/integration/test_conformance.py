"""The published conversations, word for word, through the real client against the real service."""

from __future__ import annotations

import re

from bbs.storage.engines import IN_C, IN_PYTHON
from tests.conforms import conforms
from tests.integration.service import Service
from tests.integration.shared import SharedCase, forget_everybody
from tests.paths import CONFORMANCE

SCRIPT_TIMEOUT = 120.0


class Conformance(SharedCase):
    """Every script, each on a service that has nobody."""

    async def check(self, service: Service, script: str) -> None:
        """Have the client carry out a script, and compare."""
        text = (CONFORMANCE / f"{script}.txt").read_bytes()
        client = service.bbs("client", "127.0.0.1", str(service.port), stdin=text)
        await client.ended(SCRIPT_TIMEOUT)
        self.assertEqual((client.exit_code, client.errors), (0, ""))
        expected = (CONFORMANCE / f"{script}.expected").read_text()
        if not conforms(client.output, expected):
            self.assertEqual(client.output.splitlines(), expected.splitlines(), script)

    async def test_sqlite(self) -> None:
        service = await self.shared()
        await self.check_each(service)

    async def check_on_mariadb(self, driver: str, name: str) -> None:
        """The scripts, and the line in the log that tells by what the database is reached."""
        service = self.big_service(driver)
        login = await service.login_server()
        said = re.findall(r"the database's driver is (.*)", login.output)
        self.assertEqual([each.partition(" ")[0] for each in said], [name])
        await self.check_each(service)

    async def test_mariadb(self) -> None:
        await self.check_on_mariadb(IN_C, "mysql-connector-python")

    async def test_mariadb_in_python(self) -> None:
        await self.check_on_mariadb(IN_PYTHON, "PyMySQL")

    async def check_each(self, service: Service) -> None:
        """The scripts for which one app server does."""
        for script in "12345":
            await self.check(service, script)
            forget_everybody(str(service.options["database.url"]))

    def check_the_fleet(self, service: Service) -> None:
        """Script 6 needs three app servers: 23 people at ten a server."""
        self.assertEqual(service.launches(), 3, service.log())
        self.assertEqual(service.log().count(" is ready\n"), 3)

    async def test_three_app_servers_on_sqlite(self) -> None:
        service = self.service(fleet={"idle_grace": 1.0})
        await service.up()
        await self.check(service, "6")
        self.check_the_fleet(service)
        left = await service.fleet_is(lambda servers: len(servers) == 1, "two servers end")
        self.assertEqual((left[0]["state"], left[0]["taken"]), ("ready", 0))
        self.assertEqual(service.log().count(" is gone: drained\n"), 2, service.log())

    async def test_three_app_servers_on_mariadb(self) -> None:
        service = self.big_service()
        await service.login_server()
        await self.check(service, "6")
        self.check_the_fleet(service)
