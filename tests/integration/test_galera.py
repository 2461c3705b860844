"""A cluster of Galera: one node is written to, and another one when that is gone.

What a database promises at all is shown on a node by `python -m tests.services.on_galera`, and that
nothing is lost while nodes are killed by `python -m lab.faults --database galera`.
"""

from __future__ import annotations

import atexit
from functools import cache, partial

from twisted.internet import reactor
from twisted.internet.defer import gatherResults
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread

from bbs.core.errors import Unavailable
from bbs.storage.database import Database
from bbs.storage.engines import IN_C, DatabaseRefused
from bbs.storage.mysql_servers import SILENCE
from tests.database_case import by_driver
from tests.integration.service import BIN, ServiceCase, eventually
from tests.integration.test_mysql import MySQLCase, add, count
from tests.services import OwnGalera, OwnGaleraOfDefaults
from tests.services.galera import ADMIN
from tests.services.server import freeze, thaw

AT_LAST = 90.0  # Seconds: one may wait for a while, to see whether another node is written to.

GROUP = "SHOW STATUS WHERE Variable_name IN ('wsrep_cluster_status', 'wsrep_incoming_addresses')"


@cache
def common_galera(addresses: bool = True) -> OwnGalera:
    """One for all tests of this process, which end with all its nodes running."""
    made = OwnGalera() if addresses else OwnGaleraOfDefaults()
    atexit.register(made.server.remove)
    return made


async def empty_galera(addresses: bool = True) -> OwnGalera:
    """The common one, with an empty database on every node."""
    galera = common_galera(addresses)
    await galera.start()
    first, *others = galera.server.nodes
    await deferToThread(first.ask, "DROP DATABASE bbs; CREATE DATABASE bbs", ADMIN)
    for node in others:  # They do it later, unless they are waited for.
        await deferToThread(node.ask, "SET wsrep_sync_wait = 15; SELECT 1", ADMIN)
    return galera


class GaleraCase(MySQLCase):
    """A test with an empty database on all nodes."""

    timeout = 300
    driver = IN_C
    addresses = True

    async def setUp(self) -> None:  # type: ignore[override]
        self.galera = await empty_galera(self.addresses)
        self.nodes = self.galera.server.nodes

    async def told(self, sql: str, node: int = 0) -> str:
        """What a node answers its administrator."""
        answer = await deferToThread(self.nodes[node].ask, sql, ADMIN)
        assert answer is not None, sql
        return answer.strip()

    def url(self, *nodes: int) -> str:
        """The URL with these nodes, in this order; all by default."""
        first = by_driver(self.galera.url, self.driver)
        if not nodes:
            return first
        head, _, tail = first.rpartition("@")
        places = ",".join(f"127.0.0.1:{self.nodes[node].port}" for node in nodes)
        return f"{head}@{places}/{tail.rpartition('/')[2]}"

    async def writer(self, node: int = 2) -> str:
        return await self.told("SELECT node FROM database_writer WHERE name = 'writer'", node)

    def name(self, node: int) -> str:
        return f"node{node + 1} (127.0.0.1:{self.nodes[node].port})"

    async def served(self, database: Database, name: str) -> None:
        """Add a group, as soon as that is served."""

        async def added() -> bool:
            try:
                return bool(await database.run(add, name))
            except Unavailable as away:
                why.append(away.__cause__ or away)
                return False

        why: list[BaseException] = []
        try:
            await eventually(added, f"{name} is added", 60.0)
        except AssertionError as late:
            last = [repr(each) for each in why[-5:]]
            told = [await deferToThread(node.ask, GROUP, ADMIN) for node in self.nodes]
            raise AssertionError(f"{late}: {last}, {told}") from late


class OneWriter(GaleraCase):
    async def test_a_second_node_is_refused_at_the_start(self) -> None:
        await self.open(self.url(0))
        self.assertEqual(await self.writer(), self.name(0))
        await self.told("INSERT INTO heartbeat (server) VALUES ('login')")
        beating = LoopingCall(self.told, "UPDATE heartbeat SET beats = beats + 1")
        self.addCleanup(beating.stop)
        beating.start(0.3)
        try:
            await self.open(self.url(1))
        except DatabaseRefused as refused:
            text = str(refused)
        else:
            self.fail("two nodes are written to")
        self.assertIn(self.name(0), text)
        self.assertIn(self.name(1), text)
        self.assertNotIn(self.nodes[0].password, text)

    async def test_unless_no_server_writes_to_the_first_one(self) -> None:
        """As after an end of all, and a start with the nodes in another order."""
        await self.open(self.url(0))
        await self.open(self.url(1))
        self.assertEqual(await self.writer(), self.name(1))

    async def test_the_first_of_several_that_may_be_written_to_is_taken(self) -> None:
        await self.open(self.url(0))
        database = await self.open(self.url(2, 1, 0))
        await database.run(add, "go")
        self.assertEqual(await self.writer(), self.name(0))

    async def test_one_that_serves_readers_only_is_left(self) -> None:
        database = await self.open(self.url())
        await self.told("SET GLOBAL read_only = ON", 0)
        try:
            await self.served(database, "go")
            self.assertEqual(await self.writer(), self.name(1))
        finally:
            await self.told("SET GLOBAL read_only = OFF", 0)
        await database.run(add, "chess")
        self.assertEqual(await self.writer(), self.name(1))
        self.assertEqual(await database.run(count), 2)

    async def test_never_taken_while_it_is_read_only(self) -> None:
        await self.told("SET GLOBAL read_only = ON", 0)
        try:
            try:
                await self.open(self.url(0))
            except DatabaseRefused as refused:
                self.assertIn(f"{self.name(0)} is read-only", str(refused))
            else:
                self.fail("it was taken")
        finally:
            await self.told("SET GLOBAL read_only = OFF", 0)


class Failing(GaleraCase):
    """The node that is written to goes."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.database = await self.open(self.url())
        await gatherResults([self.database.run(add, f"before {n}") for n in range(20)])

    async def goes_on(self) -> None:
        """Another node is written to soon, which has all that was acknowledged."""
        began = reactor.seconds()
        await self.served(self.database, "after")
        seconds = reactor.seconds() - began
        self.note("served again after", seconds)
        # The others know that it has left, and do not wait until nobody has written to it for long.
        self.assertLess(seconds, SILENCE)
        self.assertNotEqual(await self.writer(), self.name(0))
        self.assertEqual(await self.database.run(count), 21)

    async def comes_back(self) -> None:
        """It is there again, and the other one is still written to."""
        await self.database.run(add, "later")
        self.assertNotEqual(await self.writer(0), self.name(0))

    async def test_killed(self) -> None:
        await deferToThread(self.nodes[0].kill)
        try:
            await self.goes_on()
        finally:
            await self.galera.start()
        await self.comes_back()

    async def test_frozen(self) -> None:
        pid = self.nodes[0].pid
        assert pid is not None
        await deferToThread(freeze, pid)
        try:
            await self.goes_on()
        finally:
            thaw(pid)
        # By itself it seems to be in the group until it hears that the others have left it.
        whole = partial(deferToThread, self.galera.server.is_whole)
        await eventually(whole, "the node is in the group again", 60.0)
        await self.comes_back()


class FailingOfDefaults(Failing):
    """Nodes have no addresses, and the user may not read who is in the group."""

    addresses = False

    def name(self, node: int) -> str:
        return f"node{node + 1} (AUTO)"


class FailingOfDefaultsForWhomeverMayRead(FailingOfDefaults):
    """Likewise, and the user may. One node that remains is enough to know."""

    def url(self, *nodes: int) -> str:
        return super().url(*(nodes or (0, 1))).replace("//plain:", "//bbs:")


class Starting(ServiceCase):
    """As operators start it."""

    async def test_a_login_server_that_would_write_to_a_second_node(self) -> None:
        galera = await empty_galera()
        nodes = galera.server.nodes
        urls = [by_driver(each.url, IN_C) for each in nodes]
        service = self.big_service(database={"url": urls[0]}, fleet={"minimum": 1})
        await service.login_server()
        service.write_config(database__url=urls[1])
        second = service.start(
            *(BIN / "twistd", "--nodaemon", "--pidfile=", "bbs-login"),
            *("--config", service.config, "--data", service.data / "second"),
            *("--listen", f"tcp:{service.another_port()}:interface=127.0.0.1"),
        )
        await second.ended()
        self.assertEqual(second.exit_code, 1)
        for node in nodes[:2]:
            self.assertIn(f"{node.folder.name} (127.0.0.1:{node.port})", second.errors)
            self.assertNotIn(node.password, second.errors + second.output)

    async def test_nodes_that_cannot_be_told_apart(self) -> None:
        """It is said at the start, unless every node can be asked."""
        galera = await empty_galera(addresses=False)
        first, *_ = galera.server.nodes
        every, one = galera.url, galera.url.replace(galera.server.places, f"127.0.0.1:{first.port}")
        for url, told in ((every, 0), (one, 1)):
            service = self.big_service(database={"url": by_driver(url, IN_C)}, fleet={"minimum": 1})
            login = await service.login_server()
            self.assertEqual(service.log().count("Set wsrep_node_incoming_address"), told)
            self.assertNotIn(first.password, service.log())
            await login.end()

    async def test_two_upgrade_at_once_on_two_nodes(self) -> None:
        """One does."""
        galera = await empty_galera()
        services = [
            self.service(database={"url": by_driver(node.url, IN_C)})
            for node in galera.server.nodes[:2]
        ]
        upgrades = [each.bbs("db", "upgrade", "--config", each.config) for each in services]
        await gatherResults([each.ended(AT_LAST) for each in upgrades])
        said = [(each.exit_code, each.output, each.errors) for each in upgrades]
        done = [each for each in said if "schema 0 " in each[1]]
        self.assertEqual(len(done), 1, said)
        # The other one saw that, or has waited until nobody wrote to the first node.
        (other,) = [each for each in said if each not in done]
        self.assertTrue(other[0] == 0 or "would write to" in other[2], said)
        tables = await deferToThread(galera.server.nodes[2].ask, "SHOW TABLES", ADMIN)
        self.assertIn("schema_version", tables or "")

    async def test_a_command_waits_until_a_killed_node_is_out_of_the_group(self) -> None:
        galera = await empty_galera()
        service = self.service(database={"url": by_driver(galera.url, IN_C)})
        upgrade = service.bbs("db", "upgrade", "--config", service.config)
        await upgrade.ended(AT_LAST)
        self.assertEqual(upgrade.exit_code, 0)
        await deferToThread(galera.server.nodes[0].kill)
        try:
            status = service.bbs("db", "status", "--config", service.config)
            await status.ended(AT_LAST)
        finally:
            await galera.start()
        self.assertEqual((status.exit_code, status.errors), (0, ""))
