"""Measures the commands against an echo server that runs beside the service.

    python -m tests.bench [--quick] [--json FILE]

The service runs on SQLite and its own broker; then, where `tests/services/start` has started them,
on MariaDB and ActiveMQ. docs/benchmarks.md says what the figures mean.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.bench import processes
from tests.bench.measure import Bench, Figures, Pace
from tests.services import environment

CONNECTIONS = (1, 16, 100)
FEW = (1, 100)

COLUMNS = "{:<14} {:>5} {:<11} {:>10} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8}"


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round, without 16 connections"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there too")
    parser.add_argument(
        "--only", metavar="COMMAND", action="append", help="this command alone (again for more)"
    )
    parser.add_argument("--embedded", action="store_true", help="SQLite and the own broker alone")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    pace = Pace(1, 0.1, 0.2, 0.0) if options.quick else Pace(3, 0.2, 0.4, 130.0)
    connections = FEW if options.quick else CONNECTIONS
    started = time.monotonic()
    taken: dict[str, list[dict[str, Any]]] = {}
    failures = 0
    here = machine()
    print(here)
    with tempfile.TemporaryDirectory(prefix="bbs-bench-") as folder:
        for name, service in services(Path(folder), options.embedded):
            print(f"\n{name}\n{heading()}", flush=True)
            rows = taken.setdefault(name, [])
            with (
                service as login,
                processes.echo(Path(folder)) as echo,
                processes.load(Path(folder)) as load,
            ):
                bench = Bench(load, login, echo, pace)
                for figures in bench.measure(connections, options.only):
                    rows.append(figures.as_json())
                    failures += figures.failed
                    print(row(figures), flush=True)
    print(f"\n{time.monotonic() - started:.0f} s in all")
    if options.json:
        text = json.dumps({"machine": here, "services": taken}, indent=1)
        Path(options.json).write_text(text + "\n")
    return 1 if failures else 0


def services(
    folder: Path, embedded: bool
) -> Iterator[tuple[str, contextlib.AbstractContextManager[processes.Running]]]:
    """The forms of the service that can run here, each with a folder of its own."""

    def own(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    yield "SQLite, embedded broker", processes.embedded(own("embedded"))
    found = environment()
    mysql, broker = found.get("BBS_TEST_MYSQL_URL"), found.get("BBS_TEST_ACTIVEMQ_URL")
    if mysql and broker and not embedded:
        yield "MariaDB, ActiveMQ", processes.external(own("external"), mysql, broker)
    elif not embedded:
        print("\nno MariaDB and ActiveMQ: run tests/services/start", file=sys.stderr)


def machine() -> str:
    """What this ran on."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return (
        f"{os.cpu_count()} cores ({model}), {pages / 2**30:.0f} GiB,"
        f" Python {sys.version.split()[0]}, load average {os.getloadavg()[0]:.1f}"
    )


def heading() -> str:
    return COLUMNS.format(
        "command",
        "conns",
        "connection",
        "per second",
        "p50 ms",
        "p99 ms",
        "echo/s",
        "of echo",
        "cpu µs",
        "x echo",
    )


def row(figures: Figures) -> str:
    line = COLUMNS.format(
        figures.command,
        figures.connections,
        figures.kind,
        f"{figures.rate:.0f}",
        f"{figures.p50:.2f}",
        f"{figures.p99:.2f}",
        f"{figures.echo_rate:.0f}",
        f"{figures.ratio:.3f}",
        f"{figures.cpu:.0f}",
        f"{figures.cpu_ratio:.1f}",
    )
    return line + (f"  {figures.failed} FAILED: {figures.failure}" if figures.failed else "")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except processes.Failed as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
