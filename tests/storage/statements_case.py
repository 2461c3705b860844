"""What the tests of statements work with: a table with a column of each kind."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import peewee

from bbs.storage.engines import connect_to
from bbs.storage.models import Table
from bbs.storage.schema import create_table
from bbs.storage.statements import statement
from tests.database_case import DatabaseCase

MADE = [0]


def _next() -> int:
    MADE[0] += 1
    return MADE[0]


class Being(Table):
    """A table with a column of each kind."""

    id = peewee.AutoField()
    name = peewee.CharField(40, unique=True)
    size = peewee.BigIntegerField(null=True)
    ratio = peewee.DoubleField(null=True)
    flag = peewee.BooleanField(default=True)
    born = peewee.DateField(null=True)
    seen = peewee.DateTimeField(null=True)
    note = peewee.TextField(null=True)
    made = peewee.IntegerField(default=_next)
    parent = peewee.ForeignKeyField("self", null=True, on_delete="CASCADE")
    parent_id: int | None

    class Meta:
        table_name = "statement_being"


BIRTH = datetime.date(1900, 2, 28)
SEEN = datetime.datetime(2026, 1, 31, 23, 59, 58)

TEXTS = (
    "",
    "plain",
    'it\'s "quoted" `so`',
    "back\\slash \\n \\' \\u0041",
    "100% %s %(name)s %%",
    "line\nfeed\r\ttab",
    "nul\0inside",
    "control \x01\x1f\x7f",
    "ü ß € 漢字",
    "emoji 😀 👩‍👩‍👧 \u2028",
    '{"json": [1, null]}',
    "-- comment; DROP TABLE x",
)


class StatementsCase(DatabaseCase):
    migrated = False

    def setUp(self) -> None:
        super().setUp()
        self.peewee: Any = self.database.peewee
        self.peewee.connect(reuse_if_open=True)
        create_table(self.peewee, Being)

    def other(self) -> Any:
        """A connection of somebody else's."""
        other = connect_to(self.url)
        other.connect()
        self.addCleanup(other.close)
        return other

    def same(self, build: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What the statement finds, which is what peewee finds, the first time and again."""
        compiled = statement(build)
        found = compiled(*arguments)
        self.assertEqual(found, [*build(*arguments).tuples()])
        self.assertEqual(compiled(*arguments), found)
        return found

    def beings(self) -> list[Any]:
        """Ann and her children, and one of whom nothing is known."""
        ann = Being.create(
            name="ann", size=1, ratio=0.5, flag=True, born=BIRTH, seen=SEEN, note="a note"
        )
        bob = Being.create(name="bob", size=2**62, ratio=-1e300, flag=False, parent=ann, note="")
        cat = Being.create(name="cat", size=-5, parent=ann, seen=SEEN)
        none = Being.create(name="Ann")
        return [ann, bob, cat, none]
