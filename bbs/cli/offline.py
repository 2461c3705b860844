"""What commands share that run without a reactor: the configuration, the database, the data folder,
and who acts."""

from __future__ import annotations

import fcntl
import getpass
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType
from typing import IO, ParamSpec, TypeVar
from urllib.parse import quote

import peewee

from bbs.config import Configuration, load, references
from bbs.daemons import security_log
from bbs.rules.fleet_admin import By
from bbs.scaling.data_folder import Unusable, make_private
from bbs.storage import models
from bbs.storage.engines import DatabaseRefused, connect_to, is_bug, prepare_file, refusal

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5  # how often a transaction is tried that met a deadlock, or waited for a lock in vain


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


class NotCarriedOut(Exception):
    """The action is not carried out; the text says why."""


def type_again(question: str, done: str) -> str:
    """The line that a person at the terminal types at a question; `done` is what `--yes` does
    without one.

    :raises NotCarriedOut: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise NotCarriedOut(f"no terminal to ask at: --yes {done} without asking")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n")


def by_whom(command: str) -> By:
    """Whoever runs this `command` now: an account of this machine, which need not have a name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return By(user, command, time.time())


def tell(config: Configuration, data: str | None, by: By, what: str, name: str) -> None:
    """Add to the security log, where the service has one on this machine, that `by` did `what` to
    `name`. `data` is the folder of a `NAME up`, if one was given."""
    path = config.log.security
    if not path and data is not None:
        path = os.path.join(data, security_log.IN_DATA)
    if not path or not os.path.exists(path):
        return
    deed = security_log.SecurityEvent(
        at=by.now, what=what, outcome="done", name=name, by=by.operator
    )
    try:
        security_log.append(path, deed)
    except OSError as error:
        print(f"{by.address}: cannot write to {path}: {error.strerror}", file=sys.stderr)


LOCK = "lock"  # what is locked as long as a `NAME up` runs, in its data folder


class InUse(Unusable):
    """Another process has the data folder."""


def open_folder(folder: str, name: str) -> tuple[IO[str], list[str]]:
    """Make the data folder of the service `name`, for this process alone: the lock, which is open
    as long as it is to be so, and the paths that others could read until now.

    :raises Unusable: it cannot be written, or it is somebody else's or everybody's.
    :raises InUse: another `NAME up` has it.
    """
    try:
        mended = make_private(folder, name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        lock = os.fdopen(os.open(os.path.join(folder, LOCK), flags, 0o600), "a")
    except OSError as error:
        raise cannot_write(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        lock.close()
        raise InUse(f"another {name} up uses the data folder {folder}") from error
    return lock, mended


def cannot_write(folder: str, error: OSError) -> Unusable:
    """What to say of a folder where something cannot be written."""
    return Unusable(f"cannot write to the data folder {folder}: {error.strerror}")
