"""The members of the board's events, as `docs/protocol.md` describes them. Those of messages and
announcements are in `replies`, as replies have them, too.

Times are in seconds since the epoch, names those of people and groups, posts their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Joined:
    """Somebody joined a group."""

    group: str
    id: str
    time: float
    text: str


@dataclass(frozen=True)
class Left:
    """Somebody left a group, or was removed by its owner (`by`). Without `id` the group is deleted.
    Those who are not in it any more read its name in `you_left`, too."""

    group: str
    id: str | None
    time: float
    text: str
    by: str | None = None
    you_left: str | None = None


@dataclass(frozen=True)
class Topic:
    """The new topic of a group; None if it was removed."""

    group: str
    id: str
    topic: str | None
    time: float
    text: str


@dataclass(frozen=True)
class Posted:
    """A post of a friend, or in a group; a long text is cut."""

    from_: str
    post: int
    text: str
    time: float
    group: str | None = None


@dataclass(frozen=True)
class Replied:
    """A reply in the thread that the post `to` began."""

    from_: str
    post: int
    text: str
    time: float
    to: int
    group: str | None = None


@dataclass(frozen=True)
class Deleted:
    """A post was removed; of a group, with who did it."""

    post: int
    time: float
    group: str | None = None
    by: str | None = None
