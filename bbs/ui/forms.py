"""How the script face writes what it has to say: for people, or for programs (`--json`).

For programs each reply and each event is one line of JSON, as on the wire (`docs/protocol.md`,
sections 3 and 4) but for two things: no reply has its `token`, and each message and each event of
the service's own says in `user` whose it is. Nothing but ASCII is written, so it is safe on a
terminal too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from zope.interface import Interface, implementer

from bbs.client.values import ChatMessage, ClientError, ServiceEvent, ServiceReply, Waiting
from bbs.client.vocabulary import Vocabulary
from bbs.ui.text import (
    event_entry,
    message_line,
    problem_line,
    reply_lines,
    visible,
    waiting_line,
)


class IForm(Interface):
    """What is written for each thing that happens, as lines."""

    def reply(reply: ServiceReply, user: str = "") -> Sequence[str]:
        """The service's answer to a command, which may have been a user's."""

    def own(lines: Sequence[str]) -> Sequence[str]:
        """The client's own answer to a command that went well."""

    def failed(problem: ClientError) -> Sequence[str]:
        """In the place of an answer that did not come."""

    def aside(user: str, problem: ClientError) -> Sequence[str]:
        """Beside an answer: what did not work for a user after all."""

    def message(user: str, message: ChatMessage) -> Sequence[str]:
        """A message to a user."""

    def sent(user: str, message: ChatMessage) -> Sequence[str]:
        """A message that a user has sent elsewhere."""

    def event(user: str, event: ServiceEvent) -> Sequence[str]:
        """An event for a user that is one of the service's own."""

    def logged_out(user: str) -> Sequence[str]:
        """A user is not logged in here any more, which was not asked for here."""

    def waiting(waiting: Waiting) -> Sequence[str]:
        """Where a login stands that waits for an app server."""


@implementer(IForm)
class ForPeople:
    """As `docs/protocol.md`, section 7, has it; `vocabulary` knows the service's presentation."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def reply(self, reply: ServiceReply, user: str = "") -> Sequence[str]:
        return reply_lines(self._vocabulary.presentation, reply, user)

    def own(self, lines: Sequence[str]) -> Sequence[str]:
        return lines

    def failed(self, problem: ClientError) -> Sequence[str]:
        return [problem_line(problem)]

    def aside(self, user: str, problem: ClientError) -> Sequence[str]:
        return [problem_line(problem)]

    def message(self, user: str, message: ChatMessage) -> Sequence[str]:
        return [message_line(self._vocabulary.presentation, message)]

    def sent(self, user: str, message: ChatMessage) -> Sequence[str]:
        return [message_line(self._vocabulary.presentation, message)]

    def event(self, user: str, event: ServiceEvent) -> Sequence[str]:
        line = event_entry(self._vocabulary.presentation, event).text
        return [line] if line else []

    def logged_out(self, user: str) -> Sequence[str]:
        return []  # The next command says so; the protocol has nothing between the lines.

    def waiting(self, waiting: Waiting) -> Sequence[str]:
        return [waiting_line(waiting)]


@implementer(IForm)
class ForPrograms:
    """One JSON object for each, on a line."""

    def reply(self, reply: ServiceReply, user: str = "") -> Sequence[str]:
        return _json({name: value for name, value in reply.members.items() if name != "token"})

    def own(self, lines: Sequence[str]) -> Sequence[str]:
        return _json({"status": 0, "message": "\n".join(lines)})

    def failed(self, problem: ClientError) -> Sequence[str]:
        return _json({"status": 1, "message": problem_line(problem)})

    def aside(self, user: str, problem: ClientError) -> Sequence[str]:
        return _json({"event": "problem", "user": user, "message": visible(str(problem))})

    def message(self, user: str, message: ChatMessage) -> Sequence[str]:
        return _json({**message.members, "user": user})

    def sent(self, user: str, message: ChatMessage) -> Sequence[str]:
        return _json({**message.members, "user": user})

    def event(self, user: str, event: ServiceEvent) -> Sequence[str]:
        return _json({**event.members, "user": user})

    def logged_out(self, user: str) -> Sequence[str]:
        return _json({"event": "logout", "user": user})

    def waiting(self, waiting: Waiting) -> Sequence[str]:
        position, seconds = waiting.position, waiting.seconds
        return _json({"event": "waiting", "position": position, "seconds": seconds})


def _json(members: dict[str, object]) -> Sequence[str]:
    return [json.dumps(members)]
