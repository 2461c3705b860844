"""What a zone costs that fails: launches into it, and how long people are without a place.

    python -m lab.simulation.zones [--seeds 20] [--seed 1] [--jobs 2]

Prints a table as Markdown. The fleet is in two zones, on a cloud without other faults; people come
and go all the time, and now and then a machine ends by itself. Then one zone fails for half an
hour: it is `dead` (it accepts launches and boots nothing), `slow` (boots take five times as long),
or it `dies` (so do all machines in it, and it is dead from then on). Each also with Spot instances,
and as it is without the memory of pools and the hedge.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from statistics import quantiles
from unittest import mock

from twisted.logger import globalLogBeginner

from bbs.config import EC2
from bbs.core.values import Policy
from bbs.scaling.demand import DemandTracker
from bbs.scaling.pools import PoolMemory
from lab.simulation.checks import without_a_place
from lab.simulation.cloud import Machine
from lab.simulation.fleet import people_of
from lab.simulation.world import World

FAILURES = ("dead", "slow", "dies")
ZONES = ("subnet-a", "subnet-b")
PEOPLE, SETTLES = 40, 900.0  # People in all; seconds before a zone fails.
LASTS = 1800.0  # Seconds for which it fails.
SLOWER = 5.0
COMES, ENDS = 20.0, 240.0  # Seconds between people who come or go, and machines that end by chance.
STEP = 1.0  # Seconds between looks at who has no place.

POLICY = Policy(
    minimum=2,
    maximum=20,
    spare=4,
    capacity=4,
    idle_grace=60.0,
    launch_timeout=120.0,
    lost_after=10.0,
)


@dataclass(frozen=True)
class Trial:
    """One failure of a zone. `protected`: pools are remembered, and late launches hedged."""

    failure: str
    spot: bool
    protected: bool
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Launches into the zone within a `launch_timeout` of the first one, and after that; launches
    in all; people without a place at once at the most; the seconds for which the first and the
    longest time lasted in which somebody had none; and the 95th percentile of boots before."""

    first: int
    later: int
    launches: int
    without: int
    seconds: float
    longest: float
    prompt: float


class ZoneWorld(World):
    """A fleet in two zones, of which one fails."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        super().__init__(trial.seed)
        self.bad = self.chance.choice(ZONES)
        self.outcome: Outcome | None = None

    def _a_policy(self, most: int = 6) -> Policy:
        return POLICY

    def _a_config(self) -> EC2:
        types = ("t3.micro", "t3.small")
        return EC2(
            region="nowhere",
            image_id="ami-1",
            instance_type=types,
            subnet_ids=ZONES,
            spot=self.trial.spot,
        )

    def _begin(self) -> None:
        fleet = self.first
        fleet.open_database()
        fleet.people = people_of(fleet, [f"p{number}" for number in range(PEOPLE)], self.chance)
        self.cloud.lag = 2.0
        self.cloud.knowing = 1.0
        self.troubles = Calm()  # type: ignore[assignment]
        self.quiet = True  # Login servers do not die.
        for _ in range(2):
            fleet.start_login_server()

    def _quiet(self) -> None:
        for person in self.people[: PEOPLE // 2]:
            person.come()
        self._change_later()
        self._end_later()
        self.pass_time(SETTLES)
        boots = [m.reported - m.created for m in self.cloud.machines if m.reported is not None]
        began, before = self._now, len(self.cloud.machines)
        self._fail()
        self.tell("zone", self.bad, self.trial.failure)
        spells, most, since = [], 0, None
        while self._now < began + LASTS:
            self.pass_time(STEP)
            count = len(without_a_place(self.first))
            most = max(most, count)
            if count and since is None:
                since = self._now - STEP
            elif not count and since is not None:
                spells.append(self._now - since)
                since = None
        if since is not None:
            spells.append(self._now - since)
        launched = self.cloud.machines[before:]
        into = [m for m in launched if m.subnet_id == self.bad]
        once = (into[0].created if into else 0.0) + POLICY.launch_timeout
        first = [m for m in into if m.created < once]
        prompt = quantiles(boots, n=20, method="inclusive")[-1]
        self.outcome = Outcome(
            len(first),
            len(into) - len(first),
            len(launched),
            most,
            spells[0] if spells else 0.0,
            max(spells, default=0.0),
            prompt,
        )

    def _fail(self) -> None:
        cloud = self.cloud
        if self.trial.failure == "slow":
            cloud.slow_zones[self.bad] = SLOWER
            return
        cloud.dead_zones.add(self.bad)
        if self.trial.failure == "dies":
            for machine in cloud.alive():
                machine.frozen = machine.subnet_id == self.bad

    def _change_later(self) -> None:
        self.clock.callLater(self.chance.expovariate(1 / COMES), self._change)

    def _change(self) -> None:
        self._change_later()
        person = self.chance.choice(self.people)
        person.go() if person.wants else person.come()

    def _end_later(self) -> None:
        self.clock.callLater(self.chance.expovariate(1 / ENDS), self._end)

    def _end(self) -> None:
        self._end_later()
        serving: list[Machine] = [
            m for m in self.cloud.alive() if m.reported is not None and not m.frozen
        ]
        if serving:
            self.cloud.end(self.chance.choice(serving))


class Calm:
    """No troubles but the zone."""

    def begin(self) -> None: ...


@contextmanager
def _unprotected() -> Iterator[None]:
    late_after = property(lambda self: float("inf"))
    with (
        mock.patch.object(PoolMemory, "doubts", lambda self: {}),
        mock.patch.object(DemandTracker, "late_after", late_after),
    ):
        yield


def run(trial: Trial) -> Outcome:
    world = ZoneWorld(trial)
    if trial.protected:
        complaints = world.run()
    else:
        with _unprotected():
            complaints = world.run()
    if complaints or world.outcome is None:
        raise AssertionError(f"{trial}: {complaints}")
    return world.outcome


def _row(label: str, found: list[Outcome]) -> str:
    def middle_and_most(values: list[float]) -> str:
        values = sorted(values)
        return f"{values[len(values) // 2]:.0f}, {values[-1]:.0f}"

    cells = [
        middle_and_most([float(each.first) for each in found]),
        middle_and_most([float(each.later) for each in found]),
        middle_and_most([float(each.launches) for each in found]),
        middle_and_most([float(each.without) for each in found]),
        middle_and_most([each.seconds for each in found]),
        middle_and_most([each.longest for each in found]),
        middle_and_most([2 * each.prompt for each in found]),
    ]
    return f"| {label} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lab.simulation.zones")
    parser.add_argument("--seeds", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="the first (%(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    options = parser.parse_args()
    seeds = range(options.seed, options.seed + options.seeds)
    print(
        "| median, most of the seeds | into it within 120 s of the first | later | launches |"
        " people without a place | s until all have one | s, longest | boot p95 × 2 |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    labels: Mapping[bool, str] = {True: "", False: ", unprotected"}
    with ProcessPoolExecutor(options.jobs, initializer=_silence) as pool:
        for failure, spot, protected in product(FAILURES, (False, True), (True, False)):
            trials = [Trial(failure, spot, protected, seed) for seed in seeds]
            label = f"{failure}{', Spot' * spot}{labels[protected]}"
            print(_row(label, [*pool.map(run, trials)]), flush=True)
    return 0


def _silence() -> None:
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)


if __name__ == "__main__":
    sys.exit(main())
