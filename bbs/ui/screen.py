"""What a conversation shows itself on: a terminal here, or one far away behind telnet."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from zope.interface import Interface

from bbs.client.typed import Typed
from bbs.client.values import ChatMessage, ServiceEvent, ServiceReply


class GivenUp(Exception):
    """Somebody who was asked for something will not say it."""


class IScreen(Interface):
    """Where one person reads what a `Conversation` has to say.

    Names and texts in replies and messages are other people's: a screen shows them by
    `bbs.ui.text.visible`. What `notice` and `problem` get is harmless already.
    What was said has its time beside it where that is known (`bbs.ui.times`), unless the person
    wants none.
    """

    def reply(request: Typed, reply: ServiceReply) -> None:
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
        """A password, typed without showing; fails with `GivenUp`. May be cancelled."""

    def changed() -> None:
        """Draw the prompt anew: who is current, where they are served, or what is unread, has
        changed."""
