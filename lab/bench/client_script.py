"""What a command costs in `bbs client < script`, beside the same line on the line protocol.

    python -m lab.bench.client_script [--commands N] [--rounds N] [--profile FILE]

Starts `bbs up` with one app server. Of ten commands eight ask for `list-friend`, one posts and one
sends. In each round the client carries out a script of them, and the same lines go over one
connection, each when the one before is answered. What the client takes to start, to log in and to
end is taken with a script of these alone, and does not count for the commands.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from lab.bench.people import PASSWORD, TEXT, job
from lab.bench.processes import Failed, Running, Tool, embedded, environment, process
from lab.bench.report import machine
from tests.paths import CHECKOUT

MIX = (*["list-friend {ann}"] * 8, f"post {{ann}} {TEXT}", f"send {{ann}} bob {TEXT}")

ROW = "{:<15} {:>9} {:>9} {:>12}"


@dataclass(frozen=True)
class Cost:
    """Seconds: until it was done, and of one processor for whoever asked."""

    wall: float
    cpu: float

    def beyond(self, start: Cost, commands: int) -> Cost:
        """What each of so many commands has taken, in µs, when the rest took `start`."""
        each = 1e6 / commands
        return Cost((self.wall - start.wall) * each, (self.cpu - start.cpu) * each)


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--commands", type=int, default=10_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--profile", metavar="FILE", help="cProfile's, of one script more")
    options = parser.parse_args(argv)
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bbs-bench-") as name:
        folder = Path(name)
        # Not `lab.bench.processes.load`: the process itself is measured here.
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "cwd": CHECKOUT}
        command = [sys.executable, "-m", "lab.bench.load"]
        with (
            embedded(folder) as login,
            process(command, folder / "load.log", **pipes) as child,
        ):
            load = Tool(child, folder / "load.log")
            measure(login, load, Running(0, child.pid), folder, options)
    return 0


def measure(
    login: Running, load: Tool, sender: Running, folder: Path, options: argparse.Namespace
) -> None:
    """Print the figures."""
    lines = [MIX[number % len(MIX)] for number in range(options.commands)]
    token, app = befriend(load, login.port)
    requests = [line.format(ann=token) for line in lines]
    short = f"login ann {PASSWORD}\nexit\n"
    script = short.replace("exit", "\n".join(line.format(ann="ann") for line in lines) + "\nexit")
    starts, clients, protocols = [], [], []
    for _ in range(options.rounds):
        starts.append(by_client(login.port, short, 1))
        clients.append(by_client(login.port, script, options.commands + 1))
        used = sender.cpu_seconds()
        talked = load.ask(job([app], [requests], seconds=None))
        protocols.append(Cost(talked["seconds"], sender.cpu_seconds() - used))
    # The least of the rounds: whatever else the machine does only adds to it.
    start, client, protocol = (
        Cost(min(cost.wall for cost in costs), min(cost.cpu for cost in costs))
        for costs in (starts, clients, protocols)
    )
    print(f"start, login and end: {start.wall:.2f} s, {start.cpu:.2f} s of a processor")
    print(f"{options.commands} commands, the best of {options.rounds} rounds, µs for each\n")
    print(ROW.format("", "wall", "own CPU", "rounds' CPU"))
    nothing = Cost(0.0, 0.0)
    for name, costs, best, rest in (
        ("script client", clients, client, start),
        ("line protocol", protocols, protocol, nothing),
    ):
        each = best.beyond(rest, options.commands)
        middle = median(cost.beyond(rest, options.commands).cpu for cost in costs)
        print(ROW.format(name, f"{each.wall:.0f}", f"{each.cpu:.0f}", f"{middle:.0f}"))
    if options.profile:
        by_client(login.port, script, options.commands + 1, options.profile)


def befriend(load: Tool, port: int) -> tuple[str, int]:
    """Ann and Bob are there, and friends: Ann's token, and the port of the app server."""
    lines = [f"{what} {who} {PASSWORD}" for who in ("ann", "bob") for what in ("register", "login")]
    _, ann, _, bob = ask(load, port, *lines)
    app = ann["app_server"]["port"]
    ask(load, app, f"invite {ann['token']} bob", f"accept-invite {bob['token']} ann")
    return ann["token"], app


def ask(load: Tool, port: int, *lines: str) -> list[Mapping[str, Any]]:
    work = job([port], [lines], seconds=None)
    replies = [json.loads(reply) for reply in load.ask(work)["replies"][0]]
    if any(reply["status"] for reply in replies):
        raise Failed(f"a server refused: {replies}")
    return replies


def by_client(port: int, script: str, answers: int, profile: str = "") -> Cost:
    """What a script costs, whose commands must all be answered, and none of them by a failure."""
    command = [sys.executable, *(["-m", "cProfile", "-o", profile] if profile else [])]
    command += ["-m", "bbs", "client", "127.0.0.1", str(port)]
    before, began = used_by_children(), time.perf_counter()
    run = subprocess.run(
        command, input=script, env=environment(), cwd=CHECKOUT, capture_output=True, text=True
    )
    wall = time.perf_counter() - began
    lines = run.stdout.splitlines()
    if run.returncode or len(lines) != answers or {*lines} - {"Success!", "bob"}:
        raise Failed(f"the script went wrong:\n{run.stdout[-1000:]}{run.stderr[-1000:]}")
    return Cost(wall, used_by_children() - before)


def used_by_children() -> float:
    """Seconds of a processor of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Failed as error:
        sys.exit(str(error))
