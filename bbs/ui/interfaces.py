"""Interfaces between a conversation, the screen that shows it, and its own commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from bbs.client.client import ServiceClient
from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.request import ClientRequest

if TYPE_CHECKING:
    from bbs.ui.chat import Partner
    from bbs.ui.completion import NameCache


class PromptCancelled(Exception):
    """Somebody who was asked for something will not say it."""


class IScreen(Interface):
    """Where one person reads what a `Conversation` has to say.

    Names and texts in replies and messages are other people's: a screen shows them by
    `bbs.ui.output.visible`. What `notice` and `problem` get is harmless already. What was said has
    its time beside it where that is known (`bbs.ui.output.Timestamps`), unless the person wants
    none.
    """

    def reply(request: ClientRequest, reply: ServiceReply) -> None:
        """Show the service's answer to a command."""

    def message(user: str, message: ChatMessage, for_you: bool) -> None:
        """Show a message that was pushed to `user`, or that `user` has said elsewhere.

        `for_you`: somebody wrote to `user` alone, or named `user` in a group, so that a person who
        looks elsewhere may want to know.
        """

    def past(user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        """Show what was said in a conversation of `user`'s before, oldest first; there is always
        something. `older`: there is more, from before that."""

    def event(user: str, event: ServiceEvent) -> None:
        """Show an event for `user` that has a text, whatever service it is of."""

    def notice(text: str) -> None:
        """Show the client's own words: one line or more."""

    def problem(text: str) -> None:
        """Show what did not work, in a line."""

    def ask_password(prompt: str) -> Deferred[str]:
        """A password, typed without showing; fails with `PromptCancelled`. May be cancelled."""

    def changed() -> None:
        """Draw the prompt anew: who is current, where they are served, or what is unread, has
        changed."""


class UsageError(Exception):
    """A command was not given what it needs. The text is for the person who typed it; where it is
    empty the command's usage says enough."""


@dataclass(frozen=True)
class BuiltinCommand:
    """A command of the client's own. `run` gets the words after its name; it may raise `UsageError`
    and what asking the service raises."""

    usage: str
    help: str
    run: Callable[[Sequence[str]], Awaitable[None] | None]

    @property
    def name(self) -> str:
        return self.usage.split()[0]


class IConversation(Interface):
    """A conversation, as completion and the client's own commands see it."""

    alone: bool = Attribute("Whether only one user is here at a time, whose name is never typed.")
    current: str | None = Attribute("The user who speaks, if one is logged in.")
    known: NameCache = Attribute("The names that completion knows.")
    client: ServiceClient = Attribute("The service.")
    screen: IScreen = Attribute("Where the person reads.")
    talk: Partner | None = Attribute("The partner that lines go to which are not commands.")
    own: Mapping[str, BuiltinCommand] = Attribute("The client's own commands, by name.")
    users: tuple[str, ...] = Attribute("Who is logged in here.")

    def become(user: str | None) -> None:
        """Speak as another of `users`, or as nobody."""

    def begin_talk(partner: Partner) -> Awaitable[None]:
        """Have what is typed go to `partner`."""

    def end_talk() -> None:
        """Have what is typed be commands again."""

    def end() -> None:
        """Let the line that is being carried out be the last."""
