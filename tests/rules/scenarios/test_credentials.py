"""Changed passwords and suspended accounts: `docs/protocol.md`, section 3, "Login server"."""

from __future__ import annotations

from bbs.core.errors import NotLoggedIn
from bbs.rules import accounts, auth
from bbs.rules.auth import Caller
from bbs.rules.placement import Look
from bbs.storage.models import Session, Suspension, User
from tests.database_case import SESSIONS, RulesCase, on_both_databases


@on_both_databases
class Changing(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.account("ann")
        self.token, self.other = self.log_in("ann"), self.log_in("ann")
        self.ann = self.caller(self.token)
        self.bob = self.person("bob")

    def change(self, caller: Caller | None = None) -> None:
        self.call(accounts.change_password, caller or self.ann, "hash of ann", "new")

    def hash_of(self, name: str) -> str:
        stored: str = User.get(User.name == name).password_hash
        return stored

    def test_the_hash_is_another(self) -> None:
        self.assertEqual(self.call(accounts.own_credentials, self.ann).password_hash, "hash of ann")
        self.change()
        self.assertEqual(self.call(accounts.own_credentials, self.ann).password_hash, "new")
        self.assertEqual(self.hash_of("bob"), "hash of bob")

    def test_other_sessions_end_and_the_place_stays(self) -> None:
        self.change()
        self.assertEqual(self.caller(self.token).server, self.server)
        ended = self.database.run(auth.identify, self.other, SESSIONS, self.now)
        self.failureResultOf(ended, NotLoggedIn)
        self.assertEqual(Session.select().where(Session.user == self.bob.id).count(), 1)
        self.assertEqual(self.taken(self.server), 2)

    def test_one_that_somebody_has_changed_since(self) -> None:
        User.update(password_hash="another").where(User.name == "ann").execute()
        wrong = "No such user or password error"
        self.refused(wrong, accounts.change_password, self.ann, "hash of ann", "new")
        self.assertEqual(self.hash_of("ann"), "another")
        self.caller(self.other)

    def test_a_session_that_has_ended_since(self) -> None:
        """It was another session that changed the password, perhaps because of this one."""
        self.change(self.caller(self.other))
        for verified in ("hash of ann", "new"):
            self.refused("Not login yet", accounts.change_password, self.ann, verified, "newest")
        self.assertEqual(self.hash_of("ann"), "new")

    def test_an_account_that_is_gone(self) -> None:
        """Its name may be somebody else's by now."""
        self.call(accounts.delete, self.ann)
        self.account("ann")
        self.refused("Not login yet", accounts.own_credentials, self.ann)
        self.refused("Not login yet", accounts.change_password, self.ann, "hash of ann", "new")
        self.assertEqual(self.hash_of("ann"), "hash of ann")


@on_both_databases
class Suspended(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.account("ann")
        self.user = User.get(User.name == "ann").id

    def suspend(self, until: float | None) -> None:
        Suspension.replace(user=self.user, since=self.now - 1, until=until).execute()

    def attempt(self, text: str, verified: str = "hash of ann") -> None:
        look = Look(new=True)
        self.refused(text, accounts.log_in, "ann", verified, "d" * 64, None, self.now, look)
        self.assertEqual((Session.select().count(), self.taken(self.server)), (0, 0))

    def test_nobody_logs_in(self) -> None:
        for until in (None, self.now + 1):
            self.suspend(until)
            self.attempt("This account is suspended")

    def test_a_password_that_is_wrong_by_now(self) -> None:
        self.suspend(None)
        self.attempt("No such user or password error", "another")

    def test_one_that_has_run_out_is_as_none(self) -> None:
        self.suspend(self.now)
        self.log_in("ann")

    def test_others(self) -> None:
        self.suspend(None)
        self.person("bob")

    def test_it_goes_with_the_account(self) -> None:
        token = self.log_in("ann")
        self.suspend(None)
        self.call(accounts.delete, self.caller(token))
        self.assertEqual(Suspension.select().count(), 0)
