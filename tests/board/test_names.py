"""Names of people and groups: in which form they are stored, and which ones look alike.

A name may be typed in any form of Unicode's: the board finds who is meant, and stores NFC.
"""

from __future__ import annotations

from functools import partial
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from bbs.board import board, migrations
from bbs.board.groups import groups
from bbs.board.groups.tables import Group
from bbs.board.messages import messages
from bbs.board.messages.tables import Inbox, MessageRow
from bbs.board.migrations import _fill_skeletons
from bbs.board.names import Board, Skeleton, on_register
from bbs.board.people import friendships
from bbs.config import load
from bbs.rules import accounts
from bbs.storage.database import rows
from bbs.storage.models import User
from bbs.testing import MemoryService
from tests.database_case import RulesCase, on_both_databases

TYPED, STORED = "a\N{COMBINING DIAERESIS}nn", "änn"


@on_both_databases
class Names(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people(STORED, "bob")

    def test_users(self) -> None:
        self.refused("You cannot invite yourself", friendships.invite, self.ann, TYPED)
        self.call(friendships.invite, self.ann, "bob")
        self.refused(f"{TYPED} has invited you", friendships.invite, self.bob, TYPED)
        self.call(friendships.accept, self.bob, TYPED)
        self.assertEqual(self.call(friendships.friends, self.bob), {"friend": [STORED]})
        sent = self.call(messages.send, self.bob, TYPED, "hello")
        self.assertEqual(sent.event.members["to"], STORED)
        self.assertEqual(MessageRow.get().target, STORED)

    def test_groups(self) -> None:
        self.call(groups.create, self.ann, TYPED)
        self.assertEqual(self.call(groups.all_groups, self.ann), {"group": [STORED]})
        for name in (TYPED, STORED):
            self.refused(f"{name} already exist", groups.create, self.bob, name)
        self.call(groups.join, self.bob, TYPED)
        sent = self.call(messages.send_group, self.bob, TYPED, "hello")
        self.assertEqual(sent.event.members["group"], STORED)

    def test_what_was_stored_as_it_was_typed(self) -> None:
        """Names that exist stay as they are, and nobody gets another's."""
        User.update(name=TYPED).where(User.id == self.ann.id).execute()
        self.call(friendships.invite, self.bob, TYPED)
        self.refused(f"{STORED} does not exist", friendships.invite, self.bob, STORED)
        self.call(groups.create, self.ann, "go")
        Group.update(name=TYPED).execute()
        self.refused(f"{TYPED} already exist", groups.create, self.bob, TYPED)
        self.call(groups.join, self.bob, TYPED)
        self.refused(f"{STORED} already exist", groups.create, self.bob, STORED)


REFUSE = Board(lookalikes="refuse")
CYRILLIC = "\N{CYRILLIC SMALL LETTER A}nn"


@on_both_databases
class Lookalikes(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.settings = REFUSE

    def register(self, name: str) -> None:
        rule = partial(on_register, settings=self.settings)
        self.call(accounts.register, name, "hash", self.now, rule)

    def is_refused(self, name: str) -> None:
        rule = partial(on_register, settings=self.settings)
        said = f"{name} looks like a name in use"
        self.refused(said, accounts.register, name, "hash", self.now, rule)
        self.assertFalse(User.select().where(User.name == name).exists())

    def test_refused_where_the_operator_wants_it(self) -> None:
        self.register("ann")
        for name in ("Ann", "ANN", CYRILLIC, "ａｎｎ"):
            self.is_refused(name)
        self.refused("ann is already used", accounts.register, "ann", "hash", self.now)
        self.register("anna")
        self.assertEqual(Inbox.select().count(), 2)

    def test_allowed_by_default(self) -> None:
        self.settings = Board()
        self.register("ann")
        self.register("ANN")
        self.account(CYRILLIC)
        self.settings = REFUSE
        self.is_refused("Ann")

    def test_an_account_that_ends_frees_what_it_looks_like(self) -> None:
        ann = self.person("ann")
        self.is_refused("Ann")
        self.call(accounts.delete, ann)
        self.assertEqual(Skeleton.select().count(), 0)
        self.register("Ann")

    def test_one_of_two_that_ends_frees_nothing(self) -> None:
        ann, _ = self.people("ann", "Ann")
        self.call(accounts.delete, ann)
        self.is_refused("ANN")

    def test_the_longest_name(self) -> None:
        """Whose skeleton is longer than a key may be."""
        self.register("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 100)

    def test_accounts_of_older_versions(self) -> None:
        """The upgrade finds them, some at once, and may do so twice."""
        self.people("ann", "bob", "Ian", "cat", "dan")
        before = self.stored()
        Skeleton.delete().execute()
        with mock.patch.object(migrations, "USERS_AT_ONCE", 2):
            _fill_skeletons()
            _fill_skeletons()
        self.assertEqual(self.stored(), before)
        self.assertEqual(len(before), 6)
        self.is_refused("lan")

    def stored(self) -> set[tuple[str, int]]:
        return set(rows(Skeleton.select(Skeleton.digest, Skeleton.user)))


class Settings(SynchronousTestCase):
    """The section `[board]` of the configuration, on the way to a registration."""

    def service(self, *lines: str) -> MemoryService:
        path = self.mktemp()
        with open(path, "w") as file:
            file.writelines(f"{line}\n" for line in lines)
        service = MemoryService(board, config=load(path, {}, settings=(Board,)))
        self.addCleanup(service.close)
        return service

    def test_off(self) -> None:
        peer = self.service().peer()
        for name in ("ann", "Ann"):
            self.assertEqual(peer.ask(f"register {name} pw")["status"], 0)

    def test_on(self) -> None:
        peer = self.service("[board]", 'lookalikes = "refuse"').peer()
        self.assertEqual(peer.ask("register ann pw")["status"], 0)
        reply = peer.ask("register Ann pw")
        said = {"message": "Ann looks like a name in use", "code": "looks-like-another"}
        self.assertEqual(reply, {"status": 1, **said})
        self.assertEqual(peer.ask("register bob pw")["status"], 0)
