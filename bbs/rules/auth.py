"""Authentication of each request: the user of a token, the question that a rule adds to that query,
and the costs of the rule."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Concatenate, Generic, NamedTuple, ParamSpec, Protocol, TypeVar

import peewee

from bbs.core.errors import NotLoggedIn
from bbs.core.former import Quotas
from bbs.rules import placement
from bbs.storage.database import read_only
from bbs.storage.models import Place, Server, Session, User
from bbs.storage.statements import Row, Statement, statement

P = ParamSpec("P")
T = TypeVar("T")

TOUCH_SHARE, MOST_SLACK = 0.01, 60.0
"""A session's last use is stored when it has changed by this share of its life, or by so many
seconds: commands that read then rarely write. If a user has too many sessions, the longest unused
one ends, so a session that is in use must not seem to be that: its next use after a login of its
user, which sets `User.seen`, is stored as well."""

DEFAULT_QUOTAS = Quotas()
"""A caller that no server has found."""


@dataclass(frozen=True)
class _Answer:
    """The result of a question with these arguments."""

    question: Question[Any]
    arguments: Sequence[object]
    rows: list[Row]


class IHearers(Protocol):
    """Those who listen at an app server."""

    @property
    def somebody(self) -> bool:
        """Whether there is anybody."""


@dataclass(frozen=True)
class Caller:
    """The user whose command is carried out, at `now` (seconds since the epoch): the `id`, which is
    `User.id`, and the `name`.

    `channel` is the user's own: events on it reach the connections that listen for the user.
    `quotas` is `[limits]` of the configuration, with the keys that the service adds
    (`Service.limits`). The others are for the framework: `server` serves the
    user, or None if it does not run; `touch` is the digest of a session whose last use must be
    stored; `answer` is the result of the rule's first question; `session` is the digest of the
    token; `away` says that the user has no place and waits for none; `hearers` are those who listen
    at the app server that carries the command out, if it is one.
    """

    id: int
    name: str
    channel: str
    now: float
    server: str | None = None
    touch: str | None = None
    answer: _Answer | None = field(default=None, repr=False, compare=False)
    quotas: Any = DEFAULT_QUOTAS
    session: str = field(default="", repr=False, compare=False)
    away: bool = False
    hearers: IHearers | None = field(default=None, repr=False, compare=False)

    @property
    def has_hearers(self) -> bool:
        """False if nobody listens at the app server that carries the command out."""
        return self.hearers is None or self.hearers.somebody


@dataclass(frozen=True)
class Sessions:
    """The seconds that sessions live unused (`[limits] session_ttl`), and the limits of users."""

    ttl: float
    quotas: Any = DEFAULT_QUOTAS

    @cached_property
    def slack(self) -> float:
        """Seconds by which the stored last use of a session may be wrong."""
        return min(self.ttl * TOUCH_SHARE, MOST_SLACK)


def digest(token: str) -> str:
    """The hash of a token, which is stored. Tokens are random and long, so a plain hash is safe."""
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


_WIDTH = 8  # The number of columns of `_holder`; those of a question follow.

_find_holder: Statement[[str], list[Row]] = Statement(_holder, packed=True)


class Question(Generic[P]):
    """A query of a rule about its caller; `question` makes one."""

    def __init__(self, extend: Callable[Concatenate[Any, P], peewee.Select]) -> None:
        self.__doc__ = extend.__doc__
        self.name = extend.__qualname__
        self.extend = extend
        extend_with: Callable[..., peewee.Select] = extend

        def of_user(user: int, *arguments: Any) -> peewee.Select:
            return extend_with(User.select(User.id).where(User.id == user), *arguments)

        def of_holder(token_digest: str, *arguments: Any) -> peewee.Select:
            return extend_with(_holder(token_digest), *arguments)

        first, *others = inspect.signature(extend).parameters.values()
        self.length = len(others)  # The number of its arguments without the caller.
        signature = inspect.Signature([first, *others])
        self._of_user: Statement[..., list[Row]] = Statement(of_user, signature)
        self.of_holder: Statement[..., list[Row]] = Statement(of_holder, signature, packed=True)
        """The query for the holder of a token, with the columns of `_holder` first."""

    def __call__(self, caller: Caller, *arguments: P.args, **keywords: P.kwargs) -> list[Row]:
        """Return the rows, as tuples; without a query, if `identify` has found them already."""
        known = caller.answer
        if known and not keywords and known.question is self and known.arguments == arguments:
            return known.rows
        return [row[1:] for row in self._of_user(caller.id, *arguments, **keywords)]

    def each(self, calls: Sequence[tuple[Any, ...]]) -> list[list[Row]]:
        """Return the rows for each of several callers, with the arguments, by one query at most."""
        if all(known and known.question is self for known in [call[0].answer for call in calls]):
            return [self(*call) for call in calls]  # type: ignore[call-arg]
        found = self._of_user.each([(caller.id, *arguments) for caller, *arguments in calls])
        return [[row[1:] for row in rows] for rows in found]


def question(extend: Callable[Concatenate[Any, P], peewee.Select]) -> Question[P]:
    """Make a question of a function, `extend`, that extends a query with one row of `User`, the
    caller's, by what a rule needs first:

        @question
        def _at_hand(query, name):
            friend = User.alias()
            return query.select_extend(friend.id).left_outer_join(friend, on=(friend.name == name))

    Use outer joins only, as at least one row must remain for the caller. Call it as
    `_at_hand(caller, name)`. For a rule that `asks` it, that call needs no query.
    """
    return Question(extend)


def asks(first: Question[Any]) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a rule that begins with this question. The question's arguments must be the rule's first
    ones after the caller: one query then finds the caller and the answer."""

    def mark(rule: Callable[P, T]) -> Callable[P, T]:
        rule.__bbs_asks__ = first  # type: ignore[attr-defined]
        return rule

    return mark


def asked_by(rule: Callable[..., object] | None) -> Question[Any] | None:
    """The question that `rule` is marked with, if any."""
    return getattr(rule, "__bbs_asks__", None)


class Asked(NamedTuple):
    """What one request says of its user: the `token`, at `now` (seconds since the epoch), and the
    arguments of its rule's first question; and who listens here."""

    token: str | None
    now: float
    arguments: tuple[Any, ...] = ()
    hearers: IHearers | None = None


@read_only
def identify(
    token: str | None,
    sessions: Sessions,
    now: float,
    first: Question[Any] | None = None,
    arguments: tuple[Any, ...] = (),
    hearers: IHearers | None = None,
) -> Caller:
    """Find the user of `token`, with the answer to the question `first`, if there is one;
    NotLoggedIn if the token is missing or unknown, or its session has expired."""
    token_digest = digest(token or "")
    found = first.of_holder(token_digest, *arguments) if first else _find_holder(token_digest)
    asked = Asked(token, now, arguments, hearers)
    caller = _caller(asked, token_digest, found, sessions, first)
    if isinstance(caller, NotLoggedIn):
        raise caller
    return caller


def identify_each(
    asked: Sequence[Asked], sessions: Sessions, first: Question[Any] | None = None
) -> list[Caller | NotLoggedIn]:
    """Find the users of several tokens by one query, each as `identify` does."""
    digests = [digest(each.token or "") for each in asked]
    find = first.of_holder if first else _find_holder
    calls = zip(digests, asked, strict=True)
    found = find.each([(token_digest, *each.arguments) for token_digest, each in calls])
    return [
        _caller(each, token_digest, rows, sessions, first)
        for each, token_digest, rows in zip(asked, digests, found, strict=True)
    ]


def _caller(
    asked: Asked,
    token_digest: str,
    found: list[Row],
    sessions: Sessions,
    first: Question[Any] | None,
) -> Caller | NotLoggedIn:
    now = asked.now
    if not found and first and _find_holder(token_digest):
        raise LookupError(f"{first.name} found no row for the caller: use outer joins only")
    if not found or found[0][0] + sessions.ttl < now:
        return NotLoggedIn()
    used, user, name, channel, seen, away, server, state = found[0][:_WIDTH]
    # A time far in the future was stored by a clock that was set back since. An app server keeps
    # the sessions of listeners alive: their last use is not when their users were last seen.
    earliest = max(now - sessions.slack, seen or 0.0)
    noted = abs(now - (seen or 0.0)) <= MOST_SLACK and earliest <= used <= now + MOST_SLACK
    return Caller(
        user,
        name,
        channel,
        now,
        server if state in placement.SERVING else None,
        None if noted else token_digest,
        _Answer(first, asked.arguments, [row[_WIDTH:] for row in found]) if first else None,
        sessions.quotas,
        token_digest,
        server is None and bool(away),  # As `placement.is_row_away` has it.
        asked.hearers,
    )


@statement
def note_seen(user: int, now: float) -> peewee.Update:
    """Store that `user` was seen `now`."""
    return User.update(seen=now).where(User.id == user)


@statement
def _times(token_digest: str) -> peewee.Select:
    return Session.select(Session.used, User.seen).join(User).where(Session.digest == token_digest)


@statement
def _note_used(token_digest: str, used: float) -> peewee.Update:
    return Session.update(used=used).where(Session.digest == token_digest)


def touch(user: int, token_digest: str, now: float) -> None:
    """Store that a session was used, and its `user` seen.

    The stored last use is not before the user's last login, even if the login server's clock is
    ahead. `User.seen` stays if it is right to a minute: otherwise two sessions in use
    would each be behind it after every touch of the other.
    """
    for used, seen in _times(token_digest):
        if not _is_near(seen, now):
            note_seen(user, now)
            seen = now
        # The session of a listener is ahead, and stays so.
        _note_used(token_digest, max(now, seen, used if _is_near(used, now) else now))


def _is_near(moment: float | None, now: float) -> bool:
    """Whether a stored time is `now` to a minute."""
    return moment is not None and abs(now - moment) <= MOST_SLACK


Price = float | Callable[[Any], float]  # A fixed price, or a function of what the rule returned.

TEXT_UNIT = 1024
"""Bytes of a text that cost one more delivery. A line of a chat is far shorter, and costs what it
did before. Lines of 64 KiB at 500 deliveries a second would store 32 MB of them."""


@dataclass(frozen=True)
class Costs:
    """The costs of one call: `commands`, of `[limits] commands`, and `deliveries`."""

    commands: Price = 1.0
    deliveries: Price = 0.0
    by_text: bool = False  # The last argument is a text that is stored: see `stores_text`.
    of_text: int = 0  # Deliveries more, for a long text.
    most_commands: float = 0.0  # What a list costs at the most, if it costs nothing else.

    @cached_property
    def known(self) -> bool:
        """Whether all prices are known before the call."""
        return not (callable(self.commands) or callable(self.deliveries))

    @cached_property
    def known_commands(self) -> float:
        """The commands that are charged before the call: one if the price shows later."""
        return 1.0 if callable(self.commands) else self.commands

    @cached_property
    def known_deliveries(self) -> float:
        """The deliveries that are known before the call."""
        return self.of_text + (0.0 if callable(self.deliveries) else self.deliveries)

    def with_text(self, arguments: Sequence[object]) -> Costs:
        """The costs of a call that stores the last of its `arguments`, a text: a delivery more for
        each full `TEXT_UNIT`."""
        text = arguments[-1] if arguments else ""
        if not isinstance(text, str):
            return self  # Of a kind of its own, which is short.
        # A character has four bytes at the most.
        more = len(text.encode()) // TEXT_UNIT if len(text) * 4 >= TEXT_UNIT else 0
        return replace(self, of_text=more) if more else self


ONE_COMMAND = Costs()


def costs(
    *, commands: Price = 1.0, deliveries: Price = 0.0
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Mark a rule with the costs of a call, if these are more than one command: how many `commands`
    and `deliveries` it counts as for the rates of these names in `[limits]`.

        @costs(deliveries=lambda sent: len(sent.readers))
        def send_group(caller, name, text): ...

    A price is a number, or a function of the rule's result. One that depends on the result is known
    only when the work is done. Therefore calls of such a rule run one after the other for each
    user, and the next begins when the price of the one before it can be paid. A list runs beside
    the user's others while the user can pay for the longest list.

    A handler of a command without a rule may be marked as well, with numbers.

    Whatever the rule says, a reply costs a command at least for each 16 KiB on the wire.
    """

    def mark(rule: Callable[P, T]) -> Callable[P, T]:
        rule.__bbs_costs__ = Costs(commands, deliveries)  # type: ignore[attr-defined]
        return rule

    return mark


def costs_of(rule: Callable[..., object] | None) -> Costs:
    """The costs that `rule` is marked with; a paged rule has a price in commands even so."""
    found: Costs = getattr(rule, "__bbs_costs__", ONE_COMMAND)
    price: Price | None = getattr(rule, "__bbs_price__", None)
    if price is not None and found.commands == ONE_COMMAND.commands:
        costs_nothing_else = found.deliveries == 0.0 and not does_store_text(rule)
        most: float = getattr(rule, "__bbs_most__", 0.0) if costs_nothing_else else 0.0
        found = replace(found, commands=price, most_commands=most)
    return replace(found, by_text=True) if does_store_text(rule) else found


def stores_text(rule: Callable[P, T]) -> Callable[P, T]:
    """Mark a rule that stores its last argument, a text that somebody wrote. A long text costs a
    delivery more for each full 1,024 bytes. While the disk is nearly full, servers refuse the
    command with `DiskFull`, so that everything else has room."""
    rule.__bbs_stores_text__ = True  # type: ignore[attr-defined]
    return rule


def does_store_text(rule: Callable[..., object] | None) -> bool:
    """Whether `rule` is marked as `stores_text`."""
    return getattr(rule, "__bbs_stores_text__", False)
