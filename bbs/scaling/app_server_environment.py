"""What app servers are told that a login server launches: command, configuration, environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace

from bbs.config import Configuration, to_toml
from bbs.core import tracing
from bbs.core.addresses import ListeningPlace

SQLITE = "sqlite:///"


def command(path: str, server: str, service_name: str = "bbs", security_log: str = "") -> list[str]:
    """The command that runs the app server `server` with the configuration file `path`; it writes
    to the same `security_log` as this process, if there is one.

    Its standard input is the pipe that tells it when its parent has died.
    """
    return [
        sys.executable,
        "-c",
        "from twisted.scripts.twistd import run; run()",
        "--nodaemon",
        "--pidfile=",
        f"{service_name}-app",
        f"--config={path}",
        f"--server-id={server}",
        "--lifeline=0",
        *([f"--security-log={os.path.abspath(security_log)}"] if security_log else ()),
    ]


def configuration_text(
    config: Configuration, brokers: tuple[str, ...], listen: tuple[ListeningPlace, ...]
) -> str:
    """What app servers read instead of the file, environment and options that made `config`: the
    keys that concern them, secrets included.

    :param brokers: where the broker is, the embedded one too.
    :param listen: where they listen.
    """
    used = config.fleet.provider
    theirs = replace(
        config,
        app=replace(config.app, listen=listen),
        database=replace(config.database, url=absolute(config.database.url)),
        broker=replace(config.broker, url=brokers),
        providers={name: each for name, each in config.providers.items() if name == used},
    )
    # Who is told it asks metadata, which machines have that EC2 launched, and no others.
    without = [] if used == "ec2" else ["ec2.address"]
    # Servers of before there were these, which an image may still have, refuse what they do not
    # know.
    if not config.tracing.endpoint:
        without += ["tracing.endpoint", "tracing.sample"]
    if config.log.format == Configuration().log.format:
        without.append("log.format")
    return to_toml(theirs, for_app_servers=True, without=without)


def only_here(config: Configuration) -> tuple[str, ...]:
    """The keys whose values only processes on this machine can use."""
    bound = {
        "database.url": config.database.url.startswith(SQLITE),
        "broker.url": config.broker.url == ("embedded",),
    }
    return tuple(key for key, is_bound in bound.items() if is_bound)


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """A child's environment: without the configuration, which its file has, secrets and all, and
    without the trace of whoever began this process."""
    return {
        key: value
        for key, value in environ.items()
        if not key.startswith("BBS_") and key != tracing.VARIABLE
    }


def absolute(url: str) -> str:
    """`url`, with the path of an SQLite file made absolute: children may run elsewhere."""
    return SQLITE + os.path.abspath(url[len(SQLITE) :]) if url.startswith(SQLITE) else url


def write_privately(path: str, text: str) -> None:
    """Write a new file that only this user may read, and its folder if need be."""
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
