"""The rows of app servers: how they are read, and how one is added."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import peewee

from bbs.core.addresses import Address
from bbs.core.values import REBALANCE, Cause, DrainCause, LossCause, State
from bbs.storage import models
from bbs.storage.database import read_only, rows
from bbs.storage.models import HeartbeatRow, LoginServer, Server
from bbs.storage.statements import Row, statement

OPERATOR = "operator"  # The scope of servers that an operator runs by hand.
FEW = 128  # Rows at most that are read by their ids; instead of more, all rows are read.
NOT_RUNNING = (State.WARM, State.GONE)  # Their machines do not run, or soon will not.
DEATHS = (LossCause.SILENT, LossCause.ENDED)  # How a server dies that has not said that it stops.
CONNECTED = "connected"  # The figure of an app server that counts its listeners.

SPARE, MOVED = "spare", "moved"
"""The figures of the login server that controls the fleet: how many places it keeps free, and how
many users it has moved for consolidation."""

FOLLOWS, FLEET_ONLY = "follows", "fleet_only"
"""The figures of a login server that never controls the fleet, and of a process that does nothing
else."""


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """An app server's row (see `bbs.storage.models.Server`), without the columns that each
    heartbeat changes. A `cause` that only a newer version knows is None."""

    id: str
    state: State
    scope: str
    host: str | None
    port: int | None
    capacity: int
    taken: int
    created: float
    ready: float | None
    leaving: bool
    drain_asked: bool
    reason: str
    cause: Cause | None = None
    instance_id: str | None
    kind: str | None
    warned: str | None = None
    shelved: bool = False
    way: str | None = None
    trace: str = ""
    version: str = ""
    replace_asked: bool = False

    @classmethod
    def of(cls, row: Server) -> ServerRow:
        return ServerRow(**_named([getattr(row, name) for name in _NAMES]))

    @property
    def provider(self) -> str:
        """The kind of provider that launched it, "" for a launch that is not adopted yet."""
        return self.scope.partition(":")[0]

    @property
    def launcher(self) -> str:
        """The identity in its scope of the process with which it ends, if there is one."""
        return self.scope.partition(":")[2]

    @property
    def address(self) -> str | None:
        """The address at which users reach it, None until it has reported."""
        return str(Address(self.host or "", self.port)) if self.port else None

    @property
    def launch_time(self) -> float | None:
        """Seconds from the decision to launch it until it was ready."""
        return None if self.ready is None else max(0.0, self.ready - self.created)

    @property
    def has_yet_to_serve(self) -> bool:
        """Whether it was launched for users, and has never been ready."""
        return self.ready is None and not self.shelved

    @property
    def free(self) -> int:
        """Places that users can take now."""
        return max(0, self.capacity - self.taken) if self.state is State.READY else 0


def explain(row: ServerRow) -> str:
    """Say why a server drains, is lost or has ended, as the predicate of a sentence about it; "" in
    another state. Everybody may read it: no provider is quoted on a failed launch."""
    if row.state is State.LOST and not isinstance(row.cause, DrainCause):
        return _loss(row)
    verb = _VERBS.get(row.state, "")
    if not verb or row.cause is None:
        return verb
    if isinstance(row.cause, LossCause):
        return f"{verb}: it {_loss(row)}"
    if row.cause in (
        DrainCause.WARNED,
        DrainCause.RECOMMENDED,
    ):  # By the provider, whose warning the reason quotes.
        return f"{verb}: {row.reason or 'its provider takes it away'}"
    return f"{verb}: {_WHY_DRAINED[row.cause]}"


def _loss(row: ServerRow) -> str:
    _, _, detail = row.reason.partition(": ")
    if row.cause is LossCause.ENDED and detail.startswith(_KILLED):
        return f"was killed ({detail.removeprefix(_KILLED)})"
    if row.cause is LossCause.ENDED:
        return f"ended by itself ({detail})" if detail else "ended by itself"
    if row.cause is LossCause.SILENT:
        return f"gave no sign of life {row.reason.removeprefix('silent ')}".rstrip()
    return _LOST.get(row.cause, "is lost")


_VERBS = {
    State.DRAINING: "drains (takes nobody new)",
    State.LOST: "is being ended",  # It stood by, and is lost so that nobody starts it meanwhile.
    State.GONE: "has ended",
}

_KILLED = "killed by "  # How `bbs.scaling.local` begins to say which signal ended a process.

_LOST: Mapping[Cause | None, str] = {
    LossCause.LEFT: "said that it stops",
    LossCause.FAILED: "could not be launched",
    LossCause.LATE: "was not ready in time",
    LossCause.REFUSED: "could not be launched: the provider refused it",
    LossCause.UNSTARTABLE: "could not be started again",
}
_WHY_DRAINED: Mapping[Cause, str] = {
    DrainCause.OPERATOR: "an operator asked for it",
    DrainCause.IDLE: "nobody was on it, and it was not needed",
    DrainCause.CONSOLIDATION: "its people fit on other servers",
    DrainCause.REPLACEMENT: "another takes its place",
    DrainCause.OUTDATED: "it stood by with another version",
    DrainCause.SURPLUS: "more servers stood by than fleet.warm asks for",
    DrainCause.UNSTOPPABLE: "it was to stand by, and its machine did not stop",
}


@dataclass(frozen=True, kw_only=True)
class HeardServer(ServerRow):
    """A server's row with its last heartbeat, for pages; the controller does not need these."""

    beats: int
    counts: Mapping[str, int]
    figures: Mapping[str, int] = field(default_factory=dict)

    @property
    def connected(self) -> int | None:
        """The number of its listeners, by its last heartbeat; None for an older version."""
        return self.figures.get(CONNECTED)


def _named(values: Iterable[Any]) -> dict[str, Any]:
    """The values of a row by name, with enum members where a column has them."""
    named = dict(zip(_NAMES, values, strict=True))
    named["state"] = State(named["state"])
    named["cause"] = _CAUSES.get(named["cause"])
    return named


_CAUSES: Mapping[str, Cause] = {
    cause.value: cause for causes in (DrainCause, LossCause) for cause in causes
}
_NAMES = [each.name for each in fields(ServerRow)]
_COLUMNS: tuple[Any, ...] = tuple(getattr(Server, name) for name in _NAMES)
_FLAGS = [column.name for column in _COLUMNS if isinstance(column, peewee.BooleanField)]


def with_heartbeats(query: Any, model: type[Server] | type[LoginServer]) -> peewee.Select:
    """Add the heartbeats of `model`'s rows to `query`, for `beats_of` and `heard`."""
    joined: peewee.Select = query.join(
        HeartbeatRow, peewee.JOIN.LEFT_OUTER, on=(HeartbeatRow.server == model.id)
    )
    return joined


def beats_of(model: type[Server] | type[LoginServer]) -> Any:
    """The count of heartbeats. Servers of an older version count in their own rows, as does a newer
    one that reports: the sum moves with either count."""
    return model.beats + peewee.fn.COALESCE(HeartbeatRow.beats, 0)


def heard(model: type[Server] | type[LoginServer], name: str) -> Any:
    """What the last heartbeat said as `name`: `counts`, `figures`, or `logins`."""
    return peewee.fn.COALESCE(getattr(HeartbeatRow, name), getattr(model, name))


def read(query: Any) -> tuple[HeardServer, ...]:
    """Read the servers that `query` finds, which selects from their table alone."""
    counted = heard(Server, "counts"), heard(Server, "figures")
    # Straight from the driver: to make peewee's objects of thousands takes ten times as long.
    columns = query.select(*_COLUMNS, beats_of(Server), *counted)
    sql, values = with_heartbeats(columns, Server).sql()
    found = models.database.obj.carry_out(sql, values, False).fetchall()
    return tuple(map(_heard, found))


def _heard(values: Row) -> HeardServer:
    named = _named(values[: len(_NAMES)])
    beats, counts, figures = values[len(_NAMES) :]
    for name in _FLAGS:
        named[name] = bool(named[name])
    counted, figured = json.loads(counts or "{}"), json.loads(figures or "{}")
    return HeardServer(**named, beats=beats, counts=counted, figures=figured)


@dataclass(frozen=True)
class LiveServers:
    """The app servers that live, which includes lost ones that have not ended."""

    serving: Mapping[str, ServerRow]  # By id: they take users, and have no other condition.
    others: Sequence[ServerRow]  # All others.
    beats: Mapping[str, int]  # The counts of heartbeats.


def read_again(known: Mapping[str, ServerRow]) -> LiveServers:
    """Read all servers that live. For servers that still serve as when they were `known` (`serving`
    of the last look), only the columns that change in operation are read, and an unchanged server
    is the same object: most of a large fleet. Their other columns (host, provider's id) stay as
    `known`."""
    serving: dict[str, ServerRow] = {}
    beats: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for id, count, taken, asked, serves in _signs_of_life():
        row = known.get(id) if serves else None
        if row is None:
            unknown[id] = count
        else:
            beats[id] = count
            same = row.taken == taken and row.replace_asked == asked
            serving[id] = row if same else replace(row, taken=taken, replace_asked=bool(asked))
    others = []
    for *values, serves in _read_some([*unknown]):
        # A server may have gone or come between the two statements.
        if values[0] in unknown:
            row = ServerRow(**_named(values))
            beats[row.id] = unknown[row.id]
            if serves:
                serving[row.id] = row
            else:
                others.append(row)
    return LiveServers(serving, others, beats)


def read_all() -> list[ServerRow]:
    """Read all servers that live."""
    return [ServerRow(**_named(values)) for *values, _ in _all()]


def find(server: str) -> ServerRow | None:
    """Read the row of `server`; None if it does not live."""
    return next((ServerRow(**_named(values)) for *values, _ in _some([server])), None)


def must_go() -> Any:
    """A condition for servers that an operator wants empty, or their provider will take away."""
    # NULL is unequal to nothing.
    return Server.drain_asked | (peewee.fn.COALESCE(Server.warned, REBALANCE) != REBALANCE)


def died_by_hand() -> Any:
    """A condition for servers run by hand that died without a word, unless an operator has asked
    that they drain."""
    died = Server.cause.in_(DEATHS) & Server.state.in_([State.LOST, State.GONE])
    return (Server.scope == OPERATOR) & died & ~Server.drain_asked


def _serves() -> Any:
    """A condition for servers that take users and have no other condition."""
    conditions = Server.leaving | Server.drain_asked | Server.warned.is_null(False)
    return (Server.state == State.READY) & ~conditions


@statement
def _signs_of_life() -> peewee.Select:
    signs = Server.id, beats_of(Server), Server.taken, Server.replace_asked, _serves()
    living = Server.select(*signs).where(Server.state != State.GONE)
    return with_heartbeats(living, Server)


@statement
def _all() -> peewee.Select:
    return Server.select(*_COLUMNS, _serves()).where(Server.state != State.GONE)


@statement
def _some(ids: Sequence[str]) -> peewee.Select:
    return Server.select(*_COLUMNS, _serves()).where(
        Server.id.in_(ids) & (Server.state != State.GONE)
    )


def _read_some(ids: list[str]) -> list[Row]:
    """Read the rows of these servers, if they live; instead of many, all rows."""
    if len(ids) > FEW:
        return _all()
    # Only powers of two, as each length is another statement: duplicates do no harm.
    length = 1 << max(0, len(ids) - 1).bit_length()
    return _some(ids + ids[:1] * (length - len(ids))) if ids else []


@dataclass(frozen=True)
class PastLaunch:
    """A launch by a `strategy` that served, or failed, `at` a time. One that the provider did not
    even accept is none."""

    strategy: str
    at: float
    served: bool


def pool_of(way: str | None) -> str:
    """The pool of capacity that a stored launch strategy names; "" without a strategy."""
    return (way or "").partition(", ")[0]


@read_only
def past_launches(since: float) -> list[PastLaunch]:
    """The launches that were decided after `since`, as far as it is known how they went, in the
    order in which it was known."""
    was_accepted = Server.instance_id.is_null(False)
    failed = (Server.cause == LossCause.FAILED) & was_accepted | (Server.cause == LossCause.LATE)
    known = Server.ready.is_null(False) | ((Server.state == State.GONE) & failed)
    latest = (Server.created > since) & Server.way.is_null(False)
    found = rows(Server.select(Server.way, Server.ready, Server.ended).where(latest & known))
    launches = [
        PastLaunch(pool_of(strategy), ended if ready is None else ready, ready is not None)
        for strategy, ready, ended in found
    ]
    return sorted(launches, key=lambda each: each.at)


def living() -> Any:
    """Select the app servers that live, which includes lost ones that have not ended."""
    return Server.select().where(Server.state != State.GONE)


def running() -> Any:
    """Select the app servers that count towards the maximum: all that live but the warm pool."""
    return Server.select().where(Server.state.not_in(NOT_RUNNING))


def new_id() -> str:
    """Make an id for a server or a launch: 128 random bits, so that no two are equal."""
    return secrets.token_hex(16)


def add(
    scope: str,
    capacity: int,
    now: float,
    pooled: bool = False,
    strategy: str | None = None,
    trace: str = "",
    server: str | None = None,
) -> str:
    """Add a row for a server that is launching, perhaps for the warm pool; returns its id, a new
    one if `server` is None."""
    server = server or new_id()
    row = {"id": server, "scope": scope, "capacity": capacity, "created": now, "shelved": pooled}
    Server.insert({**row, "way": strategy, "trace": trace}).execute()
    return server
