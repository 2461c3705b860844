"""What cannot start says why in one line, and exits with 1: no traceback, nothing secret.

Every program is started in a process of its own once for each thing that may be in its way: the
configuration, the database, the broker, a port. Whatever else is wrong with one of these is refused
by the same words in the same place, so one server shows it, and the commands that only ask the
database run in the test's own process. What is said of each slip in a configuration is in
`tests.config`, and of each plugin in `tests.test_framework` and `tests.scaling.test_providers`.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path

from twisted.internet import reactor

from bbs.protocols.stomp.broker import BrokerService, Credential, EmbeddedBroker
from tests.in_process import run_here
from tests.installed import install
from tests.integration.service import (
    BIN,
    START_TIMEOUT,
    Process,
    Service,
    ServiceCase,
    eventually,
    mysql,
    together,
)
from tests.services import needed
from tests.services.servers import free_port

SECRET = "pa55-w0rd"

UP, LOGIN, APP, DB, FLEET = "bbs up", "bbs-login", "bbs-app", "bbs db", "bbs fleet"
DAEMONS = (UP, LOGIN, APP)
COMMANDS = (DB, FLEET)


class BadStarts(ServiceCase):
    """Each is tried with everything that it concerns."""

    def start(self, service: Service, program: str, **options: object) -> Process:
        config = ("--config", service.config)
        match program:
            case "bbs up":
                return service.start_up(**options)
            case "bbs-login":
                data = ("--data", service.data / "login")
                argv = (BIN / "twistd", "--nodaemon", "--pidfile=", program, *config, *data)
                return service.start(*argv, **options)
            case "bbs-app":
                return service.app_server(**options)
            case _:
                return service.bbs(*self.command(service, program), **options)

    def command(self, service: Service, program: str) -> list[str]:
        """The arguments of a command that asks the database."""
        words = {DB: ("db", "upgrade"), FLEET: ("fleet", "list")}[program]
        return [*words, "--config", str(service.config)]

    async def refused(self, service: Service, program: str, *words: str, **options: object) -> None:
        """The program ends with one line, in which are all `words`."""
        process = self.start(service, program, **options)
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 1, (program, process.errors, process.output))
        self.check_line(process.errors, program, *words)
        said = process.output + service.log()
        self.assertNotIn("Traceback", said)
        self.assertNotIn(SECRET, said)
        self.assertNotIn("is ready", process.output)
        self.assertEqual(process.children(), [])

    async def all_refuse(
        self, service: Service, programs: tuple[str, ...], *words: str, **options: object
    ) -> None:
        await together(self.refused(service, each, *words, **options) for each in programs)

    def commands_refuse(self, service: Service, *words: str) -> None:
        """The commands that ask the database end so in this process."""
        for program in COMMANDS:
            ended = run_here(*self.command(service, program))
            self.assertEqual((ended.exit_code, ended.output), (1, ""), program)
            self.check_line(ended.errors, program, *words)

    def check_line(self, errors: str, program: str, *words: str) -> None:
        self.assertEqual(len(errors.splitlines()), 1, (program, errors))
        self.assertTrue(errors.startswith(f"{program}: "), errors)
        for word in words:
            self.assertIn(word, errors, (program, word, errors))
        self.assertNotIn(SECRET, errors)

    # The configuration

    async def test_configuration(self) -> None:
        service = self.service()
        service.config.write_text("[fleet]\nminmum = 1\n")
        programs = (*DAEMONS, *COMMANDS)
        words = (str(service.config), "fleet.minmum", "fleet.minimum?")
        await self.all_refuse(service, programs, *words)

    async def test_secrets_in_a_configuration(self) -> None:
        service = self.service()
        environ = {"BBS_DATABASE_ULR": f"mysql://bbs:{SECRET}@127.0.0.1/bbs"}
        await self.refused(service, UP, "BBS_DATABASE_ULR", "database.url?", environ=environ)
        for text, words in (
            (f'[database]\nurl = "{SECRET}\n', ("line 2",)),
            (f'[database]\nurl = "postgres://bbs:{SECRET}@h/bbs"\n', ("database.url", "mysql://")),
        ):
            service.config.write_text(text)
            self.commands_refuse(service, str(service.config), *words)

    # The database

    async def test_wrong_database_password(self) -> None:
        right = needed("BBS_TEST_MYSQL_URL")
        place = right.rpartition("@")[2]
        service = self.service(database={"url": f"mysql://bbs:{SECRET}@{place}"})
        words = (f"mysql://bbs:***@{place}", "Access denied")
        await self.all_refuse(service, (*DAEMONS, *COMMANDS), *words)

    async def test_unreachable_database(self) -> None:
        place = f"127.0.0.1:{free_port()}/bbs"
        service = self.service(database={"url": f"mysql://bbs:{SECRET}@{place}"})
        words = (f"mysql://bbs:***@{place}", "refused")
        await self.refused(service, APP, *words)
        self.commands_refuse(service, *words)

    async def test_no_such_database(self) -> None:
        url = needed("BBS_TEST_MYSQL_URL").rpartition("/")[0] + "/nobody_made_this"
        service = self.service(database={"url": url})
        words = ("/nobody_made_this", "Unknown database")
        await self.refused(service, LOGIN, *words)
        self.commands_refuse(service, *words)

    async def test_database_that_is_none(self) -> None:
        service = self.service()
        service.data.mkdir()
        (service.data / "bbs.sqlite3").write_text("No database is so short. " * 100)
        words = ("bbs.sqlite3", "not a database")
        await self.refused(service, UP, *words)
        self.commands_refuse(service, *words)

    async def test_database_in_no_folder(self) -> None:
        url = f"sqlite:///{Path(self.mktemp()).absolute()}/none/bbs.sqlite3"
        service = self.service(database={"url": url})
        await self.refused(service, UP, url, "unable to open")
        for program, reason in ((DB, "unable to open"), (FLEET, "no such file")):
            ended = run_here(*self.command(service, program))
            self.assertEqual(ended.exit_code, 1)
            self.check_line(ended.errors, program, url, reason)

    async def test_newer_schema(self) -> None:
        service = self.service()
        service.data.mkdir()
        self.assertEqual(run_here(*self.command(service, DB)).exit_code, 0)
        with sqlite3.connect(service.data / "bbs.sqlite3") as database:
            database.execute("UPDATE schema_version SET version = 999")
        database.close()
        await self.all_refuse(service, DAEMONS, "schema 999", "upgrade bbs")
        self.commands_refuse(service, "schema 999", "upgrade bbs")

    async def test_newer_schema_at_mariadb(self) -> None:
        url = self.mysql_database()
        service = self.service(database={"url": url})
        self.assertEqual(run_here(*self.command(service, DB)).exit_code, 0)
        mysql(url, "UPDATE schema_version SET version = 999")
        await self.refused(service, LOGIN, "schema 999", "upgrade bbs")
        self.commands_refuse(service, "schema 999", "upgrade bbs")

    # The broker

    async def embedded(self) -> tuple[str, str]:
        """URLs of a broker of the test's own: with the right password, and with a wrong one."""
        factory = EmbeddedBroker(Credential("bbs", "right"), reactor)
        broker = BrokerService(reactor, "tcp:0:interface=127.0.0.1", factory)
        broker.startService()
        self.addCleanup(broker.stopService)
        url = await broker.when_listening()
        return url, f"stomp://bbs:{SECRET}@{url.rpartition('@')[2]}"

    async def test_broker_that_refuses(self) -> None:
        service = self.service(broker={"url": (await self.embedded())[1]})
        service.data.mkdir()
        await self.all_refuse(service, DAEMONS, "broker.url")

    async def test_activemq_that_refuses(self) -> None:
        place = needed("BBS_TEST_ACTIVEMQ_URL").rpartition("@")[2]
        service = self.service(broker={"url": f"stomp://bbs:{SECRET}@{place}"})
        service.data.mkdir()
        await self.refused(service, LOGIN, "broker.url", place)

    async def test_app_server_with_embedded_broker(self) -> None:
        service = self.service()
        service.data.mkdir()
        await self.refused(service, APP, "broker.url", "embedded")

    async def test_broker_that_is_away_is_waited_for(self) -> None:
        """It costs time only, so it is no reason not to serve."""
        url = f"stomp://bbs:{SECRET}@127.0.0.1:{free_port()}"
        service = self.service(broker={"url": url})
        await service.up()
        self.assertIn("the broker is away", service.log())
        self.assertNotIn(SECRET, service.log())

    # Providers of other packages

    async def test_provider_that_cannot_be_used(self) -> None:
        site = Path(self.mktemp()).absolute()
        install(site, "acme-bad", {"bbs.providers": "it = acme_bad:it"}, acme_bad="1 / 0")
        words = ("plugin it of acme-bad (bbs.providers): ", "ZeroDivisionError: division by zero")
        environ = {"PYTHONPATH": with_site(site)}
        await self.all_refuse(self.service(), (LOGIN, FLEET), *words, environ=environ)

    async def test_provider_that_makes_none(self) -> None:
        text = """
            from bbs.providers import LaunchRefused, Provider

            def refuse(kit):
                raise LaunchRefused("acme has no ships left")

            it = Provider("ships", None, refuse)
            """
        site = Path(self.mktemp()).absolute()
        install(site, "acme-bad", {"bbs.providers": "it = acme_bad:it"}, acme_bad=text)
        service = self.service()
        environ = {"PYTHONPATH": with_site(site), "BBS_FLEET_PROVIDER": "ships"}
        # One after the other: a login server needs the folder that the first one makes.
        for program in (UP, LOGIN):
            await self.refused(service, program, "acme has no ships left", environ=environ)

    # Ports, folders, ids

    async def test_port_in_use(self) -> None:
        url, _ = await self.embedded()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            endpoint = f"tcp:{port}:interface=127.0.0.1"
            service = self.service(
                login={"listen": endpoint}, app={"listen": endpoint}, broker={"url": url}
            )
            service.data.mkdir()
            service.port = port
            await self.all_refuse(service, DAEMONS, str(port), "in use")

    async def test_data_folder_is_a_file(self) -> None:
        database = f"sqlite:///{Path(self.mktemp()).absolute()}"
        service = self.service(database={"url": database})
        service.data.write_text("")
        await self.all_refuse(service, (UP, LOGIN), str(service.data), "cannot write")

    async def test_data_folder_on_read_only_file_system(self) -> None:
        database = f"sqlite:///{Path(self.mktemp()).absolute()}"
        service = self.service(database={"url": database})
        service.data = Path("/proc/bbs-data")
        await self.refused(service, UP, "/proc/bbs-data", "cannot write")

    async def test_endpoint_with_a_slip(self) -> None:
        service = self.service(login={"listen": "tcp:0:interfce=127.0.0.1"})
        service.data.mkdir()
        await self.refused(service, "bbs-login", "cannot listen on tcp:0:interfce", "interfce")

    async def test_page_where_somebody_else_listens(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            service = self.service(web={"listen": f"tcp:{port}:interface=127.0.0.1"})
            service.data.mkdir()
            await self.all_refuse(service, (UP, "bbs-login"), str(port), "in use")

    async def test_log_cannot_be_written(self) -> None:
        service = self.service()
        (service.data / "bbs.log").mkdir(parents=True)
        await self.refused(service, UP, str(service.data), "cannot write")

    async def test_data_folder_of_another(self) -> None:
        service = self.service()
        await service.up()
        service.port = free_port()
        process = self.start(service, UP)
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 1)
        self.assertEqual(
            process.errors, f"bbs up: another bbs up uses the data folder {service.data}\n"
        )

    async def test_app_server_that_nobody_launched(self) -> None:
        url, _ = await self.embedded()
        service = self.service(
            broker={"url": url}, app={"listen": f"tcp:{free_port()}:interface=127.0.0.1"}
        )
        service.data.mkdir()
        argv = ("bbs-app", "--config", service.config, "--server-id", "nobody")
        process = service.start(BIN / "twistd", "--nodaemon", "--pidfile=", *argv)
        await process.ended(START_TIMEOUT)
        self.assertEqual(process.exit_code, 1)
        self.assertEqual(
            process.errors, "bbs-app: nobody has launched a server nobody, or it is gone\n"
        )

    # The command line

    async def test_wrong_usage(self) -> None:
        wrongs: list[list[str]] = [
            *([], ["nonsense"], ["up", "--nonsense"]),
            *(["up", "--port", "x"], ["up", "--port", "70000"], ["db"]),
            *(["db", "nonsense"], ["fleet"], ["fleet", "drain"]),
            *(["config"], ["client", "--ca", "x"], ["client", "127.0.0.1", "x"]),
        ]
        for wrong in wrongs:
            ended = run_here(*wrong)
            self.assertEqual((ended.exit_code, ended.output), (2, ""), wrong)
            self.assertIn("usage: bbs", ended.errors)
        process = self.service().bbs("up", "--nonsense")
        await process.ended(START_TIMEOUT)
        self.assertEqual((process.exit_code, process.output), (2, ""))
        self.assertIn("usage: bbs", process.errors)

    async def test_client_of_nobody(self) -> None:
        service = self.service()
        client = service.bbs("client", "127.0.0.1", str(service.port), stdin=b"help\n")
        await eventually(lambda: not client.alive, "the client ends", START_TIMEOUT)
        self.assertEqual(client.exit_code, 1)
        self.assertEqual(len(client.errors.splitlines()), 1, client.errors)
        self.assertIn(f"127.0.0.1:{service.port}", client.errors)
        self.assertEqual(client.output, "")


def with_site(folder: Path) -> str:
    """A PYTHONPATH with a folder before what is in it already."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
