"""Stages of a run: each is run whatever failed before it, and the end lists all that failed.

One run tells all there is to mend, as a stage is left out only where one that it cannot do without
has failed. Stages run side by side while there are cores for them.
"""

from __future__ import annotations

import math
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.outcome import Outcome
from tests.paths import CHECKOUT
from tests.services import environment

SHOWN = 60
"""Lines of the end of a stage's output that are shown if it failed, and no test of it did."""

NOTHING = Outcome()

GRACE = 30.0
"""Seconds that a stage which takes too long has to end what it started, before that is killed."""


@dataclass(frozen=True)
class Stage:
    """A part of a run.

    :ivar command: for the shell, in the checkout. A stage of tests writes what they showed into the
        file `$OUTCOME`.
    :ivar cores: that it uses.
    :ivar needs: the stages that have to have passed; if one of them has not, it is left out.
    :ivar after: the stages that have to have ended when it begins, however they ended.
    :ivar minutes: after which it is ended, and has failed.
    """

    name: str
    command: str
    cores: int = 1
    needs: Sequence[str] = ()
    after: Sequence[str] = ()
    minutes: float = 10.0


@dataclass(frozen=True)
class Ended:
    """How a stage ended.

    :ivar why: it failed, "" if it passed. Failed tests say so themselves.
    :ivar seconds: by the clock.
    :ivar processor: seconds that its processes computed.
    :ivar log: what it printed; None if it was left out.
    """

    stage: Stage
    why: str = ""
    seconds: float = 0.0
    processor: float = 0.0
    log: Path | None = None
    outcome: Outcome = NOTHING

    @property
    def failed(self) -> bool:
        return bool(self.why)


class Run:
    """The stages of a run.

    :param folder: where the output of each is kept, as `NAME.log`.
    :param cores: that are used at once; a stage that wants more has all of them.
    :param minutes: that all of them have.
    :param skips: whether tests may be skipped.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        folder: Path,
        cores: int = 2,
        minutes: float = math.inf,
        skips: bool = True,
    ) -> None:
        self._waiting = list(stages)
        self._folder, self._cores, self._skips = folder, cores, skips
        self._end = time.monotonic() + 60 * minutes
        self._running: dict[str, tuple[Stage, subprocess.Popen[bytes]]] = {}
        self._done: queue.Queue[Ended] = queue.Queue()
        self._ended: dict[str, Ended] = {}

    def all(self) -> Sequence[Ended]:
        """Run them. Returns how they ended, in the order in which they did."""
        try:
            while True:
                self._start_what_can()
                if not self._running:
                    break
                self._note(self._done.get())
        finally:
            for _, process in self._running.values():
                _signal(process, signal.SIGTERM)
        return [*self._ended.values()]

    def _start_what_can(self) -> None:
        for stage in [*self._waiting]:
            ahead = {other.name for other in self._waiting} | self._running.keys()
            if ahead.intersection((*stage.needs, *stage.after)):
                continue
            failed = [name for name in stage.needs if name in self._ended and self._ended[name].why]
            free = self._cores - sum(running.cores for running, _ in self._running.values())
            if failed:
                self._leave_out(stage, f"it was not run, as {' and '.join(failed)} failed")
            elif time.monotonic() > self._end:
                self._leave_out(stage, "it was not run, as no time was left")
            elif free >= min(stage.cores, self._cores):
                self._start(stage)

    def _leave_out(self, stage: Stage, why: str) -> None:
        self._waiting.remove(stage)
        self._note(Ended(stage, why))

    def _start(self, stage: Stage) -> None:
        self._waiting.remove(stage)
        log, outcome = (self._folder / f"{stage.name}.{kind}" for kind in ("log", "json"))
        self._folder.mkdir(parents=True, exist_ok=True)
        outcome.unlink(missing_ok=True)
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["bash", "-c", stage.command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=CHECKOUT,
                env={**os.environ, **environment(), "OUTCOME": str(outcome)},
                start_new_session=True,
            )
        self._running[stage.name] = stage, process
        print(f"{stage.name} …", flush=True)
        threading.Thread(
            target=self._wait_for, args=(stage, process, log, outcome), daemon=True
        ).start()

    def _wait_for(
        self, stage: Stage, process: subprocess.Popen[bytes], log: Path, outcome: Path
    ) -> None:
        """Tell the queue how a stage ended. Blocks, and so has a thread of its own."""
        begun = time.monotonic()
        seconds = min(60 * stage.minutes, max(0.0, self._end - begun))
        with _time_limit(process, seconds) as over:
            _, status, used = os.wait4(process.pid, 0)  # Says what the children used, unlike Popen.
        process.returncode = os.waitstatus_to_exitcode(status)
        showed = Outcome.read(outcome)
        why = ""
        if over.is_set():
            why = f"it was ended after {seconds / 60:.1f} minutes"
        elif process.returncode:
            why = f"its exit code is {process.returncode}"
        elif showed and not showed.passed:
            why = "no test was run"
        elif showed and showed.skipped and not self._skips:
            why = f"{showed.skipped} tests were skipped: what they need did not start"
        self._done.put(
            Ended(
                stage,
                why,
                time.monotonic() - begun,
                used.ru_utime + used.ru_stime,
                log,
                showed or NOTHING,
            )
        )

    def _note(self, ended: Ended) -> None:
        self._running.pop(ended.stage.name, None)
        self._ended[ended.stage.name] = ended
        print(f"{ended.stage.name}: {ended.why or 'passed'}, {ended.seconds:.0f} s", flush=True)


@contextmanager
def _time_limit(process: subprocess.Popen[bytes], seconds: float) -> Iterator[threading.Event]:
    """End a process, with all that it started, after so many seconds. Yields what is set then."""
    over, done = threading.Event(), threading.Event()

    def watch() -> None:
        if not done.wait(seconds):
            over.set()
            _signal(process, signal.SIGTERM)
            if not done.wait(GRACE):
                _signal(process, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield over
    finally:
        done.set()


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # It has just ended.
        os.killpg(process.pid, number)


def report(ended: Sequence[Ended]) -> Iterator[str]:
    """What the end of a run says. The list of all that failed stands last: of long output often the
    end alone is kept."""
    for end in ended:
        for kind, tests in (("FLAKY", end.outcome.flaky), ("FAILED", end.outcome.failed)):
            for test, said in tests.items():
                yield f"\n==== {kind}: {test}, of {end.stage.name}\n{said.strip()}"
        if end.failed and end.log and not end.outcome.failed:
            lines = end.log.read_text(errors="replace").splitlines()[-SHOWN:]
            yield "\n".join([f"\n==== the end of {end.log}", *lines])
    yield from ("", f"{'stage':20} {'seconds':>8} {'processor':>9}  result")
    for end in ended:
        result = "FAILED" if end.failed else "passed"
        yield f"{end.stage.name:20} {end.seconds:8.0f} {end.processor:9.0f}  {result}"
    flaky = [f"  {end.stage.name}: {test}" for end in ended for test in end.outcome.flaky]
    failed = [f"  {end.stage.name}: {reason}" for end in ended for reason in _reasons(end)]
    if flaky:
        yield from ("\nFLAKY: failed once, and passed when they were run again, alone:", *flaky)
    yield from ("\nFAILED:", *failed) if failed else ("\nAll stages passed.",)


def _reasons(ended: Ended) -> Iterator[str]:
    """Why a stage failed: its failed tests, and rooms over their budgets, if there are any."""
    yield from ended.outcome.failed
    yield from ended.outcome.over_budget
    if ended.failed and not ended.outcome.failed and not ended.outcome.over_budget:
        yield ended.why
