"""Work in the background of real servers, and timers: their holder is killed again and again."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from itertools import pairwise
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.integration.service import START_TIMEOUT, ServiceCase, eventually

KILLS = int(os.environ.get("BBS_TEST_KILLS", "3"))
"""How often the holder of the lease is killed; `make soak` takes more."""

WORLD = """
import sys

import peewee

from bbs.framework import Every, RisingIdField, Service, Table, app_server, at, command_line
from bbs.framework import login_server, telnet_gateway


class Tick(Table):
    id = RisingIdField()
    at = peewee.DoubleField()


class Rung(Table):
    id = RisingIdField()
    tick = peewee.BigIntegerField()


def ring(now, tick):
    Rung.insert(tick=tick).execute()


def store(now):
    at(now + 0.5, ring, Tick.insert(at=now).execute())


async def tick(ask):
    await ask.database.run(store, ask.now)


world = Service(
    "world", models=(Tick, Rung), every=(Every(1, tick),), timers={"ring": ring}
)
login, app, telnet = login_server(world), app_server(world), telnet_gateway(world)

if __name__ == "__main__":
    sys.exit(command_line(world)())
"""

PLUGIN = """
from twisted.application.service import ServiceMaker

login = ServiceMaker("world-login", "world_login", "Login server", "world-login")
app = ServiceMaker("world-app", "world_app", "App server", "world-app")
"""


class Ticks(ServiceCase):
    """Three app servers, and a handler every second, which sets a timer each time."""

    async def test_the_holder_is_killed(self) -> None:
        service = self.service(fleet={"minimum": 3, "spare": 0, "idle_grace": 3600.0})
        environ = self.world(service.folder)
        path = service.data / "world.sqlite3"
        service.write_config(database__url=f"sqlite:///{path}")
        place = ("--port", str(service.port), "--data", service.data, "--config", service.config)
        up = service.start(sys.executable, service.folder / "world.py", "up", *place, **environ)
        await up.says(f"world is ready: world client 127.0.0.1 {service.port}\n")
        await eventually(lambda: len(ticks(path)) >= 3, "three ticks", START_TIMEOUT)
        for _ in range(KILLS):
            os.kill(holder(path), signal.SIGKILL)
            await deferLater(reactor, 5.0)
        times = ticks(path)
        await eventually(lambda: rung(path) >= {*range(1, len(times) + 1)}, "the timers", 15.0)
        gaps = [later - time for time, later in pairwise(times)]
        longest, length = max(gaps), times[-1] - times[0]
        # One that is late is soon followed by the next, which is in time.
        missed = round(length + 1 - len(times))
        print(
            f"{KILLS} kills: {len(times)} ticks in {length:.1f} s, {max(0, missed)} missed,"
            f" {max(0, -missed)} doubled, longest gap {longest:.2f} s"
        )
        self.assertGreaterEqual(missed, 0, "one was doubled")
        # The others look every second; the rest is what a busy machine takes.
        self.assertLess(longest, 15.0)

    def world(self, folder: Path) -> dict[str, dict[str, str]]:
        """Write the service into `folder`; returns how its programs find it."""
        (folder / "world.py").write_text(WORLD)
        plugins = folder / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        for kind in ("login", "app"):
            lines = f"from world import {kind}\nOptions, makeService = {kind}\n"
            (folder / f"world_{kind}.py").write_text(lines)
        (plugins / "world_plugin.py").write_text(PLUGIN)
        found = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))
        return {"environ": {"PYTHONPATH": found}}


def ticks(path: Path) -> list[float]:
    """The times of all ticks, in seconds since the epoch."""
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT at FROM tick ORDER BY id").fetchall()
    database.close()
    return [at for (at,) in found]


def rung(path: Path) -> set[int]:
    """The ticks whose timers have run, none of them twice."""
    with sqlite3.connect(path) as database:
        found = [tick for (tick,) in database.execute("SELECT tick FROM rung")]
    database.close()
    assert len(found) == len({*found}), found
    return {*found}


def holder(path: Path) -> int:
    """The process that has the work in the background."""
    with sqlite3.connect(path) as database:
        found = database.execute("SELECT identity FROM lease WHERE name = 'background'").fetchone()
    database.close()
    pid = int(found[0].split(":")[3])
    assert pid != os.getpid()
    return pid
