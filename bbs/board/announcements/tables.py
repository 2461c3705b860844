"""The table of announcements."""

from __future__ import annotations

import peewee

from bbs.framework import RisingIdField, Table
from bbs.framework.limits import Bound


class Announcement(Table):
    """What an operator tells everybody, until the moment `until` (null: until it is removed); both
    times are in seconds since the epoch."""

    id = RisingIdField()
    text = peewee.TextField()
    stored = peewee.DoubleField()
    until = peewee.DoubleField(null=True)

    class Meta:
        bound = Bound(
            "any number, until they are removed", of="operator", share="none: operators fill it"
        )
