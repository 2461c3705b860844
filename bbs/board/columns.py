"""Columns that several parts have, with what they hold in rows of older servers."""

from __future__ import annotations

import peewee


def count() -> peewee.BigIntegerField:
    """A count, which is 0 in the rows that older servers make."""
    return peewee.BigIntegerField(default=0, constraints=[peewee.SQL("DEFAULT 0")])


def number(default: int) -> peewee.IntegerField:
    """A number, which is `default` in the rows that older servers make."""
    return peewee.IntegerField(default=default, constraints=[peewee.SQL(f"DEFAULT {default}")])


def no() -> peewee.BooleanField:
    """A yes or no. Rows that older servers make have no."""
    return peewee.BooleanField(default=False, constraints=[peewee.SQL("DEFAULT 0")])
