"""What an instance on EC2 boots with: user data, made for each launch from a template.

A template is text in which `${server_id}`, `${fleet}`, `${config}` and `${config_base64}` are
filled in, and `$$` is a dollar sign; a dollar sign before anything else stays as it is. The
built-in one is `app-server.sh` beside this, for Debian and Ubuntu; an operator's own is named by
`ec2.user_data`.

User data can be read by everybody who may describe instances in the account, and on the instance.
So references to secrets go into it as they are (`bbs/config/references.py`), and the instance asks
for them.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from twisted.logger import Logger

from bbs.config import EC2, ConfigError, Configuration, Fleet, to_toml
from bbs.config.kinds import is_reference, mask
from bbs.scaling.children import SQLITE

MAX_BYTES = 16384
"""EC2 takes so much user data, before it is put into base64."""

BUILT_IN = "app-server.sh"

_FIELD = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[^}\n]*)\}?)")
_LONGEST_ID = "i" * 64

_log = Logger()


def maker(config: Configuration, brokers: tuple[str, ...]) -> Callable[[str], str]:
    """What makes the user data of a launch from the launch's id.

    The template is read here, once, and tried.

    :param brokers: where the broker is, as far as app servers are concerned.
    :raises ConfigError: no app server could boot with it: one line says why.
    """
    template = read_template(config.ec2.user_data)
    toml = configuration_text(config, brokers)

    def make(server_id: str) -> str:
        return fill(template, config.ec2, server_id, toml)

    make(_LONGEST_ID)
    _warn_of_secrets(config.database.url, brokers)
    return make


def configuration_text(config: Configuration, brokers: tuple[str, ...]) -> str:
    """The TOML text that an app server on an instance needs: what concerns it of `config`.

    How the fleet launches is no matter of the launched; nor are files of this machine.

    :raises ConfigError: the database or the broker is one that only this machine reaches. With an
        `ec2.endpoint_url`, which is another API's, the instances may be on this machine too.
    """
    if not config.ec2.endpoint_url:
        if config.database.url.startswith(SQLITE):
            raise ConfigError("database.url: instances cannot reach a file; name a mysql:// one")
        if config.broker.url == ("embedded",):
            raise ConfigError("broker.url: instances cannot reach the embedded one; name another")
    theirs = Configuration(
        app=config.app,
        database=config.database,
        broker=replace(config.broker, url=brokers),
        fleet=replace(
            Fleet(),
            provider="none",
            heartbeat_interval=config.fleet.heartbeat_interval,
            lost_after=config.fleet.lost_after,
            lease_timeout=config.fleet.lease_timeout,
        ),
        limits=config.limits,
        messages=config.messages,
        ec2=EC2(
            region=config.ec2.region,
            endpoint_url=config.ec2.endpoint_url,
            package=config.ec2.package,
        ),
    )
    return to_toml(theirs)


def read_template(path: str) -> str:
    """The operator's template at `path`, or the built-in one for an empty path.

    :raises ConfigError: it cannot be read.
    """
    if not path:
        return files("bbs.scaling").joinpath(BUILT_IN).read_text("utf-8")
    try:
        return Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"ec2.user_data: {path}: {error.strerror}") from error
    except ValueError as error:  # not UTF-8, or a NUL in the path
        raise ConfigError(f"ec2.user_data: {path!r} is no text file") from error


def fill(template: str, config: EC2, server_id: str, toml: str) -> str:
    """A template with its fields filled in.

    :raises ConfigError: it names a field that there is not, or the result is more than EC2 takes.
    """
    values = {
        "server_id": server_id,
        "fleet": config.name,
        "config": toml,
        "config_base64": base64.b64encode(toml.encode()).decode("ascii"),
    }
    place = config.user_data or BUILT_IN

    def value(field: re.Match[str]) -> str:
        if field["dollar"]:
            return "$"
        if field["name"] in values and field[0].endswith("}"):
            return values[field["name"]]
        line = template.count("\n", 0, field.start()) + 1
        known = ", ".join(f"${{{name}}}" for name in values)
        raise ConfigError(
            f"ec2.user_data: {place}, line {line}: unknown {field[0]}, there are {known}"
            " ($$ is a dollar sign)"
        )

    filled = _FIELD.sub(value, template)
    size = len(filled.encode())
    if size > MAX_BYTES:
        raise ConfigError(f"ec2.user_data: {place}: {size} bytes, and EC2 takes {MAX_BYTES}")
    return filled


def _warn_of_secrets(database_url: str, brokers: tuple[str, ...]) -> None:
    for key, urls in (("database.url", (database_url,)), ("broker.url", brokers)):
        if any(not is_reference(url) and mask(url) != url for url in urls):
            _log.warn(
                "the password in {key} is in the instances' user data, where others may read it;"
                " ssm:/NAME or secretsmanager:NAME would keep it out",
                key=key,
            )
