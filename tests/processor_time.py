"""What tests cost in processor time, and what the tests of a room may cost.

Unlike the time by a clock, this does not depend on what else the machine does: nearly. Two programs
that share a core slow each other, and the cores of a cloud change their speed. So each process that
tests runs a fixed loop now and then, and its seconds are multiples of that loop's, as long as a
second of the machine on which `LOOP` was measured.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

FOLDER = "BBS_TEST_TIMES"  # The variable with the folder where processes write what tests cost.

BUDGETS = Path(__file__).with_name("budgets.toml")

MOST, LEAST = 2.0, 1.0
"""How often its budget a room may take, as another machine may need that much more for the same,
and the seconds by which it may be over anyway: in a small room noise does not cancel out."""

LOOP = 0.0020  # Seconds of `_loop`, where the seconds of budgets were measured.
EVERY = 0.3  # Seconds of tests after which the loop runs again.

_TEXT = json.dumps({"status": 0, "who": [{"id": f"friend{n}", "since": 1234.5} for n in range(9)]})

HEAD = """\
# Seconds of processor time that the tests of each room take, by what is run. Each run shows them
# beside its own, and a room that takes more than twice as many fails. To write what was measured:
# python -m tests.run --budgets KIND --write NAME …
"""


def measure_here() -> None:
    """Note what each test of this process costs, if a run asks for it."""
    folder = os.environ.get(FOLDER)
    if folder:
        from twisted.trial.unittest import SynchronousTestCase

        meter = _Meter(Path(folder, str(os.getpid())))
        run: Any = meter.measured(SynchronousTestCase.run)
        SynchronousTestCase.run = run  # type: ignore[method-assign]


@contextmanager
def measured() -> Iterator[Callable[[], Mapping[str, float]]]:
    """Have the processes that begin in this context note what tests cost. Yields what finds the
    seconds by the names of the tests."""
    with tempfile.TemporaryDirectory(prefix="bbs-times-") as folder:
        os.environ[FOLDER] = folder
        try:
            yield lambda: _read(Path(folder))
        finally:
            del os.environ[FOLDER]


def room_of(test: str) -> str:
    """The room of a test: the folder of `tests/` that it is in, or else the first one. Each module
    of `tests/integration/` is a room, as it starts servers of its own."""
    first, second, *others = test.split(".")
    if second == "integration":
        return others[0]
    return second if first == "tests" and len(others) > 2 else first


def by_room(costs: Mapping[str, float]) -> Mapping[str, float]:
    """The seconds of all tests of each room."""
    rooms: dict[str, float] = {}
    for test, seconds in costs.items():
        rooms[room_of(test)] = rooms.get(room_of(test), 0.0) + seconds
    return rooms


def budgets(kind: str, path: Path = BUDGETS) -> Mapping[str, float]:
    """The seconds that each room may take in runs of this kind."""
    return _kinds(path).get(kind, {})


def over(costs: Mapping[str, float], allowed: Mapping[str, float]) -> Iterator[str]:
    """Say which rooms are over their budgets, or have none, and which of their tests are dear."""
    for room, seconds in sorted(by_room(costs).items()):
        if room not in allowed:
            yield f"the room {room} has no budget: {seconds:.1f} s were measured"
        elif seconds > max(allowed[room] + LEAST, allowed[room] * MOST):
            dear = sorted(
                (test for test in costs if room_of(test) == room), key=lambda test: -costs[test]
            )
            yield (
                f"the room {room} took {seconds:.1f} s of processor time, and its budget is"
                f" {allowed[room]:.1f} s. Its dearest: "
                + ", ".join(f"{test} ({costs[test]:.1f} s)" for test in dear[:5])
            )


def write(kind: str, costs: Mapping[str, float], path: Path = BUDGETS) -> None:
    """Write what the rooms of these tests took as their budgets for this kind of runs."""
    kinds = _kinds(path)
    found = {room: round(seconds, 1) for room, seconds in by_room(costs).items()}
    kinds[kind] = {**kinds.get(kind, {}), **found}
    lines = [HEAD]
    for each, rooms in sorted(kinds.items()):
        lines += [f"[{each}]", *(f"{room} = {rooms[room]}" for room in sorted(rooms)), ""]
    path.write_text("\n".join(lines))


def _kinds(path: Path) -> dict[str, dict[str, float]]:
    return tomllib.loads(path.read_text()) if path.exists() else {}


class _Meter:
    """Writes what tests cost into the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._speed = _speed()
        self._since = 0.0  # Seconds of tests since the loop ran.
        self._busy = False

    def measured(self, run: Callable[..., None]) -> Callable[..., None]:
        @wraps(run)
        def measured(test: Any, result: Any) -> None:
            if self._busy:  # A test that runs tests pays for them.
                return run(test, result)
            self._busy, begun = True, _spent()
            try:
                run(test, result)
            finally:
                self._busy = False
                self._note(test.id(), _spent() - begun)

        return measured

    def _note(self, test: str, seconds: float) -> None:
        self._since += seconds
        speed = self._speed
        if self._since > EVERY:
            self._since = 0.0
            self._speed = _speed()
            speed = (speed + self._speed) / 2  # A long test may have had both.
        with self._path.open("a") as file:
            file.write(f"{seconds * speed} {test}\n")


def _spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _speed() -> float:
    """How much faster than where `LOOP` was measured this processor is at the moment."""
    return LOOP / sorted(_loop() for _ in range(3))[1]


def _loop() -> float:
    begun = time.process_time()
    for number in range(100):
        found = json.loads(_TEXT)
        named = {str(key): value for key, value in enumerate(sorted(found["who"], key=str))}
        json.dumps({**named, "id": number})
    return time.process_time() - begun


def _read(folder: Path) -> Mapping[str, float]:
    costs: dict[str, float] = {}
    for path in folder.iterdir():
        for line in path.read_text().splitlines():
            seconds, _, test = line.partition(" ")
            costs[test] = costs.get(test, 0.0) + float(seconds)
    return costs
