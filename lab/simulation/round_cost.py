"""What one round of the fleet's controller costs this process, by the number of servers.

    python -m lab.simulation.round_cost [--database mysql] [--beats]

Everybody is well, has people, and beats. `settled` is a round as most are, which asks the database
alone; `listed` one that looks at the provider's list too (that list's own cost is not in it). Each
is processor time, the least of some rounds, as whatever else runs on the machine only adds; of it
`database` is what the database's thread does, and the rest one turn of the reactor, more or less.
On MySQL or MariaDB, at `BBS_TEST_MYSQL_URL`, `server` is what its process spends meanwhile.

`--beats` has the largest number of servers beat from some threads, as often as they can, and says
how many heartbeats a second that is, and what one costs; and the same beside a login server of an
older version, for which they are written in the servers' rows as well.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner

from bbs.board import board
from bbs.core.values import Policy, State, Tally
from bbs.delivery.bus import Bus
from bbs.rules import membership
from bbs.rules.membership import Member
from bbs.scaling.controller import FleetController
from bbs.scaling.events import FleetContext, FleetEvents
from bbs.scaling.observer import SETTLED_INTERVAL
from bbs.storage import migrations, models
from bbs.storage.database import Database
from bbs.storage.engines import IN_C, IN_PYTHON
from bbs.storage.models import HeartbeatRow, LoginServer, Server
from bbs.testing import MemoryBroker
from bbs.testing.threads import Inline
from lab.simulation.breaks import Breaks
from lab.simulation.cloud import SCOPE, Cloud, CloudProvider, Machine
from tests.database_case import fresh_mysql_url

INTERVAL = 2.0
ROUNDS = 80
SIZES = (10, 100, 1000, 10_000)
CAPACITY, PEOPLE = 10, 7
THREADS = 4  # That beat, with a connection each.
TEN = 10.0  # Seconds between two heartbeats of a server in so large a fleet.
TOLD = '{"messages": 12345, "logins": 678}'

URLS: Mapping[str, Callable[[], str]] = {
    "sqlite": lambda: "sqlite:///:memory:",
    "mysql": lambda: fresh_mysql_url(IN_C),
    "mysql-in-python": lambda: fresh_mysql_url(IN_PYTHON),
}


class _Immortal:
    def ask(self, call: object) -> Deferred[object]:
        return call()  # type: ignore[operator,no-any-return]


@dataclass(frozen=True)
class Round:
    """What one round took, in milliseconds of processor time: all of this process's, of which the
    `database`'s thread; and what the database's `server` took."""

    all: float
    database: float
    server: float

    def __str__(self) -> str:
        return f"{self.all:7.1f} {self.database:8.1f} {self.server:7.0f}"


class Timed(Database):
    """Says how much processor time its calls have taken while it was `timing`, in seconds."""

    spent = 0.0
    timing = True

    def run(self, *arguments: Any, **keywords: Any) -> Any:
        if not self.timing:
            return super().run(*arguments, **keywords)
        began = time.process_time()
        try:
            return super().run(*arguments, **keywords)
        finally:
            self.spent += time.process_time() - began


def fill(database: Database, cloud: Cloud, servers: int, now: float) -> None:
    """So many servers that serve, with some people each."""
    rows = []
    for number in range(servers):
        id, instance = f"{number:032x}", f"i-{number:017x}"
        cloud.instances[instance] = Machine(
            instance_id=instance, launch_id=id, kind="t3.micro", history=[(now, "pending")]
        )
        rows.append(
            {
                "id": id,
                "state": State.READY,
                "scope": SCOPE,
                "host": "127.0.0.1",
                "port": 22223,
                "capacity": CAPACITY,
                "taken": PEOPLE,
                "created": now,
                "ready": now,
                "instance_id": instance,
                "kind": "t3.micro",
            }
        )
    said = {"counts": TOLD, "figures": '{"connected": 7}'}
    for start in range(0, servers, 500):
        some = rows[start : start + 500]
        Server.insert_many(some).execute()
        HeartbeatRow.insert_many([{"server": row["id"], **said} for row in some]).execute()


def measure(servers: int, url: str = "sqlite:///:memory:", pid: int = 0) -> tuple[Round, Round]:
    """A settled round, and one that lists."""
    clock = Clock()
    clock.advance(1_000_000.0)
    database = Timed(url, Inline(), clock)
    database.peewee.connect(reuse_if_open=True)
    migrations.upgrade(database.peewee, board.schema)
    cloud = Cloud(clock, Random(1), Breaks(), lambda machine: None)
    cloud.lag = 0.0
    listed_by_cloud: list[Any] = []

    def call(kind: str, action: Any, _: Any = None) -> Deferred[Any]:
        began = time.process_time()
        answer = succeed(action())
        listed_by_cloud.append(time.process_time() - began)
        return answer

    cloud.call = call  # type: ignore[method-assign,assignment]
    fill(database, cloud, servers, clock.seconds())
    clock.advance(10.0)
    policy = Policy(
        minimum=servers,
        maximum=servers,
        spare=0,
        capacity=CAPACITY,
        idle_grace=120.0,
        launch_timeout=180.0,
        lost_after=10.0,
    )
    context = FleetContext(
        me=Member("1" * 32, "host:nowhere:1"),
        database=database,
        provider=CloudProvider(cloud, _Immortal()),
        policy=policy,
        news=FleetEvents(Bus(MemoryBroker().client(), "bbs")),
        reactor=clock,
        wall=clock.seconds,
    )
    controller = FleetController(
        context, workers=Inline(), sweeps={}, heartbeat_interval=INTERVAL, tally=Tally()
    )
    controller.startService()
    clock.advance(0.0)
    settled: list[Round] = []
    listed: list[Round] = []
    for _ in range(ROUNDS):
        HeartbeatRow.update(beats=HeartbeatRow.beats + 1).execute()
        before, asked, theirs = cloud.describes, database.spent, _of_process(pid)
        listed_by_cloud.clear()
        began = time.process_time()
        clock.advance(INTERVAL)
        spent = time.process_time() - began - sum(listed_by_cloud)
        cost = Round(
            spent * 1000.0,
            (database.spent - asked) * 1000.0,
            (_of_process(pid) - theirs) * 1000.0,
        )
        (listed if cloud.describes > before else settled).append(cost)
    controller.stopService()
    database.peewee.close()
    models.database.initialize(None)
    return _least(settled), _least(listed)


@dataclass(frozen=True)
class Beats:
    """Heartbeats a second; milliseconds of this process's for each, and of the database's server;
    and how many rows in which places are taken were written."""

    a_second: float
    here: float
    server: float
    rows: int


def measure_beats(servers: int, url: str, pid: int, older: bool, seconds: float = 10.0) -> Beats:
    """Let so many servers beat for some `seconds`, beside an `older` login server or none."""
    clock = Clock()
    database = Database(url, Inline(), clock)
    peewee: Any = database.peewee
    peewee.connect(reuse_if_open=True)
    migrations.upgrade(peewee, board.schema)
    with peewee.atomic():
        fill(database, Cloud(clock, Random(1), Breaks(), lambda machine: None), servers, 1.0)
        if older:
            LoginServer.insert(id="older", identity="").execute()
    until = time.monotonic() + seconds
    done = [0] * THREADS

    def beat(thread: int) -> None:
        counts, figures = json.loads(TOLD), {"connected": 7}
        for number in itertools.cycle(range(thread, servers, THREADS)):
            if time.monotonic() > until:
                break
            with peewee.atomic():
                assert membership.beat(f"{number:032x}", counts, figures, "node")
            done[thread] += 1
        peewee.close()

    threads = [Thread(target=beat, args=(number,)) for number in range(THREADS)]
    began, theirs, at = time.process_time(), _of_process(pid), time.monotonic()
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    lasted, beats = time.monotonic() - at, sum(done)
    here, server = time.process_time() - began, _of_process(pid) - theirs
    written = Server.select().where(Server.beats > 0).count()
    peewee.close()
    models.database.initialize(None)
    return Beats(beats / lasted, 1000 * here / beats, 1000 * server / beats, written)


def _of_process(pid: int) -> float:
    """Processor time of another process so far, in seconds: to 10 ms."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _least(rounds: list[Round]) -> Round:
    """The least of each; the mean of what is measured in ticks."""
    return Round(
        min(each.all for each in rounds),
        min(each.database for each in rounds),
        sum(each.server for each in rounds) / len(rounds),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.simulation.round_cost")
    parser.add_argument("--database", choices=URLS, default="sqlite")
    parser.add_argument("--beats", action="store_true", help="measure heartbeats")
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    pid = 0 if options.database == "sqlite" else int(os.environ["BBS_TEST_MYSQL_PID"])
    if options.beats:
        print(f"{SIZES[-1]} servers, {SIZES[-1] / TEN:g} heartbeats a second wanted")
        print(f"{'':28}{'a second':>9}{'ms here':>9}{'server':>9}{'rows written of servers':>25}")
        for older in (False, True):
            with TemporaryDirectory() as folder:
                url = URLS[options.database]()
                if options.database == "sqlite":  # Threads share a file, not one in memory.
                    url = f"sqlite:///{folder}/bbs.sqlite3"
                found = measure_beats(SIZES[-1], url, pid, older)
            name = "beside an older version" if older else "of one version"
            print(
                f"{name:28}{found.a_second:9.0f}{found.here:9.2f}{found.server:9.2f}"
                f"{found.rows:25}",
                flush=True,
            )
        return
    print(f"ms of processor time; one list each {SETTLED_INTERVAL:g} s while all is well")
    print(f"{'servers':>7} {'settled':>7} database  server {'listed':>7} database  server  of 10")
    first = None
    for servers in SIZES:
        settled, listed = measure(servers, URLS[options.database](), pid)
        first = first or settled.all
        print(f"{servers:7} {settled} {listed} {settled.all / first:6.1f}", flush=True)


if __name__ == "__main__":
    main()
