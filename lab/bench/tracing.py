"""What traces cost: a service that keeps none, and one that does, beside each other.

    python -m lab.bench.tracing [--compare REF] [--rounds N] [--sample SHARE]

Both run on SQLite and their own broker. The one tells a collector, a process of its own that takes
what comes, of every request. With `--compare`, the code of another commit, one of before there were
traces for instance, runs as a third. They take turns, round by round; told are the medians of what
two of them are to each other in a round, by processor time (`CPU µs` of docs/benchmarks.md) and by
rate. The load itself keeps no traces, so each request begins one.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from typing import Any

from lab.bench import compare, processes, report
from lab.bench.figures import Figures, ratio
from lab.bench.measure import Bench, Means, Measured, prepare
from lab.bench.options import PACE
from tests.paths import CHECKOUT

COMMANDS = ("list-friend", "send", "login")
CONNECTIONS = (1, 16)
TAKE = "--take"

HEADING = ("command", "connections", "off: µs", "on ÷ off", "rate", "off ÷ that", "rate")


def main(argv: Sequence[str]) -> int:
    if argv == [TAKE]:
        return take()
    options = parser().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    print(report.machine(), flush=True)
    refused = 0
    with tempfile.TemporaryDirectory(prefix="bbs-bench-") as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        begin = stack.enter_context
        means = Means(
            begin(processes.tool(folder, "load")),
            begin(processes.tool(folder, "load")),
            begin(processes.tool(folder, "hashing")),
            begin(processes.echo(folder)),
            PACE.with_rounds(options.rounds),
        )
        endpoint = f"http://127.0.0.1:{begin(collector(folder))}"
        told = f'[tracing]\nendpoint = "{endpoint}"\nsample = {options.sample}\n'
        forms = [processes.ORDINARY, processes.Form(more=told)]
        if options.compare:
            forms.append(processes.Form(root=begin(compare.checkout(options.compare, folder))))
        services: list[Measured] = []
        for number, form in enumerate(forms):
            own = folder / str(number)
            own.mkdir()
            services.append(prepare(means.load, begin(processes.embedded(own, form))))
        print(f"\n{report.columns(HEADING)}", flush=True)
        for figures in measured(Bench(means, services)):
            print(report.aligned(HEADING, row(*figures)), flush=True)
            refused += sum(each.refused for each in figures)
    return 1 if refused else 0


def measured(bench: Bench) -> Iterator[tuple[Figures, ...]]:
    """The figures of the commands, over connections that stay."""
    for figures in bench.measure(COMMANDS, CONNECTIONS):
        if not figures[0].fresh:
            yield figures


def row(off: Figures, on: Figures, before: Figures | None = None) -> report.Row:
    """What they are to each other."""
    cells = [off.command, str(off.connections), report.number(off.middle("cpu"))]
    for this, that in ((on, off), (off, before)):
        for name in ("cpu", "rate"):
            cells.append(report.number(between(this, that, name)) if that else "")
    return cells


def between(this: Figures, that: Figures, name: str) -> float:
    """The median of the rounds' ratios."""
    pairs = zip(this.rounds, that.rounds, strict=True)
    return median(ratio(getattr(one, name), getattr(other, name)) for one, other in pairs)


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[int]:
    """A collector that takes everything and keeps nothing; its port."""
    command = [sys.executable, "-m", "lab.bench.tracing", TAKE]
    pipes: Any = {"stdout": subprocess.PIPE, "cwd": CHECKOUT}
    with processes.process(command, folder / "collector.log", **pipes) as child:
        assert child.stdout is not None
        yield int(child.stdout.readline())


def take() -> int:
    """Be one."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Taking)
    print(server.server_address[1], flush=True)
    server.serve_forever()
    return 0


class _Taking(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


def parser() -> argparse.ArgumentParser:
    """What a run may be told."""
    parser = argparse.ArgumentParser(
        prog="python -m lab.bench.tracing", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--compare", metavar="REF", help="run the code of that commit, too")
    parser.add_argument("--rounds", type=int, default=7, metavar="N")
    parser.add_argument("--sample", type=float, default=1.0, metavar="SHARE")
    return parser


if __name__ == "__main__":
    processes.run_program(main)
