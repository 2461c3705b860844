"""What a conversation is to those that serve it: its partners, the client's own commands, and what
these may read of it and do to it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bbs.client.echoes import partner_name
from bbs.client.library import ServiceClient
from bbs.client.values import BadReply, ChatMessage, ServiceReply
from bbs.client.vocabulary import Vocabulary
from bbs.protocols.presentation import Presentation, Talk
from bbs.ui.known import Known
from bbs.ui.screen import IScreen


@dataclass(frozen=True)
class Partner:
    """A partner in conversation: somebody, or a room in which several hear what is said.

    A talk is known by its name (`kind`): what else the service says of it may change meanwhile.
    """

    talk: Talk = field(compare=False)
    name: str
    kind: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "kind", self.talk.name)

    @property
    def is_room(self) -> bool:
        return self.talk.room


def partner_of(presentation: Presentation, user: str, message: ChatMessage) -> Partner:
    """With whom or in what room it was said, as `user` sees it."""
    talk = presentation.talk(message.talk, message.group is not None)
    return Partner(talk, partner_name(presentation, user, message))


def chat_lines(presentation: Presentation, reply: ServiceReply) -> Sequence[ChatMessage]:
    """The messages in the list of a reply, oldest first; `BadReply` where it has something else."""
    messages = []
    for entry in reply.lists.get(reply.list_name or "", (None,)):
        if not isinstance(entry, Mapping) or not (chat := presentation.chat(entry.get("event"))):
            raise BadReply("The server gave no usable list of messages")
        messages.append(ChatMessage.read(entry, chat))
    return messages


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


def history_line(user: str, partner: Partner) -> str:
    """The request for what `user` and a partner said before."""
    name = f" {partner.name}" if partner.talk.choices else ""
    return f"{partner.talk.history} {user}{name}"


def history_command(vocabulary: Vocabulary) -> str:
    """The command by which people read what was said before; empty where there is none."""
    histories = vocabulary.presentation.histories
    return next((name for name in histories if name in vocabulary.offers), "")


class Unread:
    """How many messages each user's partners wrote since they last talked."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, dict[Partner, int]] = {}

    def of(self, user: str) -> Mapping[Partner, int]:
        return self._counts.get(user, {})

    def elsewhere(self, user: str) -> int:
        """How many are unread by all others."""
        others = (counts for other, counts in self._counts.items() if other != user)
        return sum(sum(counts.values()) for counts in others)

    def add(self, user: str, partner: Partner) -> None:
        counts = self._counts.setdefault(user, {})
        counts[partner] = counts.get(partner, 0) + 1

    def read(self, user: str, partner: Partner) -> bool:
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
    client: ServiceClient
    screen: IScreen

    @property
    def talk(self) -> Partner | None: ...

    @property
    def own(self) -> Mapping[str, OwnCommand]: ...

    @property
    def users(self) -> tuple[str, ...]: ...

    def become(self, user: str | None) -> None: ...

    async def begin_talk(self, partner: Partner) -> None: ...

    def end_talk(self) -> None: ...

    def end(self) -> None: ...
