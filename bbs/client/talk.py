"""What a conversation is to those that serve it: its partners, the client's own commands, and what
these may read of it and do to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bbs.client.known import Known
from bbs.client.library import BBSClient
from bbs.client.screen import IScreen


@dataclass(frozen=True)
class Talk:
    """A partner in conversation: a friend, or a group."""

    name: str
    group: bool = False


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
    talk: Talk | None
    known: Known
    own: Mapping[str, OwnCommand]
    client: BBSClient
    screen: IScreen

    @property
    def users(self) -> tuple[str, ...]: ...

    def become(self, user: str | None) -> None: ...

    def begin_talk(self, partner: Talk | None) -> None: ...

    def end(self) -> None: ...
