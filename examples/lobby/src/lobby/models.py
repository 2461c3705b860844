"""Who is in which lobby. A lobby is there as long as somebody is in it."""

from peewee import BooleanField, CharField, DoubleField, ForeignKeyField

from bbs.framework import NAME_LENGTH, Migrator, Table, User


class Player(Table):
    user = ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    lobby = CharField(NAME_LENGTH, index=True)
    ready = BooleanField(default=False)
    since = DoubleField(null=True)


def add_since(migrator: Migrator) -> None:
    migrator.add_columns("player", since=DoubleField(null=True))
