"""The database users of the stack, made in a real MariaDB by a master with the rights that RDS
gives one, and a service that runs with them while they change."""

from __future__ import annotations

import json
from typing import Any

import pymysql

from bbs.storage.engines import IN_C
from tests.database_case import by_driver
from tests.deploy.stack_template import program
from tests.integration.service import ServiceCase, mysql
from tests.services import common_mariadb

RDS = """
    SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, RELOAD, PROCESS, REFERENCES, INDEX, ALTER,
    SHOW DATABASES, CREATE TEMPORARY TABLES, LOCK TABLES, EXECUTE, REPLICATION SLAVE,
    REPLICATION CLIENT, CREATE VIEW, SHOW VIEW, CREATE ROUTINE, ALTER ROUTINE, CREATE USER, EVENT,
    TRIGGER
"""
"""What the master of a MariaDB on RDS has of it, with the right to give it to others."""


class Store:
    """A Secrets Manager with the master's secret and an empty one."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[str, str]]] = {"master": [], "url": []}

    def put_secret_value(self, SecretId: str, ClientRequestToken: str, SecretString: str) -> None:
        self.values[SecretId].append((ClientRequestToken, SecretString))

    def describe_secret(self, SecretId: str) -> dict[str, Any]:
        tokens = [token for token, _ in self.values[SecretId]]
        stages = {token: ["AWSPREVIOUS"] for token in tokens}
        return {"VersionIdsToStages": stages | {token: ["AWSCURRENT"] for token in tokens[-1:]}}

    def get_secret_value(self, SecretId: str) -> dict[str, str]:
        return {"SecretString": self.values[SecretId][-1][1]}


class DatabaseUsers(ServiceCase):
    async def begin(self) -> None:
        self.mariadb = common_mariadb()
        await self.mariadb.start()
        root = pymysql.connect(
            unix_socket=str(self.mariadb.server.folder / "data/server.sock"), user="root"
        )
        with root, root.cursor() as cursor:
            cursor.execute("DROP DATABASE IF EXISTS bbs")
            cursor.execute("CREATE DATABASE bbs")
            for user in ("bbs_a", "bbs_b"):
                cursor.execute(f"DROP USER IF EXISTS {user}@'%'")
            cursor.execute("CREATE OR REPLACE USER master@'%' IDENTIFIED BY 'm1'")
            cursor.execute(f"GRANT {RDS} ON *.* TO master@'%' WITH GRANT OPTION")
        self.store = Store()
        self.renew(1)

    def renew(self, generation: int) -> str:
        """A generation of passwords, whose master's is `m1`; the URL of the servers then."""
        held = json.dumps({"username": "master", f"password{generation}": "m1"})
        self.store.put_secret_value("master", str(generation), held)
        port = self.mariadb.server.port
        program("database_users").renew(
            self.store,
            lambda user, password: pymysql.connect(
                host="127.0.0.1", port=port, user=user, password=password
            ),
            generation=generation,
            master="master",
            secret="url",
            host="127.0.0.1",
        )
        url = self.store.values["url"][-1][1].replace(":3306/", f":{port}/")
        return by_driver(url.partition("?")[0], IN_C)

    async def test_new_passwords(self) -> None:
        """A service makes its schema as a user that may do nothing else. After the next generation
        it works on, with new connections too; login servers that start then have the other user."""
        await self.begin()
        first = self.renew(1)
        self.assertIn("//bbs_a:", first)
        service = self.service(database={"url": first})
        await service.login_server()
        await service.register("ann", "bob")
        ann = await service.person("ann")
        second = self.renew(2)
        self.assertIn("//bbs_b:", second)
        self.kill_connections("bbs_a")
        self.assertEqual((await ann.asks("post", "hello"))["status"], 0)
        service.write_config(database__url=second)
        other = service.another_port()
        await service.login_server(other)
        bob = await service.person("bob", other)
        self.assertEqual((await bob.asks("post", "hi"))["status"], 0)
        # The third generation is the first user's again, whom no server has any more.
        third = self.renew(3)
        self.assertIn("//bbs_a:", third)
        self.assertNotEqual(third, first)
        self.assertEqual(mysql(third, "SELECT 1"), ((1,),))

    def kill_connections(self, user: str) -> None:
        """End them, so that their owner needs new ones."""
        root = pymysql.connect(
            unix_socket=str(self.mariadb.server.folder / "data/server.sock"), user="root"
        )
        with root, root.cursor() as cursor:
            cursor.execute(f"KILL USER {user}")

    async def test_rights(self) -> None:
        """Those of a later upgrade, in its own database; none beyond it, and none to give some."""
        await self.begin()
        url = self.renew(1)
        for statement in (
            "CREATE TABLE one (id INT PRIMARY KEY)",
            "CREATE TABLE other (id INT, FOREIGN KEY (id) REFERENCES one (id))",
            "ALTER TABLE one ADD COLUMN more TEXT",
            "RENAME TABLE other TO another",
            "DROP TABLE another, one",
        ):
            mysql(url, statement)
        for statement in (
            "SELECT * FROM mysql.user",
            "CREATE DATABASE other",
            "CREATE USER mallory@'%'",
            "GRANT SELECT ON bbs.* TO bbs_b@'%'",
            "SET GLOBAL max_connections = 1",
            "SHOW ENGINE INNODB STATUS",
        ):
            error = self.assertRaises(pymysql.err.MySQLError, mysql, url, statement)
            self.assertIn(error.args[0], (1044, 1142, 1227, 1410), statement)
