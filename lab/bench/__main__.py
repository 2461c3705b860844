"""Measures the commands against an echo server that runs beside the service.

    python -m lab.bench [--quick] [--json FILE] [--only COMMAND] [--compare REF | --galera]

The service runs on SQLite and its own broker; then, where `tests/services/start` has started them,
on MariaDB and ActiveMQ, by each of its drivers. docs/benchmarks.md says what the figures mean. A
whole run writes the main ones there, and all of them to results.md beside this program.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bbs.storage import engines
from lab.bench import compare, logins, many, processes, report, sizes
from lab.bench.figures import Figures
from lab.bench.goals import IN_PYTHON, MARIADB, SQLITE, Check, checks, none_refused
from lab.bench.measure import Bench, Means, prepare
from lab.bench.options import (
    CONNECTIONS,
    DRIVERS,
    LOGINS,
    MANY,
    QUICK_CONNECTIONS,
    pace_of,
    parser,
)
from lab.bench.people import HASHING, LINES
from tests.services import environment, running_galera


def main(argv: Sequence[str]) -> int:
    options = parser(__doc__).parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    started = time.monotonic()
    before = report.machine()
    print(before, flush=True)
    with tempfile.TemporaryDirectory(prefix="bbs-bench-") as folder:
        run = Run(options, Path(folder))
        run.everything()
        if options.sizes:
            run.taken["sizes"] = sizes.run(Path(folder), options.quick, options.embedded)
    tables = run.tables(before)
    for name in ("hashing", "goals", "goals by PyMySQL"):
        if name in tables:
            print(f"\n{tables[name]}")
    if "goals" in tables:
        for line in report.worsened(run.checks(), report.reached()):
            print(f"worse: {line}")
    print(f"\n{time.monotonic() - started:.0f} s in all")
    if options.json:
        text = json.dumps({"machine": before, **run.as_json()}, indent=1)
        Path(options.json).write_text(text + "\n")
    partial = options.quick or options.only or options.embedded or options.connections
    partial = partial or options.driver
    if options.write or (options.write is None and not partial and not run.compares):
        if options.only or options.driver:
            # These tables are of all commands, on all databases.
            for name in ("goals", "goals by PyMySQL", "summary"):
                tables.pop(name, None)
        report.write(tables)
    return 1 if run.refused else 0


class Run:
    """What is measured, and what was."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self.compares = bool(options.compare or options.galera)
        """Whether each service is measured in two forms."""
        self._pace = pace_of(options)
        self._many_seconds = options.many_seconds or (2.0 if options.quick else 12.0)
        self.drivers: dict[str, str] = {}
        """The driver's name and version, for each MariaDB that was measured."""
        self.figures: dict[str, list[tuple[Figures, ...]]] = {}
        self.storms: dict[str, logins.Storms] = {}
        self.many: list[many.Both] = []
        self.taken: dict[str, list[sizes.Sized]] = {}
        self.refused = 0

    def everything(self) -> None:
        """Measure what the options say."""
        folder, options = self._folder, self._options
        with (
            processes.tool(folder, "load") as load,
            processes.tool(folder, "load") as second,
            processes.tool(folder, "hashing") as hashing,
            processes.echo(folder) as echo,
            contextlib.ExitStack() as stack,
        ):
            means = Means(load, second, hashing, echo, self._pace)
            forms = [processes.ORDINARY]
            if options.compare:
                root = stack.enter_context(compare.checkout(options.compare, folder))
                forms.append(processes.Form(root=root))
            if options.galera:
                galera = stack.enter_context(running_galera())
                forms.insert(0, processes.Form(server=galera.nodes[0].url))
            measured = [*databases(options)]
            for name in measured:
                self._service(name, means, forms)
            if self._wanted(MANY):
                for several in (many.TEN, many.TWO):
                    if several.database in measured:
                        self._many(means, several)

    def _wanted(self, what: str) -> bool:
        only = self._options.only
        return what in only if only else not self.compares

    def _service(self, name: str, means: Means, forms: Sequence[processes.Form]) -> None:
        options = self._options
        commands = [each for each in LINES if not options.only or each in options.only]
        logs_in = self._wanted(LOGINS) and name != IN_PYTHON
        if not commands and not logs_in:
            return
        heading = report.COMPARED if self.compares else report.COMMANDS
        if name in SCHEMES:
            self.drivers[name] = driver_of(SCHEMES[name])
        by = self.drivers.get(name, "")
        print(f"\n{name}{by and ': '}{by}\n{report.columns(heading)}", flush=True)
        with contextlib.ExitStack() as stack:
            services = [
                prepare(
                    means.load,
                    stack.enter_context(started(name, self._folder / f"{name}-{number}", form)),
                    mysql=name in SCHEMES,
                )
                for number, form in enumerate(forms)
            ]
            found = self.figures.setdefault(name, [])
            connections = options.connections or (
                QUICK_CONNECTIONS if options.quick else CONNECTIONS
            )
            for figures in Bench(means, services).measure(commands, connections):
                found.append(figures)
                make = report.compared_row if self.compares else report.command_row
                self._print(heading, make(*figures), figures)
            if logs_in:
                print(f"\n{report.columns(report.STORMS)}", flush=True)
                storms = self.storms[name] = logins.measure(means, services[0])
                self.refused += storms.refused
                print(report.aligned(report.STORMS, report.storm_row(name, storms)), flush=True)

    def _many(self, means: Means, of: many.Several) -> None:
        print(f"\n{of.servers} app servers on one {of.database}\n{report.columns(report.MANY)}")
        for both in many.measure(self._folder, means, of, started, self._many_seconds):
            self.many.append(both)
            self._print(report.MANY, report.many_row(both), [both])

    def _print(
        self, heading: report.Row, row: report.Row, found: Sequence[Figures | many.Both]
    ) -> None:
        refusals = [each.refusal for each in found if each.refused]
        self.refused += sum(each.refused for each in found)
        print("  ".join([report.aligned(heading, row), *refusals]), flush=True)

    def checks(self) -> dict[str, list[Check]]:
        """The goals, for each service."""
        every = {
            name: [*checks(name, [figures[0] for figures in found])]
            for name, found in self.figures.items()
        }
        for name, storms in self.storms.items():
            every[name] += storms.checks()
        for both in self.many:
            if both.of == many.TEN:  # The goals are for these.
                every.setdefault(SQLITE, []).extend(both.checks())
        for name in every:
            found = [figures[0] for figures in self.figures.get(name, ())]
            refused = sum(each.refused for each in found)
            refused += self.storms[name].refused if name in self.storms else 0
            refused += sum(both.refused for both in self.many if both.of.database == name)
            every[name].append(none_refused(refused))
        return every

    def tables(self, before: str) -> dict[str, str]:
        """Markdown by the names of the tables in docs/benchmarks.md and results.md."""
        tables = {}
        if not self.compares:
            every = self.checks()
            if in_python := every.pop(IN_PYTHON, None):
                by_pymysql = report.goal_rows({IN_PYTHON: in_python})
                tables["goals by PyMySQL"] = report.markdown(*by_pymysql)
            tables["goals"] = report.markdown(*report.goal_rows(every))
            first = {name: [each[0] for each in found] for name, found in self.figures.items()}
            first.pop(IN_PYTHON, None)
            tables["summary"] = report.markdown(*report.summary_rows(first))
        for name, found in self.figures.items():
            rows = [report.command_row(figures[0]) for figures in found]
            if rows:
                tables[name] = report.markdown(report.COMMANDS, rows)
        hashed = [
            report.hashed_row(name, figures[0])
            for name, found in self.figures.items()
            for figures in found
            if figures[0].command in HASHING
        ]
        if hashed:
            tables["hashing"] = report.markdown(report.HASHED, hashed)
        if self.storms:
            rows = [report.storm_row(*each) for each in self.storms.items()]
            tables["logins"] = report.markdown(report.STORMS, rows)
        for of, name in ((many.TEN, "many"), (many.TWO, "two")):
            if rows := [report.many_row(both) for both in self.many if both.of == of]:
                tables[name] = report.markdown(report.MANY, rows)
        if "sizes" in self.taken:
            tables["sizes"] = sizes.table(self.taken["sizes"])
        stamp, pace = report.stamp(before, *self.drivers.values()), self._pace
        how = {
            "logins": f"; {pace.rounds} rounds of {pace.logins:g} s",
            **dict.fromkeys(
                ("many", "two"), f"; {pace.rounds} rounds, {self._many_seconds:g} s in all"
            ),
            "sizes": "",
        }
        words = f"; {pace.words()}"
        return {
            name: f"{stamp}{how.get(name, words)}.\n\n{table}" for name, table in tables.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Everything that was found."""
        return {
            "drivers": self.drivers,
            "commits": [compare.describe(each) for each in ("HEAD", self._options.compare) if each],
            "services": {
                name: [[each.as_json() for each in figures] for figures in found]
                for name, found in self.figures.items()
            },
            "logins": {name: storms.as_json() for name, storms in self.storms.items()},
            "many": [both.as_json() for both in self.many],
            "sizes": [each.as_json() for each in self.taken.get("sizes", [])],
        }


SCHEMES = {MARIADB: engines.IN_C, IN_PYTHON: engines.IN_PYTHON}


def databases(options: argparse.Namespace) -> Iterator[str]:
    """Those that there are here, and are wanted."""
    if not options.galera:
        yield SQLITE
    found = environment()
    if options.embedded:
        return
    if found.get("BBS_TEST_MYSQL_URL") and found.get("BBS_TEST_ACTIVEMQ_URL"):
        yield from (DRIVERS[driver] for driver in options.driver or DRIVERS)
    else:
        print("\nno MariaDB and ActiveMQ: run tests/services/start", file=sys.stderr)


def driver_of(scheme: str) -> str:
    """The name and version of the driver that URLs of this scheme are given."""
    database: Any = engines.connect_to(f"{scheme}://127.0.0.1/bbs")
    return str(database.driver)


@contextlib.contextmanager
def started(name: str, folder: Path, form: processes.Form) -> Iterator[processes.Running]:
    """The service on the database of that name, in a new folder of its own."""
    folder.mkdir()
    if name == SQLITE:
        with processes.embedded(folder, form) as login:
            yield login
    else:
        found, scheme = environment(), form.scheme(SCHEMES[name])
        with (
            processes.own_database(form.server or found["BBS_TEST_MYSQL_URL"], scheme) as url,
            processes.external(folder, url, found["BBS_TEST_ACTIVEMQ_URL"], form) as login,
        ):
            yield login


if __name__ == "__main__":
    processes.run_program(main)
