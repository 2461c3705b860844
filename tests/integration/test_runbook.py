"""The runbook, `docs/runbook.md`: every command in it is run, and prints what the page says."""

from __future__ import annotations

import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectError

from bbs import __version__
from lab.faults.machine import Disk
from lab.rolling.versions import BEFORE, unpack
from tests.cloud import Cloud
from tests.cloud.cloud import older_user_data
from tests.docs.runbook import RUNBOOK, Block, blocks
from tests.integration.runbook_machine import WITHIN, Machine, ProcessUnit
from tests.integration.service import (
    Person,
    Process,
    Service,
    ServiceCase,
    as_toml,
    connect,
    eventually,
    run,
    wire_to,
)
from tests.integration.test_ec2_service import CloudService
from tests.paths import CHECKOUT
from tests.services import OwnActiveMQ, OwnMariaDB
from tests.services.servers import ActiveMQ, free_port, write_private

BLOCKS = blocks(RUNBOOK.read_text("utf-8"))

BEFRIENDED = (
    *("login ann sesame", "invite ann bob", "login bob sesame", "accept-invite bob ann"),
    "logout bob",
)
"""What makes friends of two; the first is logged in then."""

MADE_FRIENDS = "Success!\n" * 4 + "Bye!\n"

DISK = 24
"""MiB of the disk that becomes full."""


class RunbookCase(ServiceCase):
    """Follows sections of the runbook, on machines of its own."""

    def setUp(self) -> Any:
        self.machines: dict[str, Machine] = {}
        self.backups = Path(self.mktemp()).absolute()
        return super().setUp()

    async def follow(self, section: str, first: int = 0, last: int | None = None) -> None:
        """Do what blocks of a section say, those from `first` up to `last`."""
        found = [block for block in BLOCKS if block.section == section and block.is_run]
        self.assertTrue(found, section)
        for block in found[first:last]:
            await self.do(block)

    def tell(self, seconds: float) -> None:
        """Say how long it took, for whoever reads what the tests print."""
        print(f"\nlost, restored and served again in {seconds:.1f} s", file=sys.stderr)

    async def do(self, block: Block) -> None:
        """Do what a block says; a file is written where it is needed."""
        for command in block.commands() if block.kind == "console" else ():
            await self.machines[command.where].follow(command)

    async def type(self, machine: Machine, *lines: str) -> str:
        """What a client says to these lines."""
        return await machine.says("\n".join(("bbs client 127.0.0.1 22222 <<'END'", *lines, "END")))

    async def register(self, machine: Machine, *names: str) -> None:
        said = await self.type(machine, *(f"register {name} sesame" for name in names))
        self.assertEqual(said, "Success!\n" * len(names))

    def machine(self, where: str, service: Service, **words: str) -> Machine:
        """A machine, on which commands behind that prompt are given."""
        ports = {
            "127.0.0.1 22222": f"127.0.0.1 {service.port}",
            ":22222": f":{service.port}",
        }
        machine = self.machines[where] = Machine(service, self.backups, {**ports, **words})
        return machine


class OnOneMachine(RunbookCase):
    """`bbs up`, on SQLite."""

    def alone(self, where: str, **sections: Mapping[str, object]) -> Machine:
        service = self.service(
            telnet={"listen": ""}, web={"listen": "tcp:0:interface=127.0.0.1"}, **sections
        )
        machine = self.machine(where, service)

        self.up = machine.units["bbs"] = ProcessUnit(service.up)
        return machine

    async def test_a_backup_a_lost_machine_and_a_restore_elsewhere(self) -> None:
        old = self.alone("")
        await self.up.start()
        await self.register(old, "ann", "bob")
        self.assertEqual(await self.type(old, *BEFRIENDED), MADE_FRIENDS)
        await self.follow("Restore, SQLite", last=1)
        # The machine and its disk are gone; what is left is the copy.
        lost = reactor.seconds()
        await self.up.kill()
        old.service.data.rename(old.folder / "gone")
        self.alone("new")
        await self.follow("Restore, SQLite", first=1)
        print(
            f"\nlost, restored and served again in {reactor.seconds() - lost:.1f} s",
            file=sys.stderr,
        )

    async def test_a_full_disk(self) -> None:
        machine = self.alone("")
        disk = Disk(machine.service.data, DISK)
        self.addCleanup(disk.remove)
        self.assertTrue(disk.limited, "no tmpfs can be mounted here")
        await self.up.start()
        await self.register(machine, "ann")
        disk.fill(machine.service.data / "old-backup.sqlite3")
        await self.follow("The database is full")


class Broker(ActiveMQ):
    """Whose configuration is an operator's, once it has been written."""

    def prepare(self) -> None:
        if not (self.folder / "activemq.xml").exists():
            super().prepare()

    def answers(self) -> bool:
        found = re.search(
            'name="bbs" password="([^"]*)"', (self.folder / "activemq.xml").read_text()
        )
        self.password = found[1] if found else ""
        return super().answers()


class OwnBroker(OwnActiveMQ):
    """One of a test's own, as a unit."""

    kind = Broker

    def said(self) -> str:
        return ""


class OnManyMachines(RunbookCase):
    """Two login servers on MariaDB and ActiveMQ, with app servers on the tests' cloud."""

    timeout = 600

    async def begin(self) -> None:
        self.cloud = Cloud(boot_seconds=0.3, seed=13)
        self.addCleanup(self.cloud.stop)
        self.broker = OwnBroker()
        self.addCleanup(self.broker.remove)
        self.databases: list[OwnMariaDB] = []
        await gatherResults([self.cloud.start(), self.broker.start(), self.a_database()])

    def a_database(self) -> Deferred[None]:
        database = OwnMariaDB()
        self.databases.append(database)
        self.addCleanup(database.remove)
        return database.start()

    def login(self, where: str, etc: Path | None = None) -> Machine:
        """A login server's machine, by the latest database; `etc` is its `/etc/bbs`, else it has
        files of its own."""
        service = CloudService(self, {})
        service.cloud = self.cloud
        self.addCleanup(lambda: run(service.remove()))
        database, page, gateway = self.databases[-1], free_port(), free_port()
        words = {
            "/etc/bbs-broker": str(self.broker.server.folder),
            "/etc/fail2ban": str(CHECKOUT / "deploy/fail2ban"),
            "127.0.0.1:8080": f"127.0.0.1:{page}",
            "127.0.0.1:3306": f"127.0.0.1:{database.server.port}",
            "127.0.0.1:61613": f"127.0.0.1:{self.broker.server.port}",
            **({"/etc/bbs": str(etc)} if etc else {}),
        }
        machine = self.machine(where, service, **words)
        own = {
            "BBS_LOGIN_LISTEN": f"tcp:{service.port}:interface=127.0.0.1",
            "BBS_TELNET_LISTEN": f"tcp:{gateway}:interface=127.0.0.1",
            "BBS_TELNET_SERVER": f"127.0.0.1:{service.port}",
            "BBS_WEB_LISTEN": f"tcp:{page}:interface=127.0.0.1",
            "BBS_FLEET_HEARTBEAT_INTERVAL": "0.5",
            "BBS_FLEET_LOST_AFTER": "3",
        }

        def unit(plugin: str, says: str) -> ProcessUnit:
            async def begin() -> Process:
                twistd = machine.folder / "opt/bbs/bin/twistd"
                config = ("--config", machine.real("/etc/bbs/bbs.toml"))
                process = service.start(
                    *(twistd, "--nodaemon", "--pidfile=", plugin, *config), environ=own
                )
                await process.says(says)
                return process

            return ProcessUnit(begin)

        machine.units |= {
            "bbs-login": unit("bbs-login", f"LineFactory starting on {service.port}\n"),
            "bbs-telnet": unit("bbs-telnet", f"starting on {gateway}\n"),
            "bbs-broker": self.broker,
        }
        machine.install(__version__, CHECKOUT)
        (machine.folder / "opt/bbs").symlink_to(f"bbs-{__version__}")
        if etc is None:
            self.write_etc(machine, database)
        return machine

    def write_etc(self, machine: Machine, database: OwnMariaDB) -> None:
        """What an operator has in `/etc/bbs`."""
        socket = database.server.folder / "data/server.sock"
        for name, text in {
            "database": f"{database.url}\n",
            "broker": f"{self.broker.url}\n",
            "telnet": f"{secrets.token_hex(20)}\n",
            "operators": f"liz:{secrets.token_hex(20)}\n",
            "new-password": f"{secrets.token_hex(20)}\n",
            "mariadb.cnf": f"[client]\nuser=root\nsocket={socket}\n",
        }.items():
            write_private(machine.folder / "etc" / name, text)

    def configure(self, machine: Machine, **changed: object) -> None:
        """Write the configuration that the page shows, and the section `[ec2]` behind it."""
        [block] = [block for block in BLOCKS if block.file == "/etc/bbs/bbs.toml"]
        ec2 = as_toml({f"ec2.{key}": value for key, value in self.ec2(changed).items()})
        Path(machine.real(block.file)).write_text(f"{machine.real(block.text)}\n{ec2}\n")

    def ec2(self, changed: Mapping[str, object]) -> Mapping[str, object]:
        return {**self.cloud.ec2_config(), **changed}

    async def join(self, name: str) -> Person:
        """Somebody who is logged in, and listens."""
        service = self.machines[""].service
        login = await connect(service.port)
        reply = await login.ask("login", name, "sesame")
        login.close()
        self.assertEqual(reply["status"], 0, reply)
        at = reply["app_server"]
        person = Person(name, reply["token"], at["port"], await wire_to(at["host"], at["port"]))
        self.assertEqual((await person.asks("listen"))["status"], 0)
        return person

    async def find_again(self, person: Person) -> None:
        """Where somebody is served now, who has not logged in again."""
        person.wire.close()

        async def served() -> bool:
            try:
                login = await connect(self.machines[""].service.port)
                reply = await login.ask("locate", person.token)
                login.close()
                self.assertEqual(reply["status"], 0, reply)
                at = reply["app_server"]
                person.wire = await wire_to(at["host"], at["port"])
                return bool((await person.asks("listen"))["status"] == 0)
            except (ConnectError, ConnectionError):
                return False

        await eventually(served, f"{person.name} is served", WITHIN)

    async def test_an_upgrade_and_the_way_back(self) -> None:
        await self.begin()
        first = self.login("")
        second = self.login("login-2", first.folder / "etc")
        before = unpack(first.folder)
        for machine in (first, second):
            machine.install(BEFORE, before)
            (machine.folder / "opt/bbs").unlink()
            (machine.folder / "opt/bbs").symlink_to(f"bbs-{BEFORE}")
        # Instances have the version that is on the login server: that is what an image is for.
        boots = older_user_data().replace("exec twistd", f"exec {first.folder}/opt/bbs/bin/twistd")
        self.assertIn("/opt/bbs/bin/twistd", boots)
        (first.folder / "user_data").write_text(boots)
        self.configure(first, user_data=str(first.folder / "user_data"))
        for machine in (first, second):
            await machine.units["bbs-login"].start()
        await self.register(first, "ann")
        ann = await self.join("ann")
        section = "Upgrade, and the way back"
        await self.follow(section)
        await self.find_again(ann)

    async def test_bad_days(self) -> None:
        await self.begin()
        first = self.login("")
        second = self.login("login-2", first.folder / "etc")
        self.configure(first)
        await self.follow("First day")
        await self.register(first, "bob", "eve")
        self.assertEqual(await self.type(first, *BEFRIENDED), MADE_FRIENDS)
        ann, bob = await self.join("ann"), await self.join("bob")

        # A zone is gone, with a login server and all app servers.
        gone = second.units["bbs-login"]
        assert isinstance(gone, ProcessUnit)
        await gone.kill()
        for instance in self.cloud.instances(alive=True):
            self.cloud.kill(instance.instance_id)
        login = first.units["bbs-login"]
        await eventually(lambda: " is gone: " in login.said(), "they are missed", WITHIN)
        await self.follow("A zone is away")
        for person in (ann, bob):
            await self.find_again(person)

        await self.broker.kill()
        reply = await ann.asks("send", "bob", "without a broker")
        self.assertEqual(reply["status"], 0, reply)
        await eventually(lambda: bob.wire.events, "it arrives all the same")
        await self.follow("The broker is gone")

        await first.units["bbs-telnet"].start()
        await self.follow("Credentials leaked")
        for person in (ann, bob):
            await self.find_again(person)
        self.assertNotIn("what=gateway", (first.folder / "log/security.log").read_text())

        await self.follow("Costs")
        await self.type(first, *(["login ann wrong"] * 25))
        await self.follow("An attack")

        section = "Restore, MariaDB"
        await self.follow(section, last=1)
        lost = reactor.seconds()
        for machine in (first, second):
            await machine.units["bbs-login"].stop()
        await self.databases[0].kill()
        await self.a_database()
        new = self.login("new")
        self.configure(new)
        await self.follow(section, first=1)
        self.tell(reactor.seconds() - lost)
