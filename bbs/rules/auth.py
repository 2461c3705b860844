"""Authentication of each request: whom a token belongs to, what a rule asks together with that, and
what the rule costs.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import peewee

from bbs.core.errors import NotLoggedIn
from bbs.core.values import Quotas
from bbs.rules import placement
from bbs.storage.database import read_only
from bbs.storage.models import Place, Server, Session, User
from bbs.storage.statements import Row, Statement, statement

P = ParamSpec("P")
T = TypeVar("T")

TOUCH_SHARE, MOST_SLACK = 0.01, 60.0
"""A session's last use is noted when the note would move by this share of its life, or by so many
seconds: reading commands then hardly ever write. Of too many sessions the one longest unused ends,
so that must not be one which somebody has used all along."""


DEFAULT_QUOTAS = Quotas()


@dataclass(frozen=True)
class _Answer:
    """What a question found, which was asked with these arguments."""

    question: Question[Any]
    arguments: Sequence[object]
    rows: list[Row]


@dataclass(frozen=True)
class Caller:
    """The user whose command is carried out, at `now` (seconds since the epoch).

    `channel` is the user's own: what is told there reaches the connections that listen for the
    user. `quotas` are what operators let each user have. The framework's own are `server`, by which
    the user is served, when that one is well; `touch`, the digest of a session whose last use is
    worth noting; and `answer`, to what the rule of the command asks first. `session` is the digest
    of the token, and `away` tells that the user has no place and waits for none either.
    """

    id: int
    name: str
    channel: str
    now: float
    server: str | None = None
    touch: str | None = None
    answer: _Answer | None = field(default=None, repr=False, compare=False)
    quotas: Quotas = DEFAULT_QUOTAS
    session: str = field(default="", repr=False, compare=False)
    away: bool = False


@dataclass(frozen=True)
class Sessions:
    """How long sessions live, from `[limits] session_ttl`: seconds unused. And what those may have
    whose sessions they are."""

    ttl: float
    quotas: Quotas = DEFAULT_QUOTAS

    @cached_property
    def slack(self) -> float:
        """Seconds by which the note of a session's last use may be wrong."""
        return min(self.ttl * TOUCH_SHARE, MOST_SLACK)


def digest(token: str) -> str:
    """What is stored of a token. It is random and long, so a plain hash gives nothing away."""
    return hashlib.sha256(token.encode()).hexdigest()


def _holder(token_digest: str) -> peewee.Select:
    return (
        Session.select(
            Session.used,
            User.id,
            User.name,
            User.channel,
            User.seen,
            Place.away,
            Server.id,
            Server.state,
        )
        .join(User)
        .join(Place, peewee.JOIN.LEFT_OUTER, on=(Place.user == User.id))
        .join(Server, peewee.JOIN.LEFT_OUTER, on=(Place.server == Server.id))
        .where(Session.digest == token_digest)
    )


_WIDTH = 8
"""How many columns `_holder` has; those of a question stand behind them."""

_who_holds: Statement[[str], list[Row]] = Statement(_holder, packed=True)


class Question(Generic[P]):
    """What a rule asks about its caller: `question` makes one."""

    def __init__(self, extend: Callable[Concatenate[Any, P], peewee.Select]) -> None:
        self.__doc__ = extend.__doc__
        self.name = extend.__qualname__
        extend_with: Callable[..., peewee.Select] = extend

        def of_user(user: int, *arguments: Any) -> peewee.Select:
            return extend_with(User.select(User.id).where(User.id == user), *arguments)

        def of_holder(token_digest: str, *arguments: Any) -> peewee.Select:
            return extend_with(_holder(token_digest), *arguments)

        first, *others = inspect.signature(extend).parameters.values()
        self.length = len(others)
        """How many arguments it has, the caller apart."""
        signature = inspect.Signature([first, *others])
        self._of_user: Statement[..., list[Row]] = Statement(of_user, signature)
        self.of_holder: Statement[..., list[Row]] = Statement(of_holder, signature, packed=True)
        """Finds it for the holder of a token, behind what `_holder` selects."""

    def __call__(self, caller: Caller, *arguments: P.args, **keywords: P.kwargs) -> list[Row]:
        """What is found, as tuples: known already, if it was asked together with who is asking."""
        known = caller.answer
        if known and not keywords and known.question is self and known.arguments == arguments:
            return known.rows
        return [row[1:] for row in self._of_user(caller.id, *arguments, **keywords)]


def question(extend: Callable[Concatenate[Any, P], peewee.Select]) -> Question[P]:
    """Make a question of a function that adds to a query about the caller, a row of `User` in it,
    what a rule wants to know first:

        @question
        def _at_hand(query, name):
            friend = User.alias()
            return query.select_extend(friend.id).left_outer_join(friend, on=(friend.name == name))

    It joins by outer joins, as there must be a row for the caller at least, and is called as
    `_at_hand(caller, name)`. A rule that `asks` it finds it answered.
    """
    return Question(extend)


def asks(first: Question[Any]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a rule that begins with this question, whose arguments are the first of its own behind
    the caller: the command asks it together with who is calling."""

    def mark(rule: Callable[P, T]) -> Callable[P, T]:
        rule.__bbs_asks__ = first  # type: ignore[attr-defined]
        return rule

    return mark


def asked_by(rule: Callable[..., object] | None) -> Question[Any] | None:
    """The question that `rule` is marked with."""
    return getattr(rule, "__bbs_asks__", None)


@read_only
def identify(
    token: str | None,
    sessions: Sessions,
    now: float,
    first: Question[Any] | None = None,
    arguments: tuple[Any, ...] = (),
) -> Caller:
    """Who holds `token`; with the answer to the question `first`, if there is one."""
    token_digest = digest(token or "")
    found = first.of_holder(token_digest, *arguments) if first else _who_holds(token_digest)
    if not found and first and _who_holds(token_digest):
        raise LookupError(f"{first.name} found no row for the caller: it joins by outer joins only")
    if not found or found[0][0] + sessions.ttl < now:
        raise NotLoggedIn()
    used, user, name, channel, seen, away, server, state = found[0][:_WIDTH]
    # One from the future was noted by a clock that has been set back since. A session that an app
    # server keeps alive for who listens says nothing of when its user was last there.
    noted = abs(now - used) <= sessions.slack and abs(now - (seen or 0.0)) <= MOST_SLACK
    return Caller(
        user,
        name,
        channel,
        now,
        server if state in placement.SERVING else None,
        None if noted else token_digest,
        _Answer(first, arguments, [row[_WIDTH:] for row in found]) if first else None,
        sessions.quotas,
        token_digest,
        placement.says_away(server, away),
    )


@statement
def _see(user: int, now: float) -> peewee.Update:
    return User.update(seen=now).where(User.id == user)


@statement
def _touch(token_digest: str, now: float) -> peewee.Update:
    return Session.update(used=now).where(Session.digest == token_digest)


def see(user: int, now: float) -> None:
    """Note that `user` was there."""
    _see(user, now)


def touch(user: int, token_digest: str, now: float) -> None:
    """Note that a session was used, and that its `user` was there."""
    _see(user, now)
    _touch(token_digest, now)


Price = float | Callable[[Any], float]
"""So much, or so much as follows from what the rule returned."""


@dataclass(frozen=True)
class Costs:
    """What one call costs: in `commands`, of `[limits] commands`, and in `deliveries`."""

    commands: Price = 1.0
    deliveries: Price = 0.0

    @cached_property
    def known(self) -> bool:
        """Whether all is known beforehand."""
        return not (callable(self.commands) or callable(self.deliveries))


ONE_COMMAND = Costs()


def costs(
    *, commands: Price = 1.0, deliveries: Price = 0.0
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a rule with what a call of it costs, where that is more than one command.

        @costs(deliveries=lambda sent: len(sent.readers))
        def send_group(caller, name, text): ...

    A price that follows from what the rule returned is known only when the work is done. So calls
    of such a rule are carried out one after the other for each user, and the next begins when what
    the one before it cost is there.
    """

    def mark(rule: Callable[P, T]) -> Callable[P, T]:
        rule.__bbs_costs__ = Costs(commands, deliveries)  # type: ignore[attr-defined]
        return rule

    return mark


def costs_of(rule: Callable[..., object] | None) -> Costs:
    """What `rule` is marked with."""
    found: Costs = getattr(rule, "__bbs_costs__", ONE_COMMAND)
    return found
