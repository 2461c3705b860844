"""Timers: rules that run once, at a time that another rule has set.

A timer is a row. The transaction that sets it stores the row, and the transaction that runs its
rule removes the row: whatever is killed at whatever moment, the rule takes effect once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any, NamedTuple

import peewee

from bbs.storage.database import for_update, read_only, rows
from bbs.storage.models import TIMER_NAME_LENGTH, TimerRow
from bbs.storage.statements import statement

Timed = Callable[..., object]
"""A rule that a timer runs: `rule(now, *arguments)`."""

MOST_ARGUMENTS = 60_000  # characters, all of ASCII, of a timer's arguments: a column's on MySQL

AT_ONCE = 100  # timers that are read at a time

LONGEST_PAUSE = 300.0
"""Seconds, at most, until a timer whose rule fails runs again; the first pause is one second, and
each next one twice as long."""


class Due(NamedTuple):
    """A timer whose time has come: its `id`, and the `name` under which its rule is declared."""

    id: int
    name: str


def declare_timer(name: str, rule: Timed) -> None:
    """Let `at` know by which name a rule is declared.

    :raises ValueError: the name is too long, or the rule has another one already.
    """
    known = getattr(rule, "__bbs_timer__", name)
    if known != name:
        raise ValueError(f"the rule of the timer {name} is declared as {known} already")
    if len(name) > TIMER_NAME_LENGTH:
        raise ValueError(f"a timer's name has at most {TIMER_NAME_LENGTH} characters: {name}")
    rule.__bbs_timer__ = name  # type: ignore[attr-defined]


def at(time: float, rule: Timed, *arguments: Any) -> int:
    """Have `rule(now, *arguments)` run once, at `time` or soon after it, in a transaction of its
    own. Call it in a rule: if that is undone, so is this. Returns the timer's number, for `cancel`.

    A server of the fleet looks every second. Timers that are due while no login server runs are
    carried out when one is back. A rule that raises is undone, and runs again after a second, and
    then ever later, up to five minutes.

    :param time: in seconds since the epoch, by the service's clock (`Caller.now`).
    :param rule: one of `Service(timers=…)`, or of an extension's. The rule gets the time at which
        it runs, and these arguments.
    :param arguments: numbers, texts, booleans, None, and lists and dictionaries of these, of at
        most 60,000 characters of JSON.
    :raises ValueError: `time` is not a finite number, `rule` is not declared, or JSON cannot hold
        the arguments as they are.
    """
    name = getattr(rule, "__bbs_timer__", None)
    if name is None:
        raise ValueError(f"{rule!r} is not among the timers of the service: Service(timers=…)")
    if isinstance(time, bool) or not isinstance(time, int | float) or not isfinite(time):
        raise ValueError(f"a timer needs a time in seconds since the epoch, and not {time!r}")
    return int(_set(float(time), name, _as_json(name, arguments)))


def cancel(timer: int) -> bool:
    """Have the timer with this number not run; False if it has run, or was cancelled before. Call
    it in a rule: if that is undone, so is this."""
    return bool(_remove(timer))


@read_only
def due(now: float, names: Sequence[str]) -> list[Due]:
    """Timers whose time has come, the earliest first, at most `AT_ONCE`; of rules with these names
    alone, as others are for programs of another version."""
    return [Due(*row) for row in _due(now, names, AT_ONCE)]


def run(timer: int, now: float, rule: Timed) -> None:
    """Run a timer, unless somebody else has, or it was cancelled."""
    for (arguments,) in rows(for_update(_arguments(timer))):
        _remove(timer)
        rule(now, *json.loads(arguments))


def postpone(timer: int, now: float) -> None:
    """Have a timer whose rule has failed run later."""
    own = TimerRow.id == timer
    for (tries,) in rows(TimerRow.select(TimerRow.tries).where(own)):
        pause = min(LONGEST_PAUSE, 2.0 ** min(tries, 16))
        TimerRow.update(due=now + pause, tries=tries + 1).where(own).execute()


def _as_json(name: str, arguments: Sequence[object]) -> str:
    try:
        text = json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the timer {name}: its arguments are not JSON: {error}") from error
    if json.loads(text) != [*arguments]:
        raise ValueError(f"the timer {name}: JSON changes its arguments: {arguments!r}")
    if len(text) > MOST_ARGUMENTS:
        raise ValueError(f"the timer {name}: over {MOST_ARGUMENTS} characters of arguments")
    return text


def _arguments(timer: int) -> peewee.Select:
    return TimerRow.select(TimerRow.arguments).where(TimerRow.id == timer)


@statement
def _set(due: float, name: str, arguments: str) -> peewee.Insert:
    return TimerRow.insert(due=due, name=name, arguments=arguments)


@statement
def _remove(timer: int) -> peewee.Delete:
    return TimerRow.delete().where(TimerRow.id == timer)


@statement
def _due(now: float, names: Sequence[str], most: int) -> peewee.Select:
    return (
        TimerRow.select(TimerRow.id, TimerRow.name)
        .where((TimerRow.due <= now) & TimerRow.name.in_(names))
        .order_by(TimerRow.due, TimerRow.id)
        .limit(most)
    )
