"""The cloud in the foreground: `python -m tests.cloud`, or the whole service on it with `--up`."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

from tests.cloud.cloud import Cloud
from tests.cloud.faults import Faults, parse

WATCH = 0.2
"""Seconds between looks at the instances, for telling what becomes of them."""

LAST = 5
"""Lines of its console that are shown of an instance that has ended by itself."""

reactor: Any = installed


class Up(ProcessProtocol):
    """`bbs up`, which says what it says on this process's output."""

    transport: Any

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.ended: Deferred[None] = Deferred()

    def processEnded(self, reason: Any) -> None:
        self.exit_code = reason.value.exitCode
        self.ended.callback(None)
        with suppress(Exception):
            reactor.stop()

    async def end(self) -> None:
        """Ask it to end, and wait until it has."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess(signal.SIGTERM)
        await self.ended


class Foreground:
    """The cloud, from here to Ctrl-C."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.up: Up | None = None
        self.failed = False
        self._options = options
        self._data = Path(options.data).absolute()
        self._told: dict[str, str] = {}
        rules: dict[str, Any] = {}
        if options.faults:
            rules = tomllib.loads(Path(options.faults).read_text())
        self._cloud = Cloud(
            boot_seconds=options.boot,
            faults=Faults(*parse(rules.get("rule", [])), lag=rules.get("lag", 0.0)),
            seed=options.seed,
        )

    async def start(self) -> None:
        """Start it, and say how to use it."""
        await self._cloud.start()
        LoopingCall(self._tell).start(WATCH)
        if self._options.up:
            self._start_up()
            return
        for name, value in self._cloud.environ.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"\n{self.configuration()}", flush=True)
        print("The cloud is ready. Ctrl-C ends it, and all instances.", flush=True)

    async def stop(self) -> None:
        """End everything."""
        if self.up:
            await self.up.end()
        await self._cloud.stop()

    def configuration(self) -> str:
        """The sections that a service on this cloud needs."""
        from bbs.config import load, to_toml

        section = self._cloud.ec2_config()
        config = load(None, {}, {f"ec2.{key}": value for key, value in section.items()})
        theirs = to_toml(config).partition("[ec2]\n")[2].partition("\n[")[0]
        return f'[fleet]\nprovider = "ec2"\n[ec2]\n{theirs}\n'

    def _start_up(self) -> None:
        self._data.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self._data / "ec2.toml"
        database = f'[database]\nurl = "sqlite:///{self._data}/bbs.sqlite3"\n'
        path.write_text(self.configuration() + database)
        self.up = Up()
        bbs = str(Path(sys.executable).parent / "bbs")
        arguments = self._options.arguments
        place = ["--data", str(self._data), "--config", str(path)]
        reactor.spawnProcess(
            self.up,
            "/usr/bin/setpriv",
            # Ctrl-C at the terminal ends this process, which ends that one before the cloud.
            [*("setpriv", "--pdeathsig", "TERM", "setsid", bbs, "up"), *place, *arguments],
            env={**os.environ, **self._cloud.environ},
            childFDs={0: "w", 1: 1, 2: 2},
        )

    def _tell(self) -> None:
        for machine in self._cloud.instances():
            if self._told.get(machine.instance_id) != machine.state:
                self._told[machine.instance_id] = machine.state
                print(f"{machine.instance_id} is {machine.state} at {machine.address}", flush=True)
                if machine.pid and not machine.asked_to_end and not machine.alive:
                    # Why, if anything says it.
                    for line in self._cloud.console(machine.instance_id).splitlines()[-LAST:]:
                        print(f"  {line}", flush=True)


def main() -> int:
    """Run until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m tests.cloud", description=__doc__)
    parser.add_argument("--boot", type=float, default=3.0, help="seconds to boot (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the faults' chances (%(default)s)")
    parser.add_argument("--faults", help="a TOML file with [[rule]] tables (README.md)")
    parser.add_argument("--data", default="bbs-data-ec2", help="folder for --up (%(default)s)")
    parser.add_argument("--up", action="store_true", help="run bbs up on it, with the ARGUMENTS")
    parser.add_argument("arguments", nargs="*", help="for bbs up, behind --")
    foreground = Foreground(parser.parse_args())
    # Only what goes wrong.
    loud = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.error)]
    )
    globalLogBeginner.beginLoggingTo([loud], redirectStandardIO=False)

    def start() -> None:
        Deferred.fromCoroutine(foreground.start()).addErrback(failed)

    def failed(failure: Any) -> None:
        print(f"the cloud cannot start: {failure.value}", file=sys.stderr)
        foreground.failed = True
        reactor.stop()

    reactor.callWhenRunning(start)
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(foreground.stop())
    )
    reactor.run()
    return 1 if foreground.failed or (foreground.up and foreground.up.exit_code) else 0


if __name__ == "__main__":
    sys.exit(main())
