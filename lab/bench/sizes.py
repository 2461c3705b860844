"""What commands cost as the database grows.

    python -m lab.bench.sizes [--quick] [--embedded] [--only WORD] [--json FILE] [--write]

Each database is filled through the models before the service starts on it, so that it takes seconds
and not hours. Then commands are sent over a few connections that stay. What a command costs at the
smallest size is the measure of the others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lab.bench import filling, processes, report
from lab.bench.figures import OfRounds, Round, summary
from lab.bench.goals import MARIADB, SQLITE
from lab.bench.many import NO_ECHO
from lab.bench.measure import CIRCLES, Measured, database_process
from lab.bench.people import PASSWORD, TEXT, People, ask_all, job
from lab.bench.processes import Form, Running, Tool
from tests.services import environment

CONNECTIONS = 4
"""Few: what many do to each other, `lab.bench` measures."""

FORM = Form(capacity=100_000, heartbeat=0.2)
"""Everybody finds a place at one app server, and soon."""

NOBODY = People(CIRCLES, [], 0)

SECONDS = 0.5
"""Of each round."""


@dataclass(frozen=True)
class Sized(OfRounds):
    """A command at one size."""

    service: str
    what: str
    size: int
    rounds: tuple[Round, ...]

    def as_json(self) -> dict[str, Any]:
        """All rounds."""
        found = asdict(self)
        for each in found["rounds"]:
            del each["echo"], each["hash"]
        return found


HEADING: report.Row = (
    "command: what is counted",
    "service",
    "how many",
    "CPU µs",
    "worst",
    "× the smallest",
    "MariaDB's µs",
    "p50 ms",
    "p99 ms",
    "refused",
)


def row(sized: Sized, smallest: Sized) -> report.Row:
    """One size of a command."""
    return (
        sized.what,
        sized.service,
        f"{sized.size:,}",
        report.number(sized.middle("cpu")),
        report.number(sized.worst("cpu")),
        report.number(sized.middle("cpu") / smallest.middle("cpu")),
        report.number(sized.middle("database")),
        report.number(sized.middle("p50")),
        report.number(sized.middle("p99")),
        str(sized.refused),
    )


def table(found: Sequence[Sized]) -> str:
    """All of them, as Markdown."""
    return report.markdown(HEADING, rows(found))


def rows(found: Sequence[Sized]) -> list[report.Row]:
    """Those of a command beside each other, with the smallest first."""
    of_what: dict[tuple[str, str], list[Sized]] = {}
    for each in found:
        of_what.setdefault((each.service, each.what), []).append(each)
    return [row(each, sizes[0]) for sizes in of_what.values() for each in sizes]


def run(folder: Path, quick: bool, embedded: bool, only: str = "") -> list[Sized]:
    """Measure all sizes on all databases that there are, or `only` those contents."""
    print("\ncost against size", flush=True)
    found: list[Sized] = []
    with processes.tool(folder, "load") as load:
        for name in (SQLITE, MARIADB):
            if name == SQLITE or (not embedded and environment().get("BBS_TEST_MYSQL_URL")):
                for content in filling.QUICK if quick else filling.CONTENTS:
                    if only in content.name:
                        found += measure(folder, load, name, content, 1 if quick else 3)
    print(table(found))
    return found


def measure(
    folder: Path, load: Tool, name: str, content: filling.Content, rounds: int
) -> Iterator[Sized]:
    """The commands that are measured with that content of the database."""
    own = folder / f"sizes-{name}-{content.name}"
    own.mkdir()
    with contextlib.ExitStack() as stack:
        url = processes.sqlite(own)
        if name == MARIADB:
            url = stack.enter_context(processes.own_database(environment()["BBS_TEST_MYSQL_URL"]))
        with filling.filled(url, partial(filling.fill, content)):
            if name == MARIADB:
                broker = environment()["BBS_TEST_ACTIVEMQ_URL"]
                login = stack.enter_context(processes.external(own, url, broker, FORM))
            else:
                login = stack.enter_context(processes.embedded(own, FORM))
            filling.await_places()
        service = Measured(login, NOBODY, database_process(name == MARIADB))
        for each in content.asked:
            # One after the other: what a long one leaves behind is not the next one's.
            work = ask(load, login, each.user, each.line)
            taken = []
            for _ in range(rounds):
                done, cpu, database = service.ask(load, {**work, "seconds": SECONDS})
                taken.append(summary(done, cpu, database, NO_ECHO))
            yield Sized(name, each.what, each.size, tuple(taken))
            print(f"  {name}: {each.what}: {each.size:,}", flush=True)


def ask(load: Tool, login: Running, user: str, line: str) -> dict[str, Any]:
    """The job of somebody who logs in first, and sends `line`."""
    [reply] = ask_all(load, [(login.port, f"login {user} {PASSWORD}")])
    port, text = reply["app_server"]["port"], line.format(user=reply["token"], text=TEXT)
    return job([port] * CONNECTIONS, [[text]] * CONNECTIONS)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.sizes",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="the smaller sizes, one round")
    parser.add_argument("--embedded", action="store_true", help="SQLite and the own broker alone")
    parser.add_argument("--only", metavar="WORD", default="", help="contents with it in their name")
    parser.add_argument("--json", metavar="FILE", help="write the figures and all rounds there")
    parser.add_argument("--write", action="store_true", help="write the table to results.md")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    before = report.machine()
    print(before, flush=True)
    with tempfile.TemporaryDirectory(prefix="bbs-bench-") as folder:
        found = run(Path(folder), options.quick, options.embedded, options.only)
    if options.json:
        figures = {"machine": before, "sizes": [each.as_json() for each in found]}
        Path(options.json).write_text(json.dumps(figures, indent=1) + "\n")
    if options.write:
        report.write({"sizes": f"{report.stamp(before)}.\n\n{table(found)}"})
    return 0


if __name__ == "__main__":
    processes.run_program(main)
