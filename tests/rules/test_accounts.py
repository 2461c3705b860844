"""Accounts and sessions: `docs/protocol.md`, section 3, "Login server"."""

from __future__ import annotations

import re
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board
from bbs.board.groups import groups
from bbs.board.groups.tables import Group, Membership
from bbs.board.messages import expiry, messages
from bbs.board.messages.tables import Delivery, Inbox, MessageRow
from bbs.board.people import friendships
from bbs.board.people.tables import Relationship
from bbs.board.posts import posts
from bbs.board.posts.tables import PostRow
from bbs.core.errors import NotLoggedIn, Refusal, WrongCredentials
from bbs.core.values import State
from bbs.delivery.feed import Cursor
from bbs.rules import accounts, auth, placement, presence
from bbs.rules.placement import Look
from bbs.storage.models import KnownNetwork, Place, Server, Session, User
from tests.database_case import SESSIONS, RulesCase, on_both_databases
from tests.rules.crowds import add

TAKEN_APART, COMPOSED = "a\N{COMBINING DIAERESIS}nn", "änn"

LONGEST = "\N{GRINNING FACE}" * 100


@on_both_databases
class Registering(RulesCase):
    def register(self, name: str) -> None:
        self.call(accounts.register, name, "hash", self.now, board.on_register)

    def refused_name(self, text: str, name: str) -> None:
        self.refused(text, accounts.check_free, name)
        self.refused(text, accounts.register, name, "hash", self.now)

    def hash_of(self, name: str) -> str | None:
        stored: str | None = self.call(accounts.credentials, name).password_hash
        return stored

    def test_what_is_stored(self) -> None:
        self.register("ann")
        user = User.get(User.name == "ann")
        self.assertEqual((user.password_hash, user.created), ("hash", self.now))
        self.assertRegex(user.channel, r"\A[0-9a-f]{32}\Z")
        self.assertEqual(Inbox.get(Inbox.user == user).delivered, 0)

    def test_a_name_is_taken_once(self) -> None:
        self.register("ann")
        self.refused_name("ann is already used", "ann")

    def test_names_compare_byte_for_byte(self) -> None:
        names = ["ann", "Ann", "änn", "ANN", "ann.", "аnn"]
        for name in names:
            self.register(name)
        self.assertEqual([user.name for user in User.select().order_by(User.id)], names)
        for name in names:
            self.refused_name(f"{name} is already used", name)

    def test_names_that_nobody_may_have(self) -> None:
        for name in ("a" * 101, LONGEST + "a", "a\0b", "a\tb", "a\x7f", "\x1b[1m", "a\x85"):
            self.refused_name("Invalid id", name)
        self.assertEqual(User.select().count(), 0)

    def test_a_new_name_is_stored_in_nfc(self) -> None:
        self.register(TAKEN_APART)
        self.assertEqual(User.get().name, COMPOSED)
        for name in (COMPOSED, TAKEN_APART):
            self.refused(f"{name} is already used", accounts.check_free, name)
            self.refused(f"{name} is already used", accounts.register, name, "hash", self.now)
            self.assertEqual(self.hash_of(name), "hash")
        self.assertIsNone(self.hash_of("ann"))

    def test_a_name_of_before_stays_as_it_is(self) -> None:
        """What is typed just so is found before what is the same in NFC."""
        old = {"name": TAKEN_APART, "password_hash": "old", "channel": "", "created": 0.0}
        User.insert(old).execute()
        self.refused_name(f"{TAKEN_APART} is already used", TAKEN_APART)
        self.assertEqual(self.hash_of(TAKEN_APART), "old")
        self.assertIsNone(self.hash_of(COMPOSED))
        self.refused_name(f"{COMPOSED} is already used", COMPOSED)
        # Nobody gets it anew; some have, before that was looked at.
        User.insert(old | {"name": COMPOSED, "password_hash": "hash"}).execute()
        self.assertEqual(self.hash_of(TAKEN_APART), "old")
        self.assertEqual(self.hash_of(COMPOSED), "hash")

    def test_an_invalid_name_comes_before_one_in_use(self) -> None:
        User.insert(name="a\tb", password_hash="", channel="", created=0.0).execute()
        self.refused_name("Invalid id", "a\tb")

    def test_the_longest_names(self) -> None:
        for name in ("a" * 100, LONGEST, "{}", "%s", "a'b", '"', "\\", "ann%", "_nn"):
            self.call(accounts.check_free, name)
            self.register(name)
            self.assertEqual(self.hash_of(name), "hash")
            self.refused_name(f"{name} is already used", name)

    def test_a_hash_of_nobody(self) -> None:
        self.assertIsNone(self.hash_of("ann"))
        self.assertIsNone(self.hash_of("a" * 60_000))

    def test_a_name_that_is_free_again_has_a_new_id(self) -> None:
        """Or else somebody would listen to what was for another."""
        for _ in range(2):
            ann = self.person("ann")
            self.call(accounts.delete, ann)
        self.register("ann")
        self.assertGreater(User.get(User.name == "ann").id, ann.id)


class NewPasswords(SynchronousTestCase):
    def refused(self, text: str, password: str, minimum: int) -> None:
        error = self.assertRaises(Refusal, accounts.check_password, password, minimum)
        self.assertEqual(error.message, text)

    def test_a_minimum_of_characters(self) -> None:
        accounts.check_password("x", 1)
        accounts.check_password("p\N{GRINNING FACE}ssword", 8)
        self.refused("Password too short", "p\N{GRINNING FACE}sswor", 8)

    def test_so_many_bytes(self) -> None:
        accounts.check_password("x" * 1024, 1)
        accounts.check_password("ä" * 512, 1)
        for password in ("x" * 1025, "ä" * 512 + "x"):
            self.refused("Password too long", password, 1)


@on_both_databases
class LoggingIn(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.account("ann")

    def attempt(self, verified: str = "hash of ann", name: str = "ann", **others: Any) -> Any:
        look = others.get("look", Look(new=True))
        digest = others.get("digest", "d" * 64)
        new_hash = others.get("new_hash")
        most = others.get("most", accounts.MOST_SESSIONS)
        rest = (look, most, None, others.get("network", ""))
        return self.call(accounts.log_in, name, verified, digest, new_hash, self.now, *rest)

    def test_a_session_and_a_place(self) -> None:
        search = self.attempt()
        self.assertEqual(search, placement.Search(self.seat(self.server)))
        self.assertEqual(Session.get().used, self.now)
        self.assertEqual(self.taken(self.server), 1)

    def test_somebody_online_keeps_the_place(self) -> None:
        self.log_in("ann")
        self.ready_server(capacity=1000, host="other")
        for _ in range(3):
            self.assertEqual(self.caller(self.log_in("ann")).server, self.server)
        self.assertEqual(self.taken(self.server), 1)
        self.assertEqual(Session.select().count(), 4)

    def test_a_name_in_another_form(self) -> None:
        self.account(COMPOSED)
        self.attempt(f"hash of {COMPOSED}", TAKEN_APART)
        self.assertEqual(Session.get().user.name, COMPOSED)

    def test_of_too_many_sessions_the_one_longest_unused_ends(self) -> None:
        self.account("bob")
        others = self.log_in("bob")
        digests = [str(number) * 64 for number in range(6)]
        for digest in digests[:3]:
            self.attempt(digest=digest)
            self.clock.advance(1)
        self.call(auth.touch, 1, digests[0], self.now)
        for digest in digests[3:]:
            # At the same moment as the one that was used just now.
            self.attempt(digest=digest, most=4)
        self.assertEqual(self.digests("ann"), {digests[0], *digests[3:]})
        self.caller(others)
        self.attempt(digest="f" * 64, most=1)
        self.assertEqual(self.digests("ann"), {"f" * 64})

    def digests(self, name: str) -> set[str]:
        """The sessions of `name`."""
        query = Session.select().join(User).where(User.name == name)
        return {each.digest for each in query}

    def test_thirty_two_unless_it_is_said(self) -> None:
        for _ in range(40):
            self.log_in("ann")
        self.assertEqual(Session.select().count(), 32)

    def test_no_room(self) -> None:
        """Neither a session nor a place, until there is one."""
        Server.delete().execute()
        self.assertEqual(self.attempt(), placement.Search(None))
        self.assertEqual(Session.select().count() + Place.select().count(), 0)
        server = self.ready_server(capacity=1)
        self.assertEqual(self.attempt(look=Look(new=False)), placement.Search(None))
        self.assertEqual(self.attempt(), placement.Search(self.seat(server)))

    def test_nobody(self) -> None:
        d = self.database.run(accounts.log_in, "bob", "hash", "d", None, self.now, Look(new=True))
        self.assertEqual(
            self.failureResultOf(d, WrongCredentials).value.message,
            "No such user or password error",
        )

    def test_the_account_is_another_than_the_one_whose_password_matched(self) -> None:
        """It was deleted and registered anew while the password was verified."""
        self.refused(
            "No such user or password error",
            accounts.log_in,
            "ann",
            "hash of an earlier ann",
            "d" * 64,
            None,
            self.now,
            Look(new=True),
        )
        self.assertEqual(Session.select().count() + self.taken(self.server), 0)

    def networks(self) -> dict[str, float]:
        found: accounts.Credentials = self.call(accounts.credentials, "ann")
        return dict(found.networks)

    def test_a_network_is_noted(self) -> None:
        self.attempt()
        self.assertEqual(self.networks(), {})
        self.clock.advance(10.0)
        for network in ("203.0.113.0/24", "2001:db8::/56", "203.0.113.0/24"):
            self.attempt(network=network)
        self.assertEqual(
            self.networks(), dict.fromkeys(("203.0.113.0/24", "2001:db8::/56"), self.now)
        )

    def test_without_a_place_no_network_is_noted(self) -> None:
        Server.update(capacity=0).execute()
        self.attempt(network="203.0.113.0/24")
        self.assertEqual(self.networks(), {})

    def test_the_latest_networks_are_kept(self) -> None:
        for number in range(20):
            self.clock.advance(1.0)
            self.attempt(network=f"10.0.{number}.0/24")
        self.assertEqual(set(self.networks()), {f"10.0.{number}.0/24" for number in range(4, 20)})

    def test_a_network_is_forgotten_in_the_end(self) -> None:
        self.attempt(network="10.0.0.0/24")
        self.clock.advance(accounts.NETWORK_TTL)
        self.attempt(network="10.0.1.0/24")
        self.assertEqual(set(self.networks()), {"10.0.1.0/24"})

    def test_networks_are_one_users_and_go_with_the_account(self) -> None:
        ann, bob = self.person("cat"), self.person("dan")
        for caller in (ann, bob):
            self.attempt(f"hash of {caller.name}", caller.name, network="10.0.0.0/24")
        self.call(accounts.delete, ann)
        self.assertEqual([each.user_id for each in KnownNetwork.select()], [bob.id])

    def test_a_better_hash_replaces_the_old_one(self) -> None:
        self.attempt(new_hash="better hash")
        self.assertEqual(User.get(User.name == "ann").password_hash, "better hash")

    def test_without_a_place_the_hash_stays(self) -> None:
        """As the login is tried again with the same verified one."""
        Server.update(capacity=0).execute()
        self.attempt(new_hash="better hash")
        self.assertEqual(User.get(User.name == "ann").password_hash, "hash of ann")

    def test_an_attempt_that_was_stored_although_it_seemed_to_fail(self) -> None:
        self.attempt()
        self.assertEqual(self.attempt(), placement.Search(self.seat(self.server)))
        self.assertEqual((Session.select().count(), self.taken(self.server)), (1, 1))

    def test_giving_up_after_the_login(self) -> None:
        self.attempt(digest="1" * 64)
        self.call(accounts.undo_log_in, "1" * 64)
        self.assertEqual(Session.select().count() + self.taken(self.server), 0)
        self.call(accounts.undo_log_in, "1" * 64)

    def test_giving_up_ends_no_other_session(self) -> None:
        token = self.log_in("ann")
        self.attempt(digest="1" * 64)
        self.call(accounts.undo_log_in, "1" * 64)
        self.assertEqual(self.caller(token).server, self.server)


@on_both_databases
class InUse(RulesCase):
    """Sessions that are used while their user logs in very often."""

    logins = 45  # More than a user may have sessions.

    def setUp(self) -> None:
        super().setUp()
        self.account("ann")
        self.stored = 0  # How often a use of a session was stored.

    def use(self, *tokens: str) -> None:
        """Send a request of each of these sessions."""
        for token in tokens:
            caller = self.caller(token)
            if caller.touch:
                self.stored += 1
                self.call(auth.touch, caller.id, caller.session, caller.now)

    def log_in_at(self, ahead: float) -> None:
        """Log in at a server whose clock is ahead of that of the others."""
        digest, look = auth.digest(accounts.new_token()), Look(new=True)
        self.call(accounts.log_in, "ann", "hash of ann", digest, None, self.now + ahead, look)

    def test_they_stay(self) -> None:
        unused, *used = (self.log_in("ann") for _ in range(3))
        for _ in range(self.logins):
            self.use(*used)
            self.clock.advance(0.01)
            self.log_in("ann")
        self.use(*used)
        self.assertLessEqual(self.stored, 2 * self.logins)
        self.refused("Not login yet", auth.identify, unused, SESSIONS, self.now)

    def test_they_stay_if_clocks_differ(self) -> None:
        for ahead in (-40.0, -0.5, 0.5, 40.0):
            self.stored = 0
            token = self.log_in("ann")
            for _ in range(self.logins):
                self.log_in_at(ahead)
                for _ in range(3):
                    self.clock.advance(0.01)
                    self.use(token)
            self.assertLessEqual(self.stored, self.logins, ahead)

    def test_a_login_is_noted_once(self) -> None:
        tokens = [self.log_in("ann") for _ in range(3)]
        self.clock.advance(1)
        self.log_in("ann")
        for _ in range(50):
            for token in tokens:
                self.clock.advance(0.01)
                self.use(token)
        self.assertEqual(self.stored, 3)

    def test_their_uses_are_noted_as_rarely_as_that_of_one(self) -> None:
        tokens = [self.log_in("ann") for _ in range(2)]
        minutes = 20
        for _ in range(60 * minutes):
            for token in tokens:
                self.clock.advance(0.5)
                self.use(token)
        of_each = 60 * minutes / (SESSIONS.slack + 1)
        # That `User.seen` is stored, once a minute, is noted as a login is.
        self.assertLessEqual(self.stored, 2 * of_each + minutes)

    def test_after_a_clock_was_set_back(self) -> None:
        tokens = [self.log_in("ann") for _ in range(2)]
        for back in (30.0, 3600.0):
            self.stored = 0
            User.update(seen=self.now + back).execute()
            Session.update(used=self.now + back - 1).execute()
            for _ in range(3):
                self.use(*tokens)
            self.assertEqual(self.stored, 2)

    def test_that_of_a_listener_stays_ahead(self) -> None:
        token = self.log_in("ann")
        self.clock.advance(auth.MOST_SLACK + 1)
        ahead = self.now + SESSIONS.slack / 2
        self.call(presence.renew, [auth.digest(token)], ahead)
        self.use(token)
        self.assertEqual((User.get().seen, Session.get().used), (self.now, ahead))


@on_both_databases
class Sessions(RulesCase):
    def test_who_a_token_belongs_to(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        caller = self.caller(token)
        user = User.get()
        self.assertEqual(
            caller,
            auth.Caller(
                user.id,
                "ann",
                user.channel,
                self.now,
                self.server,
                None,
                session=auth.digest(token),
                quotas=caller.quotas,
            ),
        )

    def test_tokens_that_are_none(self) -> None:
        self.person("ann")
        stored = Session.get().digest
        for token in (None, "", "no token", stored, "\0", "\N{GRINNING FACE}", "a" * 60_000):
            self.refused("Not login yet", auth.identify, token, SESSIONS, self.now)

    def test_a_token_is_stored_as_a_digest_only(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        self.assertRegex(token, re.compile(r"\A[0-9a-f]{40}\Z"))
        self.assertEqual(Session.get().digest, auth.digest(token))
        self.assertNotIn(token, auth.digest(token))
        self.assertNotEqual(accounts.new_token(), accounts.new_token())

    def test_time_to_live(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        self.clock.advance(SESSIONS.ttl)
        self.caller(token)
        self.clock.advance(0.001)
        self.refused("Not login yet", auth.identify, token, SESSIONS, self.now)

    def test_use_prolongs_it(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        for _ in range(4):
            self.clock.advance(0.9 * SESSIONS.ttl)
            caller = self.caller(token)
            self.assertEqual(caller.touch, auth.digest(token))
            self.call(auth.touch, caller.id, auth.digest(token), self.now)

    def test_use_is_noted_now_and_then(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        self.clock.advance(SESSIONS.ttl * auth.TOUCH_SHARE)
        self.assertIsNone(self.caller(token).touch)
        self.clock.advance(0.001)
        self.assertIsNotNone(self.caller(token).touch)

    def test_touching_a_session_that_ended(self) -> None:
        self.call(auth.touch, 1, "d" * 64, self.now)
        self.assertEqual(Session.select().count(), 0)

    def test_a_server_that_is_not_well_serves_nobody(self) -> None:
        self.account("ann")
        token = self.log_in("ann")
        for state in State:
            Server.update(state=state).execute()
            serves = state in (State.READY, State.DRAINING)
            expected = self.server if serves else None
            self.assertEqual(self.caller(token).server, expected)

    def test_stale_ones_end_and_give_the_place_back(self) -> None:
        self.account("ann")
        self.account("bob")
        self.log_in("ann")
        self.log_in("bob")
        self.clock.advance(600)
        live = self.log_in("bob")
        self.clock.advance(600)
        self.assertEqual(self.call(accounts.end_stale_sessions, SESSIONS, self.now), 2)
        self.assertEqual(Session.get().digest, auth.digest(live))
        self.assertEqual(self.taken(self.server), 1)
        self.assertEqual(self.caller(live).server, self.server)
        self.assertEqual(self.call(accounts.end_stale_sessions, SESSIONS, self.now), 0)

    def test_stale_ones_end_a_few_at_a_time(self) -> None:
        self.account("ann")
        for _ in range(5):
            self.log_in("ann")
        self.clock.advance(2000)
        ended = [self.call(accounts.end_stale_sessions, SESSIONS, self.now, 2) for _ in range(4)]
        self.assertEqual(ended, [2, 2, 1, 0])
        self.assertEqual(self.taken(self.server), 0)


@on_both_databases
class LoggingOut(RulesCase):
    def test_every_token_ends(self) -> None:
        self.account("ann")
        tokens = [self.log_in("ann") for _ in range(3)]
        bob = self.person("bob")
        caller = self.caller(tokens[0])
        self.assertEqual(self.call(accounts.log_out, caller), caller)
        for token in tokens:
            self.failureResultOf(
                self.database.run(auth.identify, token, SESSIONS, self.now), NotLoggedIn
            )
        self.assertEqual(self.taken(self.server), 1)
        self.assertEqual(Place.get().user_id, bob.id)

    def test_the_place_is_for_others(self) -> None:
        Server.update(capacity=1).execute()
        ann = self.person("ann")
        self.call(accounts.log_out, ann)
        self.person("bob")
        self.assertEqual(self.taken(self.server), 1)

    def test_without_a_place(self) -> None:
        """The server is gone, and no other was there yet."""
        ann = self.person("ann")
        Server.delete().execute()
        self.call(accounts.log_out, ann)
        self.assertEqual(Place.select().count() + Session.select().count(), 0)

    def test_messages_stay(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.call(messages.send, ann, "bob", "hello")
        self.call(accounts.log_out, bob)
        bob = self.caller(self.log_in("bob"))
        mailbox = self.call(messages.open_mailbox, bob, None)
        [event] = self.call(messages.fetch, [mailbox.cursor])[mailbox.cursor]
        self.assertEqual(event.members["message"], "hello")


@on_both_databases
class Deleting(RulesCase):
    def test_everything_of_the_account_goes(self) -> None:
        ann, bob, _eve, dan = self.people("ann", "bob", "eve", "dan")
        self.befriend(ann, bob)
        self.call(friendships.invite, ann, "eve")
        self.call(friendships.invite, dan, "ann")
        self.call(posts.post, ann, "hello")
        self.call(groups.create, ann, "chess")
        self.call(groups.join, bob, "chess")
        self.call(messages.send, bob, "ann", "hi")
        self.call(messages.send, ann, "bob", "ho")
        self.log_in("ann")
        removed = self.call(accounts.delete, ann, board.on_delete)
        while not removed:
            removed = self.call(accounts.delete, ann, board.on_delete, begun=True)
        self.assertEqual([user.name for user in User.select()], ["bob", "eve", "dan"])
        mine: list[Any] = [
            Session.select().where(Session.user == ann.id),
            Place.select().where(Place.user == ann.id),
            Relationship.select(),
            PostRow.select(),
            Membership.select().where(Membership.user == ann.id),
            Inbox.select().where(Inbox.user == ann.id),
            Delivery.select().where(Delivery.user == ann.id),
        ]
        self.assertEqual([query.count() for query in mine], [0] * len(mine))
        self.assertEqual(self.taken(self.server), 3)

    def test_more_than_one_transaction_removes(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        many = range(1, expiry.FORGOTTEN_AT_ONCE + 1)
        rows = [(number, "bob", "ann", False, "12", 0.0) for number in many]
        add(MessageRow, rows, *messages.COLUMNS)
        add(Delivery, [(ann.id, number) for number in many], Delivery.user, Delivery.message)
        Inbox.update(waiting=2 * len(many)).where(Inbox.user == ann.id).execute()
        self.call(messages.send, bob, "ann", "333")
        self.call(messages.send, ann, "bob", "hello")
        self.assertFalse(self.call(accounts.delete, ann, board.on_delete))
        # Nobody goes on meanwhile, and should it end here, what is left is counted right.
        self.assertFalse(Session.select().where(Session.user == ann.id).exists())
        self.assertFalse(Place.select().where(Place.user == ann.id).exists())
        theirs = Delivery.select().where(Delivery.user == ann.id)
        self.assertEqual(theirs.count(), 1)
        self.assertEqual(Inbox.get(Inbox.user == ann.id).waiting, 3)
        parts = [self.call(accounts.delete, ann, board.on_delete, begun=True) for _ in range(2)]
        self.assertEqual(parts, [False, True])
        self.assertEqual([user.name for user in User.select()], ["bob"])
        self.assertEqual(Inbox.get(Inbox.user == bob.id).waiting, 5)
        self.assertEqual(Delivery.select().count(), 1)

    def test_sessions_that_somebody_ended_before(self) -> None:
        ann = self.person("ann")
        self.log_out(ann)
        self.refused("Not login yet", accounts.delete, ann)
        self.assertEqual(User.select().count(), 1)

    def test_what_belongs_to_others_stays(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.call(groups.create, ann, "chess")
        self.call(groups.join, bob, "chess")
        self.call(messages.send, ann, "bob", "ho")
        self.call(accounts.delete, ann)
        self.assertEqual(Group.get().name, "chess")
        self.assertEqual(self.call(groups.joined, bob)["group"], ["chess"])
        self.assertEqual(MessageRow.get().sender, "ann")
        [events] = self.call(messages.fetch, [Cursor(bob.id, 0)]).values()
        self.assertEqual(
            [(each.members["from"], each.members["message"]) for each in events], [("ann", "ho")]
        )

    def test_the_name_is_free_again_and_knows_nothing(self) -> None:
        ann, bob = self.people("ann", "bob")
        self.befriend(ann, bob)
        self.call(posts.post, bob, "secret")
        self.call(messages.send, bob, "ann", "hi")
        self.call(accounts.delete, ann)
        ann = self.person("ann")
        self.assertEqual(self.call(friendships.friends, ann)["friend"], [])
        self.assertEqual(self.call(posts.friends_posts, ann)["post"], [])
        mailbox = self.call(messages.open_mailbox, ann, 0)
        self.assertEqual(self.call(messages.fetch, [mailbox.cursor]), {mailbox.cursor: []})
        self.refused("bob is not your friend", messages.send, ann, "bob", "hello")


class KnownNetworks(SynchronousTestCase):
    def test_known_for_90_days_and_noted_once_a_day(self) -> None:
        found = accounts.Credentials(1, "hash", {"10.0.0.0/24": 1e9})
        for after, known, lacks in (
            (1.0, True, False),
            (86_399.0, True, False),
            (86_400.0, True, True),
            (90 * 86_400.0 - 1, True, True),
            (90 * 86_400.0, False, True),
        ):
            self.assertEqual(found.know("10.0.0.0/24", 1e9 + after), known)
            self.assertEqual(found.lack("10.0.0.0/24", 1e9 + after), lacks)
        for network in ("10.0.1.0/24", ""):
            self.assertFalse(found.know(network, 1e9))
            self.assertTrue(found.lack(network, 1e9))


class Devices(SynchronousTestCase):
    def setUp(self) -> None:
        self.tokens = accounts.DeviceTokens(b"a secret")
        self.token = self.tokens.issue(1, "hash", 1e9)

    def is_known(
        self, token: str, user: int = 1, password_hash: str | None = "hash", after: float = 0.0
    ) -> bool:
        found = accounts.Credentials(user, password_hash)
        self.tokens.show("a connection", token)
        known = bool(self.tokens.verify("a connection", found, 1e9 + after))
        self.tokens.forget("a connection")
        return known

    def test_it_is_known_until_it_ends(self) -> None:
        self.assertTrue(self.is_known(self.token))
        self.assertTrue(self.is_known(self.token, after=accounts.DEVICE_TTL - 1))
        self.assertFalse(self.is_known(self.token, after=accounts.DEVICE_TTL))

    def test_it_is_one_users_and_one_passwords(self) -> None:
        self.assertFalse(self.is_known(self.token, user=2))
        self.assertFalse(self.is_known(self.token, password_hash="another"))
        self.assertFalse(self.is_known(self.token, user=0, password_hash=None))

    def test_nobody_can_change_or_make_one(self) -> None:
        at, number, proof = self.token.split("-")
        later = f"{int(at, 16) + 1:x}"
        for token in (
            *("", "-", "--", "x" * 1000, "ä-ä-ä", f"{at}-{number}-", f"{at}-{proof}"),
            *(f"{later}-{number}-{proof}", f"{at}-{number[::-1]}x-{proof}", f"-{number}-{proof}"),
            *(f"{at}-{number}-{proof[:-1]}", f"{at}-{number}-{proof}0", self.token.upper()),
            accounts.DeviceTokens(b"another").issue(1, "hash", 1e9),
        ):
            self.assertFalse(self.is_known(token), token)

    def test_each_connection_shows_its_own(self) -> None:
        self.tokens.show("a connection", self.token)
        found = accounts.Credentials(1, "hash")
        self.assertFalse(self.tokens.verify("another", found, 1e9))
        self.tokens.forget("a connection")
        self.assertFalse(self.tokens.verify("a connection", found, 1e9))
