"""The words of errors on the wire: `docs/protocol.md`, section 3."""

from __future__ import annotations

from collections.abc import Iterator

from twisted.trial.unittest import SynchronousTestCase

import bbs.commands.dispatch
import bbs.limits.attempts
import bbs.passwords
import bbs.rules.fleet
import bbs.scaling.waiting
from bbs import errors
from bbs.errors import TEXTS, Address, BBSError, Moved, Redirected, wire_text

# Whoever raises a BBSError of its own is imported here, so that the test below sees it.
_ = (
    bbs.limits.attempts,
    bbs.commands.dispatch,
    bbs.passwords,
    bbs.rules.fleet,
    bbs.scaling.waiting,
)


def subclasses(of: type[BBSError]) -> Iterator[type[BBSError]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


class Texts(SynchronousTestCase):
    def test_every_error_that_a_peer_may_be_told_of_has_one(self) -> None:
        """`Redirected` is only what two of them share."""
        self.assertEqual(set(subclasses(BBSError)) - {Redirected}, set(TEXTS))

    def test_as_the_protocol_has_them(self) -> None:
        for error, text in (
            (errors.UnknownCommand("frob"), "Unknown command frob"),
            (errors.NotLoggedIn(), "Not login yet"),
            (errors.WrongUsage("login <id> <password>"), "Usage: login <id> <password>"),
            (errors.InvalidId(), "Invalid id"),
            (errors.AlreadyUsed("ann"), "ann is already used"),
            (errors.WrongCredentials(), "No such user or password error"),
            (errors.NoSuchUser("bob"), "bob does not exist"),
            (errors.InvitesSelf(), "You cannot invite yourself"),
            (errors.AlreadyFriends("bob"), "bob is already your friend"),
            (errors.AlreadyInvited(), "Already invited"),
            (errors.InvitedBy("bob"), "bob has invited you"),
            (errors.NotInvitedBy("bob"), "bob did not invite you"),
            (errors.NoSuchFriend(), "No such user exist"),
            (errors.NotFriends("bob"), "bob is not your friend"),
            (errors.NotOnline("bob"), "bob is not online"),
            (errors.InvalidGroup(), "Invalid group"),
            (errors.GroupExists("go"), "go already exist"),
            (errors.NoSuchGroup("go"), "go does not exist"),
            (errors.AlreadyMember("go"), "Already a member of go"),
            (errors.NoSuchTarget(), "No such group exist"),
            (errors.NotMember("go"), "You are not the member of go"),
            (errors.TooManyAttempts(7), "Too many attempts, try again in 7 s"),
            (errors.Unavailable(), "Service unavailable, try again"),
            (Moved(Address("203.0.113.7", 22223)), "Moved to 203.0.113.7:22223"),
            (errors.AskLoginServer(), "Ask the login server"),
        ):
            self.assertEqual(wire_text(error), text)

    def test_names_are_not_taken_for_formats(self) -> None:
        for name in ("{}", "{0.__class__}", "%s", "{", "}"):
            self.assertEqual(wire_text(errors.NotOnline(name)), f"{name} is not online")


class Connection:
    """As far as addresses need one."""

    local_host = "192.0.2.1"


class Addresses(SynchronousTestCase):
    def test_as_json(self) -> None:
        address = Address("203.0.113.7", 22223)
        self.assertEqual(address.as_json(), {"host": "203.0.113.7", "port": 22223})

    def test_this_machine_is_where_the_peer_reached_it(self) -> None:
        seen = Address("", 22223).seen_from(Connection())
        self.assertEqual(seen, Address("192.0.2.1", 22223))

    def test_another_is_itself(self) -> None:
        address = Address("203.0.113.7", 22223)
        self.assertIs(address.seen_from(Connection()), address)
