"""The present, as the page gets it: what was seen and measured, in the shape of its JSON.

The shape is in `docs/web.md`. Names of people are in it for operators alone, and so is what a
provider says of a launch: in that are the account and the roles of a cloud.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bbs import __version__
from bbs.rules.servers import OPERATOR, ServerRow
from bbs.values import Policy, State
from bbs.web.narrate import Scene

REFUSED = "the provider refuses it, and operators who log in see why"
"""The reason that everybody may read."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Figures beside the database's rows: rates, ages in seconds, and this process's own times."""

    logins_per_minute: float
    messages_per_second: float
    messages_of: Mapping[str, float | None]
    leases: Mapping[str, float]
    launches: int
    reactor_lag: float
    database_time: float | None


@dataclass(frozen=True, kw_only=True)
class View:
    """One look: at `at`, of a fleet that was seen so at `seen_at` (seconds since the epoch)."""

    at: float
    seen_at: float
    scene: Scene
    measured: Measured


@dataclass(frozen=True)
class Standing:
    """What does not change while the server runs."""

    login_server: str
    policy: Policy
    may_act: bool


def snapshot(view: View, standing: Standing, operator: str | None) -> dict[str, object]:
    """`view` for `operator`, or for somebody who is none."""
    seen, measured, policy = view.scene.overview, view.measured, standing.policy
    who = seen.who if operator is not None else None
    return {
        "at": round(view.at, 1),
        "version": __version__,
        "login_server": standing.login_server,
        "database": view.scene.database,
        "fleet_at": round(view.seen_at, 1),
        "broker": view.scene.broker,
        "refusal": seen.refusal
        and {
            "reason": REFUSED if operator is None else seen.refusal.reason,
            "until": round(seen.refusal.until, 1),
        },
        "operator": operator,
        "may_act": standing.may_act,
        "capacity": policy.capacity,
        "maximum": policy.maximum,
        "minimum": policy.minimum,
        "spare": policy.spare,
        "servers": [_server(server, view, operator is None, who) for server in seen.servers],
        "free_places": sum(server.free for server in seen.servers),
        "people": people(view),
        "waiting": {"count": seen.waiting, "longest": longest_wait(view)}
        | ({} if who is None else {"who": who.get("", ())}),
        "launches": {
            "under_way": sum(server.state is State.LAUNCHING for server in seen.servers),
            "usual": _rounded(seen.usual),
            "last_hour": measured.launches,
        },
        "logins_per_minute": round(measured.logins_per_minute, 1),
        "messages_per_second": round(measured.messages_per_second, 2),
        "reactor_lag": round(measured.reactor_lag, 4),
        "database_time": _rounded(measured.database_time, 5),
    }


def essence(view: View) -> object:
    """What makes a snapshot another one: of two that are equal in this the page needs one."""
    seen = view.scene.overview
    servers = [
        (each.id, each.state, each.taken, each.capacity, each.port, each.drain_asked, each.reason)
        for each in seen.servers
    ]
    connections = (view.scene.database, view.scene.broker)
    return servers, connections, seen.waiting, seen.refusal, seen.usual, seen.who


def people(view: View) -> int:
    """How many people have places."""
    return sum(server.taken for server in view.scene.overview.servers)


def longest_wait(view: View) -> float | None:
    """For how many seconds the first of those who wait has done so."""
    since = view.scene.overview.waiting_since
    return None if since is None else round(max(0.0, view.at - since), 1)


def _server(
    server: ServerRow, view: View, stranger: bool, who: Mapping[str, tuple[str, ...]] | None
) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": server.id,
        "state": str(server.state),
        "address": server.address,
        "people": server.taken,
        "capacity": server.capacity,
        "age": round(max(0.0, view.at - server.created), 1),
        "ready_after": None if server.scope == OPERATOR else _rounded(server.launch_time),
        "messages_per_second": _rounded(view.measured.messages_of.get(server.id), 2),
        "lease": _rounded(view.measured.leases.get(server.id)),
        "drain_asked": server.drain_asked,
        # "refused: " and "failed: " are the fleet's words, what follows is the provider's.
        "reason": server.reason.partition(":")[0] if stranger else server.reason,
        "provider": server.provider or None,
        "instance": server.instance_id or None,
        "type": server.kind or None,
    }
    return shown if who is None else shown | {"who": who.get(server.id, ())}


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)
