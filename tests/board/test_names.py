"""A name may be typed in any form of Unicode's: the board finds who is meant, and stores NFC."""

from __future__ import annotations

from bbs.board import friends, groups, messages
from bbs.board.models import Group, MessageRow
from bbs.storage.models import User
from tests.database_case import RulesCase, on_both_databases

TYPED, STORED = "a\N{COMBINING DIAERESIS}nn", "änn"


@on_both_databases
class Names(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob = self.people(STORED, "bob")

    def test_users(self) -> None:
        self.refused("You cannot invite yourself", friends.invite, self.ann, TYPED)
        self.call(friends.invite, self.ann, "bob")
        self.refused(f"{TYPED} has invited you", friends.invite, self.bob, TYPED)
        self.call(friends.accept, self.bob, TYPED)
        self.assertEqual(self.call(friends.friends, self.bob), {"friend": [STORED]})
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
        self.call(friends.invite, self.bob, TYPED)
        self.refused(f"{STORED} does not exist", friends.invite, self.bob, STORED)
        self.call(groups.create, self.ann, "go")
        Group.update(name=TYPED).execute()
        self.refused(f"{TYPED} already exist", groups.create, self.bob, TYPED)
        self.call(groups.join, self.bob, TYPED)
        self.refused(f"{STORED} already exist", groups.create, self.bob, STORED)
