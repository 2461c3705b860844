"""What the parts of the fleet's keeper have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bbs.rules.members import Member
from bbs.scaling.interfaces import IProvider
from bbs.scaling.news import FleetNews
from bbs.storage.database import Database
from bbs.values import Policy


@dataclass(frozen=True, kw_only=True)
class Means:
    """What the fleet is kept with, by the login server `me`; `policy` is what the operator wants of
    it, `wall` stamps what is stored, and `fleet_id` is which fleet the provider launches for.
    `traces` tells the provider of which trace a launch is part, by its id."""

    me: Member
    database: Database
    provider: IProvider
    policy: Policy
    news: FleetNews
    reactor: Any
    wall: Callable[[], float]
    fleet_id: str = ""
    traces: dict[str, str] = field(default_factory=dict)
