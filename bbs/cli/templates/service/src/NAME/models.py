"""The tables: peewee models, in the order in which they can be made."""

from bbs.framework import RisingIdField, Table, User
from peewee import CharField, ForeignKeyField


class Offer(Table):
    """What somebody offers, until another takes it."""

    id = RisingIdField()
    owner = ForeignKeyField(User, on_delete="CASCADE")
    owner_id: int
    text = CharField(200)
