"""What a conversation shows itself on: a terminal here, or one far away behind telnet."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from zope.interface import Interface

from bbs.client.typed import Typed
from bbs.client.values import ChatMessage, Reply, ServiceEvent


class GivenUp(Exception):
    """Somebody who was asked for something will not say it."""


class IScreen(Interface):
    """Where one person reads what a `Conversation` has to say.

    Names and texts in replies and messages are other people's: a screen shows them by
    `bbs.client.text.visible`. What `notice` and `problem` get is harmless already.
    """

    def reply(request: Typed, reply: Reply) -> None:
        """Show the service's answer to a command."""

    def message(user: str, message: ChatMessage) -> None:
        """Show a message that was pushed to `user`."""

    def event(user: str, event: ServiceEvent) -> None:
        """Show an event for `user` that has a text, whatever service it is of."""

    def notice(text: str) -> None:
        """Show the client's own words: one line or more."""

    def problem(text: str) -> None:
        """Show what did not work, in a line."""

    def ask_password(prompt: str) -> Deferred[str]:
        """A password, typed without showing; fails with `GivenUp`. May be cancelled."""

    def changed() -> None:
        """Draw the prompt anew: who is current, where they are served, or what is unread, has
        changed."""
