"""What `spare` costs, and what it saves: an hour of people who come by a Poisson process.

    python -m tests.simulation.arrivals [--seed N]

1,000 arrivals, sessions of ten minutes, boots of 45 s give or take 10, ten people to a server; real
keeper, rules and waiting room, a cloud without faults. Beside what was used stands the least that
could be: servers that are there the moment somebody needs one, and gone the moment nobody does.
"""

from __future__ import annotations

import argparse
from random import Random

from twisted.logger import globalLogBeginner

from bbs.storage import models
from bbs.values import Policy
from tests.simulation.people import Person
from tests.simulation.world import World

ARRIVALS = 1000
HOUR = 3600.0
SESSION = 600.0
CAPACITY = 10


class Hour(World):
    """One hour, and the ten minutes until the last has gone."""

    def __init__(self, seed: int, spare: int) -> None:
        super().__init__(seed)
        self.quiet = True
        self.cloud.lag = 2.0
        self.policy = Policy(
            minimum=1,
            maximum=40,
            spare=spare,
            capacity=CAPACITY,
            idle_grace=120.0,
            launch_timeout=180.0,
            lost_after=10.0,
        )
        self._asked: dict[str, float] = {}
        self.waits: list[float] = []
        # Its own, so that the same people come whatever else happens.
        people = Random(seed)
        self.arrivals = sorted(people.uniform(0.0, HOUR) for _ in range(ARRIVALS))

    def boot_time(self) -> float:
        """45 s, give or take 10."""
        return max(10.0, self.chance.gauss(45.0, 10.0))

    def tell(self, *words: object) -> None:
        """Measure how long one waits; a session begins where that ends."""
        what, name = str(words[0]), str(words[1])
        if what == "asks":
            self._asked.setdefault(name, self.clock.seconds())
        elif what == "sits":
            self.waits.append(self.clock.seconds() - self._asked[name])
            person = next(person for person in self.people if person.name == name)
            self.clock.callLater(SESSION, person.go)

    def live(self) -> float:
        """Let it pass; returns the hours of all instances until the last person has gone."""
        self.open_database()
        self.start_login_server()
        self.pass_time(300.0)
        begun = self.clock.seconds()
        for number, moment in enumerate(self.arrivals):
            person = Person(
                f"p{number}",
                self.clock,
                self.chance,
                self.database,
                self.any_login_server,
                self.tell,
            )
            self.people.append(person)
            self.clock.callLater(moment, person.come)
        while len(self.waits) < ARRIVALS or any(person.wants for person in self.people):
            self.pass_time(1.0)
        end = self.clock.seconds()
        self.database.close()
        models.database.initialize(None)
        return (
            sum(
                (end if machine.ended is None else machine.ended) - max(machine.created, begun)
                for machine in self.cloud.machines
                if machine.ended is None or machine.ended > begun
            )
            / 3600.0
        )

    def least(self) -> float:
        """The hours of as many instances as it takes at each moment, and never one more."""
        changes = sorted(
            [(moment, 1) for moment in self.arrivals]
            + [(moment + SESSION, -1) for moment in self.arrivals]
        )
        there, since, seconds = 0, 0.0, 0.0
        for moment, change in changes:
            seconds += -(-there // CAPACITY) * (moment - since)
            there, since = there + change, moment
        return seconds / 3600.0


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.arrivals")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False, discardBuffer=True)
    print(
        f"{'spare':>5} {'waited':>7} {'p50':>7} {'p99':>7} {'longest':>8} {'hours':>7} {'least':>7}"
    )
    for spare in (0, 5, 20):
        hour = Hour(options.seed, spare)
        used = hour.live()
        waits = sorted(hour.waits)
        waited = sum(wait > 0.0 for wait in waits)
        print(
            f"{spare:5} {waited:7} {waits[len(waits) // 2]:6.1f}s {waits[-len(waits) // 100]:6.1f}s"
            f" {waits[-1]:7.1f}s {used:7.2f} {hour.least():7.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
