"""The identity of a fleet, and the secrets that its servers share; they never leave the database.

A fleet's id is made with its database, and every machine of it carries the id at its provider. A
copy of the database is another fleet, as the original may go on: what the original launched is not
for the copy to end or to count. A database counts as a copy when it is somewhere else than it was
(`bbs.storage.engines`) and none of its app servers says that it lives. So a database that has moved
with its servers stays the fleet that it was. If one is taken for a copy by mistake, its servers
that have rows serve on, and whatever else carries the old id stays until an operator adopts it.

In a database that was restored from a copy the people are ours, and whatever ran when the copy was
made belongs to another fleet.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import peewee

from bbs.core.values import State
from bbs.rules import fleet_admin
from bbs.rules.fleet_admin import By
from bbs.rules.servers import OPERATOR
from bbs.storage.database import for_update, read_only, rows
from bbs.storage.engines import location_digest
from bbs.storage.models import (
    Lease,
    LoginServer,
    OutboxEntry,
    Place,
    Secret,
    Server,
    Waiter,
    database,
)

HINTS = "hints"
"""The secret by which servers know each other's hints."""

HINT_KEY_BYTES = 32
"""As long as what SHA-256 makes, as RFC 2104 advises for HMAC."""


def hint_key() -> bytes:
    """The key that proves hints; whoever asks first makes it."""
    row = Secret.get_or_none(Secret.name == HINTS)
    if row is None:
        # Of two who make it at once one loses the race, runs again and finds the other's.
        row = Secret.create(name=HINTS, value=secrets.token_hex(HINT_KEY_BYTES))
    return bytes.fromhex(row.value)


FLEET, HOME, BEFORE, FORMER = "fleet", "fleet home", "fleet before", "fleet former"
"""Rows of `Secret`: the id; the digest of where the database is, `ELSEWHERE` for one that has been
restored; the fleet of which it is a copy, with when that was noticed; and the time since which
there are no more servers of a version that knew of no ids."""

ELSEWHERE = "elsewhere"

INTERIM = "as "
"""What the names of more such rows begin with, and an id follows: what was launched under it is the
fleet's whose id is the value, as a copy of that has launched it that then adopted it."""

ID_BYTES = 8

ADOPT = "adopt"
"""The action, as `Action` has it."""


class NothingToAdopt(Exception):
    """This database is no copy, or what it was a copy of has been adopted."""


@dataclass(frozen=True)
class Left:
    """A fleet of whose database this one is a copy, and when that was noticed (seconds since the
    epoch; None: it is noticed only now)."""

    id: str
    at: float | None


@dataclass(frozen=True, kw_only=True)
class FleetIdentity:
    """Which fleet this is: its `id`, 16 hex digits; the `others` under which it has launched before
    it adopted that one; what it may adopt; and whether servers of it may have been launched by a
    version that gave them no id. `copied`: it has just been found to be a copy."""

    id: str
    others: tuple[str, ...] = ()
    before: Left | None = None
    former: bool = False
    copied: bool = False


@read_only
def fleet_id() -> str:
    """The id; empty before a login server of this version has started."""
    return _said().get(FLEET, "")


@read_only
def waiting_for_adopt() -> Left | None:
    """What `adopt` would take over; None where there is nothing."""
    said = _said()
    return Left(said[FLEET], None) if _is_elsewhere(said) else _left(said)


@read_only
def standing() -> tuple[str, Left | None]:
    """The id, and what has been noticed that may be adopted."""
    said = _said()
    return said.get(FLEET, ""), _left(said)


@read_only
def is_elsewhere() -> bool:
    """Whether this database is not where it was when its fleet was last looked at."""
    return _is_elsewhere(_said())


@read_only
def beats(scope: str | None = None) -> Mapping[str, int]:
    """The heartbeats of app servers that may live, and that a provider launched (under `scope`), by
    id."""
    may_live = Server.port.is_null(False) & (Server.state != State.GONE)
    whose = (Server.scope != OPERATOR) if scope is None else (Server.scope == scope)
    return dict(rows(Server.select(Server.id, Server.beats).where(may_live & whose)))


@read_only
def count_of(fleet: str) -> int:
    """How many servers live that were launched as `fleet`."""
    return int(Server.select().where(_of(fleet) & (Server.state != State.GONE)).count())


def settle(now: float, beating: bool) -> FleetIdentity:
    """Which fleet this is from now on, for a login server that starts; `beating`: an app server of
    it has been seen to live. To be asked again changes nothing."""
    said, home = _locked(), _home()
    if FLEET not in said:
        # Of two who make it at once the one that comes later takes the other's.
        made = secrets.token_hex(ID_BYTES)
        Secret.insert(name=FLEET, value=made).on_conflict_ignore().execute()
        _put(HOME, home)
        if Server.select().where(Server.state != State.GONE).exists():
            _put(FORMER, f"{now:.0f}")
        said = _said()
    copied = _is_elsewhere(said) and not beating
    if copied:
        _begin_anew(said, now)
    if said.get(HOME) != home:
        _put(HOME, home)
    said = _said()
    id, others = said[FLEET], _others(said[FLEET])
    for other in others:
        # A login server that had not been started again yet may have launched more of them.
        Server.update(scope=peewee.fn.REPLACE(Server.scope, f":{other}", f":{id}")).where(
            _of(other)
        ).execute()
    return FleetIdentity(
        id=id, others=others, before=_left(said), former=_former(said), copied=copied
    )


def take_over(old_scope: str, new_scope: str, ids: Collection[str], now: float) -> int:
    """Servers that a version without ids launched under `old_scope`, those of `ids`, are spoken of
    under `new_scope` from now on; returns how many."""
    changed: int = (
        Server.update(scope=new_scope)
        .where((Server.scope == old_scope) & Server.id.in_([*ids]) & (Server.state != State.GONE))
        .execute()
    )
    if changed:
        _put(FORMER, f"{now:.0f}")
    return changed


def adopt(by: By) -> Left:
    """This is the fleet again of which the database is a copy; returns that. What this has launched
    under the id that it had meanwhile stays its own.

    :raises NothingToAdopt: it is a copy of none, or has been adopted.
    """
    said = _locked()
    left = waiting_for_adopt()
    if left is None:
        raise NothingToAdopt()
    fleet_admin.record(by, ADOPT, left.id, detail=f"was {said[FLEET]}")
    if said[FLEET] != left.id:
        _put(f"{INTERIM}{said[FLEET]}", left.id)
    _put(FLEET, left.id)
    _put(HOME, _home())
    Secret.delete().where(Secret.name == BEFORE).execute()
    return left


def leave_home() -> None:
    """This database comes into another one's place: whoever starts on it next finds that it is a
    copy."""
    if fleet_id():
        _put(HOME, ELSEWHERE)


def _begin_anew(said: Mapping[str, str], now: float) -> None:
    """Another id. What the fleet of before may still have to adopt stays so, where that has
    launched nothing itself."""
    if BEFORE not in said or Server.select().where(_of(said[FLEET])).exists():
        _put(BEFORE, f"{said[FLEET]} {now:.0f}")
    _put(FLEET, secrets.token_hex(ID_BYTES))
    Secret.delete().where(Secret.name == FORMER).execute()


def _of(fleet: str) -> Any:
    """Whether a server was launched as `fleet`: its provider's scope ends with the id."""
    return Server.scope.endswith(f":{fleet}")


def _others(fleet: str) -> tuple[str, ...]:
    """The other ids under which there may be instances of `fleet`."""
    # Hex digits come before a g.
    mine = Secret.name.between(INTERIM, f"{INTERIM}g") & (Secret.value == fleet)
    names = rows(Secret.select(Secret.name).where(mine).order_by(Secret.name))
    return tuple(name.removeprefix(INTERIM) for (name,) in names)


def _former(said: Mapping[str, str]) -> bool:
    """Whether a server may be there that was launched before there were ids."""
    if FORMER not in said:
        return False
    alive = (Server.state != State.GONE) & (Server.created <= float(said[FORMER]) + 1.0)
    if Server.select().where(alive).exists():
        return True
    Secret.delete().where(Secret.name == FORMER).execute()
    return False


def _left(said: Mapping[str, str]) -> Left | None:
    if BEFORE not in said:
        return None
    id, _, at = said[BEFORE].partition(" ")
    return Left(id, float(at))


def _is_elsewhere(said: Mapping[str, str]) -> bool:
    return FLEET in said and said.get(HOME) not in (None, _home())


def _home() -> str:
    return location_digest(database.obj)


def _locked() -> Mapping[str, str]:
    """What is written down, and nobody else changes it meanwhile."""
    for_update(Secret.select().where(Secret.name == FLEET)).first()
    return _said()


def _said() -> dict[str, str]:
    names = (FLEET, HOME, BEFORE, FORMER)
    return dict(rows(Secret.select(Secret.name, Secret.value).where(Secret.name.in_(names))))


def _put(name: str, value: str) -> None:
    Secret.insert(name=name, value=value).on_conflict_replace().execute()


RESTORE = "restore"
"""The action, as `Action` has it."""


def make_ours(by: By, source: str) -> None:
    """Forget the servers of before, and have the database, restored from `source`, be another
    fleet's for whoever starts on it.

    People stay logged in, without a place until their next command. What proves hints is made anew,
    so that no server of before is believed.
    """
    Place.update(server=None, away=True).execute()
    for model in (Waiter, LoginServer, Lease, Server, OutboxEntry):
        model.delete().execute()
    Secret.delete().where(Secret.name == HINTS).execute()
    leave_home()
    fleet_admin.record(by, RESTORE, detail=source[-250:])
