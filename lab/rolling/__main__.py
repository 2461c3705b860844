"""`python -m lab.rolling`: on a MariaDB and an ActiveMQ of its own."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import globalLogBeginner

from bbs import __version__
from lab.faults.world import Scene
from lab.rolling.people import Counts
from lab.rolling.roll import Numbers, Rolling, Story, sections
from lab.rolling.versions import BEFORE
from tests.cloud import Cloud
from tests.integration.test_ec2_service import CloudService
from tests.services import OwnActiveMQ, OwnMariaDB


async def roll(numbers: Numbers, folder: Path) -> Counts:
    """Have it happen in `folder`."""
    database, broker = OwnMariaDB(), OwnActiveMQ()
    cloud = Cloud(boot_seconds=0.2, seed=1)
    try:
        await gatherResults([database.start(), broker.start(), cloud.start()])
        service = CloudService(Scene(folder), _options(cloud, database.url, broker.url, numbers))
        service.cloud = cloud
        try:
            return await Rolling(service, numbers, Story(_say)).carry_out()
        finally:
            await service.remove()
    finally:
        await cloud.stop()
        await gatherResults([database.remove(), broker.remove()])


def _options(cloud: Cloud, database: str, broker: str, numbers: Numbers) -> dict[str, Any]:
    own = sections(numbers)
    return {
        **own,
        "database": {"url": database, **own["database"]},
        "broker": {"url": broker},
        "ec2": cloud.ec2_config(),
        "fleet": {"provider": "ec2", **own["fleet"]},
    }


def _say(text: str) -> None:
    print(text, flush=True)


def in_words(numbers: Numbers, counts: Counts) -> str:
    """What is to be shown."""
    return "\n".join(
        (
            f"{numbers.people} people, {numbers.servers} app servers and 2 login servers,"
            f" {BEFORE} to {__version__}:",
            f"  messages answered with Success!    {counts.sent}",
            f"  lost                               {counts.lost}",
            f"  doubled                            {counts.doubled}",
            f"  out of order, by readers           {counts.disordered}",
            f"  answers lost (sent, not known)     {counts.unsure}",
            f"  refused                            {sum(counts.refused.values())}"
            f" {dict(counts.refused) or ''}",
            f"  people who had to log in again     {counts.logged_out}",
            f"  longest silence for one person     {counts.silence[0]:.2f} s",
            f"  longest wait for the login server  {counts.answer[0]:.2f} s",
            *(f"  lacking: {each}" for each in counts.lacking),
        )
    )


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m lab.rolling", description=__doc__)
    parser.add_argument("--people", type=int, default=200, help="an even number (%(default)s)")
    parser.add_argument("--servers", type=int, default=20, help="app servers (%(default)s)")
    parser.add_argument(
        "--interval", type=float, default=2.0, help="s between a person's messages (%(default)s)"
    )
    parser.add_argument("--within", type=float, default=1200.0, help="s for all (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="put logs there")
    options = parser.parse_args(arguments)
    numbers = Numbers(options.people, options.servers, options.interval, options.within)
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    folder = Path(tempfile.mkdtemp(prefix="bbs-rolling-"))

    async def go(reactor: Any) -> None:
        await deferLater(reactor, 0)
        try:
            counts = await roll(numbers, folder)
            print(in_words(numbers, counts))
        except AssertionError as problem:
            raise SystemExit(str(problem)) from problem
        except Exception:
            traceback.print_exc()
            raise
        finally:
            if options.keep:
                shutil.copytree(folder, options.keep, dirs_exist_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        if not counts.well:
            raise SystemExit(1)

    task.react(go)


if __name__ == "__main__":
    main(sys.argv[1:])
