"""Shared parts of the commands without a reactor: configuration, database, data folder, log."""

from __future__ import annotations

import fcntl
import getpass
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
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

ATTEMPTS = 5  # tries of a transaction that meets a deadlock, or waits for a lock in vain


def configuration(path: str | None, data: str | None, name: str) -> Configuration:
    """Load the configuration (`load_config`), with the database's URL in place of a reference."""
    config = load_config(path, data, name=name)
    (url,) = references.reveal("database.url", [config.database.url], config.ec2)
    return replace(config, database=replace(config.database, url=url))


def load_config(
    path: str | None,
    data: str | None,
    options: Mapping[str, object] = MappingProxyType({}),
    name: str = "bbs",
) -> Configuration:
    """Load the configuration from `path`, the environment and `options`. Its default database is
    that of `NAME up` in the folder `data`, for the service `name`. Raises `ConfigError`."""
    config = load(path, os.environ, options)
    if data is not None and config.sources["database.url"] == "default":
        url = f"sqlite:///{quote(os.path.abspath(data))}/{name}.sqlite3"
        config = load(path, os.environ, {**options, "database.url": url})
    return config


@contextmanager
def connected(url: str, create: bool = False) -> Iterator[peewee.Database]:
    """Connect one thread to the database at `url`. Raises `DatabaseRefused`, also for an SQLite
    file that does not exist, unless it is to be created."""
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
    except (peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error) as error:
        raise refusal(url, error) from error  # peewee lets errors of the driver pass at a fetch.
    finally:
        if not database.is_closed():
            database.close()


def carry_out(
    database: peewee.Database, rule: Callable[P, T], *arguments: P.args, **keywords: P.kwargs
) -> T:
    """Run `rule` in a transaction of its own, and wait for servers that use the same rows."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with database.atomic():
                return rule(*arguments, **keywords)
        except (peewee.IntegrityError, peewee.OperationalError) as error:
            if attempt == ATTEMPTS or is_bug(error):
                raise
    raise AssertionError("the last attempt gives or raises")


class NotCarriedOut(Exception):
    """The action is not carried out, for the reason in the text."""


def ask_line(question: str, done: str) -> str:
    """Ask the person at the terminal for a line; `done` says what `--yes` does without asking."""
    if not sys.stdin.isatty():
        raise NotCarriedOut(f"no terminal to ask at: --yes {done} without asking")
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().rstrip("\n")


def get_operator(command: str) -> By:
    """The operator who runs this `command`: an account of this machine, which may lack a name."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return By(user, command, time.time())


def record(config: Configuration, data: str | None, by: By, what: str, name: str) -> None:
    """Add to the security log, if the service has one on this machine, that `by` did `what` to
    `name`. `data` is the folder of a `NAME up`, if one was given."""
    path = config.log.security
    if not path and data is not None:
        path = os.path.join(data, security_log.IN_DATA)
    if not path or not os.path.exists(path):
        return
    now, operator = by.now, by.operator
    event = security_log.SecurityEvent(at=now, what=what, outcome="done", name=name, by=operator)
    try:
        security_log.append(path, event)
    except OSError as error:
        print(f"{by.address}: cannot write to {path}: {error.strerror}", file=sys.stderr)


def local_time(seconds: float | None) -> str:
    """A time in ISO 8601, in this machine's time zone; `-` for None."""
    if seconds is None:
        return "-"
    try:
        return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return "?"  # A row may have a time that no calendar has.


LOCK = "lock"  # the file in the data folder that a running `NAME up` locks


class InUse(Unusable):
    """Another process uses the data folder."""


def open_folder(folder: str, name: str) -> tuple[IO[str], list[str]]:
    """Create and lock the data folder of the service `name`; returns the lock, which ends when it
    is closed, and the paths that others could read until now. Raises `Unusable` for a folder that
    is not writable, or that others own or can write to, and `InUse`."""
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
    return Unusable(f"cannot write to the data folder {folder}: {error.strerror}")
