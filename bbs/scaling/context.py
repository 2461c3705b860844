"""The collaborators that all parts of the fleet's controller share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from twisted.internet.interfaces import IReactorTime

from bbs.core.values import Policy
from bbs.rules.membership import Member
from bbs.scaling.events import FleetEvents
from bbs.scaling.interfaces import IProvider
from bbs.storage.database import Database


@dataclass(frozen=True, kw_only=True)
class FleetContext:
    """Everything that the login server `me` keeps the fleet with. `policy`: the operator's wishes.
    `wall`: the clock that stamps rows. `fleet_id`: the fleet that the provider launches for.
    `traces`: the trace that each launch is part of, by launch id, for the provider."""

    me: Member
    database: Database
    provider: IProvider
    policy: Policy
    news: FleetEvents
    reactor: IReactorTime
    wall: Callable[[], float]
    fleet_id: str = ""
    traces: dict[str, str] = field(default_factory=dict)
