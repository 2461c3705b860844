"""What other packages ask of the board."""

from __future__ import annotations

from bbs import board
from bbs.board.groups import groups, ownership
from bbs.board.people import blocks
from bbs.framework import NAME_LENGTH
from tests.database_case import RulesCase, on_both_databases


@on_both_databases
class Lookups(RulesCase):
    def setUp(self) -> None:
        super().setUp()
        self.ann, self.bob, self.cat = self.people("ann", "bob", "cat")

    def test_friends(self) -> None:
        self.assertEqual(self.call(board.friends, self.ann.id), [])
        self.befriend(self.ann, self.cat)
        self.befriend(self.bob, self.ann)
        self.assertEqual(self.call(board.friends, self.ann.id), [self.cat.id, self.bob.id])
        self.assertTrue(self.call(board.are_friends, self.ann.id, self.bob.id))
        self.assertFalse(self.call(board.are_friends, self.bob.id, self.cat.id))

    def test_friends_who_are_online(self) -> None:
        self.befriend(self.ann, self.bob)
        self.befriend(self.ann, self.cat)
        self.log_out(self.cat)
        online = self.call(board.friends_online, self.ann.id)
        self.assertEqual(online, {self.bob.id: self.bob.channel})

    def test_blocks(self) -> None:
        self.assertFalse(self.call(board.has_blocked, self.ann.id, self.bob.id))
        self.call(blocks.block, self.ann, "bob")
        self.assertTrue(self.call(board.has_blocked, self.ann.id, self.bob.id))
        self.assertFalse(self.call(board.has_blocked, self.bob.id, self.ann.id))

    def test_groups(self) -> None:
        channel = self.call(groups.create, self.bob, "chess")
        self.call(groups.join, self.ann, "chess")
        self.assertEqual(self.call(board.members, "chess"), [self.bob.id, self.ann.id])
        self.assertTrue(self.call(board.is_member, self.ann.id, "chess"))
        self.assertFalse(self.call(board.is_member, self.cat.id, "chess"))
        self.assertEqual(self.call(board.owner, "chess"), self.bob.id)
        self.assertEqual(self.call(board.group_channel, "chess"), channel)
        self.call(ownership.give, self.bob, "chess", "ann")
        self.assertEqual(self.call(board.owner, "chess"), self.ann.id)

    def test_no_such_group(self) -> None:
        for name in ("chess", "", "x" * (NAME_LENGTH + 1)):
            self.assertEqual(self.call(board.members, name), [])
            self.assertFalse(self.call(board.is_member, self.ann.id, name))
            self.assertIsNone(self.call(board.owner, name))
            self.assertIsNone(self.call(board.group_channel, name))
