"""What is measured: the people, the lines they send, and how the figures come about."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from tests.bench.processes import Failed, Running, Tool

CIRCLES = 5
SIZE = 11
"""Five circles of eleven people, in each of which all are friends: everybody has ten of them."""

POSTS = 10
"""What each has posted before the measuring begins."""

TEXT = "It is a truth universally acknowledged that a benchmark must be in want of a message."

PASSWORD = "correct-horse-battery-staple"


@dataclass(frozen=True)
class Pace:
    """So many rounds, each of `echo` seconds of echo and then `command` seconds of the command.

    A service that has been measured for `limit` seconds gets one round of what is left.
    """

    rounds: int
    echo: float
    command: float
    limit: float


@dataclass(frozen=True)
class Figures:
    """One line of the table.

    Times are in ms. `ratio` is the rate as a share of the echo's, the middle one of the rounds'
    `ratios`. `cpu` is what the service's processes use for a command, in µs of one processor, and
    `cpu_ratio` that as a multiple of the echo's: unlike rates and times it hardly depends on what
    else the machine does.
    """

    command: str
    connections: int
    kind: str
    rate: float
    p50: float
    p99: float
    echo_rate: float
    ratio: float
    ratios: tuple[float, ...]
    cpu: float
    cpu_ratio: float
    measured: int
    failed: int
    failure: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Person:
    """Somebody who is online."""

    name: str
    circle: int
    token: str


class Bench:
    """Measures the service whose login server is `login`, with `echo` beside it."""

    def __init__(self, load: Tool, login: Running, echo: Running, pace: Pace) -> None:
        self._load = load
        self._login = login
        self._echo = echo
        self._pace = pace
        self._limit = time.monotonic() + pace.limit
        self._app = 0
        self._people: list[Person] = []

    def measure(self, connections: Sequence[int], only: Sequence[str] | None) -> Iterator[Figures]:
        """All figures, as they come."""
        self._prepare()
        for command, port, line in self._commands():
            if only and command not in only:
                continue
            if command == "send":
                yield from (self._event(number) for number in connections)
            for fresh in (False, True):
                for number in connections:
                    lines = [line(connection) for connection in range(number)]
                    yield self._figures(command, port, lines, fresh)

    def _commands(self) -> Iterator[tuple[str, int, Callable[[int], str]]]:
        """Each command, with the port where it is served and the line of each connection."""
        people, authors = self._people[SIZE:], self._people[:SIZE]

        def by(template: str, who: Sequence[Person] = people) -> Callable[[int], str]:
            def line(connection: int) -> str:
                person = who[connection % len(who)]
                return template.format(
                    user=person.token,
                    name=person.name,
                    friend=self._friend(person).name,
                    group=f"group{person.circle}",
                )

            return line

        yield "ping", self._app, by("ping")
        yield "list-friend", self._app, by("list-friend {user}")
        yield "receive-post", self._app, by("receive-post {user}")
        # Nobody among those who receive posts is a friend of an author: their list stays as it is.
        yield "post", self._app, by("post {user} " + TEXT, authors)
        yield "send", self._app, by("send {user} {friend} " + TEXT)
        yield "send-group", self._app, by("send-group {user} {group} " + TEXT)
        yield "register", self._login.port, by("register new{{}} " + PASSWORD)
        yield "login", self._login.port, by("login {name} " + PASSWORD)

    # What there is before

    def _prepare(self) -> None:
        names = [(f"person{circle}-{n}", circle) for circle in range(CIRCLES) for n in range(SIZE)]
        self._all(self._login.port, [f"register {name} {PASSWORD}" for name, _ in names])
        replies = self._all(self._login.port, [f"login {name} {PASSWORD}" for name, _ in names])
        ports = {reply["app_server"]["port"] for reply in replies}
        if len(ports) != 1:
            raise Failed(f"not one app server but {len(ports)}")
        self._app = ports.pop()
        self._people = [
            Person(name, circle, reply["token"])
            for (name, circle), reply in zip(names, replies, strict=True)
        ]
        pairs = [
            (one, other)
            for number, one in enumerate(self._people)
            for other in self._people[number + 1 :]
            if one.circle == other.circle
        ]
        self._all(self._app, [f"invite {one.token} {other.name}" for one, other in pairs])
        self._all(self._app, [f"accept-invite {other.token} {one.name}" for one, other in pairs])
        everybody = self._people
        self._all(self._app, [f"post {each.token} {TEXT}" for each in everybody * POSTS])
        # Ten members to a group: the last of a circle stays outside.
        for circle in range(CIRCLES):
            creator, *others = [each for each in everybody if each.circle == circle]
            self._all(self._app, [f"create-group {creator.token} group{circle}"])
            self._all(self._app, [f"join-group {each.token} group{circle}" for each in others[:-1]])
        # …and sends nothing in what follows.
        self._people = [each for n, each in enumerate(everybody, 1) if n % SIZE]

    def _all(self, port: int, lines: list[str]) -> list[dict[str, Any]]:
        """Send all the lines, over a few connections, and return the replies in their order."""
        width = min(16, len(lines))
        talks = [lines[number::width] for number in range(width)]
        job = {"port": port, "talks": talks, "fresh": False, "seconds": None}
        found = self._load.ask(job)["replies"]
        replies: list[dict[str, Any]] = [
            json.loads(found[n % width][n // width]) for n in range(len(lines))
        ]
        for line, reply in zip(lines, replies, strict=True):
            if reply["status"]:
                raise Failed(f"{line.split()[0]}: {reply['message']}")
        return replies

    def _friend(self, person: Person) -> Person:
        circle = [each for each in self._people if each.circle == person.circle]
        return circle[(circle.index(person) + 1) % len(circle)]

    # Measuring

    def _figures(self, command: str, port: int, lines: list[str], fresh: bool) -> Figures:
        job = {"port": port, "talks": [[line] for line in lines], "fresh": fresh}
        kind = "a command" if fresh else "persistent"
        return self._rounds(command, len(lines), kind, job, job)

    def _event(self, connections: int) -> Figures:
        senders = [self._people[n % len(self._people)] for n in range(connections)]
        listeners = {each.name: each for each in map(self._friend, senders)}.values()
        sends = [f"send {each.token} {self._friend(each).name} {{}}" for each in senders]
        listens = [f"listen {each.token}" for each in listeners]
        job = {"port": self._app, "sends": sends, "listens": listens}
        echo = {"talks": [[line] for line in sends], "fresh": False}
        return self._rounds("send → event", connections, "persistent", job, echo)

    def _rounds(
        self, command: str, connections: int, kind: str, job: dict[str, Any], echo: dict[str, Any]
    ) -> Figures:
        """Echo and command in turns, so that a machine that is slow for a while is so for both."""
        rates: list[float] = []
        echo_rates: list[float] = []
        echoes = 0
        times: list[int] = []
        cpu = echo_cpu = 0.0
        failures: list[str] = []
        for number in range(self._pace.rounds):
            if number and time.monotonic() > self._limit:
                break
            echo_job = {**echo, "port": self._echo.port, "seconds": self._pace.echo}
            bare, bare_cpu = self._ask(self._echo, echo_job)
            done, done_cpu = self._ask(self._login, {**job, "seconds": self._pace.command})
            echoes += len(bare["times"])
            echo_cpu += bare_cpu
            cpu += done_cpu
            echo_rates.append(len(bare["times"]) / bare["seconds"])
            rates.append(len(done["times"]) / done["seconds"])
            times += done["times"]
            failures += [reply for replies in done["replies"] for reply in replies]
        times.sort()
        ratios = tuple(rate / bare for rate, bare in zip(rates, echo_rates, strict=True))
        return Figures(
            command,
            connections,
            kind,
            median(rates),
            quantile(times, 0.5),
            quantile(times, 0.99),
            median(echo_rates),
            median(ratios),
            ratios,
            cpu / len(times) * 1e6,
            cpu / len(times) / (echo_cpu / echoes),
            len(times),
            len(failures),
            failures[0] if failures else "",
        )

    def _ask(self, who: Running, job: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """The load's result, and the seconds of processor that `who` used for it."""
        before = who.cpu_seconds()
        return self._load.ask(job), who.cpu_seconds() - before


def quantile(times: Sequence[int], share: float) -> float:
    """In ms, of sorted times in µs."""
    return times[min(len(times) - 1, int(len(times) * share))] / 1000
