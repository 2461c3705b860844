"""The tables of a service, and which must come before which."""

from __future__ import annotations

from peewee import ForeignKeyField, IntegerField
from twisted.trial.unittest import SynchronousTestCase

from bbs.framework import Table
from bbs.storage.schema import Schema


class Player(Table):
    score = IntegerField()


class Player1(Table):
    """As it was at version 1."""

    class Meta:
        table_name = "player"


class Guest(Table):
    player = ForeignKeyField(Player)


class References(SynchronousTestCase):
    def test_a_table_before_one_that_refers_to_it(self) -> None:
        Schema("lobby", (Player, Guest))
        error = self.assertRaises(ValueError, Schema, "lobby", (Guest, Player))
        self.assertIn("guest refers to Player, which must come before it", str(error))

    def test_an_older_form_of_the_table(self) -> None:
        """As in the test of a migration, beside tables that stay as they are."""
        Schema("lobby", (Player1, Guest))
