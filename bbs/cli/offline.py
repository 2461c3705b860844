"""The database for commands that run without a reactor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import ParamSpec, TypeVar
from urllib.parse import quote

import peewee

from bbs.config import Configuration, load, references
from bbs.storage import models
from bbs.storage.engines import DatabaseRefused, connect_to, is_bug, prepare_file, refusal

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5
"""How often a transaction is tried that met a deadlock, or waited for a lock in vain."""


def configuration(path: str | None, data: str | None, name: str) -> Configuration:
    """As `as_written`, with the database's URL itself where the configuration only names it.

    :raises ConfigError: something in it is wrong, or the secret cannot be had.
    """
    config = as_written(path, data, name=name)
    (url,) = references.reveal("database.url", [config.database.url], config.ec2)
    return replace(config, database=replace(config.database, url=url))


def as_written(
    path: str | None,
    data: str | None,
    options: Mapping[str, object] = MappingProxyType({}),
    name: str = "bbs",
) -> Configuration:
    """The configuration in `path`, the environment and `options`; where none of them names a
    database, it is the one that `NAME up` keeps in the folder `data`, for the service `name`.

    :raises ConfigError: something in it is wrong.
    """
    config = load(path, os.environ, options)
    if data is not None and config.sources["database.url"] == "default":
        url = f"sqlite:///{quote(os.path.abspath(data))}/{name}.sqlite3"
        config = load(path, os.environ, {**options, "database.url": url})
    return config


@contextmanager
def connected(url: str, create: bool = False) -> Iterator[peewee.Database]:
    """A connection to the database at `url`, for one thread.

    :raises DatabaseRefused: it cannot be used; or it is a file that does not exist, and nobody
        asked to `create` it.
    """
    database = connect_to(url)
    path = database.database if isinstance(database, peewee.SqliteDatabase) else None
    if path and not create and not os.path.exists(path):
        raise DatabaseRefused(f"database {url}: no such file; name it with --config or --data")
    if path and create:
        prepare_file(url)
    models.database.initialize(database)
    try:
        database.connect()
        yield database
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        raise refusal(url, error) from error
    finally:
        if not database.is_closed():
            database.close()


def carry_out(
    database: peewee.Database, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
) -> T:
    """What `rule` returns, in a transaction of its own; servers that are at work on the same rows
    are waited for."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with database.atomic():
                return rule(*arguments, **keywords)
        except (peewee.IntegrityError, peewee.OperationalError) as error:
            if attempt == ATTEMPTS or is_bug(error):
                raise
    raise AssertionError("the last attempt gives or raises")
