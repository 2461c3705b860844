"""The servers that the tests need: MariaDB, ActiveMQ and RabbitMQ, from their Debian packages."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tests.services.server import Server, ServerFailed, free_port, write_private

__all__ = [
    "ActiveMQ",
    "MariaDB",
    "RabbitMQ",
    "Server",
    "ServerFailed",
    "free_port",
    "write_private",
]

_ACTIVEMQ_JAR = Path("/usr/share/activemq/bin/activemq.jar")


ANSWER_TIMEOUT = 10.0  # Seconds until a MariaDB does not answer.

_MODES_OF_MYSQL_8 = (
    "ONLY_FULL_GROUP_BY",
    "STRICT_TRANS_TABLES",
    "NO_ZERO_IN_DATE",
    "NO_ZERO_DATE",
    "ERROR_FOR_DIVISION_BY_ZERO",
    "NO_ENGINE_SUBSTITUTION",
)
"""Its `sql_mode`, which holds MariaDB's too: what is refused there is refused here."""


class MariaDB(Server):
    """A MariaDB with a database `bbs`; its user may make others."""

    name = "mariadb"
    packages: ClassVar[Sequence[str]] = ("mariadb-server-core", "mariadb-client-core")
    scheme = "mysql"
    path = "/bbs"

    @classmethod
    def installed(cls) -> bool:
        return None not in map(_which, ("mariadbd", "mariadb-install-db", "mariadb"))

    def prepare(self) -> None:
        self._write("init.sql", f"CREATE DATABASE IF NOT EXISTS bbs;\n{self.users()}")
        complete = self.folder / "data.complete"
        if complete.exists():
            return
        # Once in some thousand times, on a machine with much else to do, it fails and says nothing.
        if not (self._installs() or self._installs()):
            raise RuntimeError(f"mariadb-install-db failed:\n{self._log.read_text()[-2000:]}")
        complete.touch()

    def users(self) -> str:
        """Statements that make its users."""
        return (
            f"CREATE OR REPLACE USER bbs@'%' IDENTIFIED BY '{self.password}';\n"
            "GRANT ALL PRIVILEGES ON *.* TO bbs@'%';\n"
        )

    def _installs(self) -> bool:
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        with self._log.open("ab") as log:
            done = subprocess.run(
                [
                    _found("mariadb-install-db"),
                    "--no-defaults",
                    f"--datadir={self.folder}/data",
                    f"--user={_user()}",
                    "--skip-test-db",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return done.returncode == 0

    def commands(self) -> Sequence[Sequence[str]]:
        return [
            [
                _found("mariadbd"),
                "--no-defaults",
                f"--datadir={self.folder}/data",
                f"--user={_user()}",
                f"--init-file={self.folder}/init.sql",
                "--bind-address=127.0.0.1",
                f"--port={self.port}",
                "--socket=server.sock",  # within the data folder: a path of any length will do
                f"--pid-file={self.folder}/server.pid",
                "--skip-name-resolve",
                "--innodb-buffer-pool-size=64M",
                # Each commit is written at once, and put onto the disk once a second: what was
                # acknowledged survives a kill of the server, and tests kill no machine.
                "--innodb-flush-log-at-trx-commit=2",
                "--max-connections=500",  # Tests run side by side, some with many servers.
                # What MySQL 8 does by default, and MariaDB when it is told: no MySQL 8 can be had
                # where the tests run, so they run on its terms at least.
                f"--sql-mode={','.join(_MODES_OF_MYSQL_8)}",
                "--innodb-autoinc-lock-mode=2",
            ]
        ]

    def answers(self) -> bool:
        return self.ask("SELECT 1", user="bbs") is not None

    def ask(self, sql: str, user: str) -> str | None:
        """What it answers a user, as lines of a text; None if it does not answer."""
        command = [
            _found("mariadb"),
            "--no-defaults",
            "--protocol=tcp",
            "--host=127.0.0.1",
            f"--port={self.port}",
            f"--user={user}",
            "--connect-timeout=5",
            "--batch",
            "--skip-column-names",
            f"--execute={sql}",
            "bbs",
        ]
        try:
            asked = subprocess.run(
                command,
                env={"PATH": os.environ["PATH"], "MYSQL_PWD": self.password},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ANSWER_TIMEOUT,
            )
        except subprocess.TimeoutExpired:
            return None  # It stands still, maybe.
        return asked.stdout.decode() if asked.returncode == 0 else None


class ActiveMQ(Server):
    """An ActiveMQ that speaks STOMP and nothing else, and keeps nothing on disk."""

    name = "activemq"
    packages = ("activemq",)
    scheme = "stomp"

    @classmethod
    def installed(cls) -> bool:
        return _ACTIVEMQ_JAR.exists() and _which("java") is not None

    def prepare(self) -> None:
        self._write("activemq.xml", _ACTIVEMQ_XML.format(port=self.port, password=self.password))
        self._write("log4j.properties", _LOG4J)

    def commands(self) -> Sequence[Sequence[str]]:
        # The package's own start script changes the user and the folder, and forks.
        return [
            [
                _found("java"),
                "-Xmx256m",
                "-XX:+UseSerialGC",
                "-Djava.awt.headless=true",
                f"-Djava.io.tmpdir={self.folder}",
                f"-Dlog4j.configuration=file:{self.folder}/log4j.properties",
                "-Dactivemq.home=/usr/share/activemq",
                f"-Dactivemq.base={self.folder}",
                f"-Dactivemq.conf={self.folder}",
                f"-Dactivemq.data={self.folder}/data",
                "-jar",
                str(_ACTIVEMQ_JAR),
                "start",
                f"xbean:file:{self.folder}/activemq.xml",
            ]
        ]

    def answers(self) -> bool:
        return self._answers_stomp()


class RabbitMQ(Server):
    """A RabbitMQ that speaks STOMP; Erlang's own ports, that it cannot do without, on loopback."""

    name = "rabbitmq"
    packages = ("rabbitmq-server",)
    scheme = "stomp"
    ports_needed = 3

    @classmethod
    def installed(cls) -> bool:
        return bool(_rabbitmq()) and _which("epmd") is not None

    def prepare(self) -> None:
        self._write(
            "rabbitmq.conf",
            "listeners.tcp = none\n"
            f"stomp.listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "default_user = bbs\n"
            f"default_pass = {self.password}\n"
            "log.console = true\n"
            "log.file = false\n",
        )
        self._write("enabled_plugins", "[rabbitmq_stomp].\n")
        self._write("rabbitmq-env.conf", "")

    def commands(self) -> Sequence[Sequence[str]]:
        epmd = [_found("epmd"), "-address", "127.0.0.1", "-port", str(self.ports[1])]
        return [epmd, [_rabbitmq()]]

    def environment(self) -> Mapping[str, str]:
        return {
            "LANG": "C.UTF-8",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self.ports[1]),
            "RABBITMQ_NODENAME": f"bbs{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.ports[2]),
            "RUNNING_UNDER_SYSTEMD": "true",  # no shell stays between us and the server
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1 +sbwt none"
            ),
            "RABBITMQ_CONF_ENV_FILE": f"{self.folder}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{self.folder}/rabbitmq.conf",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{self.folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{self.folder}/data",
            "RABBITMQ_LOG_BASE": f"{self.folder}/log",
            "RABBITMQ_PID_FILE": f"{self.folder}/rabbitmq.pid",
        }

    def answers(self) -> bool:
        return self._answers_stomp()


def _user() -> str:
    """One's own name: MariaDB wants to be told when that is root."""
    return pwd.getpwuid(os.getuid()).pw_name


def _which(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin:/usr/bin")


def _found(program: str) -> str:
    path = _which(program)
    if path is None:
        raise ServerFailed(f"{program} is not installed; run tests/services/start")
    return path


def _rabbitmq() -> str:
    """The server's own script, as the one in /usr/sbin changes the user; "" without any."""
    found = sorted(Path("/usr/lib/rabbitmq/lib").glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return str(found[-1]) if found else ""


_ACTIVEMQ_XML = """\
<beans xmlns="http://www.springframework.org/schema/beans"
       xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
       xsi:schemaLocation="http://www.springframework.org/schema/beans
                           http://www.springframework.org/schema/beans/spring-beans.xsd
                           http://activemq.apache.org/schema/core
                           http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="bbs{port}"
          persistent="false" useJmx="false" dataDirectory="${{activemq.data}}">
    <plugins>
      <simpleAuthenticationPlugin anonymousAccessAllowed="false">
        <users>
          <authenticationUser username="bbs" password="{password}" groups="bbs"/>
        </users>
      </simpleAuthenticationPlugin>
    </plugins>
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://127.0.0.1:{port}"/>
    </transportConnectors>
  </broker>
</beans>
"""

_LOG4J = """\
log4j.rootLogger=INFO, console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d | %-5p | %m | %c | %t%n
"""
