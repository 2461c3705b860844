"""What peers are told went wrong, in words and by code: `docs/protocol.md`, section 3."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from bbs.board.groups import errors as of_groups
from bbs.board.messages import errors as of_messages
from bbs.board.people import errors as of_people
from bbs.board.posts import errors as of_posts
from bbs.commands import context
from bbs.commands.context import AskLoginServer, Moved
from bbs.core import errors
from bbs.core.addresses import Address
from bbs.core.errors import Refusal
from bbs.delivery import listeners
from bbs.delivery.listeners import TooManyListeners
from bbs.protocols import commands
from bbs.protocols.commands import UnknownCommand, WrongUsage
from bbs.protocols.line import interfaces
from bbs.rules import accounts, pagination
from bbs.rules.accounts import AccountSuspended
from tests.paths import CHECKOUT

BOARD = (of_people, of_groups, of_messages, of_posts)

CODES = (CHECKOUT / "docs/client-authors.md").read_text()
"""Where authors of clients look them up."""

PROTOCOL = (CHECKOUT / "docs/protocol.md").read_text()


class Words(SynchronousTestCase):
    def test_as_the_protocol_has_them(self) -> None:
        for error, text, code in (
            (UnknownCommand("frob"), "Unknown command frob", "unknown-command"),
            (errors.NotLoggedIn(), "Not login yet", "not-logged-in"),
            (WrongUsage("login <id>"), "Usage: login <id>", "wrong-usage"),
            (accounts.InvalidId(), "Invalid id", "invalid-id"),
            (accounts.AlreadyUsed("ann"), "ann is already used", "already-used"),
            (accounts.PasswordTooShort(), "Password too short", "password-too-short"),
            (accounts.PasswordTooLong(), "Password too long", "password-too-long"),
            (AccountSuspended(), "This account is suspended", "account-suspended"),
            (errors.WrongCredentials(), "No such user or password error", "wrong-credentials"),
            (of_people.NoSuchUser("bob"), "bob does not exist", "no-such-user"),
            (of_people.InvitesSelf(), "You cannot invite yourself", "invites-self"),
            (of_people.AlreadyFriends("bob"), "bob is already your friend", "already-friends"),
            (of_people.AlreadyInvited(), "Already invited", "already-invited"),
            (of_people.InvitedBy("bob"), "bob has invited you", "invited-by"),
            (of_people.NotInvitedBy("bob"), "bob did not invite you", "not-invited-by"),
            (of_people.TakesNothing("bob"), "bob takes nothing from you", "takes-nothing"),
            (of_people.YouHaveBlocked("bob"), "You have blocked bob", "you-have-blocked"),
            (of_people.BlocksSelf(), "You cannot block yourself", "blocks-self"),
            (of_people.TooManyBlocked(), "You have blocked too many", "too-many-blocked"),
            (of_people.NotBlocked("bob"), "bob is not blocked", "not-blocked"),
            (of_messages.NoSuchFriend(), "No such user exist", "no-such-user"),
            (of_people.NotFriends("bob"), "bob is not your friend", "not-friends"),
            (of_messages.NotOnline("bob"), "bob is not online", "not-online"),
            (of_groups.InvalidGroup(), "Invalid group", "invalid-group"),
            (of_groups.GroupExists("go"), "go already exist", "group-exists"),
            (of_groups.NoSuchGroup("go"), "go does not exist", "no-such-group"),
            (of_groups.AlreadyMember("go"), "Already a member of go", "already-member"),
            (of_groups.NoSuchTarget(), "No such group exist", "no-such-group"),
            (of_posts.NoSuchPost(), "No such post", "no-such-post"),
            (of_posts.NotYourPost(), "Not your post", "not-your-post"),
            (of_groups.PrivateGroup("go"), "go is private", "private-group"),
            (of_groups.NotTheOwner("go"), "You do not own go", "not-the-owner"),
            (of_groups.TopicTooLong(9), "A topic has at most 9 characters", "topic-too-long"),
            (
                of_groups.AcceptsNoMessages("bob"),
                "bob does not accept messages from you",
                "takes-nothing",
            ),
            (of_groups.IsMember("bob", "go"), "bob is already a member of go", "is-member"),
            (of_groups.IsNotMember("bob", "go"), "bob is not a member of go", "is-not-member"),
            (of_groups.KicksSelf(), "You cannot remove yourself, leave the group", "kicks-self"),
            (of_groups.AlreadyOwner("go"), "You own go already", "already-owner"),
            (of_groups.NotMember("go"), "You are not the member of go", "not-member"),
            (errors.TooManyAttempts(7), "Too many attempts, try again in 7 s", "too-many-attempts"),
            (TooManyListeners(16), "You listen on 16 connections already", "too-many-listeners"),
            (errors.Unavailable(), "Service unavailable, try again", "unavailable"),
            (errors.DiskFull(), "The disk is nearly full, try again later", "disk-full"),
            (errors.Stopping(), "Service unavailable, try again", "stopping"),
            (Moved(Address("203.0.113.7", 22223)), "Moved to 203.0.113.7:22223", "moved"),
            (AskLoginServer(), "Ask the login server", "ask-login-server"),
        ):
            self.assertEqual((error.message, error.code), (text, code))
            self.assertIn(f"`{code}`", CODES)

    def test_which_are_limits(self) -> None:
        modules = (*BOARD, errors)
        every = [each for module in modules for each in vars(module).values()]
        every = [each for each in every if isinstance(each, type)]
        limits = {each.code for each in every if issubclass(each, Refusal) and each.limit}
        self.assertEqual(
            limits,
            {
                "group-full",
                "group-has-too-many-invitations",
                "has-too-many-friends",
                "has-too-many-groups",
                "has-too-many-invitations",
                "inbox-full",
                "invites-too-many",
                "stored-too-much",
                "too-many-blocked",
                "too-many-friends",
                "too-many-groups",
                "too-many-invitations",
                "too-many-joined",
            },
        )
        for code in limits:
            self.assertIn(f"`{code}`", CODES)

    def test_each_is_in_the_protocol(self) -> None:
        modules = (
            *BOARD,
            errors,
            accounts,
            context,
            commands,
            pagination,
            listeners,
            interfaces,
            accounts,
        )
        declared = [value for module in modules for value in vars(module).values()]
        texts = {
            value.text
            for value in declared
            if isinstance(value, type) and issubclass(value, Refusal) and value is not Refusal
        }
        self.assertGreater(len(texts), 40)
        for text in sorted(texts):
            words = '[^`"]+'.join(map(re.escape, text.split("{}")))
            self.assertRegex(PROTOCOL, f'[`"]{words}[`"]')

    def test_names_are_not_taken_for_formats(self) -> None:
        for name in ("{}", "{0.__class__}", "%s", "{", "}"):
            self.assertEqual(of_messages.NotOnline(name).message, f"{name} is not online")


class Declaring(SynchronousTestCase):
    def test_words_and_code(self) -> None:
        class NotInLobby(Refusal):
            text = "You are not in {}"

        class InHTTPLobby2Already(Refusal):
            text = "Already"
            code = "there"

        self.assertEqual(
            (NotInLobby("go").message, NotInLobby.code), ("You are not in go", "not-in-lobby")
        )
        self.assertEqual(InHTTPLobby2Already.code, "there")

    def test_a_code_of_capitals_and_digits(self) -> None:
        class HTTPServer2Away(Refusal):
            text = "Away"

        self.assertEqual(HTTPServer2Away.code, "http-server2-away")

    def test_a_subclass_is_told_as_its_base(self) -> None:
        class Full(Refusal):
            text = "The lobby is full"

        class FullOfFriends(Full):
            pass

        self.assertEqual(
            (FullOfFriends().message, FullOfFriends.code), ("The lobby is full", "full")
        )

    def test_one_that_lacks_an_argument(self) -> None:
        class Rude(Refusal):
            text = "{} is rude to {}"

        try:
            raise Rude("ann")
        except Rude as error:
            problem = str(self.assertRaises(TypeError, getattr, error, "message"))
        self.assertIn("Rude was raised with 1 arguments, for the text '{} is rude to {}'", problem)
        self.assertRegex(problem, r", at .*test_errors\.py:\d+$")
        self.assertNotIn(", at ", str(self.assertRaises(TypeError, getattr, Rude(), "message")))

    def test_one_without_words_is_refused_where_it_is_defined(self) -> None:
        with self.assertRaisesRegex(TypeError, "Speechless is a Refusal and needs a text"):

            class Speechless(Refusal):
                pass

    def test_one_of_no_format_is_refused_there_too(self) -> None:
        for wrong in ("{", "}", "{name}", "{0.__class__}", "{ 1 }", 5):
            with self.assertRaisesRegex(TypeError, "may have no braces but"):
                type("Wrong", (Refusal,), {"text": wrong})
        for right in ("{}", "{0} of {1}", "{{}}", "{!r}"):
            type("Right", (Refusal,), {"text": right})

    def test_one_of_no_class_of_its_own(self) -> None:
        self.assertRaises(TypeError, Refusal, "You cannot")


class Addresses(SynchronousTestCase):
    def test_as_json(self) -> None:
        address = Address("203.0.113.7", 22223)
        self.assertEqual(address.as_json(), {"host": "203.0.113.7", "port": 22223})
        self.assertEqual(Address.from_json(address.as_json()), address)

    def test_this_machine_is_where_the_peer_reached_it(self) -> None:
        seen = Address("", 22223).seen_from("192.0.2.1")
        self.assertEqual(seen, Address("192.0.2.1", 22223))

    def test_another_is_itself(self) -> None:
        address = Address("203.0.113.7", 22223)
        self.assertIs(address.seen_from("192.0.2.1"), address)
