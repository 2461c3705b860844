"""What goes wrong in the cloud: faults, and the rules that say when.

    Faults(
        Rule("RunInstances", lost(), times=1),  # the next launch works, and nobody hears of it
        Rule("RunInstances", error("InsufficientInstanceCapacity"), where={"InstanceType": "t3.*"}),
        Rule("*", delay(2.0), probability=0.2),
        lag=5.0,  # what is described is five seconds old
    )

Each call meets the first rule that fits it. Chance is drawn from the seed, the action and how many
calls of that action there were before: the same calls meet the same faults, however calls of
different actions fall among each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from random import Random
from typing import Any

BOOT = "Boot"
"""An instance boots, after a launch or a start. It can be delayed, hang (a machine that runs, and
on which nothing ever starts), be cut (it ends by itself), or fail with an error: it goes from
pending to terminated at once, with the error's code as its StateReason's."""

CAPACITY = "Capacity"
"""An instance is to be launched, by RunInstances or for an override of CreateFleet. An error is
the answer to the one, and among the errors of the other; `where` knows `InstanceType`, `SubnetId`
and `Market`, which is `spot` or `on-demand`."""

METADATA = "Metadata"
"""An instance asks for its metadata; `where` knows `Path` and `InstanceId`. It can be delayed,
hang, be cut, or get an error, whose code is a number: the HTTP status."""

NO_CALLS = (BOOT, CAPACITY, METADATA)
"""The actions that are no calls: only rules speak of them that name them."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    `kind` is one of

    - `delay`: the call is carried out `seconds` late.
    - `slow`: the call is carried out, and answered `seconds` late.
    - `error`: the call is not carried out, and answered with `code`.
    - `lost`: the call is carried out, and the connection is cut instead of an answer.
    - `cut`: the connection is cut, and the call is not carried out.
    - `hang`: the call is not carried out, and nothing is ever answered.
    - `hold`: the call waits for the test before it is carried out (see `Cloud.held`).
    - `hold-answer`: the call is carried out, and its answer waits for the test.
    - `stale`: what is described is `seconds` old.
    - `partial`: each instance lacks in what is described, with probability `share`.
    - `forget`: the call's ClientToken is forgotten before the call is carried out.
    """

    kind: str
    seconds: float = 0.0
    code: str = ""
    share: float = 0.0


def delay(seconds: float) -> Fault:
    """The call is carried out so much later."""
    return Fault("delay", seconds)


def slow(seconds: float) -> Fault:
    """The answer comes so much later."""
    return Fault("slow", seconds)


def error(code: str) -> Fault:
    """The call is answered with an error, and not carried out."""
    return Fault("error", code=code)


def lost() -> Fault:
    """The call is carried out; its answer is lost."""
    return Fault("lost")


def cut() -> Fault:
    """The connection ends before the call is carried out."""
    return Fault("cut")


def hang() -> Fault:
    """Nothing happens, and nothing is answered."""
    return Fault("hang")


def hold() -> Fault:
    """The call waits for the test before it is carried out."""
    return Fault("hold")


def hold_answer() -> Fault:
    """The call is carried out; its answer waits for the test."""
    return Fault("hold-answer")


def stale(seconds: float) -> Fault:
    """The description is so old."""
    return Fault("stale", seconds)


def partial(share: float) -> Fault:
    """Each instance lacks in the description with this probability."""
    return Fault("partial", share=share)


def empty() -> Fault:
    """No instance is in the description."""
    return partial(1.0)


def forget() -> Fault:
    """The call's ClientToken was forgotten: it launches once more."""
    return Fault("forget")


@dataclass(frozen=True)
class Rule:
    """When a fault happens.

    :param action: the calls' name, or a pattern of names (`Describe*`), or one of `NO_CALLS`.
    :param where: parameters, as the query has them (`InstanceType`, `SubnetId`), and patterns that
        their values must match.
    :param probability: for each call that fits.
    :param times: how often it happens at most; None for always.
    """

    action: str
    fault: Fault
    where: Mapping[str, str] = field(default_factory=dict)
    probability: float = 1.0
    times: int | None = None

    def fits(self, action: str, parameters: Mapping[str, str]) -> bool:
        """Whether it speaks of this call; of what is no call only one speaks that names it."""
        exactly = action in NO_CALLS
        named = self.action == action if exactly else fnmatchcase(action, self.action)
        return named and all(
            fnmatchcase(parameters.get(name, ""), pattern) for name, pattern in self.where.items()
        )


class Faults:
    """The rules that hold now. Replace them while the cloud runs: `cloud.faults = Faults(…)`.

    :param lag: seconds by which every description is behind: until then a new instance is unknown,
        and one that has ended is still described as it was.
    """

    def __init__(self, *rules: Rule, lag: float = 0.0) -> None:
        self.lag = lag
        self._rules = list(rules)

    @property
    def rules(self) -> tuple[Rule, ...]:
        """What is left of them."""
        return tuple(self._rules)

    def add(self, *rules: Rule) -> None:
        """Put rules in front of all others."""
        self._rules[:0] = rules

    def take(self, action: str, parameters: Mapping[str, str], chance: Random) -> Fault | None:
        """What happens to this call; a rule that holds a number of times is used up by it."""
        for number, rule in enumerate(self._rules):
            if not rule.fits(action, parameters):
                continue
            if rule.probability < 1.0 and chance.random() >= rule.probability:
                continue
            if rule.times == 1:
                del self._rules[number]
            elif rule.times:
                self._rules[number] = replace(rule, times=rule.times - 1)
            return rule.fault
        return None


class Chances:
    """Random numbers for the calls, by a seed, an action and the number of the call."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._calls: Counter[str] = Counter()

    def next(self, action: str) -> Random:
        """The numbers for the next call of `action`."""
        self._calls[action] += 1
        return Random(f"{self.seed}:{action}:{self._calls[action]}")


def everything(probability: float, actions: Iterable[str] = ("*",)) -> list[Rule]:
    """Rules by which each call fails, is late, loses its answer or is cut off with `probability`,
    and as many boots go wrong."""
    calls = (
        error("RequestLimitExceeded"),
        error("InternalError"),
        lost(),
        cut(),
        delay(0.5),
        slow(0.5),
    )
    return [
        *_shared(BOOT, (cut(), hang(), delay(2.0)), probability),
        *(rule for action in actions for rule in _shared(action, calls, probability)),
    ]


def _shared(action: str, kinds: Sequence[Fault], probability: float) -> list[Rule]:
    """Rules that are tried in turn, each with the same share of the whole."""
    share = probability / len(kinds)
    return [
        Rule(action, kind, probability=share / (1 - share * number))
        for number, kind in enumerate(kinds)
    ]


def parse(rules: Iterable[Mapping[str, Any]]) -> list[Rule]:
    """Rules from JSON or TOML: `{action = "RunInstances", kind = "lost", times = 1}`."""
    return [
        Rule(
            rule.get("action", "*"),
            Fault(
                rule["kind"],
                float(rule.get("seconds", 0.0)),
                rule.get("code", ""),
                float(rule.get("share", 0.0)),
            ),
            rule.get("where", {}),
            float(rule.get("probability", 1.0)),
            rule.get("times"),
        )
        for rule in rules
    ]
