"""What is known of people and groups here, from what the service has said anyway.

Completion reads this and asks nobody. After a login it is filled by four questions; from then on it
follows the replies and messages that pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bbs.client.typed import Typed
from bbs.client.values import BadReply, ChatMessage, Reply, ServiceEvent

Names = dict[str, None]
"""Names without repetition, in the order in which they were learned."""


@dataclass
class Circle:
    """Whom and what one user has to do with."""

    friends: Names = field(default_factory=dict)
    invitations: Names = field(default_factory=dict)
    joined: Names = field(default_factory=dict)
    blocked: Names = field(default_factory=dict)


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
            elif name == "list-block":
                circle.blocked = _names(reply.names("block"))
            elif name == "who":
                circle.friends = _names(each.name for each in reply.presences)
            elif name == "list-group":
                self.groups = _names(reply.names("group")[:MOST_GROUPS])
        except BadReply:
            return  # Whoever shows the reply says so.
        if len(request.words) > 2:
            self._changed(circle, name, request.words[2])

    def _changed(self, circle: Circle, command: str, name: str) -> None:
        """A command about somebody or a group was carried out."""
        match command:
            case "accept-invite":
                circle.invitations.pop(name, None)
                circle.friends[name] = None
            case "decline-invite":
                circle.invitations.pop(name, None)
            case "unfriend":
                circle.friends.pop(name, None)
            case "block":
                circle.invitations.pop(name, None)
                circle.friends.pop(name, None)
                circle.blocked[name] = None
            case "unblock":
                circle.blocked.pop(name, None)
            case "create-group" | "join-group":
                self.groups[name] = circle.joined[name] = None
            case "leave-group":
                circle.joined.pop(name, None)

    def told(self, user: str, event: ServiceEvent) -> None:
        """A user was told of an invitation, or of a friend: only names are taken that can be
        typed."""
        circle, members = self._circles.get(user), event.members
        by = {"invite": "from", "friend": "with"}.get(str(members["event"]), "")
        name = members.get(by)
        if circle is None or not isinstance(name, str) or [name] != name.split():
            return
        if by == "from":
            circle.invitations[name] = None
        else:
            circle.invitations.pop(name, None)
            circle.friends[name] = None

    def heard(self, user: str, message: ChatMessage) -> None:
        """A user got a message: only friends write, and only members hear a group."""
        circle = self._circles.get(user)
        if circle is None:
            return
        if message.group is None:
            circle.friends[message.sender if message.sender != user else message.to or ""] = None
        else:
            circle.joined[message.group] = self.groups[message.group] = None


def _names(names: Iterable[str]) -> Names:
    return dict.fromkeys(names)
