"""What a conversation is to those that serve it: its partners, the client's own commands, and what
these may read of it and do to it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bbs.client.library import BBSClient
from bbs.client.values import ChatMessage
from bbs.ui.known import Known
from bbs.ui.screen import IScreen


@dataclass(frozen=True)
class Talk:
    """A partner in conversation: a friend, or a group."""

    name: str
    group: bool = False


def partner_of(user: str, message: ChatMessage) -> Talk:
    """With whom or in what group it was said, as `user` sees it."""
    if message.group is not None:
        return Talk(message.group, group=True)
    return Talk(message.sender if message.sender != user else message.to or "")


def is_for(user: str, message: ChatMessage) -> bool:
    """Whether a message is for `user` in particular: to nobody else, or with their name as a word
    in it, however it is written."""
    if message.sender == user:
        return False
    if message.group is None:
        return True
    named = rf"(?<!\w){re.escape(user)}(?!\w)"
    return re.search(named, message.text, re.IGNORECASE) is not None


ALONE = ("?", "exit", "quit")
"""Words that are commands in a talk too, if they are all there is. With a space before it one of
them is said."""


def is_said(line: str) -> bool:
    """Whether a line that is typed in a talk is said to the partner, and no command."""
    if line.strip(" ") in ("", "end") or line.rstrip(" ") in ALONE:
        return False
    return line[:1] != "/" or line[:2] == "//"


def history_line(user: str, partner: Talk) -> str:
    """The request for what `user` and a partner said before. A group may be called as a friend is,
    who would come first."""
    return f"{'history-group' if partner.group else 'history'} {user} {partner.name}"


class Unread:
    """How many messages each user's partners wrote since they last talked."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, dict[Talk, int]] = {}

    def of(self, user: str) -> Mapping[Talk, int]:
        return self._counts.get(user, {})

    def elsewhere(self, user: str) -> int:
        """How many are unread by all others."""
        others = (counts for other, counts in self._counts.items() if other != user)
        return sum(sum(counts.values()) for counts in others)

    def add(self, user: str, partner: Talk) -> None:
        counts = self._counts.setdefault(user, {})
        counts[partner] = counts.get(partner, 0) + 1

    def read(self, user: str, partner: Talk) -> bool:
        """A user has read all that a partner wrote; whether there was any."""
        return self._counts.get(user, {}).pop(partner, None) is not None

    def forget(self, user: str) -> None:
        self._counts.pop(user, None)


class WrongUse(Exception):
    """A command was not given what it needs. The text is for the person who typed it; where it is
    empty the command's usage says enough."""


@dataclass(frozen=True)
class OwnCommand:
    """A command of the client's own. `run` gets the words after its name; it may raise `WrongUse`
    and what asking the service raises."""

    usage: str
    help: str
    run: Callable[[Sequence[str]], Awaitable[None] | None]

    @property
    def name(self) -> str:
        return self.usage.split()[0]


class Speaker(Protocol):
    """A conversation, as completion and the client's own commands see it (`Conversation`)."""

    alone: bool
    current: str | None
    known: Known
    client: BBSClient
    screen: IScreen

    @property
    def talk(self) -> Talk | None: ...

    @property
    def own(self) -> Mapping[str, OwnCommand]: ...

    @property
    def users(self) -> tuple[str, ...]: ...

    def become(self, user: str | None) -> None: ...

    async def begin_talk(self, partner: Talk) -> None: ...

    def end_talk(self) -> None: ...

    def end(self) -> None: ...
