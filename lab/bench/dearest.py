"""The five dearest commands for each charged unit, on a full board.

    python -m lab.bench.dearest [--rounds N] [--share S] [--all] [--sqlite]

One person has all that the limits allow (`tests.board.full`), and asks for each command. What a
command takes is divided by what its user is charged for it, commands and deliveries. It fails if
one takes more than 5 ms or 64 KiB for each. The time is processor time, of the server and of its
connection to MariaDB, so that other work on the machine does not count; of several rounds the
quickest counts. SQLite's time is the server's.
"""

from __future__ import annotations

import argparse
import gc
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import SkipTest

from bbs.storage.engines import IN_C
from bbs.testing.service import IN_MEMORY
from lab.bench.report import machine
from tests.board.full import FullBoard, Work
from tests.database_case import fresh_mysql_url
from tests.services import environment

MOST_MS, MOST_KIB = 5.0, 64.0
"""What a unit may take."""

DEAREST = 5

OTHERWISE: Mapping[str, str] = {
    "login": "`logins` of a name, and the hash of its password before anything is read",
}
"""Commands that have a price of another kind as well."""

SERVER, DATABASE = "server", "database"


class Dear(NamedTuple):
    """What a command takes: milliseconds of the server and of the database, KiB and units."""

    command: str
    server: float
    database: float
    kib: float
    units: float

    @property
    def ms_each(self) -> float:
        return (self.server + self.database) / self.units

    @property
    def kib_each(self) -> float:
        return self.kib / self.units

    @property
    def is_too_dear(self) -> bool:
        return self.command not in OTHERWISE and (
            self.ms_each > MOST_MS or self.kib_each > MOST_KIB
        )


def measure(url: str, share: float, mark: str) -> list[Dear]:
    """What each command takes on a new board at `url`, whose names begin with `mark`."""
    found: list[Dear] = []
    full = FullBoard(share, url, mark)
    database_time = _database_time(full) if url != IN_MEMORY else lambda: 0.0

    def count(work: Work) -> Mapping[str, float]:
        before, began = database_time(), time.thread_time()
        work()
        server = time.thread_time() - began
        return {SERVER: server * 1e3, DATABASE: (database_time() - before) * 1e3}

    try:
        with _without_pauses():
            full.ask_everything(
                count,
                lambda name, taken: found.append(
                    Dear(
                        name,
                        taken.work[SERVER],
                        taken.work[DATABASE],
                        taken.bytes / 1024,
                        taken.units,
                    )
                ),
            )
    finally:
        full.close()
    return found


def _database_time(full: FullBoard) -> Callable[[], float]:
    """Reads the processor time, in seconds, of MariaDB's thread for the board's connection."""
    found = full.database.execute_sql(
        "SELECT tid FROM information_schema.processlist WHERE id = CONNECTION_ID()"
    )
    [(thread,)] = found.fetchall()
    path = Path(f"/proc/{environment()['BBS_TEST_MYSQL_PID']}/task/{thread}/schedstat")

    def read() -> float:
        return int(path.read_text().split()[0]) / 1e9

    return read


@contextmanager
def _without_pauses() -> Iterator[None]:
    """Collect no garbage meanwhile, which would count for whoever asks at that moment."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def quickest(rounds: Sequence[Sequence[Dear]]) -> list[Dear]:
    """Of each command the quickest round."""
    return [
        min(several, key=lambda each: each.server + each.database)
        for several in zip(*rounds, strict=True)
    ]


def table(title: str, found: Sequence[Dear]) -> str:
    lines = [f"{title:28}{'ms a unit':>11}{'KiB a unit':>12}{'units':>8}{'server ms':>11}"]
    lines[0] += f"{'database ms':>13}{'KiB':>10}"
    lines += [
        f"{each.command:28}{each.ms_each:11.3f}{each.kib_each:12.2f}{each.units:8g}"
        f"{each.server:11.2f}{each.database:13.2f}{each.kib:10.1f}"
        + ("  too dear" if each.is_too_dear else "")
        for each in found
    ]
    return "\n".join(lines)


def report(database: str, found: Sequence[Dear], every: bool) -> bool:
    """Print the dearest on a database; returns whether none is too dear."""
    print(f"\n{database}")
    for title, key in (("by time", _ms_each), ("by length", _kib_each)):
        dearest = sorted(found, key=key, reverse=True)
        print(table(title, dearest if every else dearest[:DEAREST]), flush=True)
    too_dear = [each.command for each in found if each.is_too_dear]
    print(f"above {MOST_MS:g} ms or {MOST_KIB:g} KiB: {', '.join(too_dear) or 'none'}")
    return not too_dear


def _ms_each(dear: Dear) -> float:
    return dear.ms_each


def _kib_each(dear: Dear) -> float:
    return dear.kib_each


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m lab.bench.dearest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--share", type=float, default=1.0, help="of a full board (%(default)s)")
    parser.add_argument("--all", action="store_true", help="show every command")
    parser.add_argument("--sqlite", action="store_true", help="not on MariaDB")
    options = parser.parse_args(arguments)
    print(machine())
    places: dict[str, Callable[[], str]] = {"SQLite": lambda: IN_MEMORY}
    if not options.sqlite:
        places["MariaDB"] = lambda: fresh_mysql_url(IN_C)
    is_right = True
    for database, url in places.items():
        try:
            rounds = [measure(url(), options.share, f"round{n}") for n in range(1 + options.rounds)]
            # In the first one statements are compiled, which is once for each process.
            found = quickest(rounds[1:])
        except SkipTest as reason:
            print(f"\n{database}: {reason}")
            continue
        is_right &= report(database, found, options.all)
    return int(not is_right)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
