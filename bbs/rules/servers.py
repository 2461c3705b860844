"""The app servers' rows: what everybody who deals with servers reads of one, and how one begins."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bbs.addresses import Address
from bbs.storage.models import LoginServer, Server
from bbs.values import State

OPERATOR = "operator"
"""The scope of servers that no provider launched: somebody runs them by hand."""

FAILED = "failed: "
"""What the reason of a launch that failed begins with; that of one that was refused does not."""

CONNECTED = "connected"
"""The figure of an app server that says how many people listen there."""


@dataclass(frozen=True, kw_only=True)
class ServerRow:
    """An app server's row as it was read: see `bbs.storage.models.Server`."""

    id: str
    state: State
    scope: str
    host: str | None
    port: int | None
    capacity: int
    taken: int
    beats: int
    created: float
    ready: float | None
    leaving: bool
    drain_asked: bool
    reason: str
    instance_id: str | None
    kind: str | None
    counts: Mapping[str, int]
    figures: Mapping[str, int] = field(default_factory=dict)
    warned: str = ""

    @classmethod
    def of(cls, row: Server) -> ServerRow:
        """The row as a value."""
        return cls(
            id=row.id,
            state=State(row.state),
            scope=row.scope,
            host=row.host,
            port=row.port,
            capacity=row.capacity,
            taken=row.taken,
            beats=row.beats,
            created=row.created,
            ready=row.ready,
            leaving=row.leaving,
            drain_asked=row.drain_asked,
            reason=row.reason,
            instance_id=row.instance_id,
            kind=row.kind,
            counts=counts_of(row),
            figures=figures_of(row),
            warned=row.warned or "",
        )

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
    def connected(self) -> int | None:
        """How many people listen there, as of its last heartbeat; None of one that does not tell,
        being older."""
        return self.figures.get(CONNECTED)

    @property
    def free(self) -> int:
        """Places that somebody may take now."""
        return max(0, self.capacity - self.taken) if self.state is State.READY else 0


def counts_of(row: Server | LoginServer) -> Mapping[str, int]:
    """What a server has counted since it started, by name."""
    if row.counts is None:  # A server of version 0.1.0.
        messages = row.messages if isinstance(row, Server) else None
        return {} if messages is None else {"messages": messages}
    counts: dict[str, int] = json.loads(row.counts)
    return counts


def figures_of(row: Server | LoginServer) -> Mapping[str, int]:
    """What a server tells of itself beside that; nothing, of one that is older."""
    figures: dict[str, int] = json.loads(row.figures or "{}")
    return figures


def read(query: Any) -> tuple[ServerRow, ...]:
    """The servers that `query` finds."""
    return tuple(ServerRow.of(row) for row in query)


def living() -> Any:
    """The query for the app servers that live, those that are lost and not ended yet among them."""
    return Server.select().where(Server.state != State.GONE)


def new_id() -> str:
    """An id for a server or a launch: 128 random bits, which no two share."""
    return secrets.token_hex(16)


def add(scope: str, capacity: int, now: float) -> str:
    """A row for a server that is launching; returns its id."""
    server = new_id()
    Server.insert(id=server, scope=scope, capacity=capacity, created=now).execute()
    return server
