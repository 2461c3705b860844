"""The members of replies and events about groups, as `docs/protocol.md` describes them.

Times are in seconds since the epoch, names those of people and groups, posts their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupNames:
    """The names of groups: of all, the oldest first; of the user's, in the order joined."""

    group: list[str]


@dataclass(frozen=True)
class Members:
    """The names of a group's members, in the order joined."""

    member: list[str]


@dataclass(frozen=True)
class Group:
    """A group; `member` is whether the user is in it, and `invited` whether they may join it."""

    group: str
    topic: str | None
    members: int
    private: bool
    owner: str | None
    member: bool
    invited: bool = False


@dataclass(frozen=True)
class Groups:
    """All groups, those of the user first."""

    group: list[Group]


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
