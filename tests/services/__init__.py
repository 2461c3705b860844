"""The servers that the integration tests talk to.

`tests/services/start` starts one of each for all tests; `needed("BBS_TEST_MYSQL_URL")` says where.
A test that has to kill a server starts one of its own:

    broker = OwnActiveMQ()
    self.addCleanup(broker.remove)
    await broker.start()
    ...
    await broker.kill()
    await broker.start()  # on the same port, with the same password

A MariaDB takes a while to make; `common_mariadb` is one for all tests of a process.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar
from unittest import SkipTest

from tests.paths import CHECKOUT
from tests.services.galera import Galera, GaleraOfDefaults
from tests.services.server import Server, ServerFailed, database_folder
from tests.services.servers import ActiveMQ, MariaDB

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

__all__ = [
    "OwnActiveMQ",
    "OwnGalera",
    "OwnGaleraOfDefaults",
    "OwnMariaDB",
    "ServerFailed",
    "common_mariadb",
    "environment",
    "needed",
    "running_galera",
]

S = TypeVar("S", bound=Server | Galera)

_FOLDER = CHECKOUT / ".services"


def environment() -> Mapping[str, str]:
    """The `BBS_TEST_…` variables: those of the process, else what `start` wrote."""
    found: dict[str, str] = {}
    if (_FOLDER / "env").exists():
        for setting in shlex.split((_FOLDER / "env").read_text()):
            key, _, value = setting.partition("=")
            found[key] = value
    found.update((key, value) for key, value in os.environ.items() if key.startswith("BBS_TEST_"))
    return found


def needed(variable: str) -> str:
    """The variable's value; without it the test is skipped, as nobody started its server."""
    try:
        return environment()[variable]
    except KeyError:
        raise SkipTest(f"{variable} is not set; run tests/services/start") from None


class OwnServer(Generic[S]):
    """A server of a test's own, stopped until it is started.

    The methods fire when what they say is so. They run on a thread, so the reactor goes on; before
    a reactor runs, `server` has the same ones, which block.
    """

    kind: type[S]

    def __init__(self, folder: Path | None = None) -> None:
        """:param folder: where it keeps its data, unless that is all the same."""
        if not self.kind.installed():
            raise SkipTest(f"{self.kind.name} is not installed; run tests/services/start")
        self.server = self.kind(folder or database_folder(_FOLDER) / "own" / secrets.token_hex(8))

    @property
    def url(self) -> str:
        """Where it listens, now or once it is started."""
        return self.server.url

    def start(self) -> Deferred[None]:
        """Start it and wait until it answers; fails with `ServerFailed`."""
        return self._in_thread(self.server.start)

    def stop(self) -> Deferred[None]:
        """Ask it to stop, and wait until it has."""
        return self._in_thread(self.server.stop)

    def kill(self) -> Deferred[None]:
        """End it by SIGKILL."""
        return self._in_thread(self.server.kill)

    def remove(self) -> Deferred[None]:
        """End it by SIGKILL and forget its data."""
        return self._in_thread(self.server.remove)

    def _in_thread(self, function: Callable[[], None]) -> Deferred[None]:
        # Here, as `start` and `stop` import this package where nothing is installed yet.
        from twisted.internet.threads import deferToThread

        return deferToThread(function)


class OwnMariaDB(OwnServer[MariaDB]):
    kind = MariaDB


@cache
def common_mariadb() -> OwnMariaDB:
    """One for all tests of this process that end it, and start it again. It ends with the process.

    A test starts it, if it does not run, and has a database of its own in it.
    """
    made = OwnMariaDB()
    atexit.register(made.server.remove)
    return made


class OwnGalera(OwnServer[Galera]):
    kind = Galera


class OwnGaleraOfDefaults(OwnGalera):
    kind = GaleraOfDefaults


@contextmanager
def running_galera() -> Iterator[Galera]:
    """Three nodes, as long as the block lasts; it blocks."""
    galera = OwnGalera().server
    try:
        galera.start()
        yield galera
    finally:
        galera.remove()


class OwnActiveMQ(OwnServer[ActiveMQ]):
    kind = ActiveMQ
