"""The app servers' rows: what everybody who deals with servers reads of one, and how one begins."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import peewee

from bbs.core.addresses import Address
from bbs.core.values import Cause, DrainCause, LossCause, State
from bbs.storage import models
from bbs.storage.models import LoginServer, Server
from bbs.storage.statements import Row, statement

OPERATOR = "operator"
"""The scope of servers that no provider launched: somebody runs them by hand."""

FEW = 128
"""Rows at the most that are asked for by their ids: of more, all are read."""

NOT_RUNNING = (State.WARM, State.GONE)
"""States of servers whose machines do not run, or soon will not."""

CONNECTED = "connected"
"""The figure of an app server that says how many people listen there."""

SPARE, MOVED = "spare", "moved"
"""The figures of the login server that keeps the fleet: how many places it keeps free, and how many
people it has moved so that fewer servers were needed."""


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """An app server's row as it was read, without what each heartbeat changes: see
    `bbs.storage.models.Server`. A `cause` that only a newer version knows is None."""

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
        """The row as a value."""
        return ServerRow(**_of(row))

    @property
    def provider(self) -> str:
        """The kind of provider that launched it, "" before one has taken it on."""
        return self.scope.partition(":")[0]

    @property
    def launcher(self) -> str:
        """What its scope names after the provider: the identity of the process with which it ends,
        where there is one."""
        return self.scope.partition(":")[2]

    @property
    def address(self) -> str | None:
        """Where people reach it, None until it has said so."""
        return str(Address(self.host or "", self.port)) if self.port else None

    @property
    def launch_time(self) -> float | None:
        """Seconds from the decision to launch it until people could be placed on it."""
        return None if self.ready is None else max(0.0, self.ready - self.created)

    @property
    def has_yet_to_serve(self) -> bool:
        """Whether it was launched for people, and has never been ready."""
        return self.ready is None and not self.shelved

    @property
    def free(self) -> int:
        """Places that somebody may take now."""
        return max(0, self.capacity - self.taken) if self.state is State.READY else 0


@dataclass(frozen=True, kw_only=True)
class HeardServer(ServerRow):
    """A server's row with the contents of its last heartbeat, for pages; the fleet's controller
    does not need these."""

    beats: int
    counts: Mapping[str, int]
    figures: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, row: Server) -> HeardServer:
        return HeardServer(
            **_of(row), beats=row.beats, counts=counts_of(row), figures=figures_of(row)
        )

    @property
    def connected(self) -> int | None:
        """How many people listen there, as of its last heartbeat; None of one that does not tell,
        being older."""
        return self.figures.get(CONNECTED)


def _of(row: Server) -> dict[str, Any]:
    return _named([getattr(row, name) for name in _NAMES])


def _named(values: Iterable[Any]) -> dict[str, Any]:
    """The values of a row by name, those that are of an enumeration as its members."""
    named = dict(zip(_NAMES, values, strict=True))
    named["state"] = State(named["state"])
    named["cause"] = _CAUSES.get(named["cause"])
    return named


_CAUSES: Mapping[str, Cause] = {
    cause.value: cause for causes in (DrainCause, LossCause) for cause in causes
}
_NAMES = [each.name for each in fields(ServerRow)]
_COLUMNS: tuple[Any, ...] = tuple(getattr(Server, name) for name in _NAMES)
_HEARD = (Server.beats, Server.counts, Server.messages, Server.figures)
_FLAGS = [column.name for column in _COLUMNS if isinstance(column, peewee.BooleanField)]


def counts_of(row: Server | LoginServer) -> Mapping[str, int]:
    """What a server has counted since it started, by name."""
    return _counts(row.counts, row.messages if isinstance(row, Server) else None)


def _counts(told: str | None, messages: int | None) -> Mapping[str, int]:
    if told is None:  # By a server of version 0.1.0.
        return {} if messages is None else {"messages": messages}
    counts: dict[str, int] = json.loads(told)
    return counts


def figures_of(row: Server | LoginServer) -> Mapping[str, int]:
    """What a server tells of itself beside that; nothing, of one that is older."""
    figures: dict[str, int] = json.loads(row.figures or "{}")
    return figures


def read(query: Any) -> tuple[HeardServer, ...]:
    """The servers that `query` finds, which selects from them alone."""
    # As the driver gives them: peewee takes ten times as long to make objects of thousands.
    sql, values = query.select(*_COLUMNS, *_HEARD).sql()
    found = models.database.obj.carry_out(sql, values, False).fetchall()
    return tuple(map(_heard, found))


def _heard(values: Row) -> HeardServer:
    named = _named(values[: len(_NAMES)])
    beats, counts, messages, figures = values[len(_NAMES) :]
    for name in _FLAGS:
        named[name] = bool(named[name])
    return HeardServer(
        **named, beats=beats, counts=_counts(counts, messages), figures=json.loads(figures or "{}")
    )


@dataclass(frozen=True)
class Living:
    """The app servers that live, those that are lost and not ended yet among them: by id those that
    take people and with which nothing else is the matter, the others, and how often each has
    beaten."""

    serving: Mapping[str, ServerRow]
    others: Sequence[ServerRow]
    beats: Mapping[str, int]


def read_again(known: Mapping[str, ServerRow]) -> Living:
    """All servers that live. Of those that serve as they did when they were `known` (`serving` of
    the last look), only what changes meanwhile is read, and one that has not changed is the same
    object: most of a large fleet, each time. What is written of one that serves for other reasons
    (where it is reached, what the provider calls it) is read of them as it is `known`."""
    serving: dict[str, ServerRow] = {}
    beats: dict[str, int] = {}
    unknown: dict[str, int] = {}
    for id, count, taken, asked, serves in _signs():
        row = known.get(id) if serves else None
        if row is None:
            unknown[id] = count
        else:
            beats[id] = count
            same = row.taken == taken and row.replace_asked == asked
            serving[id] = row if same else replace(row, taken=taken, replace_asked=bool(asked))
    others = []
    for *values, serves in _these([*unknown]):
        # One may have gone between the two statements, or come.
        if values[0] in unknown:
            row = ServerRow(**_named(values))
            beats[row.id] = unknown[row.id]
            if serves:
                serving[row.id] = row
            else:
                others.append(row)
    return Living(serving, others, beats)


def read_all() -> list[ServerRow]:
    """All servers that live."""
    return [ServerRow(**_named(values)) for *values, _ in _all()]


def find(server: str) -> ServerRow | None:
    """The row of `server`; None if it does not live."""
    return next((ServerRow(**_named(values)) for *values, _ in _some([server])), None)


def must_go() -> Any:
    """Which servers an operator wants empty, or their provider will take away."""
    return Server.drain_asked | Server.warned.is_null(False)


def _serves() -> Any:
    """Which servers take people, and nothing else is the matter with them."""
    return (Server.state == State.READY) & ~(Server.leaving | must_go())


@statement
def _signs() -> peewee.Select:
    signs = Server.id, Server.beats, Server.taken, Server.replace_asked, _serves()
    return Server.select(*signs).where(Server.state != State.GONE)


@statement
def _all() -> peewee.Select:
    return Server.select(*_COLUMNS, _serves()).where(Server.state != State.GONE)


@statement
def _some(ids: Sequence[str]) -> peewee.Select:
    return Server.select(*_COLUMNS, _serves()).where(
        Server.id.in_(ids) & (Server.state != State.GONE)
    )


def _these(ids: list[str]) -> list[Row]:
    """The rows of these servers, as far as they live; of all, where these are many."""
    if len(ids) > FEW:
        return _all()
    # Of some lengths only, as each is a statement of its own: to ask twice does no harm.
    length = 1 << max(0, len(ids) - 1).bit_length()
    return _some(ids + ids[:1] * (length - len(ids))) if ids else []


def living() -> Any:
    """The query for the app servers that live, those that are lost and not ended yet among them."""
    return Server.select().where(Server.state != State.GONE)


def running() -> Any:
    """The query for those of them that count to the maximum: all but the warm pool."""
    return Server.select().where(Server.state.not_in(NOT_RUNNING))


def new_id() -> str:
    """An id for a server or a launch: 128 random bits, which no two share."""
    return secrets.token_hex(16)


def add(
    scope: str,
    capacity: int,
    now: float,
    pooled: bool = False,
    strategy: str | None = None,
    trace: str = "",
) -> str:
    """A row for a server that is launching, perhaps for the warm pool; returns its id."""
    server = new_id()
    row = {"id": server, "scope": scope, "capacity": capacity, "created": now, "shelved": pooled}
    Server.insert({**row, "way": strategy, "trace": trace}).execute()
    return server
