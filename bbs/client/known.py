"""What is known of people and groups here, from what the service has said anyway.

Completion reads this and asks nobody. After a login it is filled by four questions; from then on it
follows the replies and messages that pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bbs.client.typed import Typed
from bbs.client.values import BadReply, ChatMessage, Reply

Names = dict[str, None]
"""Names without repetition, in the order in which they were learned."""


@dataclass
class Circle:
    """Whom and what one user has to do with."""

    friends: Names = field(default_factory=dict)
    invitations: Names = field(default_factory=dict)
    joined: Names = field(default_factory=dict)


QUESTIONS = ("list-friend", "list-invite", "list-joined", "list-group")
"""The commands whose replies tell everything that is kept here."""


MOST_GROUPS = 1000
"""Groups that are kept of a service that may have any number: nobody completes among more."""


class Known:
    """The circles of all users who are logged in here, and all groups."""

    def __init__(self) -> None:
        self.groups: Names = {}
        self._circles: dict[str, Circle] = {}

    def circle(self, user: str | None) -> Circle:
        """What is known around a user; an empty one for somebody who is not logged in here."""
        return self._circles.get(user or "", Circle())

    def begin(self, user: str) -> None:
        """A user has logged in."""
        self._circles.setdefault(user, Circle())

    def forget(self, user: str) -> None:
        """A user has left."""
        self._circles.pop(user, None)

    def learn(self, request: Typed, reply: Reply) -> None:
        """A command of a user's was carried out."""
        name, circle = request.familiar, self._circles.get(request.user)
        if circle is None or not reply.ok:
            return
        try:
            if name == "list-friend":
                circle.friends = _names(reply.names("friend"))
            elif name == "list-invite":
                circle.invitations = _names(reply.names("invite"))
            elif name == "list-joined":
                circle.joined = _names(reply.names("group"))
            elif name == "list-group":
                self.groups = _names(reply.names("group")[:MOST_GROUPS])
        except BadReply:
            return  # Whoever shows the reply says so.
        if name == "accept-invite":
            circle.invitations.pop(request.words[2], None)
            circle.friends[request.words[2]] = None
        elif name in ("create-group", "join-group"):
            self.groups[request.words[2]] = circle.joined[request.words[2]] = None

    def heard(self, user: str, message: ChatMessage) -> None:
        """A user got a message: only friends write, and only members hear a group."""
        circle = self._circles.get(user)
        if circle is None:
            return
        if message.group is None:
            circle.friends[message.sender] = None
        else:
            circle.joined[message.group] = self.groups[message.group] = None


def _names(names: Iterable[str]) -> Names:
    return dict.fromkeys(names)
