"""What an attack is, how it is run, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lab.attacks.filling import LOGGING_IN

MEBIBYTE = 2**20

HOSTILE = "hostile server"
"""The dialect of what attacks clients, and not a server."""


EVERY_APP = "every app server"
"""The name of the ports of all of them."""

RETURNING = "returning"
"""The dialect of an account that is deleted and registered again."""


@dataclass(frozen=True)
class Attack:
    """One attack.

    `floods`: what attackers are told (`attacker.Flood`), with the name of a port for `port`
    (`EVERY_APP`: one flood for each app server), and `{token}` where a token belongs: that of the
    first of `users`, or of the one whose number is its `user`. They log in before it begins. What
    is fuzzed has a `dialect` (`dialects.Dialect`) instead.

    `limits` are those that defend against it: without them it works. `options` of the server,
    beside those that all have; `posts`, `crowd` and `riches`: what its database has;
    `descriptors`: how many it may have open.

    `growth`: MiB that a process may grow by while it lasts; `kept`: those that it may have more
    afterwards, where that is more than `Bounds.kept`. `crowd_ahead`: addresses whose turn to log in
    comes before an honest one's, as it lawfully does. `lead`: seconds from its beginning until the
    honest peer is measured. `newcomers`: those who log in meanwhile have never been there before,
    and servers are launched for them; `strangers`: who logs in comes from a network of their own
    each time, with the device token of their last login if they have `devices`; `names`: how many
    people log in. `logins`: ms that a login may take at p99 in place of `Bounds.login_ms`.
    `routes`: networks that the attackers' addresses are in, other than loopback; the attack has a
    network namespace of its own then. `turned_away`: the share of the honest peer's requests that
    may be. `tls`: the page is served by TLS. `patched` names what its server waits for less than
    others (`patches.HASTENED`). `shows` says what else is not as it should be.
    """

    name: str
    what: str
    floods: Sequence[Mapping[str, Any]] = ()
    limits: Sequence[str] = ()
    users: Sequence[str] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    posts: bool = False
    crowd: bool = False
    riches: bool = False
    descriptors: int | None = None
    growth: int = 128
    kept: int = 0
    crowd_ahead: int = 0
    lead: float = 0.3
    newcomers: bool = False
    strangers: bool = False
    devices: bool = False
    names: int = LOGGING_IN
    logins: float | None = None
    routes: Sequence[str] = ()
    turned_away: float = 0.0
    patched: Sequence[str] = ()
    shows: Callable[[Outcome], Sequence[str]] = lambda outcome: ()
    dialect: str = ""
    tls: bool = False

    @property
    def tool(self) -> str:
        """The process that carries it out."""
        tools = {"": "attacker", "copies": "copies", HOSTILE: "hostile", RETURNING: "returning"}
        return tools.get(self.dialect, "fuzzer")


@dataclass(frozen=True)
class Plan:
    """How an attack is run: `before` and `during` in seconds; so many fuzzed `inputs`, which take
    as long as they take, but not longer than `patience`; the limits that are taken out. A server
    has `settling` seconds at most to give back what an attack took."""

    before: float
    during: float
    seed: int
    inputs: int
    without: Sequence[str] = ()
    patience: float = 1800.0
    settling: float = 10.0


@dataclass(frozen=True)
class Bounds:
    """What honest peers may have to wait: p99 of a command on a connection that stays, and of a
    login, as a multiple of what it was before, or so many ms. Where the echo, which nobody attacks,
    takes longer than it did before, others have the machine, and its own multiple counts too."""

    command: float = 3.0
    command_ms: float = 100.0
    login: float = 5.0
    login_ms: float = 1000.0
    turns: float = 2.0
    """How often it is the turn of each address of a crowd before an honest login's."""
    kept: int = 16 * MEBIBYTE
    """Bytes that a process may have more after an attack, where a tenth is less than that: Python
    keeps what it will use again."""

    def of(self, kind: str, outcome: Outcome) -> float:
        """In ms."""
        times, least = self.command, self.command_ms
        if kind == "login":
            turns = self.turns * outcome.attack.crowd_ahead * outcome.before[kind].p50
            launch = LAUNCH if outcome.attack.newcomers else 0.0
            times, least = self.login, max(self.login_ms, turns) + launch
            if outcome.attack.logins is not None:
                least = outcome.attack.logins
        slower = outcome.during[YARDSTICK].p99 - outcome.before[YARDSTICK].p99
        return max(times * (outcome.before[kind].p99 + max(0.0, slower)), least)


LAUNCH = 10_000.0
"""ms more for whom an app server is launched, on a machine that may have much else to do."""

GOALS = Bounds()


@dataclass(frozen=True)
class Waits:
    """What the honest peer waited for one kind of request: ms."""

    p50: float
    p99: float
    most: float
    count: int

    @classmethod
    def of(cls, times: Sequence[float]) -> Waits:
        ordered = sorted(times) or [0.0]

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(len(ordered) * share))]

        return cls(at(0.5), at(0.99), ordered[-1], len(times))


KINDS = ("list-friend", "ping", "login")
YARDSTICK = "echo"


@dataclass(frozen=True)
class Memory:
    """Of one process: bytes resident before, at most, and after."""

    before: int
    most: int
    after: int


@dataclass(frozen=True)
class Outcome:
    """What came of an attack."""

    attack: Attack
    plan: Plan
    before: Mapping[str, Waits]
    during: Mapping[str, Waits]
    refused: Sequence[str]
    """What the honest peer was told instead of an answer, while it lasted."""
    floods: Sequence[Mapping[str, Any]]
    """What the attackers found, of each kind of connection."""
    memory: Sequence[Memory]
    """Of each process that was there before."""
    seconds: float
    """How long it lasted, until the honest peer had all its answers."""
    cpu: float
    """Seconds of the processors that the server used meanwhile."""
    ended: int
    """Processes that were there before and are not there any more."""
    launched: int
    """App servers that have become ready meanwhile."""
    trouble: Sequence[str]
    """What no log may have in it."""

    @property
    def share(self) -> float:
        """How much of all that was answered was the attackers'."""
        ours = sum(each.count for each in self.during.values())
        return self.answered / max(1, self.answered + ours)

    @property
    def answered(self) -> int:
        """What attackers were answered; of what is fuzzed, the inputs."""
        return sum(each.get("answered", each.get("inputs", 0)) for each in self.floods)

    @property
    def largest(self) -> Memory:
        """Of the process that has grown the most."""
        return max(self.memory, key=lambda each: each.most - each.before)

    def faults(self, bounds: Bounds = GOALS) -> list[str]:
        """What is not as it should be, in words."""
        found = []
        for kind in KINDS:
            most, waited = bounds.of(kind, self), self.during[kind].p99
            if waited > most:
                found.append(f"{kind} took {waited:.0f} ms, not {most:.0f} at most")
        asked = sum(each.count for each in self.during.values())
        if len(self.refused) > self.attack.turned_away * asked:
            found.append(f"the honest peer was refused {len(self.refused)}×: {self.refused[0]}")
        if self.ended:
            found.append(f"{self.ended} processes ended")
        for each in self.memory:
            grown = (each.most - each.before) / MEBIBYTE
            if grown > self.attack.growth:
                found.append(f"a process grew by {grown:.0f} MiB, not {self.attack.growth} at most")
            most = max(bounds.kept, self.attack.kept * MEBIBYTE, 0.1 * each.before) + each.before
            if each.after > most:
                kept = (each.after - each.before) / MEBIBYTE
                found.append(f"{kept:.0f} MiB of {each.before / MEBIBYTE:.0f} were not given back")
        if self.trouble:
            found.append(f"{len(self.trouble)}× trouble in the logs: {self.trouble[0]}")
        return [*found, *self.attack.shows(self)]
