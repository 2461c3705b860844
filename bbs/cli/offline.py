"""Shared parts of the commands without a reactor: configuration, database, data folder, log."""

from __future__ import annotations

import fcntl
import getpass
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from types import MappingProxyType
from typing import IO, Any, ParamSpec, TypeVar
from urllib.parse import quote

import peewee

from bbs.config import ConfigError, Configuration, load, references
from bbs.core.values import NAME_LENGTH
from bbs.daemons import security_log
from bbs.rules.fleet_admin import By
from bbs.scaling.data_folder import Unusable, default_folder, make_private
from bbs.storage import models, sqlite_backup
from bbs.storage.engines import (
    DatabaseRefused,
    connect_to,
    file_of,
    is_bug,
    prepare_file,
    refusal,
    without_password,
)
from bbs.storage.sqlite_backup import CopyRefused

P = ParamSpec("P")
T = TypeVar("T")

ATTEMPTS = 5  # tries of a transaction that meets a deadlock, or waits for a lock in vain


def configuration(
    path: str | None, data: str | None, name: str, settings: Sequence[type] = ()
) -> Configuration:
    """Load the configuration of the service `name` for a command: from `path` and the environment,
    with the database in the folder `data` of a `NAME up`.

    Without either, the database is that of the `NAME up` in the working directory, or else that of
    a login server there. The URL is there in place of a reference, and `log.security` is the
    service's security log, if it has one on this machine.

    :raises ConfigError: also if `data` and the configuration name two databases, or two are here.
    """
    config = load_config(path, None, settings=settings)
    if config.sources["database.url"] == "default":
        folder = data if data is not None else _find_folder(config, name)
        config = load_config(path, folder, name=name, settings=settings)
    elif data is not None:
        _check_folder(config, data, name)
    (url,) = references.reveal("database.url", [config.database.url], config)
    log = replace(config.log, security=config.log.security or _find_log(url, data, name))
    return replace(config, database=replace(config.database, url=url), log=log)


def _find_folder(config: Configuration, name: str) -> str | None:
    """The data folder of the `NAME up` in the working directory; None if only a login server has
    its database there."""
    folder, here = default_folder(name), file_of(config.database.url) or ""
    if not os.path.exists(here):
        return folder
    other = os.path.join(folder, _database_file(name))
    if os.path.exists(other):
        raise ConfigError(
            f"there are two databases here, {other} and {here}: name one by --data FOLDER, or by"
            " database.url in --config FILE"
        )
    return None


def _check_folder(config: Configuration, data: str, name: str) -> None:
    """Refuse a folder whose database would be ignored, as the configuration names another one. A
    `NAME up` with such a configuration has no database in its folder."""
    own, url = os.path.join(data, _database_file(name)), config.database.url
    is_named = os.path.realpath(own) == os.path.realpath(file_of(url) or "")
    if not (is_named or _is_only_for_logs(data, name)):
        raise ConfigError(
            f"--data is {data}, with the database {own}, and {config.sources['database.url']} has"
            f" another one, {without_password(url)}: leave out one of them"
        )


def _find_log(url: str, data: str | None, name: str) -> str:
    """The security log of the `NAME up` in the folder `data`; without one, beside the database, or
    where a `NAME up` without a database of its own has it. "" if there is none: a `NAME up` with
    one, in the working directory, may be another service."""
    file, here = file_of(url), default_folder(name)
    if data is None:
        data = os.path.dirname(file) if file else here if _is_only_for_logs(here, name) else None
    path = os.path.join(data or "", security_log.IN_DATA)
    return path if data is not None and os.path.exists(path) else ""


def _is_only_for_logs(folder: str, name: str) -> bool:
    """Whether a data folder is that of a `NAME up` whose database is elsewhere."""
    own = os.path.join(folder, _database_file(name))
    return os.path.exists(os.path.join(folder, LOCK)) and not os.path.exists(own)


def _database_file(name: str) -> str:
    return f"{name}.sqlite3"


def load_config(
    path: str | None,
    data: str | None,
    options: Mapping[str, object] = MappingProxyType({}),
    name: str = "bbs",
    settings: Sequence[type] = (),
) -> Configuration:
    """Load the configuration from `path`, the environment and `options`, with the sections
    `settings` of the service `name`. Its default database is that of `NAME up` in the folder
    `data`. Raises `ConfigError`."""
    config = load(path, os.environ, options, settings)
    if data is not None and config.sources["database.url"] == "default":
        url = f"sqlite:///{quote(os.path.abspath(data))}/{_database_file(name)}"
        config = load(path, os.environ, {**options, "database.url": url}, settings)
    return config


@contextmanager
def connected(url: str, create: bool = False) -> Iterator[peewee.Database]:
    """Connect one thread to the database at `url`. Raises `DatabaseRefused`, also for an SQLite
    file that does not exist, unless it is to be created, or that has a value of a wrong type."""
    database: Any = connect_to(url)
    path = database.database if isinstance(database, peewee.SqliteDatabase) else None
    if path:
        _check_there(path, url, create)
    if path and create:
        prepare_file(url)
    models.database.initialize(database)
    try:
        database.begin_by_hand()
        yield database
    except (peewee.DatabaseError, peewee.InterfaceError, sqlite3.Error) as error:
        raise refusal(url, error) from error  # peewee lets errors of the driver pass at a fetch.
    except (AttributeError, TypeError, ValueError) as error:
        # So Python says that a value is not of its column's type, which SQLite does not enforce.
        if path and (damage := _find_damage(path, url)):
            raise DatabaseRefused(damage) from error
        raise
    finally:
        if not database.is_closed():
            database.close()


_ELSEWHERE = (
    "run this in the folder where the service was started, or name the database by --data or"
    " --config"
)


def _check_there(path: str, url: str, create: bool) -> None:
    """Raise `DatabaseRefused` if there is no SQLite file at `path`, or no folder for a new one."""
    folder = os.path.dirname(os.path.abspath(path))
    try:
        os.stat(folder if create else path)
    except PermissionError as error:
        raise DatabaseRefused(
            f"database {url}: {error.strerror}: run this as the user who runs the service"
        ) from error
    except (OSError, ValueError) as error:  # a NUL in the path
        lack = f"unable to open database file: no folder {folder}" if create else "no such file"
        raise DatabaseRefused(f"database {url}: {lack}: {_ELSEWHERE}") from error


def _find_damage(path: str, url: str) -> str:
    """Say which value in an SQLite file cannot be read; "" if there is none."""
    try:
        sqlite_backup.check_rows(path, f"database {url}")
    except CopyRefused as error:
        return f"{error}: restore a backup, or correct it"
    return ""


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
    """The operator who runs this `command`: an account of this machine, which may lack a name, and
    by sudo the person who asked for that account: `dave as root`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    person = os.environ.get("SUDO_USER", "")
    if person and person != user:
        user = f"{person} as {user}"
    return By(user[:NAME_LENGTH], command, time.time())


def record(config: Configuration, by: By, what: str, name: str) -> None:
    """Add to the security log, if the service has one on this machine, that `by` did `what` to
    `name`."""
    path = config.log.security
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
    is_file = isinstance(error, FileExistsError)
    reason = "it is a file, and not a folder" if is_file else error.strerror
    return Unusable(f"cannot write to the data folder {folder}: {reason}")
