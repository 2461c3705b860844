"""Who could keep the fleet, for those who ask something of it and are no server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from bbs.storage.database import read_only
from bbs.storage.models import Lease, LoginServer


class Sign(NamedTuple):
    """A process that said that it lives: which it is (`bbs.scaling.identity`), and how often it has
    said so."""

    identity: str
    beats: int


@read_only
def signs() -> Mapping[str, Sign]:
    """What the login servers, and who holds the lease, have said of themselves, by their ids."""
    found = {row.id: Sign(row.identity, row.beats) for row in LoginServer.select()}
    for lease in Lease.select():
        found[f"lease of {lease.holder}"] = Sign(lease.identity, lease.beats)
    return found
