"""The members of replies and events about people, as `docs/protocol.md` describes them.

Times are in seconds since the epoch, names those of people and groups, posts their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Invitations:
    """The names of those who have invited the user, oldest invitation first."""

    invite: list[str]


@dataclass(frozen=True)
class Friends:
    """The names of friends, oldest friendship first."""

    friend: list[str]


@dataclass(frozen=True)
class Blocked:
    """The names of those whom the user has blocked, in that order."""

    block: list[str]


@dataclass(frozen=True)
class Friend:
    """A friend, and when they were last here; `state` is `here`, `away` or `out`."""

    id: str
    online: bool
    last: float | None
    state: str
    status: str


@dataclass(frozen=True)
class Presence:
    """The user's friends, those online first."""

    friend: list[Friend]


@dataclass(frozen=True)
class Invitation:
    """Somebody asks to be the reader's friend, or lets the reader join a group."""

    from_: str
    text: str
    group: str | None = None


@dataclass(frozen=True)
class Friendship:
    """Somebody has accepted the reader's invitation."""

    with_: str
    text: str


@dataclass(frozen=True)
class StatusChange:
    """The new status of a friend; empty if it was cleared."""

    from_: str
    status: str
    text: str
    time: float
