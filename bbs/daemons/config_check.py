"""Finds what in a configuration would keep a server from starting, for `bbs config check`.

Nothing is connected to, listened on or written. Only a start finds out whether a database, a broker
or a provider answers, and whether a port is free.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qs, urlsplit

from bbs.config import ConfigError, Configuration, references
from bbs.config.sections import OWN
from bbs.core import tracing
from bbs.core.addresses import ListeningPlace, ServerPlace, is_loopback
from bbs.core.plugins import PluginUnusable
from bbs.daemons.daemon import EMBEDDED, CannotStart
from bbs.daemons.listening import CannotListen, Contexts, endpoint_at, read_pems
from bbs.daemons.telnet import trust
from bbs.scaling import providers
from bbs.scaling.interfaces import LaunchFailed
from bbs.scaling.providers import SQLITE
from bbs.storage.engines import DatabaseRefused, connect_to
from bbs.web.auth import PasswordFileUnusable, read_passwords

REASONS = (CannotStart, ConfigError, LaunchFailed, PluginUnusable)
"""Errors whose text says in one line why a server would not start."""


def problems(config: Configuration, service_name: str) -> Iterator[str]:
    """What would keep servers from starting: one line for each problem, with its key. This
    blocks."""
    for check in (_places, _ports, _database, _references):
        yield from check(config)
    yield from _fleet(config, service_name)
    for check in (_gateway, _page, _security_log, _tracing):
        yield from check(config)


def _listening(config: Configuration) -> Iterator[tuple[str, ListeningPlace]]:
    for section in ("login", "app", "telnet", "web"):
        for place in getattr(config, section).listen:
            yield f"{section}.listen", place


def _places(config: Configuration) -> Iterator[str]:
    for key, place in _listening(config):
        if place.kind == "systemd":
            continue  # It exists only in a process that systemd has started.
        try:
            endpoint_at(None, place)
            if place.is_tls and not references.needed(place.files):
                Contexts(place, read_pems(place, config))
        except CannotListen as problem:
            yield f"{key}: {_one_line(problem)}"


def notes(config: Configuration, now: float) -> Iterator[str]:
    """What keeps no server from starting, and operators should know: one line for each. This
    blocks.

    :param now: the time in seconds since the epoch.
    """
    yield from config.former_keys()
    for key, place in _listening(config):
        if place.is_tls and not references.needed(place.files):
            with suppress(CannotListen):  # A problem.
                trouble = Contexts(place, read_pems(place, config)).trouble(now)
                if trouble:
                    yield f"{key}: the certificate of {place} {trouble}"


def _ports(config: Configuration) -> Iterator[str]:
    """Check for servers on one machine that want the same port."""
    together = {"login.listen", "web.listen"}  # They are in one process.
    if is_loopback(ServerPlace.parse(config.telnet.server).address.host):
        together.add("telnet.listen")
    seen: list[tuple[str, ListeningPlace]] = []
    for key, place in _listening(config):
        for other, taken in seen:
            is_local = key == other or {key, other} <= together
            if is_local and place.port and place.port == taken.port and _overlap(place, taken):
                yield f"{key}: cannot listen on {place}: {other} has that port ({taken})"
                break
        seen.append((key, place))


def _overlap(one: ListeningPlace, other: ListeningPlace) -> bool:
    """Whether two places with the same port share an address."""
    of_ipv6 = (one.kind == "tcp6", other.kind == "tcp6")
    if of_ipv6[0] != of_ipv6[1]:
        return False
    return not one.interface or not other.interface or one.interface == other.interface


def _database(config: Configuration) -> Iterator[str]:
    url = config.database.url
    if url.startswith(SQLITE):
        folder = os.path.dirname(os.path.abspath(url.removeprefix(SQLITE)))
        # `bbs up` makes its own data folder.
        if not os.path.isdir(folder) and not os.path.isdir(os.path.dirname(folder)):
            yield f"database.url: {url}: unable to open database file: no folder {folder}"
    elif not references.needed((url,)):
        try:
            connect_to(url)
        except DatabaseRefused as refused:  # The driver that it demands is broken or too old.
            yield str(refused)
        for ca in parse_qs(urlsplit(url).query).get("tls_ca", ()):
            if problem := _unreadable(ca):
                yield f"database.url: tls_ca: {ca}: {problem}"


def _references(config: Configuration) -> Iterator[str]:
    named = [("database.url", config.database.url)]
    named += [("broker.url", url) for url in config.broker.url]
    named += [(key, file) for key, place in _listening(config) for file in place.files]
    for key, value in named:
        if references.needed((value,)) and find_spec("boto3") is None:
            yield f"{key}: {value}: {references.NEEDS_BOTO3}"


def _fleet(config: Configuration, service_name: str) -> Iterator[str]:
    try:
        launches = providers.named(config.fleet.provider)[1].launches
        is_elsewhere = not launches or config.fleet.controller == OWN
        if is_elsewhere and config.broker.url == ("embedded",):
            yield EMBEDDED
        providers.check(config, service_name)
    except REASONS as problem:
        yield _one_line(problem)


def _gateway(config: Configuration) -> Iterator[str]:
    server = ServerPlace.parse(config.telnet.server)
    if server.tls:
        try:
            trust(server.ca)
        except CannotStart as problem:
            yield _one_line(problem)


def _page(config: Configuration) -> Iterator[str]:
    if config.web.listen and config.web.password_file:
        try:
            read_passwords(config.web.password_file)
        except PasswordFileUnusable as problem:
            yield f"web.password_file: {problem}"


def _security_log(config: Configuration) -> Iterator[str]:
    path = config.log.security
    if path and (problem := _unwritable(os.path.abspath(path))):
        yield f"log.security: cannot write {path}: {problem}"


def _tracing(config: Configuration) -> Iterator[str]:
    if config.tracing.endpoint and not tracing.is_installed():
        yield f"tracing.endpoint: {tracing.NEEDS}"


def _unwritable(path: str) -> str:
    """Why a file cannot be appended to, in the system's words; "" if it can."""
    folder = os.path.dirname(path)
    if os.path.isdir(path):
        code = errno.EISDIR
    elif not os.path.isdir(folder):
        code = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
    elif not os.access(path if os.path.exists(path) else folder, os.W_OK):
        code = errno.EACCES
    else:
        return ""
    return os.strerror(code)


def _unreadable(path: str) -> str:
    try:
        with open(path, "rb"):
            return ""
    except OSError as problem:
        return problem.strerror or str(problem)
    except ValueError:  # a NUL in the path
        return "not a file name"


def _one_line(problem: Any) -> str:
    return " ".join(str(problem).split())
