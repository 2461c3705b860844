"""The errors that rules raise, and their words on the wire.

A rule raises one of these where it finds that a request cannot be carried out, with the names that
its text needs. `TEXTS` is the one table that turns them into wire text (`docs/protocol.md`,
section 3); nothing else of an exception ever reaches a peer.
"""

from __future__ import annotations

from dataclasses import dataclass

from bbs.config.kinds import place_of
from bbs.protocols.line.interfaces import IConnection

__all__ = ["TEXTS", "Address", "BBSError", "wire_text"]


class BBSError(Exception):
    """A request that cannot be carried out, for a reason that its sender may know."""


class UnknownCommand(BBSError):
    """No command is called `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class NotLoggedIn(BBSError):
    """The token is missing, unknown, or its session has ended."""


class WrongUsage(BBSError):
    """The number of arguments is not the command's."""


class InvalidId(BBSError):
    """The name of a new account is too long or holds a control character."""


class AlreadyUsed(BBSError):
    """Another account has the name."""


class WrongCredentials(BBSError):
    """No such user, or another password: the peer is not told which."""


class NoSuchUser(BBSError):
    """`invite` names nobody."""


class InvitesSelf(BBSError):
    """`invite` names its own sender."""


class AlreadyFriends(BBSError):
    """`invite` names a friend."""


class AlreadyInvited(BBSError):
    """The invitation stands already."""


class InvitedBy(BBSError):
    """The other has invited the sender, who may simply accept."""


class NotInvitedBy(BBSError):
    """`accept-invite` names somebody who did not invite."""


class NoSuchFriend(BBSError):
    """`send` names nobody."""


class NotFriends(BBSError):
    """`send` names somebody who is not a friend."""


class NotOnline(BBSError):
    """`send` names a friend who is logged out."""


class InvalidGroup(BBSError):
    """The name of a new group is too long or holds a control character."""


class GroupExists(BBSError):
    """Another group has the name."""


class NoSuchGroup(BBSError):
    """`join-group` names no group."""


class AlreadyMember(BBSError):
    """`join-group` names a group that the sender is in."""


class NoSuchTarget(BBSError):
    """`send-group` names no group."""


class NotMember(BBSError):
    """`send-group` names a group that the sender is not in."""


class TooManyAttempts(BBSError):
    """The rate limit on failed logins or registrations; it names the wait in whole seconds."""


class Unavailable(BBSError):
    """The database is out of reach, or no app server could be had in time: nothing was done."""


@dataclass(frozen=True)
class Address:
    """Where an app server is reached: a host name or address, and a TCP port.

    An empty host is this machine, under whichever address the peer itself has reached it.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return place_of(self.host, self.port)

    def seen_from(self, connection: IConnection) -> Address:
        """The address as the peer of `connection` may use it."""
        return self if self.host else Address(connection.local_host, self.port)

    def as_json(self) -> dict[str, object]:
        """The address as replies and events carry it."""
        return {"host": self.host, "port": self.port}


class Redirected(BBSError):
    """The request belongs to another server; it was not carried out."""


class Moved(Redirected):
    """The user is served at `address`."""

    def __init__(self, address: Address) -> None:
        super().__init__(str(address))
        self.address = address


class AskLoginServer(Redirected):
    """The login server knows: the command is its own, or the user has no place yet."""


TEXTS: dict[type[BBSError], str] = {
    UnknownCommand: "Unknown command {}",
    NotLoggedIn: "Not login yet",
    WrongUsage: "Usage: {}",
    InvalidId: "Invalid id",
    AlreadyUsed: "{} is already used",
    WrongCredentials: "No such user or password error",
    NoSuchUser: "{} does not exist",
    InvitesSelf: "You cannot invite yourself",
    AlreadyFriends: "{} is already your friend",
    AlreadyInvited: "Already invited",
    InvitedBy: "{} has invited you",
    NotInvitedBy: "{} did not invite you",
    NoSuchFriend: "No such user exist",
    NotFriends: "{} is not your friend",
    NotOnline: "{} is not online",
    InvalidGroup: "Invalid group",
    GroupExists: "{} already exist",
    NoSuchGroup: "{} does not exist",
    AlreadyMember: "Already a member of {}",
    NoSuchTarget: "No such group exist",
    NotMember: "You are not the member of {}",
    TooManyAttempts: "Too many attempts, try again in {} s",
    Unavailable: "Service unavailable, try again",
    Moved: "Moved to {}",
    AskLoginServer: "Ask the login server",
}


def wire_text(error: BBSError) -> str:
    """The words in which a peer is told of `error`."""
    return TEXTS[type(error)].format(*error.args)
