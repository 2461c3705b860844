"""The database for commands that run without a reactor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import peewee

from bbs import models
from bbs.database import connect_to, refusal


@contextmanager
def connected(url: str) -> Iterator[peewee.Database]:
    """A connection to the database at `url`, for one thread.

    :raises DatabaseRefused: it cannot be used.
    """
    database = connect_to(url)
    models.database.initialize(database)
    try:
        database.connect()
        yield database
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        raise refusal(url, error) from error
    finally:
        if not database.is_closed():
            database.close()
