"""The members of replies and events about messages, as `docs/protocol.md` describes them.

Times are in seconds since the epoch, names those of people and groups, posts their numbers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """A message to a friend (`to`) or in a group; `former`: of an account that is gone."""

    event: str
    id: int
    time: float
    from_: str
    message: str
    to: str | None = None
    group: str | None = None
    former: bool = False


@dataclass(frozen=True)
class History:
    """The last messages of a conversation, oldest first."""

    history: list[Message]
