"""bbs's own share of a launch on EC2: how long a login takes beyond the machine's boot.

    python -m lab.bench.launch_share [--launches N] [--boot SECONDS] [--seed N]

A login server on MariaDB and ActiveMQ, and the cloud of `tests/cloud`, whose RunInstances answers
at once and whose instances are processes of this machine. Again and again, at any moment of the
controller's rounds, somebody logs in for whom there is no app server. Told are

- `call`: from the login to RunInstances,
- `start`: from the end of the boot until the app server listens, which is mostly Python's start,
- `reply`: from there to the login's reply,
- `share`: all three, which is what is not EC2's and not the boot's,
- `asked`: how many calls of EC2's API there were for a launch and its end.

A figure is in milliseconds; `asked` is a number.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater, react
from twisted.logger import globalLogBeginner

from bbs.config import load, to_toml
from lab.bench.figures import quantile
from lab.bench.people import PASSWORD
from lab.bench.processes import TWISTD, Failed, environment, own_database, process
from lab.bench.report import machine
from tests.cloud import Cloud
from tests.integration.service import Wire, wire_to
from tests.paths import CHECKOUT
from tests.services import needed
from tests.services.servers import free_port, write_private

reactor: Any = installed

APP_PORT = 22223

POLL = 0.005
"""Seconds between looks at what is waited for."""

PATIENCE = 60.0
"""Seconds until what does not come has failed."""

ROW = "{:<8} {:>8} {:>8} {:>8}"


@dataclass(frozen=True)
class Launch:
    """What one launch took, in seconds, and how many calls of EC2's API."""

    call: float
    start: float
    reply: float
    asked: int

    @property
    def share(self) -> float:
        return self.call + self.start + self.reply


async def measure(options: argparse.Namespace) -> None:
    """Print the figures."""
    chance = random.Random(options.seed)
    cloud = Cloud(boot_seconds=options.boot, environ={"PYTHONPATH": str(CHECKOUT)})
    await cloud.start()
    try:
        with (
            tempfile.TemporaryDirectory(prefix="bbs-bench-") as folder,
            own_database(needed("BBS_TEST_MYSQL_URL")) as database,
        ):
            port = free_port()
            write_private(Path(folder) / "bbs.toml", configuration(cloud, port, database))
            command = [*TWISTD, "--nodaemon", "--pidfile=", "bbs-login"]
            command += [f"--config={folder}/bbs.toml", f"--data={folder}"]
            environ = environment(**cloud.environ)
            with process(command, Path(folder) / "login.log", environ, cwd=folder):
                login = await reached("127.0.0.1", port)
                await granted(login, "register", "ann", PASSWORD)
                launches = []
                for _ in range(options.launches):
                    launches.append(await one_launch(cloud, login, chance))
                login.close()
    finally:
        await cloud.stop()
    print(f"{len(launches)} launches\n")
    print(ROW.format("", "p50", "p99", "most"))
    for name in ("call", "start", "reply", "share"):
        print(ROW.format(name, *figures([getattr(each, name) * 1e6 for each in launches])))
    print(ROW.format("asked", *figures([each.asked * 1e3 for each in launches])))


def figures(values: Sequence[float]) -> list[str]:
    ordered = sorted(map(round, values))
    return [f"{value:.0f}" for value in (quantile(ordered, 0.5), quantile(ordered, 0.99))] + [
        f"{ordered[-1] / 1000:.0f}"
    ]


def configuration(cloud: Cloud, port: int, database: str) -> str:
    options = {
        "login.listen": f"tcp:{port}:interface=127.0.0.1",
        "database.url": database,
        "broker.url": needed("BBS_TEST_ACTIVEMQ_URL"),
        "fleet.provider": "ec2",
        "fleet.minimum": 0,
        "fleet.spare": 0,
        # So that the next launch need not be waited for.
        "fleet.idle_grace": 0.1,
        **{f"ec2.{key}": value for key, value in cloud.ec2_config().items()},
    }
    return to_toml(load(None, {}, options))


async def one_launch(cloud: Cloud, login: Wire, chance: random.Random) -> Launch:
    """Somebody logs in, and out again, and the instance ends."""
    await deferLater(reactor, chance.uniform(0.0, 2.0))
    asked, began = len(cloud.calls), reactor.seconds()
    replied: list[float] = []
    replying = Deferred.fromCoroutine(granted(login, "login", "ann", PASSWORD))

    def note(reply: dict[str, Any]) -> dict[str, Any]:
        replied.append(reactor.seconds())
        return reply

    replying.addCallback(note)
    while not (alive := cloud.instances(alive=True)):
        await pause(began)
    (instance,) = alive
    (await reached(instance.address, APP_PORT)).close()
    listening = reactor.seconds()
    reply = await replying
    (call,) = (each for each in cloud.calls[asked:] if each.action == "RunInstances")
    (running,) = (since for since, state in instance.history if state == "running")
    await granted(login, "logout", reply["token"])
    left = reactor.seconds()
    while cloud.instances(alive=True):
        await pause(left)
    return Launch(
        call=call.time - began,
        start=listening - running,
        # Who has just been told of it may be quicker than who looks for it.
        reply=max(0.0, replied[0] - listening),
        asked=len(cloud.calls) - asked,
    )


async def reached(host: str, port: int) -> Wire:
    """A connection to who will listen there soon."""
    began = reactor.seconds()
    while True:
        try:
            return await wire_to(host, port)
        except ConnectError:
            await pause(began)


async def pause(began: float) -> None:
    if reactor.seconds() > began + PATIENCE:
        raise Failed(f"waited {PATIENCE:.0f} s in vain")
    await deferLater(reactor, POLL)


async def granted(wire: Wire, *words: str) -> dict[str, Any]:
    reply = await wire.ask(*words)
    if reply["status"]:
        raise Failed(f"{words[0]} was refused: {reply}")
    return reply


def main(argv: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--launches", type=int, default=100, metavar="N")
    parser.add_argument("--boot", type=float, default=0.5, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    options = parser.parse_args(argv)
    print(machine(), flush=True)
    # What the cloud says of calls that are cut off at the end.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    react(lambda _: Deferred.fromCoroutine(measure(options)))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Failed as error:
        sys.exit(str(error))
