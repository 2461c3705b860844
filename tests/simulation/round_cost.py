"""What one round of the fleet's keeper costs this process, by the number of servers.

    python -m tests.simulation.round_cost

Everybody is well and beats. `settled` is a round as most are, which asks the database alone;
`listed` one that looks at the provider's list too (that list's own cost is not in it).
"""

from __future__ import annotations

import time
from random import Random

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import globalLogBeginner

from bbs.board import board
from bbs.delivery.bus import Bus
from bbs.rules.members import Member
from bbs.scaling.keeper import SETTLED_INTERVAL, FleetKeeper
from bbs.scaling.news import FleetNews
from bbs.scaling.steps import Means
from bbs.storage import migrations, models
from bbs.storage.database import Database
from bbs.storage.models import Server
from bbs.testing import MemoryBroker
from bbs.values import Policy, State, Tally
from bbs.workers import Inline
from tests.simulation.cloud import SCOPE, Breaks, Cloud, CloudProvider, Machine

INTERVAL = 2.0
ROUNDS = 40


class _Immortal:
    def ask(self, call: object) -> Deferred[object]:
        return call()  # type: ignore[operator,no-any-return]


def measure(servers: int) -> tuple[float, float]:
    """Milliseconds of a settled round, and of one that lists."""
    clock = Clock()
    clock.advance(1_000_000.0)
    database = Database("sqlite:///:memory:", Inline(), clock)
    database.peewee.connect(reuse_if_open=True)
    migrations.upgrade(database.peewee, board.schema)
    cloud = Cloud(clock, Random(1), Breaks(), lambda machine: None)
    cloud.lag = 0.0
    cloud.call = lambda kind, action: succeed(action())  # type: ignore[method-assign]
    for number in range(servers):
        id = f"{number:032x}"
        cloud.machines.append(Machine(f"i-{number:08x}", id, clock.seconds(), True, True))
        Server.insert(
            id=id,
            state=State.READY,
            scope=SCOPE,
            host="127.0.0.1",
            port=22223,
            capacity=10,
            created=clock.seconds(),
            ready=clock.seconds(),
            instance_id=f"i-{number:08x}",
            kind="t3.micro",
        ).execute()
    clock.advance(10.0)
    policy = Policy(
        minimum=servers,
        maximum=servers,
        spare=0,
        capacity=10,
        idle_grace=120.0,
        launch_timeout=180.0,
        lost_after=10.0,
    )
    means = Means(
        me=Member("1" * 32, "host:nowhere:1"),
        database=database,
        provider=CloudProvider(cloud, _Immortal()),
        policy=policy,
        news=FleetNews(Bus(MemoryBroker().client(), "bbs")),
        reactor=clock,
        wall=clock.seconds,
    )
    keeper = FleetKeeper(
        means, workers=Inline(), sweeps=(), heartbeat_interval=INTERVAL, tally=Tally()
    )
    keeper.startService()
    clock.advance(0.0)
    settled: list[float] = []
    listed: list[float] = []
    for _ in range(ROUNDS):
        Server.update(beats=Server.beats + 1).execute()
        before, began = cloud.describes, time.process_time()
        clock.advance(INTERVAL)
        spent = time.process_time() - began
        (listed if cloud.describes > before else settled).append(spent)
    database.peewee.close()
    models.database.initialize(None)
    return _median_ms(settled), _median_ms(listed)


def _median_ms(seconds: list[float]) -> float:
    return sorted(seconds)[len(seconds) // 2] * 1000.0


def main() -> None:
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    print(f"one list each {SETTLED_INTERVAL:g} s while all is well")
    print(f"{'servers':>7} {'settled':>10} {'listed':>10}")
    for servers in (10, 100, 1000, 5000):
        settled, listed = measure(servers)
        print(f"{servers:7} {settled:7.1f} ms {listed:7.1f} ms", flush=True)


if __name__ == "__main__":
    main()
