"""The identity of a fleet, and the secrets that its servers share; they never leave the database.

A fleet's id is made with its database, and all its machines carry the id at their provider. A copy
of the database is another fleet, as the original may go on: the copy must not end or count what the
original has launched. A database counts as a copy if its place has changed (`bbs.storage.engines`)
and none of its app servers lives. A database that has moved with its servers therefore stays the
same fleet. If one is taken for a copy by mistake, its servers that have rows serve on, and all
other machines with the old id stay until an operator adopts them.

In a database that was restored from a copy the users are ours, and the servers that ran when the
copy was made belong to another fleet.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import peewee

from bbs.core.values import State
from bbs.rules import fleet_admin, restores
from bbs.rules.fleet_admin import By
from bbs.rules.servers import OPERATOR, beats_of, with_heartbeats
from bbs.storage import models
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.engines import creation, location_digest
from bbs.storage.models import (
    HeartbeatRow,
    Lease,
    LoginServer,
    OutboxEntry,
    Place,
    Secret,
    Server,
    Waiter,
)

HINTS = "hints"  # The secret that proves hints between servers.
HINT_KEY_BYTES = 32  # The length of a SHA-256 hash, as RFC 2104 advises for HMAC.


def hint_key() -> bytes:
    """The key that proves hints; it is made at the first call."""
    row = Secret.get_or_none(Secret.name == HINTS)
    if row is None:
        # If two servers make it at once, one loses the race, runs again and finds the other's.
        row = Secret.create(name=HINTS, value=secrets.token_hex(HINT_KEY_BYTES))
    return bytes.fromhex(row.value)


FLEET, HOME, BEFORE, FORMER = "fleet", "fleet home", "fleet before", "fleet former"
MADE, BACKED_UP = "tables made", "backed up"
"""Rows of `Secret`: the id; the digest of the database's place, or `ELSEWHERE` after a restore; the
fleet that this database is a copy of, and the time at which that was noticed; the time since which
no server of a version without ids was launched; by whom and when the tables were made
(`bbs.storage.engines.creation`); and the time of the last backup."""

ELSEWHERE = "elsewhere"

INTERIM = "as "
"""The prefix of the names of more such rows, before an id. A copy of a fleet launched servers under
this id before it adopted the fleet, whose id is the value: they belong to that fleet."""

ID_BYTES = 8

ADOPT = "adopt"  # The name of the action in `Action`.


class NothingToAdopt(Exception):
    """This database is not a copy, or has adopted its source already."""


@dataclass(frozen=True)
class SourceFleet:
    """The fleet that this database copies, and when that was noticed (s, epoch; None: just now)."""

    id: str
    at: float | None


@dataclass(frozen=True, kw_only=True)
class FleetIdentity:
    """A fleet's identity."""

    id: str  # 16 hex digits.
    others: tuple[str, ...] = ()  # Ids under which it launched servers before it adopted this one.
    before: SourceFleet | None = None  # The fleet that it may adopt.
    former: bool = False  # Some servers may have no id, by an older version.
    copied: bool = False  # It has just been found to be a copy.
    ended: int | None = None
    """How many sessions ended as the database was found to be a copy, or a dump that was loaded in
    the same place; else None."""


@read_only
def fleet_id() -> str:
    """The fleet's id; empty before a login server of this version has started."""
    return _read_secrets().get(FLEET, "")


@read_only
def waiting_for_adopt() -> SourceFleet | None:
    """The fleet that `adopt` would take over, if any."""
    values = _read_secrets()
    return SourceFleet(values[FLEET], None) if _is_elsewhere(values) else _source(values)


@dataclass(frozen=True)
class DatabaseFacts:
    """What a database says of itself: its fleet's `id`, the fleet that this one may adopt, as far
    as noticed, and when `bbs backup` last succeeded (seconds since the epoch; None: never)."""

    id: str
    source: SourceFleet | None
    backed_up: float | None


@read_only
def facts() -> DatabaseFacts:
    values = _read_secrets()
    at = values.get(BACKED_UP)
    return DatabaseFacts(values.get(FLEET, ""), _source(values), None if at is None else float(at))


@read_only
def is_elsewhere() -> bool:
    """Whether the database's place has changed since the last look at its fleet."""
    return _is_elsewhere(_read_secrets())


@read_only
def beats(scope: str | None = None) -> Mapping[str, int]:
    """The counts of heartbeats, by id, of launched app servers (under `scope`) that may live."""
    may_live = Server.port.is_null(False) & (Server.state != State.GONE)
    whose = (Server.scope != OPERATOR) if scope is None else (Server.scope == scope)
    counted = with_heartbeats(Server.select(Server.id, beats_of(Server)), Server)
    return dict(rows(counted.where(may_live & whose)))


@read_only
def count_of(fleet: str) -> int:
    """Count the servers that live and were launched under the id `fleet`."""
    return int(Server.select().where(_has_id(fleet) & (Server.state != State.GONE)).count())


def settle(now: float, beating: bool) -> FleetIdentity:
    """Determine the fleet's identity when a login server starts; `beating`: an app server of it
    lives. A second call changes nothing."""
    values, location = _lock_secrets(), _location()
    if FLEET not in values:
        # If two servers make it at once, the second one takes the first one's.
        Secret.insert(name=FLEET, value=secrets.token_hex(ID_BYTES)).on_conflict_ignore().execute()
        _put(HOME, location)
        if Server.select().where(Server.state != State.GONE).exists():
            _put(FORMER, f"{now:.0f}")
        values = _read_secrets()
    copied, made = _is_elsewhere(values) and not beating, _made()
    # (`bbs restore` has done what there is to do.)
    is_back = (copied and values[HOME] != ELSEWHERE) or _was_loaded(values.get(MADE, ""), made)
    ended = restores.begin_anew(now) if is_back else None
    if copied:
        _begin_anew(values, now)
    if values.get(HOME) != location:
        _put(HOME, location)
    if values.get(MADE) != made:
        _put(MADE, made)
    values = _read_secrets()
    id, others = values[FLEET], _others(values[FLEET])
    for other in others:
        # A login server that had not been started again yet may have launched more under this id.
        Server.update(scope=peewee.fn.REPLACE(Server.scope, f":{other}", f":{id}")).where(
            _has_id(other)
        ).execute()
    before, former = _source(values), _is_former(values)
    return FleetIdentity(
        id=id, others=others, before=before, former=former, copied=copied, ended=ended
    )


def note_loaded() -> None:
    """Note that this is known of a dump that was loaded in the database's place."""
    _put(MADE, _made())


def take_over(old_scope: str, new_scope: str, ids: Collection[str], now: float) -> int:
    """Move the servers in `ids`, launched by an old version, to `new_scope`; returns how many."""
    changed: int = (
        Server.update(scope=new_scope)
        .where((Server.scope == old_scope) & Server.id.in_([*ids]) & (Server.state != State.GONE))
        .execute()
    )
    if changed:
        _put(FORMER, f"{now:.0f}")
    return changed


def adopt(by: By) -> SourceFleet:
    """Become the fleet again that this database is a copy of, and return it, or raise
    NothingToAdopt. Servers launched under the id since then still belong to this fleet."""
    values = _lock_secrets()
    source = waiting_for_adopt()
    if source is None:
        raise NothingToAdopt()
    fleet_admin.record(by, ADOPT, source.id, detail=f"was {values[FLEET]}")
    if values[FLEET] != source.id:
        _put(f"{INTERIM}{values[FLEET]}", source.id)
    _put(FLEET, source.id)
    _put(HOME, _location())
    Secret.delete().where(Secret.name == BEFORE).execute()
    return source


def _begin_anew(values: Mapping[str, str], now: float) -> None:
    """Give the fleet another id. If it launched nothing and had a source to adopt, it keeps the
    source."""
    if BEFORE not in values or Server.select().where(_has_id(values[FLEET])).exists():
        _put(BEFORE, f"{values[FLEET]} {now:.0f}")
    _put(FLEET, secrets.token_hex(ID_BYTES))
    Secret.delete().where(Secret.name == FORMER).execute()


def _has_id(fleet: str) -> Any:
    """Whether a server was launched under the id `fleet`, with which its scope ends."""
    return Server.scope.endswith(f":{fleet}")


def _others(fleet: str) -> tuple[str, ...]:
    """The other ids that instances of `fleet` may have."""
    # All hex digits sort before a g.
    mine = Secret.name.between(INTERIM, f"{INTERIM}g") & (Secret.value == fleet)
    names = rows(Secret.select(Secret.name).where(mine).order_by(Secret.name))
    return tuple(name.removeprefix(INTERIM) for (name,) in names)


def _is_former(values: Mapping[str, str]) -> bool:
    """Whether a server may live that was launched without an id."""
    if FORMER not in values:
        return False
    alive = (Server.state != State.GONE) & (Server.created <= float(values[FORMER]) + 1.0)
    if Server.select().where(alive).exists():
        return True
    Secret.delete().where(Secret.name == FORMER).execute()
    return False


def _source(values: Mapping[str, str]) -> SourceFleet | None:
    if BEFORE not in values:
        return None
    id, _, at = values[BEFORE].partition(" ")
    return SourceFleet(id, float(at))


def _is_elsewhere(values: Mapping[str, str]) -> bool:
    return FLEET in values and values.get(HOME) not in (None, _location())


def _location() -> str:
    return location_digest(models.database.obj)


def _made() -> str:
    return creation(models.database.obj, Secret._meta.table_name)


def _was_loaded(before: str, now: str) -> bool:
    """Whether the same server has made the tables anew, by what `creation` told."""
    return before != now and before.partition(" ")[0] == now.partition(" ")[0] != ""


def _lock_secrets() -> Mapping[str, str]:
    """Read the secrets, and lock them against changes."""
    for_update(Secret.select().where(Secret.name == FLEET)).first()
    return _read_secrets()


def _read_secrets() -> dict[str, str]:
    names = (FLEET, HOME, BEFORE, FORMER, MADE, BACKED_UP)
    return dict(rows(Secret.select(Secret.name, Secret.value).where(Secret.name.in_(names))))


def _put(name: str, value: str) -> None:
    Secret.insert(name=name, value=value).on_conflict_replace().execute()


BACKUP, RESTORE = "backup", "restore"  # The names of the actions in `Action`.


def note_backup(by: By, file: str) -> None:
    """Record that `by` has copied the database to `file`, and when."""
    _put(BACKED_UP, f"{by.now:.0f}")
    fleet_admin.record(by, BACKUP, detail=file[-250:])


def make_ours(by: By, source: str) -> None:
    """Forget the old servers in a database that was restored from `source`. The next login server
    that starts finds that it is a copy. Users are without a place until their next command. The
    secret that proves hints is made anew, so that old servers are not believed."""
    Place.update(server=None, away=True).execute()
    for model in (Waiter, LoginServer, Lease, Server, HeartbeatRow, OutboxEntry):
        model.delete().execute()
    Secret.delete().where(Secret.name == HINTS).execute()
    if fleet_id():
        _put(HOME, ELSEWHERE)
    fleet_admin.record(by, RESTORE, detail=source[-250:])
