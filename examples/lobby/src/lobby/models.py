"""Who is in which lobby. A lobby is there as long as somebody is in it."""

from peewee import BooleanField, CharField, DoubleField, ForeignKeyField, TextField

from bbs.framework import NAME_LENGTH, Migrator, RisingIdField, Table, User


class Player(Table):
    user = ForeignKeyField(User, primary_key=True, on_delete="CASCADE")
    lobby = CharField(NAME_LENGTH, index=True)
    ready = BooleanField(default=False)
    since = DoubleField(null=True)


class Saying(Table):
    id = RisingIdField()
    lobby = CharField(NAME_LENGTH, index=True)
    who = CharField(NAME_LENGTH)
    words = TextField()
    time = DoubleField()


def add_since(migrator: Migrator) -> None:
    migrator.add_columns("player", since=DoubleField(null=True))


def add_sayings(migrator: Migrator) -> None:
    migrator.create_table(Saying)
