"""Interfaces between a conversation, the screen that shows it, and the client's own commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from bbs.client.replies import ChatMessage, ServiceEvent, ServiceReply
from bbs.client.request import ClientRequest


class PromptCancelled(Exception):
    """The person declined to answer a prompt."""


class IScreen(Interface):
    """Where one person reads the output of a `Conversation`. Other people write the names and texts
    in replies and messages, so a screen shows them with `bbs.ui.output.visible`; the texts of
    `notice` and `problem` are safe already. A message is shown with its time where that is known
    (`bbs.ui.output.Timestamps`) and wanted."""

    for_programs: bool = Attribute(
        "Whether a program may read it: a success is then said by the service's own message."
    )

    def reply(request: ClientRequest, reply: ServiceReply) -> None:
        """Show the service's answer to a command."""

    def message(user: str, message: ChatMessage, for_you: bool) -> None:
        """Show a message that was pushed to `user`, or that `user` sent elsewhere. `for_you`: it is
        for `user` alone or names `user` in a group, so the person may want a signal."""

    def past(user: str, messages: Sequence[ChatMessage], older: bool) -> None:
        """Show at least one earlier message, oldest first; `older`: there are more before them."""

    def event(user: str, event: ServiceEvent) -> None:
        """Show an event for `user` that has a text."""

    def notice(text: str) -> None:
        """Show one or more lines of the client's own."""

    def problem(text: str) -> None:
        """Show one line about a failure."""

    def ask_password(prompt: str) -> Deferred[str]:
        """Read a password without showing it; fails with `PromptCancelled`. May be cancelled."""

    def ask_line(prompt: str) -> Deferred[str]:
        """Read a line that answers a question, and is not carried out; fails with
        `PromptCancelled`. May be cancelled. Lines that come too soon are not sent (`TOO_SOON`)."""

    def queued() -> int:
        """How many lines the person has entered that wait behind the present one."""

    def discard_lines() -> None:
        """Drop the lines that wait behind the present one, and say that they are not sent."""

    def changed() -> None:
        """Draw the prompt again: the current user, the server or the unread counts changed."""


class UsageError(Exception):
    """A command was typed wrongly. The text is for the person; empty: show the usage."""


@dataclass(frozen=True)
class BuiltinCommand:
    """A command of the client's own. `run` gets the words after the name; it may raise `UsageError`
    and the errors of a request to the service. Help has all that are `listed`."""

    usage: str
    help: str
    run: Callable[[Sequence[str]], Awaitable[None] | None]
    listed: bool = True

    @property
    def name(self) -> str:
        return self.usage.split()[0]
